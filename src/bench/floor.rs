//! The floor: a thread that writes frames to 1,000 connections of this generator's, as a hub would if it did nothing else. It says
//! what a delivery costs the kernel at the least, and that the generator reads faster than anything can write: the writer
//! spends its whole time writing, and what it takes of a core is compared with what the reader takes. Before that it only
//! walks through memory: on a machine that others share that takes twice as long now and then, and so does all that a hub does.

use std::{
    fs,
    hint::black_box,
    io::{self, ErrorKind, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use super::{
    BenchError, Plan,
    report::{Report, micros, number},
    speech::{Door, Speech},
    swarm::{AT_ONCE, Class, Pace, Swarm},
};

const CONNECTIONS: u32 = 1_000;
/// What precedes the message's text in a frame of the hub's, about.
const BEFORE_TEXT: &str = r#"{"message":""#;

/// What the writer did.
struct Written {
    frames: u64,
    cpu: Duration,
    /// Kept open until all is read.
    _connections: Vec<TcpStream>,
}

/// One frame a write, then ten.
pub(super) fn run(plan: &Plan) -> Result<Report, BenchError> {
    let mut report = Report::new("floor", format!("{CONNECTIONS} connections, {} characters", plan.body));
    report.set("slow_percent_of_the_time", 100.0 * slow(plan.time));
    for batch in [1, 10] {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let host = listener.local_addr()?.to_string();
        let (go, time, body) = (Arc::new(AtomicBool::new(false)), plan.time, plan.body);
        let started = Arc::clone(&go);
        let writer = thread::spawn(move || write(&listener, &started, time, body, batch));
        let door = Door { host, path: "/".to_owned(), speech: Speech::Tutorial, client_ids: false };
        let class = Class { rooms: 1, members: CONNECTIONS, senders: 2, pace: Pace::Window(0) };
        let mut swarm = Swarm::new(door, Box::new(|_| String::new()), vec![class], plan.body)?;
        swarm.open(AT_ONCE)?;
        let before = thread_cpu()?;
        go.store(true, Ordering::Release);
        while !writer.is_finished() {
            swarm.idle(Duration::from_millis(50))?;
        }
        swarm.idle(Duration::from_millis(200))?;
        let read = thread_cpu()?.saturating_sub(before);
        let Written { frames, cpu, _connections } =
            writer.join().map_err(|_| io::Error::other("the writer ended early"))??;
        let received = swarm.counted().received;
        report.whole &= received == frames;
        let each = if batch == 1 { String::new() } else { format!("_{batch}_a_write") };
        report.set(&format!("writer_cpu_us_per_delivery{each}"), micros(cpu) / number(frames.max(1)));
        report.set(&format!("written_per_cpu_s{each}"), number(frames) / cpu.as_secs_f64());
        report.set(&format!("generator_cpu_us_per_delivery{each}"), micros(read) / number(received.max(1)));
        report.set(&format!("read_per_cpu_s{each}"), number(received) / read.as_secs_f64());
        report.set(&format!("lost{each}"), number(frames.saturating_sub(received)));
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

fn write(listener: &TcpListener, go: &AtomicBool, time: Duration, body: usize, batch: u32) -> io::Result<Written> {
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        let (mut connection, _) = listener.accept()?;
        connection.set_nodelay(true)?;
        upgrade(&mut connection)?;
        connections.push(connection);
    }
    while !go.load(Ordering::Acquire) {
        thread::sleep(Duration::from_millis(1));
    }
    let (before, end) = (thread_cpu()?, Instant::now() + time);
    let mut frames = 0_u64;
    while Instant::now() < end {
        let mut bytes = Vec::new();
        for _ in 0..batch {
            let text = format!("{BEFORE_TEXT}{:0>body$}\"}}", frames / u64::from(CONNECTIONS));
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
