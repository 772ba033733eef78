//! What the operator looks through: all users, all rooms, by name, with a search. A search reads the whole table, within
//! `database.read_timeout`; a page has as many rows as are asked for.

use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, DbBackend, DbErr, FromQueryResult, Value};
use serde::Serialize;

use super::{RoomKind, Store, StoreError, users::ADMIN};
use crate::protocol::{Seq, Timestamp};

/// Which rows, from where on, and how many.
#[derive(Clone, Copy, Debug)]
pub struct Listed<'a> {
    /// What is to be somewhere in a name; any where it is empty. Not told apart by case: of ASCII alone on SQLite, and as the
    /// database's locale has it on PostgreSQL.
    pub q: &'a str,
    /// The last name of the page before.
    pub after: &'a str,
    /// Rows.
    pub limit: u64,
}

/// A user as the operator sees one.
#[derive(Clone, Debug)]
pub struct Account {
    /// Their id.
    pub id: String,
    /// Their name.
    pub name: String,
    /// Whether they may do everything.
    pub admin: bool,
    /// Whether it is an account of the hub's own, with a password.
    pub has_password: bool,
    /// When they were first seen.
    pub created_at: Timestamp,
    /// Since when they may do nothing, where that is so.
    pub disabled_at: Option<Timestamp>,
}

/// A room as the operator sees one.
#[derive(Clone, Debug, Serialize)]
pub struct ListedRoom {
    /// The name.
    pub name: String,
    /// What people read.
    pub title: String,
    /// Who may join.
    pub kind: RoomKind,
    /// The newest event.
    pub head: Seq,
    /// How many messages there ever were.
    pub message_count: i64,
    /// How many belong to it.
    pub members: i64,
    /// When it was made.
    pub created_at: Timestamp,
    /// The newest event's time.
    pub last_at: Option<Timestamp>,
}

#[derive(FromQueryResult)]
struct UserRow {
    external_id: String,
    name: String,
    role: String,
    has_password: bool,
    created_at: DateTime<Utc>,
    disabled_at: Option<DateTime<Utc>>,
}

#[derive(FromQueryResult)]
struct RoomRow {
    name: String,
    title: String,
    kind: String,
    last_seq: i64,
    message_count: i64,
    members: i64,
    created_at: DateTime<Utc>,
    last_at: Option<DateTime<Utc>>,
}

impl Store {
    /// Users by their ids; what is searched for may be in the id or the name.
    pub async fn users(&self, listed: Listed<'_>) -> Result<Vec<Account>, StoreError> {
        let select = "SELECT external_id, name, role, password_hash IS NOT NULL AS has_password, created_at, disabled_at \
                      FROM hub_user";
        let rows: Vec<UserRow> = self.list(select, ["external_id", "name"], listed).await?;
        let account = |row: UserRow| Account {
            id: row.external_id,
            name: row.name,
            admin: row.role == ADMIN,
            has_password: row.has_password,
            created_at: row.created_at.into(),
            disabled_at: row.disabled_at.map(Timestamp::from),
        };
        Ok(rows.into_iter().map(account).collect())
    }

    /// Rooms by their names, private ones too; what is searched for may be in the name or the title.
    pub async fn listed_rooms(&self, listed: Listed<'_>) -> Result<Vec<ListedRoom>, StoreError> {
        let select = "SELECT name, title, kind, last_seq, message_count, created_at, last_at, \
                      (SELECT count(*) FROM hub_member m WHERE m.room_id = r.id) AS members FROM hub_room r";
        let rows: Vec<RoomRow> = self.list(select, ["name", "title"], listed).await?;
        let room = |row: RoomRow| ListedRoom {
            kind: RoomKind::parse(&row.kind),
            name: row.name,
            title: row.title,
            head: Seq(row.last_seq),
            message_count: row.message_count,
            members: row.members,
            created_at: row.created_at.into(),
            last_at: row.last_at.map(Timestamp::from),
        };
        Ok(rows.into_iter().map(room).collect())
    }

    /// Rows of a table in the order of the first column, after a value of it; what is searched for may be in either.
    async fn list<T: FromQueryResult>(
        &self,
        select: &str,
        [first, second]: [&str; 2],
        Listed { q, after, limit }: Listed<'_>,
    ) -> Result<Vec<T>, StoreError> {
        let like = match self.read.get_database_backend() {
            DbBackend::Postgres => "ILIKE",
            _ => "LIKE",
        };
        let (search, wanted) = if q.is_empty() {
            (String::new(), Vec::new())
        } else {
            let either = format!(" AND ({first} {like} ? ESCAPE '!' OR {second} {like} ? ESCAPE '!')");
            (either, vec![Value::from(pattern(q)); 2])
        };
        let sql = format!("{select} WHERE {first} > ?{search} ORDER BY {first} LIMIT ?");
        let limit = Value::from(i64::try_from(limit).unwrap_or(i64::MAX));
        let values = std::iter::once(Value::from(after)).chain(wanted).chain([limit]);
        let rows = self.within(self.read.query_all_raw(super::statement(&self.read, &sql, values))).await?;
        rows.iter().map(|row| T::from_query_result(row, "").map_err(|error: DbErr| error.into())).collect()
    }
}

/// A pattern of LIKE that has this text in it, whatever characters it has.
fn pattern(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len().saturating_add(2));
    pattern.push('%');
    for c in text.chars() {
        if matches!(c, '%' | '_' | '!') {
            pattern.push('!');
        }
        pattern.push(c);
    }
    pattern.push('%');
    pattern
}
