//! `hub_room`: one row a room, which also gives the room's numbers.

use sea_orm::entity::prelude::*;

/// One room.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "hub_room")]
pub struct Model {
    /// The row's id, which never leaves the hub.
    #[sea_orm(primary_key)]
    pub id: i64,
    /// The room's name on the wire; never changes.
    #[sea_orm(unique)]
    pub name: String,
    /// What people read.
    pub title: String,
    /// `public` or `private`.
    pub kind: String,
    /// The oldest event that is kept.
    pub first_seq: i64,
    /// The newest event; the next one gets the number after it, under this row's lock.
    pub last_seq: i64,
    /// How many messages there ever were: the newest message's `ordinal`.
    pub message_count: i64,
    /// Raised by every change of who may do what; a message judged by an older value is not stored.
    pub rights: i64,
    /// Which history the numbers belong to.
    pub epoch: String,
    /// When the room was made.
    pub created_at: ChronoDateTimeUtc,
    /// The newest event's time, below which no later one may be.
    pub last_at: Option<ChronoDateTimeUtc>,
}

/// Joins that SeaORM may make.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
