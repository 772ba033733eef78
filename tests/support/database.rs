//! The hub's database, seen and touched past the hub. Which one the tests run on is said by HUBBUB_TEST_DATABASE.

use sea_orm::sqlx::{
    AssertSqlSafe, PgPool, Row, SqlitePool,
    postgres::PgPoolOptions,
    sqlite::{SqliteConnectOptions, SqlitePoolOptions},
};

/// Whether this run of the tests is on PostgreSQL.
pub fn on_postgres() -> bool {
    match std::env::var("HUBBUB_TEST_DATABASE").as_deref() {
        Err(_) | Ok("sqlite") => false,
        Ok("postgres") => true,
        Ok(other) => panic!("HUBBUB_TEST_DATABASE is {other:?}, and must be sqlite or postgres"),
    }
}

/// One message as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredMessage {
    pub seq: i64,
    pub user: String,
    pub client_id: String,
    pub content: String,
}

/// One connection.
pub enum Database {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

/// The same call on whichever it is.
macro_rules! on {
    ($self:expr, $pool:ident => $call:expr) => {
        match $self {
            Database::Sqlite($pool) => $call,
            Database::Postgres($pool) => $call,
        }
    };
}

impl Database {
    pub async fn open(url: &str) -> Self {
        if let Some(file) = url.strip_prefix("sqlite://") {
            let options = SqliteConnectOptions::new().filename(file).busy_timeout(super::PATIENCE);
            Self::Sqlite(SqlitePoolOptions::new().max_connections(1).connect_with(options).await.unwrap())
        } else {
            Self::Postgres(PgPoolOptions::new().max_connections(1).connect(url).await.unwrap())
        }
    }

    pub async fn execute(&self, sql: &str) {
        on!(self, pool => drop(sea_orm::sqlx::raw_sql(AssertSqlSafe(sql)).execute(pool).await.unwrap()));
    }

    pub async fn number(&self, sql: &str) -> i64 {
        on!(self, pool => sea_orm::sqlx::query(AssertSqlSafe(sql)).fetch_one(pool).await.unwrap().get(0))
    }

    pub async fn text(&self, sql: &str) -> String {
        on!(self, pool => sea_orm::sqlx::query(AssertSqlSafe(sql)).fetch_one(pool).await.unwrap().get(0))
    }

    /// Nobody else can write from here on; reading goes on.
    pub async fn lock(&self) {
        match self {
            Self::Sqlite(_) => self.execute("BEGIN IMMEDIATE").await,
            Self::Postgres(_) => {
                self.execute("BEGIN; LOCK TABLE hub_room, hub_message, hub_member, hub_user IN EXCLUSIVE MODE").await;
            }
        }
    }

    pub async fn unlock(&self) {
        self.execute("ROLLBACK").await;
    }

    /// The database itself refuses messages that start with `poison`.
    pub async fn refuse_poison(&self) {
        match self {
            Self::Sqlite(_) => {
                let trigger = "CREATE TRIGGER poison BEFORE INSERT ON hub_message WHEN NEW.content LIKE 'poison%' \
                               BEGIN SELECT RAISE(ABORT, 'poison'); END";
                self.execute(trigger).await;
            }
            Self::Postgres(_) => {
                let trigger = "CREATE FUNCTION poison() RETURNS trigger LANGUAGE plpgsql AS \
                               $$BEGIN RAISE EXCEPTION 'poison'; END$$; \
                               CREATE TRIGGER poison BEFORE INSERT ON hub_message FOR EACH ROW \
                               WHEN (NEW.content LIKE 'poison%') EXECUTE FUNCTION poison()";
                self.execute(trigger).await;
            }
        }
    }

    /// A room's messages in the order of their numbers.
    pub async fn messages(&self, room: &str) -> Vec<StoredMessage> {
        let sql = format!(
            "SELECT m.seq, u.external_id, m.client_id, m.content FROM hub_message m \
             JOIN hub_room r ON r.id = m.room_id JOIN hub_user u ON u.id = m.user_id \
             WHERE r.name = '{room}' ORDER BY m.seq"
        );
        on!(self, pool => {
            let rows = sea_orm::sqlx::query(AssertSqlSafe(sql)).fetch_all(pool).await.unwrap();
            let message = |row: &_| StoredMessage {
                seq: Row::get(row, 0),
                user: Row::get(row, 1),
                client_id: Row::get(row, 2),
                content: Row::get(row, 3),
            };
            rows.iter().map(message).collect()
        })
    }
}
