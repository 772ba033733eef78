//! Rooms' rows that were read again: new rights are taken in, whoever lost theirs leaves the room before anything more is
//! delivered there, and heads are compared. Part of the actor in `chat_server`.

use std::{sync::Arc, time::Duration};

use actix::prelude::*;

use super::{chat_server::ChatServer, messages::Retain, room::Entry};
use crate::{
    protocol::{RoomName, Seq},
    room::Input,
    store::{RoomKey, RoomRow, StoreError},
};

/// After a read that failed.
const READ_AGAIN: Duration = Duration::from_millis(500);
/// How often rooms are compared with a database that other processes write to.
pub(super) const COMPARE: Duration = Duration::from_secs(1);

/// A room's row, which may have changed.
#[derive(Message)]
#[rtype(result = "()")]
struct Refreshed {
    room: RoomName,
    row: Result<Option<RoomRow>, StoreError>,
}

/// Where rooms stand in the database: newest event and revision of the rights.
#[derive(Message)]
#[rtype(result = "()")]
struct Compared(Result<Vec<(RoomName, Seq, i64)>, StoreError>);

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
                self.apply(name, Input::Head(head), ctx);
            }
        }
    }

    /// Reads a room's row again, until it was read.
    pub(super) fn refresh(&self, room: RoomName, ctx: &Context<Self>) {
        let (store, server) = (Arc::clone(&self.store), ctx.address());
        actix::spawn(async move {
            let row = store.room(&room).await;
            #[expect(clippy::disallowed_methods, reason = "one for each room that may have changed")]
            server.do_send(Refreshed { room, row });
        });
    }

    /// Asks a database that other processes may write to where the rooms stand that have sessions here.
    pub(super) fn compare(&mut self, ctx: &Context<Self>) {
        let occupied = |(name, entry): (&RoomName, &Entry)| match entry {
            Entry::Ready(room) if room.workers().next().is_some() => room.key.map(|key| (key, name.clone())),
            _ => None,
        };
        let rooms: Vec<(RoomKey, RoomName)> = self.rooms.iter().filter_map(occupied).collect();
        if self.comparing || rooms.is_empty() {
            return;
        }
        self.comparing = true;
        let (store, server) = (Arc::clone(&self.store), ctx.address());
        actix::spawn(async move {
            let found = store.heads(rooms).await;
            #[expect(clippy::disallowed_methods, reason = "one at a time")]
            server.do_send(Compared(found));
        });
    }
}

impl Handler<Refreshed> for ChatServer {
    type Result = ();

    fn handle(&mut self, Refreshed { room, row }: Refreshed, ctx: &mut Context<Self>) {
        match row {
            Ok(Some(row)) => self.settle_row(&room, row, ctx),
            Ok(None) => {}
            Err(_) if self.rooms.contains_key(&room) => {
                ctx.run_later(READ_AGAIN, move |server, ctx| server.refresh(room, ctx));
            }
            Err(_) => {}
        }
    }
}

impl Handler<Compared> for ChatServer {
    type Result = ();

    fn handle(&mut self, Compared(found): Compared, ctx: &mut Context<Self>) {
        self.comparing = false;
        for (name, head, rights) in found.unwrap_or_default() {
            let Some(room) = self.room_mut(&name) else { continue };
            if room.rights != rights {
                self.refresh(name.clone(), ctx);
            }
            self.apply(&name, Input::Head(head), ctx);
        }
    }
}
