//! `hub_message`: a room's log. No foreign keys: they cost 22–37 % of the writes and the writer checks what they would.

use sea_orm::entity::prelude::*;

/// One event of a room.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "hub_message")]
pub struct Model {
    /// The room's row.
    #[sea_orm(primary_key, auto_increment = false)]
    pub room_id: i64,
    /// The event's number in the room: 1, 2, 3… without a hole.
    #[sea_orm(primary_key, auto_increment = false)]
    pub seq: i64,
    /// `message`; edits, deletes and reactions will be further kinds.
    pub kind: String,
    /// The event that this one is about.
    pub target: Option<i64>,
    /// The how-manieth message of the room it is; null for other kinds.
    pub ordinal: Option<i64>,
    /// Who sent it.
    pub user_id: Option<i64>,
    /// The sender's name at sending.
    pub name: String,
    /// The sender's own id for it; where it gave none, `~` and a random key of the writer's.
    pub client_id: Option<String>,
    /// The text as it came.
    pub content: String,
    /// The app's JSON as it came.
    pub data: Option<String>,
    /// When it was stored.
    pub created_at: ChronoDateTimeUtc,
}

/// Joins that SeaORM may make.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {
    /// Who sent it.
    #[sea_orm(belongs_to = "super::user::Entity", from = "Column::UserId", to = "super::user::Column::Id")]
    User,
}

impl Related<super::user::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::User.def()
    }
}

impl ActiveModelBehavior for ActiveModel {}
