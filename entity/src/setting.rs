//! `hub_setting`: the hub's own keys.

use sea_orm::entity::prelude::*;

/// One setting.
#[derive(Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "hub_setting")]
pub struct Model {
    /// Its name.
    #[sea_orm(primary_key, auto_increment = false)]
    pub key: String,
    /// Its value; may be a secret, so nothing prints it.
    pub value: String,
}

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Model").field("key", &self.key).finish_non_exhaustive()
    }
}

/// Joins that SeaORM may make.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
