//! The room's log as pure code: order, holes, recent events, replay. No actor, clock or socket is in it, so that one
//! seed can drive thousands of simulated nodes and faults (tests/room_log.rs). Bounds come with the constructors.

mod cursor;
mod log;

pub use cursor::{Cursor, Next, Start};
pub use log::{Effect, Input, Memory, RecentBounds, RoomLog};

use crate::protocol::Seq;

/// An event with its number; the log does not look into the event but for its size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Numbered<E> {
    /// The number.
    pub seq: Seq,
    /// The event.
    pub event: E,
}

/// How much memory an event takes.
pub trait Size {
    /// Bytes, without the fixed part.
    fn size_bytes(&self) -> usize;
}

impl Size for bytestring::ByteString {
    fn size_bytes(&self) -> usize {
        self.len()
    }
}
