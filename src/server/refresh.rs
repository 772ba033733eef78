//! Rooms' rows that were read again: new rights are taken in, whoever lost theirs leaves the room before anything more is
//! delivered there, and heads are compared. Part of the actor in `chat_server`.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use actix::prelude::*;
use futures_util::future::join;

use super::{chat_server::ChatServer, messages::Retain, room::Entry};
use crate::{
    mirror::Pace,
    protocol::{RoomName, Seq},
    room::{Input, RoomLog},
    store::{RoomKey, RoomRow, StoreError},
};

/// After a read that failed.
const READ_AGAIN: Duration = Duration::from_millis(500);
/// How often it is looked whether rooms are to be compared with a database that others write to (`Pace`).
pub const COMPARE: Duration = Duration::from_millis(50);

/// A room's row, which may have changed.
#[derive(Message)]
#[rtype(result = "()")]
struct Refreshed {
    room: RoomName,
    row: Result<Option<RoomRow>, StoreError>,
}

/// Where rooms stand in the database: newest event and revision of the rights; and which of those that were not there
/// before are there now.
#[derive(Message)]
#[rtype(result = "()")]
struct Heads {
    heads: Result<Vec<(RoomName, Seq, i64)>, StoreError>,
    made: Result<Vec<RoomName>, StoreError>,
}

/// When the database was asked where the rooms stand.
#[derive(Debug, Default)]
pub struct Compared {
    asking: bool,
    /// Whether the last answer did not come.
    failing: bool,
    /// Whether it is to be asked as soon as it can be.
    at_once: bool,
    active: Option<Instant>,
    quiet: Option<Instant>,
}

impl Compared {
    /// It is to be asked about all rooms as soon as it can be.
    pub fn hurry(&mut self) {
        self.at_once = true;
    }

    /// Whether it is to be asked now; `true` about all rooms, `false` about the active ones.
    pub fn due(&mut self, pace: Pace, now: Instant) -> Option<bool> {
        let due = |last: Option<Instant>, every: Duration| last.is_none_or(|last| now.duration_since(last) >= every);
        let all = self.at_once || due(self.quiet, pace.quiet);
        if self.asking || !(all || due(self.active, pace.active)) {
            return None;
        }
        (self.at_once, self.active) = (false, Some(now));
        if all {
            self.quiet = Some(now);
        }
        Some(all)
    }

    /// It was asked; nobody asks again before the answer.
    pub fn asked(&mut self) {
        self.asking = true;
    }

    /// It has answered.
    pub fn answered(&mut self) {
        (self.asking, self.failing) = (false, false);
    }

    /// It has not answered. Says whether that is new.
    pub fn failed(&mut self) -> bool {
        self.asking = false;
        !std::mem::replace(&mut self.failing, true)
    }
}

impl ChatServer {
    /// Takes in a row as it was read. Sessions that have no right to the room (any more) are taken out of it:
    /// their Dispatchers know before any later event.
    pub(super) fn settle_row(&mut self, name: &RoomName, row: RoomRow, ctx: &mut Context<Self>) {
        let head = row.head;
        match self.rooms.get_mut(name) {
            None => {}
            Some(Entry::Loading { seen, rights, .. }) => {
                *seen = head.max(*seen);
                *rights = row.rights.max(*rights);
            }
            Some(Entry::Ready(room)) => {
                if let Some(guests) = room.take_row(row) {
                    let retain = Retain { room: name.clone(), guests };
                    for worker in room.workers() {
                        let dispatcher = self.workers.get(worker.0).and_then(|worker| worker.dispatcher.as_ref());
                        #[expect(clippy::disallowed_methods, reason = "one for each change of a room's members")]
                        dispatcher.into_iter().for_each(|dispatcher| dispatcher.do_send(retain.clone()));
                    }
                }
                self.stands_at(name, head, ctx);
            }
        }
    }

    /// The database has a room's events up to here.
    pub(super) fn stands_at(&mut self, name: &RoomName, head: Seq, ctx: &mut Context<Self>) {
        let (recent, unknown) = (self.bounds.recent, self.acts.are_unknown(Instant::now()));
        match self.room_mut(name) {
            // Nobody saw what came before, and nobody will: whoever comes starts here.
            Some(room) if room.is_unwatched() && head > room.log.head() => {
                let freed = room.log.recent_bytes();
                room.log = RoomLog::new(head, recent);
                room.undelivered = None;
                self.recent_bytes = self.recent_bytes.saturating_sub(freed);
            }
            // Who may still be here is to be known before more is delivered (P8); then all rooms are compared.
            _ if unknown => {}
            _ => self.apply(name, Input::Head(head), ctx),
        }
    }

    /// Reads a room's row again, until it was read.
    fn refresh(&self, room: RoomName, ctx: &Context<Self>) {
        let (store, server) = (Arc::clone(&self.store), ctx.address());
        actix::spawn(async move {
            let row = store.room(&room).await;
            #[expect(clippy::disallowed_methods, reason = "one for each room that may have changed")]
            server.do_send(Refreshed { room, row });
        });
    }

    /// Reads a room's row again; where that is under way, once more after it.
    pub(super) fn refresh_once(&mut self, name: RoomName, ctx: &Context<Self>) {
        let Some(room) = self.room_mut(&name) else { return };
        if std::mem::replace(&mut room.refreshing, true) {
            room.again = true;
        } else {
            self.refresh(name, ctx);
        }
    }

    /// Asks at once where all rooms stand: anything may have been missed.
    pub(super) fn compare_all(&mut self, ctx: &Context<Self>) {
        self.compared.hurry();
        self.compare(ctx);
    }

    /// Asks the database where rooms stand, as often as the bus makes it needed.
    pub(super) fn compare(&mut self, ctx: &Context<Self>) {
        let now = Instant::now();
        let Some(all) = self.compared.due(self.mirror.pace(), now) else { return };
        let (mut rooms, mut unmade): (Vec<(RoomKey, RoomName)>, Vec<RoomName>) = (Vec::new(), Vec::new());
        for (name, entry) in &self.rooms {
            let Entry::Ready(room) = entry else { continue };
            if room.is_compared(all, now) {
                match room.key {
                    Some(key) => rooms.push((key, name.clone())),
                    None => unmade.push(name.clone()),
                }
            }
        }
        if rooms.is_empty() && unmade.is_empty() {
            return;
        }
        self.compared.asked();
        let (store, server) = (Arc::clone(&self.store), ctx.address());
        actix::spawn(async move {
            let (heads, made) = join(store.heads(rooms), store.rooms_made(unmade)).await;
            #[expect(clippy::disallowed_methods, reason = "one at a time")]
            server.do_send(Heads { heads, made });
        });
    }
}

impl Handler<Refreshed> for ChatServer {
    type Result = ();

    fn handle(&mut self, Refreshed { room, row }: Refreshed, ctx: &mut Context<Self>) {
        let again = self.room_mut(&room).is_some_and(|room| {
            room.refreshing = false;
            std::mem::take(&mut room.again)
        });
        match row {
            Ok(Some(row)) => {
                self.settle_row(&room, row, ctx);
                // What was told before the row was known will not be told again.
                self.apply(&room, Input::HoleDue, ctx);
                if again {
                    self.refresh_once(room, ctx);
                }
            }
            Ok(None) => {}
            Err(_) if self.rooms.contains_key(&room) => {
                if let Some(room) = self.room_mut(&room) {
                    room.refreshing = true;
                }
                ctx.run_later(READ_AGAIN, move |server, ctx| server.refresh(room, ctx));
            }
            Err(_) => {}
        }
    }
}

impl Handler<Heads> for ChatServer {
    type Result = ();

    fn handle(&mut self, Heads { heads, made }: Heads, ctx: &mut Context<Self>) {
        if let Some(error) = heads.as_ref().err().or(made.as_ref().err())
            && self.compared.failed()
        {
            tracing::warn!(%error, "where rooms stand could not be read: it is asked again");
        } else if heads.is_ok() && made.is_ok() {
            self.compared.answered();
        }
        for (name, head, rights) in heads.unwrap_or_default() {
            let Some(room) = self.room_mut(&name) else { continue };
            if room.is_outdated(rights) {
                // Whoever lost their right leaves before anything that came after is delivered (P7).
                self.refresh_once(name, ctx);
            } else {
                self.stands_at(&name, head, ctx);
            }
        }
        for name in made.unwrap_or_default() {
            self.refresh_once(name, ctx);
        }
    }
}
