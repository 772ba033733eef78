//! Counters and gauges, written by every thread and read by the log's regular line. Each queue of the config has its
//! gauge here. Relaxed atomics: a reading is a snapshot of each number on its own.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// A number that goes up.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds to it.
    pub fn add(&self, n: usize) {
        self.0.fetch_add(u64::try_from(n).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// The sum so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// Raises it.
    pub fn add(&self, n: usize) {
        self.0.fetch_add(i64::try_from(n).unwrap_or(i64::MAX), Ordering::Relaxed);
    }

    /// Lowers it.
    pub fn sub(&self, n: usize) {
        self.0.fetch_sub(i64::try_from(n).unwrap_or(i64::MAX), Ordering::Relaxed);
    }

    /// Sets it.
    pub fn set(&self, n: usize) {
        self.0.store(i64::try_from(n).unwrap_or(i64::MAX), Ordering::Relaxed);
    }

    /// What it stands at.
    pub fn get(&self) -> usize {
        usize::try_from(self.0.load(Ordering::Relaxed)).unwrap_or(0)
    }
}

/// All of a node's numbers.
#[derive(Debug, Default)]
pub struct Stats {
    /// Open sockets, authenticated or not.
    pub sessions: Gauge,
    /// Rooms in the ChatServer's memory.
    pub rooms: Gauge,
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
    /// Sessions that fell behind and were made to catch up, so far.
    pub lagged: Counter,
    /// Messages stored, so far.
    pub stored: Counter,
    /// Frames of room events given to sessions, so far.
    pub delivered: Counter,
}

impl Stats {
    /// One line for the log.
    pub fn log(&self) {
        tracing::info!(
            sessions = self.sessions.get(),
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
