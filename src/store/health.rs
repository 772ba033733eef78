//! Asking a live writing connection what it is, for readiness and for the tests of P1.

use sea_orm::ConnectionTrait;
use serde::Serialize;

use super::{Store, StoreError, connect::Home};

pub(super) const DURABILITY: &str = "SELECT (SELECT journal_mode FROM pragma_journal_mode), \
     (SELECT synchronous FROM pragma_synchronous)";
/// The setting that is written to see whether anything can be: when that was.
const WRITTEN_AT: &str = "written_at";
/// `PRAGMA synchronous` of FULL.
pub(super) const FULL: i64 = 2;

/// What the writing connection says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Health {
    /// SQLite
    Sqlite {
        /// `wal`.
        journal_mode: String,
        /// 2 is FULL: each commit is on the disk before it is acknowledged.
        synchronous: i64,
    },
    /// PostgreSQL
    Postgres {
        /// `on` (or `remote_apply`): each commit is on the server's disk before it is acknowledged.
        synchronous_commit: String,
    },
}

impl Store {
    /// Asks a writing connection itself, not a new one.
    pub async fn health(&self) -> Result<Health, StoreError> {
        let missing = || StoreError::Unavailable("no answer from the writing connection".into());
        let asked = |sql: &'static str| self.within(self.write.query_one_raw(super::statement(&self.write, sql, [])));
        match &self.home {
            Home::Sqlite(file, _) => {
                file.check()?;
                let row = asked(DURABILITY).await?.ok_or_else(missing)?;
                Ok(Health::Sqlite { journal_mode: row.try_get_by_index(0)?, synchronous: row.try_get_by_index(1)? })
            }
            Home::Postgres(_) => {
                let row = asked("SELECT current_setting('synchronous_commit')").await?.ok_or_else(missing)?;
                Ok(Health::Postgres { synchronous_commit: row.try_get_by_index(0)? })
            }
        }
    }

    /// Writes something of no meaning, as durably as a message, to see whether that can be done.
    pub(super) async fn try_write(&self) -> Result<(), StoreError> {
        if let Home::Sqlite(file, _) = &self.home {
            file.check()?;
        }
        self.set_setting(WRITTEN_AT, &super::now().to_utc().to_rfc3339()).await
    }

    /// Fills an empty file with a copy of SQLite's database as it is now, while a hub runs. As long as it takes: the
    /// operator waits for it.
    pub async fn backup(&self, to: &str) -> Result<(), StoreError> {
        let copy = super::statement(&self.read, "VACUUM INTO ?", [to.into()]);
        Ok(self.read.execute_raw(copy).await.map(drop)?)
    }
}
