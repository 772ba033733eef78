//! The nemesis: does harm to the cluster and makes it good again, and writes both into the history, with what it saw meanwhile.

use std::{
    any::Any,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rand::{RngExt, rngs::StdRng, seq::IndexedRandom};
use serde_json::json;
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep, sleep_until},
};

use super::{
    cluster::Cluster,
    disk::Sync,
    fault::{Actor, Fault},
    firewall,
    ground::{Laid, set_clock},
    history::{Event, Kind, Op, Recorder},
    hostile,
    net::Route,
    process::{kill, limit_files, processor_time, slow_down},
    proxy::Way,
};
use crate::support::Attacker;

/// Redis is back, and nodes must hear each other by it again.
const BUS_BACK: Duration = Duration::from_secs(5);
/// A process that rests on an actor that has panicked must be gone after this.
const DEATH: Duration = Duration::from_secs(10);
/// SQLite's and a pool's own errors are felt at once; what is not by then is not felt at all.
const FELT: Duration = Duration::from_secs(5);

/// A task that ends with its holder.
struct Held(JoinHandle<()>);

impl Held {
    /// Ends it, and waits until it does nothing more.
    async fn end(&mut self) {
        self.0.abort();
        drop((&mut self.0).await);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A process that can open no file: what it could, and what it had used of the processors.
struct WithoutFiles {
    before: String,
    used: f64,
    since: Instant,
}

pub struct Nemesis<'a> {
    cluster: &'a Cluster,
    laid: &'a Laid,
    recorder: Recorder,
    name: Arc<str>,
    /// A room of the run's.
    room: String,
    /// What goes on until it is healed.
    held: Mutex<Vec<(Fault, Box<dyn Any + Send>)>>,
    notes: Mutex<Vec<String>>,
    failures: Mutex<Vec<String>>,
    /// Whether several faults are there at once.
    mixes: bool,
}

impl<'a> Nemesis<'a> {
    pub fn new(cluster: &'a Cluster, laid: &'a Laid, recorder: Recorder, room: String, mixes: bool) -> Self {
        let (held, notes, failures) = Default::default();
        Self { cluster, laid, recorder, name: "nemesis".into(), room, held, notes, failures, mixes }
    }

    /// What it saw, and what was not as it must be.
    pub fn report(self) -> (Vec<String>, Vec<String>) {
        let all = |lines: Mutex<Vec<String>>| lines.into_inner().unwrap_or_else(PoisonError::into_inner);
        (all(self.notes), all(self.failures))
    }

    pub async fn harm(&self, fault: Fault) {
        self.log(Kind::Invoke, Op::Fault, &format!("{fault:?}"));
        let (cluster, node_name) = (self.cluster, |node: usize| format!("node{node}"));
        match fault {
            Fault::NodeKill(node) => cluster.tell("kill", &node_name(node)).await,
            Fault::NodePause(node) => cluster.tell("pause", &node_name(node)).await,
            Fault::NodeStop(node) => cluster.tell("stop", &node_name(node)).await,
            Fault::NodeSlow(node) => {
                let pid = cluster.pid(&node_name(node));
                self.hold(fault, Held(tokio::spawn(slow_down(pid))));
            }
            Fault::NodeFiles(node) => {
                let pid = cluster.pid(&node_name(node));
                // Fewer than it has: whatever it closes leaves no place either.
                let before = limit_files(pid, "8");
                self.hold(fault, WithoutFiles { before, used: processor_time(pid), since: Instant::now() });
                let refused =
                    cluster.network.open(Route::Node(node - 1), &cluster.network.token("asker")).await.is_err();
                self.must(refused, format!("a client that comes to node{node} without files is not served"));
            }
            Fault::NodePanic(node, actor) => self.panic(node, actor).await,
            Fault::RedisKill => cluster.tell("kill", "redis").await,
            Fault::RedisPause => cluster.tell("pause", "redis").await,
            Fault::RedisNet(rule) => firewall::set(cluster.setting("REDIS_PORT"), rule),
            Fault::RedisServer(place) => self.laid.redis.lock().unwrap()[place].kill(),
            Fault::BusAttack => {
                let attacker = Attacker::beside(cluster.setting("REDIS_PORT").parse().unwrap(), "hubbub:").await;
                self.hold(fault, Held(tokio::spawn(hostile::publish_forged(attacker, self.room.clone()))));
            }
            Fault::PostgresRestart => cluster.tell("restart", "postgres").await,
            Fault::PostgresKill => cluster.tell("kill", "postgres").await,
            Fault::PostgresPause => cluster.tell("pause", "postgres").await,
            Fault::PostgresBackend => {
                let of_hubs = "SELECT pid FROM pg_stat_activity WHERE usename = 'hubbub' LIMIT 1";
                kill("KILL", cluster.sql(of_hubs).parse().unwrap());
            }
            Fault::PostgresFull => {
                cluster.sql("ALTER ROLE hubbub CONNECTION LIMIT 4");
                cluster.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'hubbub'");
            }
            Fault::DatabaseWay(way) => self.laid.proxy.as_ref().unwrap().set(way),
            Fault::DiskFull => {
                self.laid.small_disk.as_ref().unwrap().fill();
                self.reads_but_does_not_write().await;
            }
            Fault::SyncFails => {
                let inject = Sync::inject(cluster.pid("node1"), "error=EIO").await;
                self.hold(fault, inject);
                self.reads_but_does_not_write().await;
            }
            Fault::SyncSlow => {
                let inject = Sync::inject(cluster.pid("node1"), "delay_enter=300000").await;
                self.hold(fault, inject);
            }
            Fault::PowerLoss(part) => {
                let mut image = self.laid.image.lock().await;
                for round in 0..3 {
                    if round > 0 {
                        sleep(Duration::from_secs(3)).await;
                    }
                    image.as_mut().unwrap().lose_power(cluster, part).await;
                    self.log(Kind::Info, Op::Fault, "power is back");
                }
            }
            Fault::ClockJumps(node) => {
                for offset in ["+300", "-300", "+600", "-600", "+0", "-86400", "+0"] {
                    set_clock(cluster, node, offset);
                    self.log(Kind::Info, Op::Fault, offset);
                    sleep(Duration::from_millis(1_500)).await;
                }
            }
            Fault::ConnectionsCut => {
                cluster.tell("kill", "nginx").await;
                cluster.tell("start", "nginx").await;
                for part in ["REDIS_PORT", "POSTGRES_PORT"] {
                    self.cut("dport", &[cluster.setting(part).to_owned()]);
                }
            }
            Fault::ClientsCut => {
                let ports: Vec<_> =
                    (0..cluster.nodes).map(|node| cluster.network.node(node).port().to_string()).collect();
                self.cut("sport", &ports);
            }
            Fault::RollingRestart => {
                for node in 1..=cluster.nodes {
                    cluster.tell("restart", &node_name(node)).await;
                    self.log(Kind::Info, Op::Fault, &format!("node{node} is back"));
                }
            }
            Fault::SlowReaders(count) => {
                self.hostile(count, 256 << 10, hostile::slow_readers(&cluster.network, 0, &self.room, count)).await;
            }
            Fault::Floods(count) => self.hostile(count, 1 << 20, hostile::floods(&cluster.network, 0, count)).await,
        }
        self.log(Kind::Ok, Op::Fault, &format!("{fault:?}"));
    }

    pub async fn heal(&self, fault: Fault) {
        if let (Some(away), false) = (fault.takes_redis_away(), self.mixes) {
            let felt = self.cluster.all(!away).await;
            let state = if away { "without" } else { "with" };
            self.must(felt, format!("at the end of the fault all nodes are {state} Redis"));
        }
        self.log(Kind::Invoke, Op::Heal, &format!("{fault:?}"));
        let cluster = self.cluster;
        match fault {
            Fault::NodeKill(node) | Fault::NodeStop(node) => cluster.tell("start", &format!("node{node}")).await,
            Fault::NodePause(node) => cluster.tell("resume", &format!("node{node}")).await,
            Fault::NodeSlow(node) => {
                if let Some(mut slow) = self.release(fault).and_then(|held| held.downcast::<Held>().ok()) {
                    slow.end().await;
                }
                kill("CONT", cluster.pid(&format!("node{node}")));
            }
            Fault::NodeFiles(node) => {
                let pid = cluster.pid(&format!("node{node}"));
                let held = self.release(fault).and_then(|held| held.downcast::<WithoutFiles>().ok()).unwrap();
                limit_files(pid, &held.before);
                let share = (processor_time(pid) - held.used) / held.since.elapsed().as_secs_f64();
                self.must(share < 0.5, format!("node{node} took {:.0} % of a core without files", share * 100.0));
            }
            Fault::NodePanic(node, _) => {
                set_clock(cluster, node, "+0");
                // One that did not end by itself, which was noted, is in the way.
                if cluster.runs(node) {
                    cluster.tell("kill", &format!("node{node}")).await;
                }
                cluster.tell("start", &format!("node{node}")).await;
            }
            Fault::RedisKill => cluster.tell("start", "redis").await,
            Fault::RedisPause => cluster.tell("resume", "redis").await,
            Fault::RedisServer(place) => self.laid.redis.lock().unwrap()[place].start_again(),
            Fault::RedisNet(_) => firewall::lift(),
            Fault::BusAttack => {
                self.release(fault);
                let refused = |numbers: &super::cluster::Numbers| {
                    numbers.get("hubbub_bus_refused_total").copied().unwrap_or_default()
                };
                let all: Vec<f64> = cluster.numbers().await.iter().map(refused).collect();
                self.must(all.iter().all(|refused| *refused > 100.0), format!("frames refused by the nodes: {all:?}"));
            }
            Fault::PostgresKill => cluster.tell("start", "postgres").await,
            Fault::PostgresPause => cluster.tell("resume", "postgres").await,
            Fault::PostgresFull => drop(cluster.sql("ALTER ROLE hubbub CONNECTION LIMIT -1")),
            Fault::DatabaseWay(_) => self.laid.proxy.as_ref().unwrap().set(Way::Clear),
            Fault::DiskFull => self.laid.small_disk.as_ref().unwrap().empty(),
            Fault::SyncFails | Fault::SyncSlow => drop(self.release(fault)),
            _ => {}
        }
        self.log(Kind::Ok, Op::Heal, &format!("{fault:?}"));
        if fault.takes_redis_away().is_some() && !self.mixes {
            let since = Instant::now();
            while !self.cluster.all(true).await && since.elapsed() < BUS_BACK {
                sleep(Duration::from_millis(50)).await;
            }
            let took = since.elapsed();
            self.must(took < BUS_BACK, format!("all nodes have their Redis again after {:.2} s", took.as_secs_f64()));
        }
    }

    /// Random faults in periods of ten seconds, as Jepsen's nemesis: in one of four none, else some of them together.
    pub async fn mix(&self, random: &mut StdRng, time: Duration) {
        let (has_firewall, end) = (firewall::can_be_used(), Instant::now() + time);
        self.must(has_firewall, "the network's faults are among them".to_owned());
        while Instant::now() < end {
            let period = Instant::now() + Duration::from_secs(10);
            let all = Fault::any(random, self.cluster.nodes, has_firewall);
            let count = if random.random_ratio(1, 4) { 0 } else { random.random_range(1..=all.len()) };
            let mut chosen: Vec<_> = all.sample(random, count).copied().collect();
            // A rolling restart restarts what is killed or paused, and waits for what can't come back before.
            if chosen.len() > 1 {
                chosen.retain(|fault| *fault != Fault::RollingRestart);
            }
            // Who is asked for a backend, or told to take fewer, must be there.
            chosen.sort_by_key(|fault| !matches!(fault, Fault::PostgresBackend | Fault::PostgresFull));
            self.note(format!("{chosen:?}"));
            for fault in &chosen {
                self.harm(*fault).await;
            }
            sleep_until(period - Duration::from_secs(3)).await;
            // A node does not start without its database.
            chosen.sort_by_key(|fault| {
                !matches!(fault, Fault::PostgresKill | Fault::PostgresPause | Fault::PostgresFull)
            });
            for fault in chosen.iter().filter(|fault| fault.lasts()) {
                self.heal(*fault).await;
            }
            sleep_until(period).await;
        }
    }

    /// With a clock before 1970, which no library expects, the node must end, and must not live on without this actor.
    async fn panic(&self, node: usize, actor: Actor) {
        let (cluster, place, since) = (self.cluster, node - 1, Instant::now());
        let mut banned = None;
        if actor == Actor::ChatServer {
            let (route, join) = (Route::Node(place), json!({"type": "join", "id": 1, "room": self.room}));
            let mut socket = cluster.network.open(route, &cluster.network.token("banned")).await.unwrap();
            cluster.sql(&format!(
                "INSERT INTO hub_ban (room_id, user_id, by_id, until, created_at) SELECT r.id, u.id, u.id, now() + interval '1 day', \
                 now() FROM hub_room r, hub_user u WHERE r.name = '{room}' AND u.external_id = 'banned'; \
                 UPDATE hub_room SET rights = rights + 1 WHERE name = '{room}'",
                room = self.room
            ));
            while {
                socket.send(&join).await.unwrap();
                socket.receive().await.unwrap()["code"] != "banned"
            } {
                assert!(since.elapsed() < DEATH, "a ban is not felt");
                sleep(Duration::from_millis(50)).await;
            }
            banned = Some((socket, join));
        }
        set_clock(cluster, node, "-60y");
        let since = Instant::now();
        while cluster.runs(node) && since.elapsed() < DEATH {
            if let Some((socket, join)) = &mut banned {
                drop(socket.send(join).await);
            }
            sleep(Duration::from_millis(20)).await;
        }
        let (dead, took) = (!cluster.runs(node), since.elapsed().as_secs_f64());
        let state = if dead { "ended" } else { "still runs, and is deaf," };
        self.must(dead, format!("node{node} {state} {took:.2} s after its clock stood before 1970"));
        let name = if actor == Actor::Writer { "writer" } else { "chat server" };
        let log = cluster.log(&format!("node{node}"));
        let last = log.lines().rev().find(|line| line.contains("an actor that the hub can't do without has panicked"));
        self.must(
            last.is_some_and(|line| line.contains(name)),
            format!("by its {name}: {}", last.unwrap_or("no word of it")),
        );
    }

    /// P1 P6: what can't be stored is refused, and what is stored can be read.
    async fn reads_but_does_not_write(&self) {
        let (network, room) = (Arc::clone(&self.cluster.network), self.room.clone());
        let ask = move || {
            // A new user could not be stored.
            let (since, token) = (std::time::Instant::now(), network.token(&format!("{room}.w0")));
            while network.is_ready(0) && since.elapsed() < FELT {
                std::thread::sleep(Duration::from_millis(50));
            }
            let ready = network.is_ready(0);
            // Where the verdict does not look.
            let sent = network.post(&format!("{room}.aside"), &token, &json!({"message": "not now"}));
            let read = network.get(0, &format!("/api/rooms/{room}/messages"), &token);
            (ready, sent, read)
        };
        let (ready, sent, read) = tokio::task::spawn_blocking(ask).await.unwrap();
        self.must(!ready, "/health/ready says 503 meanwhile".to_owned());
        let code = sent.as_ref().ok().and_then(|(_, body)| body["error"]["code"].as_str());
        self.must(
            code == Some("unavailable"),
            format!("a message meanwhile is answered {}", code.unwrap_or("otherwise")),
        );
        let events = read
            .as_ref()
            .ok()
            .map_or(0, |(status, body)| if *status == 200 { body.matches("\"seq\"").count() } else { 0 });
        self.must(events > 0, format!("history meanwhile: {events} events"));
    }

    /// Shuts hostile clients out, and holds node 1's memory against what each may cost.
    async fn hostile(&self, count: usize, bytes_each: u64, attack: impl Future<Output = Duration>) {
        let resident = || self.cluster.memory().get(&1).copied().unwrap_or_default();
        let (before, mut most) = (resident(), 0);
        let watch = async {
            loop {
                most = resident().max(most);
                sleep(Duration::from_millis(20)).await;
            }
        };
        let longest = tokio::select! {
            longest = attack => longest,
            () = watch => Duration::ZERO,
        };
        self.note(format!("all {count} were shut out after at most {:.1} s", longest.as_secs_f64()));
        let (grown, bound) = (most.saturating_sub(before), (8 << 20) + u64::try_from(count).unwrap() * bytes_each);
        self.must(grown <= bound, format!("node1 grew by {} KiB, of at most {}", grown >> 10, bound >> 10));
    }

    fn cut(&self, end: &str, ports: &[String]) {
        let cut = firewall::cut(end, ports);
        // In a mix there may be nobody to cut off.
        self.must(
            cut.as_ref().is_ok_and(|cut| *cut > 0 || self.mixes),
            format!("connections of {ports:?} that were cut: {cut:?}"),
        );
    }

    fn hold(&self, fault: Fault, what: impl Any + Send) {
        self.held.lock().unwrap().push((fault, Box::new(what)));
    }

    fn release(&self, fault: Fault) -> Option<Box<dyn Any + Send>> {
        let mut held = self.held.lock().unwrap();
        let place = held.iter().position(|(of, _)| *of == fault)?;
        Some(held.swap_remove(place).1)
    }

    fn note(&self, note: String) {
        self.notes.lock().unwrap().push(note);
    }

    /// A note, and where it does not hold a failure.
    fn must(&self, holds: bool, what: String) {
        let lines = if holds { &self.notes } else { &self.failures };
        lines.lock().unwrap().push(what);
    }

    fn log(&self, kind: Kind, op: Op, what: &str) {
        self.recorder.record(Event::new(&self.name, kind, op).code(what));
    }
}
