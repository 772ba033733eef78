//! The sockets: members that count and check what comes, senders that keep their schedule.

use std::{
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use futures_util::{
    SinkExt, StreamExt,
    stream::{self, SplitSink, SplitStream},
};
use hdrhistogram::Histogram;
use tokio::{
    net::TcpStream,
    sync::mpsc,
    time::{sleep, sleep_until, timeout},
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Message, Utf8Bytes, client::IntoClientRequest},
};

use super::{BenchError, Plan};
use crate::stats;

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;
type Sink = SplitSink<Socket, Message>;

/// Sockets that are opened at the same time.
const OPENING: usize = 32;
/// Between a message's own text and the padding.
const END: char = ';';

/// What came of a run.
pub(super) struct Tally {
    pub(super) sent: u64,
    pub(super) acked: u64,
    pub(super) refused: u64,
    pub(super) received: u64,
    /// Stored messages times members.
    pub(super) expected: u64,
    /// Events that did not follow the one before.
    pub(super) wrong: u64,
    /// Microseconds from due to received, of each delivery.
    pub(super) delivery: Histogram<u64>,
    /// Microseconds from due to acked, of each message.
    pub(super) ack: Histogram<u64>,
    /// From the first message's time to the last delivery.
    pub(super) took: Duration,
}

impl Tally {
    fn new() -> Self {
        let (delivery, ack) = (stats::histogram(), stats::histogram());
        let (sent, acked, refused, received, expected, wrong) = (0, 0, 0, 0, 0, 0);
        Self { sent, acked, refused, received, expected, wrong, delivery, ack, took: Duration::ZERO }
    }
}

#[derive(Clone)]
struct Shared {
    tally: Arc<Mutex<Tally>>,
    /// All times in messages are nanoseconds from here.
    zero: Instant,
}

impl Shared {
    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn nanos(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.zero).as_nanos()).unwrap_or(u64::MAX)
    }

    /// Microseconds since a time that was due.
    fn late(&self, due_nanos: u64) -> u64 {
        (self.nanos(Instant::now()).saturating_sub(due_nanos) / 1_000).max(1)
    }
}

/// A sender's half of a socket.
struct Sender {
    room: String,
    sink: tokio::sync::Mutex<Sink>,
    /// Tells that the sender's own message has come.
    own: tokio::sync::Mutex<mpsc::UnboundedReceiver<()>>,
}

/// Open sockets, ready to be loaded.
pub(super) struct Load {
    plan: Plan,
    shared: Shared,
    senders: Vec<Arc<Sender>>,
    /// The halves of members that don't send: dropped, they would close their sockets.
    _idle: Vec<Sink>,
}

impl Load {
    pub(super) async fn connect(plan: &Plan, token: impl Fn(u32) -> String) -> Result<Self, BenchError> {
        let shared = Shared { tally: Arc::new(Mutex::new(Tally::new())), zero: Instant::now() };
        let run: u32 = rand::random();
        let all = (0..plan.rooms).flat_map(|room| (0..plan.members).map(move |member| (room, member)));
        let opening = all.map(|(room, member)| {
            let which = room.saturating_mul(plan.members).saturating_add(member);
            let (name, token) = (format!("bench-{run:08x}-{room}"), token(which));
            async move {
                let socket = open(&plan.url, &name, &token).await;
                let socket = socket.map_err(|why| BenchError::Connect { which, why })?;
                Ok::<_, BenchError>((name, member, socket))
            }
        });
        let mut opening = stream::iter(opening).buffer_unordered(OPENING);
        let (mut senders, mut idle) = (Vec::new(), Vec::new());
        while let Some(opened) = opening.next().await {
            let (room, member, socket) = opened?;
            let (sink, stream) = socket.split();
            let (own_came, own) = mpsc::unbounded_channel();
            let sends = member < plan.senders;
            tokio::spawn(receive(stream, shared.clone(), (sends && plan.wait).then_some(own_came)));
            if sends {
                let (sink, own) = (tokio::sync::Mutex::new(sink), tokio::sync::Mutex::new(own));
                senders.push(Arc::new(Sender { room, sink, own }));
            } else {
                idle.push(sink);
            }
        }
        Ok(Self { plan: plan.clone(), shared, senders, _idle: idle })
    }

    /// Keeps the load for so long, waits until all has arrived, and gives what was counted.
    pub(super) async fn run(&self, time: Duration, drain: Duration) -> Tally {
        *self.shared.tally() = Tally::new();
        let start = Instant::now() + Duration::from_millis(5);
        let end = start + time;
        let count = u32::try_from(self.senders.len()).unwrap_or(u32::MAX);
        let period = Duration::from_secs_f64(f64::from(count) / self.plan.rate);
        let sending = self.senders.iter().zip(0_u32..).map(|(sender, n)| {
            let (sender, shared, plan) = (Arc::clone(sender), self.shared.clone(), self.plan.clone());
            // Spread over the period, so that they don't all send at once.
            let first = start + period / count * n;
            tokio::spawn(async move {
                if plan.wait {
                    sender.send_waiting(&shared, &plan, end).await;
                } else {
                    sender.send_at(&shared, &plan, first, period, end).await;
                }
            })
        });
        for ended in sending.collect::<Vec<_>>() {
            drop(ended.await);
        }
        let members = u64::from(self.plan.members);
        let all_here = async {
            loop {
                {
                    let mut tally = self.shared.tally();
                    tally.expected = tally.acked.saturating_mul(members);
                    let answered = tally.acked.saturating_add(tally.refused) >= tally.sent;
                    if answered && tally.received >= tally.expected {
                        return;
                    }
                }
                sleep(Duration::from_millis(1)).await;
            }
        };
        drop(timeout(drain, all_here).await);
        let mut tally = mem::replace(&mut *self.shared.tally(), Tally::new());
        tally.took = start.elapsed();
        tally
    }
}

impl Sender {
    /// Open loop: each message at its time, whatever became of the ones before.
    async fn send_at(&self, shared: &Shared, plan: &Plan, first: Instant, period: Duration, end: Instant) {
        let mut due = first;
        while due < end {
            sleep_until(due.into()).await;
            if self.send(shared, plan, due).await.is_none() {
                return;
            }
            due += period;
        }
    }

    /// Closed loop: the next message when the one before has come back.
    async fn send_waiting(&self, shared: &Shared, plan: &Plan, end: Instant) {
        let mut own = self.own.lock().await;
        while Instant::now() < end {
            if self.send(shared, plan, Instant::now()).await.is_none() || own.recv().await.is_none() {
                return;
            }
        }
    }

    async fn send(&self, shared: &Shared, plan: &Plan, due: Instant) -> Option<()> {
        let due = shared.nanos(due);
        let head = format!("{due}{END}");
        let padding = "x".repeat(plan.body.saturating_sub(head.len()));
        let room = &self.room;
        let frame = format!(r#"{{"type":"send","id":{due},"room":"{room}","message":"{head}{padding}"}}"#);
        shared.tally().sent += 1;
        self.sink.lock().await.send(Message::text(frame)).await.ok()
    }
}

async fn open(url: &str, room: &str, token: &str) -> Result<Socket, String> {
    let mut request = format!("{url}/ws").into_client_request().map_err(|error| error.to_string())?;
    let bearer = format!("Bearer {token}").parse().map_err(|_| "the token is no header".to_owned())?;
    request.headers_mut().insert("authorization", bearer);
    let (mut socket, _) = connect_async(request).await.map_err(|error| error.to_string())?;
    if let MaybeTlsStream::Plain(stream) = socket.get_ref() {
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
    }
    expect(&mut socket, r#""type":"hello""#).await?;
    let join = format!(r#"{{"type":"join","id":1,"room":"{room}"}}"#);
    socket.send(Message::text(join)).await.map_err(|error| error.to_string())?;
    expect(&mut socket, r#""type":"ok""#).await?;
    Ok(socket)
}

async fn expect(socket: &mut Socket, part: &str) -> Result<(), String> {
    let next = timeout(Duration::from_secs(20), socket.next()).await.map_err(|_| "no answer".to_owned())?;
    match next {
        Some(Ok(Message::Text(text))) if text.contains(part) => Ok(()),
        other => Err(format!("{other:?} instead of {part}")),
    }
}

/// Counts and checks what comes, by looking for the fields instead of reading the JSON: the generator shares the
/// machine with the hub.
async fn receive(mut stream: SplitStream<Socket>, shared: Shared, own_came: Option<mpsc::UnboundedSender<()>>) {
    let mut last: Option<u64> = None;
    while let Some(Ok(frame)) = stream.next().await {
        let Message::Text(text) = frame else { continue };
        if text.starts_with(r#"{"type":"message""#) {
            let (seq, due) = (field(&text, r#""seq":"#), field(&text, r#""message":""#));
            let mut tally = shared.tally();
            if let (Some(seq), Some(due)) = (seq, due) {
                tally.received += 1;
                tally.wrong += u64::from(last.is_some_and(|last| seq != last.saturating_add(1)));
                tally.delivery.record(shared.late(due)).ok();
                last = Some(seq);
            } else {
                tally.wrong += 1;
            }
            drop(tally);
            if own_came.as_ref().is_some_and(|own_came| own_came.send(()).is_err()) {
                return;
            }
        } else if text.starts_with(r#"{"type":"ok""#) {
            let mut tally = shared.tally();
            tally.acked += 1;
            if let Some(due) = field(&text, r#""id":"#) {
                tally.ack.record(shared.late(due)).ok();
            }
        } else if text.starts_with(r#"{"type":"error""#) {
            shared.tally().refused += 1;
            if own_came.as_ref().is_some_and(|own_came| own_came.send(()).is_err()) {
                return;
            }
        }
    }
}

/// The number after `name`.
fn field(text: &Utf8Bytes, name: &str) -> Option<u64> {
    let rest = text.split_once(name)?.1;
    let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}
