//! Other nodes: what was committed here goes to them through Redis, what they committed comes back, and who is where is
//! asked of them. Redis is never the truth (P9): whatever does not come is read from the database, and a frame that was
//! not sealed with the hub's own key is dropped (P12). The only place that names fred.
//!
//! `Mirror` is what the rest of the hub holds; nothing in it waits. `subscriber` is the actor that keeps the connection,
//! on a thread of its own. `frame`, `link`, `nodes` and `outgoing` are pure code, which tests/simulation.rs drives.

mod asking;
mod bus;
mod connection;
mod frame;
mod hearing;
mod link;
mod nodes;
mod outgoing;
mod sessions;
mod subscriber;

use std::sync::Arc;

use bytestring::ByteString;

pub use asking::{Asking, Question, SessionsQuestion};
pub use bus::{Bus, Said};
pub use connection::{BusError, check_url};
pub use frame::{Channel, Frame, LogFrame, Present, Seal, Unreadable};
pub use hearing::{FromBus, Heard};
pub use link::{BEAT, Link, PATIENCE, Pace};
pub use nodes::{Beat, LEASE, Nodes};
pub use outgoing::{Outgoing, OutgoingBounds};
pub use sessions::{SessionList, SessionRow, SessionSearch, SessionsOfNodes};
pub use subscriber::{BusSettings, Subscriber};

use crate::{
    protocol::{Epoch, RoomName, Seq},
    room::Numbered,
};

/// How this node knows of others.
#[derive(Clone)]
pub enum Mirror {
    /// There are none: the database is this process' own.
    Alone,
    /// Others may write to the database, which is all there is to ask.
    Database,
    /// Others are reached through Redis.
    Bus(Arc<Bus>),
}

/// Where a room stands, for what is published of it.
#[derive(Clone, Debug)]
pub struct RoomState {
    /// The history that the numbers belong to.
    pub epoch: Epoch,
    /// The revision of the rights.
    pub rights: i64,
    /// The newest event.
    pub head: Seq,
}

impl Mirror {
    /// Whether others may write to the database.
    pub fn is_shared(&self) -> bool {
        !matches!(self, Self::Alone)
    }

    /// What is to be asked how often, as things are.
    pub fn pace(&self) -> Pace {
        match self {
            Self::Alone => Pace::ALONE,
            Self::Database => Pace::WITHOUT_BUS,
            Self::Bus(bus) => bus.pace(),
        }
    }

    /// The bus, where there is one.
    pub fn bus(&self) -> Option<&Arc<Bus>> {
        match self {
            Self::Bus(bus) => Some(bus),
            Self::Alone | Self::Database => None,
        }
    }

    /// Hands on what this node has committed to a room, in the room's order; without events, that something about the
    /// room has changed.
    pub fn publish(&self, room: &RoomName, state: &RoomState, events: &[Numbered<ByteString>]) {
        let Self::Bus(bus) = self else { return };
        let log = LogFrame {
            epoch: state.epoch.as_str().into(),
            rights: state.rights,
            head: state.head.0,
            events: events.iter().map(|event| (event.seq.0, event.event.clone())).collect(),
        };
        bus.publish(Channel::Room(room.clone()), Frame::Log(log));
    }

    /// Tells other nodes something that may be lost.
    pub fn tell(&self, channel: Channel, frame: Frame) {
        if let Self::Bus(bus) = self {
            bus.publish(channel, frame);
        }
    }
}
