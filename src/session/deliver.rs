//! From the Dispatcher to the client: live events go through the room's cursor; what was missed is read page by page,
//! each page only when the socket has taken the one before. Part of the actor in `actor`.

use std::{
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use actix::prelude::*;
use bytestring::ByteString;

use super::{
    actor::{Ctx, Session, millis},
    commands::removed_error,
};
use crate::{
    protocol::{CloseCode, Dialect, Epoch, ErrorCode, Reply, RoomName, Seq, WireError},
    room::{Cursor, Memory, Next, Numbered},
    server::{Joined, JoinsAt, Place, ToSession},
};

/// After a read that failed.
const READ_AGAIN: Duration = Duration::from_millis(500);

/// A room of this session's.
pub(super) struct JoinedRoom {
    /// Tells this joining from an earlier one of the same room, whose read may still be under way.
    generation: u64,
    /// Who leads the session through the room's events.
    place: Arc<Place>,
    state: State,
}

impl Drop for JoinedRoom {
    /// Left, or joined anew: nothing more comes past the session.
    fn drop(&mut self) {
        self.place.take();
    }
}

impl JoinedRoom {
    /// The session leads, from where its Dispatcher has led it.
    fn lead(&mut self) -> &mut State {
        if let (Some(sent), State::Joined { cursor, .. }) = (self.place.take(), &mut self.state) {
            cursor.led_to(sent);
        }
        &mut self.state
    }
}

enum State {
    /// Asked for; live events may come before the answer does.
    Joining { early: Vec<Numbered<ByteString>>, head: Seq },
    /// Joined.
    Joined { cursor: Cursor<ByteString>, epoch: Epoch },
}

impl Session {
    /// Makes a place for a room that is being joined.
    pub(super) fn expect_room(&mut self, room: &RoomName, ctx: &mut Ctx) -> Result<JoinsAt, WireError> {
        self.drop_removed(ctx);
        let most = self.worker.config.limits.rooms_per_session;
        if self.rooms.len() >= most && !self.rooms.contains_key(room) {
            return Err(WireError::new(ErrorCode::RoomLimit, format!("a session can join {most} rooms")));
        }
        let generation = rand::random();
        let state = State::Joining { early: Vec::new(), head: Seq(0) };
        let place = Arc::<Place>::default();
        self.rooms.insert(room.clone(), JoinedRoom { generation, place: Arc::clone(&place), state });
        Ok(JoinsAt { session: self.id, worker: self.worker.id, place })
    }

    /// Whether the session is in this room, or about to be.
    pub(super) fn is_in(&mut self, room: &RoomName, ctx: &mut Ctx) -> bool {
        self.drop_removed(ctx);
        self.rooms.contains_key(room)
    }

    /// Forgets the rooms that the user was taken out of: whatever of them is still on its way goes nowhere (P7). A plain
    /// session has nothing to be open for then.
    fn drop_removed(&mut self, ctx: &mut Ctx) {
        for (room, banned) in self.outbox.take_removed() {
            if self.rooms.remove(&room).is_none() || self.dialect == Dialect::Native {
                continue;
            }
            let (error, code) = match banned {
                true => (WireError::banned(), CloseCode::Banned),
                false => (removed_error(), CloseCode::Policy),
            };
            self.say(&Reply::Error { id: None, error });
            self.close(code, 0, ctx);
        }
    }

    /// The room is joined and the client knows it: older events first, then those that came early, then live ones.
    pub(super) fn joined(&mut self, room: &RoomName, joined: &Joined, ctx: &mut Ctx) {
        let held = self.worker.config.limits.held_events;
        let Some(JoinedRoom { state, .. }) = self.rooms.get_mut(room) else { return };
        let cursor = Cursor::new(joined.sent, joined.standing.head, held);
        let now = State::Joined { cursor, epoch: joined.standing.epoch.clone() };
        if let State::Joining { early, head } = std::mem::replace(state, now) {
            self.live(room, &early, ctx);
            self.behind(room, head, ctx);
        }
    }

    /// Live events of a room, in order.
    fn live(&mut self, room: &RoomName, events: &[Numbered<ByteString>], ctx: &mut Ctx) {
        if self.closed {
            return;
        }
        let held = self.worker.config.limits.held_events;
        match self.rooms.get_mut(room).map(JoinedRoom::lead) {
            // Left, while it was on its way.
            None => {}
            Some(State::Joining { early, head }) => {
                for event in events {
                    *head = event.seq.max(*head);
                    if early.len() < held {
                        early.push(event.clone());
                    }
                }
            }
            Some(State::Joined { cursor, .. }) => {
                for event in events {
                    if let Some(event) = cursor.offer(event.clone()) {
                        self.worker.stats.delivered.add(1);
                        self.wire.text(event.event.as_bytes());
                    }
                }
                self.step(room, ctx);
            }
        }
    }

    /// The room got to `head`, and what is between did not come.
    fn behind(&mut self, room: &RoomName, seen: Seq, ctx: &mut Ctx) {
        match self.rooms.get_mut(room).map(JoinedRoom::lead) {
            None => {}
            Some(State::Joining { head, .. }) => *head = seen.max(*head),
            Some(State::Joined { cursor, .. }) => {
                cursor.fell_behind(seen);
                self.step(room, ctx);
            }
        }
    }

    /// Does what the room's cursor wants next.
    fn step(&mut self, room: &RoomName, ctx: &mut Ctx) {
        let most = self.worker.config.limits.reset_after;
        let Some(joined) = self.rooms.get_mut(room) else { return };
        let JoinedRoom { generation, place, state: State::Joined { cursor, epoch } } = joined else { return };
        match cursor.next(most) {
            Next::Live => cursor.in_step().into_iter().for_each(|sent| place.give(sent)),
            Next::Read(after) => {
                let generation = *generation;
                self.read(room.clone(), generation, after, ctx);
            }
            Next::Reset(head) if self.dialect == Dialect::Native => {
                let reset = Some((head, epoch.clone()));
                self.say(&Reply::Lagged { room: room.clone(), reset });
            }
            // It can't be told to page the history: it has to come back.
            Next::Reset(_) => self.close(CloseCode::Slow, 0, ctx),
        }
    }

    fn read(&mut self, room: RoomName, generation: u64, after: Seq, ctx: &mut Ctx) {
        let (server, worker, name) = (Rc::clone(&self.server), self.worker.clone(), room.clone());
        let Some(user) = self.signed_in().map(|signed_in| Arc::clone(&signed_in.user)) else { return };
        let read = async move {
            let recent = server.catch_up(user, name.clone(), after).await?;
            match (recent.memory, recent.key) {
                (Memory::Events(events), _) => Ok(events),
                (Memory::NotHere, Some(key)) => {
                    Ok(worker.store.read_after(key, &name, after, &worker.stats.pages_read).await?.to_vec())
                }
                (Memory::NotHere, None) => Ok(Vec::new()),
            }
        };
        ctx.spawn(read.into_actor(self).map(move |page: Result<_, WireError>, session, ctx| {
            session.drop_removed(ctx);
            let Some(joined) = session.rooms.get_mut(&room) else { return };
            let JoinedRoom { generation: now, state: State::Joined { cursor, .. }, .. } = joined else { return };
            if *now != generation || session.closed {
                return;
            }
            match page {
                Ok(page) => {
                    let events = cursor.page(page);
                    session.worker.stats.delivered.add(events.len());
                    for event in events {
                        session.wire.text(event.event.as_bytes());
                    }
                    session.step(&room, ctx);
                }
                Err(_) => {
                    cursor.read_failed();
                    ctx.run_later(READ_AGAIN, move |session, ctx| session.step(&room, ctx));
                }
            }
        }));
    }

    /// Once all that was queued is taken: tells which rooms were missed meanwhile, and catches up.
    fn recover(&mut self, ctx: &mut Ctx) {
        let missed = self.outbox.take_missed();
        if missed.is_empty() {
            return;
        }
        self.worker.stats.lagged.add(1);
        self.worker.stats.lagging.sub(1);
        for (room, head) in missed {
            if self.rooms.contains_key(&room) {
                self.say(&Reply::Lagged { room: room.clone(), reset: None });
                self.behind(&room, head, ctx);
            }
        }
    }

    fn release(&self, frames: usize, bytes: usize) {
        self.outbox.release(frames, bytes);
        self.worker.stats.session_queues.sub(frames);
    }
}

impl Handler<ToSession> for Session {
    type Result = ();

    fn handle(&mut self, message: ToSession, ctx: &mut Ctx) {
        if self.closed {
            if matches!(message, ToSession::End) {
                ctx.stop();
            }
            return;
        }
        // Whatever was queued before goes nowhere (P7, P8).
        if let Some(code) = self.outbox.closing() {
            return self.close(code, 0, ctx);
        }
        self.drop_removed(ctx);
        match message {
            ToSession::Events { room, events, bytes } => {
                self.release(events.len(), bytes);
                self.live(&room, &events, ctx);
            }
            ToSession::Behind { room, head } => {
                self.release(1, 0);
                self.behind(&room, head, ctx);
            }
            ToSession::Notice(notice) => {
                self.release(1, notice.len());
                if self.dialect == Dialect::Native {
                    self.wire.text(notice.as_bytes());
                }
            }
            ToSession::Heartbeat => {
                self.release(1, 0);
                self.heartbeat(ctx);
            }
            ToSession::TokenExpiring => {
                self.release(1, 0);
                let in_ms = millis(self.token_ends.saturating_duration_since(Instant::now()));
                self.say(&Reply::TokenExpiring { in_ms });
            }
            // The one that ends was closed, and is handled above.
            ToSession::Look | ToSession::End => {}
            // A client that can't be told when to come back comes at once: so it is sent off at that time instead.
            ToSession::Close { code, after_ms } if self.dialect != Dialect::Native => {
                if !std::mem::replace(&mut self.leaving, true) {
                    ctx.run_later(Duration::from_millis(after_ms), move |session, ctx| session.close(code, 0, ctx));
                }
            }
            ToSession::Close { code, after_ms } => self.close(code, after_ms, ctx),
        }
        self.recover(ctx);
    }
}
