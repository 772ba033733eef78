//! `hub_audit`: who did what to whom; rows are only added.

use sea_orm::entity::prelude::*;

/// One act.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "hub_audit")]
pub struct Model {
    /// Its number.
    #[sea_orm(primary_key)]
    pub id: i64,
    /// When.
    pub at: ChronoDateTimeUtc,
    /// Who: a user's id, or `cli`.
    pub actor: String,
    /// What, such as `disable`.
    pub action: String,
    /// To which user, by the id in the app.
    pub user_id: Option<String>,
    /// In which room.
    pub room: Option<String>,
    /// More of it, as JSON.
    pub detail: Option<String>,
}

/// Joins that SeaORM may make.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
