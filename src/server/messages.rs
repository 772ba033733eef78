//! What sessions and their worker's Dispatcher say to each other, and what the ChatServer says to Dispatchers.

use std::{collections::HashSet, sync::Arc, time::Instant};

use actix::prelude::*;
use bytestring::ByteString;
use serde::Serialize;

use super::{Outbox, Place, SessionId, Wire, WorkerId};
use crate::{
    protocol::{CloseCode, RoomName, Seq},
    room::Numbered,
    store::{Answer, TokenMark, User, UserKey},
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
    /// The heartbeat is due.
    Heartbeat,
    /// The session's token ends soon.
    TokenExpiring,
    /// The session was taken out of a room, or must close: its Outbox says what.
    Look,
    /// The session said goodbye, its client did not in time: end.
    End,
    /// Say goodbye and close.
    Close {
        /// Why.
        code: CloseCode,
        /// Milliseconds after which the client should come back.
        after_ms: u64,
    },
}

/// A socket is open, with or without a token.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Opened {
    /// The session.
    pub session: SessionId,
    /// Where its frames go: the one clone that is ever used for them.
    pub recipient: Recipient<ToSession>,
    /// The counters of its queue.
    pub outbox: Arc<Outbox>,
    /// Its socket.
    pub wire: Arc<Wire>,
    /// Whether it must bring a token in time.
    pub awaits_token: bool,
}

/// A session is authenticated, for the first time or with a new token.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Register {
    /// The session.
    pub session: SessionId,
    /// Who, by which token, till when.
    pub holder: Holder,
}

/// Whose a session is, and how long.
#[derive(Clone, Debug)]
pub struct Holder {
    /// Who.
    pub user: Arc<User>,
    /// Whether they speak the tutorial's dialect.
    pub plain: bool,
    /// What their token can be revoked by.
    pub mark: TokenMark,
    /// When the session is told that its token ends soon, where its client can do something about it.
    pub warn_at: Option<Instant>,
    /// When the session ends.
    pub ends_at: Instant,
}

/// A session has said goodbye and waits for its client's.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Closing {
    /// The session.
    pub session: SessionId,
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
    pub(super) place: Arc<Place>,
}

/// These sessions have left this room, for the ChatServer's counters.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Detached {
    pub(super) worker: WorkerId,
    pub(super) rooms: Vec<RoomName>,
}

/// A room's next events.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Deliver {
    pub(super) room: RoomName,
    pub(super) events: Arc<[Numbered<ByteString>]>,
    /// When this node took the first message of these, where it has taken one.
    pub(super) taken: Option<Instant>,
    /// What sessions of this worker are told that have sent some of these.
    pub(super) answers: Vec<Answer>,
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
    /// All sessions of these users, and of whoever is in a room.
    Everybody(Option<RoomName>, Arc<[UserKey]>),
}

/// Who may be in a room has changed: others' sessions leave it before anything else happens there.
#[derive(Clone, Message)]
#[rtype(result = "()")]
pub(super) struct Retain {
    pub(super) room: RoomName,
    pub(super) guests: Guests,
}

/// Who may be in a room, beside admins.
#[derive(Clone, Debug)]
pub struct Guests {
    /// In a private room these alone.
    pub members: Option<Arc<HashSet<UserKey>>>,
    /// Never these.
    pub banned: Arc<HashSet<UserKey>>,
}

impl Guests {
    /// Whether this user is among them.
    pub fn admit(&self, user: &User) -> bool {
        let member = self.members.as_ref().is_none_or(|members| members.contains(&user.key));
        user.admin || (member && !self.banned.contains(&user.key))
    }
}

/// A user's rights have changed everywhere: sessions that may not go on are closed.
#[derive(Clone, Message)]
#[rtype(result = "()")]
pub(super) struct Enforce {
    pub(super) user: UserKey,
    pub(super) admin: bool,
}

/// Close this session, for an admin. Says whether it is here.
#[derive(Clone, Copy, Message)]
#[rtype(result = "bool")]
pub(super) struct CloseSession(pub(super) SessionId);

/// Which sessions has this user on this worker?
#[derive(Clone, Copy, Message)]
#[rtype(result = "Vec<SessionSummary>")]
pub(super) struct SessionsOf(pub(super) UserKey);

/// A session as an admin sees it.
#[derive(Clone, Debug, Serialize)]
pub struct SessionSummary {
    /// Its id, as in `hello`.
    pub session: String,
    /// For how long it has been open.
    pub open_for_s: u64,
    /// Rooms that it has joined.
    pub rooms: Vec<RoomName>,
    /// Frames that are queued for it.
    pub queued: usize,
    /// What is left until its token ends.
    pub ends_in_s: u64,
}

/// Ask who is in a room on this worker.
#[derive(Clone, Message)]
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
