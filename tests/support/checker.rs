//! The checker: writers send `writer-counter` values, readers keep what they saw, and at the end both are held against
//! each other and against the database. All checks are linear. The verdicts bear the names of Jepsen's anomalies.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::database::StoredMessage;

/// What one run saw.
#[derive(Default)]
pub struct History {
    /// Values that were sent, whatever became of them.
    attempted: HashSet<String>,
    /// Values that were acked, with their numbers.
    acked: HashMap<String, i64>,
    /// Acked numbers of each writer in the order of its acks.
    by_writer: HashMap<String, Vec<i64>>,
    /// What each reader saw, in order.
    seen: BTreeMap<String, Vec<(i64, String)>>,
}

impl History {
    pub fn attempt(&mut self, value: &str) {
        self.attempted.insert(value.to_owned());
    }

    pub fn ack(&mut self, value: &str, seq: i64) {
        let before = self.acked.insert(value.to_owned(), seq);
        assert!(before.is_none_or(|before| before == seq), "inconsistent: {value} acked as {before:?} and as {seq}");
        let writer = value.rsplit_once('-').unwrap().0;
        self.by_writer.entry(writer.to_owned()).or_default().push(seq);
    }

    /// A reader received this; a reader keeps its name when its connection changes.
    pub fn see(&mut self, reader: &str, seq: i64, value: &str) {
        self.seen.entry(reader.to_owned()).or_default().push((seq, value.to_owned()));
    }

    /// Takes in what another one saw of other writers and readers.
    pub fn merge(&mut self, other: Self) {
        self.attempted.extend(other.attempted);
        self.acked.extend(other.acked);
        self.by_writer.extend(other.by_writer);
        self.seen.extend(other.seen);
    }

    pub fn acks(&self) -> usize {
        self.acked.len()
    }

    /// The highest acked number: readers drain until they have it.
    pub fn highest(&self) -> i64 {
        self.acked.values().copied().max().unwrap_or(0)
    }

    /// Panics with the verdict's name where a promise is broken.
    pub fn check(&self, stored: &[StoredMessage]) {
        for (index, message) in stored.iter().enumerate() {
            assert_eq!(message.seq, i64::try_from(index).unwrap() + 1, "P3 hole: in the database");
        }
        let by_value: HashMap<_, _> = stored.iter().map(|message| (message.content.as_str(), message.seq)).collect();
        assert_eq!(by_value.len(), stored.len(), "P2 duplicate: in the database");
        for message in stored {
            assert!(self.attempted.contains(&message.content), "P12 phantom: {} in the database", message.content);
        }
        for (value, seq) in &self.acked {
            assert_eq!(by_value.get(value.as_str()), Some(seq), "P1 lost-write: {value} acked as {seq}");
        }
        for (writer, seqs) in &self.by_writer {
            assert!(seqs.is_sorted(), "P3 nonmonotonic-send: {writer} {seqs:?}");
        }
        for (reader, events) in &self.seen {
            let mut last = events.first().map_or(0, |(seq, _)| seq - 1);
            for (seq, value) in events {
                assert!(*seq > last, "P2 P4 duplicate: {reader} saw {seq} after {last}");
                assert_eq!(*seq, last + 1, "P4 skip: {reader} saw {seq} after {last}");
                assert!(self.attempted.contains(value), "P12 phantom: {reader} saw {value}");
                assert_eq!(by_value.get(value.as_str()), Some(seq), "P3 inconsistent-offsets: {reader} saw {value}");
                last = *seq;
            }
            assert!(last >= self.highest(), "P4 unseen: {reader} has {last} of {}", self.highest());
        }
    }
}
