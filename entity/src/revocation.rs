//! `hub_revocation`: tokens that are good no longer, by their `jti`.

use sea_orm::entity::prelude::*;

/// One token.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "hub_revocation")]
pub struct Model {
    /// Whose token; another user's of the same `jti` is not meant.
    #[sea_orm(primary_key, auto_increment = false)]
    pub user_id: i64,
    /// The token's id.
    #[sea_orm(primary_key, auto_increment = false)]
    pub jti: String,
    /// When the row may be forgotten, since the token has expired; never where that is not known.
    pub until: Option<ChronoDateTimeUtc>,
}

/// Joins that SeaORM may make.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
