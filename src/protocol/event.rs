//! The events of a room's log, and their one JSON form, which both of today's dialects share.

use std::sync::Arc;

use bytestring::ByteString;
use chrono::{DateTime, Datelike, SecondsFormat, SubsecRound, Utc};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::{ClientId, RoomName, Seq, UserId};

/// A moment in UTC, kept to the microsecond and shown to the millisecond (`2025-02-20T10:30:00.123Z`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(DateTime<Utc>);

impl Timestamp {
    /// The wall clock's.
    pub fn now() -> Self {
        Utc::now().into()
    }

    /// Reads what RFC 3339 calls a date-time, in the years that it can also write.
    pub fn parse(text: &str) -> Option<Self> {
        let at = DateTime::parse_from_rfc3339(text).ok()?.to_utc();
        (0..=9_999).contains(&at.year()).then(|| at.into())
    }

    /// The moment as the database's type.
    pub fn to_utc(self) -> DateTime<Utc> {
        self.0
    }
}

impl From<DateTime<Utc>> for Timestamp {
    fn from(at: DateTime<Utc>) -> Self {
        Self(at.trunc_subsecs(6))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0.to_rfc3339_opts(SecondsFormat::Millis, true))
    }
}

/// One numbered event of a room: what every member receives, once, in the order of `seq`.
#[derive(Clone, Debug)]
pub struct Event {
    /// The room.
    pub room: RoomName,
    /// Its number in the room.
    pub seq: Seq,
    /// When it was stored; in a room never earlier than the one before.
    pub timestamp: Timestamp,
    /// What happened.
    pub kind: EventKind,
}

/// What happened in a room. Edits, deletes and reactions will be further kinds of the same log.
#[derive(Clone, Debug)]
pub enum EventKind {
    /// Somebody said something.
    Message(Message),
    /// A kind that a newer version stored, or that can't be read: it keeps its number, so that no cursor sees a hole.
    Other(String),
}

/// A message as it was sent.
#[derive(Clone, Debug)]
pub struct Message {
    /// The sender's name at sending.
    pub user: Arc<str>,
    /// The sender.
    pub user_id: UserId,
    /// The text, never trimmed or normalised.
    pub text: Arc<str>,
    /// The sender's own id for it.
    pub client_id: Option<ClientId>,
    /// The app's JSON, as it came.
    pub data: Option<Arc<RawValue>>,
}

#[derive(Serialize)]
struct EventFrame<'a> {
    r#type: &'a str,
    room: &'a RoomName,
    seq: Seq,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    message: Option<MessageFields<'a>>,
    timestamp: Timestamp,
}

#[derive(Serialize)]
struct MessageFields<'a> {
    user: &'a str,
    user_id: &'a UserId,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<&'a ClientId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a RawValue>,
}

impl Event {
    /// The event's JSON text, encoded once and shared by all its receivers.
    pub fn encode(&self) -> ByteString {
        let (kind, message) = match &self.kind {
            EventKind::Message(message) => (
                "message",
                Some(MessageFields {
                    user: &message.user,
                    user_id: &message.user_id,
                    message: &message.text,
                    client_id: message.client_id.as_ref(),
                    data: message.data.as_deref(),
                }),
            ),
            EventKind::Other(kind) => (kind.as_str(), None),
        };
        let frame = EventFrame { r#type: kind, room: &self.room, seq: self.seq, message, timestamp: self.timestamp };
        super::reply::to_json(&frame)
    }
}
