//! What ends somebody's rights: disabled users, revoked tokens, bans from rooms; tickets that open one socket; and the
//! record of who did what.

use sea_orm_migration::{
    prelude::*,
    schema::{
        big_integer, big_pk_auto, string, string_null, text_null, timestamp_with_time_zone,
        timestamp_with_time_zone_null,
    },
};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let add = |column: ColumnDef| Table::alter().table("hub_user").add_column(column).to_owned();
        manager.alter_table(add(timestamp_with_time_zone_null("disabled_at"))).await?;
        manager.alter_table(add(timestamp_with_time_zone_null("revoked_before"))).await?;
        let revocation = Table::create()
            .table("hub_revocation")
            .col(big_integer("user_id"))
            .col(string("jti"))
            .col(timestamp_with_time_zone_null("until"))
            .primary_key(Index::create().col("user_id").col("jti"))
            .to_owned();
        let ban = Table::create()
            .table("hub_ban")
            .col(big_integer("room_id"))
            .col(big_integer("user_id"))
            .col(big_integer("by_id"))
            .col(text_null("reason"))
            .col(timestamp_with_time_zone_null("until"))
            .col(timestamp_with_time_zone("created_at"))
            .primary_key(Index::create().col("room_id").col("user_id"))
            .to_owned();
        let ticket = Table::create()
            .table("hub_ticket")
            .col(string("hash").primary_key())
            .col(string("user_id"))
            .col(string("name"))
            .col(string_null("jti"))
            .col(timestamp_with_time_zone_null("issued_at"))
            .col(timestamp_with_time_zone("expires_at"))
            .col(timestamp_with_time_zone("until"))
            .to_owned();
        let audit = Table::create()
            .table("hub_audit")
            .col(big_pk_auto("id"))
            .col(timestamp_with_time_zone("at"))
            .col(string("actor"))
            .col(string("action"))
            .col(string_null("user_id"))
            .col(string_null("room"))
            .col(text_null("detail"))
            .to_owned();
        for table in [revocation, ban, ticket, audit] {
            manager.create_table(table).await?;
        }
        let ended = Index::create().name("hub_ticket_until").table("hub_ticket").col("until").to_owned();
        manager.create_index(ended).await
    }
}
