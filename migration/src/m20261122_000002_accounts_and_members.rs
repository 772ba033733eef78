//! Accounts of the hub's own, admins, read markers. On PostgreSQL, where the first version never ran, names are compared
//! byte by byte as on SQLite, and a room's row has space for its next version on the same page.

use sea_orm_migration::{
    prelude::*,
    schema::{big_integer, string, text_null},
    sea_orm::DbBackend,
};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let add = |table: &'static str, column: ColumnDef| Table::alter().table(table).add_column(column).to_owned();
        manager.alter_table(add("hub_user", text_null("password_hash"))).await?;
        manager.alter_table(add("hub_user", string("role").default("user").to_owned())).await?;
        manager.alter_table(add("hub_member", big_integer("read_seq").default(0).to_owned())).await?;
        // Whose rooms are these? The primary key answers the other question.
        let of_user =
            Index::create().name("hub_member_of_user").table("hub_member").col("user_id").col("room_id").to_owned();
        manager.create_index(of_user).await?;
        if manager.get_database_backend() == DbBackend::Postgres {
            for sql in [
                r#"ALTER TABLE hub_user ALTER COLUMN external_id TYPE varchar COLLATE "C""#,
                r#"ALTER TABLE hub_room ALTER COLUMN name TYPE varchar COLLATE "C""#,
                r#"ALTER TABLE hub_message ALTER COLUMN client_id TYPE varchar COLLATE "C""#,
                "ALTER TABLE hub_room SET (fillfactor = 50)",
            ] {
                manager.get_connection().execute_unprepared(sql).await?;
            }
        }
        Ok(())
    }
}
