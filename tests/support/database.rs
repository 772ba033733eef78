//! The hub's SQLite file, seen and touched past the hub.

use std::path::Path;

use sea_orm::sqlx::{
    AssertSqlSafe, Row, SqlitePool,
    sqlite::{SqliteConnectOptions, SqlitePoolOptions},
};

/// One message as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredMessage {
    pub seq: i64,
    pub user: String,
    pub client_id: String,
    pub content: String,
}

pub struct Database(SqlitePool);

impl Database {
    pub async fn open(file: &Path) -> Self {
        let options = SqliteConnectOptions::new().filename(file).busy_timeout(super::PATIENCE);
        Self(SqlitePoolOptions::new().max_connections(1).connect_with(options).await.unwrap())
    }

    pub async fn execute(&self, sql: &str) {
        sea_orm::sqlx::query(AssertSqlSafe(sql)).execute(&self.0).await.unwrap();
    }

    pub async fn number(&self, sql: &str) -> i64 {
        sea_orm::sqlx::query(AssertSqlSafe(sql)).fetch_one(&self.0).await.unwrap().get(0)
    }

    /// A room's messages in the order of their numbers.
    pub async fn messages(&self, room: &str) -> Vec<StoredMessage> {
        let sql = "SELECT m.seq, u.external_id, m.client_id, m.content FROM hub_message m \
                   JOIN hub_room r ON r.id = m.room_id JOIN hub_user u ON u.id = m.user_id \
                   WHERE r.name = ? ORDER BY m.seq";
        let rows = sea_orm::sqlx::query(sql).bind(room).fetch_all(&self.0).await.unwrap();
        let message =
            |row| StoredMessage { seq: get(row, 0), user: get(row, 1), client_id: get(row, 2), content: get(row, 3) };
        rows.iter().map(message).collect()
    }
}

fn get<'r, T>(row: &'r sea_orm::sqlx::sqlite::SqliteRow, index: usize) -> T
where
    T: sea_orm::sqlx::Decode<'r, sea_orm::sqlx::Sqlite> + sea_orm::sqlx::Type<sea_orm::sqlx::Sqlite>,
{
    row.get(index)
}
