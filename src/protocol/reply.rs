//! What the hub says to one client alone: answers, errors, heartbeats, goodbyes. Room events are in `event`.

use std::{borrow::Cow, sync::Arc};

use bytestring::ByteString;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::{ClientId, CloseCode, Epoch, RequestId, RoomName, Seq, Timestamp, UserId, WireError};

/// A frame to one client, before its dialect gives it a form.
#[derive(Debug)]
pub enum Reply {
    /// The session is authenticated.
    Hello(Hello),
    /// A room is joined.
    Joined {
        /// The command's id.
        id: Option<RequestId>,
        /// The room.
        room: RoomName,
        /// Where the session stands in it.
        standing: Standing,
    },
    /// The session goes on with a new token.
    Refreshed {
        /// The command's id.
        id: Option<RequestId>,
        /// Time left to the new token.
        expires_in_ms: u64,
    },
    /// The session's token ends soon.
    TokenExpiring {
        /// Time left to it.
        in_ms: u64,
    },
    /// The rooms of a `resume`, in the order of the command.
    Resumed {
        /// The command's id.
        id: Option<RequestId>,
        /// Each room's name as it was given, and what became of it.
        rooms: Vec<(String, Result<Standing, WireError>)>,
    },
    /// Something is done that has no other answer: a room is left, typing is told.
    Done {
        /// The command's id.
        id: Option<RequestId>,
        /// The room.
        room: RoomName,
    },
    /// A message is stored.
    Sent {
        /// The command's id.
        id: Option<RequestId>,
        /// The room.
        room: RoomName,
        /// The message's own id of the client's.
        client_id: Option<ClientId>,
        /// Its number. No cursor: events before it may still be on their way.
        seq: Seq,
        /// When it was stored.
        timestamp: Timestamp,
        /// Whether it had been stored before, by an earlier try.
        repeat: bool,
    },
    /// A part of a room's log, each event as it went out.
    History {
        /// The command's id.
        id: Option<RequestId>,
        /// The room.
        room: RoomName,
        /// The events, ascending.
        events: Vec<ByteString>,
        /// The room's newest number.
        head: Seq,
        /// Whether there is more on the far side.
        more: bool,
    },
    /// A command was refused.
    Error {
        /// The command's id.
        id: Option<RequestId>,
        /// Why.
        error: WireError,
    },
    /// The heartbeat.
    Ping,
    /// The answer to a client's `ping`.
    Pong {
        /// The command's id.
        id: Option<RequestId>,
    },
    /// The session fell behind in a room and catches up by itself; or, with a reset, it can't.
    Lagged {
        /// The room.
        room: RoomName,
        /// Where it goes on, when what is between can only be had as history.
        reset: Option<(Seq, Epoch)>,
    },
    /// The user's own read marker is stored.
    Read {
        /// The command's id.
        id: Option<RequestId>,
        /// The room.
        room: RoomName,
        /// The marker.
        seq: Seq,
    },
    /// Who is in a room.
    Presence {
        /// The command's id.
        id: Option<RequestId>,
        /// The room.
        room: RoomName,
        /// Who.
        presence: PresenceReply,
    },
    /// The hub is about to close the socket.
    Bye {
        /// The close code that follows.
        code: CloseCode,
        /// Milliseconds to wait before coming back.
        after_ms: u64,
    },
}

/// What a client should know of its session.
#[derive(Clone, Debug, Serialize)]
pub struct Hello {
    /// The session's id, for logs.
    pub session: String,
    /// The user's name.
    pub user: String,
    /// The user.
    pub user_id: UserId,
    /// [`super::SUBPROTOCOL`].
    pub protocol: &'static str,
    /// What this hub can beyond the protocol's first version.
    pub features: &'static [&'static str],
    /// Bounds that a client should keep.
    pub limits: Limits,
    /// How often the hub sends a ping; twice that without any frame means that the connection is gone.
    pub ping_interval_ms: u64,
    /// Time left to the token.
    pub token_expires_in_ms: u64,
}

/// Bounds that a client should keep, in `hello`.
#[derive(Clone, Debug, Serialize)]
pub struct Limits {
    /// Unicode scalar values of a message's text.
    pub message_chars: usize,
    /// Bytes of a message's `data`.
    pub data_bytes: usize,
    /// Bytes of a frame.
    pub frame_bytes: usize,
    /// Commands a second, in the long run.
    pub commands_per_second: u32,
    /// Rooms joined at a time.
    pub rooms: usize,
}

/// Who is in a room, over WebSocket and HTTP.
#[derive(Clone, Debug, Serialize)]
pub struct PresenceReply {
    /// How many users.
    pub count: usize,
    /// The first hundred by their ids: id and name.
    #[serde(serialize_with = "named")]
    pub users: Vec<(UserId, Arc<str>)>,
}

fn named<S: Serializer>(users: &[(UserId, Arc<str>)], serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Named<'a> {
        user_id: &'a UserId,
        user: &'a str,
    }
    serializer.collect_seq(users.iter().map(|(user_id, user)| Named { user_id, user }))
}

/// Where a session stands in a room that it just joined.
#[derive(Clone, Debug, Serialize)]
pub struct Standing {
    /// The room's newest number.
    pub head: Seq,
    /// Which history the numbers belong to.
    pub epoch: Epoch,
    /// How many missed events follow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replay: Option<u64>,
    /// The cursor can't be served: page the history, then go on from `head`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub reset: bool,
}

/// One room's answer in a `resume`.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Resumed<'a> {
    /// It goes on.
    Standing(&'a Standing),
    /// It can't be joined.
    Refused {
        /// Why.
        error: &'a WireError,
    },
}

impl Reply {
    /// A part of a room's log as HTTP gives it.
    pub fn page(events: &[ByteString], head: Seq, more: bool) -> ByteString {
        #[derive(Serialize)]
        struct Page<'a> {
            messages: &'a RawValue,
            head: Seq,
            more: bool,
        }
        to_json(&Page { messages: &json_array(events), head, more })
    }
}

/// Serialises what can't fail: our own types have text keys and no failing parts.
pub(super) fn to_json(value: &impl Serialize) -> ByteString {
    serde_json::to_string(value).unwrap_or_default().into()
}

/// Joins events that are JSON already to one array.
pub(super) fn json_array(events: &[ByteString]) -> Cow<'_, RawValue> {
    let joined = format!("[{}]", events.iter().map(|event| &**event).collect::<Vec<_>>().join(","));
    RawValue::from_string(joined).map_or(Cow::Borrowed(RawValue::NULL), Cow::Owned)
}
