//! What came of a load: every message by the number that it was sent under, every delivery counted, checked and timed from when its
//! message was due.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::stats;

/// One message.
#[derive(Clone, Copy, Debug)]
struct Sent {
    /// When it was due.
    due: Instant,
    /// Whose it is.
    sender: usize,
    /// How many are to have it.
    members: u64,
}

/// The count.
pub(super) struct Tally {
    messages: Vec<Sent>,
    pub(super) acked: u64,
    pub(super) refused: u64,
    pub(super) received: u64,
    /// Stored messages times members.
    pub(super) expected: u64,
    /// Deliveries that did not follow the one before.
    pub(super) wrong: u64,
    /// Sessions that were told that they lag, or must go.
    pub(super) lagged: u64,
    /// Microseconds from due to received, of each delivery, by the class of its room.
    pub(super) delivery: Vec<Histogram<u64>>,
    /// Microseconds from due to acked, of each message.
    pub(super) ack: Histogram<u64>,
    /// From the first message's time to the last delivery.
    pub(super) took: Duration,
}

impl Tally {
    pub(super) fn new(classes: usize) -> Self {
        Self {
            messages: Vec::new(),
            acked: 0,
            refused: 0,
            received: 0,
            expected: 0,
            wrong: 0,
            lagged: 0,
            delivery: (0..classes).map(|_| stats::histogram()).collect(),
            ack: stats::histogram(),
            took: Duration::ZERO,
        }
    }

    pub(super) fn sent(&self) -> u64 {
        u64::try_from(self.messages.len()).unwrap_or(u64::MAX)
    }

    /// Notes a message; gives its number.
    pub(super) fn send(&mut self, due: Instant, sender: usize, members: u64) -> u64 {
        self.messages.push(Sent { due, sender, members });
        self.sent().saturating_sub(1)
    }

    fn message(&self, number: u64) -> Option<Sent> {
        self.messages.get(usize::try_from(number).ok()?).copied()
    }

    /// Whether this one sent it.
    pub(super) fn is_from(&self, number: u64, sender: usize) -> bool {
        self.message(number).is_some_and(|message| message.sender == sender)
    }

    /// The server says that it has it.
    pub(super) fn stored(&mut self, number: u64, now: Instant) {
        let Some(Sent { due, .. }) = self.message(number) else { return };
        self.taken(number);
        self.ack.record(micros(due, now)).ok();
    }

    /// It is expected at all members.
    pub(super) fn taken(&mut self, number: u64) {
        let Some(Sent { members, .. }) = self.message(number) else { return };
        self.acked = self.acked.saturating_add(1);
        self.expected = self.expected.saturating_add(members);
    }

    /// A member has it; `follows` says whether it came after the one before it.
    pub(super) fn delivered(&mut self, number: u64, class: usize, follows: bool, now: Instant) {
        self.received = self.received.saturating_add(1);
        self.wrong = self.wrong.saturating_add(u64::from(!follows));
        let Some(Sent { due, .. }) = self.message(number) else { return };
        if let Some(histogram) = self.delivery.get_mut(class) {
            histogram.record(micros(due, now)).ok();
        }
    }

    /// Whether each message was answered and all of them are with everybody.
    pub(super) fn is_settled(&self) -> bool {
        self.acked.saturating_add(self.refused) >= self.sent() && self.received >= self.expected
    }

    /// Whether every message was stored and every member received each of them once, in order.
    pub(super) fn is_whole(&self) -> bool {
        self.acked == self.sent() && self.received == self.expected && self.wrong == 0 && self.refused == 0
    }
}

/// Whole microseconds, from one on.
fn micros(from: Instant, to: Instant) -> u64 {
    u64::try_from(to.saturating_duration_since(from).as_micros()).unwrap_or(u64::MAX).max(1)
}
