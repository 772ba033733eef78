//! Refusals that may be out of date: somebody who was let in on another node comes here before this node knows. Where others
//! may change rooms, nobody is refused a join, a message, a change or the presence before the database was asked whether the
//! room's rights are still those that are known. One question at a time for a room; a user's messages keep their order,
//! others' don't wait. Part of the actor in `chat_server`.

use std::{mem, sync::Arc};

use actix::prelude::*;

use super::{
    chat_server::ChatServer,
    room::{Entry, RoomCommand},
};
use crate::{
    protocol::{RoomName, WireError},
    store::{RoomRow, StoreError, UserKey},
};

/// What waits for a room's rights to be looked at again.
#[derive(Default)]
pub(super) struct Doubts {
    /// Came while the database was asked.
    waiting: Vec<RoomCommand>,
    /// Came before.
    asking: Vec<RoomCommand>,
}

impl Doubts {
    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.asking.is_empty()
    }

    /// Whether a message of this user's waits.
    pub(super) fn hold(&self, user: UserKey) -> bool {
        let theirs = |command: &RoomCommand| matches!(command, RoomCommand::Post(post) if post.user.key == user);
        self.waiting.iter().chain(&self.asking).any(theirs)
    }
}

/// The database was asked; the row is there where its rights are newer.
#[derive(Message)]
#[rtype(result = "()")]
struct Asked {
    room: RoomName,
    row: Result<Option<RoomRow>, StoreError>,
}

impl ChatServer {
    /// Whether somebody is refused by rights that may be out of date.
    pub(super) fn is_doubtful(&self, name: &RoomName, right: (UserKey, bool)) -> bool {
        let Some(Entry::Ready(room)) = self.rooms.get(name) else { return false };
        self.mirror.is_shared() && room.key.is_some() && room.judge(right, self.bounds.auto_create).is_err()
    }

    /// Keeps what is refused by the rights that are known, and asks for newer ones.
    pub(super) fn doubt(&mut self, command: RoomCommand, ctx: &Context<Self>) {
        let (most, name) = (self.bounds.queue, command.room().clone());
        let Some(room) = self.room_mut(&name) else { return command.refuse(WireError::unavailable()) };
        if room.doubts.waiting.len() >= most {
            return command.refuse(WireError::busy());
        }
        room.doubts.waiting.push(command);
        self.ask_for_rights(name, ctx);
    }

    fn admits(&mut self, name: &RoomName, right: (UserKey, bool)) -> bool {
        let auto_create = self.bounds.auto_create;
        self.room_mut(name).is_some_and(|room| room.judge(right, auto_create).is_ok())
    }

    fn ask_for_rights(&mut self, name: RoomName, ctx: &Context<Self>) {
        let Some(Entry::Ready(room)) = self.rooms.get_mut(&name) else { return };
        let Some(key) = room.key.filter(|_| room.doubts.asking.is_empty() && !room.doubts.waiting.is_empty()) else {
            return;
        };
        room.doubts.asking = mem::take(&mut room.doubts.waiting);
        let (known, store, server) = (room.rights, Arc::clone(&self.store), ctx.address());
        actix::spawn(async move {
            let row = async {
                let newer = store.heads(vec![(key, name.clone())]).await?.iter().any(|(.., rights)| *rights > known);
                if newer { store.room(&name).await } else { Ok(None) }
            };
            let row = row.await;
            #[expect(clippy::disallowed_methods, reason = "one at a time for each room")]
            server.do_send(Asked { room: name, row });
        });
    }
}

impl Handler<Asked> for ChatServer {
    type Result = ();

    fn handle(&mut self, Asked { room: name, row }: Asked, ctx: &mut Context<Self>) {
        let Some(room) = self.room_mut(&name) else { return };
        let asked = mem::take(&mut room.doubts.asking);
        match row {
            Err(error) => {
                // What this node knows is all there is: it refuses some, and nobody can say whether rightly.
                let error = WireError::from(error);
                for command in asked {
                    match command {
                        RoomCommand::Post(post) if self.admits(&name, (post.user.key, post.admin)) => {
                            self.post_now(post, ctx);
                        }
                        command => command.refuse(error.clone()),
                    }
                }
            }
            Ok(row) => {
                if let Some(row) = row {
                    self.settle_row(&name, row, ctx);
                }
                for command in asked {
                    match command {
                        RoomCommand::Join(join) => self.join_now(join),
                        RoomCommand::Post(post) => self.post_now(post, ctx),
                        RoomCommand::Change(change) => self.change(change, ctx),
                        RoomCommand::Presence(presence) => self.presence(presence),
                        // Nothing else is doubted.
                        other => other.refuse(WireError::internal()),
                    }
                }
            }
        }
        self.ask_for_rights(name, ctx);
    }
}
