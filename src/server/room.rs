//! One room in the ChatServer's memory: its row, its log, who is where, and who may do what. No I/O.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use bytestring::ByteString;

use super::{
    WorkerId,
    doubts::Doubts,
    handle::{Change, Create, Join, Joined, Open, Post, Presence, Typing},
    messages::Guests,
    waiting::Waiting,
};
use crate::{
    mirror::LogFrame,
    protocol::{Epoch, Position, RoomName, Seq, Standing, Timestamp, WireError},
    room::{Cursor, RecentBounds, RoomLog, Start},
    stats::LastMinute,
    store::{RoomKey, RoomKind, RoomRow, UserKey},
};

/// A member's typing is told at most once in this time.
const TYPING_PAUSE: Duration = Duration::from_secs(3);

/// A room in which nothing happened for so long is quiet.
const ACTIVE: Duration = Duration::from_secs(60);

/// A room's place in memory.
pub(super) enum Entry {
    /// Its row is being read.
    Loading {
        /// Whether other nodes told something meanwhile: the row is read once more.
        heard: bool,
        /// What came for it meanwhile, in order.
        waiting: Vec<RoomCommand>,
        /// The newest number that was heard of meanwhile.
        seen: Seq,
        /// The newest revision of the rights that was heard of meanwhile.
        rights: i64,
    },
    /// It is there.
    Ready(Box<Room>),
}

/// A command that concerns one room, and waits where that is not loaded.
pub(super) enum RoomCommand {
    Join(Join),
    Open(Open),
    Post(Post),
    Create(Create),
    Change(Change),
    Typing(Typing),
    Presence(Presence),
}

impl RoomCommand {
    pub(super) fn room(&self) -> &RoomName {
        match self {
            Self::Join(Join { room, .. }) | Self::Open(Open { room, .. }) | Self::Post(Post { room, .. }) => room,
            Self::Create(Create { new, .. }) => &new.room,
            Self::Change(Change { room, .. })
            | Self::Typing(Typing { room, .. })
            | Self::Presence(Presence { room, .. }) => room,
        }
    }

    pub(super) fn refuse(self, error: WireError) {
        // Whoever asked may be gone.
        match self {
            Self::Join(Join { reply, .. }) => drop(reply.send(Err(error))),
            Self::Open(Open { reply, .. }) => drop(reply.send(Err(error))),
            Self::Post(Post { reply, .. }) => drop(reply.send(Err(error))),
            Self::Create(Create { reply, .. }) => drop(reply.send(Err(error))),
            Self::Change(Change { reply, .. }) => drop(reply.send(Err(error))),
            Self::Typing(Typing { reply, .. }) => drop(reply.send(Err(error))),
            Self::Presence(Presence { reply, .. }) => drop(reply.send(Err(error))),
        }
    }
}

/// What is to be done with a frame of a room's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameUse {
    /// It is of the history and by the rights that this node knows: its events are committed ones.
    Take,
    /// The room was made, or its rights have changed: the row is read first. Whoever lost their right leaves before anything
    /// that came after is delivered (P7).
    ReadRow,
    /// It is of another history: somebody repeats what was said before a restore.
    Drop,
}

/// A room that is loaded. No I/O: tests/simulation.rs drives it.
pub struct Room {
    /// Its row; none before its first message.
    pub key: Option<RoomKey>,
    kind: RoomKind,
    /// The revision of the rights in `members`.
    pub rights: i64,
    /// The history that its numbers belong to.
    pub epoch: Epoch,
    first: Seq,
    members: HashSet<UserKey>,
    /// Who is banned, and till when.
    bans: HashMap<UserKey, Option<Timestamp>>,
    /// Its events.
    pub log: RoomLog<ByteString>,
    /// Sessions in the room, by worker.
    attached: Vec<u32>,
    /// Who said lately that they are typing.
    typing: HashMap<UserKey, Instant>,
    /// Messages that wait for the row to be made or read again, or for the writer.
    pub(super) held: Option<Vec<Post>>,
    /// Whether they wait for the writer alone, which has others of before them yet.
    pub(super) held_until_settled: bool,
    /// Messages that the writer has, and the revision of the rights by which they were judged.
    pub(super) with_writer: usize,
    pub(super) given_by: i64,
    pub(super) used: Instant,
    /// What is refused by the rights that are known.
    pub(super) doubts: Doubts,
    /// Whether what others commit here is heard of, or asked for.
    pub followed: bool,
    /// Joins that wait for the room's head.
    pub(super) waiting: Waiting<Join>,
    /// Holes in a row that only the database filled.
    pub unheard: u32,
    /// Whether the row is being read again.
    pub refreshing: bool,
    /// Whether it is to be read once more then: something has come meanwhile that speaks of another row.
    pub again: bool,
    /// When something last happened in it.
    pub active: Instant,
    /// The first event stored here that has not gone out yet, and when its command came in.
    pub(super) undelivered: Option<(Seq, Instant)>,
    /// Messages stored here lately.
    pub(super) minute: LastMinute,
}

impl Room {
    /// A room as the database has it, or one that is not there before its first message.
    pub fn new(row: Option<RoomRow>, bounds: RecentBounds, epoch: &Epoch) -> Self {
        let head = row.as_ref().map_or(Seq(0), |row| row.head);
        let mut room = Self {
            key: None,
            kind: RoomKind::Public,
            rights: 0,
            epoch: epoch.clone(),
            first: Seq(1),
            members: HashSet::new(),
            bans: HashMap::new(),
            log: RoomLog::new(head, bounds),
            attached: Vec::new(),
            typing: HashMap::new(),
            held: None,
            held_until_settled: false,
            with_writer: 0,
            given_by: 0,
            used: Instant::now(),
            doubts: Doubts::default(),
            followed: false,
            waiting: Waiting::default(),
            unheard: 0,
            refreshing: false,
            again: false,
            active: Instant::now(),
            undelivered: None,
            minute: LastMinute::default(),
        };
        if let Some(row) = row {
            room.take_row(row);
        }
        room
    }

    /// What the room is to be, from the moment somebody makes it: nobody slips into a private room before its row is there.
    pub(super) fn expect_kind(&mut self, kind: RoomKind, owner: UserKey) {
        (self.kind, self.members) = (kind, HashSet::from([owner]));
    }

    /// Takes in the row as it was read, unless a newer reading was quicker. Says who may be in the room now, where
    /// somebody who is in it may have no right to it any more.
    pub fn take_row(&mut self, row: RoomRow) -> Option<Guests> {
        if self.key.is_some() && row.rights < self.rights {
            return None;
        }
        let newer = self.key.is_none() || row.rights > self.rights;
        let RoomRow { key, kind, rights, epoch, first, members, bans, .. } = row;
        (self.key, self.kind, self.rights, self.epoch, self.first) = (Some(key), kind, rights, epoch, first);
        (self.members, self.bans) = (members, bans);
        let restricted = self.is_private() || !self.bans.is_empty();
        (newer && restricted).then(|| Guests {
            members: self.is_private().then(|| Arc::new(self.members.clone())),
            banned: Arc::new(self.bans.keys().copied().collect()),
        })
    }

    /// Whether this node surely knows its head, as far as a join is concerned. A cursor that is ahead of this node is
    /// judged by the database's head, never by the node's own.
    pub fn knows_head(&self, shared: bool, position: Option<&Position>) -> bool {
        let ahead = position.is_some_and(|position| position.after > self.log.head());
        !shared || (self.followed && !ahead)
    }

    /// What is to be done with what another node tells.
    pub fn judge_frame(&self, log: &LogFrame) -> FrameUse {
        if self.key.is_none() || self.is_outdated(log.rights) {
            FrameUse::ReadRow
        } else if self.epoch.as_str() == &*log.epoch {
            FrameUse::Take
        } else {
            FrameUse::Drop
        }
    }

    /// Whether the row has newer rights than this node knows, if it has these.
    pub fn is_outdated(&self, rights: i64) -> bool {
        self.rights < rights
    }

    /// Whether it is to be compared with the database, where all rooms are or the active ones.
    pub fn is_compared(&self, all: bool, now: Instant) -> bool {
        all || now.saturating_duration_since(self.active) < ACTIVE
    }

    /// Whether only members may be in it.
    pub(super) fn is_private(&self) -> bool {
        self.kind == RoomKind::Private
    }

    /// The members of a private room.
    pub(super) fn members(&self) -> &HashSet<UserKey> {
        &self.members
    }

    /// Whether the user may read and write here. A room that may not be known of looks like one that is not there,
    /// where rooms don't appear by themselves.
    pub fn judge(&self, (user, admin): (UserKey, bool), auto_create: bool) -> Result<(), WireError> {
        if self.key.is_none() && !auto_create {
            Err(WireError::room_not_found())
        } else if admin || self.members.contains(&user) {
            Ok(())
        } else if self.kind == RoomKind::Public {
            match self.bans.get(&user) {
                Some(until) if until.is_none_or(|until| until > Timestamp::now()) => Err(WireError::banned()),
                _ => Ok(()),
            }
        } else if auto_create {
            Err(WireError::forbidden("this room is for its members"))
        } else {
            Err(WireError::room_not_found())
        }
    }

    /// Counts a session in and says where it stands.
    pub fn attach(&mut self, worker: WorkerId, position: Option<&Position>, most: u64) -> Joined {
        if self.attached.len() <= worker.0 {
            self.attached.resize(worker.0.saturating_add(1), 0);
        }
        if let Some(count) = self.attached.get_mut(worker.0) {
            *count = count.saturating_add(1);
        }
        let head = self.log.head();
        let start = position.map(|Position { after, epoch }| {
            let same = epoch.as_ref().is_none_or(|epoch| *epoch == self.epoch);
            let start = Cursor::<ByteString>::judge(*after, self.first, head, most);
            if same { (*after, start) } else { (*after, Start::Reset) }
        });
        let (sent, replay, reset) = match start {
            None => (head, None, false),
            Some((_, Start::Reset)) => (head, None, true),
            Some((after, Start::Replay(missed))) => (after, Some(missed), false),
        };
        Joined { standing: Standing { head, epoch: self.epoch.clone(), replay, reset }, sent }
    }

    /// Whether a user's typing is to be told now: not twice within the time that the design gives, nor where too many
    /// would be told.
    pub(super) fn tells_typing(&mut self, user: UserKey, most_sessions: usize) -> bool {
        let now = Instant::now();
        self.typing.retain(|_, since| now.saturating_duration_since(*since) < TYPING_PAUSE);
        if self.sessions() > most_sessions || self.typing.contains_key(&user) {
            return false;
        }
        self.typing.insert(user, now);
        true
    }

    /// Sessions in the room, on this node.
    pub fn sessions(&self) -> usize {
        self.attached.iter().map(|count| usize::try_from(*count).unwrap_or(usize::MAX)).sum()
    }

    /// Counts a session out.
    pub fn detach(&mut self, worker: WorkerId) {
        if let Some(count) = self.attached.get_mut(worker.0) {
            *count = count.saturating_sub(1);
        }
    }

    /// Whether nobody is in the room, nor would be told of what happens in it.
    pub fn is_unwatched(&self) -> bool {
        !self.followed && self.workers().next().is_none()
    }

    /// The workers that have sessions in the room.
    pub(super) fn workers(&self) -> impl Iterator<Item = WorkerId> {
        self.attached.iter().enumerate().filter(|(_, count)| **count > 0).map(|(worker, _)| WorkerId(worker))
    }

    /// Whether nobody is in the room and nothing is under way.
    pub fn is_idle(&self) -> bool {
        self.workers().next().is_none()
            && self.held.is_none()
            && self.with_writer == 0
            && self.waiting.is_empty()
            && self.doubts.is_empty()
            && self.log.is_settled()
    }
}

/// The name of a room that may not be made by users.
pub(super) fn check_name(room: &RoomName) -> Result<(), WireError> {
    if room.is_reserved() {
        Err(WireError::forbidden("names that start with #, $, dm: or hub: are reserved"))
    } else {
        Ok(())
    }
}
