//! The transaction that stores a batch: rooms, repeats, numbers, rows, heads. The statements are written by hand and
//! measured: a join with VALUES keeps the whole key of the once-index in every plan, a builder's tuple IN does not.
//!
//! On SQLite, with `BEGIN IMMEDIATE` on the one writing connection, nobody else writes between the look and the insert.

use std::{collections::HashMap, sync::Arc};

use chrono::{DateTime, Utc};
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DbBackend, SqliteTransactionMode, Statement, TransactionOptions,
    TransactionTrait, Value,
};

use super::{RoomKey, StoreError, UserKey};
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

struct Room {
    last_seq: i64,
    message_count: i64,
    rights: i64,
    last_at: Option<DateTime<Utc>>,
    grew: bool,
}

/// Stores the rows in their order, all or none. No two of them may have the same room, user and client id.
pub(super) async fn append(connection: &DatabaseConnection, rows: &[Row]) -> Result<Vec<Outcome>, AppendError> {
    let definite = |source: StoreError| AppendError { source, in_doubt: false };
    let options = TransactionOptions {
        sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
        ..TransactionOptions::default()
    };
    let transaction = connection.begin_with_options(options).await.map_err(|error| definite(error.into()))?;
    match in_transaction(&transaction, rows).await {
        Ok(outcomes) => {
            let in_doubt = |error: sea_orm::DbErr| AppendError { source: error.into(), in_doubt: true };
            transaction.commit().await.map_err(in_doubt)?;
            Ok(outcomes)
        }
        Err(source) => {
            // A rollback that fails leaves a connection that rolls back when it is next used.
            if let Err(error) = transaction.rollback().await {
                tracing::warn!(%error, "rollback failed");
            }
            Err(definite(source))
        }
    }
}

async fn in_transaction(transaction: &impl ConnectionTrait, rows: &[Row]) -> Result<Vec<Outcome>, StoreError> {
    let mut rooms = read_rooms(transaction, rows).await?;
    let stored = find_stored(transaction, rows).await?;
    let now = super::now();
    let mut outcomes = Vec::with_capacity(rows.len());
    let mut new: Vec<(&Row, i64, i64, DateTime<Utc>)> = Vec::with_capacity(rows.len());
    for (index, row) in rows.iter().enumerate() {
        let outcome = match (stored.get(&index), rooms.get_mut(&row.room.0)) {
            (Some(Found { same: false, .. }), _) => Outcome::Reused,
            (Some(found), _) => Outcome::Repeat(found.seq, found.timestamp),
            (None, _) if row.only_look => Outcome::NotThere,
            (None, None) => Outcome::RoomGone,
            (None, Some(room)) if room.rights != row.rights => Outcome::StaleRights,
            (None, Some(room)) => {
                // A room's clock never runs back, whatever this machine's does.
                let at = room.last_at.map_or(now.to_utc(), |last| last.max(now.to_utc()));
                room.last_seq = room.last_seq.saturating_add(1);
                room.message_count = room.message_count.saturating_add(1);
                room.last_at = Some(at);
                room.grew = true;
                new.push((row, room.last_seq, room.message_count, at));
                Outcome::New(Seq(room.last_seq), at.into())
            }
        };
        outcomes.push(outcome);
    }
    if !new.is_empty() {
        insert(transaction, &new).await?;
        advance(transaction, &rooms).await?;
    }
    Ok(outcomes)
}

fn statement(sql: String, values: Vec<Value>) -> Statement {
    Statement::from_sql_and_values(DbBackend::Sqlite, sql, values)
}

/// `one,one,…`: as many as there are rows.
fn repeated(one: &str, times: usize) -> String {
    vec![one; times].join(",")
}

async fn read_rooms(transaction: &impl ConnectionTrait, rows: &[Row]) -> Result<HashMap<i64, Room>, StoreError> {
    let mut ids: Vec<i64> = rows.iter().map(|row| row.room.0).collect();
    ids.sort_unstable();
    ids.dedup();
    let marks = repeated("?", ids.len());
    let sql = format!("SELECT id, last_seq, message_count, rights, last_at FROM hub_room WHERE id IN ({marks})");
    let found = transaction.query_all_raw(statement(sql, ids.into_iter().map(Value::from).collect())).await?;
    found
        .into_iter()
        .map(|row| {
            let room = Room {
                last_seq: row.try_get_by_index(1)?,
                message_count: row.try_get_by_index(2)?,
                rights: row.try_get_by_index(3)?,
                last_at: row.try_get_by_index(4)?,
                grew: false,
            };
            Ok((row.try_get_by_index::<i64>(0)?, room))
        })
        .collect()
}

struct Found {
    seq: Seq,
    timestamp: Timestamp,
    same: bool,
}

/// The rows that are stored already, by their place in the batch.
async fn find_stored(transaction: &impl ConnectionTrait, rows: &[Row]) -> Result<HashMap<usize, Found>, StoreError> {
    let mut values = Vec::with_capacity(rows.len().saturating_mul(4));
    for (index, row) in rows.iter().enumerate() {
        values.push(Value::from(u32::try_from(index).unwrap_or(u32::MAX)));
        values.extend([Value::from(row.room.0), Value::from(row.user.0), Value::from(row.client_id.as_str())]);
    }
    let sql = format!(
        "SELECT v.column1, m.seq, m.created_at, m.content, m.data FROM (VALUES {}) v CROSS JOIN hub_message m \
         WHERE m.room_id = v.column2 AND m.user_id = v.column3 AND m.client_id = v.column4",
        repeated("(?,?,?,?)", rows.len())
    );
    let mut stored = HashMap::new();
    for found in transaction.query_all_raw(statement(sql, values)).await? {
        let index = usize::try_from(found.try_get_by_index::<u32>(0)?).unwrap_or(usize::MAX);
        let Some(row) = rows.get(index) else { continue };
        let (content, data): (String, Option<String>) = (found.try_get_by_index(3)?, found.try_get_by_index(4)?);
        let seq = Seq(found.try_get_by_index(1)?);
        let timestamp = found.try_get_by_index::<DateTime<Utc>>(2)?.into();
        stored.insert(index, Found { seq, timestamp, same: *content == *row.content && data == row.data });
    }
    Ok(stored)
}

async fn insert(transaction: &impl ConnectionTrait, new: &[(&Row, i64, i64, DateTime<Utc>)]) -> Result<(), StoreError> {
    let mut values = Vec::with_capacity(new.len().saturating_mul(9));
    for (row, seq, ordinal, at) in new {
        values.extend([
            Value::from(row.room.0),
            Value::from(*seq),
            Value::from(*ordinal),
            Value::from(row.user.0),
            Value::from(&*row.name),
            Value::from(row.client_id.as_str()),
            Value::from(&*row.content),
            Value::from(row.data.clone()),
            Value::from(*at),
        ]);
    }
    let sql = format!(
        "INSERT INTO hub_message (room_id, seq, kind, ordinal, user_id, name, client_id, content, data, created_at) \
         VALUES {}",
        repeated("(?,?,'message',?,?,?,?,?,?,?)", new.len())
    );
    transaction.execute_raw(statement(sql, values)).await?;
    Ok(())
}

async fn advance(transaction: &impl ConnectionTrait, rooms: &HashMap<i64, Room>) -> Result<(), StoreError> {
    let grown: Vec<_> = rooms.iter().filter(|(_, room)| room.grew).collect();
    let values = grown.iter().flat_map(|(id, room)| {
        [Value::from(**id), Value::from(room.last_seq), Value::from(room.message_count), Value::from(room.last_at)]
    });
    let sql = format!(
        "UPDATE hub_room SET last_seq = v.column2, message_count = v.column3, last_at = v.column4 \
         FROM (VALUES {}) v WHERE hub_room.id = v.column1",
        repeated("(?,?,?,?)", grown.len())
    );
    transaction.execute_raw(statement(sql, values.collect())).await?;
    Ok(())
}
