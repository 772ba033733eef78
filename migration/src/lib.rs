//! The schema as migrations that only add, so that the version before runs on what the newer one made. Each writes its
//! own names as text: an old migration must not change when an entity does. Run at start, or by `hubbub migrate`.

pub use sea_orm_migration::prelude::{DbErr, MigratorTrait};

mod m20261122_000001_rooms_and_messages;
mod m20261122_000002_accounts_and_members;
mod m20261122_000003_sanctions;

/// All migrations, oldest first.
pub struct Migrator;

/// The names of all migrations, as a database of this version's schema has them.
pub fn names() -> Vec<String> {
    Migrator::migrations().iter().map(|migration| migration.name().to_owned()).collect()
}

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn sea_orm_migration::MigrationTrait>> {
        vec![
            Box::new(m20261122_000001_rooms_and_messages::Migration),
            Box::new(m20261122_000002_accounts_and_members::Migration),
            Box::new(m20261122_000003_sanctions::Migration),
        ]
    }

    // Django keeps a `django_migrations` table of its own in the same database; ours bears our prefix.
    fn migration_table_name() -> sea_orm_migration::sea_query::DynIden {
        sea_orm_migration::sea_query::IntoIden::into_iden("hub_migration")
    }
}
