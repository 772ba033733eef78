//! The set-up secret: as long as there is no admin, whoever has it may become the first one. All nodes share it; it is made at
//! a start, good for a day, and used up in the transaction that makes an admin, by whatever way. Its row is locked first, so
//! that of two that come at once one wins.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use entity::{setting, user};
use sea_orm::{
    ActiveModelTrait,
    ActiveValue::{Set, Unchanged},
    ColumnTrait, ConnectionTrait, DbErr, EntityTrait, PaginatorTrait, QueryFilter, QuerySelect, TransactionTrait,
};
use serde_json::json;
use subtle::ConstantTimeEq;

use super::{
    Store, StoreError,
    audit::Act,
    users::{self, ADMIN},
};
use crate::{config::Secret, protocol::UserId};

/// The setting that holds its end and itself.
const SETUP: &str = "setup";
/// How long it is good for.
const GOOD_FOR: TimeDelta = TimeDelta::hours(24);

/// The secret, and how long it is good for from now on.
#[derive(Debug)]
pub struct SetupSecret {
    /// What the link has.
    pub token: Secret,
    /// What is left of its time.
    pub left: Duration,
}

/// Who is to be the first admin.
#[derive(Debug)]
pub enum FirstAdmin<'a> {
    /// A new account with this name and this password's hash.
    New(&'a str, &'a str),
    /// The account that is there, as long as its password is the one of this hash.
    Known(&'a str),
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetupOutcome {
    /// They are an admin.
    Made,
    /// The secret is not good: another one, used up, too old, or there is an admin.
    Refused,
    /// The account is not as it was looked at: somebody has made it, or changed its password.
    Taken,
}

/// A setting's value in its parts.
fn parse(value: &str) -> Option<(DateTime<Utc>, &str)> {
    let (end, token) = value.split_once(' ')?;
    Some((DateTime::from_timestamp(end.parse().ok()?, 0)?, token))
}

impl Store {
    /// The secret, made by `make` where there is none that is good; `None` where there is an admin.
    pub async fn setup_secret(&self, make: impl FnOnce() -> String) -> Result<Option<SetupSecret>, StoreError> {
        let now: DateTime<Utc> = super::now().to_utc();
        self.within(async {
            let transaction = self.write.begin_with_options(super::immediate()).await?;
            if has_admin(&transaction).await? {
                use_up(&transaction).await?;
                transaction.commit().await?;
                return Ok(None);
            }
            let fresh = format!("{} {}", (now + GOOD_FOR).timestamp(), make());
            // Of two nodes that start at once the second waits for the first one's row, and takes it.
            let row = setting::ActiveModel { key: Set(SETUP.to_owned()), value: Set(fresh.clone()) };
            setting::Entity::insert(row)
                .on_conflict(super::settings::keep())
                .exec_without_returning(&transaction)
                .await?;
            let mut value = locked(&transaction).await?.unwrap_or_default();
            if parse(&value).is_none_or(|(end, _)| end <= now) {
                let row = setting::ActiveModel { key: Unchanged(SETUP.to_owned()), value: Set(fresh.clone()) };
                row.update(&transaction).await?;
                value = fresh;
            }
            transaction.commit().await?;
            let secret = parse(&value).map(|(end, token)| SetupSecret {
                token: token.to_owned().into(),
                left: (end - now).to_std().unwrap_or_default(),
            });
            Ok::<_, DbErr>(secret)
        })
        .await
    }

    /// Whether this is the secret, and it is good now. Cheap, so that nothing dear is done for whoever has none.
    pub async fn is_setup_secret(&self, token: &str) -> Result<bool, StoreError> {
        let row = self.within(setting::Entity::find_by_id(SETUP.to_owned()).one(&self.write)).await?;
        let good = row.is_some_and(|row| is_good(&row.value, token));
        Ok(good && !self.within(has_admin(&self.write)).await?)
    }

    /// Uses the secret up and makes this account the first admin, both or neither.
    pub async fn make_first_admin(
        &self,
        token: &str,
        id: &UserId,
        who: FirstAdmin<'_>,
    ) -> Result<SetupOutcome, StoreError> {
        self.within(async {
            let transaction = self.write.begin_with_options(super::immediate()).await?;
            let outcome = first_admin(&transaction, token, id, who).await?;
            match outcome {
                SetupOutcome::Made => transaction.commit().await?,
                SetupOutcome::Refused | SetupOutcome::Taken => transaction.rollback().await?,
            }
            Ok::<_, DbErr>(outcome)
        })
        .await
    }
}

async fn first_admin(
    db: &impl ConnectionTrait,
    token: &str,
    id: &UserId,
    who: FirstAdmin<'_>,
) -> Result<SetupOutcome, DbErr> {
    let good = locked(db).await?.is_some_and(|value| is_good(&value, token));
    if !good || has_admin(db).await? {
        return Ok(SetupOutcome::Refused);
    }
    let expected = match who {
        FirstAdmin::New(name, hash) => {
            if !users::insert(db, id, name, Some(hash)).await? {
                return Ok(SetupOutcome::Taken);
            }
            hash
        }
        FirstAdmin::Known(hash) => hash,
    };
    let found = users::find(db, id).await?;
    let same = |row: &user::Model| row.disabled_at.is_none() && row.password_hash.as_deref() == Some(expected);
    let Some(row) = found.filter(same) else { return Ok(SetupOutcome::Taken) };
    let row = user::ActiveModel { id: Unchanged(row.id), role: Set(ADMIN.to_owned()), ..Default::default() };
    row.update(db).await?;
    let act = Act::by(id.as_str(), "make_admin").on_user(id).with(json!({"by": "set-up link"}));
    act.record(db).await?;
    use_up(db).await?;
    Ok(SetupOutcome::Made)
}

fn is_good(value: &str, token: &str) -> bool {
    let now: DateTime<Utc> = super::now().to_utc();
    parse(value).is_some_and(|(end, known)| end > now && bool::from(known.as_bytes().ct_eq(token.as_bytes())))
}

async fn has_admin(db: &impl ConnectionTrait) -> Result<bool, DbErr> {
    Ok(user::Entity::find().filter(user::Column::Role.eq(ADMIN)).limit(1).count(db).await? > 0)
}

/// The setting's value, which nobody else changes before the transaction's end.
async fn locked(db: &impl ConnectionTrait) -> Result<Option<String>, DbErr> {
    let row = setting::Entity::find_by_id(SETUP.to_owned()).lock_exclusive().one(db).await?;
    Ok(row.map(|row| row.value))
}

/// There is an admin now, or about to be: nobody becomes one by the secret any more.
pub(super) async fn use_up(db: &impl ConnectionTrait) -> Result<(), DbErr> {
    setting::Entity::delete_by_id(SETUP.to_owned()).exec(db).await.map(drop)
}
