//! How a Dispatcher watches over its sessions, which don't run while their clients take nothing: it gives the heartbeat,
//! ends sessions whose token has ended or never came, and shuts the sockets of those that don't do as they are told. One
//! look at all sessions in each tick; nothing here has a timer of its own.

use std::{
    cell::{Cell, RefCell},
    sync::Arc,
    time::{Duration, Instant},
};

use actix::prelude::*;

use super::{
    Wire,
    dispatcher::{Dispatcher, Local, SocketState},
    messages::ToSession,
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
            closing: RefCell::default(),
        }
    }

    /// The time, in ticks since the worker's start.
    pub(super) fn tick(&self) -> u32 {
        self.tick.get()
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

impl Dispatcher {
    pub(super) fn start_watch(&self, ctx: &mut Context<Self>) {
        ctx.run_interval(TICK, |dispatcher, _| {
            dispatcher.watch.tick.set(dispatcher.watch.tick().saturating_add(1));
            dispatcher.watch.cut_closed();
            let now = Instant::now();
            for (local, _) in dispatcher.sessions.values() {
                dispatcher.look_at(local, now);
            }
        });
    }

    fn look_at(&self, local: &Local, now: Instant) {
        let (watch, tick) = (&self.watch, self.watch.tick());
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
        let open_for = tick.saturating_sub(local.since);
        let mut holder = local.holder.borrow_mut();
        let Some(holder) = holder.as_mut() else {
            if local.awaits_token && open_for >= watch.auth_timeout {
                local.close(CloseCode::AuthTimeout, tick);
            }
            return;
        };
        if now >= holder.ends_at {
            return local.close(CloseCode::TokenExpired, tick);
        }
        if holder.warn_at.is_some_and(|at| now >= at)
            && local.queue(ToSession::TokenExpiring, (1, 0), tick, &self.stats)
        {
            holder.warn_at = None;
        }
        if open_for > 0 && open_for.is_multiple_of(watch.heartbeat) {
            // One that has no place for it shows by that whether it takes anything.
            local.queue(ToSession::Heartbeat, (1, 0), tick, &self.stats);
        }
    }
}
