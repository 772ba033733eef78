//! Several nodes on one PostgreSQL, with Redis between them: real servers, real processes, real sockets. What all tests of
//! this kind share, and what holds as long as nothing fails: everybody sees each room's events once and in order, whoever
//! is asked knows who is there, a ticket is good once, and what has no number reaches all of a user's sessions.
//!
//! Seen to fail with the hub broken so (scripts/mutants): leases that never end (P11: a node that crashed is there for ever).

mod attacker;
mod config;
mod console;
mod limits;
mod outage;
mod resume;
mod rights;
mod servers;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::{sync::watch, task::JoinSet};

use crate::support::{Answer, Api, Client, History, Hub, HubOptions, PATIENCE, Postgres, Redis, unique, until};

/// How long anything may take from one node to another, with Redis or without.
const ACROSS: Duration = Duration::from_secs(1);

/// The settings of nodes on one new database with this Redis, on channels of their own.
fn options(redis: &str) -> HubOptions {
    prefixed(redis, &unique())
}

/// The same, with channels that start so.
fn prefixed(redis: &str, prefix: &str) -> HubOptions {
    let options = HubOptions::default().unlimited().set("database.url", Postgres::shared().database());
    options.set("redis.url", redis).set("redis.prefix", prefix).set("server.workers", 1)
}

/// So many nodes that hear each other.
async fn nodes<const N: usize>(options: HubOptions) -> [Hub; N] {
    let hubs = [(); N].map(|()| Hub::with(options.clone()));
    for hub in &hubs {
        redis_is(hub, "up", PATIENCE).await;
    }
    hubs
}

fn ready(hub: &Hub) -> Answer {
    Api::new(hub.address, None).get("/health/ready")
}

/// Waits until the node says so of Redis; gives how long that took. A node whose Redis is away is still ready (P9).
async fn redis_is(hub: &Hub, state: &str, within: Duration) -> Duration {
    let start = Instant::now();
    loop {
        let ready = ready(hub);
        assert_eq!(ready.status, 200, "P9: not ready while redis is {}: {}", ready.body["redis"], ready.body);
        let degraded = if ready.body["redis"] == "up" { json!([]) } else { json!(["redis"]) };
        assert_eq!(ready.body["degraded"], degraded, "P9: {}", ready.body);
        if ready.body["redis"] == state {
            return start.elapsed();
        }
        assert!(start.elapsed() < within, "P9: redis is not {state} after {within:?}: {}", ready.body);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The median; what a machine that is busy with other things does to a few doesn't show.
fn typical(mut delays: Vec<Duration>) -> Duration {
    delays.sort();
    delays.get(delays.len() / 2).copied().unwrap_or_default()
}

/// What one writer did: it is a member too, and so saw everything.
struct Writer {
    client: Client,
    history: History,
    sent: HashMap<String, Instant>,
    acks: Vec<(Instant, Duration)>,
}

/// What one reader saw, and when.
type Seen = Vec<(i64, String, Instant)>;

/// One writer and one reader on each node, all in one room, who don't stop before they are told.
struct Traffic {
    room: String,
    done: Arc<AtomicBool>,
    last: watch::Sender<Option<i64>>,
    writers: JoinSet<(usize, Writer)>,
    readers: JoinSet<(usize, Seen)>,
}

/// What came of it. Each delay is with the time of its sending, the sender's node and the reader's.
struct Outcome {
    acks: Vec<(Instant, Duration)>,
    delays: Vec<(Instant, Duration, (usize, usize))>,
}

impl Outcome {
    /// Delays between nodes of what was sent in this time.
    fn across(&self, from: Instant, to: Instant) -> Vec<Duration> {
        let within = self.delays.iter().filter(|(sent, _, (a, b))| (from..to).contains(sent) && a != b);
        within.map(|(_, delay, _)| *delay).collect()
    }

    /// Everything got everywhere in its time, and on the senders' own nodes without a wait for anybody else.
    fn hold_times(&self, what: &str) {
        let (own, other): (Vec<_>, Vec<_>) = self.delays.iter().partition(|(.., (a, b))| a == b);
        let most = |delays: &[&(Instant, Duration, _)]| delays.iter().map(|(_, delay, _)| *delay).max().unwrap();
        let acks = self.acks.iter().map(|(_, delay)| *delay).max().unwrap();
        let all = |delays: Vec<&(Instant, Duration, _)>| typical(delays.iter().map(|(_, delay, _)| *delay).collect());
        eprintln!(
            "{what}: acks at most {acks:?}; same node at most {:?}; other nodes at most {:?}",
            most(&own),
            most(&other)
        );
        assert!(most(&own) < ACROSS && acks < ACROSS, "P9: the same node's delivery or acks waited");
        assert!(most(&other) < ACROSS, "P9: {:?} to another node", most(&other));
        assert!(all(own) < Duration::from_millis(100), "P9: the same node's delivery is slower than it should be");
    }
}

impl Traffic {
    async fn start(hubs: &[Hub], room: &str, pause: Duration) -> Self {
        let (last, ends) = watch::channel(None);
        let (mut writers, mut readers) = (JoinSet::new(), JoinSet::new());
        let done = Arc::new(AtomicBool::new(false));
        for (node, hub) in hubs.iter().enumerate() {
            let (reader, ends) = (hub.member(&format!("reader{node}"), room).await, ends.clone());
            readers.spawn(async move { (node, read(reader, ends).await) });
            let (name, room, done) = (format!("w{node}"), room.to_owned(), Arc::clone(&done));
            let writer = hub.member(&name, &room).await;
            writers.spawn(async move { (node, write(writer, name, room, pause, done).await) });
        }
        Self { room: room.to_owned(), done, last, writers, readers }
    }

    /// Holds everything that everybody saw against each other and the database (P1, P2, P3, P12).
    async fn finish(mut self, hub: &Hub) -> Outcome {
        self.done.store(true, Ordering::Relaxed);
        let (mut history, mut writing) = (History::default(), Vec::new());
        while let Some(ended) = self.writers.join_next().await {
            let (node, mut writer) = ended.unwrap();
            history.merge(std::mem::take(&mut writer.history));
            writing.push((node, writer));
        }
        let highest = history.highest();
        self.last.send(Some(highest)).unwrap();
        let (mut outcome, mut sent) = (Outcome { acks: Vec::new(), delays: Vec::new() }, HashMap::new());
        for (node, writer) in writing {
            outcome.acks.extend(writer.acks);
            sent.extend(writer.sent.into_iter().map(|(value, at)| (value, (node, at))));
            let (name, (_, ends)) = (format!("writer{node}"), watch::channel(Some(highest)));
            for (seq, value, _) in read(writer.client, ends).await {
                history.see(&name, seq, &value);
            }
        }
        while let Some(ended) = self.readers.join_next().await {
            let (node, seen) = ended.unwrap();
            for (seq, value, at) in seen {
                let (from, since) = sent[&value];
                outcome.delays.push((since, at - since, (from, node)));
                history.see(&format!("reader{node}"), seq, &value);
            }
        }
        history.check(&hub.database().await.messages(&self.room).await);
        outcome
    }
}

async fn write(mut client: Client, name: String, room: String, pause: Duration, done: Arc<AtomicBool>) -> Writer {
    let (mut history, mut sent, mut acks) = (History::default(), HashMap::new(), Vec::new());
    for counter in 0.. {
        let value = format!("{name}-{counter}");
        history.attempt(&value);
        let at = Instant::now();
        sent.insert(value.clone(), at);
        let ack = client.say(&room, &value).await;
        acks.push((at, at.elapsed()));
        history.ack(&value, ack["seq"].as_i64().unwrap_or_else(|| panic!("P9: no ack but {ack}")));
        if done.load(Ordering::Relaxed) {
            break;
        }
        tokio::time::sleep(pause).await;
    }
    Writer { client, history, sent, acks }
}

/// Reads until it has what it is to have, and a little longer, in case something comes twice.
async fn read(mut client: Client, mut ends: watch::Receiver<Option<i64>>) -> Seen {
    const LONGER: Duration = Duration::from_millis(100);
    let mut seen: Seen = Vec::new();
    loop {
        let has = seen.last().map_or(0, |(seq, ..)| *seq);
        let end = *ends.borrow_and_update();
        let wait = if end.is_some_and(|end| has >= end) { LONGER } else { PATIENCE };
        tokio::select! {
            event = client.message() => {
                let value = event["message"].as_str().unwrap().to_owned();
                seen.push((event["seq"].as_i64().unwrap(), value, Instant::now()));
            }
            Ok(()) = ends.changed() => {}
            () = tokio::time::sleep(wait) => {
                assert_eq!(wait, LONGER, "P4: a reader has {has} of {end:?}");
                return seen;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p3_p12_everybody_on_three_nodes_sees_one_order_once() {
    let hubs: [Hub; 3] = nodes(options(&Redis::shared().url())).await;
    let from = Instant::now();
    let traffic = Traffic::start(&hubs, "lobby", Duration::from_millis(5)).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let outcome = traffic.finish(&hubs[0]).await;
    outcome.hold_times("three nodes");
    let across = outcome.across(from, Instant::now());
    let (count, typical) = (across.len(), typical(across));
    eprintln!("three nodes: {count} deliveries to other nodes, typically after {typical:?}");
    assert!(typical < Duration::from_millis(100), "P9: {typical:?} to another node, though Redis is there");
    let mirror = &hubs[1].admin().get("/api/admin/stats").body["mirror"];
    assert!(mirror["received_total"].as_u64().unwrap() > 100, "P9: the bus has brought nothing: {mirror}");
    assert_eq!((&mirror["refused_total"], &mirror["followed_rooms"]), (&json!(0), &json!(1)), "P12: {mirror}");
}

/// A ticket that is shown to all nodes at once, many times, opens one socket.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p8_a_ticket_is_used_once_on_all_nodes_together() {
    let hubs: [Hub; 2] = nodes(options(&Redis::shared().url())).await;
    for _ in 0..5 {
        let ticket =
            hubs[0].api("alice").post("/api/ws-ticket", &json!({})).body["ticket"].as_str().unwrap().to_owned();
        let mut tries = JoinSet::new();
        for n in 0..20 {
            let url = hubs[n % 2].url(&format!("/ws?ticket={ticket}"));
            tries.spawn(async move { Client::open(&url, None).await.unwrap().try_next().await });
        }
        let opened = tries.join_all().await.iter().flatten().filter(|frame| frame["type"] == "hello").count();
        assert_eq!(opened, 1, "P8: a ticket opened {opened} sockets");
    }
}

/// What has no number: to all sessions of whom it concerns, on all nodes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_no_number_reaches_all_nodes() {
    let [here, there]: [Hub; 2] = nodes(options(&Redis::shared().url())).await;
    let (mut near, mut far) = (here.client("alice").await, there.client("alice").await);
    let owner = here.api("owner");
    owner.post("/api/rooms", &json!({"name": "club", "kind": "private"}));
    let is = |kind: &'static str| move |frame: &Value| frame["type"] == kind;
    owner.put("/api/rooms/club/members/alice", &json!({}));
    for session in [&mut near, &mut far] {
        assert_eq!(session.until(is("member_added")).await["role"], "member");
        session.join("club").await;
    }
    owner.patch("/api/rooms/club", &json!({"title": "The club"}));
    for session in [&mut near, &mut far] {
        assert_eq!(session.until(is("room_updated")).await["title"], "The club");
    }
    let mut other = there.member("owner", "club").await;
    assert_eq!(other.say("club", "hi").await["seq"], 1);
    near.message().await;
    near.ask(json!({"type": "read", "room": "club", "seq": 1})).await;
    assert_eq!(far.until(is("read")).await["seq"], 1);
    near.ask(json!({"type": "typing", "room": "club"})).await;
    assert_eq!(other.until(is("typing")).await["user_id"], "alice");
    owner.delete("/api/rooms/club/members/alice");
    for session in [&mut near, &mut far] {
        assert_eq!(session.until(is("member_removed")).await["user_id"], "alice");
    }
    // Each once, and one's own typing and read marker not at all on the session itself.
    near.ask(json!({"type": "ping"})).await;
    assert!(!near.kept().any(|frame| ["typing", "read"].contains(&frame["type"].as_str().unwrap())), "told oneself");
}

/// Who is in a room, over all nodes, and which nodes there are: right again soon after one has crashed, and at once after
/// one was stopped.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p11_who_is_there_over_all_nodes_and_after_a_crash() {
    const SOON: Duration = Duration::from_secs(15);
    let [here, mut crashes, mut stops]: [Hub; 3] = nodes(options(&Redis::shared().url())).await;
    let admin = here.admin();
    let (mut alice, _bob) = (here.member("alice", "lobby").await, crashes.member("bob", "lobby").await);
    let (_carol, _alice) = (stops.member("carol", "lobby").await, stops.member("alice", "lobby").await);
    let there = async |client: &mut Client| {
        let answer = client.ask(json!({"type": "presence", "room": "lobby"})).await;
        let users = answer["users"].as_array().unwrap().iter().map(|user| user["user_id"].as_str().unwrap().to_owned());
        let users: Vec<_> = users.collect();
        assert_eq!(answer["count"], users.len(), "P11: {answer}");
        users.join(" ")
    };
    until("P11: everybody is seen", SOON, async || there(&mut alice).await == "alice bob carol").await;
    assert_eq!(here.api("bob").get("/api/rooms/lobby/presence").body["count"], 3, "P11: over HTTP");
    let cluster = || admin.get("/api/admin/stats").body["cluster"].clone();
    let sessions = || cluster()["sum"]["sessions"].clone();
    until("each node's numbers are added up", SOON, async || sessions() == 4).await;
    let nodes = cluster();
    assert_eq!((&nodes["redis"], &nodes["sum"]["nodes"]), (&json!("up"), &json!(3)), "{nodes}");
    let each = nodes["nodes"].as_array().unwrap().iter().map(|node| node["node"].as_str().unwrap().to_owned());
    assert_eq!(each.collect::<std::collections::HashSet<_>>().len(), 3, "P11: {nodes}");
    let metrics = || admin.get("/metrics").body.as_str().unwrap().to_owned();
    assert!(metrics().contains("\nhubbub_nodes 3\n"), "{}", metrics());
    stops.signal("TERM");
    assert!(stops.ended(PATIENCE).success());
    let gone = until("P11: a stopped node is gone", ACROSS, async || cluster()["sum"]["nodes"] == 2).await;
    crashes.kill();
    let users = until("P11: a crashed node's users are gone", SOON, async || there(&mut alice).await == "alice").await;
    let node = until("P11: a crashed node is gone", SOON, async || cluster()["sum"]["nodes"] == 1).await;
    eprintln!(
        "a stopped node was gone after {gone:?}, a crashed one's users after {users:?}, itself after {:?}",
        users + node
    );
    assert_eq!(sessions(), 1, "P11");
    assert!(metrics().contains("\nhubbub_nodes 1\n"), "{}", metrics());
}
