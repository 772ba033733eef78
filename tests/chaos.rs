//! Chaos: the hub's promises, checked on a real cluster under real faults. Writers and members work on while nodes, Redis,
//! PostgreSQL or the balancer are killed, paused or cut off; then everything that was sent, acked, seen and stored is held
//! against each other. `cargo test --test chaos` runs what CI runs; docs/reliability.md says more.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::needless_pass_by_value,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a program for those who test, which stops at the first thing that is not as it should be"
)]

#[path = "chaos/cluster.rs"]
mod cluster;
#[path = "chaos/disk.rs"]
mod disk;
#[path = "chaos/fault.rs"]
mod fault;
#[path = "chaos/firewall.rs"]
mod firewall;
#[path = "support/flood.rs"]
mod flood;
#[path = "chaos/ground.rs"]
mod ground;
#[path = "chaos/history.rs"]
mod history;
#[path = "chaos/hostile.rs"]
mod hostile;
#[path = "chaos/load.rs"]
mod load;
#[path = "chaos/matrix.rs"]
mod matrix;
#[path = "chaos/member.rs"]
mod member;
#[path = "chaos/nemesis.rs"]
mod nemesis;
#[path = "chaos/net.rs"]
mod net;
#[path = "chaos/process.rs"]
mod process;
#[path = "chaos/proxy.rs"]
mod proxy;
#[path = "chaos/report.rs"]
mod report;
#[path = "chaos/scenario.rs"]
mod scenario;
#[path = "chaos/selfcheck.rs"]
mod selfcheck;
#[expect(dead_code, unused_imports, reason = "it is the hub's other tests' too")]
mod support;
#[path = "chaos/times.rs"]
mod times;
#[path = "chaos/verdict.rs"]
mod verdict;
#[path = "chaos/writer.rs"]
mod writer;

use std::{collections::VecDeque, fs, path::PathBuf, process::ExitCode, sync::Arc};

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use cluster::Cluster;
use matrix::{SCENARIOS, Scenario};
use scenario::{Lift, Outcome, Settings, compare};

/// Real faults on a real cluster, and everything that was sent, acked, seen and stored held against each other.
#[derive(Parser)]
struct Arguments {
    /// What to run; without a name, what CI runs.
    scenarios: Vec<String>,
    /// Every scenario.
    #[arg(long)]
    all: bool,
    /// Of all that is left to chance.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How long the faults last.
    #[arg(long)]
    seconds: Option<u64>,
    /// Members of each room.
    #[arg(long, default_value_t = 6)]
    members: usize,
    /// Connections of storms and drain.
    #[arg(long)]
    connections: Option<usize>,
    /// Keeps histories and logs in this folder, whatever comes of it.
    #[arg(long)]
    keep: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let chosen = match choose(&arguments) {
        Ok(chosen) => chosen,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    firewall::lift_forgotten();
    if chosen.iter().any(|scenario| scenario.ground.mounts()) {
        disk::in_namespace();
    }
    drop(rlimit::increase_nofile_limit(u64::MAX));
    let (mut passed, failed) = selfcheck::run();
    println!("self-checks: {passed} passed, {} failed", failed.len());
    for failure in &failed {
        println!("  {failure}");
    }
    let mut failures = failed.len();
    if failures == 0 {
        let folder = arguments
            .keep
            .clone()
            .unwrap_or_else(|| std::env::temp_dir().join(format!("hubbub-chaos-{}", support::unique())));
        fs::create_dir_all(&folder).unwrap();
        let folder = folder.canonicalize().unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let good = tokio::task::LocalSet::new().block_on(&runtime, async {
            tokio::select! {
                good = run_all(&chosen, &arguments, folder.clone()) => good,
                () = told_to_end() => {
                    firewall::lift();
                    Vec::new()
                }
            }
        });
        passed += good.iter().filter(|good| **good).count();
        failures += chosen.len() - good.iter().filter(|good| **good).count();
        if failures > 0 || arguments.keep.is_some() {
            println!("\nhistories and logs: {}", folder.display());
        } else {
            drop(fs::remove_dir_all(&folder));
        }
    }
    println!("\n{passed} passed, {failures} failed");
    if failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Ctrl-C, or what a system sends that wants an end.
async fn told_to_end() {
    let [mut interrupt, mut terminate, mut hang_up] =
        [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()].map(|kind| signal(kind).unwrap());
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hang_up.recv() => {}
    }
}

fn choose(arguments: &Arguments) -> Result<Vec<&'static Scenario>, String> {
    if arguments.all {
        return Ok(SCENARIOS.iter().collect());
    }
    if arguments.scenarios.is_empty() {
        return Ok(SCENARIOS.iter().filter(|scenario| scenario.ci).collect());
    }
    let mut chosen = Vec::new();
    for name in &arguments.scenarios {
        let list = || SCENARIOS.iter().map(|s| format!("  {:<17} {}\n", s.name, s.what)).collect::<String>();
        chosen.push(Scenario::named(name).ok_or_else(|| format!("there is no scenario {name:?}, but\n{}", list()))?);
    }
    // What is compared with calm needs it, and before.
    let is = |name| move |scenario: &&Scenario| scenario.name == name;
    if chosen.iter().any(is("redis-away")) {
        chosen.retain(|scenario| scenario.name != "calm");
        chosen.insert(0, Scenario::named("calm").unwrap());
    }
    Ok(chosen)
}

/// One scenario after the other on one cluster; a new one where the last run left it in doubt. One that broke nothing but a bound
/// of time, on a machine that others may load, runs once more, and that is said. Which passed.
async fn run_all(chosen: &[&'static Scenario], arguments: &Arguments, folder: PathBuf) -> Vec<bool> {
    let settings = Settings {
        seed: arguments.seed,
        seconds: arguments.seconds,
        members: arguments.members,
        connections: arguments.connections,
    };
    let (mut cluster, mut good, mut outcomes): (Option<Arc<Cluster>>, _, Vec<Outcome>) = (None, Vec::new(), Vec::new());
    let mut to_run: VecDeque<_> = chosen.iter().map(|scenario| (*scenario, true)).collect();
    for turn in 0.. {
        let Some((scenario, may_be_late)) = to_run.pop_front() else { break };
        let (shape, alone) = (scenario.ground.shape(), scenario.ground.is_alone());
        cluster = cluster.filter(|cluster| cluster.shape == shape && !alone);
        let up =
            cluster.take().unwrap_or_else(|| Arc::new(Cluster::up(&folder.join(format!("cluster-{turn}")), shape)));
        let (here, settings, histories) = (Arc::clone(&up), settings.clone(), folder.clone());
        // A panic of the checker's own, such as a part that does not come back, fails this scenario alone.
        let run = tokio::task::spawn_local(async move {
            let _lift = Lift;
            scenario.run(&here, &settings, &histories, turn).await
        });
        let outcome = run.await.unwrap_or_else(|error| Err(load::said(error)));
        match outcome {
            Ok(mut outcome) => {
                let calm = outcomes.iter().find(|outcome| outcome.name == "calm");
                if let (true, Some(calm)) = (scenario.name == "redis-away", calm) {
                    compare(&mut outcome, calm);
                }
                report::print(&outcome);
                if may_be_late && outcome.is_only_late() {
                    println!("\nTRIED AGAIN: {}", scenario.name);
                    to_run.push_front((scenario, false));
                } else {
                    good.push(outcome.passed());
                }
                if outcome.passed() {
                    cluster = Some(up).filter(|_| !alone);
                    if arguments.keep.is_none() {
                        drop(fs::remove_file(&outcome.history));
                    }
                }
                outcomes.push(outcome);
            }
            Err(error) => {
                println!("\n{}: FAILED\n  {error}", scenario.name);
                good.push(false);
            }
        }
    }
    report::table(&outcomes);
    good
}
