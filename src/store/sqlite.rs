//! SQLite: the file's lock, one writing connection and several reading ones, the schema.
//!
//! P1 rests on the writing connection's `journal_mode=WAL` and `synchronous=FULL`; each new connection is asked what it
//! really has, since a pragma that does not take effect gives no error.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt, chown},
    path::{Path, PathBuf},
    process,
    time::Duration,
};

use migration::{Migrator, MigratorTrait};
use sea_orm::{
    ConnectOptions, Database, DatabaseConnection,
    sqlx::{
        self, ConnectOptions as _, Connection, Executor, SqliteConnection,
        sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
    },
};

use super::{
    OpenError, Store, StoreBounds, StoreError,
    append_sqlite::{APPEND, Heads},
    connect::Home,
    health,
};
use crate::config::DatabaseConfig;

/// The database's file, open and, in a hub, locked as long as this lives: a second hub refuses to start on it.
pub(super) struct Locked {
    path: PathBuf,
    file: File,
}

impl Locked {
    /// Whether the file that is open still stands where the next start will look for it: what is written into one that was
    /// deleted or moved is as good as lost.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        let same = self.file.metadata().and_then(|open| {
            let there = fs::metadata(&self.path)?;
            Ok((open.dev(), open.ino()) == (there.dev(), there.ino()))
        });
        match same {
            Ok(true) => Ok(()),
            _ => Err(StoreError::Unavailable(format!("{} was deleted or replaced", self.path.display()))),
        }
    }
}

pub(super) async fn open(config: &DatabaseConfig, path: &Path, bounds: StoreBounds) -> Result<Store, OpenError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(|source| OpenError::Folder { path: folder.display().to_string(), source })?;
    let lock = take_lock(path)?;
    let failed = |source: StoreError| database_error(path, source);
    let write = Database::connect(writing(config, path)).await.map_err(|error| failed(error.into()))?;
    Migrator::up(&write, None).await.map_err(|error| failed(error.into()))?;
    let read = connect_reading(config, path).await.map_err(failed)?;
    tracing::info!(path = %path.display(), journal_mode = "wal", synchronous = "full", "database open");
    Ok(Store::new(write, read, bounds, Home::Sqlite(Locked { path: path.to_owned(), file: lock }, Heads::default())))
}

/// Without the lock and the schema, which the running hub has seen to. SQLite's own locks keep the two apart.
pub(super) async fn open_beside(config: &DatabaseConfig, path: &Path, bounds: StoreBounds) -> Result<Store, OpenError> {
    let failed = |source: StoreError| database_error(path, source);
    let file = File::open(path).map_err(|source| OpenError::Folder { path: path.display().to_string(), source })?;
    let write = Database::connect(writing(config, path)).await.map_err(|error| failed(error.into()))?;
    let read = connect_reading(config, path).await.map_err(failed)?;
    Ok(Store::new(write, read, bounds, Home::Sqlite(Locked { path: path.to_owned(), file }, Heads::default())))
}

/// The file, locked as by a hub, and a connection that has SQLite's own lock for writing too, and writes nothing: as long as
/// both live nobody else does, not even a command of the operator's.
pub(super) async fn hold(config: &DatabaseConfig, path: &Path) -> Result<(Locked, SqliteConnection), OpenError> {
    let file = take_lock(path)?;
    let holding = async {
        let options = sqlite(path)(SqliteConnectOptions::new()).busy_timeout(config.read_timeout);
        let mut connection = SqliteConnection::connect_with(&options.disable_statement_logging()).await?;
        connection.execute("BEGIN IMMEDIATE").await?;
        Ok::<_, sqlx::Error>(connection)
    };
    let connection = holding.await.map_err(|error| database_error(path, error.into()))?;
    Ok((Locked { path: path.to_owned(), file }, connection))
}

/// A connection that only reads, beside a hub that may be running.
pub(super) async fn peek(config: &DatabaseConfig, path: &Path) -> Result<DatabaseConnection, OpenError> {
    if !path.exists() {
        return Err(OpenError::Missing { place: path.display().to_string() });
    }
    connect_reading(config, path).await.map_err(|source| database_error(path, source))
}

/// The process that has the database open, as far as the file beside it tells.
pub(super) fn owner_of(path: &Path) -> Option<u32> {
    fs::read_to_string(owner_file(path)).ok()?.trim().parse().ok()
}

fn database_error(path: &Path, source: StoreError) -> OpenError {
    OpenError::Database { place: path.display().to_string(), source }
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
            written.and_then(|()| give_to_owner(&owner, &file)).map_err(failed)?;
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

/// Whoever has the database has this too: root may run a command before the hub's user starts the hub. Only root can give
/// files away, and who can't has made one that is theirs.
fn give_to_owner(path: &Path, database: &File) -> io::Result<()> {
    let (ours, theirs) = (fs::metadata(path)?, database.metadata()?);
    if ours.uid() != theirs.uid() {
        drop(chown(path, Some(theirs.uid()), Some(theirs.gid())));
    }
    Ok(())
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
                connection.execute(APPEND).await?;
                let found: (String, i64) = sqlx::query_as(health::DURABILITY).fetch_one(connection).await?;
                if found == ("wal".into(), health::FULL) {
                    return Ok(());
                }
                let message = format!("the writing connection has journal_mode and synchronous {found:?}");
                Err(sqlx::Error::Configuration(message.into()))
            })
        })
        // SQLite ends a transaction by itself when COMMIT finds no room on the disk, and sqlx goes on counting it as open:
        // what it begins next would be a savepoint, whose RELEASE commits nothing. Such a connection is replaced. A queued
        // rollback has run by now, since the pool pings a connection that comes back.
        .before_acquire(|connection, _| Box::pin(async { Ok(!connection.is_in_transaction()) }))
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
