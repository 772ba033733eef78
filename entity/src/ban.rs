//! `hub_ban`: who may not enter a room.

use sea_orm::entity::prelude::*;

/// One ban.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "hub_ban")]
pub struct Model {
    /// The room.
    #[sea_orm(primary_key, auto_increment = false)]
    pub room_id: i64,
    /// Who.
    #[sea_orm(primary_key, auto_increment = false)]
    pub user_id: i64,
    /// Who said so.
    pub by_id: i64,
    /// Why, for the one who is banned.
    pub reason: Option<String>,
    /// When it ends by itself.
    pub until: Option<ChronoDateTimeUtc>,
    /// Since when.
    pub created_at: ChronoDateTimeUtc,
}

/// Joins that SeaORM may make.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {
    /// The banned user.
    #[sea_orm(belongs_to = "super::user::Entity", from = "Column::UserId", to = "super::user::Column::Id")]
    User,
}

impl ActiveModelBehavior for ActiveModel {}

impl Related<super::user::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::User.def()
    }
}
