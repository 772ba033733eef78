//! Everything that is in the database. The only place that names sea_orm. One connection writes, others read; each call
//! has a timeout, and every error says whether the database or the statement is at fault.
//!
//! `writer` owns the way of messages (group commit); `append` is its SQL; the rest are reads and rare small writes.

mod append;
mod connect;
mod events;
mod health;
mod rooms;
mod settings;
mod users;
mod writer;

use std::{collections::HashMap, fs::File, future::Future, sync::Mutex, time::Duration};

use sea_orm::{DatabaseConnection, DbErr, RuntimeErr, sqlx};

pub use connect::{OpenError, StoreBounds, file_of, owner_of};
pub use events::EventPage;
pub use health::Health;
pub use rooms::{NewRoom, RoomKind, RoomRow, RoomSummary};
pub use users::{User, UserKey};
pub use writer::{Append, NewMessage, PostReply, Posted, Probe, Stored, Writer, WriterBounds, WriterState};

use crate::protocol::Timestamp;

/// A room's row id; never leaves the hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RoomKey(i64);

/// The database, open. Shared by all threads in an `Arc`.
pub struct Store {
    /// One connection: SQLite has one writer at a time, and its order is ours.
    write: DatabaseConnection,
    read: DatabaseConnection,
    bounds: StoreBounds,
    /// Users seen lately, so that a reconnect asks nothing of the database.
    known_users: Mutex<HashMap<crate::protocol::UserId, (UserKey, String)>>,
    reads: events::SharedReads,
    file: std::path::PathBuf,
    /// The file, locked as long as the store lives: a second process refuses to start on it.
    lock: File,
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
        use sqlx::Error::{ColumnDecode, ColumnNotFound, Database, Decode, Encode};
        let refused = match &error {
            DbErr::Exec(RuntimeErr::SqlxError(source)) | DbErr::Query(RuntimeErr::SqlxError(source)) => match &**source
            {
                Database(source) => source.code().is_some_and(|code| is_refusal(&code)),
                ColumnDecode { .. } | ColumnNotFound(_) | Decode(_) | Encode(_) => true,
                _ => false,
            },
            DbErr::Type(_) | DbErr::Json(_) | DbErr::TryIntoErr { .. } => true,
            _ => false,
        };
        if refused { Self::Refused(error.to_string()) } else { Self::Unavailable(error.to_string()) }
    }
}

/// SQLite's primary result codes that speak of the statement: ERROR, TOOBIG, CONSTRAINT, MISMATCH, RANGE. The others
/// (BUSY, READONLY, IOERR, CORRUPT, FULL, CANTOPEN, NOTADB…) speak of the database. <https://sqlite.org/rescode.html>
fn is_refusal(code: &str) -> bool {
    code.parse::<u32>().is_ok_and(|code| matches!(code & 0xff, 1 | 18 | 19 | 20 | 25))
}

/// The wall clock.
fn now() -> Timestamp {
    chrono::Utc::now().into()
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
