//! What other nodes tell, and telling them. A frame of a room's log goes the same way as what this node commits, through
//! the room's log; one that speaks of rights that this node does not know makes it read the room's row first, and one of another
//! history is dropped.
//! Part of the actor in `chat_server`.

use std::{sync::Arc, time::Instant};

use actix::prelude::*;
use bytestring::ByteString;

use super::{
    chat_server::ChatServer,
    handle::workers_say,
    messages::{Audience, WhoIsHere},
    room::{Entry, FrameUse},
};
use crate::{
    mirror::{Channel, Frame, FromBus, Heard, LogFrame, Present, RoomState},
    protocol::{NodeId, RoomName, Seq},
    room::{Input, Numbered},
    store::UserKey,
};

/// Users that a node names when it is asked who is in a room.
const NAMED: usize = 5_000;
/// After so many holes in a row that only the database filled, a room's channel is subscribed anew.
const UNHEARD: u32 = 3;

impl ChatServer {
    /// Tells other nodes what was committed to a room here, or that something about it has changed.
    pub(super) fn publish(&self, name: &RoomName, events: &[Numbered<ByteString>]) {
        let Some(Entry::Ready(room)) = self.rooms.get(name) else { return };
        let head = events.last().map_or(room.log.head(), |last| last.seq);
        self.mirror.publish(name, &RoomState { epoch: room.epoch.clone(), rights: room.rights, head }, events);
    }

    /// Tells sessions on all nodes something that may be lost.
    pub(super) fn notify(&self, audience: &Audience, notice: &ByteString) {
        match audience {
            Audience::User(user, _) => {
                let frame = Frame::Users { users: vec![user.0], room: None, notice: notice.clone() };
                self.mirror.tell(Channel::All, frame);
            }
            Audience::Others(room, user) => {
                let frame = Frame::Others { but: user.0, notice: notice.clone() };
                self.mirror.tell(Channel::Room(room.clone()), frame);
            }
            Audience::Everybody(room, users) => {
                let users = users.iter().map(|user| user.0).collect();
                let room = room.as_ref().map(|room| room.as_str().to_owned());
                self.mirror.tell(Channel::All, Frame::Users { users, room, notice: notice.clone() });
            }
        }
        self.notify_here(audience, notice);
    }

    fn heard(&mut self, heard: Heard, ctx: &mut Context<Self>) {
        match heard {
            Heard::Log(room, log) => self.heard_log(&room, log, ctx),
            Heard::Others(name, but, notice) => {
                let most = self.bounds.typing_members;
                if self.room_mut(&name).is_some_and(|room| room.sessions() <= most) {
                    self.notify_here(&Audience::Others(name, UserKey(but)), &notice);
                }
            }
            Heard::Users(users, room, notice) => {
                let users = users.into_iter().map(UserKey).collect();
                self.notify_here(&Audience::Everybody(room, users), &notice);
            }
            Heard::WhoIsHere(room, node, ask) => self.answer(room, node, ask),
            Heard::ListSessions(search, node, ask) => self.answer_sessions(search, node, ask),
            Heard::Acts => self.ask_for_news(ctx),
            Heard::Missed => {
                self.ask_for_news(ctx);
                self.compare_all(ctx);
            }
        }
    }

    fn heard_log(&mut self, name: &RoomName, log: LogFrame, ctx: &mut Context<Self>) {
        match self.rooms.get_mut(name) {
            None => {}
            // Of which history it is will be known when the row is there.
            Some(Entry::Loading { heard, .. }) => *heard = true,
            // When they are known, all rooms are compared.
            Some(Entry::Ready(_)) if self.acts.are_unknown(Instant::now()) => {}
            Some(Entry::Ready(room)) => match room.judge_frame(&log) {
                FrameUse::Take => {
                    room.unheard = 0;
                    let numbered = |(seq, event)| Numbered { seq: Seq(seq), event };
                    self.apply(name, Input::Committed(log.events.into_iter().map(numbered).collect()), ctx);
                    self.apply(name, Input::Head(Seq(log.head)), ctx);
                }
                FrameUse::ReadRow => self.refresh_once(name.clone(), ctx),
                FrameUse::Drop => {}
            },
        }
    }

    /// A hole was filled by the database, although the bus works. It mostly just lost a frame; where it brings nothing at
    /// all, the subscription may be a dead one.
    pub(super) fn filled_by_database(&mut self, name: &RoomName) {
        let Some(bus) = self.mirror.bus().filter(|bus| bus.is_up()).map(Arc::clone) else { return };
        let Some(room) = self.room_mut(name) else { return };
        room.unheard = room.unheard.saturating_add(1);
        if room.unheard >= UNHEARD {
            room.unheard = 0;
            bus.unfollow(vec![name.clone()], true);
        }
    }

    /// Answers another node that wants to know who is in a room.
    fn answer(&mut self, room: RoomName, node: NodeId, ask: u64) {
        let workers = self.workers_in(&room);
        let mirror = self.mirror.clone();
        actix::spawn(async move {
            let here = workers_say(&workers, WhoIsHere { room }).await.unwrap_or_default();
            let present = |user: &Arc<crate::store::User>| Present {
                user_id: user.id.as_str().to_owned(),
                name: user.name.to_string(),
            };
            let users = here.iter().flatten().take(NAMED).map(present).collect();
            mirror.tell(Channel::Node(node), Frame::Here { ask, users });
        });
    }
}

impl Handler<FromBus> for ChatServer {
    type Result = ();

    fn handle(&mut self, FromBus { heard, bytes }: FromBus, ctx: &mut Context<Self>) {
        self.stats.mirror_inbox.sub(heard.len());
        self.stats.mirror_inbox_bytes.sub(bytes);
        for one in heard {
            self.heard(one, ctx);
        }
    }
}
