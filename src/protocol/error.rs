//! The one enum of error codes, used by WebSocket frames and HTTP answers alike.

use std::borrow::Cow;

use serde::{Serialize, Serializer};

/// Why a command or request was refused. docs/protocol.md has a line for each; a test holds it against this list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// The frame or body is not a JSON object in UTF-8 text.
    BadJson,
    /// No command has this `type`.
    UnknownType,
    /// A field is missing, of the wrong type or out of range; the message names it.
    BadField,
    /// The text, its `data` or the body is over its bound.
    TooLong,
    /// The text is blank and no `data` goes with it.
    Empty,
    /// The session has not joined the room.
    NotJoined,
    /// No such room, or none that this user may know of.
    RoomNotFound,
    /// The text is no room's name.
    BadRoomName,
    /// A room of this name is there already.
    RoomExists,
    /// The user has no right to do this.
    Forbidden,
    /// The user is banned from the room, for a time or for good.
    Banned,
    /// The `client_id` already names a message with other content.
    ClientIdReused,
    /// Too many commands; `retry_after_ms` says when to go on.
    RateLimited,
    /// A queue is full; the same command may be sent again.
    Busy,
    /// The database can't be reached or written; the same command may be sent again with the same `client_id`.
    Unavailable,
    /// No token, or one that does not verify.
    Unauthenticated,
    /// Too many rooms joined by this session, or made by this user.
    RoomLimit,
    /// There is no place for more of these.
    TooMany,
    /// A room's last owner can't leave or step down.
    LastOwner,
    /// No such user, and none may be made.
    UserNotFound,
    /// Nothing stands at this address, or not for this method (HTTP only).
    NotFound,
    /// The hub failed; its log says why.
    Internal,
}

impl ErrorCode {
    /// Every code, for the test that holds the docs against them.
    pub const ALL: [Self; 22] = [
        Self::BadJson,
        Self::UnknownType,
        Self::BadField,
        Self::TooLong,
        Self::Empty,
        Self::NotJoined,
        Self::RoomNotFound,
        Self::BadRoomName,
        Self::RoomExists,
        Self::Forbidden,
        Self::Banned,
        Self::ClientIdReused,
        Self::RateLimited,
        Self::Busy,
        Self::Unavailable,
        Self::Unauthenticated,
        Self::RoomLimit,
        Self::TooMany,
        Self::LastOwner,
        Self::UserNotFound,
        Self::NotFound,
        Self::Internal,
    ];

    /// The code on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadJson => "bad_json",
            Self::UnknownType => "unknown_type",
            Self::BadField => "bad_field",
            Self::TooLong => "too_long",
            Self::Empty => "empty",
            Self::NotJoined => "not_joined",
            Self::RoomNotFound => "room_not_found",
            Self::BadRoomName => "bad_room_name",
            Self::RoomExists => "room_exists",
            Self::Forbidden => "forbidden",
            Self::Banned => "banned",
            Self::ClientIdReused => "client_id_reused",
            Self::RateLimited => "rate_limited",
            Self::Busy => "busy",
            Self::Unavailable => "unavailable",
            Self::Unauthenticated => "unauthenticated",
            Self::RoomLimit => "room_limit",
            Self::TooMany => "too_many",
            Self::LastOwner => "last_owner",
            Self::UserNotFound => "user_not_found",
            Self::NotFound => "not_found",
            Self::Internal => "internal",
        }
    }

    /// Whether the same command may succeed later without a change.
    pub fn is_retryable(self) -> bool {
        matches!(self, Self::RateLimited | Self::Busy | Self::Unavailable)
    }

    /// The HTTP status that goes with the code.
    pub fn http_status(self) -> u16 {
        match self {
            Self::BadJson | Self::UnknownType | Self::BadField | Self::Empty | Self::NotJoined | Self::BadRoomName => {
                400
            }
            Self::Unauthenticated => 401,
            Self::Forbidden | Self::Banned => 403,
            Self::RoomNotFound | Self::UserNotFound | Self::NotFound => 404,
            Self::RoomExists | Self::ClientIdReused | Self::LastOwner | Self::TooMany => 409,
            Self::TooLong => 413,
            Self::RateLimited | Self::RoomLimit => 429,
            Self::Internal => 500,
            Self::Busy | Self::Unavailable => 503,
        }
    }
}

impl Serialize for ErrorCode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// A refusal as the client sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{message}")]
pub struct WireError {
    /// What went wrong, for programs.
    pub code: ErrorCode,
    /// What went wrong, for people. Never quotes a token or a message's text.
    pub message: Cow<'static, str>,
    /// Whether the same command may succeed later.
    pub retryable: bool,
    /// Milliseconds to wait before the next try, where the hub knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

impl WireError {
    /// An error with a message for people.
    pub fn new(code: ErrorCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into(), retryable: code.is_retryable(), retry_after_ms: None }
    }

    /// Says when the next try makes sense.
    pub fn retry_after_ms(mut self, ms: u64) -> Self {
        self.retry_after_ms = Some(ms);
        self
    }

    /// [`ErrorCode::Unavailable`]: nothing was acknowledged, the same `client_id` may be sent again.
    pub fn unavailable() -> Self {
        Self::new(ErrorCode::Unavailable, "the database is not available, try again").retry_after_ms(1_000)
    }

    /// [`ErrorCode::Busy`]: a queue of the hub is full.
    pub fn busy() -> Self {
        Self::new(ErrorCode::Busy, "the hub is busy, try again").retry_after_ms(500)
    }

    /// [`ErrorCode::RoomNotFound`]. The same answer for a room that is not there and one that may not be known of.
    pub fn room_not_found() -> Self {
        Self::new(ErrorCode::RoomNotFound, "no such room")
    }

    /// [`ErrorCode::Forbidden`]
    pub fn forbidden(why: &'static str) -> Self {
        Self::new(ErrorCode::Forbidden, why)
    }

    /// [`ErrorCode::Banned`]
    pub fn banned() -> Self {
        Self::new(ErrorCode::Banned, "you are banned from this room")
    }

    /// [`ErrorCode::RateLimited`], and when to go on.
    pub fn rate_limited(what: &'static str, wait_ms: u64) -> Self {
        Self::new(ErrorCode::RateLimited, what).retry_after_ms(wait_ms)
    }

    /// [`ErrorCode::BadField`] naming the field and what it must be.
    pub fn bad_field(field: &str, must: &str) -> Self {
        Self::new(ErrorCode::BadField, format!("`{field}` {must}"))
    }

    /// [`ErrorCode::Internal`].
    pub fn internal() -> Self {
        Self::new(ErrorCode::Internal, "the hub failed, its log says why")
    }
}
