//! Users, rooms, members, the rooms' logs and the hub's own settings.

use sea_orm_migration::{
    prelude::*,
    schema::{
        big_integer, big_integer_null, big_pk_auto, string, string_null, string_uniq, text, text_null,
        timestamp_with_time_zone, timestamp_with_time_zone_null,
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
        let user = Table::create()
            .table("hub_user")
            .col(big_pk_auto("id"))
            .col(string_uniq("external_id"))
            .col(string("name"))
            .col(timestamp_with_time_zone("created_at"))
            .to_owned();
        let room = Table::create()
            .table("hub_room")
            .col(big_pk_auto("id"))
            .col(string_uniq("name"))
            .col(string("title"))
            .col(string("kind"))
            .col(big_integer("first_seq").default(1))
            .col(big_integer("last_seq").default(0))
            .col(big_integer("message_count").default(0))
            .col(big_integer("rights").default(0))
            .col(string("epoch"))
            .col(timestamp_with_time_zone("created_at"))
            .col(timestamp_with_time_zone_null("last_at"))
            .to_owned();
        let member = Table::create()
            .table("hub_member")
            .col(big_integer("room_id"))
            .col(big_integer("user_id"))
            .col(string("role"))
            .col(timestamp_with_time_zone("joined_at"))
            .primary_key(Index::create().col("room_id").col("user_id"))
            .to_owned();
        let message = Table::create()
            .table("hub_message")
            .col(big_integer("room_id"))
            .col(big_integer("seq"))
            .col(string("kind"))
            .col(big_integer_null("target"))
            .col(big_integer_null("ordinal"))
            .col(big_integer_null("user_id"))
            .col(string("name"))
            .col(string_null("client_id"))
            .col(text("content"))
            .col(text_null("data"))
            .col(timestamp_with_time_zone("created_at"))
            .primary_key(Index::create().col("room_id").col("seq"))
            .to_owned();
        // P2: the same client id of the same user in the same room is one message, as long as its row lives.
        let once = Index::create()
            .name("hub_message_once")
            .table("hub_message")
            .col("room_id")
            .col("user_id")
            .col("client_id")
            .unique()
            .to_owned();
        let setting =
            Table::create().table("hub_setting").col(string("key").primary_key()).col(text("value")).to_owned();
        for table in [user, room, member, message, setting] {
            manager.create_table(table).await?;
        }
        manager.create_index(once).await
    }
}
