//! Where one session stands in one room: seq n goes out only when n−1 was the last one, so replay joins live events
//! with neither a gap nor a repeat. Lives in the Session; what it holds back while it catches up is bounded.

use std::collections::VecDeque;

use super::Numbered;
use crate::protocol::Seq;

/// What a cursor from a client is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// Exactly this many missed events, then live ones.
    Replay(u64),
    /// The cursor can't be served: the client is told so and goes on from the head.
    Reset,
}

/// What the session has to do next for this room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing: live events come by themselves.
    Live,
    /// Ask for what comes after this number.
    Read(Seq),
    /// Too far behind: tell the client to page the history, and go on from this number.
    Reset(Seq),
}

/// One session's place in one room.
#[derive(Debug)]
pub struct Cursor<E> {
    /// The last number that the client was sent (or had, or was told to go on from).
    sent: Seq,
    /// The newest number that was seen, sent or not.
    known: Seq,
    /// Live events that came while older ones were being read: without a hole.
    held: VecDeque<Numbered<E>>,
    held_bound: usize,
    reading: bool,
    gone: bool,
}

impl<E> Cursor<E> {
    /// Judges a client's cursor against a room whose log starts at `first` and stands at `head`.
    pub fn judge(after: Seq, first: Seq, head: Seq, most: u64) -> Start {
        let missed = after.distance_to(head);
        if after > head || after.next() < first || missed > most { Start::Reset } else { Start::Replay(missed) }
    }

    /// A session that has everything up to `sent` of a room whose head is `head`; `held_bound` is how many live events
    /// it may hold back while it reads older ones.
    pub fn new(sent: Seq, head: Seq, held_bound: usize) -> Self {
        Self { sent, known: head.max(sent), held: VecDeque::new(), held_bound, reading: false, gone: false }
    }

    /// A live event came. `Some` where it is to be sent now.
    pub fn offer(&mut self, live: Numbered<E>) -> Option<Numbered<E>> {
        if live.seq <= self.sent {
            return None;
        }
        let in_step = self.sent == self.known && !self.reading;
        let follows = live.seq == self.known.next();
        self.known = self.known.max(live.seq);
        if in_step && follows {
            self.sent = live.seq;
            return Some(live);
        }
        let joins = self.held.back().is_none_or(|last| live.seq == last.seq.next());
        // Where there is no room or a hole before it, it will be read with the others.
        if joins && self.held.len() < self.held_bound {
            self.held.push_back(live);
        }
        None
    }

    /// Up to where the client was sent everything, where nothing is missing, read or held back: live events may be sent past
    /// this.
    pub fn in_step(&self) -> Option<Seq> {
        (self.sent == self.known && !self.reading).then_some(self.sent)
    }

    /// The client was sent everything up to `sent`, past this.
    pub fn led_to(&mut self, sent: Seq) {
        self.sent = sent;
        self.known = sent;
    }

    /// Events up to `head` went by unseen, since a queue was full.
    pub fn fell_behind(&mut self, head: Seq) {
        self.known = self.known.max(head);
    }

    /// What was read after [`Next::Read`]: gives what is to be sent, in order. Repeats in it are left out, and what is newer
    /// than anything that was seen: that comes by itself, once it is known that rights have not changed before it.
    pub fn page(&mut self, page: Vec<Numbered<E>>) -> Vec<Numbered<E>> {
        self.reading = false;
        let before = self.sent;
        let mut out = Vec::with_capacity(page.len());
        for event in page {
            if event.seq == self.sent.next() && event.seq <= self.known {
                self.sent = event.seq;
                out.push(event);
            }
        }
        while let Some(held) = self.held.pop_front() {
            if held.seq == self.sent.next() {
                self.sent = held.seq;
                out.push(held);
            } else if held.seq > self.sent {
                self.held.push_front(held);
                break;
            }
        }
        // The log no longer has what it was known to have: only a reset is honest then.
        self.gone = self.sent == before;
        out
    }

    /// The read failed; [`Cursor::next`] will ask again.
    pub fn read_failed(&mut self) {
        self.reading = false;
    }

    /// What is to be done now, where no read is under way. Over `most` events behind there is no catching up.
    pub fn next(&mut self, most: u64) -> Next {
        if self.reading || self.sent == self.known {
            return Next::Live;
        }
        if self.gone || self.sent.distance_to(self.known) > most {
            self.gone = false;
            self.held.clear();
            self.sent = self.known;
            return Next::Reset(self.sent);
        }
        self.reading = true;
        Next::Read(self.sent)
    }
}
