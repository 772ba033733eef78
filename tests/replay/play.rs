//! What is measured: messages on their whole way through the hub, on one thread. Each is read by its dialect, posted, stored in
//! SQLite (whose connection has a thread of its own), numbered, encoded, fed to the room's log and written to the socket of each
//! member, which reads it. Messages come in fixed groups, each of which is over before the next one begins, so that each run has
//! the same batches. Every member must get every message, once and in order: a way that leads nowhere costs nothing.

use std::{
    io::{ErrorKind, Read},
    net::TcpStream as Socket,
    sync::Arc,
    time::Duration,
};

use actix::System;
use hubbub::protocol::{Dialect, Reply};
use serde::{Deserialize, Serialize};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

use crate::stage::{self, Stage};

/// Counts what the replay allocates, on all threads.
#[global_allocator]
static MEMORY: &StatsAlloc<std::alloc::System> = &INSTRUMENTED_SYSTEM;

/// The room's members at first, and later.
pub const MEMBERS: [u32; 2] = [1, 401];
/// Groups of messages that come together, over and over: alone, as in most rooms, and many, as in a busy one.
const GROUPS: [usize; 5] = [1, 1, 1, 1, 16];
/// How often before and while it is measured.
const ROUNDS: [usize; 2] = [20, 100];
/// Messages that are measured with each number of members.
pub const MESSAGES: u32 = 2_000;
const _: () = assert!(ROUNDS[1] * 20 == 2_000, "a round is 20 messages");

/// What was allocated since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    pub allocations: usize,
    pub bytes: usize,
}

/// The name of the function before which callgrind writes down what it has counted.
pub const MARK: &str = "replay_mark";

#[inline(never)]
fn replay_mark() -> Memory {
    let stats = MEMORY.stats();
    // A buffer that grows is as good as a new one; bytes have what it grew by.
    Memory { allocations: stats.allocations + stats.reallocations, bytes: stats.bytes_allocated }
}

/// Runs it; gives what was allocated at the beginning and the end of each measured part.
pub fn play() -> Vec<Memory> {
    System::new().block_on(async {
        let mut play = Play::open().await;
        let mut marks = Vec::with_capacity(2 * MEMBERS.len());
        for members in MEMBERS {
            while play.ends.len() < usize::try_from(members).unwrap() {
                play.join().await;
            }
            let (warm_up, measured) = (play.groups(0, ROUNDS[0]), play.groups(ROUNDS[0], ROUNDS[1]));
            play.say_all(&warm_up).await;
            marks.push(replay_mark());
            play.say_all(&measured).await;
            marks.push(replay_mark());
        }
        play.end().await;
        marks
    })
}

/// A message that is to be said, and what its event must begin with and have in it.
struct Said {
    text: String,
    begins: String,
    named: String,
}

struct Play {
    stage: Stage,
    /// The members' ends of their sockets.
    ends: Vec<Socket>,
    /// Messages so far, which is the newest one's number; the stage has said the first.
    posted: i64,
    deliveries: u64,
    /// What the first member read of a group, and another one.
    first: Vec<u8>,
    other: Vec<u8>,
}

impl Play {
    async fn open() -> Self {
        let (stage, _) = Stage::open().await;
        Self { stage, ends: Vec::new(), posted: 1, deliveries: 0, first: Vec::new(), other: Vec::new() }
    }

    async fn join(&mut self) {
        let end = self.stage.join().await;
        end.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        self.ends.push(end);
    }

    /// The groups of so many rounds, after so many.
    fn groups(&self, after: usize, rounds: usize) -> Vec<Vec<Said>> {
        let mut n = usize::try_from(self.posted).unwrap() + after * GROUPS.iter().sum::<usize>();
        let said = |n: usize| Said {
            text: stage::command(n),
            begins: format!(r#"{{"type":"message","room":"replay","seq":{},"#, n + 1),
            named: format!(r#""client_id":"m-{n}""#),
        };
        let mut groups = Vec::new();
        for size in GROUPS.repeat(rounds) {
            groups.push((n..n + size).map(said).collect());
            n += size;
        }
        groups
    }

    async fn say_all(&mut self, groups: &[Vec<Said>]) {
        for group in groups {
            self.say(group).await;
        }
    }

    /// Posts a group, waits for its acks, and has it read by everybody.
    async fn say(&mut self, group: &[Said]) {
        let mut posted = Vec::with_capacity(group.len());
        for said in group {
            let (room, draft) = stage::parse(&Dialect::Native, &said.text);
            let (name, client_id, user) = (room.clone(), draft.client_id.clone(), Arc::clone(&self.stage.user));
            posted.push((
                name,
                client_id,
                self.stage.handle.post(user, false, room, draft, Some(stage::SPEAKER)).unwrap(),
            ));
        }
        for (room, client_id, answer) in posted {
            let stored = answer.await.unwrap().unwrap();
            self.posted += 1;
            assert_eq!((stored.seq.0, stored.repeat), (self.posted, false), "messages are numbered as they came");
            let (seq, timestamp, repeat) = (stored.seq, stored.timestamp, stored.repeat);
            let ack = Reply::Sent { id: None, room, client_id, seq, timestamp, repeat };
            assert!(Dialect::Native.encode(&ack).is_some());
        }
        self.deliveries += u64::try_from(group.len() * self.ends.len()).unwrap();
        self.stage.delivered(self.deliveries).await;
        self.read(group);
    }

    /// Everybody reads a group: the first member looks at each frame, the others must have got the same.
    fn read(&mut self, group: &[Said]) {
        let (mut ends, mut place) = (self.ends.iter(), 0);
        let Some(mut end) = ends.next() else { return };
        self.first.clear();
        for Said { begins, named, .. } in group {
            let text = loop {
                if let Some(text) = frame(&self.first[place..]) {
                    break place + text.start..place + text.end;
                }
                let mut some = [0; 8_192];
                let read = end.read(&mut some).expect("a member is sent what was said");
                assert!(read > 0, "a member's socket has ended");
                self.first.extend_from_slice(&some[..read]);
            };
            place = text.end;
            let text = &self.first[text];
            let whole = text.starts_with(begins.as_bytes()) && memchr::memmem::find(text, named.as_bytes()).is_some();
            assert!(whole, "{begins} is to come, and not {}", String::from_utf8_lossy(text));
        }
        assert_eq!(place, self.first.len(), "more than was said");
        self.other.resize(place, 0);
        for mut end in ends {
            end.read_exact(&mut self.other).expect("each member is sent what was said");
            assert!(self.other == self.first, "members were sent different things");
        }
    }

    /// Nothing more came to anybody, and the database has it all.
    async fn end(mut self) {
        for end in &mut self.ends {
            end.set_nonblocking(true).unwrap();
            let more = end.read(&mut [0]).map_err(|error| error.kind());
            assert_eq!(more, Err(ErrorKind::WouldBlock), "more than was said");
        }
        let row = self.stage.store.room(&stage::room()).await.unwrap().unwrap();
        assert_eq!(row.head.0, self.posted, "the database has what was acked");
        assert_eq!(self.stage.stats.delivered.get(), self.deliveries);
        self.stage.store.close().await;
    }
}

/// Where the text of the first frame is, if that is whole: one from a server, unmasked, of less than 64 KiB.
fn frame(bytes: &[u8]) -> Option<std::ops::Range<usize>> {
    let (kind, short) = (*bytes.first()?, usize::from(*bytes.get(1)?));
    assert_eq!(kind, 0x81, "a text in one frame");
    let (start, length) = match short {
        126 => (4, usize::from(u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?]))),
        length => (2, length),
    };
    bytes.get(start..start + length).map(|_| start..start + length)
}
