//! A node's numbers: counters and gauges, written by every thread, read by the log's regular line, the stats endpoint
//! (`report`) and Prometheus (`prometheus`). Each queue of the config has its gauge here. Relaxed atomics: a reading is a
//! snapshot of each number on its own.

mod busiest;
mod cluster;
mod history;
mod metric;
mod prometheus;
mod rates;
mod report;

use std::time::Instant;

pub use busiest::{Busiest, LastMinute};
pub use cluster::sums;
pub use history::EVERY;
pub(crate) use metric::histogram;
pub use metric::{Counter, Distribution, Gauge};
pub use prometheus::{CONTENT_TYPE, Standing};

use self::{history::History, rates::Rates};
use crate::protocol::{ErrorCode, NodeId};

/// All of a node's numbers.
#[derive(Debug)]
pub struct Stats {
    /// The node, as long as its process lives: a random number, which is also its name.
    pub node: NodeId,
    started: Instant,
    /// Open sockets, authenticated or not.
    pub sessions: Gauge,
    /// Authenticated sessions of the native dialect.
    pub native: Gauge,
    /// Authenticated sessions of the plain dialect.
    pub plain: Gauge,
    /// Users with a session.
    pub users: Gauge,
    /// Rooms in the ChatServer's memory.
    pub rooms: Gauge,
    /// Rooms with a session in them; counted once a second.
    pub occupied_rooms: Gauge,
    /// Bytes of recent events in memory.
    pub recent_bytes: Gauge,
    /// Commands waiting for the ChatServer.
    pub server_queue: Gauge,
    /// Messages given to the writer whose outcome the ChatServer does not know yet.
    pub writer_queue: Gauge,
    /// Deliveries waiting for the workers' Dispatchers.
    pub dispatcher_queue: Gauge,
    /// Frames queued for sessions.
    pub session_queues: Gauge,
    /// Read markers waiting to be stored.
    pub read_marks: Gauge,
    /// Passwords that are being hashed or wait for it.
    pub password_checks: Gauge,
    /// Whether Redis works: 1 or 0.
    pub bus_up: Gauge,
    /// Rooms whose channels are subscribed.
    pub followed_rooms: Gauge,
    /// Frames waiting to be published.
    pub mirror_queue: Gauge,
    /// Frames from other nodes waiting for the ChatServer.
    pub mirror_inbox: Gauge,
    /// Bytes of them.
    pub mirror_inbox_bytes: Gauge,
    /// Frames that came from Redis and were sealed by the hub, so far.
    pub bus_received: Counter,
    /// Frames that came from Redis and were not, so far.
    pub bus_refused: Counter,
    /// Frames that others will read from the database, since there was no place or no Redis for them, so far.
    pub bus_dropped: Counter,
    /// Sessions that missed something and have not drained since.
    pub lagging: Gauge,
    /// Sessions that fell behind and were made to catch up, so far.
    pub lagged: Counter,
    /// Pages of events read from the database, for sessions that catch up and for holes, so far.
    pub pages_read: Counter,
    /// Sockets shut from outside, since their clients took too little, so far.
    pub evicted: Counter,
    /// Messages stored, so far.
    pub stored: Counter,
    /// Frames of room events given to sessions, so far.
    pub delivered: Counter,
    /// Messages in one transaction of the writer.
    pub batches: Distribution,
    /// Microseconds that a transaction of the writer took.
    pub commits: Distribution,
    /// Microseconds from the moment at which this node took a message to that at which a worker has given it to its sessions:
    /// one for each worker and delivery, by the message that waited longest.
    pub delivery: Distribution,
    /// The rooms in which most is said.
    pub busiest: Busiest,
    errors: [Counter; ErrorCode::ALL.len()],
    history: History,
    rates: Rates,
}

impl Stats {
    /// Numbers of a node that starts now.
    pub fn new() -> Self {
        Self {
            node: NodeId(rand::random()),
            started: Instant::now(),
            sessions: Gauge::default(),
            native: Gauge::default(),
            plain: Gauge::default(),
            users: Gauge::default(),
            rooms: Gauge::default(),
            occupied_rooms: Gauge::default(),
            recent_bytes: Gauge::default(),
            server_queue: Gauge::default(),
            writer_queue: Gauge::default(),
            dispatcher_queue: Gauge::default(),
            session_queues: Gauge::default(),
            read_marks: Gauge::default(),
            password_checks: Gauge::default(),
            bus_up: Gauge::default(),
            followed_rooms: Gauge::default(),
            mirror_queue: Gauge::default(),
            mirror_inbox: Gauge::default(),
            mirror_inbox_bytes: Gauge::default(),
            bus_received: Counter::default(),
            bus_refused: Counter::default(),
            bus_dropped: Counter::default(),
            lagging: Gauge::default(),
            lagged: Counter::default(),
            pages_read: Counter::default(),
            evicted: Counter::default(),
            stored: Counter::default(),
            delivered: Counter::default(),
            batches: Distribution::new([1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0]),
            commits: Distribution::new([250.0, 500.0, 1e3, 2e3, 4e3, 8e3, 16e3, 64e3, 256e3, 1e6]),
            delivery: Distribution::new([250.0, 500.0, 1e3, 2e3, 4e3, 8e3, 16e3, 64e3, 256e3, 1e6]),
            busiest: Busiest::new(Instant::now()),
            errors: [const { Counter::new() }; ErrorCode::ALL.len()],
            history: History::new(),
            rates: Rates::new(),
        }
    }

    /// Counts a refusal that a client was told, over a socket or HTTP.
    pub fn refused(&self, code: ErrorCode) {
        if let Some((_, counter)) = self.errors().find(|(known, _)| *known == code) {
            counter.add(1);
        }
    }

    fn errors(&self) -> impl Iterator<Item = (ErrorCode, &Counter)> {
        ErrorCode::ALL.into_iter().zip(&self.errors)
    }

    /// Sockets without a token, or with one that was refused.
    fn unauthenticated(&self) -> usize {
        self.sessions.get().saturating_sub(self.native.get()).saturating_sub(self.plain.get())
    }

    /// Takes the sample of a second, from which the rates come.
    pub fn tick(&self) {
        self.rates.tick(self.stored.get(), self.delivered.get());
    }

    /// One line for the log.
    pub fn log(&self) {
        tracing::info!(
            sessions = self.sessions.get(),
            users = self.users.get(),
            rooms = self.rooms.get(),
            recent_bytes = self.recent_bytes.get(),
            server_queue = self.server_queue.get(),
            writer_queue = self.writer_queue.get(),
            dispatcher_queue = self.dispatcher_queue.get(),
            session_queues = self.session_queues.get(),
            lagged = self.lagged.get(),
            stored = self.stored.get(),
            delivered = self.delivered.get(),
            "stats"
        );
    }
}

impl Default for Stats {
    fn default() -> Self {
        Self::new()
    }
}
