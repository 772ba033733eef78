//! The transaction on SQLite: rooms, repeats, numbers, rows, heads. A join with VALUES keeps the whole key of the
//! once-index in every plan, a builder's tuple IN does not. With `BEGIN IMMEDIATE` on the one writing connection, nobody
//! else writes between the look and the insert.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, Statement, TransactionTrait, Value};

use super::{
    StoreError,
    append::{AppendError, Outcome, Row},
};
use crate::protocol::{Seq, Timestamp};

struct Room {
    last_seq: i64,
    message_count: i64,
    rights: i64,
    last_at: Option<DateTime<Utc>>,
    grew: bool,
}

pub(super) async fn append(connection: &DatabaseConnection, rows: &[Row]) -> Result<Vec<Outcome>, AppendError> {
    let transaction = connection.begin_with_options(super::immediate()).await.map_err(AppendError::definite)?;
    match in_transaction(&transaction, rows).await {
        Ok(outcomes) => {
            transaction.commit().await.map_err(AppendError::in_doubt)?;
            Ok(outcomes)
        }
        Err(source) => {
            // A rollback that fails leaves a connection that rolls back when it is next used.
            if let Err(error) = transaction.rollback().await {
                tracing::warn!(%error, "rollback failed");
            }
            Err(AppendError::definite(source))
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

async fn read_rooms(transaction: &impl ConnectionTrait, rows: &[Row]) -> Result<HashMap<i64, Room>, StoreError> {
    let mut ids: Vec<i64> = rows.iter().map(|row| row.room.0).collect();
    ids.sort_unstable();
    ids.dedup();
    let marks = super::repeated("?", ids.len());
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
        super::repeated("(?,?,?,?)", rows.len())
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
        super::repeated("(?,?,'message',?,?,?,?,?,?,?)", new.len())
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
        super::repeated("(?,?,?,?)", grown.len())
    );
    transaction.execute_raw(statement(sql, values.collect())).await?;
    Ok(())
}
