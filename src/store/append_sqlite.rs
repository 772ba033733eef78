//! The transaction on SQLite: rooms, repeats, numbers, rows, heads. A join with VALUES keeps the whole key of the
//! once-index in every plan, a builder's tuple IN does not. With `BEGIN IMMEDIATE` on the one writing connection, nobody
//! else writes between the look and the insert. Two calls in all, each of several statements: a connection of sqlx has a thread of
//! its own, and going there and back is most of what a small batch costs.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sea_orm::{
    DatabaseConnection,
    sqlx::{
        self, AssertSqlSafe, Executor, Row as _, Sqlite, SqliteConnection, pool::PoolConnection, sqlite::SqliteRow,
    },
};

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

struct Found {
    seq: Seq,
    timestamp: Timestamp,
    same: bool,
}

/// What a batch finds.
#[derive(Default)]
struct Standing {
    rooms: HashMap<i64, Room>,
    /// The rows that are stored already, by their place in the batch.
    stored: HashMap<usize, Found>,
}

/// The connection with a transaction of ours in it. Where that does not come to its end the connection is closed, by which SQLite
/// undoes it, and the pool opens another.
struct Open {
    connection: PoolConnection<Sqlite>,
    over: bool,
}

impl Drop for Open {
    fn drop(&mut self) {
        if !self.over {
            self.connection.close_on_drop();
        }
    }
}

pub(super) async fn append(connection: &DatabaseConnection, rows: &[Row]) -> Result<Vec<Outcome>, AppendError> {
    let connection = connection.get_sqlite_connection_pool().acquire().await.map_err(AppendError::definite)?;
    let mut open = Open { connection, over: false };
    let mut standing = begin(&mut open.connection, rows).await.map_err(AppendError::definite)?;
    let (outcomes, new) = judge(&mut standing, rows);
    match finish(&mut open.connection, &new, &standing.rooms).await {
        Ok(()) => open.over = true,
        // Undone, it was still open: surely nothing is stored.
        Err(error) if open.connection.execute("ROLLBACK").await.is_ok() => return Err(AppendError::definite(error)),
        Err(error) => return Err(AppendError::in_doubt(error)),
    }
    Ok(outcomes)
}

/// A row to be inserted: its number, its place among the room's messages, its time.
type New<'a> = (&'a Row, i64, i64, DateTime<Utc>);

fn judge<'a>(Standing { rooms, stored }: &mut Standing, rows: &'a [Row]) -> (Vec<Outcome>, Vec<New<'a>>) {
    let now = super::now();
    let mut outcomes = Vec::with_capacity(rows.len());
    let mut new = Vec::with_capacity(rows.len());
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
    (outcomes, new)
}

/// Takes the lock, and reads the rooms and what is stored already.
async fn begin(connection: &mut SqliteConnection, rows: &[Row]) -> Result<Standing, StoreError> {
    let mut ids: Vec<i64> = rows.iter().map(|row| row.room.0).collect();
    ids.sort_unstable();
    ids.dedup();
    let sql = format!(
        "BEGIN IMMEDIATE; \
         SELECT NULL, id, last_seq, message_count, rights, last_at FROM hub_room WHERE id IN ({}); \
         SELECT v.column1, m.seq, m.created_at, m.content, m.data FROM (VALUES {}) v CROSS JOIN hub_message m \
         WHERE m.room_id = v.column2 AND m.user_id = v.column3 AND m.client_id = v.column4",
        super::repeated("?", ids.len()),
        super::repeated("(?,?,?,?)", rows.len())
    );
    let mut query = sqlx::query(AssertSqlSafe(sql));
    for id in ids {
        query = query.bind(id);
    }
    for (index, row) in (0_u32..).zip(rows) {
        query = query.bind(index).bind(row.room.0).bind(row.user.0).bind(row.client_id.as_str());
    }
    let mut standing = Standing::default();
    for found in query.fetch_all(connection).await? {
        match found.try_get::<Option<u32>, _>(0)?.map(usize::try_from) {
            None => drop(standing.rooms.insert(found.try_get(1)?, room(&found)?)),
            Some(index) => {
                let index = index.unwrap_or(usize::MAX);
                let Some(row) = rows.get(index) else { continue };
                let (content, data): (&str, Option<&str>) = (found.try_get(3)?, found.try_get(4)?);
                let timestamp = found.try_get::<DateTime<Utc>, _>(2)?.into();
                let same = *content == *row.content && data == row.data.as_deref();
                standing.stored.insert(index, Found { seq: Seq(found.try_get(1)?), timestamp, same });
            }
        }
    }
    Ok(standing)
}

fn room(found: &SqliteRow) -> Result<Room, sqlx::Error> {
    Ok(Room {
        last_seq: found.try_get(2)?,
        message_count: found.try_get(3)?,
        rights: found.try_get(4)?,
        last_at: found.try_get(5)?,
        grew: false,
    })
}

/// Stores what is new, and commits.
async fn finish(
    connection: &mut SqliteConnection,
    new: &[New<'_>],
    rooms: &HashMap<i64, Room>,
) -> Result<(), StoreError> {
    if new.is_empty() {
        connection.execute("COMMIT").await?;
        return Ok(());
    }
    let grown: Vec<_> = rooms.iter().filter(|(_, room)| room.grew).collect();
    let sql = format!(
        "INSERT INTO hub_message (room_id, seq, kind, ordinal, user_id, name, client_id, content, data, created_at) \
         VALUES {}; \
         UPDATE hub_room SET last_seq = v.column2, message_count = v.column3, last_at = v.column4 \
         FROM (VALUES {}) v WHERE hub_room.id = v.column1; \
         COMMIT",
        super::repeated("(?,?,'message',?,?,?,?,?,?,?)", new.len()),
        super::repeated("(?,?,?,?)", grown.len())
    );
    let mut query = sqlx::query(AssertSqlSafe(sql));
    for (row, seq, ordinal, at) in new {
        query = query.bind(row.room.0).bind(seq).bind(ordinal).bind(row.user.0).bind(&*row.name);
        query = query.bind(row.client_id.as_str()).bind(&*row.content).bind(row.data.as_deref()).bind(at);
    }
    for (id, room) in grown {
        query = query.bind(id).bind(room.last_seq).bind(room.message_count).bind(room.last_at);
    }
    query.execute(connection).await?;
    Ok(())
}
