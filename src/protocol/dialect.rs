//! The dialects as one type: text in, a [`Request`] out; a [`Reply`] in, text out where the dialect has words for it.

use bytestring::ByteString;

use super::{MessageLimits, Reply, Request, RequestId, RoomName, WireError, native, plain};

/// How a socket speaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// `/ws`: commands with ids, many rooms.
    Native,
    /// `/ws/chat/…`: the tutorial's, one room which it joins by itself.
    Plain {
        /// The room.
        room: RoomName,
        /// Whether the client gave a cursor: then it knows of the hub and is told of a reset.
        resumes: bool,
    },
}

/// A frame that is no command: why, and the id to answer with where one could be read.
#[derive(Debug)]
pub struct Failure {
    /// The command's id.
    pub id: Option<RequestId>,
    /// What is wrong.
    pub error: WireError,
}

impl Dialect {
    /// Reads one text frame.
    pub fn parse(&self, text: &str, limits: &MessageLimits) -> Result<Request, Failure> {
        match self {
            Self::Native => native::parse(text, limits),
            Self::Plain { room, .. } => plain::parse(text, room, limits),
        }
    }

    /// The frame for a reply; `None` where this dialect does not say it.
    pub fn encode(&self, reply: &Reply) -> Option<ByteString> {
        match self {
            Self::Native => Some(native::encode(reply)),
            Self::Plain { resumes, .. } => plain::encode(reply, *resumes),
        }
    }

    /// The dialect's name, for logs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Plain { .. } => "plain",
        }
    }
}
