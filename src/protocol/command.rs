//! What a client may ask for, whatever dialect it speaks.

use std::sync::Arc;

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::{ClientId, Epoch, RoomName, Seq, WireError};

/// A command with the client's own id for it.
#[derive(Debug)]
pub struct Request {
    /// Echoed in the one reply; none where the client gave none.
    pub id: Option<RequestId>,
    /// What is asked.
    pub command: Command,
}

/// A number, or text of up to 64 characters, as it came: echoed and not interpreted.
#[derive(Clone, Debug)]
pub struct RequestId(Box<RawValue>);

impl RequestId {
    /// `None` where the JSON value is neither a number nor text, or is too long.
    pub(super) fn parse(raw: &RawValue) -> Option<Self> {
        let text = raw.get();
        let fits = match text.as_bytes().first() {
            Some(b'"') => serde_json::from_str::<String>(text).is_ok_and(|id| id.chars().count() <= 64),
            Some(b'-' | b'0'..=b'9') => text.len() <= 64,
            _ => false,
        };
        fits.then(|| Self(raw.to_owned()))
    }
}

impl Serialize for RequestId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

/// What a client asks of the hub.
#[derive(Debug)]
pub enum Command {
    /// Prove who this is; only as the first command of a socket that brought no token.
    Auth {
        /// The JWT.
        token: String,
    },
    /// Go on with a new token of the same user.
    Refresh {
        /// The JWT.
        token: String,
    },
    /// Receive a room's events from now on, or from a cursor.
    Join {
        /// The room.
        room: RoomName,
        /// The last event that the client has.
        position: Option<Position>,
    },
    /// Join several rooms, each from its cursor.
    Resume {
        /// In the order of the command.
        rooms: Vec<ResumeRoom>,
    },
    /// Receive a room's events no longer.
    Leave {
        /// The room.
        room: RoomName,
    },
    /// Say something.
    Send {
        /// The room.
        room: RoomName,
        /// What to say.
        draft: Draft,
    },
    /// Read older events.
    History {
        /// The room.
        room: RoomName,
        /// Which part.
        window: Window,
        /// How many at the most.
        limit: u64,
    },
    /// Say how far one has read.
    Read {
        /// The room.
        room: RoomName,
        /// The last event read.
        seq: Seq,
    },
    /// Say that one is typing.
    Typing {
        /// The room.
        room: RoomName,
    },
    /// Ask who is in a room.
    Presence {
        /// The room.
        room: RoomName,
    },
    /// Ask for a `pong`.
    Ping,
    /// The answer to the hub's `ping`.
    Pong,
}

/// One room of a `resume`: the name as it was given, and the room with its cursor where that is a name.
pub type ResumeRoom = (String, Result<(RoomName, Position), WireError>);

/// A client's cursor in a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// The last event that the client has.
    pub after: Seq,
    /// The history it belongs to; not compared where the client gives none.
    pub epoch: Option<Epoch>,
}

/// A message that is not stored yet. Its bounds are checked.
#[derive(Clone, Debug)]
pub struct Draft {
    /// The text; may be empty only where `data` is not.
    pub text: Arc<str>,
    /// The client's own id, by which a retry is known.
    pub client_id: Option<ClientId>,
    /// The app's JSON, as it came.
    pub data: Option<Arc<RawValue>>,
}

/// Which part of a room's log to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// The newest.
    Latest,
    /// Those after a number, oldest first.
    After(Seq),
    /// Those before a number: the nearest ones.
    Before(Seq),
    /// Those on both sides of a number, it included.
    Around(Seq),
}

impl Window {
    /// At most one of the three may be given.
    pub fn from_options(after: Option<i64>, before: Option<i64>, around: Option<i64>) -> Result<Self, WireError> {
        for (name, value) in [("after", after), ("before", before), ("around", around)] {
            if value.is_some_and(i64::is_negative) {
                return Err(WireError::bad_field(name, "must be a number from 0"));
            }
        }
        match (after, before, around) {
            (None, None, None) => Ok(Self::Latest),
            (Some(seq), None, None) => Ok(Self::After(Seq(seq))),
            (None, Some(seq), None) => Ok(Self::Before(Seq(seq))),
            (None, None, Some(seq)) => Ok(Self::Around(Seq(seq))),
            _ => Err(WireError::bad_field("after", "goes alone: only one of after, before and around")),
        }
    }

    /// How many events a page may hold: 1–100, 50 if left out.
    pub fn limit(limit: Option<i64>) -> Result<u64, WireError> {
        let limit = limit.unwrap_or(50);
        match u64::try_from(limit) {
            Ok(limit @ 1..=100) => Ok(limit),
            _ => Err(WireError::bad_field("limit", "must be a number from 1 to 100")),
        }
    }
}
