//! A table as `copy` sees it, by its entity alone, and a page of its rows, by columns. What bounds a page is here.

use std::ops::Range;

use chrono::{DateTime, SubsecRound, Utc};
use entity::{audit, ban, member, message, revocation, room, setting, ticket, user};
use sea_orm::{
    EntityTrait, IdenStatic, Iterable, ModelTrait, PrimaryKeyToColumn, PrimaryKeyTrait,
    sea_query::ArrayType,
    sqlx::{self, ColumnIndex, Decode, Postgres, Row, Type, postgres::PgArguments, query::Query},
};

/// Rows of a page at the most.
const PAGE_ROWS: usize = 5_000;
/// Bytes of text in a page at the most, but for its last row.
const PAGE_BYTES: usize = 1024 * 1024;

/// A column holds what the copy does not know how to move.
#[derive(Debug, thiserror::Error)]
#[error("{table}.{column} is of a kind that can't be copied")]
pub struct UnknownKind {
    table: &'static str,
    column: &'static str,
}

/// One table.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) name: &'static str,
    columns: Vec<(&'static str, Kind)>,
    key: Vec<&'static str>,
    /// The column that the database numbers by itself.
    pub(super) numbered: Option<&'static str>,
}

/// What a column holds; everything may be null, as far as this goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Number,
    Text,
    Moment,
}

/// All tables but the migrations' own: a test holds them against the schema.
pub(super) fn tables() -> Result<Vec<Table>, UnknownKind> {
    Ok(vec![
        Table::of::<setting::Entity>()?,
        Table::of::<user::Entity>()?,
        Table::of::<room::Entity>()?,
        Table::of::<member::Entity>()?,
        Table::of::<ban::Entity>()?,
        Table::of::<revocation::Entity>()?,
        Table::of::<ticket::Entity>()?,
        Table::of::<audit::Entity>()?,
        Table::of::<message::Entity>()?,
    ])
}

impl Table {
    fn of<E: EntityTrait>() -> Result<Self, UnknownKind> {
        let table = E::default().table_name();
        let column = |column: E::Column| {
            let name = column.as_str();
            let kind = match E::Model::get_value_type(column) {
                ArrayType::BigInt => Kind::Number,
                ArrayType::String => Kind::Text,
                ArrayType::ChronoDateTimeUtc => Kind::Moment,
                _ => return Err(UnknownKind { table, column: name }),
            };
            Ok((name, kind))
        };
        let key: Vec<_> = E::PrimaryKey::iter().map(|key| key.into_column().as_str()).collect();
        let numbered = if E::PrimaryKey::auto_increment() { key.first().copied() } else { None };
        Ok(Self { name: table, columns: E::Column::iter().map(column).collect::<Result<_, _>>()?, key, numbered })
    }

    /// All rows in the order of the key. Text is put in the order of its bytes: SQLite does so by itself, PostgreSQL with
    /// this collation.
    pub(super) fn select(&self, collation: &str) -> String {
        let order = self.key.iter().map(|key| {
            let text = self.columns.contains(&(*key, Kind::Text));
            if text { format!("\"{key}\"{collation}") } else { format!("\"{key}\"") }
        });
        format!("SELECT {} FROM {} ORDER BY {}", self.quoted(), self.name, order.collect::<Vec<_>>().join(", "))
    }

    /// Stores a page, whose columns are bound as arrays.
    pub(super) fn insert(&self) -> String {
        let array = |(place, (_, kind)): (usize, &(&str, Kind))| {
            let kind = match kind {
                Kind::Number => "bigint",
                Kind::Text => "text",
                Kind::Moment => "timestamptz",
            };
            format!("${}::{kind}[]", place.saturating_add(1))
        };
        let arrays: Vec<_> = self.columns.iter().enumerate().map(array).collect();
        format!("INSERT INTO {} ({}) SELECT * FROM unnest({})", self.name, self.quoted(), arrays.join(", "))
    }

    fn quoted(&self) -> String {
        self.columns.iter().map(|(name, _)| format!("\"{name}\"")).collect::<Vec<_>>().join(", ")
    }

    pub(super) fn page(&self) -> Page {
        let column = |(_, kind): &(&str, Kind)| match kind {
            Kind::Number => Column::Numbers(Vec::new()),
            Kind::Text => Column::Texts(Vec::new()),
            Kind::Moment => Column::Moments(Vec::new()),
        };
        Page { columns: self.columns.iter().map(column).collect(), rows: 0, bytes: 0 }
    }

    /// The key of a page's row, as it is told to people: `room_id 3, seq 17`.
    pub(super) fn key_of(&self, page: &Page, row: usize) -> String {
        let columns = self.columns.iter().zip(&page.columns).filter(|((name, _), _)| self.key.contains(name));
        let parts = columns.filter_map(|((name, _), column)| Some(format!("{name} {}", column.shown(row)?)));
        parts.collect::<Vec<_>>().join(", ")
    }
}

/// Rows, by columns.
#[derive(Debug, PartialEq)]
pub(super) struct Page {
    columns: Vec<Column>,
    rows: usize,
    bytes: usize,
}

#[derive(Debug, PartialEq)]
enum Column {
    Numbers(Vec<Option<i64>>),
    Texts(Vec<Option<String>>),
    Moments(Vec<Option<DateTime<Utc>>>),
}

impl Page {
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    pub(super) fn is_full(&self) -> bool {
        self.rows >= PAGE_ROWS || self.bytes >= PAGE_BYTES
    }

    /// Takes a row in. Where one of its values can't be read, those before it stay: the page is of no more use then, but for
    /// the row's key.
    pub(super) fn push<'r, R: Row>(&mut self, row: &'r R) -> Result<(), sqlx::Error>
    where
        usize: ColumnIndex<R>,
        Option<i64>: Decode<'r, R::Database> + Type<R::Database>,
        Option<String>: Decode<'r, R::Database> + Type<R::Database>,
        Option<DateTime<Utc>>: Decode<'r, R::Database> + Type<R::Database>,
    {
        for (place, column) in self.columns.iter_mut().enumerate() {
            match column {
                Column::Numbers(values) => values.push(row.try_get(place)?),
                Column::Texts(values) => {
                    let text: Option<String> = row.try_get(place)?;
                    self.bytes = self.bytes.saturating_add(text.as_ref().map_or(0, String::len));
                    values.push(text);
                }
                // PostgreSQL keeps microseconds, and the hub writes no more.
                Column::Moments(values) => {
                    let at: Option<DateTime<Utc>> = row.try_get(place)?;
                    values.push(at.map(|at| at.trunc_subsecs(6)));
                }
            }
        }
        self.rows = self.rows.saturating_add(1);
        Ok(())
    }

    /// Binds some of the rows to `Table::insert`.
    pub(super) fn bind<'q>(
        &'q self,
        query: Query<'q, Postgres, PgArguments>,
        rows: &Range<usize>,
    ) -> Query<'q, Postgres, PgArguments> {
        self.columns.iter().fold(query, |query, column| match column {
            Column::Numbers(values) => query.bind(values.get(rows.clone()).unwrap_or_default()),
            Column::Texts(values) => query.bind(values.get(rows.clone()).unwrap_or_default()),
            Column::Moments(values) => query.bind(values.get(rows.clone()).unwrap_or_default()),
        })
    }

    /// The first row in which the two are not the same.
    pub(super) fn first_difference(&self, other: &Self) -> Option<usize> {
        if self == other {
            return None;
        }
        let first = self.columns.iter().zip(&other.columns).filter_map(|(mine, theirs)| mine.first_difference(theirs));
        first.min()
    }
}

impl Column {
    fn first_difference(&self, other: &Self) -> Option<usize> {
        fn first<T: PartialEq>(mine: &[T], theirs: &[T]) -> Option<usize> {
            let both = mine.len().min(theirs.len());
            let place = mine.iter().zip(theirs).position(|(mine, theirs)| mine != theirs);
            place.or((mine.len() != theirs.len()).then_some(both))
        }
        match (self, other) {
            (Self::Numbers(mine), Self::Numbers(theirs)) => first(mine, theirs),
            (Self::Texts(mine), Self::Texts(theirs)) => first(mine, theirs),
            (Self::Moments(mine), Self::Moments(theirs)) => first(mine, theirs),
            _ => Some(0),
        }
    }

    fn shown(&self, row: usize) -> Option<String> {
        match self {
            Self::Numbers(values) => values.get(row)?.map(|number| number.to_string()),
            Self::Texts(values) => values.get(row)?.as_ref().map(|text| format!("{text:?}")),
            Self::Moments(values) => values.get(row)?.map(|at| at.to_rfc3339()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use migration::{Migrator, MigratorTrait};
    use sea_orm::{ConnectOptions, Database};

    use super::*;

    /// A migration that adds a table or a column, and an entity or a list that does not know of it: what is in there would
    /// be left behind.
    #[tokio::test]
    async fn every_table_and_column_of_the_schema_is_copied() {
        let mut options = ConnectOptions::new("sqlite::memory:");
        options.max_connections(1);
        let database = Database::connect(options).await.unwrap();
        Migrator::up(&database, None).await.unwrap();
        let sql = "SELECT m.name, c.name FROM sqlite_master m, pragma_table_info(m.name) c \
                   WHERE m.type = 'table' AND m.name LIKE 'hub%' AND m.name <> 'hub_migration'";
        let found: Vec<(String, String)> =
            sqlx::query_as(sql).fetch_all(database.get_sqlite_connection_pool()).await.unwrap();
        let mut schema: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (table, column) in found {
            schema.entry(table).or_default().insert(column);
        }
        let columns = |table: &Table| table.columns.iter().map(|(name, _)| (*name).to_owned()).collect();
        let copied: BTreeMap<_, _> =
            tables().unwrap().iter().map(|table| (table.name.to_owned(), columns(table))).collect();
        assert_eq!(copied, schema);
        assert!(copied.len() >= 9 && copied["hub_message"].len() >= 11, "{copied:?}");
    }

    #[test]
    fn a_row_that_differs_or_is_missing_is_found() {
        let page = |numbers: &[i64], texts: &[&str]| Page {
            columns: vec![
                Column::Numbers(numbers.iter().copied().map(Some).collect()),
                Column::Texts(texts.iter().map(|text| Some((*text).to_owned())).collect()),
            ],
            rows: numbers.len(),
            bytes: 0,
        };
        let one = page(&[1, 2, 3], &["a", "b", "c"]);
        assert_eq!(one.first_difference(&page(&[1, 2, 3], &["a", "b", "c"])), None);
        assert_eq!(one.first_difference(&page(&[1, 2, 3], &["a", "B", "C"])), Some(1));
        assert_eq!(one.first_difference(&page(&[1, 2, 4], &["a", "b", "c"])), Some(2));
        assert_eq!(one.first_difference(&page(&[1, 2], &["a", "b"])), Some(2));
        assert_eq!(one.first_difference(&page(&[2, 3], &["b", "c"])), Some(0));
    }
}
