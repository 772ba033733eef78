//! Which rooms are busiest: messages stored in each within the last minute, counted by the ChatServer (a few numbers a
//! room in its memory), and the list that it makes of them once a second. Bounded: `LISTED` rooms.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Instant,
};

use serde::{Deserialize, Serialize};

use crate::protocol::RoomName;

/// Rooms that are named.
const LISTED: usize = 10;
/// Parts of a minute that are counted each on its own; the one that runs is the last.
const PARTS: usize = 12;
/// Seconds of a part.
const PART: u64 = 5;

/// How often something happened within the last minute, or up to 5 s less of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct LastMinute {
    counts: [u32; PARTS],
    /// The part that runs, counted from the start.
    part: u64,
}

impl LastMinute {
    /// It happened `n` times; `since_start` in seconds.
    pub fn add(&mut self, n: usize, since_start: u64) {
        self.turn(since_start);
        if let Some(count) = self.counts.first_mut() {
            *count = count.saturating_add(u32::try_from(n).unwrap_or(u32::MAX));
        }
    }

    /// How often.
    pub fn get(&mut self, since_start: u64) -> u64 {
        self.turn(since_start);
        self.counts.iter().map(|count| u64::from(*count)).sum()
    }

    fn turn(&mut self, since_start: u64) {
        let part = since_start / PART;
        let passed = usize::try_from(part.saturating_sub(self.part)).unwrap_or(PARTS).min(PARTS);
        if passed > 0 {
            self.counts.rotate_right(passed % PARTS);
            self.counts.iter_mut().take(passed).for_each(|count| *count = 0);
            self.part = part;
        }
    }
}

/// A room in the list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct BusyRoom {
    /// Its name.
    pub(super) room: String,
    /// Messages stored within the last minute.
    pub(super) messages_1m: u64,
    /// Sessions in it now.
    pub(super) sessions: u64,
}

/// The list.
#[derive(Debug)]
pub struct Busiest {
    since: Instant,
    rooms: Mutex<Vec<BusyRoom>>,
}

impl Busiest {
    pub(super) fn new(start: Instant) -> Self {
        Self { since: start, rooms: Mutex::default() }
    }

    /// Seconds since the start, for `LastMinute`.
    pub fn clock(&self) -> u64 {
        self.since.elapsed().as_secs()
    }

    /// Lists the busiest of these: name, messages within the last minute, sessions.
    pub fn list<'a>(&self, rooms: impl Iterator<Item = (&'a RoomName, u64, usize)>) {
        let mut busy: Vec<_> = rooms.filter(|(_, messages, _)| *messages > 0).collect();
        busy.sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.as_str().cmp(b.0.as_str())));
        busy.truncate(LISTED);
        let named = busy.into_iter().map(|(room, messages_1m, sessions)| BusyRoom {
            room: room.as_str().to_owned(),
            messages_1m,
            sessions: u64::try_from(sessions).unwrap_or(u64::MAX),
        });
        *self.rooms.lock().unwrap_or_else(PoisonError::into_inner) = named.collect();
    }

    pub(super) fn get(&self) -> Vec<BusyRoom> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Several nodes' lists in one. What a node counts of a room that it does not name is not in it.
pub(super) fn merge(lists: impl Iterator<Item = BusyRoom>) -> Vec<BusyRoom> {
    let mut rooms: HashMap<String, BusyRoom> = HashMap::new();
    for busy in lists {
        match rooms.get_mut(&busy.room) {
            Some(known) => {
                known.messages_1m = known.messages_1m.saturating_add(busy.messages_1m);
                known.sessions = known.sessions.saturating_add(busy.sessions);
            }
            None => drop(rooms.insert(busy.room.clone(), busy)),
        }
    }
    let mut rooms: Vec<_> = rooms.into_values().collect();
    rooms.sort_unstable_by(|a, b| b.messages_1m.cmp(&a.messages_1m).then_with(|| a.room.cmp(&b.room)));
    rooms.truncate(LISTED);
    rooms
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_forgets_what_came_before_it() {
        let mut minute = LastMinute::default();
        minute.add(3, 100);
        minute.add(4, 130);
        assert_eq!(minute.get(154), 7);
        assert_eq!(minute.get(160), 4, "the first came a minute ago");
        minute.add(1, 161);
        assert_eq!((minute.get(189), minute.get(190), minute.get(10_000)), (5, 1, 0));
    }

    #[test]
    fn the_list_is_bounded_and_sorted() {
        let names: Vec<_> = (0..50).map(|n| RoomName::parse(&format!("r{n:02}")).unwrap()).collect();
        let busiest = Busiest::new(Instant::now());
        busiest.list(names.iter().zip(0..).map(|(name, n)| (name, n % 7, 2)));
        let listed = busiest.get();
        let short: Vec<_> = listed.iter().map(|busy| (busy.room.as_str(), busy.messages_1m)).collect();
        assert_eq!((short.len(), &short[..2], short[9]), (LISTED, &[("r06", 6), ("r13", 6)][..], ("r19", 5)));
        let both = merge(listed.iter().cloned().chain([BusyRoom { room: "r13".into(), messages_1m: 1, sessions: 1 }]));
        assert_eq!(both[0], BusyRoom { room: "r13".into(), messages_1m: 7, sessions: 3 });
    }
}
