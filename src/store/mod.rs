//! Everything that is in the database, SQLite or PostgreSQL. The only place that names sea_orm. Some connections write,
//! others read; each call has a timeout, and every error says whether the database or the statement is at fault.
//!
//! `writer` owns the way of messages (group commit); `append` is its SQL; `copy` moves all of it to another database; the rest
//! are reads and rare small writes.

mod append;
mod append_postgres;
mod append_sqlite;
mod at_home;
mod audit;
mod bans;
mod connect;
mod copy;
mod copy_page;
mod events;
mod health;
mod listings;
mod members;
mod postgres;
mod posts;
mod read_marks;
mod rooms;
mod sanctions;
mod settings;
mod setup;
mod sqlite;
mod tickets;
mod users;
mod writer;

use std::{
    collections::HashMap,
    future::Future,
    sync::{Mutex, atomic::AtomicU64},
    time::Duration,
};

use futures_util::future::Either;
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DbBackend, DbErr, RuntimeErr, SqliteTransactionMode, Statement,
    TransactionOptions, Value, sqlx,
};
use tokio::sync::Semaphore;

use at_home::AtHome;
pub use audit::{AuditEntry, News, RECENT_ACTS};
pub use bans::BanSummary;
use connect::Home;
pub use connect::{OpenError, StoreBounds, owner_of};
pub use copy::{Copied, CopyError, CopyProgress};
pub use events::EventPage;
pub use health::Health;
pub use listings::{Account, Listed, ListedRoom};
pub use members::{ChangeError, Changed, MemberSummary, Role, RoomChange};
pub use posts::{Answer, Append, Asker, Committed, NewMessage, PostReply, Posted, Probe, Stored, WriterState};
pub use read_marks::{Mark, ReadMarks};
pub use rooms::{MyRoom, NewRoom, RoomKind, RoomRow, RoomSummary};
pub use sanctions::{Revoke, RevokeError, Sanctions, TokenMark};
pub use setup::{FirstAdmin, SetupOutcome, SetupSecret};
pub use tickets::Ticket;
pub use users::{SeenUser, User, UserKey};
pub use writer::{Writer, WriterBounds};

use crate::protocol::Timestamp;

/// A room's row id; never leaves the hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RoomKey(pub i64);

impl RoomKey {
    /// Which of so many lanes of the writer the room's messages take: always the same.
    pub fn lane(self, lanes: usize) -> usize {
        usize::try_from(self.0.unsigned_abs()).unwrap_or(0).checked_rem(lanes).unwrap_or(0)
    }
}

/// The database, open. Shared by all threads in an `Arc`.
pub struct Store {
    /// On SQLite one connection: it has one writer at a time, and its order is ours.
    write: DatabaseConnection,
    read: DatabaseConnection,
    bounds: StoreBounds,
    /// Users seen lately, so that a reconnect asks nothing of the database.
    known_users: Mutex<HashMap<crate::protocol::UserId, users::Known>>,
    /// How often a user was read again after an act.
    settled: AtomicU64,
    reads: events::SharedReads,
    /// What ended whose rights, as far as the users' rows don't say it yet.
    sanctions: Sanctions,
    /// Changes of rooms and members take turns.
    changes: Semaphore,
    home: Home,
}

impl Store {
    /// Waits for a call at most as long as a read may take.
    async fn within<T, E: Into<StoreError>>(&self, call: impl Future<Output = Result<T, E>>) -> Result<T, StoreError> {
        within(self.bounds.read_timeout, self.at_home(call)).await
    }

    /// A call in the context of the database's own runtime, where it has one.
    fn at_home<F: Future>(&self, call: F) -> impl Future<Output = F::Output> {
        match &self.home {
            Home::Postgres(Some(runtime)) => Either::Left(AtHome::new(runtime.handle(), call)),
            Home::Postgres(None) | Home::Sqlite(..) => Either::Right(call),
        }
    }
}

/// Why a call failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The database can't be reached, read or written now; trying again makes sense.
    #[error("the database is not available: {0}")]
    Unavailable(String),
    /// The statement itself failed, for these values.
    #[error("the database refused the statement: {0}")]
    Refused(String),
}

impl From<StoreError> for crate::protocol::WireError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(_) => Self::unavailable(),
            StoreError::Refused(why) => {
                tracing::error!(why, "the database refused a statement");
                Self::internal()
            }
        }
    }
}

impl From<DbErr> for StoreError {
    fn from(error: DbErr) -> Self {
        let refused = match &error {
            DbErr::Exec(RuntimeErr::SqlxError(source)) | DbErr::Query(RuntimeErr::SqlxError(source)) => {
                is_refused(source)
            }
            DbErr::Type(_) | DbErr::Json(_) | DbErr::TryIntoErr { .. } => true,
            _ => false,
        };
        if refused { Self::Refused(error.to_string()) } else { Self::Unavailable(error.to_string()) }
    }
}

/// Whether an error speaks of the statement and its values, not of the database.
fn is_refused(error: &sqlx::Error) -> bool {
    use sqlx::Error::{ColumnDecode, ColumnNotFound, Database, Decode, Encode};
    match error {
        Database(source) => source.code().is_some_and(|code| is_refusal(&code)),
        ColumnDecode { .. } | ColumnNotFound(_) | Decode(_) | Encode(_) => true,
        _ => false,
    }
}

/// SQLite's primary result codes that speak of the statement: ERROR, TOOBIG, CONSTRAINT, MISMATCH, RANGE. The others
/// (BUSY, READONLY, IOERR, CORRUPT, FULL, CANTOPEN, NOTADB…) speak of the database. <https://sqlite.org/rescode.html>
/// PostgreSQL's are the SQLSTATE classes of data (22), constraints (23), limits (54) and triggers' own (P0).
/// <https://www.postgresql.org/docs/current/errcodes-appendix.html>
fn is_refusal(code: &str) -> bool {
    if code.len() == 5 {
        return ["22", "23", "54", "P0"].iter().any(|class| code.starts_with(class));
    }
    code.parse::<u32>().is_ok_and(|code| matches!(code & 0xff, 1 | 18 | 19 | 20 | 25))
}

/// A statement with `?` for its values, in the words of this connection's database.
fn statement(connection: &impl ConnectionTrait, sql: &str, values: impl IntoIterator<Item = Value>) -> Statement {
    let backend = connection.get_database_backend();
    if backend != DbBackend::Postgres {
        return Statement::from_sql_and_values(backend, sql, values);
    }
    let mut numbered = String::with_capacity(sql.len().saturating_add(16));
    for (n, part) in sql.split('?').enumerate() {
        if n > 0 {
            numbered.push_str(&format!("${n}"));
        }
        numbered.push_str(part);
    }
    Statement::from_sql_and_values(backend, numbered, values)
}

/// `one,one,…`: as many as there are rows.
fn repeated(one: &str, times: usize) -> String {
    vec![one; times].join(",")
}

/// A transaction that writes: SQLite takes its lock at once, since a later upgrade fails where somebody else has written.
fn immediate() -> TransactionOptions {
    TransactionOptions {
        sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
        ..TransactionOptions::default()
    }
}

/// The wall clock.
fn now() -> Timestamp {
    Timestamp::now()
}

/// Waits for a call at most so long.
async fn within<T, E: Into<StoreError>>(
    limit: Duration,
    call: impl Future<Output = Result<T, E>>,
) -> Result<T, StoreError> {
    match tokio::time::timeout(limit, call).await {
        Ok(result) => result.map_err(Into::into),
        Err(_) => Err(StoreError::Unavailable(format!("no answer within {} ms", limit.as_millis()))),
    }
}
