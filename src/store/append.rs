//! Storing a batch: what goes in and what comes out. Each database has a transaction of its own that does it
//! (`append_sqlite`, `append_postgres`), written by hand and measured.

use std::sync::Arc;

use super::{RoomKey, Store, StoreError, UserKey, append_postgres, append_sqlite, connect::Home};
use crate::protocol::{Seq, Timestamp};

/// One message to store.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) room: RoomKey,
    /// The revision of the room's rights by which the message was judged.
    pub(super) rights: i64,
    pub(super) user: UserKey,
    pub(super) name: Arc<str>,
    /// The client's id, or a key of the writer's.
    pub(super) client_id: String,
    pub(super) content: Arc<str>,
    pub(super) data: Option<String>,
    /// Its time is over: find out whether an earlier try stored it, but don't store it now.
    pub(super) only_look: bool,
}

/// What became of one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Stored, now.
    New(Seq, Timestamp),
    /// Stored before, with the same content.
    Repeat(Seq, Timestamp),
    /// Its client id names a message with other content.
    Reused,
    /// The room's rights have changed since it was judged.
    StaleRights,
    /// The room is gone.
    RoomGone,
    /// It was only looked for, and is not there.
    NotThere,
}

/// Why a batch was not stored.
#[derive(Debug, thiserror::Error)]
#[error("{source}")]
pub(super) struct AppendError {
    pub(super) source: StoreError,
    /// Whether it may be stored all the same: the commit was under way.
    pub(super) in_doubt: bool,
}

impl AppendError {
    /// Surely nothing was stored.
    pub(super) fn definite(source: impl Into<StoreError>) -> Self {
        Self { source: source.into(), in_doubt: false }
    }

    /// It may have been stored.
    pub(super) fn in_doubt(source: impl Into<StoreError>) -> Self {
        Self { source: source.into(), in_doubt: true }
    }
}

impl Store {
    /// Stores the rows in their order, all or none. No two of them may have the same room, user and client id.
    pub(super) async fn append(&self, rows: &[Row]) -> Result<Vec<Outcome>, AppendError> {
        match &self.home {
            Home::Sqlite(file, heads) => {
                file.check().map_err(AppendError::definite)?;
                append_sqlite::append(&self.write, heads, rows).await
            }
            Home::Postgres(_) => {
                let pool = self.write.get_postgres_connection_pool();
                self.at_home(append_postgres::append(pool, rows)).await
            }
        }
    }
}
