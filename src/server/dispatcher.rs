//! The Dispatcher actor: the ChatServer's hand on one worker. It knows the worker's sessions by room and by user, and
//! gives them what they share with `try_send`. Lives on the worker's thread; its queue is `limits.dispatcher_queue`
//! deliveries, each session's queue is its Outbox.

use std::{
    collections::{HashMap, HashSet},
    rc::Rc,
    sync::Arc,
};

use actix::prelude::*;
use bytestring::ByteString;
use indexmap::{IndexMap, IndexSet};

use super::{Online, Outbox, SessionId, WorkerId, chat_server::ChatServer};
use crate::{
    protocol::{CloseCode, RoomName, Seq},
    room::Numbered,
    stats::Stats,
    store::{User, UserKey},
};

/// What a session receives.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub enum ToSession {
    /// Live events of a room, in order.
    Events {
        /// The room.
        room: RoomName,
        /// The events, encoded once for all.
        events: Arc<[Numbered<ByteString>]>,
        /// Bytes of them.
        bytes: usize,
    },
    /// A room has got this far, and what is between must be read.
    Behind {
        /// The room.
        room: RoomName,
        /// Its head.
        head: Seq,
    },
    /// Something for this user, which has no number and may be lost.
    Notice(ByteString),
    /// The session was taken out of a room: its Outbox says of which.
    Removed,
    /// Say goodbye and close.
    Close {
        /// Why.
        code: CloseCode,
        /// Milliseconds after which the client should come back.
        after_ms: u64,
    },
}

/// A session is there and authenticated.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Register {
    /// The session.
    pub session: SessionId,
    /// Whose it is.
    pub user: Arc<User>,
    /// Where its frames go: the one clone that is ever used for them.
    pub recipient: Recipient<ToSession>,
    /// The counters of its queue.
    pub outbox: Arc<Outbox>,
}

/// A session is gone.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Unregister {
    /// The session.
    pub session: SessionId,
}

/// A session leaves a room that it had joined.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Detach {
    /// The session.
    pub session: SessionId,
    /// The room.
    pub room: RoomName,
}

/// A session joins a room; from here on it receives the room's events.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Attach {
    pub(super) session: SessionId,
    pub(super) room: RoomName,
}

/// These sessions have left this room, for the ChatServer's counters.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Detached {
    pub(super) worker: WorkerId,
    pub(super) rooms: Vec<RoomName>,
}

/// A room's next events.
#[derive(Clone, Message)]
#[rtype(result = "()")]
pub(super) struct Deliver {
    pub(super) room: RoomName,
    pub(super) events: Arc<[Numbered<ByteString>]>,
}

/// Rooms of which deliveries did not fit into this Dispatcher's queue, and where they stand.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct FellBehind {
    pub(super) rooms: Vec<(RoomName, Seq)>,
}

/// Something that has no number and may be lost, for some sessions.
#[derive(Clone, Message)]
#[rtype(result = "()")]
pub(super) struct Notify {
    pub(super) audience: Audience,
    pub(super) notice: ByteString,
}

/// Who is told.
#[derive(Clone)]
pub(super) enum Audience {
    /// All sessions of a user, but for one.
    User(UserKey, Option<SessionId>),
    /// All sessions in a room, but for those of a user.
    Others(RoomName, UserKey),
    /// All sessions of a room's members, and whoever else is in it.
    Everybody(RoomName, Arc<[UserKey]>),
}

/// Only these users (and admins) may be in this room: others' sessions leave it before anything else happens there.
#[derive(Clone, Message)]
#[rtype(result = "()")]
pub(super) struct Retain {
    pub(super) room: RoomName,
    pub(super) members: Arc<HashSet<UserKey>>,
}

/// Ask who is in a room on this worker.
#[derive(Message)]
#[rtype(result = "Vec<Arc<User>>")]
pub(super) struct WhoIsHere {
    pub(super) room: RoomName,
}

/// Tell every session to come back later, each at a time of its own, over `spread_ms`.
#[derive(Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct StopSessions {
    /// Milliseconds over which the clients should come back.
    pub spread_ms: u64,
}

struct Local {
    user: Arc<User>,
    recipient: Recipient<ToSession>,
    outbox: Arc<Outbox>,
}

impl Local {
    /// Queues a message of so many frames and bytes, or notes the room as missed.
    fn queue(&self, message: ToSession, frames: usize, bytes: usize, stats: &Stats) -> bool {
        if !self.outbox.admit(frames, bytes) {
            return false;
        }
        if self.recipient.try_send(message).is_err() {
            self.outbox.release(frames, bytes);
            return false;
        }
        stats.session_queues.add(frames);
        true
    }

    /// Notes a room as missed up to `head`.
    fn miss(&self, room: &RoomName, head: Seq, stats: &Stats) {
        if self.outbox.miss(room, head) {
            stats.lagging.add(1);
        }
    }
}

/// The actor.
pub struct Dispatcher {
    worker: WorkerId,
    server: Addr<ChatServer>,
    stats: Arc<Stats>,
    online: Arc<Online>,
    sessions: HashMap<SessionId, (Rc<Local>, HashSet<RoomName>)>,
    rooms: HashMap<RoomName, IndexMap<SessionId, Rc<Local>>>,
    users: HashMap<UserKey, IndexSet<SessionId>>,
}

impl Dispatcher {
    /// A Dispatcher for this worker, which is to be started on its thread; `queue` is how many deliveries may wait.
    pub fn start_on(
        worker: WorkerId,
        server: Addr<ChatServer>,
        stats: Arc<Stats>,
        online: Arc<Online>,
        queue: usize,
    ) -> Addr<Self> {
        Self::create(move |ctx| {
            ctx.set_mailbox_capacity(queue);
            let (sessions, rooms, users) = (HashMap::new(), HashMap::new(), HashMap::new());
            Self { worker, server, stats, online, sessions, rooms, users }
        })
    }

    fn detach(&mut self, session: SessionId, room: &RoomName) {
        if let Some(members) = self.rooms.get_mut(room) {
            members.swap_remove(&session);
            if members.is_empty() {
                self.rooms.remove(room);
            }
        }
    }

    fn tell_detached(&self, rooms: Vec<RoomName>) {
        if !rooms.is_empty() {
            #[expect(
                clippy::disallowed_methods,
                reason = "at most one for each join, and a session joins one at a time"
            )]
            self.server.do_send(Detached { worker: self.worker, rooms });
        }
    }
}

impl Actor for Dispatcher {
    type Context = Context<Self>;
}

impl Handler<Register> for Dispatcher {
    type Result = ();

    fn handle(&mut self, Register { session, user, recipient, outbox }: Register, _: &mut Context<Self>) {
        self.online.enter(user.key);
        self.users.entry(user.key).or_default().insert(session);
        self.sessions.insert(session, (Rc::new(Local { user, recipient, outbox }), HashSet::new()));
    }
}

impl Handler<Unregister> for Dispatcher {
    type Result = ();

    fn handle(&mut self, Unregister { session }: Unregister, _: &mut Context<Self>) {
        let Some((local, rooms)) = self.sessions.remove(&session) else { return };
        self.stats.session_queues.sub(local.outbox.frames());
        if local.outbox.has_missed() {
            self.stats.lagging.sub(1);
        }
        self.online.leave(local.user.key);
        if let Some(sessions) = self.users.get_mut(&local.user.key) {
            sessions.swap_remove(&session);
            if sessions.is_empty() {
                self.users.remove(&local.user.key);
            }
        }
        for room in &rooms {
            self.detach(session, room);
        }
        self.tell_detached(rooms.into_iter().collect());
    }
}

impl Handler<Attach> for Dispatcher {
    type Result = ();

    fn handle(&mut self, Attach { session, room }: Attach, _: &mut Context<Self>) {
        if let Some((local, rooms)) = self.sessions.get_mut(&session)
            && rooms.insert(room.clone())
        {
            self.rooms.entry(room).or_default().insert(session, Rc::clone(local));
        } else {
            // Gone since it asked, or attached already: the ChatServer has counted one too many.
            self.tell_detached(vec![room]);
        }
    }
}

impl Handler<Detach> for Dispatcher {
    type Result = ();

    fn handle(&mut self, Detach { session, room }: Detach, _: &mut Context<Self>) {
        if self.sessions.get_mut(&session).is_some_and(|(_, rooms)| rooms.remove(&room)) {
            self.detach(session, &room);
            self.tell_detached(vec![room]);
        }
    }
}

impl Handler<Deliver> for Dispatcher {
    type Result = ();

    fn handle(&mut self, Deliver { room, events }: Deliver, _: &mut Context<Self>) {
        self.stats.dispatcher_queue.sub(1);
        let (Some(members), Some(last)) = (self.rooms.get(&room), events.last()) else { return };
        let (frames, head) = (events.len(), last.seq);
        let bytes = events.iter().map(|event| event.event.len()).sum();
        let whole = ToSession::Events { room: room.clone(), events, bytes };
        for local in members.values() {
            // What does not fit at all is read page by page; what does not fit now is caught up after draining.
            let queued = local.queue(whole.clone(), frames, bytes, &self.stats)
                || local.queue(ToSession::Behind { room: room.clone(), head }, 1, 0, &self.stats);
            if !queued {
                local.miss(&room, head, &self.stats);
            }
        }
    }
}

impl Handler<FellBehind> for Dispatcher {
    type Result = ();

    fn handle(&mut self, FellBehind { rooms }: FellBehind, _: &mut Context<Self>) {
        for (room, head) in rooms {
            for local in self.rooms.get(&room).into_iter().flat_map(IndexMap::values) {
                if !local.queue(ToSession::Behind { room: room.clone(), head }, 1, 0, &self.stats) {
                    local.miss(&room, head, &self.stats);
                }
            }
        }
    }
}

impl Handler<Notify> for Dispatcher {
    type Result = ();

    fn handle(&mut self, Notify { audience, notice }: Notify, _: &mut Context<Self>) {
        let of = |user: &UserKey| self.users.get(user).into_iter().flatten().copied();
        let inside = |room: &RoomName| self.rooms.get(room).into_iter().flat_map(IndexMap::keys).copied();
        let told: IndexSet<SessionId> = match &audience {
            Audience::User(user, except) => of(user).filter(|session| Some(*session) != *except).collect(),
            Audience::Others(room, user) => {
                let theirs: IndexSet<_> = of(user).collect();
                inside(room).filter(|session| !theirs.contains(session)).collect()
            }
            Audience::Everybody(room, members) => members.iter().flat_map(of).chain(inside(room)).collect(),
        };
        for (local, _) in told.iter().filter_map(|session| self.sessions.get(session)) {
            // Without a number it may be lost; a client reads GET /api/me/rooms again after a reconnect.
            local.queue(ToSession::Notice(notice.clone()), 1, notice.len(), &self.stats);
        }
    }
}

impl Handler<Retain> for Dispatcher {
    type Result = ();

    fn handle(&mut self, Retain { room, members }: Retain, _: &mut Context<Self>) {
        let stays = |user: &User| user.admin || members.contains(&user.key);
        let inside = self.rooms.get(&room).into_iter().flatten();
        let gone: Vec<_> = inside.filter(|(_, local)| !stays(&local.user)).map(|(session, _)| *session).collect();
        for session in &gone {
            let Some((local, rooms)) = self.sessions.get_mut(session) else { continue };
            // The Outbox says it, whether or not there is a place to wake the session at once.
            local.outbox.remove(&room);
            drop(local.recipient.try_send(ToSession::Removed));
            rooms.remove(&room);
            self.detach(*session, &room);
        }
        self.tell_detached(vec![room; gone.len()]);
    }
}

impl Handler<WhoIsHere> for Dispatcher {
    type Result = Vec<Arc<User>>;

    fn handle(&mut self, WhoIsHere { room }: WhoIsHere, _: &mut Context<Self>) -> Vec<Arc<User>> {
        let users = self.rooms.get(&room).into_iter().flat_map(IndexMap::values).map(|local| &local.user);
        let distinct: IndexMap<UserKey, &Arc<User>> = users.map(|user| (user.key, user)).collect();
        distinct.into_values().cloned().collect()
    }
}

impl Handler<StopSessions> for Dispatcher {
    type Result = ();

    fn handle(&mut self, StopSessions { spread_ms }: StopSessions, _: &mut Context<Self>) {
        for (local, _) in self.sessions.values() {
            let after_ms = rand::random_range(0..=spread_ms);
            let close = ToSession::Close { code: CloseCode::Drain, after_ms };
            if local.recipient.try_send(close).is_err() {
                tracing::debug!("a session takes nothing and is cut at the end");
            }
        }
    }
}
