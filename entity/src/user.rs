//! `hub_user`: whoever was seen in a valid token or added to a room, and the hub's own accounts.

use sea_orm::entity::prelude::*;

/// One user.
#[derive(Clone, PartialEq, Eq, DeriveEntityModel)]
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
    /// Of an account of the hub's own: argon2id's, in its PHC form. Nothing prints it.
    pub password_hash: Option<String>,
    /// `user` or `admin`.
    pub role: String,
    /// Since when the user may do nothing, where that is so.
    pub disabled_at: Option<ChronoDateTimeUtc>,
    /// Tokens issued up to here are revoked.
    pub revoked_before: Option<ChronoDateTimeUtc>,
    /// When the user was first seen.
    pub created_at: ChronoDateTimeUtc,
}

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Model").field("external_id", &self.external_id).finish_non_exhaustive()
    }
}

/// Joins that SeaORM may make.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
