//! Joining a room that others may write to: its channel is subscribed, then its head is read, then the join is answered,
//! so nothing falls between. A cursor that is ahead of this node is judged by the database's head, never by the node's own.
//! Part of the actor in `chat_server`.

use std::{sync::Arc, time::Instant};

use actix::prelude::*;

use super::{
    chat_server::ChatServer,
    handle::{Join, Open, Post},
    room::{Entry, RoomCommand},
};
use crate::{
    protocol::{RoomName, Seq, WireError},
    room::Input,
    store::{RoomRow, StoreError},
};

/// Where a room stands was looked up for somebody who wants to read it; its row too, where it must be.
#[derive(Message)]
#[rtype(result = "()")]
struct LookedUp {
    open: Open,
    found: Result<(Seq, Option<RoomRow>), StoreError>,
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
        if room.knows_head(shared, join.position.as_ref()) {
            return match self.is_doubtful(&join.room, join.user.right()) {
                true => self.doubt(RoomCommand::Join(join), ctx),
                false => self.join_now(join),
            };
        }
        if room.waiting.len() >= most {
            return drop(join.reply.send(Err(WireError::busy())));
        }
        let name = join.room.clone();
        room.waiting.ask(join);
        self.warm(&name, ctx);
    }

    /// Reads the row for those who ask, unless it is being read: what is under way may be older than they are.
    fn warm(&mut self, name: &RoomName, ctx: &Context<Self>) {
        let Some(Entry::Ready(room)) = self.rooms.get_mut(name) else { return };
        if !room.waiting.read() {
            return;
        }
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

    /// Whether this node has all that the asker knows of, and hears of what is new.
    pub(super) fn knows(&mut self, open: &Open) -> bool {
        let Some(room) = self.room_mut(&open.room) else { return false };
        room.followed && open.knows.is_some_and(|seq| seq <= room.log.head())
    }

    /// Looks up where a room stands that others may write to, for somebody who wants to read it: what they were told of
    /// by another node is there.
    pub(super) fn look_up(&mut self, open: Open, ctx: &Context<Self>) {
        let Some(room) = self.room_mut(&open.room) else { return };
        let known = room.key.map(|key| (key, room.rights));
        let (store, server, name) = (Arc::clone(&self.store), ctx.address(), open.room.clone());
        actix::spawn(async move {
            let found = async {
                if let Some((key, known)) = known
                    && let Some((_, head, rights)) = store.heads(vec![(key, name.clone())]).await?.pop()
                    && rights <= known
                {
                    return Ok((head, None));
                }
                let row = store.room(&name).await?;
                Ok((row.as_ref().map_or(Seq(0), |row| row.head), row))
            };
            let found = found.await;
            #[expect(clippy::disallowed_methods, reason = "one for each reader who waits for it")]
            server.do_send(LookedUp { open, found });
        });
    }

    /// Answers those whose head the log has got to.
    pub(super) fn release_joins(&mut self, name: &RoomName) {
        let Some(room) = self.room_mut(name) else { return };
        let head = room.log.head();
        for join in room.waiting.ready(head) {
            self.join_now(join);
        }
    }

    /// The log can't get there for now.
    pub(super) fn refuse_joins(&mut self, name: &RoomName) {
        let Some(room) = self.room_mut(name) else { return };
        for join in room.waiting.stuck() {
            drop(join.reply.send(Err(WireError::unavailable())));
        }
    }

    /// Refuses joins and messages that waited too long, however that came about.
    pub(super) fn refuse_late(&mut self) {
        let (now, most) = (Instant::now(), self.bounds.writer.timeout);
        for entry in self.rooms.values_mut() {
            let Entry::Ready(room) = entry else { continue };
            for join in room.waiting.late(now) {
                drop(join.reply.send(Err(WireError::unavailable())));
            }
            let late = |post: &mut Post| now.saturating_duration_since(post.received) > most;
            for post in room.held.iter_mut().flat_map(|held| held.extract_if(.., late)) {
                drop(post.reply.send(Err(WireError::unavailable())));
            }
        }
    }
}

impl Handler<LookedUp> for ChatServer {
    type Result = ();

    fn handle(&mut self, LookedUp { open, found }: LookedUp, ctx: &mut Context<Self>) {
        match found {
            Err(error) => drop(open.reply.send(Err(error.into()))),
            Ok((head, row)) => {
                if let Some(row) = row {
                    self.settle_row(&open.room, row, ctx);
                }
                if self.rooms.contains_key(&open.room) {
                    self.open_now(open, head);
                } else {
                    // Nobody used it meanwhile.
                    self.stats.server_queue.add(1);
                    self.take(RoomCommand::Open(open), ctx);
                }
            }
        }
    }
}

impl Handler<Warmed> for ChatServer {
    type Result = ();

    fn handle(&mut self, Warmed { room: name, row }: Warmed, ctx: &mut Context<Self>) {
        let Some(room) = self.room_mut(&name) else { return };
        match row {
            Err(error) => {
                let error = WireError::from(error);
                room.waiting.unread().into_iter().for_each(|join| drop(join.reply.send(Err(error.clone()))));
            }
            Ok(row) => {
                let head = row.as_ref().map_or(Seq(0), |row| row.head);
                room.waiting.was_read(head, Instant::now());
                if let Some(row) = row {
                    self.settle_row(&name, row, ctx);
                }
                if let Some(room) = self.room_mut(&name) {
                    room.followed = true;
                }
                // What is missing will not come by itself.
                self.apply(&name, Input::HoleDue, ctx);
                self.release_joins(&name);
            }
        }
        self.warm(&name, ctx);
    }
}
