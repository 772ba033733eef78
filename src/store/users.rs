//! Users: found by the app's id, made when first seen or added to a room; and the hub's own accounts.

use std::{
    sync::{Arc, PoisonError, atomic::Ordering},
    time::{Duration, Instant},
};

use entity::user;
use sea_orm::{
    ActiveModelTrait,
    ActiveValue::{Set, Unchanged},
    ColumnTrait, ConnectionTrait, DbErr, EntityTrait, QueryFilter, QuerySelect, TransactionTrait,
    sea_query::OnConflict,
};

use super::{Store, StoreError, audit::Act};
use crate::protocol::UserId;

/// How many users are remembered; past it all are forgotten and looked up again.
const KNOWN_USERS: usize = 100_000;
/// How long. Whoever's rights change is forgotten at once (`settle_user`), whoever's token has another name is read again.
const KNOWN_FOR: Duration = Duration::from_secs(60);

pub(super) const ADMIN: &str = "admin";
const USER: &str = "user";

/// A user's row id; never leaves the hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UserKey(pub i64);

/// Somebody whose token was verified.
#[derive(Clone, Debug)]
pub struct User {
    /// The row.
    pub key: UserKey,
    /// What the app calls them.
    pub id: UserId,
    /// Their name, as the token has it.
    pub name: Arc<str>,
    /// Whether they may do everything.
    pub admin: bool,
}

impl User {
    /// What rights are judged by.
    pub fn right(&self) -> (UserKey, bool) {
        (self.key, self.admin)
    }
}

/// A user, and what the row says of their rights.
#[derive(Clone, Debug)]
pub struct SeenUser {
    /// The user.
    pub user: User,
    /// Whether they may do nothing.
    pub disabled: bool,
    /// Tokens issued up to here, in seconds of Unix time, are revoked.
    pub revoked_before: Option<i64>,
}

impl SeenUser {
    fn of(row: &user::Model, id: UserId, name: Arc<str>) -> Self {
        Self {
            user: User { key: UserKey(row.id), id, name, admin: row.role == ADMIN },
            disabled: row.disabled_at.is_some(),
            revoked_before: row.revoked_before.map(|at| at.timestamp()),
        }
    }
}

/// What is remembered of a user.
#[derive(Clone)]
pub(super) struct Known {
    seen: SeenUser,
    since: Instant,
}

impl Store {
    /// The user whose token says so; `None` where there is none and `make` is off. A new name is written down.
    pub async fn user(&self, id: UserId, name: Arc<str>, make: bool) -> Result<Option<SeenUser>, StoreError> {
        let known = self.known_users.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned();
        if let Some(known) = known.filter(|known| known.seen.user.name == name && known.since.elapsed() < KNOWN_FOR) {
            return Ok(Some(known.seen));
        }
        let acts = self.settled.load(Ordering::Acquire);
        let Some(row) = self.within(self.find_named(&id, &name, make)).await? else { return Ok(None) };
        let seen = SeenUser::of(&row, id.clone(), name);
        let mut users = self.known_users.lock().unwrap_or_else(PoisonError::into_inner);
        if users.len() >= KNOWN_USERS {
            users.clear();
        }
        // What was read before an act may be older than the act.
        if acts == self.settled.load(Ordering::Acquire) {
            users.insert(id, Known { seen: seen.clone(), since: Instant::now() });
        }
        Ok(Some(seen))
    }

    /// What the row says now of a user whose rights have changed; what was remembered of them is forgotten.
    pub(super) async fn user_again(&self, id: &UserId) -> Result<Option<SeenUser>, StoreError> {
        let row = self.within(find(&self.write, id)).await?;
        self.settled.fetch_add(1, Ordering::AcqRel);
        self.known_users.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
        Ok(row.map(|row| SeenUser::of(&row, id.clone(), row.name.as_str().into())))
    }

    /// The user in whose name an admin speaks; their name stays as it is.
    pub async fn user_by_id(&self, id: &UserId, make: bool) -> Result<Option<User>, StoreError> {
        let found = self.within(async {
            let made = find_or_make(&self.write, id, make).await?;
            let row = find(&self.write, id).await?;
            Ok::<_, DbErr>(made.and(row))
        });
        Ok(found.await?.map(|row| SeenUser::of(&row, id.clone(), row.name.as_str().into()).user))
    }

    async fn find_named(&self, id: &UserId, name: &str, make: bool) -> Result<Option<user::Model>, DbErr> {
        let mut found = find(&self.read, id).await?;
        if found.is_none() && make {
            insert(&self.write, id, name, None).await?;
            found = find(&self.write, id).await?;
        }
        if let Some(row) = found.as_ref().filter(|row| row.name != name) {
            let row = user::ActiveModel { id: Unchanged(row.id), name: Set(name.to_owned()), ..Default::default() };
            row.update(&self.write).await?;
        }
        Ok(found)
    }

    /// Makes an account with a password's hash; `false` where somebody has this id. `take_over` gives a password to one
    /// that has none, such as one that the operator made a token for.
    pub async fn create_account(
        &self,
        id: &UserId,
        name: &str,
        hash: &str,
        take_over: bool,
    ) -> Result<bool, StoreError> {
        let create = async {
            if insert(&self.write, id, name, Some(hash)).await? {
                return Ok::<_, DbErr>(true);
            }
            match find(&self.write, id).await? {
                Some(row) if take_over && row.password_hash.is_none() => {
                    let hash = Set(Some(hash.to_owned()));
                    let row = user::ActiveModel { id: Unchanged(row.id), password_hash: hash, ..Default::default() };
                    row.update(&self.write).await?;
                    Ok(true)
                }
                _ => Ok(false),
            }
        };
        self.within(create).await
    }

    /// Whether there is such a user, and the hash of their password where they have one and may sign in by it.
    pub async fn account(&self, id: &UserId) -> Result<Option<Option<String>>, StoreError> {
        let row = self.within(find(&self.read, id)).await?;
        Ok(row.map(|row| row.password_hash.filter(|_| row.disabled_at.is_none())))
    }

    /// Gives or takes the right to do everything; `false` where there is no such user.
    pub async fn set_admin(&self, id: &UserId, admin: bool, actor: &str) -> Result<bool, StoreError> {
        let role = if admin { ADMIN } else { USER };
        let action = if admin { "make_admin" } else { "unmake_admin" };
        let set = |_: &user::Model, row: &mut user::ActiveModel| row.role = Set(role.to_owned());
        Ok(self.change_user(id, false, Act::by(actor, action), set).await?.is_some())
    }

    /// Changes a user's row and notes who did it; `None` where there is no such user and none is to be made.
    pub(super) async fn change_user(
        &self,
        id: &UserId,
        make: bool,
        act: Act<'_>,
        set: impl FnOnce(&user::Model, &mut user::ActiveModel),
    ) -> Result<Option<UserKey>, StoreError> {
        self.within(async {
            let transaction = self.write.begin_with_options(super::immediate()).await?;
            let made = find_or_make(&transaction, id, make).await?;
            let find = user::Entity::find().filter(user::Column::ExternalId.eq(id.as_str())).lock_exclusive();
            let (Some(key), Some(old)) = (made, find.one(&transaction).await?) else {
                transaction.rollback().await?;
                return Ok(None);
            };
            let mut row = user::ActiveModel { id: Unchanged(key.0), ..Default::default() };
            set(&old, &mut row);
            let row_makes_admin = row.role == Set(ADMIN.to_owned());
            if row.is_changed() {
                row.update(&transaction).await?;
            }
            if row_makes_admin {
                super::setup::use_up(&transaction).await?;
            }
            act.on_user(id).record(&transaction).await?;
            transaction.commit().await?;
            Ok::<_, DbErr>(Some(key))
        })
        .await
    }
}

pub(super) async fn find(db: &impl ConnectionTrait, id: &UserId) -> Result<Option<user::Model>, DbErr> {
    user::Entity::find().filter(user::Column::ExternalId.eq(id.as_str())).one(db).await
}

pub(super) async fn is_admin(db: &impl ConnectionTrait, user: UserKey) -> Result<bool, DbErr> {
    Ok(user::Entity::find_by_id(user.0).one(db).await?.is_some_and(|row| row.role == ADMIN))
}

/// The user's row; where there is none and `make` is on, one is made. The hub's own accounts are never made so.
pub(super) async fn find_or_make(db: &impl ConnectionTrait, id: &UserId, make: bool) -> Result<Option<UserKey>, DbErr> {
    let mut found = find(db, id).await?;
    if found.is_none() && make && !id.is_own() {
        insert(db, id, &id.default_name(), None).await?;
        found = find(db, id).await?;
    }
    Ok(found.map(|row| UserKey(row.id)))
}

/// Whether it was made now: two sessions of one new user may come at once.
pub(super) async fn insert(
    db: &impl ConnectionTrait,
    id: &UserId,
    name: &str,
    hash: Option<&str>,
) -> Result<bool, DbErr> {
    let row = user::ActiveModel {
        external_id: Set(id.as_str().to_owned()),
        name: Set(name.to_owned()),
        password_hash: Set(hash.map(str::to_owned)),
        role: Set(USER.to_owned()),
        created_at: Set(super::now().to_utc()),
        ..Default::default()
    };
    let once = OnConflict::column(user::Column::ExternalId).do_nothing().to_owned();
    Ok(user::Entity::insert(row).on_conflict(once).exec_without_returning(db).await? > 0)
}
