//! Joins of one room that wait for what the database says of its head: one is only ever judged by a row that was read
//! after it came. Lives in the ChatServer's room; bounded by `limits.server_queue`. Pure code, which tests/simulation.rs
//! drives.

use std::{
    mem,
    time::{Duration, Instant},
};

use crate::protocol::Seq;

/// The longest that a join waits for the log to get to the head that was read.
const CATCH_UP: Duration = Duration::from_secs(5);

/// Joins of one room that wait.
#[derive(Debug)]
pub struct Waiting<J> {
    /// For the room's row, which is to be read after they came.
    asking: Vec<J>,
    /// For the row that is being read.
    reading: Vec<J>,
    /// For the log to get to the head that was read, since when.
    catching_up: Vec<(J, Seq, Instant)>,
}

impl<J> Default for Waiting<J> {
    fn default() -> Self {
        Self { asking: Vec::new(), reading: Vec::new(), catching_up: Vec::new() }
    }
}

impl<J> Waiting<J> {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.asking.len().saturating_add(self.reading.len()).saturating_add(self.catching_up.len())
    }

    /// One more, that came now.
    pub fn ask(&mut self, join: J) {
        self.asking.push(join);
    }

    /// Whether the row is to be read now, for those who ask: what is under way may be older than they are.
    pub fn read(&mut self) -> bool {
        let reads = !self.asking.is_empty() && self.reading.is_empty();
        if reads {
            self.reading = mem::take(&mut self.asking);
        }
        reads
    }

    /// The row can't be read: those for whom it was.
    pub fn unread(&mut self) -> Vec<J> {
        mem::take(&mut self.reading)
    }

    /// The row was read: those for whom it was wait for the log to get to its head.
    pub fn was_read(&mut self, head: Seq, now: Instant) {
        self.catching_up.extend(self.reading.drain(..).map(|join| (join, head, now)));
    }

    /// Those that need not wait any longer once the log stands at `head`.
    pub fn ready(&mut self, head: Seq) -> Vec<J> {
        let ready = self.catching_up.extract_if(.., |(_, until, _)| *until <= head);
        ready.map(|(join, ..)| join).collect()
    }

    /// Those that the log can't catch up for.
    pub fn stuck(&mut self) -> Vec<J> {
        mem::take(&mut self.catching_up).into_iter().map(|(join, ..)| join).collect()
    }

    /// Those that waited too long, however that came about.
    pub fn late(&mut self, now: Instant) -> Vec<J> {
        let late = |since: Instant| now.saturating_duration_since(since) > CATCH_UP;
        self.catching_up.extract_if(.., |(.., since)| late(*since)).map(|(join, ..)| join).collect()
    }
}
