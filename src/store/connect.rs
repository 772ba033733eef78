//! Opening the database: the file's lock, the writing and the reading connections, the schema. SQLite only, so far.
//!
//! P1 rests on the writing connection's `journal_mode=WAL` and `synchronous=FULL`; each new connection is asked what it
//! really has, since a pragma that does not take effect gives no error.

use std::{
    collections::HashMap,
    fs::{self, File, TryLockError},
    io::{self, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    process,
    sync::Mutex,
    time::Duration,
};

use migration::{Migrator, MigratorTrait};
use sea_orm::{
    ConnectOptions, Database, DatabaseConnection,
    sqlx::{
        self, Connection,
        sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
    },
};

use super::{Store, StoreError, events::SharedReads, health};
use crate::config::DatabaseConfig;

/// Why the database can't be opened. The messages are for whoever starts the hub.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder or lock file can't be made.
    #[error("{path}: {source}")]
    Folder {
        /// Which.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// Another process has it.
    #[error("{path}: another hubbub{owner} uses this database; stop it first (several nodes need PostgreSQL)")]
    InUse {
        /// The database file.
        path: String,
        /// Which process, where that is known.
        owner: String,
    },
    /// It is not there, where nothing may be made.
    #[error("{path}: no database here yet; start the hub once, or run `hubbub migrate`")]
    Missing {
        /// The database file.
        path: String,
    },
    /// It is no database, or one that can't be brought to this version's schema.
    #[error("{path}: {source}")]
    Database {
        /// The database file.
        path: String,
        /// Why.
        source: StoreError,
    },
}

/// What bounds the store's calls and memory.
#[derive(Clone, Copy, Debug)]
pub struct StoreBounds {
    /// The longest a read, or the making of a room or user, may take.
    pub read_timeout: Duration,
    /// Events a page holds at the most.
    pub page_events: u64,
    /// Bytes a page holds at the most, but for its first event.
    pub page_bytes: usize,
    /// Pages that are read at once for sessions that catch up.
    pub catch_up_reads: usize,
}

impl Store {
    /// Opens the database, takes its lock and brings it to this version's schema.
    pub async fn open(config: &DatabaseConfig, bounds: StoreBounds) -> Result<Self, OpenError> {
        let path = file_of(config);
        let shown = || path.display().to_string();
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::create_dir_all(folder)
            .map_err(|source| OpenError::Folder { path: folder.display().to_string(), source })?;
        let lock = take_lock(&path)?;
        let failed = |source: StoreError| OpenError::Database { path: shown(), source };
        let write = Database::connect(writing(config, &path)).await.map_err(|error| failed(error.into()))?;
        Migrator::up(&write, None).await.map_err(|error| failed(error.into()))?;
        let read = connect_reading(config, &path).await.map_err(failed)?;
        tracing::info!(path = shown(), journal_mode = "wal", synchronous = "full", "database open");
        Ok(Self {
            write,
            read,
            bounds,
            known_users: Mutex::new(HashMap::new()),
            reads: SharedReads::new(bounds.catch_up_reads),
            file: path.clone(),
            lock,
        })
    }

    /// Whether the file that is open still stands where the next start will look for it: what is written into one that was
    /// deleted or moved is as good as lost.
    pub(super) fn check_file(&self) -> Result<(), StoreError> {
        let same = self.lock.metadata().and_then(|open| {
            let there = fs::metadata(&self.file)?;
            Ok((open.dev(), open.ino()) == (there.dev(), there.ino()))
        });
        match same {
            Ok(true) => Ok(()),
            _ => Err(StoreError::Unavailable(format!("{} was deleted or replaced", self.file.display()))),
        }
    }

    /// Opens a connection that only reads, beside a hub that may be running.
    pub(super) async fn peek(config: &DatabaseConfig) -> Result<DatabaseConnection, OpenError> {
        let path = file_of(config);
        if !path.exists() {
            return Err(OpenError::Missing { path: path.display().to_string() });
        }
        connect_reading(config, &path)
            .await
            .map_err(|source| OpenError::Database { path: path.display().to_string(), source })
    }

    /// Closes the connections; the last one folds the write-ahead log into the file.
    pub async fn close(&self) {
        for connection in [&self.read, &self.write] {
            if let Err(error) = connection.close_by_ref().await {
                tracing::warn!(%error, "database did not close cleanly");
            }
        }
    }
}

/// The file that `database.url` names.
pub fn file_of(config: &DatabaseConfig) -> PathBuf {
    PathBuf::from(config.url.trim_start_matches("sqlite://"))
}

/// The process that has the database open, as far as the file beside it tells.
pub fn owner_of(config: &DatabaseConfig) -> Option<u32> {
    fs::read_to_string(owner_file(&file_of(config))).ok()?.trim().parse().ok()
}

fn owner_file(database: &Path) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push(".pid");
    path.into()
}

/// Takes the lock of the file itself (SQLite's own locks are of another kind), makes it where it is not there, for its
/// owner's eyes alone, and writes down who has it.
fn take_lock(database: &Path) -> Result<File, OpenError> {
    let failed = |source| OpenError::Folder { path: database.display().to_string(), source };
    let options = || File::options().create(true).truncate(false).write(true).mode(0o600).to_owned();
    let file = options().read(true).open(database).map_err(failed)?;
    let owner = owner_file(database);
    match file.try_lock() {
        Ok(()) => {
            let written = options().truncate(true).open(&owner).and_then(|mut file| write!(file, "{}", process::id()));
            written.map_err(failed)?;
            Ok(file)
        }
        Err(TryLockError::WouldBlock) => {
            let owner = fs::read_to_string(&owner).unwrap_or_default();
            let owner = if owner.is_empty() { owner } else { format!(" (process {owner})") };
            Err(OpenError::InUse { path: database.display().to_string(), owner })
        }
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

fn common(config: &DatabaseConfig, path: &Path) -> ConnectOptions {
    let mut options = ConnectOptions::new(format!("sqlite://{}", path.display()));
    options
        .sqlx_logging(false)
        .record_stmt_in_spans(false)
        .test_before_acquire(false)
        .connect_timeout(config.read_timeout)
        .acquire_timeout(config.read_timeout)
        .idle_timeout(None)
        .max_lifetime(None);
    options
}

/// The path is set here, not by the url, in which `?` and `%` would mean something.
fn sqlite(path: &Path) -> impl Fn(SqliteConnectOptions) -> SqliteConnectOptions + Send + Sync + 'static {
    let path = path.to_owned();
    move |options| {
        options
            .filename(&path)
            // A lock that somebody else holds is our own queue's matter after this.
            .busy_timeout(Duration::from_millis(500))
            .pragma("cache_size", "-8192")
            .pragma("temp_store", "memory")
    }
}

fn writing(config: &DatabaseConfig, path: &Path) -> ConnectOptions {
    let mut options = common(config, path);
    let base = sqlite(path);
    options.max_connections(1).min_connections(1);
    options.map_sqlx_sqlite_opts(move |options| {
        base(options).create_if_missing(true).journal_mode(SqliteJournalMode::Wal).synchronous(SqliteSynchronous::Full)
    });
    options.map_sqlx_sqlite_pool_opts(|pool| {
        pool.after_connect(|connection, _| {
            Box::pin(async move {
                let found: (String, i64) = sqlx::query_as(health::DURABILITY).fetch_one(connection).await?;
                if found == ("wal".into(), health::FULL) {
                    return Ok(());
                }
                let message = format!("the writing connection has journal_mode and synchronous {found:?}");
                Err(sqlx::Error::Configuration(message.into()))
            })
        })
        // SQLite ends a transaction by itself when COMMIT finds no room on the disk, and sqlx goes on counting it as open:
        // what it begins next would be a savepoint, whose RELEASE commits nothing. Such a connection is replaced. The
        // ping lets a queued rollback run first.
        .after_release(|connection, _| {
            Box::pin(async move {
                connection.ping().await?;
                Ok(!connection.is_in_transaction())
            })
        })
    });
    options
}

async fn connect_reading(config: &DatabaseConfig, path: &Path) -> Result<DatabaseConnection, StoreError> {
    let mut options = common(config, path);
    let base = sqlite(path);
    options.max_connections(config.readers).min_connections(1);
    options.map_sqlx_sqlite_opts(move |options| base(options).read_only(true));
    Ok(Database::connect(options).await?)
}
