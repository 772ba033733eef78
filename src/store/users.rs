//! Users: found by the app's id, made when first seen.

use std::sync::{Arc, PoisonError};

use entity::user;
use sea_orm::{
    ActiveModelTrait,
    ActiveValue::{Set, Unchanged},
    ColumnTrait, EntityTrait, QueryFilter,
    sea_query::OnConflict,
};

use super::{Store, StoreError, within};
use crate::protocol::UserId;

/// How many users are remembered; past it all are forgotten and looked up again.
const KNOWN_USERS: usize = 100_000;

/// A user's row id; never leaves the hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UserKey(pub(super) i64);

/// Somebody whose token was verified.
#[derive(Clone, Debug)]
pub struct User {
    /// The row.
    pub key: UserKey,
    /// What the app calls them.
    pub id: UserId,
    /// Their name, as the token has it.
    pub name: Arc<str>,
}

impl Store {
    /// The user's row; `None` where there is none and `make` is off. A new name is written down.
    pub async fn user(&self, id: UserId, name: Arc<str>, make: bool) -> Result<Option<User>, StoreError> {
        let known = self.known_users.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned();
        let key = match known {
            Some((key, known_name)) if known_name == *name => key,
            _ => {
                let Some(key) = within(self.bounds.read_timeout, self.find_or_make(&id, &name, make)).await? else {
                    return Ok(None);
                };
                let mut users = self.known_users.lock().unwrap_or_else(PoisonError::into_inner);
                if users.len() >= KNOWN_USERS {
                    users.clear();
                }
                users.insert(id.clone(), (key, name.to_string()));
                key
            }
        };
        Ok(Some(User { key, id, name }))
    }

    async fn find_or_make(&self, id: &UserId, name: &str, make: bool) -> Result<Option<UserKey>, StoreError> {
        let find = || user::Entity::find().filter(user::Column::ExternalId.eq(id.as_str())).one(&self.read);
        let mut found = find().await?;
        if found.is_none() && make {
            let row = user::ActiveModel {
                external_id: Set(id.as_str().to_owned()),
                name: Set(name.to_owned()),
                created_at: Set(super::now().to_utc()),
                ..Default::default()
            };
            // Two sessions of one new user may come at once.
            let once = OnConflict::column(user::Column::ExternalId).do_nothing().to_owned();
            user::Entity::insert(row).on_conflict(once).exec_without_returning(&self.write).await?;
            found = find().await?;
        }
        let Some(found) = found else { return Ok(None) };
        if found.name != name {
            let row = user::ActiveModel { id: Unchanged(found.id), name: Set(name.to_owned()), ..Default::default() };
            row.update(&self.write).await?;
        }
        Ok(Some(UserKey(found.id)))
    }
}
