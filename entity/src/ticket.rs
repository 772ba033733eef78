//! `hub_ticket`: what opens one socket, once, for half a minute.

use sea_orm::entity::prelude::*;

/// One ticket.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "hub_ticket")]
pub struct Model {
    /// SHA-256 of the ticket, in hexadecimal: whoever reads the table can't use it.
    #[sea_orm(primary_key, auto_increment = false)]
    pub hash: String,
    /// The user's id in the app.
    pub user_id: String,
    /// Their name, as the token had it.
    pub name: String,
    /// A hash of the token's id, by which it may be revoked.
    pub jti: Option<String>,
    /// When the token was issued.
    pub issued_at: Option<ChronoDateTimeUtc>,
    /// When the token ends, and the session with it.
    pub expires_at: ChronoDateTimeUtc,
    /// When the ticket ends.
    pub until: ChronoDateTimeUtc,
}

/// Joins that SeaORM may make.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
