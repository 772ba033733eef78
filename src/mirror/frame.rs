//! What nodes tell each other over the bus, and how it is sealed: version, HMAC-SHA-256 over channel and content, content.
//! A frame that was made, changed or moved to another channel by somebody without the hub's key does not open. Pure code.

use bytestring::ByteString;
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use super::sessions::{SessionList, SessionSearch};
use crate::protocol::{NodeId, RoomName, UserId};

/// Raised when frames change so that an older node would misread them; it drops what it does not know and reads the
/// database instead.
const VERSION: u8 = 1;
/// Half of the HMAC, as RFC 2104 section 5 allows.
const TAG_BYTES: usize = 16;

/// Where frames go.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Channel {
    /// To the nodes that follow this room.
    Room(RoomName),
    /// To every node.
    All,
    /// To one node.
    Node(NodeId),
}

impl Channel {
    /// The channel's name in Redis.
    pub fn name(&self, prefix: &str) -> String {
        match self {
            Self::Room(room) => format!("{prefix}room:{room}"),
            Self::All => format!("{prefix}all"),
            Self::Node(node) => format!("{prefix}node:{node}"),
        }
    }

    /// The room whose channel has this name.
    pub fn room(name: &str, prefix: &str) -> Option<RoomName> {
        RoomName::parse(name.strip_prefix(prefix)?.strip_prefix("room:")?).ok()
    }
}

/// One thing that a node tells others. Users are named by their rows, which all nodes share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Frame {
    /// On a room's channel: what was committed there. Without events it says only that there is something.
    Log(LogFrame),
    /// On a room's channel, for the sessions in it but for those of one user.
    Others {
        /// The user that it speaks of.
        but: i64,
        /// What is told.
        notice: ByteString,
    },
    /// To every node: whom do you have in this room?
    WhoIsHere {
        /// Tells the answers to this question from others.
        ask: u64,
        /// The room.
        room: String,
    },
    /// To every node, for all sessions of these users, and of those in a room.
    Users {
        /// The users.
        users: Vec<i64>,
        /// The room.
        room: Option<String>,
        /// What is told.
        notice: ByteString,
    },
    /// To every node: there is something new in the record of acts.
    Acts,
    /// To every node, from time to time: I am here. Its way back to its sender proves both ways of the bus.
    Beat {
        /// Goes up by one each time.
        count: u64,
        /// The nodes that the sender has heard of lately.
        heard_of: Vec<NodeId>,
        /// Whether the node is going to end.
        stopping: bool,
        /// The node's numbers as JSON; not in every beat.
        report: Option<ByteString>,
    },
    /// To one node: whom the sender has in the room that was asked for.
    Here {
        /// The question.
        ask: u64,
        /// Who.
        users: Vec<Present>,
    },
    /// To every node: which sessions have you, of those that are searched for?
    ListSessions {
        /// Tells the answers to this question from others.
        ask: u64,
        /// Which.
        search: SessionSearch,
    },
    /// To one node: the sender's sessions that were asked for.
    Sessions {
        /// The question.
        ask: u64,
        /// The first ones.
        list: SessionList,
    },
}

/// What was committed to a room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogFrame {
    /// The history that the numbers belong to.
    pub epoch: ByteString,
    /// The revision of the room's rights that the sender knows.
    pub rights: i64,
    /// The newest event that the sender knows.
    pub head: i64,
    /// Events with their numbers, as they go out.
    pub events: Vec<(i64, ByteString)>,
}

/// A user who is in a room.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Present {
    /// The app's id of the user.
    pub user_id: String,
    /// The user's name.
    pub name: String,
}

impl Present {
    /// The id, where it is one.
    pub fn id(&self) -> Option<UserId> {
        UserId::parse(&self.user_id)
    }
}

/// Why a frame was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Another version of the hub, or no frame at all.
    #[error("a frame of an unknown version")]
    Version,
    /// Not sealed by this hub's key for this channel.
    #[error("a frame that is not sealed by this hub")]
    Forged,
    /// Sealed well, but not understood.
    #[error("a frame that can't be decoded")]
    Content,
}

/// Seals and opens frames with the hub's key.
#[derive(Clone)]
pub struct Seal {
    key: Hmac<Sha256>,
    node: NodeId,
}

impl Seal {
    /// For this node, with the key that all nodes of the hub share.
    pub fn new(key: &str, node: NodeId) -> Self {
        #[expect(clippy::expect_used, reason = "invariant: HMAC takes keys of any length")]
        let key = Hmac::new_from_slice(key.as_bytes()).expect("HMAC takes any key");
        Self { key, node }
    }

    /// A frame for a channel, as bytes; `count` is higher for each frame of this node's.
    pub fn seal(&self, channel: &str, count: u64, frame: &Frame) -> Vec<u8> {
        #[expect(clippy::expect_used, reason = "invariant: frames hold nothing that postcard can't write")]
        let content = postcard::to_stdvec(&(self.node, count, frame)).expect("a frame can be written");
        let tag = self.mac(channel, &content).finalize().into_bytes();
        let mut sealed = Vec::with_capacity(content.len().saturating_add(TAG_BYTES).saturating_add(1));
        sealed.push(VERSION);
        sealed.extend(tag.iter().take(TAG_BYTES));
        sealed.extend(content);
        sealed
    }

    /// Opens what came from a channel: the sender, its count and the frame.
    pub fn open(&self, channel: &str, sealed: &[u8]) -> Result<(NodeId, u64, Frame), Unreadable> {
        let (version, rest) = sealed.split_first().ok_or(Unreadable::Version)?;
        if *version != VERSION {
            return Err(Unreadable::Version);
        }
        let (tag, content) = rest.split_at_checked(TAG_BYTES).ok_or(Unreadable::Forged)?;
        self.mac(channel, content).verify_truncated_left(tag).map_err(|_| Unreadable::Forged)?;
        postcard::from_bytes(content).map_err(|_| Unreadable::Content)
    }

    fn mac(&self, channel: &str, content: &[u8]) -> Hmac<Sha256> {
        let mut mac = self.key.clone();
        // No channel's name has a 0 in it.
        mac.update(&[VERSION]);
        mac.update(channel.as_bytes());
        mac.update(&[0]);
        mac.update(content);
        mac
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(head: i64) -> Frame {
        let events = vec![(head, ByteString::from_static(r#"{"type":"message"}"#))];
        Frame::Log(LogFrame { epoch: "k3Fq".into(), rights: 3, head, events })
    }

    #[test]
    fn what_was_sealed_opens_on_its_channel_alone() {
        let seal = Seal::new("a key of the hub's own", NodeId(7));
        let sealed = seal.seal("hubbub:room:lobby", 9, &log(5));
        assert_eq!(seal.open("hubbub:room:lobby", &sealed), Ok((NodeId(7), 9, log(5))));
        assert_eq!(seal.open("hubbub:room:other", &sealed), Err(Unreadable::Forged), "P12: moved to another room");
        assert_eq!(
            Seal::new("another key", NodeId(7)).open("hubbub:room:lobby", &sealed),
            Err(Unreadable::Forged),
            "P12: sealed by somebody else"
        );
    }

    #[test]
    fn no_changed_byte_opens() {
        let seal = Seal::new("a key of the hub's own", NodeId(7));
        let sealed = seal.seal("c", 9, &log(5));
        for place in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[place] ^= 1;
            assert!(seal.open("c", &changed).is_err(), "P12: byte {place} was changed");
            assert!(seal.open("c", &sealed[..place]).is_err(), "P12: cut after {place}");
        }
    }

    #[test]
    fn a_room_s_channel_names_the_room() {
        let room = RoomName::parse("team:a").unwrap();
        let name = Channel::Room(room.clone()).name("hubbub:");
        assert_eq!(Channel::room(&name, "hubbub:"), Some(room));
        assert_eq!(Channel::room("hubbub:all", "hubbub:"), None);
        assert_eq!(Channel::room("hubbub:room:", "hubbub:"), None);
    }
}
