//! PostgreSQL: the pools of connections, what each connection is set to, the schema under a lock.
//!
//! P1 rests on `synchronous_commit`; each new connection is told so, and a server without `fsync` is called out. The
//! sockets are driven by a runtime of their own (`connect::Home`).

use std::time::Duration;

use migration::{Migrator, MigratorTrait};
use sea_orm::{
    ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DbErr, RuntimeErr,
    sqlx::{self, Connection, Executor, postgres::PgConnectOptions},
};
use tokio::runtime::Builder;

use super::{OpenError, Store, StoreBounds, StoreError, at_home::AtHome, connect::Home};
use crate::config::{DatabaseConfig, Secret};

/// The advisory lock that a process holds while it brings the schema up to date ("hubbub" in ASCII).
const MIGRATION_LOCK: i64 = 0x6875_6262_7562;
/// The longest a start waits for another one's migrations.
const MIGRATION_WAIT: &str = "60s";
/// The longest a connection that comes back may take to be ready again, before it is dropped for a new one.
const RELEASE: Duration = Duration::from_secs(1);
/// Makes a connection wait for the disk at each commit (P1), whatever the server's default is; or for more than that.
pub(super) const DURABLE: &str = "SELECT set_config('synchronous_commit', 'on', false) \
     WHERE current_setting('synchronous_commit') <> 'remote_apply'";
/// A connection that rested longer than this is asked whether it still lives, before it is used.
const RESTED: Duration = Duration::from_secs(1);

pub(super) async fn open(config: &DatabaseConfig, url: &Secret, bounds: StoreBounds) -> Result<Store, OpenError> {
    check_url(url)?;
    let place = place(url);
    let failed = |error: DbErr| OpenError::Database { place: place.clone(), source: error.into() };
    let runtime = Builder::new_multi_thread().worker_threads(1).thread_name("postgres").enable_all().build();
    let runtime = runtime.map_err(OpenError::Threads)?;
    let opening = async {
        migrate(config, url).await?;
        // A connection is asked how it is when it comes back, which takes a while: with two a lane nobody waits for that.
        let write = connect(config, url, config.lanes().saturating_mul(2), config.write_timeout / 4).await?;
        let read = connect(config, url, config.readers, config.read_timeout).await?;
        warn_without_fsync(&read).await?;
        Ok((write, read))
    };
    let (write, read) = match AtHome::new(runtime.handle(), opening).await {
        Ok(opened) => opened,
        Err(error) => {
            runtime.shutdown_background();
            return Err(failed(error));
        }
    };
    tracing::info!(place, lanes = config.lanes(), readers = config.readers, "database open");
    Ok(Store::new(write, read, bounds, Home::Postgres(Some(runtime))))
}

/// A connection that only reads, beside hubs that may be running.
pub(super) async fn peek(config: &DatabaseConfig, url: &Secret) -> Result<DatabaseConnection, OpenError> {
    let failed = |error: DbErr| OpenError::Database { place: place(url), source: error.into() };
    let connection = connect(config, url, 1, config.read_timeout).await.map_err(failed)?;
    let made = connection.query_one_raw(super::statement(&connection, "SELECT to_regclass('hub_setting')::text", []));
    let made: Option<String> = match made.await.map_err(failed)? {
        Some(row) => row.try_get_by_index(0).map_err(failed)?,
        None => None,
    };
    if made.is_none() { Err(OpenError::Missing { place: place(url) }) } else { Ok(connection) }
}

/// What sqlx takes in an address's query; it would log others with their values.
const PARAMETERS: [&str; 15] = [
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "statement-cache-capacity",
    "host",
    "port",
    "dbname",
    "user",
    "application_name",
];

/// Says what is wrong with an address, without showing it.
pub(super) fn check_url(url: &Secret) -> Result<(), OpenError> {
    let text = url.reveal();
    let query = text.split_once('?').map_or("", |(_, query)| query);
    let mut names = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| pair.split('=').next().unwrap_or(""));
    if !names.all(|name| PARAMETERS.contains(&name)) {
        return Err(OpenError::BadUrl(
            "has a parameter after `?` that is not known, or a `?` in its password (write %3F)",
        ));
    }
    match text.parse::<PgConnectOptions>() {
        Ok(options) if !options.get_host().is_empty() => Ok(()),
        _ => Err(OpenError::BadUrl(
            "can't be read; it must be postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=…, with characters such as \
             / # @ : in the password written as %2F %23 %40 %3A",
        )),
    }
}

/// Connections of hubs to this database, beside the one that asks.
pub(super) const HUBS: &str = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'hubbub' \
     AND datname = current_database() AND pid <> pg_backend_pid()";

/// Whether a hub is connected to this database, beside the one connection that asks.
pub(super) async fn is_in_use(connection: &DatabaseConnection) -> Result<bool, StoreError> {
    let row = connection.query_one_raw(super::statement(connection, HUBS, [])).await?;
    Ok(row.is_some_and(|row| row.try_get_by_index::<i64>(0).is_ok_and(|others| others > 0)))
}

/// The server and database, without name and password.
pub(super) fn place(url: &Secret) -> String {
    match url.reveal().parse::<PgConnectOptions>() {
        Ok(options) => {
            let database = options.get_database().unwrap_or_default();
            format!("postgres://{}:{}/{database}", options.get_host(), options.get_port())
        }
        Err(_) => "postgres://…".to_owned(),
    }
}

/// Several processes may start at once: one migrates, the others wait for it. sea-orm-migration takes no lock itself.
pub(super) async fn migrate(config: &DatabaseConfig, url: &Secret) -> Result<(), DbErr> {
    // A pool says only that it waited in vain; this says why.
    let options = url.reveal().parse::<PgConnectOptions>().map_err(sqlx_error)?;
    let first = tokio::time::timeout(config.read_timeout, sqlx::PgConnection::connect_with(&options)).await;
    first.map_err(|_| sqlx_error(sqlx::Error::PoolTimedOut))?.map_err(sqlx_error)?.close().await.map_err(sqlx_error)?;
    let mut options = ConnectOptions::new(url.reveal());
    options.sqlx_logging(false).max_connections(1).acquire_timeout(config.read_timeout);
    let connection = Database::connect(options).await?;
    let run = async |sql: String| connection.execute_raw(super::statement(&connection, &sql, [])).await;
    run(format!("SET lock_timeout = '{MIGRATION_WAIT}'")).await?;
    run(format!("SELECT pg_advisory_lock({MIGRATION_LOCK})")).await?;
    let migrated = Migrator::up(&connection, None).await;
    // The lock goes with the connection.
    connection.close().await?;
    migrated
}

/// `patience` is how long a caller waits for a free connection. The writer's is less than a try of it may take: without a
/// connection surely nothing was stored.
async fn connect(
    config: &DatabaseConfig,
    url: &Secret,
    connections: u32,
    patience: Duration,
) -> Result<DatabaseConnection, DbErr> {
    // A statement that outlives its caller must not go on for ever, nor a transaction of a node that was stopped.
    let settings = format!(
        "SET statement_timeout = {}; SET idle_in_transaction_session_timeout = 5000; \
         SET default_transaction_isolation = 'read committed'; {DURABLE}",
        config.write_timeout.max(config.read_timeout).as_millis()
    );
    let mut options = ConnectOptions::new(url.reveal());
    options
        .sqlx_logging(false)
        .record_stmt_in_spans(false)
        .test_before_acquire(false)
        .test_before_acquire_if_idle_for(RESTED)
        .min_connections(connections)
        .max_connections(connections)
        .acquire_timeout(patience)
        .idle_timeout(None)
        .max_lifetime(None);
    options.map_sqlx_postgres_opts(|options| options.application_name("hubbub"));
    options.map_sqlx_postgres_pool_opts(move |pool| {
        let settings = settings.clone();
        pool.after_connect(move |connection, _| {
            let settings = settings.clone();
            Box::pin(async move {
                connection.execute(sqlx::AssertSqlSafe(settings)).await?;
                Ok(())
            })
        })
        // Whoever waited too long has left its statement running: the connection is good again when that has ended, and
        // if that takes long a new one is better than none.
        .after_release(|connection, _| {
            Box::pin(async move {
                match tokio::time::timeout(RELEASE, connection.ping()).await {
                    Ok(answer) => answer.map(|()| true),
                    Err(_) => Err(sqlx::Error::PoolTimedOut),
                }
            })
        })
    });
    Database::connect(options).await
}

async fn warn_without_fsync(connection: &DatabaseConnection) -> Result<(), DbErr> {
    let row = connection.query_one_raw(super::statement(connection, "SELECT current_setting('fsync')", [])).await?;
    if let Some(row) = row
        && row.try_get_by_index::<String>(0)? == "off"
    {
        tracing::warn!("the PostgreSQL server runs with fsync=off: a power cut there loses acked messages");
    }
    Ok(())
}

fn sqlx_error(error: sqlx::Error) -> DbErr {
    DbErr::Conn(RuntimeErr::SqlxError(error.into()))
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        if super::is_refused(&error) { Self::Refused(error.to_string()) } else { Self::Unavailable(error.to_string()) }
    }
}
