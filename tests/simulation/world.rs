//! The world of one seed: its clock, what will happen when, and what has gone wrong. Everything happens in one loop.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use hubbub::{
    protocol::{RoomName, UserId},
    store::{User, UserKey},
};
use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::{
    bus::Redis,
    client::Client,
    database::{Database, Request},
    faults::Kind,
    node::{Happens, Node},
};

/// How much of a trace is told.
const TOLD: usize = 60;
/// How long things go wrong.
pub const CHAOS: Duration = ms(3_500);
/// How long everybody has to be right again: a lease and a bit.
pub const HEALED: Duration = ms(5_600);

pub const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// What can happen.
#[derive(Debug)]
pub enum Event {
    /// To a node in one of its lives.
    Node(usize, u64, Happens),
    /// A request reaches the database.
    Database(Request),
    /// A client does something.
    Client(usize),
    /// Something goes wrong.
    Fault,
    /// A fault is over.
    Over(Over),
    /// Somebody repeats a frame of before.
    Replay,
    /// Something that was promised is looked at.
    Check(Check),
    /// Nothing goes wrong any more.
    Heal,
    /// Everybody says a last word.
    LastWords,
}

/// Faults that end by themselves.
#[derive(Debug)]
pub enum Over {
    Database,
    Lossy,
    Outage,
    Crash(usize),
    Pause(usize),
}

/// A promise with a time: this node is at the event, or knows the rights, so long after.
#[derive(Debug)]
pub struct Check {
    pub node: usize,
    pub life: u64,
    pub room: usize,
    pub epoch: u64,
    pub since: Duration,
    pub due: Due,
}

#[derive(Clone, Copy, Debug)]
pub enum Due {
    /// The event came over whatever there is.
    Head(i64),
    /// The event came although there is no bus.
    HeadWithoutBus(i64),
    /// Clients that read fast have it.
    Delivered(i64),
    /// The revision of the rights is known.
    Rights(i64),
}

/// What a seed was about.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    pub events: u64,
    pub faults: u64,
    pub commits: u64,
    pub delivered: u64,
    pub joins: u64,
    pub replays: u64,
    pub resets: u64,
    pub lags: u64,
    pub frames: u64,
    pub refused: u64,
    pub removals: u64,
    pub most_reads: u64,
}

impl Figures {
    pub fn add(&mut self, other: &Self) {
        self.events += other.events;
        self.faults += other.faults;
        self.commits += other.commits;
        self.delivered += other.delivered;
        self.joins += other.joins;
        self.replays += other.replays;
        self.resets += other.resets;
        self.lags += other.lags;
        self.frames += other.frames;
        self.refused += other.refused;
        self.removals += other.removals;
        self.most_reads = self.most_reads.max(other.most_reads);
    }
}

pub struct World {
    pub random: StdRng,
    pub now: Duration,
    /// What `Instant`s are counted from; only differences matter.
    pub base: Instant,
    pub database: Database,
    pub redis: Redis,
    pub nodes: Vec<Node>,
    pub clients: Vec<Client>,
    pub rooms: Vec<RoomName>,
    pub users: Vec<User>,
    pub healed: bool,
    /// Which faults there are with this seed.
    pub kinds: Vec<Kind>,
    pub figures: Figures,
    events: BTreeMap<(Duration, u64), Event>,
    serial: u64,
    trace: Option<VecDeque<String>>,
    failed: Option<String>,
}

impl World {
    pub fn new(seed: u64, traced: bool) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let (rooms, nodes, clients) =
            (random.random_range(1..=2), random.random_range(2..=4), random.random_range(2..=6));
        let user = |key: i64| User {
            key: UserKey(key),
            id: UserId::parse(&format!("u{key}")).unwrap(),
            name: Arc::from("somebody"),
            admin: false,
        };
        let mut world = Self {
            now: Duration::ZERO,
            base: Instant::now(),
            database: Database::new(rooms, &mut random),
            redis: Redis::default(),
            nodes: Vec::new(),
            clients: Vec::new(),
            rooms: (0..rooms).map(|room| RoomName::parse(&format!("room-{room}")).unwrap()).collect(),
            users: (0..4).map(user).collect(),
            healed: false,
            kinds: Kind::some(&mut random),
            figures: Figures::default(),
            events: BTreeMap::new(),
            serial: 0,
            trace: traced.then(VecDeque::new),
            failed: None,
            random,
        };
        for node in 0..nodes {
            world.nodes.push(Node::new(&mut world.random));
            world.start(node);
        }
        for client in 0..clients {
            let user = world.random.random_range(0..world.users.len());
            world.clients.push(Client::new(user));
            world.after(ms(20), Event::Client(client));
        }
        world.after(ms(300), Event::Fault);
        world.after(CHAOS, Event::Heal);
        if world.chance(0.5) {
            world.after(CHAOS + ms(1_000), Event::LastWords);
        }
        world
    }

    /// Runs it all; says what went wrong.
    pub fn run(mut self) -> Result<Figures, (String, Vec<String>)> {
        while self.failed.is_none()
            && let Some(((now, _), event)) = self.events.pop_first()
        {
            if now > CHAOS + HEALED {
                self.now = CHAOS + HEALED;
                self.check_end();
                break;
            }
            self.now = now;
            self.figures.events += 1;
            self.happen(event);
        }
        match self.failed {
            None => Ok(self.figures),
            Some(failed) => Err((failed, self.trace.unwrap_or_default().into())),
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Node(node, life, happens) => {
                let place = &mut self.nodes[node];
                if place.life != life || !place.alive {
                } else if place.paused {
                    place.late.push(happens);
                } else {
                    self.happens(node, happens);
                }
            }
            Event::Database(request) => self.at_database(request),
            Event::Client(client) => self.act(client),
            Event::Fault => self.fault(),
            Event::Over(over) => self.over(&over),
            Event::Check(check) => self.check(check),
            Event::Replay => self.replay(),
            Event::Heal => self.heal(),
            Event::LastWords => self.last_words(),
        }
    }

    pub fn after(&mut self, wait: Duration, event: Event) {
        self.serial += 1;
        self.events.insert((self.now + wait, self.serial), event);
    }

    /// The same, for a node as long as this life of it lasts.
    pub fn at_node(&mut self, node: usize, wait: Duration, happens: Happens) {
        self.after(wait, Event::Node(node, self.nodes[node].life, happens));
    }

    /// A number that tells one thing from another.
    pub fn number(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    pub fn chance(&mut self, chance: f64) -> bool {
        self.random.random_bool(chance)
    }

    pub fn pick(&mut self, from: usize, to: usize) -> usize {
        self.random.random_range(from..to)
    }

    /// A time between these milliseconds.
    pub fn between(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_micros(self.random.random_range(from * 1_000..=to * 1_000))
    }

    pub fn instant(&self) -> Instant {
        self.base + self.now
    }

    /// Notes what happens, where it is told.
    pub fn note(&mut self, what: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            if trace.len() >= TOLD {
                trace.pop_front();
            }
            trace.push_back(format!("{:>9.3} ms  {}", self.now.as_secs_f64() * 1_000.0, what()));
        }
    }

    /// The first thing that is not as it should be ends the run.
    pub fn fail(&mut self, what: impl FnOnce() -> String) {
        if self.failed.is_none() {
            let what = what();
            self.note(|| format!("FAILED: {what}"));
            self.failed = Some(what);
        }
    }

    /// One more read by this node: not without end.
    pub fn count_read(&mut self, node: usize) {
        /// The pages of a catch-up of everybody at once are some dozens.
        const MOST: u64 = 250;
        let second = self.now.as_secs();
        let place = &mut self.nodes[node];
        let (of, count) = place.reads;
        place.reads = if of == second { (of, count + 1) } else { (second, 1) };
        let count = place.reads.1;
        self.figures.most_reads = self.figures.most_reads.max(count);
        if count > MOST {
            self.fail(|| format!("P9 livelock: node {node} reads the database without end"));
        }
    }
}
