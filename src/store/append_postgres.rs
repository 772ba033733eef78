//! The transaction on PostgreSQL: one statement, committed by itself. A node that is stopped in the middle holds no lock
//! that others wait for, and it is one round trip.
//!
//! The rooms are locked in the order of their ids before anything is numbered. The snapshot is older than the lock, so a
//! repeat that was committed meanwhile is not seen but refused by the once-index: then the batch is run again.

use chrono::{DateTime, Utc};
use sea_orm::sqlx::{self, PgPool, Row as _};

use super::append::{AppendError, Outcome, Row};
use crate::protocol::Seq;

const APPEND: &str = "
WITH b AS MATERIALIZED (
  SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[], $7::bigint[], $8::bool[])
  WITH ORDINALITY AS t(room_id, user_id, name, client_id, content, data, rights, only_look, i)),
locked AS MATERIALIZED (
  SELECT id, last_seq, message_count, rights, last_at FROM hub_room WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE),
old AS MATERIALIZED (
  SELECT b.i, m.seq, m.created_at, m.content = b.content AND m.data IS NOT DISTINCT FROM b.data AS same
  FROM b CROSS JOIN LATERAL (
    SELECT seq, created_at, content, data FROM hub_message m
    WHERE m.room_id = b.room_id AND m.user_id = b.user_id AND m.client_id = b.client_id LIMIT 1) m),
fresh AS MATERIALIZED (
  SELECT b.*, l.last_seq, l.message_count, l.last_at, l.rights = b.rights AS judged FROM b JOIN locked l ON l.id = b.room_id
  WHERE NOT b.only_look AND NOT EXISTS (SELECT FROM old WHERE old.i = b.i)),
n AS MATERIALIZED (
  SELECT f.*, row_number() OVER (PARTITION BY room_id ORDER BY i) AS place, GREATEST(last_at, $9::timestamptz) AS at
  FROM fresh f WHERE judged),
ins AS (
  INSERT INTO hub_message (room_id, seq, kind, ordinal, user_id, name, client_id, content, data, created_at)
  SELECT room_id, last_seq + place, 'message', message_count + place, user_id, name, client_id, content, data, at FROM n),
upd AS (
  UPDATE hub_room r SET last_seq = x.last_seq + x.places, message_count = x.message_count + x.places, last_at = x.at
  FROM (SELECT room_id, last_seq, message_count, at, max(place) AS places FROM n GROUP BY 1, 2, 3, 4) x WHERE r.id = x.room_id)
SELECT i, CASE WHEN same THEN 'repeat' ELSE 'reused' END, seq, created_at FROM old
UNION ALL SELECT i, 'new', last_seq + place, at FROM n
UNION ALL SELECT i, 'stale', 0, $9 FROM fresh WHERE NOT judged";

/// How often a batch is run again at once, where another node was quicker.
const AGAIN: usize = 5;

pub(super) async fn append(pool: &PgPool, rows: &[Row]) -> Result<Vec<Outcome>, AppendError> {
    let mut connection = pool.acquire().await.map_err(AppendError::definite)?;
    let mut again = 0;
    loop {
        match run(&mut connection, rows).await {
            Ok(outcomes) => return Ok(outcomes),
            Err(error) if again < AGAIN && another_was_quicker(&error) => again += 1,
            // The server's answer that speaks of the statement comes before the commit; any other may come after it.
            Err(error @ sqlx::Error::Database(_)) if super::is_refused(&error) => {
                return Err(AppendError::definite(error));
            }
            Err(error) => return Err(AppendError::in_doubt(error)),
        }
    }
}

async fn run(connection: &mut sqlx::PgConnection, rows: &[Row]) -> Result<Vec<Outcome>, sqlx::Error> {
    fn column<'a, T>(rows: &'a [Row], value: impl Fn(&'a Row) -> T) -> Vec<T> {
        rows.iter().map(value).collect()
    }
    let answers = sqlx::query(APPEND)
        .bind(column(rows, |row| row.room.0))
        .bind(column(rows, |row| row.user.0))
        .bind(column(rows, |row| &*row.name))
        .bind(column(rows, |row| row.client_id.as_str()))
        .bind(column(rows, |row| &*row.content))
        .bind(column(rows, |row| row.data.as_deref()))
        .bind(column(rows, |row| row.rights))
        .bind(column(rows, |row| row.only_look))
        .bind(super::now().to_utc())
        .fetch_all(connection)
        .await?;
    // What is not in the answer: the room is gone, or it was only looked for and is not there.
    let mut outcomes = column(rows, |row| if row.only_look { Outcome::NotThere } else { Outcome::RoomGone });
    for answer in answers {
        let place: i64 = answer.try_get(0)?;
        let (seq, at): (i64, DateTime<Utc>) = (answer.try_get(2)?, answer.try_get(3)?);
        let outcome = match answer.try_get(1)? {
            "new" => Outcome::New(Seq(seq), at.into()),
            "repeat" => Outcome::Repeat(Seq(seq), at.into()),
            "reused" => Outcome::Reused,
            _ => Outcome::StaleRights,
        };
        let place = usize::try_from(place.saturating_sub(1)).unwrap_or(usize::MAX);
        if let Some(there) = outcomes.get_mut(place) {
            *there = outcome;
        }
    }
    Ok(outcomes)
}

/// A repeat that was committed while this one waited for the room's lock, a deadlock, a serialisation failure.
fn another_was_quicker(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(error) = error else { return false };
    match error.code().as_deref() {
        Some("23505") => error.constraint() == Some("hub_message_once"),
        Some("40P01" | "40001") => true,
        _ => false,
    }
}
