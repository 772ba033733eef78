//! Opening the database, whichever it is: SQLite's file (`sqlite`) or a PostgreSQL server (`postgres`).

use std::{
    collections::HashMap,
    io,
    sync::{Mutex, atomic::AtomicU64},
    time::Duration,
};

use sea_orm::DatabaseConnection;
use tokio::{runtime::Runtime, sync::Semaphore};

use super::{Sanctions, Store, StoreError, append_sqlite, events::SharedReads, postgres, sqlite};
use crate::config::{DatabaseConfig, DatabaseUrl};

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
    /// The threads that drive a server's sockets can't be made.
    #[error("no threads for the database: {0}")]
    Threads(io::Error),
    /// The address of a server can't be read. It is not shown: a password may be in it.
    #[error("database.url: {0}")]
    BadUrl(&'static str),
    /// Another process has it.
    #[error("{path}: another hubbub{owner} uses this database; stop it first")]
    InUse {
        /// The database file.
        path: String,
        /// Which process, where that is known.
        owner: String,
    },
    /// It is not there, where nothing may be made.
    #[error("{place}: no database here yet; start the hub once, or run `hubbub migrate`")]
    Missing {
        /// The database file or server.
        place: String,
    },
    /// It is no database, or one that can't be reached or brought to this version's schema.
    #[error("{place}: {source}")]
    Database {
        /// The database file or server, without its password.
        place: String,
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
    /// Revoked tokens, which are all in memory.
    pub revoked_tokens: usize,
}

/// Where the data is, and what must live as long as the connections to it.
pub(super) enum Home {
    /// A file, locked, and what is foreseen of its rooms.
    Sqlite(sqlite::Locked, append_sqlite::Heads),
    /// A server, and the threads that drive its sockets: a socket belongs to the runtime that opened it, and a worker
    /// that is busy would hold up everybody whose connection it happened to open.
    Postgres(Option<Runtime>),
}

impl Store {
    /// Opens the database for a hub: on SQLite takes its lock; brings it to this version's schema.
    pub async fn open(config: &DatabaseConfig, bounds: StoreBounds) -> Result<Self, OpenError> {
        match &config.url {
            DatabaseUrl::Sqlite(path) => sqlite::open(config, path, bounds).await,
            DatabaseUrl::Postgres(url) => postgres::open(config, url, bounds).await,
        }
    }

    /// Whether the address can be read, as far as that can be said without going there.
    pub fn check_url(config: &DatabaseConfig) -> Result<(), OpenError> {
        match &config.url {
            DatabaseUrl::Sqlite(_) => Ok(()),
            DatabaseUrl::Postgres(url) => postgres::check_url(url),
        }
    }

    /// Refuses where there is no database yet, and where `alone` also where a hub runs on it.
    pub async fn expect(config: &DatabaseConfig, alone: bool) -> Result<(), OpenError> {
        Self::check_url(config)?;
        let (connection, place) = Self::peek(config).await?;
        let failed = |source: StoreError| OpenError::Database { place: place.clone(), source };
        let others = match &config.url {
            // The lock of the file will tell.
            DatabaseUrl::Sqlite(_) => false,
            DatabaseUrl::Postgres(_) => alone && postgres::is_in_use(&connection).await.map_err(failed)?,
        };
        connection.close().await.map_err(|error| failed(error.into()))?;
        if others { Err(OpenError::InUse { path: place, owner: String::new() }) } else { Ok(()) }
    }

    /// Opens the database for a command of the operator's, beside a hub that may be running on it.
    pub async fn open_beside(config: &DatabaseConfig, bounds: StoreBounds) -> Result<Self, OpenError> {
        Self::expect(config, false).await?;
        match (Self::open(config, bounds).await, &config.url) {
            (Err(OpenError::InUse { .. }), DatabaseUrl::Sqlite(path)) => {
                sqlite::open_beside(config, path, bounds).await
            }
            (opened, _) => opened,
        }
    }

    /// Opens a connection that only reads, beside a hub that may be running; says where it leads.
    pub(super) async fn peek(config: &DatabaseConfig) -> Result<(DatabaseConnection, String), OpenError> {
        Ok(match &config.url {
            DatabaseUrl::Sqlite(path) => (sqlite::peek(config, path).await?, path.display().to_string()),
            DatabaseUrl::Postgres(url) => (postgres::peek(config, url).await?, postgres::place(url)),
        })
    }

    pub(super) fn new(write: DatabaseConnection, read: DatabaseConnection, bounds: StoreBounds, home: Home) -> Self {
        let reads = SharedReads::new(bounds.catch_up_reads);
        let (known_users, sanctions) = (Mutex::new(HashMap::new()), Sanctions::new(bounds.revoked_tokens));
        let settled = AtomicU64::new(0);
        Self { write, read, bounds, known_users, settled, reads, sanctions, changes: Semaphore::new(1), home }
    }

    /// Closes the connections; SQLite's last one folds the write-ahead log into the file.
    pub async fn close(&self) {
        for connection in [&self.read, &self.write] {
            if let Err(error) = connection.close_by_ref().await {
                tracing::warn!(%error, "database did not close cleanly");
            }
        }
    }
}

/// The process of the hub that has the database open, as far as a file beside SQLite's tells.
pub fn owner_of(config: &DatabaseConfig) -> Option<u32> {
    match &config.url {
        DatabaseUrl::Sqlite(path) => sqlite::owner_of(path),
        DatabaseUrl::Postgres(_) => None,
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // A runtime must not be waited for by another one's thread.
        if let Home::Postgres(runtime) = &mut self.home
            && let Some(runtime) = runtime.take()
        {
            runtime.shutdown_background();
        }
    }
}
