//! Who belongs to a room, who is in it, who is typing. A change of members has reached the Dispatchers before it is
//! answered. Part of the actor in `chat_server`.

use std::sync::Arc;

use actix::prelude::*;

use super::{
    chat_server::ChatServer,
    dispatcher::Dispatcher,
    handle::{Change, Presence, TellRead, Typing},
    messages::Audience,
    room::{Entry, RoomCommand},
};
use crate::{
    protocol::{ErrorCode, RoomName, WireError, notice},
    store::{ChangeError, Changed, RoomChange, RoomRow, UserKey},
};

/// A change was made or refused; the room's row was read after it.
#[derive(Message)]
#[rtype(result = "()")]
struct RoomChanged {
    asked: Change,
    outcome: Result<(Changed, Option<RoomRow>), WireError>,
}

impl ChatServer {
    pub(super) fn change(&mut self, asked: Change, ctx: &Context<Self>) {
        let auto_create = self.bounds.auto_create;
        let Some(room) = self.room_mut(&asked.room) else { return };
        let key = match room.judge(asked.by.right(), auto_create).and(room.key.ok_or_else(WireError::room_not_found)) {
            Ok(key) => key,
            Err(error) => return drop(asked.reply.send(Err(error))),
        };
        let (store, server) = (Arc::clone(&self.store), ctx.address());
        actix::spawn(async move {
            let outcome = async {
                let changed = store.change_room(key, &asked.by, asked.change.clone()).await?;
                let row = store.room(&asked.room).await?;
                Ok((changed, row))
            };
            let outcome = outcome.await.map_err(|error: ChangeError| error.into());
            #[expect(clippy::disallowed_methods, reason = "one for each change that was asked for and waits")]
            server.do_send(RoomChanged { asked, outcome });
        });
    }

    /// Tells whom a change concerns, unless a later change has overtaken it.
    fn tell_change(&self, asked: &Change, changed: &Changed) {
        let room = &asked.room;
        let still = |user: &UserKey, member: bool| match self.rooms.get(room) {
            Some(Entry::Ready(room)) if room.is_private() => room.members().contains(user) == member,
            _ => true,
        };
        match (changed, &asked.change) {
            (Changed::Member { user, role, .. }, RoomChange::Put { user: id, .. }) if still(user, true) => {
                self.notify(&Audience::User(*user, None), &notice::member_added(room, id, role.as_str()));
            }
            (Changed::Removed { user }, RoomChange::Remove { user: id }) if still(user, false) => {
                self.notify(&Audience::User(*user, None), &notice::member_removed(room, id));
            }
            (Changed::Banned { user }, RoomChange::Ban { user: id, until, reason, .. }) => {
                let notice = notice::banned(room, id, *until, reason.as_deref());
                self.notify(&Audience::User(*user, None), &notice);
            }
            (Changed::Retitled { members }, RoomChange::Retitle(title)) => {
                let everybody = Audience::Everybody(Some(room.clone()), members.as_slice().into());
                self.notify(&everybody, &notice::room_updated(room, title));
            }
            _ => {}
        }
    }

    pub(super) fn typing(&mut self, Typing { room: name, user, reply }: Typing) {
        let (auto_create, most) = (self.bounds.auto_create, self.bounds.typing_members);
        let Some(room) = self.room_mut(&name) else { return };
        let judged = room.judge(user.right(), auto_create);
        let tells = judged.is_ok() && room.tells_typing(user.key, most);
        if tells {
            self.notify(&Audience::Others(name.clone(), user.key), &notice::typing(&name, &user.id, &user.name));
        }
        drop(reply.send(judged));
    }

    pub(super) fn presence(&mut self, Presence { room: name, user, reply }: Presence) {
        let auto_create = self.bounds.auto_create;
        let Some(room) = self.room_mut(&name) else { return };
        let judged = room.judge(user.right(), auto_create);
        let asked = judged.map(|()| {
            let elsewhere = self.mirror.bus().map(|bus| bus.ask(&name));
            (self.workers_in(&name), elsewhere)
        });
        drop(reply.send(asked));
    }

    /// The workers that have sessions in a room.
    pub(super) fn workers_in(&self, room: &RoomName) -> Vec<Addr<Dispatcher>> {
        let Some(Entry::Ready(room)) = self.rooms.get(room) else { return Vec::new() };
        room.workers().filter_map(|worker| self.workers.get(worker.0)?.dispatcher.clone()).collect()
    }
}

impl Handler<Change> for ChatServer {
    type Result = ();

    fn handle(&mut self, change: Change, ctx: &mut Context<Self>) {
        self.take(RoomCommand::Change(change), ctx);
    }
}

impl Handler<Typing> for ChatServer {
    type Result = ();

    fn handle(&mut self, typing: Typing, ctx: &mut Context<Self>) {
        self.take(RoomCommand::Typing(typing), ctx);
    }
}

impl Handler<Presence> for ChatServer {
    type Result = ();

    fn handle(&mut self, presence: Presence, ctx: &mut Context<Self>) {
        self.take(RoomCommand::Presence(presence), ctx);
    }
}

impl Handler<TellRead> for ChatServer {
    type Result = ();

    fn handle(&mut self, TellRead { room, user, seq, except }: TellRead, _: &mut Context<Self>) {
        self.stats.server_queue.sub(1);
        self.notify(&Audience::User(user.key, except), &notice::read(&room, seq));
    }
}

impl Handler<RoomChanged> for ChatServer {
    type Result = ();

    fn handle(&mut self, RoomChanged { asked, outcome }: RoomChanged, ctx: &mut Context<Self>) {
        let answer = match outcome {
            Err(error) => {
                // Whether it was made is not known where the database did not answer: what is there now counts.
                if error.retryable {
                    self.refresh_once(asked.room.clone(), ctx);
                }
                Err(error)
            }
            Ok((changed, row)) => {
                if let Some(row) = row {
                    self.settle_row(&asked.room, row, ctx);
                    self.publish(&asked.room, &[]);
                }
                self.tell_change(&asked, &changed);
                Ok(changed)
            }
        };
        drop(asked.reply.send(answer));
    }
}

impl From<ChangeError> for WireError {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Forbidden(why) => Self::forbidden(why),
            ChangeError::Banned => Self::new(ErrorCode::Banned, error.to_string()),
            ChangeError::LastOwner => Self::new(ErrorCode::LastOwner, error.to_string()),
            ChangeError::UnknownUser => Self::new(ErrorCode::UserNotFound, error.to_string()),
            ChangeError::RoomGone => Self::room_not_found(),
            ChangeError::Store(error) => error.into(),
        }
    }
}
