//! `hub_user`: whoever was seen in a valid token.

use sea_orm::entity::prelude::*;

/// One user.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "hub_user")]
pub struct Model {
    /// The row's id, which never leaves the hub.
    #[sea_orm(primary_key)]
    pub id: i64,
    /// What the app calls the user: `user_id` on the wire.
    #[sea_orm(unique)]
    pub external_id: String,
    /// The name in the newest token.
    pub name: String,
    /// When the user was first seen.
    pub created_at: ChronoDateTimeUtc,
}

/// Joins that SeaORM may make.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
