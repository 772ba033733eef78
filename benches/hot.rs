//! What the hot parts cost, each on its own, by the clock: `cargo bench --bench hot`, or a part of it by its name, such as
//! `cargo bench --bench hot -- dispatch`. For what a change gains or loses on one quiet machine; whether a message's way has
//! grown dearer is what tests/replay.rs says, without a clock. The hub runs on the thread that measures.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a program for those who measure, which stops at the first thing that is not as it should be"
)]

#[path = "hot/drain.rs"]
mod drain;
#[path = "../tests/replay/stage.rs"]
mod stage;

use std::{
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use actix::prelude::*;
use actix_http::ws::{OpCode, Parser};
use actix_web::web::BytesMut;
use bytestring::ByteString;
use criterion::{BatchSize, BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use hubbub::{
    protocol::{ClientId, Dialect, Event, EventKind, Message as ChatMessage, Seq, Timestamp, UserId},
    room::{Cursor, Input, Memory, Numbered, RecentBounds, RoomLog},
    store::{Answer, Append, Committed, NewMessage, Probe, RoomRow, Stored, Writer},
};
use tokio::sync::oneshot;

use drain::Drain;
use stage::{LIMITS, LINES, Stage, command, parse, room};

const RECENT: RecentBounds = RecentBounds { events: 256, bytes: 262_144 };
/// Events that members may have before they must have read them: a socket that is full would be written to another time.
const UNREAD: usize = 64;
/// Events of a page.
const PAGE: i64 = 100;

criterion_group!(hot, decode, encode, room_log, dispatch, writer_batch);
criterion_main!(hot);

/// A message as it is stored; its frame is as long as the number and the line make it.
fn event(seq: i64) -> Event {
    let line = LINES[usize::try_from(seq).unwrap() % LINES.len()];
    let kind = EventKind::Message(ChatMessage {
        user: "topyli".into(),
        user_id: UserId::parse("7").unwrap(),
        text: line.into(),
        client_id: Some(ClientId::parse(&format!("m-{seq}")).unwrap()),
        data: None,
    });
    Event { room: room(), seq: Seq(seq), timestamp: Timestamp::now(), kind }
}

fn numbered(seq: i64) -> Numbered<ByteString> {
    Numbered { seq: Seq(seq), event: event(seq).encode() }
}

/// All lines, one after the other.
fn each_line() -> Throughput {
    Throughput::Elements(u64::try_from(LINES.len()).unwrap())
}

/// A frame's text becomes a command.
fn decode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode");
    group.throughput(each_line());
    let native: Vec<_> = (0..LINES.len()).map(command).collect();
    let tutorial: Vec<_> = LINES.iter().map(|line| format!(r#"{{"message": "{line}"}}"#)).collect();
    for (dialect, texts) in [(Dialect::Native, native), (Dialect::Plain { room: room(), resumes: false }, tutorial)] {
        texts.iter().for_each(|text| drop(parse(&dialect, text)));
        group.bench_function(dialect.name(), |bencher| {
            bencher.iter(|| texts.iter().for_each(|text| drop(black_box(dialect.parse(black_box(text), &LIMITS)))));
        });
    }
}

/// An event becomes its text, and that a frame, once for all members.
fn encode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encode");
    group.throughput(each_line());
    let events: Vec<_> = (0..).take(LINES.len()).map(event).collect();
    let texts: Vec<_> = events.iter().map(Event::encode).collect();
    group.bench_function("text", |bencher| {
        bencher.iter(|| events.iter().for_each(|event| drop(black_box(black_box(event).encode()))));
    });
    group.bench_function("frame", |bencher| {
        bencher.iter(|| {
            for text in &texts {
                let mut frame = BytesMut::new();
                Parser::write_message(&mut frame, black_box(text).as_bytes(), OpCode::Text, true, false);
                black_box(frame);
            }
        });
    });
}

/// Events go in as they are committed and come out in order; a session that comes back reads what it missed.
fn room_log(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("room log");
    for batch in [1, 20] {
        group.throughput(Throughput::Elements(u64::try_from(batch).unwrap()));
        group.bench_function(BenchmarkId::new("committed", batch), |bencher| {
            let (mut log, mut head) = (RoomLog::new(Seq(0), RECENT), 0);
            let text = event(1).encode();
            let next = || {
                let from = head + 1;
                head += batch;
                (from..=head).map(|seq| Numbered { seq: Seq(seq), event: text.clone() }).collect()
            };
            bencher.iter_batched(next, |events| log.apply(Input::Committed(events)), BatchSize::NumIterations(1_000));
        });
    }
    group.throughput(Throughput::Elements(u64::try_from(PAGE).unwrap()));
    group.bench_function(BenchmarkId::new("replay", PAGE), |bencher| {
        let mut log = RoomLog::new(Seq(0), RECENT);
        drop(log.apply(Input::Committed((1..=256).map(numbered).collect())));
        bencher.iter(|| match log.recent_after(black_box(Seq(256 - PAGE)), 100, 262_144) {
            Memory::Events(events) => events.len(),
            Memory::NotHere => panic!("the log has its newest events"),
        });
    });
    group.throughput(Throughput::Elements(1));
    group.bench_function("cursor", |bencher| {
        let (mut cursor, mut seq) = (Cursor::new(Seq(0), Seq(0), 256), 0);
        let text = event(1).encode();
        bencher.iter(|| {
            seq += 1;
            cursor.offer(Numbered { seq: Seq(seq), event: text.clone() }).expect("the next one goes out")
        });
    });
}

/// One committed event, from the ChatServer to the sockets of all members.
fn dispatch(criterion: &mut Criterion) {
    // Two for each member.
    drop(rlimit::increase_nofile_limit(u64::MAX));
    let mut group = criterion.benchmark_group("dispatch");
    group.sampling_mode(SamplingMode::Flat).sample_size(30);
    for members in [1_u64, 100, 1_000] {
        let system = System::new();
        let (stage, server, ends) = system.block_on(async {
            let ((mut stage, server), mut ends) = (Stage::open().await, Vec::new());
            for _ in 0..members {
                ends.push(stage.join().await);
            }
            (stage, server, ends)
        });
        let drain = Drain::of(ends);
        // The stage has said number 1 before anybody was there.
        let (mut head, mut bytes) = (1, 0);
        group.throughput(Throughput::Elements(members));
        group.bench_function(BenchmarkId::from_parameter(members), |bencher| {
            bencher.iter_custom(|times| {
                let events: Vec<_> = (head + 1..).take(usize::try_from(times).unwrap()).map(event).collect();
                let mut took = Duration::ZERO;
                for some in events.chunks(UNREAD) {
                    took += system.block_on(async {
                        let started = Instant::now();
                        for event in some {
                            head = event.seq.0;
                            let (event, received) = (event.clone(), Instant::now());
                            let events = vec![Committed { event, received, answer: None }];
                            let stored = Stored { events, ..Stored::default() };
                            server.send(stored).await.unwrap();
                            stage.delivered(members * (u64::try_from(head).unwrap() - 1)).await;
                        }
                        started.elapsed()
                    });
                    bytes += members * some.iter().map(frame_length).sum::<u64>();
                    drain.expect(bytes);
                }
                took
            });
        });
    }
}

fn frame_length(event: &Event) -> u64 {
    let text = event.encode().len();
    u64::try_from(if text < 126 { text + 2 } else { text + 4 }).unwrap()
}

/// Hears of each transaction.
struct Listener {
    transactions: Arc<AtomicU64>,
}

impl Actor for Listener {
    type Context = Context<Self>;
}

impl Handler<Stored> for Listener {
    type Result = ();

    fn handle(&mut self, stored: Stored, _: &mut Context<Self>) {
        self.transactions.fetch_add(1, Ordering::Relaxed);
        stored.events.into_iter().filter_map(|committed| committed.answer).for_each(Answer::give);
    }
}

/// A transaction on a real file with a real sync, of so many messages.
fn writer_batch(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("writer batch");
    group.sampling_mode(SamplingMode::Flat).sample_size(30);
    for size in [1_usize, 16, 256] {
        let system = System::new();
        let transactions = Arc::<AtomicU64>::default();
        let (stage, row, writer) = system.block_on(async {
            let (stage, _) = Stage::open().await;
            let row = stage.store.room(&room()).await.unwrap().unwrap();
            let listener = Listener { transactions: Arc::clone(&transactions) }.start().recipient();
            let (store, stats) = (Arc::clone(&stage.store), Arc::clone(&stage.stats));
            let bounds = stage::writer_bounds(size);
            let writer = Writer::start_in(&Arbiter::current(), store, stats, bounds, usize::MAX >> 8, listener);
            // Its mailbox is that large once it runs.
            writer.send(Probe).await.unwrap();
            (stage, row, writer)
        });
        let mut expected = 0;
        group.throughput(Throughput::Elements(u64::try_from(size).unwrap()));
        group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
            bencher.iter_custom(|times| {
                expected += times + 1;
                let messages = size * usize::try_from(times).unwrap();
                system.block_on(store_messages(&stage, &row, &writer, messages))
            });
        });
        assert_eq!(transactions.load(Ordering::Relaxed), expected, "each transaction holds {size} messages");
    }
}

/// One message goes alone, the others are queued meanwhile: all batches after it are full.
async fn store_messages(stage: &Stage, row: &RoomRow, writer: &Addr<Writer>, messages: usize) -> Duration {
    let mut answers = Vec::with_capacity(messages);
    for n in 0..=messages {
        let (room, mut draft) = parse(&Dialect::Native, &command(n));
        // The Writer gives it one that no other message has.
        draft.client_id = None;
        let (user, received) = (Arc::clone(&stage.user), Instant::now());
        let (reply, answer) = oneshot::channel();
        let (key, rights) = (row.key, row.rights);
        let message = NewMessage { room, key, rights, user, admin: false, draft, received, asker: None };
        writer.try_send(Append { message, reply }).unwrap();
        answers.push(answer);
    }
    let mut answers = answers.into_iter();
    let first = answers.next().unwrap();
    first.await.unwrap().unwrap();
    let started = Instant::now();
    for answer in answers {
        answer.await.unwrap().unwrap();
    }
    started.elapsed()
}
