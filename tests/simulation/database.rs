//! The database of the simulation: rooms with head, rights, epoch and rows. It can be away, slow, late, and lose the
//! answer of a commit that happened. Modelled: the hub's SQL is tested against real databases.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::Duration,
};

use bytestring::ByteString;
use hubbub::{
    protocol::{Epoch, Seq},
    room::Numbered,
    store::{RoomKey, RoomKind, RoomRow, UserKey},
};
use rand::{RngExt, rngs::StdRng};

use super::{
    node::{Answer, Happens, Why},
    world::{Check, Due, Event, World, ms},
};

/// The longest that a call may take, from the node's side.
pub const TIMEOUT: Duration = ms(2_000);
/// Events in a page.
pub const PAGE: usize = 8;

/// A message on its way to be stored.
#[derive(Clone, Debug)]
pub struct Item {
    pub room: usize,
    pub user: usize,
    pub client: usize,
    /// Its client id; its text too.
    pub text: u64,
    pub rights: i64,
    pub received: Duration,
    /// Whether its sender has been told something.
    pub answered: bool,
}

/// What is asked.
#[derive(Clone, Debug)]
pub enum Ask {
    Row(usize, Why),
    /// What a log misses.
    Hole(usize, Seq),
    /// What a session misses.
    Missed {
        room: usize,
        after: Seq,
        client: usize,
        generation: u64,
    },
    Heads(Vec<usize>),
    Append(Vec<Item>),
    /// A user of a room, and whether they are to be a member; then the row is read.
    Change(usize, usize, bool),
}

#[derive(Debug)]
pub struct Request {
    pub node: usize,
    pub life: u64,
    pub id: u64,
    pub ask: Ask,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    New(Seq),
    Repeat(Seq),
    StaleRights,
    NotThere,
}

#[derive(Clone, Debug)]
pub enum Found {
    Row(Box<RoomRow>),
    Page(Vec<Numbered<ByteString>>),
    Heads(Vec<(usize, Seq, i64)>),
    Outcomes(Vec<(Outcome, ByteString)>),
}

/// A change of rights that was made.
#[derive(Clone, Debug)]
pub struct Changed {
    pub rights: i64,
    pub head: i64,
    pub user: usize,
    pub member: bool,
}

#[derive(Clone, Debug)]
pub struct DbRoom {
    pub rights: i64,
    pub members: HashSet<UserKey>,
    pub changes: Vec<Changed>,
    /// What everybody gets, from number 1.
    pub rows: Vec<ByteString>,
    pub texts: BTreeMap<u64, i64>,
    last_at: i64,
}

impl DbRoom {
    pub fn head(&self) -> i64 {
        i64::try_from(self.rows.len()).unwrap()
    }
}

/// How it fares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    Fine,
    Slow,
    /// Every call fails.
    Away,
    /// No call is answered.
    Silent,
}

#[derive(Debug)]
pub struct Database {
    pub epoch: u64,
    pub rooms: Vec<DbRoom>,
    /// Requests of before reach nothing.
    pub restored: u64,
    pub backup: Option<Vec<DbRoom>>,
    pub mood: Mood,
    /// Since when nothing that went wrong is still under way.
    pub fine_since: Duration,
    /// How often an answer of a commit is lost.
    pub lost: f64,
}

impl Database {
    pub fn new(rooms: usize, random: &mut StdRng) -> Self {
        let room = |_| {
            let members = (0..4).filter(|_| random.random_bool(0.8)).map(UserKey).collect();
            let rows = (0..random.random_range(0..40)).map(|n| body(n + 1, u64::MAX, 0)).collect();
            let (changes, texts) = (Vec::new(), BTreeMap::new());
            DbRoom { rights: 1, members, changes, rows, texts, last_at: 0 }
        };
        let rooms = (0..rooms).map(room).collect();
        Self { epoch: 1, rooms, restored: 0, backup: None, mood: Mood::Fine, fine_since: Duration::ZERO, lost: 0.0 }
    }

    pub fn epoch(&self) -> Epoch {
        Epoch::from(&*format!("epoch-{}", self.epoch))
    }

    fn row(&self, room: usize) -> RoomRow {
        let found = &self.rooms[room];
        RoomRow {
            key: RoomKey(i64::try_from(room).unwrap()),
            kind: RoomKind::Private,
            first: Seq(1),
            head: Seq(found.head()),
            rights: found.rights,
            epoch: self.epoch(),
            members: found.members.clone(),
            bans: HashMap::new(),
        }
    }

    fn page(&self, room: usize, after: Seq) -> Vec<Numbered<ByteString>> {
        let skip = usize::try_from(after.0).unwrap();
        let events = self.rooms[room].rows.iter().zip(1..).skip(skip).take(PAGE);
        events.map(|(event, seq)| Numbered { seq: Seq(seq), event: event.clone() }).collect()
    }

    /// One transaction.
    fn append(&mut self, items: &[Item], wall: i64) -> Vec<(Outcome, ByteString)> {
        let store = |item: &Item| {
            let room = &mut self.rooms[item.room];
            if let Some(seq) = room.texts.get(&item.text) {
                return (Outcome::Repeat(Seq(*seq)), ByteString::new());
            }
            if item.answered {
                return (Outcome::NotThere, ByteString::new());
            }
            if item.rights != room.rights {
                return (Outcome::StaleRights, ByteString::new());
            }
            room.last_at = room.last_at.max(wall);
            let seq = room.head() + 1;
            let event = body(seq, item.text, room.last_at);
            room.texts.insert(item.text, seq);
            room.rows.push(event.clone());
            (Outcome::New(Seq(seq)), event)
        };
        items.iter().map(store).collect()
    }
}

/// An event as it goes out: number, text, time.
fn body(seq: i64, text: u64, at: i64) -> ByteString {
    format!("{seq} {text} {at}").into()
}

/// The time in an event.
pub fn time_of(event: &str) -> i64 {
    event.rsplit(' ').next().unwrap().parse().unwrap()
}

impl World {
    /// A node asks the database.
    pub fn ask(&mut self, node: usize, ask: Ask) {
        let id = self.number();
        if !matches!(ask, Ask::Append(_) | Ask::Change(..)) {
            self.count_read(node);
        }
        let (life, wait) = (self.nodes[node].life, self.way());
        self.nodes[node].asked.insert(id, ask.clone());
        self.after(wait, Event::Database(Request { node, life, id, ask }));
        self.at_node(node, TIMEOUT, Happens::Unanswered(id));
    }

    fn way(&mut self) -> Duration {
        let mood = self.database.mood;
        match mood {
            Mood::Slow => self.between(20, 400),
            Mood::Silent if self.chance(0.5) => self.between(1_000, 2_500),
            _ => self.between(0, 4),
        }
    }

    pub fn at_database(&mut self, Request { node, life, id, ask }: Request) {
        if id < self.database.restored {
            return;
        }
        let back = self.way();
        if self.database.mood == Mood::Silent && self.chance(0.5) {
            return;
        }
        if self.database.mood == Mood::Away {
            return self.answer(node, life, back, (id, Err(())));
        }
        let mut lost = false;
        let found = match &ask {
            Ask::Row(room, _) => Found::Row(Box::new(self.database.row(*room))),
            Ask::Hole(room, after) | Ask::Missed { room, after, .. } => Found::Page(self.database.page(*room, *after)),
            Ask::Heads(rooms) => Found::Heads(
                rooms
                    .iter()
                    .map(|room| (*room, Seq(self.database.rooms[*room].head()), self.database.rooms[*room].rights))
                    .collect(),
            ),
            Ask::Append(items) => {
                let wall = self.nodes[node].wall + i64::try_from(self.now.as_millis()).unwrap();
                let outcomes = self.database.append(items, wall);
                for ((outcome, _), item) in outcomes.iter().zip(items) {
                    if let Outcome::New(seq) = outcome {
                        self.note(|| format!("database: {} of room {} is text {}", seq, item.room, item.text));
                        self.committed(item.room, seq.0);
                    }
                }
                lost = self.chance(self.database.lost);
                Found::Outcomes(outcomes)
            }
            Ask::Change(room, user, member) => {
                self.change(*room, *user, *member);
                lost = self.chance(self.database.lost);
                Found::Row(Box::new(self.database.row(*room)))
            }
        };
        if lost {
            self.note(|| format!("database: the answer to {ask:?} is lost"));
            return self.answer(node, life, back, (id, Err(())));
        }
        self.answer(node, life, back, (id, Ok(found)));
    }

    fn answer(&mut self, node: usize, life: u64, wait: Duration, (id, found): (u64, Result<Found, ()>)) {
        self.after(wait, Event::Node(node, life, Happens::Answer(Box::new(Answer { id, found }))));
    }

    fn committed(&mut self, room: usize, seq: i64) {
        self.figures.commits += 1;
        self.promise(room, ms(2_000), Due::Head(seq));
        self.promise(room, ms(1_100), Due::HeadWithoutBus(seq));
        self.promise(room, ms(3_000), Due::Delivered(seq));
    }

    fn change(&mut self, room: usize, user: usize, member: bool) {
        let key = self.users[user].key;
        let found = &mut self.database.rooms[room];
        let changed = if member { found.members.insert(key) } else { found.members.remove(&key) };
        if !changed {
            return;
        }
        found.rights += 1;
        let (rights, head) = (found.rights, found.head());
        found.changes.push(Changed { rights, head, user, member });
        self.figures.removals += u64::from(!member);
        self.note(|| format!("database: rights {rights} of room {room} after {head}, user {user} member {member}"));
        self.promise(room, ms(2_000), Due::Rights(rights));
    }

    /// All nodes that live now are to keep this.
    fn promise(&mut self, room: usize, wait: Duration, due: Due) {
        let (epoch, since) = (self.database.epoch, self.now);
        for node in 0..self.nodes.len() {
            let life = self.nodes[node].life;
            if self.nodes[node].alive {
                self.after(wait, Event::Check(Check { node, life, room, epoch, since, due }));
            }
        }
    }
}
