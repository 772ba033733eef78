//! The transaction on SQLite, with `BEGIN IMMEDIATE` on the one writing connection: rooms, repeats, numbers, rows, heads. A join
//! with VALUES keeps the whole key of the once-index in every plan, a builder's tuple IN does not. Two calls in all, each of
//! several statements: a connection of sqlx has a thread of its own, and going there and back is most of what a small batch costs.
//!
//! Where every room of a batch is as the last batch left it, one statement does it all: `APPEND`'s trigger holds each row
//! against its room and the once-index, and whatever is not as foreseen undoes the statement; the transaction follows.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

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

/// What a writing connection has besides the schema: a row put into `hub_append` is a message stored, if its room stands just
/// before it. Of the connection's own temporary schema, so that no migration and no copy meets it.
pub(super) const APPEND: &str = "
CREATE TEMP VIEW hub_append (room_id, rights, seq, ordinal, user_id, name, client_id, content, data, created_at)
AS SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL;
CREATE TEMP TRIGGER hub_append_one INSTEAD OF INSERT ON hub_append BEGIN
  UPDATE hub_room SET last_seq = NEW.seq, message_count = NEW.ordinal, last_at = NEW.created_at
  WHERE id = NEW.room_id AND rights = NEW.rights AND last_seq = NEW.seq - 1 AND message_count = NEW.ordinal - 1;
  SELECT RAISE(ABORT, 'the room is not as it was') WHERE changes() = 0;
  INSERT INTO hub_message (room_id, seq, kind, ordinal, user_id, name, client_id, content, data, created_at)
  VALUES (NEW.room_id, NEW.seq, 'message', NEW.ordinal, NEW.user_id, NEW.name, NEW.client_id, NEW.content, NEW.data,
    NEW.created_at);
END";

/// So many rooms are known at the most, about 1 MB of them; then they are learnt anew.
const KNOWN_ROOMS: usize = 16_384;

/// How the last batches left their rooms. No more than a guess, which the database holds against what it has.
#[derive(Default)]
pub(super) struct Heads(Mutex<HashMap<i64, Room>>);

impl Heads {
    /// The rooms of these rows, if all of them are known.
    fn of(&self, rows: &[Row]) -> Option<HashMap<i64, Room>> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        rows.iter().map(|row| Some((row.room.0, *known.get(&row.room.0)?))).collect()
    }

    fn keep(&self, rooms: HashMap<i64, Room>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len().saturating_add(rooms.len()) > KNOWN_ROOMS {
            known.clear();
        }
        known.extend(rooms.into_iter().map(|(id, room)| (id, Room { grew: false, ..room })));
    }
}

#[derive(Clone, Copy)]
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

pub(super) async fn append(
    connection: &DatabaseConnection,
    heads: &Heads,
    rows: &[Row],
) -> Result<Vec<Outcome>, AppendError> {
    let connection = connection.get_sqlite_connection_pool().acquire().await.map_err(AppendError::definite)?;
    let mut open = Open { connection, over: false };
    if let Some(rooms) = heads.of(rows) {
        let mut foreseen = Standing { rooms, stored: HashMap::new() };
        let (outcomes, new) = judge(&mut foreseen, rows);
        if new.len() == rows.len() {
            match at_once(&mut open.connection, &new).await {
                Ok(()) => {
                    open.over = true;
                    heads.keep(foreseen.rooms);
                    return Ok(outcomes);
                }
                // A repeat, or a room that is not as it was. Nothing is stored.
                Err(error) if super::is_refused(&error) => {}
                Err(error) if has_not_begun(&error) => return Err(AppendError::definite(error)),
                Err(error) => return Err(AppendError::in_doubt(error)),
            }
        }
    }
    let mut standing = begin(&mut open.connection, rows).await.map_err(AppendError::definite)?;
    let (outcomes, new) = judge(&mut standing, rows);
    match finish(&mut open.connection, &new, &standing.rooms).await {
        Ok(()) => open.over = true,
        // Undone, it was still open: surely nothing is stored.
        Err(error) if open.connection.execute("ROLLBACK").await.is_ok() => return Err(AppendError::definite(error)),
        Err(error) => return Err(AppendError::in_doubt(error)),
    }
    heads.keep(standing.rooms);
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

/// Stores rows that are as foreseen, all or none, in a transaction of SQLite's own.
async fn at_once(connection: &mut SqliteConnection, new: &[New<'_>]) -> Result<(), sqlx::Error> {
    let sql = format!("INSERT INTO hub_append VALUES {}", super::repeated("(?,?,?,?,?,?,?,?,?,?)", new.len()));
    let mut query = sqlx::query(AssertSqlSafe(sql));
    for (row, seq, ordinal, at) in new {
        query = query.bind(row.room.0).bind(row.rights).bind(seq).bind(ordinal).bind(row.user.0).bind(&*row.name);
        query = query.bind(row.client_id.as_str()).bind(&*row.content).bind(row.data.as_deref()).bind(at);
    }
    query.execute(connection).await?;
    Ok(())
}

/// SQLite's codes for a transaction that could not begin: BUSY, READONLY, CANTOPEN. Surely nothing is stored, and a message
/// whose time is over need not be looked for.
fn has_not_begun(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code()?.parse::<u32>().ok());
    code.is_some_and(|code| matches!(code & 0xff, 5 | 8 | 14))
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
