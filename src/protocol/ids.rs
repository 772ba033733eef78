//! The names and numbers that the wire knows: rooms, users, clients' own ids, epochs and sequence numbers. Each is
//! checked once, when it is made, and cheap to clone.

use std::{fmt, sync::Arc};

use rand::{RngExt, distr::Alphanumeric};
use serde::{Deserialize, Serialize};

use super::{ErrorCode, WireError};

/// A room's name: `^[A-Za-z0-9#$_][A-Za-z0-9._:,@#$=+~-]{0,254}$`, case-sensitive and unchangeable.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct RoomName(Arc<str>);

impl RoomName {
    /// Longest name, in bytes (all of them ASCII).
    pub const MAX_LEN: usize = 255;

    /// Checks `name`; the error is [`ErrorCode::BadRoomName`].
    pub fn parse(name: &str) -> Result<Self, WireError> {
        let mut bytes = name.bytes();
        let first = |b: u8| b.is_ascii_alphanumeric() || b"#$_".contains(&b);
        let rest = |b: u8| b.is_ascii_alphanumeric() || b"._:,@#$=+~-".contains(&b);
        if name.len() <= Self::MAX_LEN && bytes.next().is_some_and(first) && bytes.all(rest) {
            return Ok(Self(name.into()));
        }
        Err(WireError::new(
            ErrorCode::BadRoomName,
            "a room's name is 1 to 255 of A-Z a-z 0-9 . _ : , @ # $ = + ~ -, the first a letter, digit, #, $ or _",
        ))
    }

    /// Whether the name is kept for the hub's own kinds of room: `#…`, `$…`, `dm:…`, `hub:…`.
    pub fn is_reserved(&self) -> bool {
        ["#", "$", "dm:", "hub:"].iter().any(|prefix| self.0.starts_with(prefix))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RoomName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What the app calls a user: 1–128 characters without control characters. Row ids never leave the hub.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct UserId(Arc<str>);

impl UserId {
    /// The start of the ids of the hub's own accounts, which no app's token may claim.
    pub const OWN_PREFIX: &str = "hub:";

    /// `None` where `id` is empty, longer than 128 characters or has a control character.
    pub fn parse(id: &str) -> Option<Self> {
        let fits = !id.is_empty() && id.chars().count() <= 128 && !id.chars().any(char::is_control);
        fits.then(|| Self(id.into()))
    }

    /// The id of the hub's own account of this name.
    pub fn own(name: &str) -> Option<Self> {
        Self::parse(&format!("{}{name}", Self::OWN_PREFIX))
    }

    /// What a user is called whose token has no name: `user <id>`.
    pub fn default_name(&self) -> String {
        format!("user {self}")
    }

    /// Whether this is one of the hub's own accounts.
    pub fn is_own(&self) -> bool {
        self.0.starts_with(Self::OWN_PREFIX)
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A client's own name for one message: 1–64 of `[A-Za-z0-9_.:-]`. The same one again is the same message.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct ClientId(Box<str>);

impl ClientId {
    /// Checks `id`; the error is [`ErrorCode::BadField`].
    pub fn parse(id: &str) -> Result<Self, WireError> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"_.:-".contains(&b);
        if (1..=64).contains(&id.len()) && id.bytes().all(allowed) {
            return Ok(Self(id.into()));
        }
        Err(WireError::new(ErrorCode::BadField, "`client_id` must be 1 to 64 of A-Z a-z 0-9 _ . : -"))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A node, as long as its process lives: a random number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct NodeId(pub u64);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Which history of a room a cursor belongs to: another one after a restore from a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Epoch(Arc<str>);

impl Epoch {
    /// A new random epoch of eight characters.
    pub fn random() -> Self {
        Self(rand::rng().sample_iter(Alphanumeric).take(8).map(char::from).collect::<String>().into())
    }

    /// The epoch as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Epoch {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

/// A room's event number: 1, 2, 3… without a hole; 0 stands before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Seq(pub i64);

impl Seq {
    /// A number that a client gave in this field.
    pub fn parse(number: i64, field: &str) -> Result<Self, WireError> {
        if number < 0 { Err(WireError::bad_field(field, "must be a number from 0")) } else { Ok(Self(number)) }
    }

    /// The number after this one.
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// How many events come after this one up to `head`; 0 where `head` is not ahead.
    pub fn distance_to(self, head: Self) -> u64 {
        u64::try_from(head.0.saturating_sub(self.0)).unwrap_or(0)
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
