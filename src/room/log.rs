//! A node's view of one room's log: what came in whatever order goes out as 1, 2, 3… once. What is ahead waits for the
//! hole before it to fill, first by itself, then from the database. Lives in the ChatServer; bounded by `RecentBounds`.

use std::collections::{BTreeMap, VecDeque};

use super::{Numbered, Size};
use crate::protocol::Seq;

/// How much of a room stays in memory.
#[derive(Clone, Copy, Debug)]
pub struct RecentBounds {
    /// Events in order, for replay; as many may wait behind a hole.
    pub events: usize,
    /// Bytes of them.
    pub bytes: usize,
}

/// What can happen to a room's log.
#[derive(Clone, Debug)]
pub enum Input<E> {
    /// Events that are committed, as the writer or the mirror tells.
    Committed(Vec<Numbered<E>>),
    /// The database was seen to have events up to here.
    Head(Seq),
    /// The time that [`Effect::AwaitHole`] asked for is over.
    HoleDue,
    /// What the database has after the log's head, ascending; fewer than there are where the page was full. What is newer
    /// than the log knows of is left for later: rights may have changed before it.
    Fetched(Vec<Numbered<E>>),
    /// The database could not be asked.
    FetchFailed,
}

/// What the log wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect<E> {
    /// These are next in order: give them to every member.
    Deliver(Vec<Numbered<E>>),
    /// There is a hole: come back with [`Input::HoleDue`] after a short time, since it mostly fills by itself.
    AwaitHole,
    /// Read what comes after this number and come back with [`Input::Fetched`] or [`Input::FetchFailed`].
    Fetch(Seq),
}

/// What the log's memory has for a cursor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Memory<E> {
    /// Everything after the cursor, up to the limits that were asked for.
    Events(Vec<Numbered<E>>),
    /// Something after the cursor is no longer, or not yet, in memory.
    NotHere,
}

/// What is being done about events that are known to be there and did not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hole {
    None,
    Awaited,
    Due,
    Fetching,
}

/// One room's events on this node.
#[derive(Debug)]
pub struct RoomLog<E> {
    bounds: RecentBounds,
    /// The last number that was delivered in order.
    head: Seq,
    /// The newest number that is known to be committed.
    known: Seq,
    /// The newest delivered events: without a hole, ending at `head`.
    recent: VecDeque<Numbered<E>>,
    recent_bytes: usize,
    /// What came ahead of its turn.
    ahead: BTreeMap<Seq, E>,
    hole: Hole,
}

impl<E: Clone + Size> RoomLog<E> {
    /// A log that starts after `head`, with nothing in memory.
    pub fn new(head: Seq, bounds: RecentBounds) -> Self {
        let (recent, ahead) = (VecDeque::new(), BTreeMap::new());
        Self { bounds, head, known: head, recent, recent_bytes: 0, ahead, hole: Hole::None }
    }

    /// The last number that was delivered.
    pub fn head(&self) -> Seq {
        self.head
    }

    /// Bytes of events held for replay.
    pub fn recent_bytes(&self) -> usize {
        self.recent_bytes
    }

    /// Events that came ahead of their turn and wait.
    pub fn ahead(&self) -> usize {
        self.ahead.len()
    }

    /// Whether nothing is ahead, awaited or being read: such a log can be dropped and made again from the database.
    pub fn is_settled(&self) -> bool {
        self.hole == Hole::None
    }

    /// Gives the memory of recent events back; the log goes on.
    pub fn forget_recent(&mut self) {
        self.recent = VecDeque::new();
        self.recent_bytes = 0;
    }

    /// Takes in what happened and says what to do, in order.
    pub fn apply(&mut self, input: Input<E>) -> Vec<Effect<E>> {
        let mut next = Vec::new();
        match input {
            Input::Committed(events) => self.take(events, &mut next),
            Input::Head(seq) => self.known = self.known.max(seq),
            Input::HoleDue if self.hole == Hole::Awaited => self.hole = Hole::Due,
            // Of a hole that has filled since, or is being read already.
            Input::HoleDue => {}
            Input::Fetched(mut events) => {
                events.retain(|event| event.seq <= self.known);
                self.take(events, &mut next);
                // A page that brought nothing is asked for again only after a while.
                self.hole = if next.is_empty() { Hole::None } else { Hole::Due };
            }
            Input::FetchFailed => self.hole = Hole::None,
        }
        let mut effects = Vec::new();
        if !next.is_empty() {
            effects.push(Effect::Deliver(next));
        }
        match self.hole {
            Hole::Fetching => {}
            _ if self.head == self.known => self.hole = Hole::None,
            Hole::None => {
                self.hole = Hole::Awaited;
                effects.push(Effect::AwaitHole);
            }
            Hole::Due => {
                self.hole = Hole::Fetching;
                effects.push(Effect::Fetch(self.head));
            }
            Hole::Awaited => {}
        }
        effects
    }

    /// What comes after `after`, oldest first, at most `limit` events and about `bytes` bytes.
    pub fn recent_after(&self, after: Seq, limit: usize, bytes: usize) -> Memory<E> {
        if after >= self.head {
            return Memory::Events(Vec::new());
        }
        let missed = after.distance_to(self.head);
        let held = u64::try_from(self.recent.len()).unwrap_or(u64::MAX);
        let Some(skip) = held.checked_sub(missed).and_then(|skip| usize::try_from(skip).ok()) else {
            return Memory::NotHere;
        };
        let mut budget = bytes;
        let within = |event: &&Numbered<E>| {
            let fits = budget > 0;
            budget = budget.saturating_sub(event.event.size_bytes());
            fits
        };
        Memory::Events(self.recent.iter().skip(skip).take(limit).take_while(within).cloned().collect())
    }

    /// Puts events at their place; `next` gets those whose turn it is.
    fn take(&mut self, events: Vec<Numbered<E>>, next: &mut Vec<Numbered<E>>) {
        for Numbered { seq, event } in events {
            self.known = self.known.max(seq);
            if seq == self.head.next() {
                self.advance(seq, event, next);
                while let Some(event) = self.ahead.remove(&self.head.next()) {
                    self.advance(self.head.next(), event, next);
                }
            } else if seq > self.head {
                self.ahead.insert(seq, event);
                // The far end can be read again; what is near will be needed first.
                if self.ahead.len() > self.bounds.events {
                    self.ahead.pop_last();
                }
            }
        }
    }

    fn advance(&mut self, seq: Seq, event: E, next: &mut Vec<Numbered<E>>) {
        self.head = seq;
        self.recent_bytes = self.recent_bytes.saturating_add(event.size_bytes());
        let numbered = Numbered { seq, event };
        self.recent.push_back(numbered.clone());
        next.push(numbered);
        while self.recent.len() > self.bounds.events || self.recent_bytes > self.bounds.bytes {
            let Some(oldest) = self.recent.pop_front() else { break };
            self.recent_bytes = self.recent_bytes.saturating_sub(oldest.event.size_bytes());
        }
    }
}
