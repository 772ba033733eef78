//! Other nodes: where committed events leave for them, and how long a hole may wait for them to fill it. This is the
//! local form, for a hub of one node; the one that goes through Redis will stand beside it, and be the only place that
//! names fred. Lives in the ChatServer.

use std::time::Duration;

use bytestring::ByteString;

use crate::{protocol::RoomName, room::Numbered};

/// How this node knows of others.
#[derive(Clone, Copy, Debug)]
pub enum Mirror {
    /// There are no others: the database is the only one to ask.
    Local,
}

impl Mirror {
    /// Hands on what this node has committed, in the order of the room. Never waits.
    pub fn publish(self, _room: &RoomName, _events: &[Numbered<ByteString>]) {
        match self {
            Self::Local => {}
        }
    }

    /// How long events that are missing may come by themselves before the database is asked (again).
    pub fn hole_patience(self) -> Duration {
        match self {
            // Nobody else can bring them; not at once, so that a database that fails is not asked without end.
            Self::Local => Duration::from_millis(10),
        }
    }
}
