//! What the Writer takes, what it tells the ChatServer, and what a sender is told. Plain data between their threads; how much of it
//! there may be is bounded by the ChatServer's count of what it gave.

use std::{sync::Arc, time::Instant};

use actix::prelude::*;
use tokio::sync::oneshot;

use super::{RoomKey, User};
use crate::protocol::{Draft, Event, RoomName, Seq, Timestamp, WireError};

/// A message is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Posted {
    /// Its number.
    pub seq: Seq,
    /// When it was stored.
    pub timestamp: Timestamp,
    /// Whether an earlier try had stored it.
    pub repeat: bool,
}

/// A message that its room's rights allow.
#[derive(Debug)]
pub struct NewMessage {
    /// The room's name.
    pub room: RoomName,
    /// The room's row.
    pub key: RoomKey,
    /// The revision of the room's rights by which the sender was judged.
    pub rights: i64,
    /// The sender.
    pub user: Arc<User>,
    /// Whether an admin asked, in whoever's name.
    pub admin: bool,
    /// What to store.
    pub draft: Draft,
    /// When the command came in.
    pub received: Instant,
    /// The session that it came from, if from one.
    pub asker: Option<Asker>,
}

/// A session, by the numbers that the ChatServer knows it and its worker by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asker {
    /// The worker.
    pub worker: usize,
    /// The session.
    pub session: u64,
}

/// Who waits to hear what became of a message.
pub type PostReply = oneshot::Sender<Result<Posted, WireError>>;

/// Store this message and tell its sender.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Append {
    /// The message.
    pub message: NewMessage,
    /// Its sender.
    pub reply: PostReply,
}

/// What one transaction did, for the ChatServer.
#[derive(Debug, Default, Message)]
#[rtype(result = "()")]
pub struct Stored {
    /// Committed events, in the order of each room.
    pub events: Vec<Committed>,
    /// Numbers that were found committed, by a try whose answer was lost.
    pub seen: Vec<(RoomName, Seq)>,
    /// Messages that were not stored, since the room is not as it was when they were judged.
    pub refused: Vec<Append>,
    /// The rooms of the messages that the writer has finished with, whatever became of them: one for each.
    pub settled: Vec<RoomName>,
    /// What the senders of all other messages are told, once the rest of this is done.
    pub answers: Vec<Answer>,
}

/// An event that is in the database.
#[derive(Debug)]
pub struct Committed {
    /// It.
    pub event: Event,
    /// When its command came in.
    pub received: Instant,
    /// What its sender is told, unless they were told something before: not before the room stands there, or whoever joins with
    /// the ack in hand might find it further back.
    pub answer: Option<Answer>,
}

/// What a sender is told of a message.
#[derive(Debug)]
pub struct Answer {
    /// The session that is told.
    pub asker: Option<Asker>,
    pub(super) reply: PostReply,
    pub(super) answer: Result<Posted, WireError>,
}

impl Answer {
    /// Tells it. A sender that is gone needs no answer.
    pub fn give(self) {
        drop(self.reply.send(self.answer));
    }
}

/// Ask what the writer is doing.
#[derive(Debug, Message)]
#[rtype(result = "WriterState")]
pub struct Probe;

/// The writer's state.
#[derive(Clone, Copy, Debug, MessageResponse)]
pub struct WriterState {
    /// Messages that it has, in whatever state.
    pub queued: usize,
    /// Whether the last transaction failed for the database's sake.
    pub failing: bool,
}
