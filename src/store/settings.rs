//! The hub's own keys, kept in the database so that all nodes share them.

use entity::setting;
use sea_orm::{ActiveValue::Set, EntityTrait, sea_query::OnConflict};

use super::{OpenError, Store, StoreError};
use crate::config::DatabaseConfig;

impl Store {
    /// The setting's value; where it has none, `make` gives it one, once for all processes.
    pub async fn setting_or(&self, key: &str, make: impl FnOnce() -> String) -> Result<String, StoreError> {
        let row = setting::ActiveModel { key: Set(key.to_owned()), value: Set(make()) };
        let insert = setting::Entity::insert(row).on_conflict(keep()).exec_without_returning(&self.write);
        self.within(insert).await?;
        let find = setting::Entity::find_by_id(key.to_owned()).one(&self.write);
        let found = self.within(find).await?;
        found.map(|row| row.value).ok_or_else(|| StoreError::Refused(format!("setting {key} did not stay")))
    }

    /// Gives the setting another value.
    pub async fn set_setting(&self, key: &str, value: &str) -> Result<(), StoreError> {
        let row = setting::ActiveModel { key: Set(key.to_owned()), value: Set(value.to_owned()) };
        let replace = OnConflict::column(setting::Column::Key).update_column(setting::Column::Value).to_owned();
        let insert = setting::Entity::insert(row).on_conflict(replace).exec_without_returning(&self.write);
        self.within(insert).await.map(drop)
    }

    /// A setting read beside a hub that may be running; `None` where it was never made.
    pub async fn peek_setting(config: &DatabaseConfig, key: &str) -> Result<Option<String>, OpenError> {
        let (connection, place) = Self::peek(config).await?;
        let found = setting::Entity::find_by_id(key.to_owned()).one(&connection).await;
        found.map(|row| row.map(|row| row.value)).map_err(|error| OpenError::Database { place, source: error.into() })
    }
}

/// A setting that has a value keeps it.
pub(super) fn keep() -> OnConflict {
    OnConflict::column(setting::Column::Key).do_nothing().to_owned()
}
