//! Joining a room that others may write to: its channel is subscribed, then its head is read, then the join is answered,
//! so nothing falls between. A cursor that is ahead of this node is judged by the database's head, never by the node's own.
//! Part of the actor in `chat_server`.

use std::{
    mem,
    sync::Arc,
    time::{Duration, Instant},
};

use actix::prelude::*;

use super::{chat_server::ChatServer, handle::Join, room::Entry};
use crate::{
    protocol::{RoomName, Seq, WireError},
    room::Input,
    store::{RoomRow, StoreError},
};

/// The longest that a join waits for the log to get to the head that was read.
const CATCH_UP: Duration = Duration::from_secs(5);

/// Joins of one room that wait.
#[derive(Default)]
pub(super) struct Waiting {
    /// For the room's row, which is to be read after they came.
    asking: Vec<Join>,
    /// For the row that is being read.
    reading: Vec<Join>,
    /// For the log to get to the head that was read, since when.
    catching_up: Vec<(Join, Seq, Instant)>,
}

impl Waiting {
    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.asking.is_empty() && self.reading.is_empty() && self.catching_up.is_empty()
    }

    fn len(&self) -> usize {
        self.asking.len().saturating_add(self.reading.len()).saturating_add(self.catching_up.len())
    }

    /// Those that need not wait any longer once the log stands at `head`.
    fn ready(&mut self, head: Seq) -> Vec<Join> {
        let ready = self.catching_up.extract_if(.., |(_, until, _)| *until <= head);
        ready.map(|(join, ..)| join).collect()
    }
}

/// A room's row was read for those who want to join.
#[derive(Message)]
#[rtype(result = "()")]
struct Warmed {
    room: RoomName,
    row: Result<Option<RoomRow>, StoreError>,
}

impl ChatServer {
    /// Answers a join, at once where this node surely knows the room's head.
    pub(super) fn join(&mut self, join: Join, ctx: &mut Context<Self>) {
        let (shared, most) = (self.mirror.is_shared(), self.bounds.queue);
        let Some(room) = self.room_mut(&join.room) else { return };
        let head = room.log.head();
        let ahead = join.position.as_ref().is_some_and(|position| position.after > head);
        if !shared || (room.followed && !ahead) {
            return self.join_now(join);
        }
        if room.waiting.len() >= most {
            return drop(join.reply.send(Err(WireError::busy())));
        }
        let name = join.room.clone();
        room.waiting.asking.push(join);
        self.warm(&name, ctx);
    }

    /// Reads the row for those who ask, unless it is being read: what is under way may be older than they are.
    fn warm(&mut self, name: &RoomName, ctx: &Context<Self>) {
        let Some(Entry::Ready(room)) = self.rooms.get_mut(name) else { return };
        if room.waiting.asking.is_empty() || !room.waiting.reading.is_empty() {
            return;
        }
        room.waiting.reading = mem::take(&mut room.waiting.asking);
        let following = (!room.followed).then(|| self.mirror.bus().map(|bus| bus.follow(name))).flatten();
        let (store, server, room) = (Arc::clone(&self.store), ctx.address(), name.clone());
        actix::spawn(async move {
            if let Some(following) = following {
                following.await;
            }
            let row = store.room(&room).await;
            #[expect(clippy::disallowed_methods, reason = "one for each room that is being read")]
            server.do_send(Warmed { room, row });
        });
    }

    /// Answers those whose head the log has got to.
    pub(super) fn release_joins(&mut self, name: &RoomName) {
        let Some(room) = self.room_mut(name) else { return };
        if room.waiting.catching_up.is_empty() {
            return;
        }
        let head = room.log.head();
        for join in room.waiting.ready(head) {
            self.join_now(join);
        }
    }

    /// The log can't get there for now.
    pub(super) fn refuse_joins(&mut self, name: &RoomName) {
        let Some(room) = self.room_mut(name) else { return };
        for (join, ..) in mem::take(&mut room.waiting.catching_up) {
            drop(join.reply.send(Err(WireError::unavailable())));
        }
    }

    /// Refuses those that waited too long, however that came about.
    pub(super) fn refuse_late_joins(&mut self) {
        for entry in self.rooms.values_mut() {
            let Entry::Ready(room) = entry else { continue };
            let late = room.waiting.catching_up.extract_if(.., |(.., since)| since.elapsed() > CATCH_UP);
            late.for_each(|(join, ..)| drop(join.reply.send(Err(WireError::unavailable()))));
        }
    }
}

impl Handler<Warmed> for ChatServer {
    type Result = ();

    fn handle(&mut self, Warmed { room: name, row }: Warmed, ctx: &mut Context<Self>) {
        let Some(room) = self.room_mut(&name) else { return };
        let waited = mem::take(&mut room.waiting.reading);
        match row {
            Err(error) => {
                let error = WireError::from(error);
                waited.into_iter().for_each(|join| drop(join.reply.send(Err(error.clone()))));
            }
            Ok(row) => {
                room.followed = true;
                let head = row.as_ref().map_or(Seq(0), |row| row.head);
                let since = Instant::now();
                room.waiting.catching_up.extend(waited.into_iter().map(|join| (join, head, since)));
                if let Some(row) = row {
                    self.settle_row(&name, row, ctx);
                }
                // What is missing will not come by itself.
                self.apply(&name, Input::HoleDue, ctx);
                self.release_joins(&name);
            }
        }
        self.warm(&name, ctx);
    }
}
