//! What ends a user's rights everywhere: disabling, and revoking tokens by their `jti` or by their time. The users' rows and
//! `hub_revocation` say it; what happened lately is in memory beside them, so that a sign-in that read a row just before
//! is stopped at its last step. Bounds: `limits.revoked_tokens`; users for a minute after the act.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use entity::{revocation, user};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, Condition, DbErr, EntityTrait, PaginatorTrait, QueryFilter, TransactionTrait,
    sea_query::OnConflict,
};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::{SeenUser, Store, StoreError, UserKey, audit::Act, users::find_or_make};
use crate::protocol::{Timestamp, UserId};

/// How long an act stays in memory: longer than any sign-in that did not see it can take.
const LATELY: Duration = Duration::from_secs(60);

/// What a token can be revoked by. Small, since each session keeps one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TokenMark {
    jti: Option<u128>,
    issued_at: Option<i64>,
}

impl TokenMark {
    /// The token's `jti`, and its `iat` in seconds.
    pub fn new(jti: Option<&str>, issued_at: Option<i64>) -> Self {
        Self { jti: jti.map(hash), issued_at }
    }

    /// As a ticket keeps it.
    pub(super) fn parts(self) -> (Option<String>, Option<DateTime<Utc>>) {
        let issued_at = self.issued_at.and_then(|second| DateTime::from_timestamp(second, 0));
        (self.jti.map(|jti| format!("{jti:032x}")), issued_at)
    }

    pub(super) fn of_parts(jti: Option<&str>, issued_at: Option<DateTime<Utc>>) -> Self {
        let jti = jti.and_then(|jti| u128::from_str_radix(jti, 16).ok());
        Self { jti, issued_at: issued_at.as_ref().map(DateTime::timestamp) }
    }

    /// Whether it was issued up to this second. A token that does not say when counts as old.
    fn is_up_to(&self, second: i64) -> bool {
        self.issued_at.is_none_or(|issued| issued <= second)
    }
}

fn hash(jti: &str) -> u128 {
    Sha256::digest(jti).iter().take(16).fold(0, |hash, byte| (hash << 8) | u128::from(*byte))
}

/// What happened lately, and all revoked tokens.
pub struct Sanctions {
    inner: Mutex<Inner>,
    most: usize,
}

#[derive(Default)]
struct Inner {
    /// Until when, in seconds, where the token's end is known.
    tokens: HashMap<(UserKey, u128), Option<i64>>,
    users: HashMap<UserKey, (SeenUser, Instant)>,
}

impl Sanctions {
    pub(super) fn new(most: usize) -> Self {
        Self { inner: Mutex::default(), most }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the user, as their row was read, may do nothing with this token.
    pub fn refuse(&self, seen: &SeenUser, mark: &TokenMark) -> bool {
        let refuses =
            |seen: &SeenUser| seen.disabled || seen.revoked_before.is_some_and(|before| mark.is_up_to(before));
        refuses(seen) || self.refuse_lately(seen.user.key, mark)
    }

    /// The same by what memory has: for a session whose row was looked at when it signed in.
    pub fn refuse_lately(&self, user: UserKey, mark: &TokenMark) -> bool {
        let inner = self.lock();
        let lately = inner
            .users
            .get(&user)
            .is_some_and(|(seen, _)| seen.disabled || seen.revoked_before.is_some_and(|before| mark.is_up_to(before)));
        lately || mark.jti.is_some_and(|jti| inner.tokens.contains_key(&(user, jti)))
    }

    /// Whether a user is an admin now, where something was done to them lately.
    pub fn admin_lately(&self, user: UserKey) -> Option<bool> {
        self.lock().users.get(&user).map(|(seen, _)| seen.user.admin)
    }

    /// Forgets what is over.
    pub fn sweep(&self) {
        let now = super::now().to_utc().timestamp();
        let mut inner = self.lock();
        inner.users.retain(|_, (_, since)| since.elapsed() < LATELY);
        inner.tokens.retain(|_, until| until.is_none_or(|until| until > now));
    }
}

/// Which of a user's tokens are to be good no longer.
#[derive(Clone, Debug)]
pub enum Revoke {
    /// One, by its `jti`; `until` is its end, where that is known.
    Token {
        /// The id.
        jti: String,
        /// After it the revocation may be forgotten.
        until: Option<Timestamp>,
    },
    /// All that were issued up to here.
    IssuedBefore(Timestamp),
}

/// Why a token was not revoked.
#[derive(Debug, thiserror::Error)]
pub enum RevokeError {
    /// Nobody has this id, and nobody may be made.
    #[error("no such user")]
    UnknownUser,
    /// Memory holds no more of them.
    #[error("as many tokens are revoked as limits.revoked_tokens allows: revoke the user's by time instead")]
    TooMany,
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// What ended whose rights lately, and the revoked tokens.
    pub fn sanctions(&self) -> &Sanctions {
        &self.sanctions
    }

    /// Disables or enables a user; `false` where there is none and none may be made.
    pub async fn set_disabled(
        &self,
        id: &UserId,
        disabled: bool,
        make: bool,
        reason: Option<&str>,
        actor: &str,
    ) -> Result<bool, StoreError> {
        let at = disabled.then(|| super::now().to_utc());
        let act = Act::by(actor, if disabled { "disable" } else { "enable" });
        let act = if let Some(reason) = reason { act.with(json!({"reason": reason})) } else { act };
        Ok(self.change_user(id, make, act, |_, row| row.disabled_at = Set(at)).await?.is_some())
    }

    /// Takes back a revocation of tokens by their time; `false` where there is no such user.
    pub async fn unrevoke(&self, id: &UserId, actor: &str) -> Result<bool, StoreError> {
        let act = Act::by(actor, "unrevoke");
        Ok(self.change_user(id, false, act, |_, row| row.revoked_before = Set(None)).await?.is_some())
    }

    /// Revokes a user's tokens.
    pub async fn revoke(&self, id: &UserId, what: Revoke, make: bool, actor: &str) -> Result<(), RevokeError> {
        let made = match what {
            Revoke::IssuedBefore(before) => {
                let act = Act::by(actor, "revoke").with(json!({"issued_before": before}));
                // What was revoked stays revoked.
                let later = |old: &user::Model| old.revoked_before.max(Some(before.to_utc()));
                self.change_user(id, make, act, |old, row| row.revoked_before = Set(later(old))).await?
            }
            Revoke::Token { jti, until } => {
                if self.sanctions.lock().tokens.len() >= self.sanctions.most {
                    return Err(RevokeError::TooMany);
                }
                let act = Act::by(actor, "revoke").on_user(id).with(json!({"jti": jti}));
                self.within(async {
                    let transaction = self.write.begin_with_options(super::immediate()).await?;
                    let Some(user) = find_or_make(&transaction, id, make).await? else {
                        transaction.rollback().await?;
                        return Ok(None);
                    };
                    let until = until.map(Timestamp::to_utc);
                    let row = revocation::ActiveModel { user_id: Set(user.0), jti: Set(jti), until: Set(until) };
                    let again = OnConflict::columns([revocation::Column::UserId, revocation::Column::Jti])
                        .update_column(revocation::Column::Until)
                        .to_owned();
                    revocation::Entity::insert(row).on_conflict(again).exec_without_returning(&transaction).await?;
                    act.record(&transaction).await?;
                    transaction.commit().await?;
                    Ok::<_, DbErr>(Some(user))
                })
                .await?
            }
        };
        made.map(drop).ok_or(RevokeError::UnknownUser)
    }

    /// Reads again what a user may do, after an act; from here on it counts for every sign-in of this process.
    pub async fn settle_user(&self, id: &UserId) -> Result<Option<SeenUser>, StoreError> {
        let Some(seen) = self.user_again(id).await? else { return Ok(None) };
        let key = seen.user.key;
        let tokens = self.revoked(Some(key)).await?;
        let mut inner = self.sanctions.lock();
        inner.users.insert(key, (seen.clone(), Instant::now()));
        inner.tokens.extend(tokens);
        Ok(Some(seen))
    }

    /// Reads all revoked tokens, at the start; forgets those that are over.
    pub async fn load_revoked(&self) -> Result<(), StoreError> {
        let over = Condition::all().add(revocation::Column::Until.lt(super::now().to_utc()));
        self.within(revocation::Entity::delete_many().filter(over).exec(&self.write)).await?;
        let count = self.within(revocation::Entity::find().count(&self.read)).await?;
        if count > u64::try_from(self.sanctions.most).unwrap_or(u64::MAX) {
            tracing::warn!(count, "more tokens are revoked than limits.revoked_tokens: all are kept all the same");
        }
        let tokens = self.revoked(None).await?;
        self.sanctions.lock().tokens.extend(tokens);
        Ok(())
    }

    async fn revoked(&self, user: Option<UserKey>) -> Result<Vec<((UserKey, u128), Option<i64>)>, StoreError> {
        let mut find = revocation::Entity::find();
        if let Some(user) = user {
            find = find.filter(revocation::Column::UserId.eq(user.0));
        }
        let rows = self.within(find.all(&self.write)).await?;
        let until = |row: &revocation::Model| row.until.as_ref().map(DateTime::timestamp);
        Ok(rows.iter().map(|row| ((UserKey(row.user_id), hash(&row.jti)), until(row))).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_that_does_not_say_when_it_was_issued_counts_as_old() {
        assert!(TokenMark::new(None, None).is_up_to(10));
        assert!(TokenMark::new(None, Some(10)).is_up_to(10));
        assert!(!TokenMark::new(None, Some(11)).is_up_to(10));
        assert_ne!(hash("a"), hash("b"));
    }
}
