//! One scenario's run. Each goes through the same phases: everybody comes in, load alone, faults under load, healed, drained,
//! judged against the database, and its bounds held against the times.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use rand::{SeedableRng, rngs::StdRng};
use tokio::time::{sleep, sleep_until};

use super::{
    cluster::{Cluster, Numbers},
    firewall,
    history::{Event, Kind, Op, Recorder},
    load::{Load, Plan, Stage, Ways},
    matrix::{Crowd, Harm, Limit, Scenario},
    nemesis::Nemesis,
    times::{Spread, Times, millis},
    verdict::{Verdict, judge},
};

/// Load before the faults and after the heal.
const CALM: Duration = Duration::from_secs(4);
/// From the end of the load until everybody has everything.
const DRAIN: Duration = Duration::from_secs(30);

/// What the command says of all scenarios.
#[derive(Clone)]
pub struct Settings {
    pub seed: u64,
    pub seconds: Option<u64>,
    pub members: usize,
    pub connections: Option<usize>,
}

/// What was to be kept: a time in microseconds, or a count.
pub struct Bound {
    pub what: String,
    pub is: Option<u64>,
    pub most: u64,
    pub is_time: bool,
}

impl Bound {
    pub fn holds(&self) -> bool {
        self.is.is_some_and(|is| is <= self.most)
    }

    /// What it is, and what it may be.
    pub fn compared(&self) -> String {
        let shown = |value: u64| if self.is_time { millis(value) } else { value.to_string() };
        format!("{} of {}", self.is.map_or("not measured".to_owned(), shown), shown(self.most))
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
    /// What the nodes counted from before the fault to the end.
    pub counted: BTreeMap<String, u64>,
    /// Panics, and counts that are wrong and no anomaly of the history.
    pub failures: Vec<String>,
    pub history: PathBuf,
}

impl Outcome {
    pub fn passed(&self) -> bool {
        self.verdict.found.is_empty() && self.failures.is_empty() && self.bounds.iter().all(Bound::holds)
    }

    /// Whether times that were measured are all that it failed by.
    pub fn is_only_late(&self) -> bool {
        let mut broken = self.bounds.iter().filter(|bound| !bound.holds()).peekable();
        let is_late = broken.peek().is_some() && broken.all(|bound| bound.is_time && bound.is.is_some());
        is_late && self.verdict.found.is_empty() && self.failures.is_empty()
    }
}

impl Scenario {
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
            Crowd::Lively => plan,
            Crowd::Apart => Plan { ways: Ways::Node(0), lively: false, ..plan },
            Crowd::Many(ways, connections) => {
                let (members, writers, rate) = (20, 1, 0.5);
                let rooms = settings.connections.unwrap_or(connections).div_ceil(members);
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
        let laid = self.ground.lay(cluster).await;
        let nemesis =
            Nemesis::new(cluster, &laid, recorder.clone(), format!("{}.r0", plan.name), self.harm == Harm::Mix);
        let phase = |name: &str| recorder.record(Event::new(&"run".into(), Kind::Info, Op::Phase).code(name));
        let (peaks, mut notes, mut failures) = (Mutex::new(BTreeMap::new()), Vec::new(), Vec::new());
        let start = Instant::now();
        let network = Arc::clone(&cluster.network);
        let mut load = Load::open(network, recorder.clone(), &plan).await?;
        let all = plan.rooms * (plan.members + plan.writers);
        notes.push(format!("{all} clients came in within {:.1} s", start.elapsed().as_secs_f64()));
        let mut before = Vec::new();
        let faults = async {
            if let Harm::Throughout(fault) = self.harm {
                nemesis.harm(fault).await;
            }
            phase("load");
            load.enter(Stage::Load);
            sleep(CALM).await;
            before = cluster.numbers().await;
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
                Harm::Mix => nemesis.mix(&mut StdRng::seed_from_u64(settings.seed), time).await,
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
        let counted = counted(&before, &cluster.numbers().await);
        phase("stop");
        let rooms: Vec<String> = load.rooms().map(str::to_owned).collect();
        failures.extend(load.stop().await.into_iter().map(|panic| format!("a client panicked: {panic}")));
        if let Harm::Throughout(fault) = self.harm {
            nemesis.heal(fault).await;
        }
        cluster.healed().await;
        let (seen, wrong) = nemesis.report();
        notes.extend(seen);
        failures.extend(wrong);
        let stored = cluster.stored(rooms.iter().map(String::as_str)).await;
        let back_in_time = cluster.back_in_time().await;
        if back_in_time > 0 {
            failures.push(format!("P3: {back_in_time} messages bear an earlier time than the one before"));
        }
        self.ground.lift(cluster).await;
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
            counted,
            failures,
            history,
        };
        for limit in self.limits {
            outcome.hold(*limit, &plan, &events);
        }
        Ok(outcome)
    }
}

/// What grew on which node from one look to the next, in all; a node that was started meanwhile begins at 0.
fn counted(before: &[Numbers], after: &[Numbers]) -> BTreeMap<String, u64> {
    const SHOWN: [&str; 5] = [
        "hubbub_pages_read_total",
        "hubbub_sessions_lagged_total",
        "hubbub_sessions_evicted_total",
        "hubbub_bus_refused_total",
        "hubbub_errors_total",
    ];
    let mut counted = BTreeMap::new();
    for (node, numbers) in after.iter().enumerate() {
        for (name, now) in numbers.iter().filter(|(name, _)| SHOWN.iter().any(|shown| name.starts_with(shown))) {
            let then = before.get(node).and_then(|before| before.get(name)).copied().unwrap_or(0.0);
            let grown = if *now >= then { now - then } else { *now };
            // A count of what happened within minutes.
            #[expect(
                clippy::as_conversions,
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a small whole number"
            )]
            let grown = grown as u64;
            *counted.entry(name.clone()).or_default() += grown;
        }
    }
    counted.retain(|_, count| *count > 0);
    counted
}

impl Outcome {
    /// Holds the run against a bound.
    fn hold(&mut self, limit: Limit, plan: &Plan, events: &[Event]) {
        let times = &self.times;
        let time = |what: &str, is: Option<u64>, most_ms: u64| Bound {
            what: what.to_owned(),
            is,
            most: most_ms * 1_000,
            is_time: true,
        };
        let compared = |what: &str, of: &[Spread; 3], tenths: u64, plus_ms: u64| {
            let before = of[0].p99().unwrap_or_default();
            let what = format!("{what}, p99 ({} before)", millis(before));
            Bound { what, is: of[1].p99(), most: before * tenths / 10 + plus_ms * 1_000, is_time: true }
        };
        let count =
            |what: &str, is: u64, most: u64| Bound { what: what.to_owned(), is: Some(is), most, is_time: false };
        let bounds = match limit {
            Limit::Across => {
                // Nothing was still to come where everything had come before.
                let from_heal = times.cross_from_heal.p99().or(times.cross_node[1].p99().map(|_| 0));
                let meanwhile = time("across nodes meanwhile, p99", times.cross_node[1].p99(), 1_000);
                vec![meanwhile, time("across nodes from the heal, p99", from_heal, 2_000)]
            }
            Limit::Ack(most) => vec![time("acks meanwhile, p99", times.ack[1].p99(), most)],
            Limit::Felt(least) => {
                let is = times.ack[1].p99().unwrap_or_default();
                if is < least * 1_000 {
                    self.failures.push(format!("the fault was not felt: acks meanwhile took {}", millis(is)));
                }
                Vec::new()
            }
            Limit::AckAsBefore => vec![compared("acks meanwhile", &times.ack, 20, 10)],
            Limit::SameNodeAsBefore => vec![compared("on the same node meanwhile", &times.same_node, 20, 20)],
            Limit::BackP99(most) => vec![time("clients back, p99", times.back.p99(), most)],
            Limit::BackLast(most) => vec![time("the last client back", times.back.quantile(100), most)],
            Limit::Flow(most) => vec![time("from the heal to the next ack", times.flow, most)],
            Limit::Harm(most) => vec![time("SIGTERM to exit", times.harm, most)],
            Limit::EachGot(code) => {
                let (all, mut ends) = (plan.rooms * plan.members, times.losses.clone());
                let told = ends.remove(code).unwrap_or_default();
                let other: usize = ends.values().sum();
                self.notes.push(format!("{told} of {all} clients got close frame {code}"));
                if told != all || other != 0 {
                    self.failures.push(format!("P10: {told} of {all} got close frame {code}, {other} another end"));
                }
                Vec::new()
            }
            Limit::NoPageRead => {
                let read = self.counted.get("hubbub_pages_read_total").copied().unwrap_or_default();
                vec![count("pages of events read from the database", read, 0)]
            }
            Limit::Admission(rate, burst) => {
                let what = format!("clients that a node took in beyond {rate} a second");
                vec![count(&what, admitted(events, rate), burst)]
            }
            Limit::ToldToWait => {
                let told =
                    events.iter().filter(|event| event.op == Op::Join && event.code.as_deref() == Some("503")).count();
                self.notes.push(format!("503 was answered {told} times"));
                if told == 0 {
                    self.failures.push("P5: nobody was told to come later".to_owned());
                }
                Vec::new()
            }

            Limit::Memory(most) => {
                let highest = self.memory.values().max().copied().unwrap_or_default();
                vec![count("MiB of memory of any node", highest >> 20, most)]
            }
        };
        self.bounds.extend(bounds);
    }
}

/// The most clients that a node took in, from the first fault on, beyond so many a second. A join that is answered late was
/// admitted before that: what was admitted by then is at least what has joined.
pub fn admitted(events: &[Event], rate: u64) -> u64 {
    let from = events.iter().find(|event| event.op == Op::Fault).map_or(0, |event| event.t_us);
    let (mut joined, mut most): (BTreeMap<usize, u64>, u64) = (BTreeMap::new(), 0);
    for event in events.iter().filter(|event| event.op == Op::Join && event.kind == Kind::Ok && event.t_us >= from) {
        let Some(node) = event.node else { continue };
        let joined = joined.entry(node).or_default();
        *joined += 1;
        most = most.max(joined.saturating_sub((event.t_us - from) * rate / 1_000_000));
    }
    most
}

/// Acks without Redis against those with it.
pub fn compare(away: &mut Outcome, calm: &Outcome) {
    let with = calm.times.ack[0].p99().unwrap_or_default();
    let what = format!("ack without Redis, p99 (with it {})", millis(with));
    away.bounds.push(Bound { what, is: away.times.ack[1].p99(), most: with + with / 2 + 5_000, is_time: true });
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
        firewall::lift();
    }
}
