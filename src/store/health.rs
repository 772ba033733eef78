//! Asking a live writing connection what it is, for readiness and for the tests of P1.

use std::{fs::File, os::unix::fs::OpenOptionsExt};

use sea_orm::{ConnectionTrait, DbErr, sqlx};
use serde::Serialize;

use super::{Store, StoreError, connect::Home};

pub(super) const DURABILITY: &str = "SELECT (SELECT journal_mode FROM pragma_journal_mode), \
     (SELECT synchronous FROM pragma_synchronous)";
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
            Home::Sqlite(file) => {
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

    /// Writes a copy of SQLite's database as it is now, while the hub runs.
    pub async fn backup(&self, to: &str) -> Result<(), StoreError> {
        match &self.home {
            Home::Sqlite(_) => {
                // Password hashes and keys are in it: for its owner's eyes alone. SQLite fills an empty file.
                let made = File::options().write(true).create_new(true).mode(0o600).open(to);
                made.map_err(|error| StoreError::Refused(format!("{to}: {error}")))?;
                // As long as it takes: the operator waits for it.
                let copy = super::statement(&self.read, "VACUUM INTO ?", [to.into()]);
                Ok(self.read.execute_raw(copy).await.map(drop)?)
            }
            Home::Postgres(_) => {
                let instead = "PostgreSQL has a backup of its own: use pg_dump";
                Err(DbErr::Conn(sea_orm::RuntimeErr::SqlxError(sqlx::Error::Configuration(instead.into()).into()))
                    .into())
            }
        }
    }
}
