//! The one enum of WebSocket close codes that the hub sends.

/// Why the hub closes a socket. 40xx: come back; 45xx: don't. Standard codes as RFC 6455 section 7.4.1 has them.
/// docs/protocol.md has a line for each; a test holds it against this list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseCode {
    /// The session ends as it was asked to.
    Normal,
    /// The frames break RFC 6455.
    ProtocolError,
    /// A text frame is not UTF-8.
    InvalidText,
    /// The session went on sending over its rate, or its one room can't be joined.
    Policy,
    /// A frame or message is over its bound.
    TooBig,
    /// The hub stops; come back after the time in `bye`.
    Drain,
    /// The token's time is over; come back with a new one.
    TokenExpired,
    /// The client fell too far behind; come back and resume.
    Slow,
    /// Nothing came for too long.
    NoHeartbeat,
    /// The database could not be asked who this is.
    Unavailable,
    /// The token is missing, or not one that this hub accepts.
    TokenInvalid,
    /// The token was revoked or its user disabled.
    Revoked,
    /// The user was banned from the session's one room.
    Banned,
    /// No token came in time.
    AuthTimeout,
    /// The user has as many sessions as one may have.
    SessionLimit,
    /// An admin closed this session.
    ClosedByAdmin,
}

impl CloseCode {
    /// Every code, for the test that holds the docs against them.
    pub const ALL: [Self; 16] = [
        Self::Normal,
        Self::ProtocolError,
        Self::InvalidText,
        Self::Policy,
        Self::TooBig,
        Self::Drain,
        Self::TokenExpired,
        Self::Slow,
        Self::NoHeartbeat,
        Self::Unavailable,
        Self::TokenInvalid,
        Self::Revoked,
        Self::Banned,
        Self::AuthTimeout,
        Self::SessionLimit,
        Self::ClosedByAdmin,
    ];

    /// The number in the close frame.
    pub fn code(self) -> u16 {
        match self {
            Self::Normal => 1000,
            Self::ProtocolError => 1002,
            Self::InvalidText => 1007,
            Self::Policy => 1008,
            Self::TooBig => 1009,
            Self::Drain => 4000,
            Self::TokenExpired => 4001,
            Self::Slow => 4002,
            Self::NoHeartbeat => 4003,
            Self::Unavailable => 4004,
            Self::TokenInvalid => 4500,
            Self::Revoked => 4501,
            Self::Banned => 4502,
            Self::AuthTimeout => 4503,
            Self::SessionLimit => 4504,
            Self::ClosedByAdmin => 4505,
        }
    }

    /// The reason in the close frame and in `bye`.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Normal => "bye",
            Self::ProtocolError => "protocol_error",
            Self::InvalidText => "invalid_text",
            Self::Policy => "policy",
            Self::TooBig => "too_big",
            Self::Drain => "drain",
            Self::TokenExpired => "token_expired",
            Self::Slow => "slow",
            Self::NoHeartbeat => "no_heartbeat",
            Self::Unavailable => "unavailable",
            Self::TokenInvalid => "token_invalid",
            Self::Revoked => "revoked",
            Self::Banned => "banned",
            Self::AuthTimeout => "auth_timeout",
            Self::SessionLimit => "session_limit",
            Self::ClosedByAdmin => "closed_by_admin",
        }
    }

    /// Whether a client should connect again by itself.
    pub fn reconnect(self) -> bool {
        (4000..4500).contains(&self.code())
    }
}
