//! The floor: a thread that writes frames to connections of this generator's, as a hub would if it did nothing else. It says
//! what a delivery costs the kernel at the least: as fast as it goes, one frame a write and ten, and at the pace and to as many
//! connections as other works have, since those that were not written to for a while have left the processor's cache. As fast as
//! it goes, what the writer takes of a core is compared with what this generator takes to read it. Before that it only walks
//! through memory, and then only syncs a file: on a machine that others share the one takes twice as long now and then, the other
//! fifty times, and so does all that a hub does.

use std::{
    fs::{self, File},
    hint::black_box,
    io::{self, ErrorKind, Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::fs::FileExt,
    process,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;

use super::{
    BenchError, Plan,
    report::{Report, micros, number},
    speech::{Door, Speech},
    swarm::{AT_ONCE, Class, Pace, Swarm},
};
use crate::stats;

/// A way of writing.
struct Step {
    connections: u32,
    /// Frames in one write.
    batch: u32,
    /// How often each connection is written to, where it is not as fast as it goes.
    rounds_a_second: Option<f64>,
    /// What tells its figures from the first one's.
    name: &'static str,
}

/// The writes of `room` and `busy-room`, and of `growth-members`; both ends of a connection are this process's, and often it may
/// have 20,000 of them.
const STEPS: [Step; 7] = [
    Step { connections: 1_000, batch: 1, rounds_a_second: None, name: "" },
    Step { connections: 1_000, batch: 10, rounds_a_second: None, name: "_10_a_write" },
    Step { connections: 1_000, batch: 1, rounds_a_second: Some(40.0), name: "_of_room" },
    Step { connections: 1_000, batch: 1, rounds_a_second: Some(200.0), name: "_of_busy_room" },
    Step { connections: 100, batch: 1, rounds_a_second: Some(200.0), name: "_100_members" },
    Step { connections: 1_000, batch: 1, rounds_a_second: Some(20.0), name: "_1000_members" },
    Step { connections: 9_000, batch: 1, rounds_a_second: Some(2.2), name: "_9000_members" },
];
/// What `rooms` commits a second, about, and the bytes of each.
const SYNCS_A_SECOND: f64 = 400.0;
const SYNCED: usize = 16_384;
/// What precedes the message's text in a frame of the hub's, about.
const BEFORE_TEXT: &str = r#"{"message":""#;

/// What the writer did.
struct Written {
    frames: u64,
    cpu: Duration,
    /// Kept open until all is read.
    _connections: Vec<TcpStream>,
}

/// All steps; where a process may not have so many sockets, `--members` says how many connections there are at the most.
pub(super) fn run(plan: &Plan) -> Result<Report, BenchError> {
    let mut report = Report::new("floor", format!("{} characters", plan.body));
    report.set("slow_percent_of_the_time", 100.0 * slow(plan.time));
    report.latencies("sync", &sync(plan.time)?);
    for step in &STEPS {
        let connections = step.connections.min(plan.members.unwrap_or(u32::MAX));
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let host = listener.local_addr()?.to_string();
        let (go, time, body) = (Arc::new(AtomicBool::new(false)), plan.time, plan.body);
        let started = Arc::clone(&go);
        let writer = thread::spawn(move || write(&listener, &started, connections, time, body, step));
        let door = Door { host, path: "/".to_owned(), speech: Speech::Tutorial, client_ids: false };
        let class = Class { rooms: 1, members: connections, senders: 2, pace: Pace::Window(0) };
        let mut swarm = Swarm::new(door, Box::new(|_| String::new()), vec![class], plan.body)?;
        swarm.open(AT_ONCE)?;
        let before = thread_cpu()?;
        go.store(true, Ordering::Release);
        while !writer.is_finished() {
            swarm.idle(Duration::from_millis(50))?;
        }
        let Written { frames, cpu, _connections } =
            writer.join().map_err(|_| io::Error::other("the writer ended early"))??;
        // A writer that is faster has filled the sockets.
        let mut received = 0;
        while received < swarm.counted().received {
            received = swarm.counted().received;
            swarm.idle(Duration::from_millis(200))?;
        }
        let read = thread_cpu()?.saturating_sub(before);
        report.whole &= received == frames;
        report.set(&format!("writer_cpu_us_per_delivery{}", step.name), micros(cpu) / number(frames.max(1)));
        if step.rounds_a_second.is_none() {
            report.set(&format!("written_per_cpu_s{}", step.name), number(frames) / cpu.as_secs_f64());
            report.set(&format!("generator_cpu_us_per_delivery{}", step.name), micros(read) / number(received.max(1)));
            report.set(&format!("read_per_cpu_s{}", step.name), number(received) / read.as_secs_f64());
        }
        report.set(&format!("lost{}", step.name), number(frames.saturating_sub(received)));
    }
    Ok(report)
}

/// The share of the time in which a walk through memory takes twice as long as it does at the median, or more.
fn slow(time: Duration) -> f64 {
    const READS: usize = 2_000;
    let (memory, start) = (vec![1_u8; 64 * 1_024 * 1_024], Instant::now());
    let (mut steps, mut place, mut last) = (Vec::new(), 1_usize, start);
    while last - start < time {
        for _ in 0..READS {
            place = place.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            black_box(memory.get((place >> 32) % memory.len()));
        }
        let now = Instant::now();
        steps.push(now - last);
        last = now;
    }
    steps.sort_unstable();
    let median = steps.get(steps.len() / 2).copied().unwrap_or_default();
    let slow: Duration = steps.iter().filter(|step| **step >= median * 2).sum();
    slow.as_secs_f64() / time.as_secs_f64()
}

/// Microseconds, from when each was due, in which a file of the working directory that is written over and over is on the disk.
fn sync(time: Duration) -> io::Result<Histogram<u64>> {
    const PLACES: usize = 256;
    let name = format!(".hubbub-bench-{}", process::id());
    let file = File::options().write(true).create_new(true).open(&name);
    let file =
        file.map_err(|error| io::Error::new(error.kind(), format!("can't make a file in this folder: {error}")))?;
    fs::remove_file(&name)?;
    file.write_all_at(&vec![0; SYNCED * PLACES], 0)?;
    file.sync_all()?;
    let (mut took, start) = (stats::histogram(), Instant::now());
    let mut due = start;
    for place in (0..PLACES).cycle() {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        if start.elapsed() >= time {
            break;
        }
        file.write_all_at(&[1; SYNCED], u64::try_from(place * SYNCED).map_err(io::Error::other)?)?;
        file.sync_data()?;
        took.saturating_record(u64::try_from(due.elapsed().as_micros()).unwrap_or(u64::MAX));
        due += Duration::from_secs_f64(1.0 / SYNCS_A_SECOND);
    }
    Ok(took)
}

fn write(
    listener: &TcpListener,
    go: &AtomicBool,
    count: u32,
    time: Duration,
    body: usize,
    &Step { batch, rounds_a_second, .. }: &Step,
) -> io::Result<Written> {
    let mut connections = Vec::new();
    for _ in 0..count {
        let (mut connection, _) = listener.accept()?;
        connection.set_nodelay(true)?;
        upgrade(&mut connection)?;
        connections.push(connection);
    }
    while !go.load(Ordering::Acquire) {
        thread::sleep(Duration::from_millis(1));
    }
    let (before, mut due) = (thread_cpu()?, Instant::now());
    let end = due + time;
    let mut frames = 0_u64;
    while Instant::now() < end {
        if let Some(rounds) = rounds_a_second {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            due += Duration::from_secs_f64(1.0 / rounds);
        }
        let mut bytes = Vec::new();
        for _ in 0..batch {
            let text = format!("{BEFORE_TEXT}{:0>body$}\"}}", frames / u64::from(count));
            let length = u16::try_from(text.len()).map_err(|_| ErrorKind::InvalidInput)?;
            bytes.extend([0x81, 126]);
            bytes.extend(length.to_be_bytes());
            bytes.extend(text.as_bytes());
        }
        for connection in &mut connections {
            // Where a reader is slow the writer waits, which is no time of a processor.
            connection.write_all(&bytes)?;
            frames = frames.saturating_add(batch.into());
        }
    }
    Ok(Written { frames, cpu: thread_cpu()?.saturating_sub(before), _connections: connections })
}

fn upgrade(connection: &mut TcpStream) -> io::Result<()> {
    let (mut request, mut part) = (Vec::new(), [0; 1_024]);
    while !request.ends_with(b"\r\n\r\n") {
        let read = connection.read(&mut part)?;
        request.extend(part.get(..read).unwrap_or_default());
    }
    connection.write_all(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
}

/// Time of this thread on a processor.
fn thread_cpu() -> io::Result<Duration> {
    let stat = fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanos = stat.split_whitespace().next().and_then(|nanos| nanos.parse().ok()).ok_or(ErrorKind::InvalidData)?;
    Ok(Duration::from_nanos(nanos))
}
