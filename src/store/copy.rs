//! A hub moves from SQLite to PostgreSQL: every row as it is, in one transaction there, compared with what is here before it
//! is committed. So it is all there or not at all, and whatever ends it halfway, the same can be done again.
//!
//! Nobody writes meanwhile: the file is locked as by a hub, and SQLite's own lock keeps the operator's commands out; on the
//! server all of the hub's tables are locked. Runs on the thread of the command; bounded by a page of rows from each side.

use std::{
    future::Future,
    io,
    ops::Range,
    path::Path,
    time::{Duration, Instant},
};

use futures_util::{Stream, TryStreamExt};
use sea_orm::sqlx::{
    self, AssertSqlSafe, ColumnIndex, ConnectOptions, Connection, Decode, Executor, PgConnection, Row,
    SqliteConnection, Type, postgres::PgConnectOptions,
};

use super::{
    OpenError, Store, StoreError,
    copy_page::{Page, Table, UnknownKind, tables},
    postgres, sqlite,
};
use crate::config::{DatabaseConfig, DatabaseUrl, Secret};

/// The longest the server may take for a page, the first row of a table in order, or the commit.
const STALLED: Duration = Duration::from_secs(300);
/// How long the server may go on showing the connections of a hub that has just been stopped.
const ENDING: Duration = Duration::from_secs(2);
/// The collation in which the server puts text in the order of its bytes, as SQLite does.
const BYTES: &str = r#" COLLATE "C""#;
/// A start of the hub makes its keys here, and nothing else anywhere: a server that has no more is as good as empty.
const SETTINGS: &str = "hub_setting";

/// Why nothing was copied.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// One of the two can't be opened, or a hub runs on it.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// There is nothing to move away from.
    #[error("the hub is on PostgreSQL already: this copies from SQLite, which database.url must name")]
    NotSqlite,
    /// It is not where the settings say.
    #[error("no database at {0}: run this in the hub's folder, with its settings")]
    NoSource(String),
    /// An empty one is hardly the hub that is to be moved.
    #[error("{0}: nobody was ever here; is it the hub's database?")]
    Nobody(String),
    /// What is read must be what this version writes.
    #[error("{0}: its schema is not this version's; `hubbub migrate` brings an older one up to date")]
    Schema(String),
    /// Nothing is ever overwritten.
    #[error("{place}: {table} has rows already: the copy needs a database without a hub's data")]
    NotEmpty {
        /// The server and database.
        place: String,
        /// The first table that has some.
        table: &'static str,
    },
    /// SQLite has what PostgreSQL does not take.
    #[error("{table}, {key}: PostgreSQL refuses this row: {why}. nothing was copied")]
    Refused {
        /// The table.
        table: &'static str,
        /// The row's key.
        key: String,
        /// The kind of error, without the values.
        why: String,
    },
    /// A value is not of its column's type.
    #[error("{table}, {key}: this row can't be read: a value is not what its column holds. nothing was copied")]
    Unreadable {
        /// The table.
        table: &'static str,
        /// The row's key, as far as it could be read.
        key: String,
    },
    /// What was written is not what was read.
    #[error("{table}, {key}: this row is not the same on both sides. nothing was copied")]
    Differs {
        /// The table.
        table: &'static str,
        /// The row's key.
        key: String,
    },
    /// A database failed on the way.
    #[error("{place}: {source}; nothing was copied, and the same command can be run again")]
    Failed {
        /// The file, or the server and database.
        place: String,
        /// Why.
        source: StoreError,
    },
    /// The answer to the commit was lost.
    #[error(
        "{place}: {source}; it is not known whether all was copied or nothing: run the command again, it copies nothing \
         twice"
    )]
    InDoubt {
        /// The server and database.
        place: String,
        /// Why.
        source: StoreError,
    },
    /// A migration added what this code does not know; a test is there to see that first.
    #[error(transparent)]
    Unknown(#[from] UnknownKind),
}

/// How far it is.
#[derive(Clone, Copy, Debug)]
pub struct CopyProgress {
    /// The table.
    pub table: &'static str,
    /// Whether its rows are being compared, and not copied any more.
    pub compares: bool,
    /// Rows that are done.
    pub rows: u64,
    /// Rows that there are.
    pub of: u64,
}

/// What was copied.
#[derive(Clone, Debug)]
pub struct Copied {
    /// The server and database, without name and password.
    pub place: String,
    /// Each table with its rows.
    pub tables: Vec<(&'static str, u64)>,
}

impl Store {
    /// Copies the database that the settings name, on SQLite, to a server that has no hub's data.
    pub async fn copy(
        config: &DatabaseConfig,
        to: &Secret,
        mut told: impl FnMut(CopyProgress),
    ) -> Result<Copied, CopyError> {
        let DatabaseUrl::Sqlite(path) = &config.url else { return Err(CopyError::NotSqlite) };
        postgres::check_url(to)?;
        let mut source = Source::hold(config, path).await?;
        let copied = move_all(config, &mut source, to, &mut told).await;
        source.release().await;
        copied
    }
}

async fn move_all(
    config: &DatabaseConfig,
    source: &mut Source,
    to: &Secret,
    told: &mut impl FnMut(CopyProgress),
) -> Result<Copied, CopyError> {
    let tables = tables()?;
    for users in tables.iter().filter(|table| table.name == "hub_user") {
        if source.count(users).await? == 0 {
            return Err(CopyError::Nobody(source.place.clone()));
        }
    }
    let mut target = Target::connect(config, to).await?;
    target.expect_empty(&tables).await?;
    let migrated = postgres::migrate(config, to).await;
    migrated.map_err(|error| OpenError::Database { place: target.place.clone(), source: error.into() })?;
    target.begin(&tables).await?;
    let mut copied = Vec::with_capacity(tables.len());
    for table in &tables {
        let rows = source.count(table).await?;
        copy(source, &mut target, &tables, table, rows, told).await?;
        copied.push((table.name, rows));
    }
    for (table, (_, rows)) in tables.iter().zip(&copied) {
        compare(source, &mut target, table, *rows, told).await?;
    }
    target.number(&tables).await?;
    let place = target.commit().await?;
    Ok(Copied { place, tables: copied })
}

async fn copy(
    source: &mut Source,
    target: &mut Target,
    tables: &[Table],
    table: &Table,
    of: u64,
    told: &mut impl FnMut(CopyProgress),
) -> Result<(), CopyError> {
    let sql = table.select("");
    let mut rows = sqlx::query(AssertSqlSafe(sql)).fetch(&mut source.connection);
    let mut done = 0_u64;
    loop {
        let page = read_page(&mut rows, table, &source.place, Page::is_full).await?;
        if page.rows() == 0 {
            break;
        }
        if let Err(error) = target.insert(table, &page, 0..page.rows()).await {
            return Err(target.at_fault(tables, table, &page, error).await);
        }
        done = done.saturating_add(u64::try_from(page.rows()).unwrap_or(u64::MAX));
        told(CopyProgress { table: table.name, compares: false, rows: done, of });
    }
    // What is read next is read by a good plan, and so is what the hub reads first.
    target.execute(&format!("ANALYZE {}", table.name)).await
}

/// Reads both sides in the order of the key, which must give the same.
async fn compare(
    source: &mut Source,
    target: &mut Target,
    table: &Table,
    of: u64,
    told: &mut impl FnMut(CopyProgress),
) -> Result<(), CopyError> {
    let (here, there) = (table.select(""), table.select(BYTES));
    let mut here = sqlx::query(AssertSqlSafe(here)).fetch(&mut source.connection);
    let mut there = sqlx::query(AssertSqlSafe(there)).fetch(&mut target.connection);
    let mut done = 0_u64;
    loop {
        let mine = read_page(&mut here, table, &source.place, Page::is_full).await?;
        // Where nothing is left here, nothing may be there.
        let as_many = |page: &Page| page.rows() >= mine.rows().max(1);
        let theirs = read_page(&mut there, table, &target.place, as_many).await?;
        if let Some(row) = mine.first_difference(&theirs) {
            let key = table.key_of(if row < mine.rows() { &mine } else { &theirs }, row);
            return Err(CopyError::Differs { table: table.name, key });
        }
        done = done.saturating_add(u64::try_from(mine.rows()).unwrap_or(u64::MAX));
        told(CopyProgress { table: table.name, compares: true, rows: done, of });
        if mine.rows() == 0 {
            return Ok(());
        }
    }
}

/// Reads until the page is full or nothing is left.
async fn read_page<R>(
    rows: &mut (impl Stream<Item = Result<R, sqlx::Error>> + Unpin),
    table: &Table,
    place: &str,
    is_full: impl Fn(&Page) -> bool,
) -> Result<Page, CopyError>
where
    R: Row,
    usize: ColumnIndex<R>,
    for<'r> Option<i64>: Decode<'r, R::Database> + Type<R::Database>,
    for<'r> Option<String>: Decode<'r, R::Database> + Type<R::Database>,
    for<'r> Option<chrono::DateTime<chrono::Utc>>: Decode<'r, R::Database> + Type<R::Database>,
{
    let mut page = table.page();
    while !is_full(&page) {
        let Some(row) = patiently(rows.try_next()).await.map_err(|error| failed(place, error))? else { break };
        if page.push(&row).is_err() {
            let key = table.key_of(&page, page.rows());
            return Err(CopyError::Unreadable { table: table.name, key });
        }
    }
    Ok(page)
}

/// SQLite's side.
struct Source {
    connection: SqliteConnection,
    place: String,
    /// Kept from others as long as this lives.
    _file: sqlite::Locked,
}

impl Source {
    async fn hold(config: &DatabaseConfig, path: &Path) -> Result<Self, CopyError> {
        if !path.exists() {
            return Err(CopyError::NoSource(std::path::absolute(path).unwrap_or_default().display().to_string()));
        }
        let (file, mut connection) = sqlite::hold(config, path).await?;
        let place = path.display().to_string();
        let sql = "SELECT version FROM hub_migration ORDER BY version";
        let made = match sqlx::query_scalar::<_, String>(sql).fetch_all(&mut connection).await.map_err(StoreError::from)
        {
            Ok(made) => made,
            // It is another program's.
            Err(StoreError::Refused(_)) => Vec::new(),
            Err(source) => return Err(CopyError::Failed { place, source }),
        };
        if made != migration::names() {
            return Err(CopyError::Schema(place));
        }
        Ok(Self { connection, place, _file: file })
    }

    /// Lets others at the file again. The connection's end leaves nothing beside it.
    async fn release(self) {
        let Self { connection, place, _file } = self;
        if let Err(error) = connection.close().await {
            tracing::warn!(%error, place, "the database did not close cleanly");
        }
    }

    async fn count(&mut self, table: &Table) -> Result<u64, CopyError> {
        let sql = format!("SELECT count(*) FROM {}", table.name);
        let counted = sqlx::query_scalar::<_, i64>(AssertSqlSafe(sql)).fetch_one(&mut self.connection).await;
        Ok(u64::try_from(counted.map_err(|error| failed(&self.place, error))?).unwrap_or(0))
    }
}

/// PostgreSQL's side: one connection of its own, without the hub's settings, which would end a long transaction.
struct Target {
    connection: PgConnection,
    place: String,
}

impl Target {
    async fn connect(config: &DatabaseConfig, url: &Secret) -> Result<Self, CopyError> {
        let place = postgres::place(url);
        let unreachable = |source: StoreError| OpenError::Database { place: place.clone(), source };
        let options = url.reveal().parse::<PgConnectOptions>().map_err(|error| unreachable(error.into()))?;
        let options = options.application_name("hubbub copy").disable_statement_logging();
        let connection = super::within(config.read_timeout, PgConnection::connect_with(&options)).await;
        let mut target = Self { connection: connection.map_err(unreachable)?, place };
        // The server's own, as far as it knows them: they are made for short transactions.
        target
            .execute(
                "SELECT set_config(name, '0', false) FROM pg_settings WHERE name IN ('statement_timeout', \
                 'transaction_timeout', 'idle_in_transaction_session_timeout', 'idle_session_timeout')",
            )
            .await?;
        target.execute("SET lock_timeout = '10s'").await?;
        target.execute(postgres::DURABLE).await?;
        Ok(target)
    }

    /// Begins the transaction, and keeps everybody out of the hub's tables until it ends: a hub that starts now gives up after
    /// a while, and one that starts later finds all or nothing.
    async fn begin(&mut self, tables: &[Table]) -> Result<(), CopyError> {
        self.execute("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE").await?;
        let names: Vec<_> = tables.iter().map(|table| table.name).collect();
        self.execute(&format!("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE", names.join(", "))).await?;
        self.expect_empty(tables).await?;
        // The keys of a hub that was started here, and has nothing: those that come are others.
        self.execute(&format!("DELETE FROM {SETTINGS}")).await
    }

    /// Refuses where a hub runs, or has left more than a start of it makes.
    async fn expect_empty(&mut self, tables: &[Table]) -> Result<(), CopyError> {
        let start = Instant::now();
        while self.ask::<i64>(postgres::HUBS).await? > 0 {
            if start.elapsed() > ENDING {
                return Err(OpenError::InUse { path: self.place.clone(), owner: String::new() }.into());
            }
            tokio::time::sleep(ENDING / 20).await;
            // Within a transaction the server goes on showing what it has shown.
            self.execute("SELECT pg_stat_clear_snapshot()").await?;
        }
        for table in tables.iter().filter(|table| table.name != SETTINGS) {
            let there: bool = self.ask(&format!("SELECT to_regclass('{}') IS NOT NULL", table.name)).await?;
            if there && self.ask(&format!("SELECT EXISTS (SELECT FROM {})", table.name)).await? {
                return Err(CopyError::NotEmpty { place: self.place.clone(), table: table.name });
            }
        }
        Ok(())
    }

    async fn insert(&mut self, table: &Table, page: &Page, rows: Range<usize>) -> Result<(), sqlx::Error> {
        let sql = table.insert();
        let query = page.bind(sqlx::query(AssertSqlSafe(sql)), &rows);
        patiently(query.execute(&mut self.connection)).await.map(drop)
    }

    /// What is wrong with a page that was not taken: the row at fault is looked for by halves, each in a transaction of its
    /// own.
    async fn at_fault(&mut self, tables: &[Table], table: &Table, page: &Page, error: sqlx::Error) -> CopyError {
        if !super::is_refused(&error) {
            return failed(&self.place, error);
        }
        let (mut first, mut end, mut why) = (0, page.rows(), error);
        while end.saturating_sub(first) > 1 {
            let middle = first.midpoint(end);
            let begun = async {
                self.execute("ROLLBACK").await?;
                self.begin(tables).await
            };
            if let Err(error) = begun.await {
                return error;
            }
            match self.insert(table, page, first..middle).await {
                Ok(()) => first = middle,
                Err(error) if super::is_refused(&error) => (end, why) = (middle, error),
                Err(error) => return failed(&self.place, error),
            }
        }
        CopyError::Refused { table: table.name, key: table.key_of(page, first), why: without_values(&why) }
    }

    /// What is made next gets the number after the highest.
    async fn number(&mut self, tables: &[Table]) -> Result<(), CopyError> {
        for table in tables {
            let Some(column) = table.numbered else { continue };
            let name = table.name;
            let set = format!(
                "SELECT setval(pg_get_serial_sequence('{name}', '{column}'), coalesce(max({column}), 1), \
                 max({column}) IS NOT NULL) FROM {name}"
            );
            self.execute(&set).await?;
        }
        Ok(())
    }

    async fn commit(mut self) -> Result<String, CopyError> {
        match patiently(self.connection.execute("COMMIT")).await {
            Ok(_) => {}
            Err(error) if super::is_refused(&error) => return Err(failed(&self.place, error)),
            Err(error) => return Err(CopyError::InDoubt { place: self.place, source: error.into() }),
        }
        if let Err(error) = self.connection.close().await {
            tracing::warn!(%error, "the connection did not close cleanly");
        }
        Ok(self.place)
    }

    async fn execute(&mut self, sql: &str) -> Result<(), CopyError> {
        let done = patiently(self.connection.execute(AssertSqlSafe(sql))).await;
        done.map(drop).map_err(|error| failed(&self.place, error))
    }

    async fn ask<T>(&mut self, sql: &str) -> Result<T, CopyError>
    where
        T: for<'r> Decode<'r, sqlx::Postgres> + Type<sqlx::Postgres> + Send + Unpin,
    {
        let asked = patiently(sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&mut self.connection)).await;
        asked.map_err(|error| failed(&self.place, error))
    }
}

fn failed(place: &str, error: sqlx::Error) -> CopyError {
    CopyError::Failed { place: place.to_owned(), source: error.into() }
}

/// Waits long, but not for ever: a server that stands still, or a connection that ended without a word.
async fn patiently<T>(call: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    match tokio::time::timeout(STALLED, call).await {
        Ok(result) => result,
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "no answer within 5 minutes").into()),
    }
}

/// The kind of a refusal: the server's own words may hold what was refused.
fn without_values(error: &sqlx::Error) -> String {
    let sqlx::Error::Database(error) = error else { return "it can't be sent".to_owned() };
    let code = error.code().unwrap_or_default().into_owned();
    match (code.as_str(), error.constraint()) {
        ("22021" | "22P05", _) => "a text has U+0000, or a character that the database's encoding lacks".to_owned(),
        (_, Some(constraint)) => format!("error {code}, constraint {constraint}"),
        (_, None) => format!("error {code}"),
    }
}
