//! `hubbub bench`: loads over real sockets against a running server, every delivery counted, checked and timed. It is open loop:
//! messages have a time at which they are due, and latency runs from there, so a server that stalls shows (wrk2's rule). One
//! thread; says what the server's process took for it, from /proc.

mod floor;
mod report;
mod scenario;
mod socket;
mod speech;
mod swarm;
mod tally;

use std::{fs, io, path::PathBuf, time::Duration};

use clap::Args;

use self::{
    report::Report,
    scenario::{Bench, Scenario},
    speech::{Door, Speech},
    swarm::{Class, Pace},
};
use crate::{
    auth::{self, OWN_KEY_SETTING, OwnKey},
    config::Config,
    process::Process,
    store::{self, OpenError, Store},
};

/// What load to make. The hub must run with limits that allow it, and in the folder and with the settings of this
/// command, from which its key and its process are known.
#[derive(Clone, Debug, Args)]
pub struct Plan {
    /// One of the measured works; without it, the load that the options below say.
    #[arg(value_enum)]
    scenario: Option<Scenario>,
    /// Where the server is.
    #[arg(long, value_name = "URL", default_value = "ws://127.0.0.1:8000")]
    url: String,
    /// How it is spoken to.
    #[arg(long, value_enum, default_value = "native")]
    dialect: Speech,
    /// The path of its sockets, `{room}` for the room's name [default: /ws, or /ws/chat/{room} in the tutorial's dialect].
    #[arg(long)]
    path: Option<String>,
    /// Tokens of another server's users, one a line; they are taken in turn.
    #[arg(long, value_name = "FILE")]
    tokens: Option<PathBuf>,
    /// Rooms.
    #[arg(long)]
    rooms: Option<u32>,
    /// Members of each room; those who send are among them.
    #[arg(long)]
    members: Option<u32>,
    /// Senders in each room.
    #[arg(long)]
    senders: Option<u32>,
    /// Messages a second, of all senders together.
    #[arg(long, conflicts_with = "window")]
    rate: Option<f64>,
    /// Instead of a rate: each sender has so many messages under way, and sends the next when one has come back to it.
    #[arg(long)]
    window: Option<u32>,
    /// How long it is measured.
    #[arg(long, default_value = "10s", value_parser = humantime::parse_duration)]
    time: Duration,
    /// How long the same load runs before.
    #[arg(long, default_value = "2s", value_parser = humantime::parse_duration)]
    warmup: Duration,
    /// Characters of a message.
    #[arg(long, default_value_t = 150)]
    body: usize,
    /// Each message has a random `client_id`, as an app's own UUIDs are; else the hub makes a key for it.
    #[arg(long)]
    client_ids: bool,
    /// The server's process; else the one that has the configured database open.
    #[arg(long)]
    pid: Option<u32>,
    /// Further processes that belong to the server, such as its Redis, and are counted with it.
    #[arg(long, value_name = "PID")]
    with: Vec<u32>,
    /// Appends the figures to a file, as one line of JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// A file of earlier figures, of which the last of the same work are shown beside these.
    #[arg(long, value_name = "FILE")]
    compare: Option<PathBuf>,
}

/// Why there are no figures.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The load can't be.
    #[error("there must be 1 or more rooms and members, at least as many members as senders, and a rate above 0")]
    BadPlan,
    /// The url is no plain WebSocket's.
    #[error("the address must be ws://HOST:PORT: TLS would be measured too")]
    BadUrl,
    /// The url's host has no address.
    #[error("the server's host has no address")]
    NoAddress,
    /// There is no token in the file.
    #[error("{0} has no tokens")]
    NoTokens(String),
    /// The hub's key is not to be had.
    #[error("{0}")]
    Open(#[from] OpenError),
    /// No hub has run on this database.
    #[error("the hub has made no key yet: start it in this folder, with these settings")]
    NoKey,
    /// The server's process is not to be seen.
    #[error("the server's process is not known: run this where it runs, or give --pid")]
    NoProcess,
    /// Connections did not open, or joins were not answered.
    #[error("{live} of {all} connections are in their rooms, and the others hear nothing")]
    Silent {
        /// Those that are.
        live: usize,
        /// All.
        all: usize,
    },
    /// The server ended a connection.
    #[error("a connection was lost: {0}")]
    Lost(String),
    /// Deliveries were lost, doubled or out of order.
    #[error("the server did not deliver what it should have: see above")]
    Broken,
    /// A socket or a file failed.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Makes the load and prints what came of it.
pub async fn run(config: &Config, plan: Plan) -> Result<(), BenchError> {
    let report = match plan.scenario {
        Some(Scenario::Floor) => floor::run(&plan)?,
        _ => {
            let key = match &plan.tokens {
                Some(_) => None,
                None => Some(Store::peek_setting(&config.database, OWN_KEY_SETTING).await?.ok_or(BenchError::NoKey)?),
            };
            let pid = plan.pid.or_else(|| store::owner_of(&config.database)).ok_or(BenchError::NoProcess)?;
            let processes: Option<Vec<_>> = [pid].iter().chain(&plan.with).map(|pid| Process::new(*pid)).collect();
            let bench = Bench {
                door: plan.door()?,
                processes: processes.ok_or(BenchError::NoProcess)?,
                metrics_token: config.server.metrics_token.reveal().to_owned(),
                plan: plan.clone(),
            };
            bench.run(&|| plan.token_source(key.as_deref()))?
        }
    };
    let earlier = plan.compare.as_ref().map(fs::read_to_string).transpose()?;
    report.print(earlier.as_deref())?;
    if let Some(file) = &plan.json {
        report.append_to(file)?;
    }
    if report.whole { Ok(()) } else { Err(BenchError::Broken) }
}

/// Gives the token of a user by its number.
type Tokens = Box<dyn Fn(u32) -> String>;

impl Plan {
    fn door(&self) -> Result<Door, BenchError> {
        let host = self.url.strip_prefix("ws://").ok_or(BenchError::BadUrl)?.trim_end_matches('/').to_owned();
        let usual = match self.dialect {
            Speech::Native => "/ws",
            Speech::Tutorial => "/ws/chat/{room}",
        };
        let path = self.path.clone().unwrap_or_else(|| usual.to_owned());
        Ok(Door { host, path, speech: self.dialect, client_ids: self.client_ids })
    }

    fn token_source(&self, own_key: Option<&str>) -> Result<Tokens, BenchError> {
        if let Some(key) = own_key {
            let key = OwnKey::new(key);
            let token = move |n: u32| auth::mint(&key, &format!("bench-{n}"), Duration::from_secs(86_400));
            return Ok(Box::new(move |n| token(n).unwrap_or_default()));
        }
        let file = self.tokens.clone().unwrap_or_default();
        let tokens: Vec<String> = fs::read_to_string(&file)?.split_whitespace().map(str::to_owned).collect();
        if tokens.is_empty() {
            return Err(BenchError::NoTokens(file.display().to_string()));
        }
        Ok(Box::new(move |n| {
            tokens.iter().cycle().nth(usize::try_from(n).unwrap_or(0) % tokens.len()).cloned().unwrap_or_default()
        }))
    }

    /// The scenario's class, or none, with what the options say of it.
    fn class(&self, usual: Class) -> Result<Class, BenchError> {
        let class = Class {
            rooms: self.rooms.unwrap_or(usual.rooms),
            members: self.members.unwrap_or(usual.members),
            senders: self.senders.unwrap_or(usual.senders),
            pace: match (self.rate, self.window) {
                (Some(rate), _) => Pace::Rate(rate),
                (None, Some(window)) => Pace::Window(window),
                (None, None) => usual.pace,
            },
        };
        let paced = match class.pace {
            Pace::Rate(rate) => rate > 0.0,
            Pace::Window(window) => window > 0,
        };
        let possible = class.rooms > 0 && class.senders > 0 && class.members >= class.senders && paced;
        possible.then_some(class).ok_or(BenchError::BadPlan)
    }
}

impl Report {
    fn append_to(&self, file: &PathBuf) -> Result<(), BenchError> {
        use io::Write;
        let mut file = fs::File::options().create(true).append(true).open(file)?;
        writeln!(file, "{}", self.json())?;
        Ok(())
    }
}
