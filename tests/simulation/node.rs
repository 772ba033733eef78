//! A node of the simulation: what it keeps, what can happen to it, and how it starts. Its messages stand for those between
//! the hub's actors.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    rc::Rc,
    time::Duration,
};

use bytestring::ByteString;
use hubbub::{
    mirror::{Link, Nodes, Outgoing, OutgoingBounds, Pace, Seal},
    protocol::{NodeId, Position, Seq, WireError},
    room::{Input, Numbered, RecentBounds},
    server::{COMPARE, Compared, Guests, Joined, Room, Waiting},
};
use rand::{RngExt, rngs::StdRng};

use super::{
    bus::{KEY, Present, Sealed},
    database::{Ask, Found, Item},
    session::{Events, Session},
    world::World,
};

pub const RECENT: RecentBounds = RecentBounds { events: 12, bytes: 160 };
pub const OUTGOING: OutgoingBounds = OutgoingBounds { frames: 6, bytes: 80 };

/// A join that waits for its answer.
#[derive(Clone, Debug)]
pub struct Join {
    pub client: usize,
    pub generation: u64,
    pub position: Option<Position>,
    /// Whether it waited for the database, and what that had when it came.
    pub head: Option<i64>,
    /// By which rights it was judged.
    pub rights: i64,
}

/// What a row is read for.
#[derive(Clone, Debug)]
pub enum Why {
    Load {
        followed: bool,
    },
    Warm,
    Refresh,
    /// To judge messages again.
    Judge,
}

#[derive(Debug)]
pub enum Command {
    Join(Join),
    Post(Item),
    Change(usize, bool),
    /// Somebody reads it from outside.
    Open,
}

pub enum Entry {
    Loading { heard: bool, waiting: Vec<Command>, seen: Seq, rights: i64 },
    Ready(Box<Ready>),
}

/// A room, with what the actor keeps beside the pure code.
pub struct Ready {
    pub room: Room,
    pub waiting: Waiting<Join>,
    pub held: Option<Vec<Item>>,
    pub used: Duration,
    /// Since when it is followed, or there.
    pub since: Duration,
}

/// What waits for the Dispatcher.
#[derive(Debug)]
pub enum ToDispatcher {
    Attach(usize, u64, usize),
    Detach(usize, usize),
    Deliver(usize, Events),
    FellBehind(Vec<(usize, Seq)>),
    Retain(usize, Guests, i64),
}

#[derive(Debug)]
pub struct Answer {
    pub id: u64,
    pub found: Result<Found, ()>,
}

/// What happens to a node.
#[derive(Debug)]
pub enum Happens {
    Answer(Box<Answer>),
    Unanswered(u64),
    Connect,
    Subscribed { connection: u64, more: Vec<usize>, less: Vec<usize> },
    NotFollowed(u64),
    Look,
    Publish,
    Arrived { connection: u64, channel: Rc<str>, frame: Sealed },
    Compare,
    Sweep,
    Nudge,
    HoleDue(usize),
    FetchFailed(usize),
    RefreshAgain(usize),
    WriteAgain,
    Dispatch,
    Take(usize, u64),
    Joined { client: usize, generation: u64, room: usize, join: Join, answer: Result<Joined, WireError> },
    Page { client: usize, generation: u64, room: usize, page: Result<Vec<Numbered<ByteString>>, ()> },
    Step { client: usize, room: usize },
}

pub struct Node {
    pub life: u64,
    pub id: NodeId,
    pub alive: bool,
    pub paused: bool,
    /// What came during a pause.
    pub late: Vec<Happens>,
    pub started: Duration,
    /// Since when it runs without a break.
    pub fine_since: Duration,
    /// How wrong its clock on the wall is, in milliseconds.
    pub wall: i64,
    pub reads: (u64, u64),
    pub seal: Seal,
    pub link: Link,
    pub up: bool,
    pub up_changed: Duration,
    pub outgoing: Outgoing,
    pub publishing: bool,
    pub present: Option<Present>,
    pub wanted: BTreeSet<usize>,
    pub following: Vec<(u64, usize, Why)>,
    pub others: Nodes,
    /// Whether what comes next is more than could be kept.
    pub overrun: bool,
    pub compared: Compared,
    pub rooms: BTreeMap<usize, Entry>,
    pub asked: BTreeMap<u64, Ask>,
    /// Messages that the writer has, and those in its transaction: whether that is in doubt.
    pub queue: VecDeque<Item>,
    pub batch: Option<(Vec<Item>, bool)>,
    pub dispatcher: VecDeque<ToDispatcher>,
    pub dispatching: bool,
    pub behind: BTreeMap<usize, Seq>,
    /// Who is in which room, and by which rights.
    pub attached: BTreeMap<usize, BTreeSet<usize>>,
    pub retained: BTreeMap<usize, i64>,
    pub sessions: BTreeMap<usize, Session>,
}

impl Node {
    pub fn new(random: &mut StdRng) -> Self {
        let id = NodeId(random.random());
        Self {
            life: 0,
            id,
            alive: false,
            paused: false,
            late: Vec::new(),
            started: Duration::ZERO,
            fine_since: Duration::ZERO,
            wall: 0,
            reads: (0, 0),
            seal: Seal::new(KEY, id),
            link: Link::default(),
            up: false,
            up_changed: Duration::ZERO,
            outgoing: Outgoing::new(OUTGOING),
            publishing: false,
            present: None,
            wanted: BTreeSet::new(),
            following: Vec::new(),
            others: Nodes::default(),
            overrun: false,
            compared: Compared::default(),
            rooms: BTreeMap::new(),
            asked: BTreeMap::new(),
            queue: VecDeque::new(),
            batch: None,
            dispatcher: VecDeque::new(),
            dispatching: false,
            behind: BTreeMap::new(),
            attached: BTreeMap::new(),
            retained: BTreeMap::new(),
            sessions: BTreeMap::new(),
        }
    }

    pub fn pace(&self) -> Pace {
        if self.up { Pace::WITH_BUS } else { Pace::WITHOUT_BUS }
    }

    pub fn ready(&mut self, room: usize) -> Option<&mut Ready> {
        match self.rooms.get_mut(&room) {
            Some(Entry::Ready(ready)) => Some(ready),
            _ => None,
        }
    }
}

impl World {
    /// A new process: nothing of an earlier one is left.
    pub fn start(&mut self, node: usize) {
        let (life, wall) = (self.nodes[node].life + 1, self.nodes[node].wall);
        let (started, fine_since, up_changed) = (self.now, self.now, self.now);
        let new = Node::new(&mut self.random);
        self.nodes[node] = Node { life, wall, alive: true, started, fine_since, up_changed, ..new };
        self.note(|| format!("node {node} starts"));
        let (compare, look, sweep) = (self.between(0, 50), self.between(0, 500), self.between(0, 1_000));
        self.at_node(node, compare, Happens::Compare);
        self.at_node(node, look, Happens::Look);
        self.at_node(node, sweep, Happens::Sweep);
        self.connect(node);
    }

    pub fn happens(&mut self, node: usize, happens: Happens) {
        match happens {
            Happens::Answer(answer) => self.answered(node, *answer),
            Happens::Unanswered(id) => self.answered(node, Answer { id, found: Err(()) }),
            Happens::Connect => self.connect(node),
            Happens::Subscribed { connection, more, less } => self.subscribed(node, connection, &more, &less),
            Happens::NotFollowed(token) => self.followed(node, |of, _| of == token),
            Happens::Look => self.look(node),
            Happens::Publish => self.publish_queued(node),
            Happens::Arrived { connection, channel, frame } => self.arrived(node, connection, &channel, &frame),
            Happens::Compare => {
                self.at_node(node, COMPARE, Happens::Compare);
                self.compare(node);
            }
            Happens::Sweep => self.sweep(node),
            Happens::Nudge => self.nudge(node),
            Happens::HoleDue(room) => self.apply(node, room, Input::HoleDue),
            Happens::FetchFailed(room) => self.apply(node, room, Input::FetchFailed),
            Happens::RefreshAgain(room) => self.ask(node, Ask::Row(room, Why::Refresh)),
            Happens::WriteAgain => self.write(node),
            Happens::Dispatch => self.dispatch(node),
            Happens::Take(client, connection) => self.take(node, client, connection),
            Happens::Joined { client, generation, room, join, answer } => {
                self.session_joined(node, (client, generation, room), &join, answer);
            }
            Happens::Page { client, generation, room, page } => self.session_page(node, client, generation, room, page),
            Happens::Step { client, room } => self.step(node, client, room),
        }
    }
}
