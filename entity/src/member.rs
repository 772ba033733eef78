//! `hub_member`: who belongs to a room. Private rooms are for members alone.

use sea_orm::entity::prelude::*;

/// One user in one room.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "hub_member")]
pub struct Model {
    /// The room's row.
    #[sea_orm(primary_key, auto_increment = false)]
    pub room_id: i64,
    /// The user's row.
    #[sea_orm(primary_key, auto_increment = false)]
    pub user_id: i64,
    /// `owner`, `moderator` or `member`.
    pub role: String,
    /// The last event that the user has read.
    pub read_seq: i64,
    /// Since when.
    pub joined_at: ChronoDateTimeUtc,
}

/// Joins that SeaORM may make.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {
    /// Who it is.
    #[sea_orm(belongs_to = "super::user::Entity", from = "Column::UserId", to = "super::user::Column::Id")]
    User,
}

impl Related<super::user::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::User.def()
    }
}

impl ActiveModelBehavior for ActiveModel {}
