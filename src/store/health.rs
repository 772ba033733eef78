//! Asking the live writing connection what it is, for readiness and for the tests of P1.

use sea_orm::{ConnectionTrait, DbBackend, Statement};
use serde::Serialize;

use super::{Store, StoreError, within};

pub(super) const DURABILITY: &str = "SELECT (SELECT journal_mode FROM pragma_journal_mode), \
     (SELECT synchronous FROM pragma_synchronous)";
/// `PRAGMA synchronous` of FULL.
pub(super) const FULL: i64 = 2;

/// What the writing connection says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Health {
    /// `wal`.
    pub journal_mode: String,
    /// 2 is FULL: each commit is on the disk before it is acknowledged.
    pub synchronous: i64,
}

impl Store {
    /// Asks the writing connection itself, not a new one.
    pub async fn health(&self) -> Result<Health, StoreError> {
        self.check_file()?;
        let statement = Statement::from_string(DbBackend::Sqlite, DURABILITY);
        let row = within(self.bounds.read_timeout, self.write.query_one_raw(statement)).await?;
        let row = row.ok_or_else(|| StoreError::Unavailable("no answer to a pragma".into()))?;
        Ok(Health { journal_mode: row.try_get_by_index(0)?, synchronous: row.try_get_by_index(1)? })
    }
}
