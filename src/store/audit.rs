//! The record of who did what to whom (`hub_audit`). Each act is written in the transaction that does it, so the record is
//! also how other processes learn of it: they ask twice a second for what is new (`Store::news`).

use entity::audit;
use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, DbErr, EntityTrait, ExprTrait, QueryFilter, QueryOrder, QuerySelect,
};
use serde::Serialize;
use serde_json::{Value, json};

use super::{Store, StoreError};
use crate::protocol::{Timestamp, UserId};

/// An act that is being done.
#[derive(Debug)]
pub(super) struct Act<'a> {
    actor: &'a str,
    action: &'static str,
    user: Option<&'a UserId>,
    room: Option<&'a str>,
    detail: Option<Value>,
}

impl<'a> Act<'a> {
    /// `actor` is a user's id, or `cli`.
    pub(super) fn by(actor: &'a str, action: &'static str) -> Self {
        Self { actor, action, user: None, room: None, detail: None }
    }

    pub(super) fn on_user(mut self, user: &'a UserId) -> Self {
        self.user = Some(user);
        self
    }

    pub(super) fn in_room(mut self, room: &'a str) -> Self {
        self.room = Some(room);
        self
    }

    pub(super) fn with(mut self, detail: Value) -> Self {
        self.detail = Some(detail);
        self
    }

    /// Writes it down.
    pub(super) async fn record(self, db: &impl ConnectionTrait) -> Result<(), DbErr> {
        let row = audit::ActiveModel {
            at: Set(super::now().to_utc()),
            actor: Set(self.actor.to_owned()),
            action: Set(self.action.to_owned()),
            user_id: Set(self.user.map(|user| user.as_str().to_owned())),
            room: Set(self.room.map(str::to_owned)),
            detail: Set(self.detail.map(|detail| detail.to_string())),
            ..Default::default()
        };
        audit::Entity::insert(row).exec_without_returning(db).await.map(drop)
    }
}

/// One act as HTTP shows it.
#[derive(Clone, Debug, Serialize)]
pub struct AuditEntry {
    /// Its number; later acts have higher ones.
    pub id: i64,
    /// When.
    pub at: Timestamp,
    /// Who: a user's id, or `cli`.
    pub actor: String,
    /// What.
    pub action: String,
    /// To which user.
    pub user_id: Option<String>,
    /// In which room.
    pub room: Option<String>,
    /// More of it.
    pub detail: Option<Value>,
}

impl From<audit::Model> for AuditEntry {
    fn from(row: audit::Model) -> Self {
        Self {
            id: row.id,
            at: row.at.into(),
            actor: row.actor,
            action: row.action,
            user_id: row.user_id,
            room: row.room,
            detail: row.detail.and_then(|detail| serde_json::from_str(&detail).ok()),
        }
    }
}

/// What other processes must hear of an act.
#[derive(Clone, Debug)]
pub struct News {
    /// The act's number.
    pub id: i64,
    /// A user whose rights may have changed.
    pub user: Option<UserId>,
    /// A session that was closed, by its id.
    pub session: Option<String>,
}

/// Acts are committed in another order than they are numbered: so many are looked after.
pub const RECENT_ACTS: u64 = 1_000;

impl Store {
    /// Acts before a number, newest first; one more than `limit` says that there are more.
    pub async fn audit(&self, before: Option<i64>, limit: u64) -> Result<Vec<AuditEntry>, StoreError> {
        let find = audit::Entity::find().filter(audit::Column::Id.lt(before.unwrap_or(i64::MAX)));
        let rows = self.within(find.order_by_desc(audit::Column::Id).limit(limit).all(&self.read)).await?;
        Ok(rows.into_iter().map(AuditEntry::from).collect())
    }

    /// The latest acts' numbers, newest first, at most [`RECENT_ACTS`].
    pub async fn latest_acts(&self) -> Result<Vec<i64>, StoreError> {
        let find = audit::Entity::find().select_only().column(audit::Column::Id);
        let find = find.order_by_desc(audit::Column::Id).limit(RECENT_ACTS);
        self.within(find.into_tuple().all(&self.read)).await
    }

    /// Acts after a number, and those of `late` that are there by now.
    pub async fn news(&self, after: i64, late: Vec<i64>) -> Result<Vec<News>, StoreError> {
        // Where there are more, the next look goes on from there.
        const AT_ONCE: u64 = 2_000;
        let find = audit::Entity::find().filter(audit::Column::Id.gt(after).or(audit::Column::Id.is_in(late)));
        let find = find.order_by_asc(audit::Column::Id).limit(AT_ONCE);
        let rows = self.within(find.all(&self.read)).await?;
        let news = |row: audit::Model| News {
            id: row.id,
            // What is done in a room is seen by the room's rights.
            user: row.user_id.as_deref().filter(|_| row.room.is_none()).and_then(UserId::parse),
            session: row.detail.filter(|_| row.action == CLOSE_SESSION).and_then(|detail| session_in(&detail)),
        };
        Ok(rows.into_iter().map(news).collect())
    }

    /// Notes that an admin closed a session.
    pub async fn note_closed_session(&self, session: &str, actor: &str) -> Result<(), StoreError> {
        let act = Act::by(actor, CLOSE_SESSION).with(json!({"session": session}));
        self.within(act.record(&self.write)).await
    }
}

const CLOSE_SESSION: &str = "close_session";

fn session_in(detail: &str) -> Option<String> {
    Some(serde_json::from_str::<Value>(detail).ok()?.get("session")?.as_str()?.to_owned())
}
