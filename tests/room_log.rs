//! The room's log and cursors as pure code, driven by seeds: a database that numbers, nodes that hear of it late, twice,
//! out of order or not at all, and clients that lag, drop and resume. Every client must see 1, 2, 3… or a reset.
//!
//! P3 and P4 in simulation. Seen to fail with the hub broken so (scripts/mutants): `RoomLog::take` delivering what is
//! ahead (P3); `Cursor::offer` sending without looking at the last number (P4), `recent_after` one off (P4).

use std::collections::VecDeque;

use hubbub::{
    protocol::Seq,
    room::{Cursor, Effect, Input, Memory, Next, Numbered, RecentBounds, RoomLog, Size, Start},
};
use proptest::prelude::*;
use rand::{RngExt, SeedableRng, rngs::StdRng};

/// An event that knows its number, so that a mix-up of numbers and contents shows too.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Payload(i64);

impl Size for Payload {
    fn size_bytes(&self) -> usize {
        10
    }
}

const BOUNDS: RecentBounds = RecentBounds { events: 16, bytes: 120 };
const HELD: usize = 4;
const RESET_AFTER: u64 = 40;

struct Client {
    cursor: Cursor<Payload>,
    /// What its node handed over and it did not take yet; bounded, as an out-queue is.
    queue: VecDeque<Numbered<Payload>>,
    dropped: Option<Seq>,
    /// A read that is under way: after which number.
    read: Option<Seq>,
    last: i64,
}

impl Client {
    fn new(sent: Seq, head: Seq) -> Self {
        let cursor = Cursor::new(sent, head, HELD);
        Self { cursor, queue: VecDeque::new(), dropped: None, read: None, last: sent.0 }
    }

    fn receive(&mut self, seed: u64, event: &Numbered<Payload>) {
        assert_eq!(event.seq.0, self.last + 1, "seed {seed}: gap or repeat");
        assert_eq!(event.event.0, event.seq.0, "seed {seed}: another event's number");
        self.last = event.seq.0;
    }

    fn step(&mut self) {
        match self.cursor.next(RESET_AFTER) {
            Next::Live => {}
            Next::Read(after) => self.read = Some(after),
            Next::Reset(seq) => self.last = seq.0,
        }
    }
}

struct World {
    seed: u64,
    random: StdRng,
    database: i64,
    log: RoomLog<Payload>,
    bus: VecDeque<Numbered<Payload>>,
    hole_timers: usize,
    fetches: Vec<Seq>,
    clients: Vec<Client>,
}

fn events(from: i64, to: i64) -> Vec<Numbered<Payload>> {
    (from..=to).map(|seq| Numbered { seq: Seq(seq), event: Payload(seq) }).collect()
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let database = random.random_range(0..5);
        let log = RoomLog::new(Seq(database), BOUNDS);
        let (bus, fetches, clients) = (VecDeque::new(), Vec::new(), Vec::new());
        Self { seed, random, database, log, bus, hole_timers: 0, fetches, clients }
    }

    fn apply(&mut self, input: Input<Payload>) {
        for effect in self.log.apply(input) {
            match effect {
                Effect::Deliver(next) => self.deliver(&next),
                Effect::AwaitHole => self.hole_timers += 1,
                Effect::Fetch(after) => self.fetches.push(after),
            }
        }
    }

    fn deliver(&mut self, next: &[Numbered<Payload>]) {
        for client in &mut self.clients {
            for event in next {
                // Once something was dropped, nothing is queued until the client has drained.
                if client.dropped.is_some() || client.queue.len() >= 6 {
                    client.dropped = Some(event.seq);
                } else {
                    client.queue.push_back(event.clone());
                }
            }
        }
    }

    fn read(&mut self, after: Seq) -> Vec<Numbered<Payload>> {
        let limit = self.random.random_range(1..8);
        match self.log.recent_after(after, limit, 60) {
            Memory::Events(events) => events,
            Memory::NotHere => {
                let limit = i64::try_from(limit).unwrap();
                events(after.0 + 1, self.database.min(after.0 + limit))
            }
        }
    }

    /// One client takes from its queue, or its read comes back.
    fn client_step(&mut self, index: usize) {
        if let Some(after) = self.clients[index].read.take() {
            if self.random.random_bool(0.1) {
                self.clients[index].cursor.read_failed();
            } else {
                let page = self.read(after);
                let client = &mut self.clients[index];
                for event in client.cursor.page(page) {
                    client.receive(self.seed, &event);
                }
            }
            self.clients[index].step();
            return;
        }
        let client = &mut self.clients[index];
        if let Some(event) = client.queue.pop_front()
            && let Some(event) = client.cursor.offer(event)
        {
            client.receive(self.seed, &event);
        }
        if client.queue.is_empty()
            && let Some(head) = client.dropped.take()
        {
            client.cursor.fell_behind(head);
        }
        client.step();
    }

    fn chaos(&mut self) {
        match self.random.random_range(0..12) {
            0..3 => {
                let batch = self.random.random_range(1..6);
                for event in events(self.database + 1, self.database + batch) {
                    match self.random.random_range(0..10) {
                        0 => {} // the frame is lost
                        1 => self.bus.extend([event.clone(), event]),
                        _ => self.bus.push_back(event),
                    }
                }
                self.database += batch;
            }
            3..6 => {
                let many = self.random.random_range(0..=self.bus.len().min(5));
                let mut batch: Vec<_> = self.bus.drain(..many).collect();
                if self.random.random_bool(0.3) {
                    batch.reverse();
                }
                self.apply(Input::Committed(batch));
            }
            6 if self.hole_timers > 0 => {
                self.hole_timers -= 1;
                self.apply(Input::HoleDue);
            }
            7 if !self.fetches.is_empty() => {
                let after = self.fetches.remove(0);
                if self.random.random_bool(0.2) {
                    self.apply(Input::FetchFailed);
                } else {
                    let to = self.database.min(after.0 + self.random.random_range(1..10));
                    self.apply(Input::Fetched(events(after.0 + 1, to)));
                }
            }
            8 if self.clients.len() < 5 => self.join(None),
            9 if !self.clients.is_empty() => {
                // A connection is cut; the client comes back with what it has, or with nonsense.
                let index = self.random.random_range(0..self.clients.len());
                let last = self.clients.swap_remove(index).last;
                let nonsense = self.random.random_bool(0.1);
                self.join(Some(if nonsense { last + 1_000 } else { last }));
            }
            10 => self.log.forget_recent(),
            _ if !self.clients.is_empty() => {
                let index = self.random.random_range(0..self.clients.len());
                self.client_step(index);
            }
            _ => {}
        }
    }

    fn join(&mut self, after: Option<i64>) {
        let head = self.log.head();
        let start = after.map(Seq).filter(|after| *after <= head);
        let sent = match start.map(|after| (after, Cursor::<Payload>::judge(after, Seq(1), head, RESET_AFTER))) {
            Some((after, Start::Replay(missed))) => {
                assert_eq!(missed, after.distance_to(head));
                after
            }
            Some((_, Start::Reset)) | None => head,
        };
        let mut client = Client::new(sent, head);
        client.step();
        self.clients.push(client);
    }

    /// No more faults: everybody must reach the database's head.
    fn heal(&mut self) {
        let late: Vec<_> = self.bus.drain(..).collect();
        self.apply(Input::Committed(late));
        self.apply(Input::Head(Seq(self.database)));
        for _ in 0..10_000 {
            if let Some(after) = self.fetches.pop() {
                self.apply(Input::Fetched(events(after.0 + 1, self.database.min(after.0 + 7))));
            }
            self.apply(Input::HoleDue);
            for index in 0..self.clients.len() {
                self.client_step(index);
            }
            let everybody = self.clients.iter().all(|client| client.last == self.database);
            if everybody && self.log.head() == Seq(self.database) && self.log.is_settled() {
                return;
            }
        }
        let last: Vec<_> = self.clients.iter().map(|client| client.last).collect();
        panic!("seed {}: head {} log {} clients {last:?}", self.seed, self.database, self.log.head());
    }
}

fn run(seed: u64) {
    let mut world = World::new(seed);
    for _ in 0..400 {
        world.chaos();
        assert!(world.log.recent_bytes() <= BOUNDS.bytes, "seed {seed}: recent events over their bound");
    }
    world.heal();
}

#[test]
fn p3_p4_every_client_sees_one_order_or_a_reset_in_10_000_random_schedules() {
    (0..10_000).for_each(run);
}

proptest! {
    #[test]
    fn recent_after_gives_exactly_what_follows_or_says_that_it_cannot(
        start in 0_i64..50, count in 0_i64..60, after in 0_i64..120, limit in 1_usize..40,
    ) {
        let mut log = RoomLog::new(Seq(start), BOUNDS);
        log.apply(Input::Committed(events(start + 1, start + count)));
        let head = start + count;
        match log.recent_after(Seq(after), limit, usize::MAX) {
            Memory::Events(found) => {
                let most = i64::try_from(limit).unwrap();
                prop_assert_eq!(found, events(after + 1, head.min(after + most)));
            }
            // 12 events of 10 bytes fit into the bound of 120.
            Memory::NotHere => prop_assert!(after < start || after < head - 12),
        }
    }

    #[test]
    fn events_in_any_order_and_number_go_out_once_in_order(
        mut order in proptest::collection::vec(1_i64..15, 0..60),
    ) {
        order.extend(1..15);
        let mut log = RoomLog::new(Seq(0), BOUNDS);
        let mut out = Vec::new();
        for seq in order {
            for effect in log.apply(Input::Committed(events(seq, seq))) {
                if let Effect::Deliver(next) = effect {
                    out.extend(next);
                }
            }
        }
        prop_assert_eq!(out, events(1, 14));
    }

    #[test]
    fn a_cursor_is_served_only_where_nothing_is_missing(
        after in 0_i64..100, first in 1_i64..50, length in 0_i64..60, most in 0_u64..60,
    ) {
        let head = first + length - 1;
        let complete = after + 1 >= first && after <= head && u64::try_from(head - after).unwrap() <= most;
        let start = Cursor::<Payload>::judge(Seq(after), Seq(first), Seq(head), most);
        prop_assert_eq!(start != Start::Reset, complete);
    }
}

#[test]
fn a_hole_is_awaited_then_read_then_closed() {
    let mut log = RoomLog::new(Seq(0), BOUNDS);
    assert_eq!(log.apply(Input::Committed(events(2, 3))), [Effect::AwaitHole]);
    assert_eq!(log.apply(Input::Committed(events(5, 5))), []);
    assert_eq!(log.apply(Input::HoleDue), [Effect::Fetch(Seq(0))]);
    assert_eq!(log.apply(Input::HoleDue), [], "a read is under way");
    assert_eq!(log.apply(Input::FetchFailed), [Effect::AwaitHole]);
    assert_eq!(log.apply(Input::HoleDue), [Effect::Fetch(Seq(0))]);
    // The page ends before the second hole: the log reads on by itself.
    let (first, rest) = (Effect::Deliver(events(1, 3)), Effect::Fetch(Seq(3)));
    assert_eq!(log.apply(Input::Fetched(events(1, 2))), [first, rest]);
    assert_eq!(log.apply(Input::Fetched(events(4, 5))), [Effect::Deliver(events(4, 5))]);
    assert!(log.is_settled());
}
