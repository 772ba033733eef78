//! `hubbub bench`: a load over real sockets against a running hub, every delivery counted and checked. It is open loop:
//! messages have a time at which they are due, and latency runs from there, so a hub that stalls shows (wrk2's rule).
//! One thread; says what the hub's process took for it, from /proc.

mod load;
mod report;

use std::time::Duration;

use clap::Args;

use self::{load::Load, report::Report};
use crate::{
    auth::{self, OWN_KEY_SETTING, OwnKey},
    config::Config,
    process::Process,
    store::{self, OpenError, Store},
};

/// The longest that deliveries may be late at the end.
const DRAIN: Duration = Duration::from_secs(15);

/// What load to make. The hub must run with limits that allow it, and in the folder and with the settings of this
/// command, from which its key and its process are known.
#[derive(Clone, Debug, Args)]
pub struct Plan {
    /// Where the hub is.
    #[arg(long, value_name = "URL", default_value = "ws://127.0.0.1:8000")]
    url: String,
    /// Rooms.
    #[arg(long, default_value_t = 1)]
    rooms: u32,
    /// Members of each room; those who send are among them.
    #[arg(long, default_value_t = 100)]
    members: u32,
    /// Senders in each room.
    #[arg(long, default_value_t = 1)]
    senders: u32,
    /// Messages a second, of all senders together.
    #[arg(long, default_value_t = 40.0)]
    rate: f64,
    /// Instead of a rate: each sender waits for its own message and sends the next.
    #[arg(long)]
    wait: bool,
    /// How long it is measured.
    #[arg(long, default_value = "10s", value_parser = humantime::parse_duration)]
    time: Duration,
    /// How long the same load runs before.
    #[arg(long, default_value = "2s", value_parser = humantime::parse_duration)]
    warmup: Duration,
    /// Characters of a message.
    #[arg(long, default_value_t = 150)]
    body: usize,
    /// The hub's process; else the one that has the configured database open.
    #[arg(long)]
    pid: Option<u32>,
}

/// Why there are no figures.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The load can't be.
    #[error("there must be 1 or more rooms and members, at least as many members as senders, and a rate above 0")]
    BadPlan,
    /// The hub's key is not to be had.
    #[error("{0}")]
    Open(#[from] OpenError),
    /// No hub has run on this database.
    #[error("the hub has made no key yet: start it in this folder, with these settings")]
    NoKey,
    /// The hub's process is not to be seen.
    #[error("the hub's process is not known: run this where the hub runs, or give --pid")]
    NoProcess,
    /// A socket did not open, or a join was refused.
    #[error("connection {which}: {why}")]
    Connect {
        /// Which of them.
        which: u32,
        /// What was said.
        why: String,
    },
    /// Deliveries were lost, doubled or out of order.
    #[error("the hub did not deliver what it should have: see above")]
    Broken,
    /// The report can't be written.
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

/// Makes the load and prints what came of it.
pub async fn run(config: &Config, plan: Plan) -> Result<(), BenchError> {
    let possible = plan.rooms > 0 && plan.senders > 0 && plan.members >= plan.senders && plan.rate > 0.0;
    if !possible {
        return Err(BenchError::BadPlan);
    }
    let key = Store::peek_setting(&config.database, OWN_KEY_SETTING).await?.ok_or(BenchError::NoKey)?;
    let key = OwnKey::new(&key);
    let token = |n: u32| auth::mint(&key, &format!("bench-{n}"), Duration::from_secs(86_400)).unwrap_or_default();
    let pid = plan.pid.or_else(|| store::owner_of(&config.database)).ok_or(BenchError::NoProcess)?;
    let process = Process::new(pid).ok_or(BenchError::NoProcess)?;
    let idle = process.usage();
    let load = Load::connect(&plan, token).await?;
    let connected = process.usage();
    load.run(plan.warmup, DRAIN).await;
    let before = process.usage();
    let tally = load.run(plan.time, DRAIN).await;
    let after = process.usage();
    let report = Report { plan: &plan, tally, idle, connected, before, after };
    report.print()?;
    if report.is_whole() { Ok(()) } else { Err(BenchError::Broken) }
}
