//! The nemesis: does harm to the cluster and makes it good again, and writes both into the history. Firewall rules are in a
//! table of their own, which goes with the run.

use std::{
    io::Write,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use rand::{RngExt, rngs::StdRng, seq::IndexedRandom};
use tokio::time::{Instant, sleep_until};

use super::{
    cluster::Cluster,
    history::{Event, Kind, Op, Recorder},
};

const TABLE: &str = "hubbub_chaos";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// kill -9; the heal starts it again.
    NodeKill(usize),
    NodePause(usize),
    /// SIGTERM, until the process is gone; the heal starts it again.
    NodeStop(usize),
    /// kill -9; the heal starts it again, empty.
    RedisKill,
    RedisPause,
    /// Nothing goes to or from Redis, and nobody is told.
    RedisBlackhole,
    PostgresRestart,
    /// kill -9 of all of it; the heal starts it again.
    PostgresKill,
    /// The balancer is killed and started, and the nodes' own connections are cut where the kernel can.
    ConnectionsCut,
    /// One node after the other, SIGTERM.
    RollingRestart,
}

impl Fault {
    /// Whether it goes on until it is healed; others are over when they are done.
    pub fn lasts(self) -> bool {
        !matches!(self, Self::PostgresRestart | Self::ConnectionsCut | Self::RollingRestart)
    }

    /// All that a mix draws from.
    fn any(random: &mut StdRng, nodes: usize, can_blackhole: bool) -> Vec<Self> {
        let node = random.random_range(1..=nodes);
        let mut all = vec![Self::NodeKill(node), Self::NodePause(node % nodes + 1)];
        all.extend([Self::PostgresRestart, Self::PostgresKill].choose(random));
        all.extend([Self::ConnectionsCut, Self::RollingRestart]);
        let redis: &[_] = &[Self::RedisKill, Self::RedisPause, Self::RedisBlackhole];
        all.extend(redis[..if can_blackhole { 3 } else { 2 }].choose(random));
        all
    }
}

pub struct Nemesis<'a> {
    cluster: &'a Cluster,
    recorder: Recorder,
    name: Arc<str>,
}

impl<'a> Nemesis<'a> {
    pub fn new(cluster: &'a Cluster, recorder: Recorder) -> Self {
        Self { cluster, recorder, name: "nemesis".into() }
    }

    pub async fn harm(&self, fault: Fault) {
        self.log(Kind::Invoke, Op::Fault, &format!("{fault:?}"));
        let cluster = self.cluster;
        match fault {
            Fault::NodeKill(node) => cluster.tell("kill", &format!("node{node}")).await,
            Fault::NodePause(node) => cluster.tell("pause", &format!("node{node}")).await,
            Fault::NodeStop(node) => cluster.tell("stop", &format!("node{node}")).await,
            Fault::RedisKill => cluster.tell("kill", "redis").await,
            Fault::RedisPause => cluster.tell("pause", "redis").await,
            Fault::RedisBlackhole => blackhole(cluster.setting("REDIS_PORT")),
            Fault::PostgresRestart => cluster.tell("restart", "postgres").await,
            Fault::PostgresKill => cluster.tell("kill", "postgres").await,
            Fault::ConnectionsCut => {
                cluster.tell("kill", "nginx").await;
                cluster.tell("start", "nginx").await;
                for part in ["REDIS_PORT", "POSTGRES_PORT"] {
                    let cut = cut(cluster.setting(part));
                    self.log(Kind::Info, Op::Fault, &format!("{part}: {cut}"));
                }
            }
            Fault::RollingRestart => {
                for node in 1..=cluster.nodes {
                    cluster.tell("restart", &format!("node{node}")).await;
                    self.log(Kind::Info, Op::Fault, &format!("node{node} is back"));
                }
            }
        }
        self.log(Kind::Ok, Op::Fault, &format!("{fault:?}"));
    }

    pub async fn heal(&self, fault: Fault) {
        self.log(Kind::Invoke, Op::Heal, &format!("{fault:?}"));
        let cluster = self.cluster;
        match fault {
            Fault::NodeKill(node) | Fault::NodeStop(node) => cluster.tell("start", &format!("node{node}")).await,
            Fault::NodePause(node) => cluster.tell("resume", &format!("node{node}")).await,
            Fault::RedisKill => cluster.tell("start", "redis").await,
            Fault::RedisPause => cluster.tell("resume", "redis").await,
            Fault::PostgresKill => cluster.tell("start", "postgres").await,
            Fault::RedisBlackhole => lift(),
            Fault::PostgresRestart | Fault::ConnectionsCut | Fault::RollingRestart => {}
        }
        self.log(Kind::Ok, Op::Heal, &format!("{fault:?}"));
    }

    /// Random faults in periods of ten seconds, as Jepsen's nemesis: in one of four none, else some of them together.
    pub async fn mix(&self, random: &mut StdRng, time: Duration) -> Vec<String> {
        let (can_blackhole, mut said) = (can_blackhole(), Vec::new());
        let end = Instant::now() + time;
        while Instant::now() < end {
            let period = Instant::now() + Duration::from_secs(10);
            let all = Fault::any(random, self.cluster.nodes, can_blackhole);
            let count = if random.random_ratio(1, 4) { 0 } else { random.random_range(1..=all.len()) };
            let mut chosen: Vec<_> = all.sample(random, count).copied().collect();
            // A rolling restart restarts what is killed or paused, and waits for what can't come back before.
            if chosen.len() > 1 {
                chosen.retain(|fault| *fault != Fault::RollingRestart);
            }
            said.push(format!("{chosen:?}"));
            for fault in &chosen {
                self.harm(*fault).await;
            }
            sleep_until(period - Duration::from_secs(3)).await;
            // A node does not start without its database.
            chosen.sort_by_key(|fault| *fault != Fault::PostgresKill);
            for fault in chosen.iter().filter(|fault| fault.lasts()) {
                self.heal(*fault).await;
            }
            sleep_until(period).await;
        }
        said
    }

    fn log(&self, kind: Kind, op: Op, what: &str) {
        self.recorder.record(Event::new(&self.name, kind, op).code(what));
    }
}

fn nft(script: &str) -> Result<(), String> {
    let mut command = Command::new("nft");
    command.args(["-f", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| format!("nft (of the package nftables): {error}"))?;
    child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    if output.status.success() { Ok(()) } else { Err(format!("nft: {}", String::from_utf8_lossy(&output.stderr))) }
}

/// On the loopback everything comes in, whichever way it goes: one hook sees both directions.
fn blackhole(port: &str) {
    let rules = format!("tcp dport {port} drop\ntcp sport {port} drop");
    let chain = format!("chain input {{ type filter hook input priority 0; policy accept;\n{rules}\n}}");
    nft(&format!("table inet {TABLE} {{\n{chain}\n}}\n")).unwrap_or_else(|error| panic!("redis-blackhole: {error}"));
}

fn can_blackhole() -> bool {
    nft(&format!("table inet {TABLE} {{ }}\ndelete table inet {TABLE}\n")).is_ok()
}

/// No rule of ours is left. Where there is none this does nothing.
pub fn lift() {
    drop(nft(&format!("table inet {TABLE} {{ }}\ndelete table inet {TABLE}\n")));
}

/// Ends the TCP connections to this port, and says how many, or why not.
fn cut(port: &str) -> String {
    let output = Command::new("ss").args(["-K", "-H", "-t", "dport", "=", &format!(":{port}")]).output();
    match output {
        Ok(output) if output.status.success() => {
            format!("{} connections cut", String::from_utf8_lossy(&output.stdout).lines().count())
        }
        Ok(output) => format!("not cut: {}", String::from_utf8_lossy(&output.stderr).trim()),
        Err(error) => format!("not cut: ss: {error}"),
    }
}
