//! The command line: what can be done, and how an end is told to people and to scripts.

mod copy;
mod health;
mod operate;

use std::{
    io::{IsTerminal, Write},
    process::ExitCode,
    time::Duration,
};

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use self::{
    copy::CopyPlan,
    operate::{RoomCommand, UserCommand},
};
use crate::{
    app::{self, AppError},
    auth::{self, OWN_KEY_SETTING, OwnKey},
    bench::{self, BenchError, Plan},
    config::{self, Config, ConfigError, LogFormat, Overrides},
    store::{CopyError, OpenError, Store},
};

/// `EX_CONFIG` of sysexits.h: the settings are wrong.
const EXIT_CONFIG: u8 = 78;

/// A self-hosted chat backend for an app that already has users.
#[derive(Debug, Parser)]
#[command(version, about, disable_help_subcommand = true)]
pub struct Cli {
    /// A file of settings, beside the compiled-in ones.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<String>,
    /// dev (default) or production.
    #[arg(long, global = true, value_name = "NAME")]
    profile: Option<String>,
    /// The address to listen on, such as 127.0.0.1:8000; port 0 takes a free one.
    #[arg(long, global = true, value_name = "ADDRESS")]
    bind: Option<String>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the hub (what happens without a command).
    Serve,
    /// Bring the database to this version's schema and end.
    Migrate,
    /// Read the settings, say what is wrong with them, and end.
    CheckConfig,
    /// Ask the hub that runs with these settings whether it lives, and end with 0 where it does, else with 1.
    Health {
        /// Ask whether it can store and deliver messages.
        #[arg(long)]
        ready: bool,
        /// How long it may take to answer.
        #[arg(long, value_name = "TIME", default_value = "3s", value_parser = humantime::parse_duration)]
        timeout: Duration,
    },
    /// Print a token of the hub's own for trying out: the user is hub:NAME.
    Token {
        /// The user's name.
        #[arg(long, value_name = "NAME")]
        user: String,
        /// How long it is good for.
        #[arg(long, value_name = "TIME", default_value = "24h", value_parser = humantime::parse_duration)]
        lifetime: Duration,
    },
    /// Manage users: create, list, admin.
    #[command(subcommand)]
    User(UserCommand),
    /// Manage rooms: create, list.
    #[command(subcommand)]
    Room(RoomCommand),
    /// Write a copy of the SQLite database, also while the hub runs (for PostgreSQL use pg_dump).
    Backup {
        /// The file to make.
        file: String,
    },
    /// Copy the hub from SQLite, where it must be stopped, to PostgreSQL: every row as it is, all or nothing. Nothing there
    /// is overwritten, nothing here is changed.
    Copy(CopyPlan),
    /// After a restore from a backup, before the hub starts: give every room a new epoch, so that clients which saw
    /// more than the backup has are told to start over.
    NewEpoch,
    /// Print a new strong secret.
    Secret,
    /// Load a running hub and say what came of it.
    Bench(Plan),
}

#[derive(Debug, thiserror::Error)]
enum CliError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    App(#[from] AppError),
    #[error(transparent)]
    Bench(#[from] BenchError),
    #[error(transparent)]
    Copy(#[from] CopyError),
    #[error("the name must be 1 to 124 characters without control characters")]
    BadName,
    #[error("{0}")]
    Refused(String),
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

impl From<OpenError> for CliError {
    fn from(error: OpenError) -> Self {
        Self::App(error.into())
    }
}

/// Does what the command line asks; the exit code is 0, 1, or 78 where the settings are wrong.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    match actix_web::rt::System::new().block_on(command(cli)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let mut stderr = std::io::stderr().lock();
            // Nothing is left to tell it to where stderr is closed.
            drop(writeln!(stderr, "hubbub: {error}"));
            match error {
                CliError::Config(_)
                | CliError::App(AppError::Key(_) | AppError::Bus(_) | AppError::Open(OpenError::BadUrl(_))) => {
                    ExitCode::from(EXIT_CONFIG)
                }
                _ => ExitCode::FAILURE,
            }
        }
    }
}

async fn command(cli: Cli) -> Result<(), CliError> {
    let overrides = Overrides { config: cli.config, profile: cli.profile, bind: cli.bind };
    let command = cli.command.unwrap_or(Command::Serve);
    if let Command::Secret = command {
        return print(&auth::make_secret());
    }
    let config = config::load(&overrides)?;
    // Who types a command wants its answer, and what is wrong.
    let level = if matches!(command, Command::Serve) { config.log.level.as_str() } else { "warn" };
    start_log(&config, level);
    match command {
        Command::Serve => Ok(app::serve(config).await?),
        Command::Migrate => {
            app::open_store(&config).await?.close().await;
            print("the database is at this version's schema")
        }
        Command::CheckConfig => {
            auth::check_keys(&config).map_err(AppError::from)?;
            Store::check_url(&config.database)?;
            app::check_redis(&config).map_err(AppError::from)?;
            print("the settings are good")
        }
        Command::Health { ready, timeout } => print(&health::ask(config.server.bind, ready, timeout)?),
        Command::Token { user, lifetime } => token(&config, &user, lifetime).await,
        Command::User(command) => operate::user(&config, command).await,
        Command::Room(command) => operate::room(&config, command).await,
        Command::Backup { file } => operate::backup(&config, &file).await,
        Command::Copy(plan) => copy::copy(&config, &plan).await,
        Command::NewEpoch => operate::new_epoch(&config).await,
        Command::Bench(plan) => Ok(bench::run(&config, plan).await?),
        Command::Secret => Ok(()),
    }
}

/// A token by the hub's own key, which a running hub has made and a new database gets here.
async fn token(config: &Config, user: &str, lifetime: Duration) -> Result<(), CliError> {
    let key = match Store::peek_setting(&config.database, OWN_KEY_SETTING).await {
        Ok(Some(key)) => OwnKey::new(&key),
        Ok(None) | Err(OpenError::Missing { .. }) => {
            let store = app::open_store(config).await?;
            let key = app::own_key(&store).await.map_err(AppError::from)?;
            store.close().await;
            key
        }
        Err(error) => return Err(error.into()),
    };
    let token = auth::mint(&key, user, lifetime).map_err(|_| CliError::BadName)?;
    print(&token)
}

fn print(line: &str) -> Result<(), CliError> {
    Ok(writeln!(std::io::stdout().lock(), "{line}")?)
}

fn start_log(config: &Config, level: &str) {
    let filter = EnvFilter::try_new(level).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match config.log.format {
        LogFormat::Text => builder.with_target(false).init(),
        LogFormat::Json => builder.json().init(),
    }
}
