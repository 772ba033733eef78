//! How a Dispatcher watches over its sessions, which don't run while their clients take nothing: it gives the heartbeat,
//! ends sessions whose token has ended or never came, and shuts the sockets of those that don't do as they are told. A session is
//! looked at when its next heartbeat or its token is due, and in each tick as long as something is queued for it or it is
//! ending: thousands of idle ones cost next to nothing. What is noted of a session that has ended is gone with its next heartbeat.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use actix::prelude::*;

use super::{
    SessionId, Wire,
    dispatcher::{Dispatcher, Local, SocketState},
    messages::{Holder, ToSession},
    outbox::Ending,
};
use crate::protocol::CloseCode;

/// How often it looks.
const TICK: Duration = Duration::from_millis(250);
/// Sockets of a worker that are held although their sessions have ended.
const MOST_CLOSING: usize = 1_024;
/// What a client gets to take the last words and say its own, and a closed session's socket to send what it has.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// When what is due, and sockets that are about to end.
pub struct Watch {
    tick: Cell<u32>,
    heartbeat: u32,
    auth_timeout: u32,
    stalled_timeout: u32,
    /// Which sessions are to be looked at in which tick.
    due: RefCell<BTreeMap<u32, Vec<SessionId>>>,
    /// Sockets of sessions that have ended, whose last bytes may not be taken: at most `MOST_CLOSING`.
    closing: RefCell<Vec<(Arc<Wire>, u32)>>,
}

impl Watch {
    /// Nobody yet.
    pub fn new(heartbeat: Duration, auth_timeout: Duration, stalled_timeout: Duration) -> Self {
        Self {
            tick: Cell::new(0),
            heartbeat: ticks(heartbeat),
            auth_timeout: ticks(auth_timeout),
            stalled_timeout: ticks(stalled_timeout),
            due: RefCell::default(),
            closing: RefCell::default(),
        }
    }

    /// The time, in ticks since the worker's start.
    pub(super) fn tick(&self) -> u32 {
        self.tick.get()
    }

    /// A session is to be looked at after so many ticks.
    fn look_after(&self, ticks: u32, session: SessionId) {
        let at = self.tick().saturating_add(ticks.max(1));
        self.due.borrow_mut().entry(at).or_default().push(session);
    }

    /// A session has opened.
    pub(super) fn opened(&self, session: SessionId, awaits_token: bool) {
        self.look_after(self.heartbeat, session);
        if awaits_token {
            self.look_after(self.auth_timeout, session);
        }
    }

    /// A session is to be looked at when its token's times have come; what is later than a heartbeat is seen to then.
    pub(super) fn holds(&self, holder: &Holder, session: SessionId) {
        let now = Instant::now();
        for time in holder.warn_at.into_iter().chain([holder.ends_at]) {
            let after = ticks_past(time.saturating_duration_since(now));
            if after <= self.heartbeat.saturating_add(2) {
                self.look_after(after, session);
            }
        }
    }

    /// Something is to be seen of a session from the next tick on.
    pub(super) fn attend(&self, session: SessionId) {
        self.look_after(1, session);
    }

    /// Those whose tick has come.
    fn take_due(&self) -> Vec<SessionId> {
        let mut due = self.due.borrow_mut();
        let later = due.split_off(&self.tick().saturating_add(1));
        let mut sessions: Vec<_> = std::mem::replace(&mut *due, later).into_values().flatten().collect();
        // Each once, whatever it is due for.
        sessions.sort_unstable_by_key(|session| session.0);
        sessions.dedup();
        sessions
    }

    /// A session has ended; its socket is cut off when it had time to send what it has.
    pub(super) fn closing(&self, wire: Arc<Wire>, state: SocketState) {
        let patience = match state {
            SocketState::Open => ticks(LAST_WORDS),
            // It did not answer: it may be slow.
            SocketState::Shut => self.stalled_timeout,
            SocketState::Cut => return,
        };
        let due = self.tick().saturating_add(patience);
        let mut closing = self.closing.borrow_mut();
        if closing.len() >= MOST_CLOSING {
            // Too many come and go: whoever went first has had the longest.
            let (first, _) = closing.remove(0);
            first.cut();
        }
        closing.push((wire, due));
    }

    fn cut_closed(&self) {
        self.closing.borrow_mut().retain(|(wire, due)| {
            let over = *due <= self.tick();
            if over {
                wire.cut();
            }
            !over
        });
    }
}

fn ticks(time: Duration) -> u32 {
    u32::try_from(time.as_millis() / TICK.as_millis()).unwrap_or(u32::MAX).max(1)
}

/// In how many ticks so much time is surely over: the present tick may end at once.
fn ticks_past(time: Duration) -> u32 {
    u32::try_from(time.as_millis() / TICK.as_millis()).unwrap_or(u32::MAX).saturating_add(2)
}

impl Dispatcher {
    pub(super) fn start_watch(&self, ctx: &mut Context<Self>) {
        ctx.run_interval(TICK, |dispatcher, _| {
            dispatcher.watch.tick.set(dispatcher.watch.tick().saturating_add(1));
            dispatcher.watch.cut_closed();
            let now = Instant::now();
            for session in dispatcher.watch.take_due() {
                if let Some((local, _)) = dispatcher.sessions.get(&session) {
                    dispatcher.look_at(local, now);
                }
            }
        });
    }

    fn look_at(&self, local: &Local, now: Instant) {
        let (watch, tick) = (&self.watch, self.watch.tick());
        let open_for = tick.saturating_sub(local.since);
        let beats = open_for > 0 && open_for.is_multiple_of(watch.heartbeat);
        if beats {
            watch.look_after(watch.heartbeat, local.id);
        }
        local.attended.set(local.outbox.frames() > 0 || local.outbox.ending().is_some());
        if local.attended.get() {
            watch.attend(local.id);
        }
        if let Some(Ending { code, since }) = local.outbox.ending() {
            // Messages may be about to be stored, whose acks it waits for.
            let patience = if code == Some(CloseCode::Drain) { watch.stalled_timeout } else { ticks(LAST_WORDS) };
            match code {
                _ if tick.saturating_sub(since) < patience => {}
                None => local.shut(),
                // It was not even heard: what is still on its way to the client stops.
                Some(_) => {
                    local.cut();
                }
            }
            return;
        }
        if local.outbox.stuck_for(tick) >= watch.stalled_timeout {
            if local.cut() {
                tracing::debug!("a socket is shut, since its client takes too little");
                self.stats.evicted.add(1);
            }
            return;
        }
        let mut holder = local.holder.borrow_mut();
        let Some(holder) = holder.as_mut() else {
            if local.awaits_token && open_for >= watch.auth_timeout {
                local.close(CloseCode::AuthTimeout, watch);
            }
            return;
        };
        if beats {
            watch.holds(holder, local.id);
        }
        if now >= holder.ends_at {
            return local.close(CloseCode::TokenExpired, watch);
        }
        if holder.warn_at.is_some_and(|at| now >= at)
            && local.queue(ToSession::TokenExpiring, (1, 0), watch, &self.stats)
        {
            holder.warn_at = None;
        }
        if beats {
            // One that has no place for it shows by that whether it takes anything.
            local.queue(ToSession::Heartbeat, (1, 0), watch, &self.stats);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// P8: looked at before its token's end, a session would next be at its heartbeat.
    #[test]
    fn nobody_is_looked_at_before_what_is_due() {
        for (millis, into_tick) in (0..2_000).flat_map(|millis| (0..250).map(move |into_tick| (millis, into_tick))) {
            let looked = TICK * ticks_past(Duration::from_millis(millis)) - Duration::from_millis(into_tick);
            let late = looked.checked_sub(Duration::from_millis(millis));
            assert!(late.is_some_and(|late| late <= TICK * 2), "{millis} ms, {into_tick} ms into a tick: {late:?}");
        }
    }
}
