//! The scenarios: which load, which faults, which bounds on the times. Each goes through the same phases: everybody comes in,
//! load alone, faults under load, healed, drained, judged against the database.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use rand::{SeedableRng, rngs::StdRng};
use tokio::time::{sleep, sleep_until};

use super::{
    cluster::Cluster,
    history::{Event, Kind, Op, Recorder},
    load::{Load, Plan, Stage, Ways},
    nemesis::{Fault, Nemesis, lift},
    times::Times,
    verdict::{Verdict, judge},
};

/// Load before the faults and after the heal.
const CALM: Duration = Duration::from_secs(4);
/// From the end of the load until everybody has everything.
const DRAIN: Duration = Duration::from_secs(30);

/// What happens under load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Harm {
    None,
    One(Fault),
    /// From before the first message until after the last.
    Throughout(Fault),
    Mix,
}

pub struct Scenario {
    pub name: &'static str,
    pub what: &'static str,
    /// Whether CI runs it.
    pub ci: bool,
    harm: Harm,
    /// How long the faults last, unless the command says.
    seconds: u64,
    /// Many connections in many rooms instead of a few busy ones; and which way they come.
    crowd: Option<Ways>,
}

const fn scenario(name: &'static str, harm: Harm, seconds: u64, what: &'static str) -> Scenario {
    Scenario { name, what, ci: false, harm, seconds, crowd: None }
}

const fn ci(scenario: Scenario) -> Scenario {
    Scenario { ci: true, ..scenario }
}

const fn crowd(scenario: Scenario, ways: Ways) -> Scenario {
    Scenario { crowd: Some(ways), ..scenario }
}

pub const SCENARIOS: &[Scenario] = &[
    scenario("calm", Harm::None, 10, "no fault"),
    ci(scenario("node-kill", Harm::One(Fault::NodeKill(1)), 6, "kill -9 of a node, started again after a while")),
    scenario("node-pause", Harm::One(Fault::NodePause(1)), 10, "a node stands still and goes on"),
    ci(scenario("redis-kill", Harm::One(Fault::RedisKill), 6, "kill -9 of Redis, started again empty")),
    scenario("redis-pause", Harm::One(Fault::RedisPause), 15, "Redis stands still and goes on"),
    scenario("redis-blackhole", Harm::One(Fault::RedisBlackhole), 15, "nothing goes to or from Redis"),
    scenario("redis-away", Harm::Throughout(Fault::RedisKill), 10, "no Redis from the first message to the last"),
    ci(scenario("postgres-restart", Harm::One(Fault::PostgresRestart), 6, "PostgreSQL is restarted")),
    scenario("connections-cut", Harm::One(Fault::ConnectionsCut), 6, "every connection over the balancer is cut"),
    ci(scenario("rolling-restart", Harm::One(Fault::RollingRestart), 6, "one node after the other is restarted")),
    crowd(
        scenario("storm", Harm::One(Fault::NodeKill(1)), 10, "kill -9 of a node with a third of all connections"),
        Ways::Balancer,
    ),
    crowd(
        scenario("drain", Harm::One(Fault::NodeStop(1)), 5, "SIGTERM to the node that has all connections"),
        Ways::Node(0),
    ),
    scenario("mix", Harm::Mix, 60, "random faults together, in periods of 10 s"),
];

/// What the command says of all scenarios.
#[derive(Clone)]
pub struct Settings {
    pub seed: u64,
    pub seconds: Option<u64>,
    pub members: usize,
    pub connections: usize,
}

/// A time that was to be kept.
pub struct Bound {
    pub what: String,
    pub is: Option<u64>,
    pub most: u64,
}

impl Bound {
    pub fn holds(&self) -> bool {
        self.is.is_some_and(|is| is <= self.most)
    }
}

/// All that is known of a run.
pub struct Outcome {
    pub name: &'static str,
    pub seed: u64,
    pub load: String,
    pub verdict: Verdict,
    pub times: Times,
    pub bounds: Vec<Bound>,
    /// The highest seen of each node, bytes.
    pub memory: BTreeMap<usize, u64>,
    pub notes: Vec<String>,
    /// Panics, and counts that are wrong and no anomaly of the history.
    pub failures: Vec<String>,
    pub history: PathBuf,
}

impl Outcome {
    pub fn passed(&self) -> bool {
        self.verdict.found.is_empty() && self.failures.is_empty() && self.bounds.iter().all(Bound::holds)
    }
}

impl Scenario {
    pub fn named(name: &str) -> Option<&'static Self> {
        SCENARIOS.iter().find(|scenario| scenario.name == name)
    }

    fn plan(&self, settings: &Settings) -> Plan {
        let (seed, name) = (settings.seed, format!("{}-{:x}", self.name, settings.seed));
        let plan = Plan {
            name,
            seed,
            rooms: 4,
            members: settings.members,
            writers: 3,
            rate: 10.0,
            ways: Ways::Mixed,
            lively: true,
        };
        match self.crowd {
            None => plan,
            Some(ways) => {
                let (members, writers, rate) = (20, 1, 0.5);
                let rooms = settings.connections.div_ceil(members);
                Plan { rooms, members, writers, rate, ways, lively: false, ..plan }
            }
        }
    }

    /// Runs it on a cluster that is well, and leaves it so.
    pub async fn run(
        &self,
        cluster: &Cluster,
        settings: &Settings,
        folder: &Path,
        turn: usize,
    ) -> Result<Outcome, String> {
        let mut plan = self.plan(settings);
        // The same scenario may run again on the same database.
        plan.name = format!("{}-{turn}", plan.name);
        let history = folder.join(format!("history-{turn}-{}.ndjson", self.name));
        let recorder = Recorder::new(&history);
        let nemesis = Nemesis::new(cluster, recorder.clone());
        let phase = |name: &str| recorder.record(Event::new(&"run".into(), Kind::Info, Op::Phase).code(name));
        let (peaks, mut notes, mut failures) = (Mutex::new(BTreeMap::new()), Vec::new(), Vec::new());
        let start = Instant::now();
        let network = Arc::clone(&cluster.network);
        let mut load = Load::open(network, recorder.clone(), &plan).await?;
        let all = plan.rooms * (plan.members + plan.writers);
        notes.push(format!("{all} clients came in within {:.1} s", start.elapsed().as_secs_f64()));
        let faults = async {
            if let Harm::Throughout(fault) = self.harm {
                nemesis.harm(fault).await;
            }
            phase("load");
            load.enter(Stage::Load);
            sleep(CALM).await;
            let time = Duration::from_secs(settings.seconds.unwrap_or(self.seconds));
            let end = tokio::time::Instant::now() + time;
            match self.harm {
                Harm::None | Harm::Throughout(_) => sleep_until(end).await,
                Harm::One(fault) => {
                    let start = Instant::now();
                    nemesis.harm(fault).await;
                    notes.push(format!("{fault:?} took {:.2} s", start.elapsed().as_secs_f64()));
                    sleep_until(end).await;
                    if fault.lasts() {
                        nemesis.heal(fault).await;
                    }
                }
                Harm::Mix => {
                    let mut random = StdRng::seed_from_u64(settings.seed);
                    notes.extend(nemesis.mix(&mut random, time).await);
                }
            }
            sleep(CALM).await;
        };
        tokio::select! {
            () = watch_memory(cluster, &peaks) => {}
            () = faults => {}
        }
        phase("drain");
        let start = Instant::now();
        let drained = load.drain(DRAIN).await;
        let took = start.elapsed().as_secs_f64();
        notes.push(format!("{} after {took:.1} s", if drained { "drained" } else { "NOT drained" }));
        phase("stop");
        let rooms: Vec<String> = load.rooms().map(str::to_owned).collect();
        failures.extend(load.stop().await.into_iter().map(|panic| format!("a client panicked: {panic}")));
        if let Harm::Throughout(fault) = self.harm {
            nemesis.heal(fault).await;
        }
        cluster.healed().await;
        let stored = cluster.stored(rooms.iter().map(String::as_str)).await;
        let events = recorder.take();
        let (verdict, times) = (judge(&events, &stored), Times::of(&events));
        let lively = if plan.lively { ", some moving, some over HTTP" } else { "" };
        let (members, writers) = (plan.members, plan.writers);
        let each = format!("{members} members and {writers} writers at {} a second each{lively}", plan.rate);
        let mut outcome = Outcome {
            name: self.name,
            seed: settings.seed,
            load: format!("{} rooms of {each}", plan.rooms),
            verdict,
            times,
            bounds: Vec::new(),
            memory: peaks.into_inner().unwrap_or_else(PoisonError::into_inner),
            notes,
            failures,
            history,
        };
        self.bound(&mut outcome, &plan);
        Ok(outcome)
    }

    /// The bounds of this scenario alone; redis-away's on acks needs a calm run beside it.
    fn bound(&self, outcome: &mut Outcome, plan: &Plan) {
        let times = &outcome.times;
        let mut bound = |what: &str, is: Option<u64>, most: u64| {
            outcome.bounds.push(Bound { what: what.to_owned(), is, most });
        };
        match self.harm {
            Harm::One(Fault::RedisKill | Fault::RedisPause | Fault::RedisBlackhole) => {
                bound("across nodes meanwhile, p99", times.cross_node[1].p99(), 1_000_000);
                // Nothing was still to come where everything had come before.
                let from_heal = times.cross_from_heal.p99().or(times.cross_node[1].p99().map(|_| 0));
                bound("across nodes from Redis' return, p99", from_heal, 2_000_000);
            }
            Harm::Throughout(Fault::RedisKill) => {
                bound("across nodes meanwhile, p99", times.cross_node[1].p99(), 1_000_000);
            }
            Harm::One(Fault::NodeKill(_)) => bound("clients back, p99", times.back.p99(), 5_000_000),
            Harm::One(Fault::NodeStop(_)) => {
                bound("SIGTERM to exit", times.harm, 10_000_000);
                let told = times.losses.get("4000").copied().unwrap_or_default();
                let all = plan.rooms * plan.members;
                let other: usize = times.losses.iter().filter(|(code, _)| *code != "4000").map(|(_, n)| n).sum();
                outcome.notes.push(format!("{told} of {all} clients got close frame 4000"));
                if told != all || other != 0 {
                    outcome.failures.push(format!("P10: {told} of {all} got close frame 4000, {other} another end"));
                }
            }
            _ => {}
        }
    }
}

/// Acks without Redis against those with it.
pub fn compare(away: &mut Outcome, calm: &Outcome) {
    let with = calm.times.ack[0].p99().unwrap_or_default();
    let what = format!("ack without Redis, p99 (with it {})", super::times::millis(with));
    away.bounds.push(Bound { what, is: away.times.ack[1].p99(), most: with + with / 2 + 5_000 });
}

/// Looks at the nodes' memory until it is dropped.
async fn watch_memory(cluster: &Cluster, peaks: &Mutex<BTreeMap<usize, u64>>) {
    loop {
        {
            let mut peaks = peaks.lock().unwrap_or_else(PoisonError::into_inner);
            for (node, bytes) in cluster.memory() {
                let peak = peaks.entry(node).or_insert(0);
                *peak = bytes.max(*peak);
            }
        }
        sleep(Duration::from_millis(250)).await;
    }
}

/// However a run ends, no rule of the nemesis outlives it.
pub struct Lift;

impl Drop for Lift {
    fn drop(&mut self) {
        lift();
    }
}
