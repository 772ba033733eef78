//! Who is kept out of a room, by whom, why and till when. A ban is made in the transaction of `members`, under the room's
//! row lock: it ends the membership and raises the room's rights. One whose time is over counts no longer.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use entity::{ban, member, room, user};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, Condition, ConnectionTrait, DatabaseTransaction, DbErr, EntityTrait,
    FromQueryResult, JoinType, PaginatorTrait, QueryFilter, QueryOrder, QuerySelect, RelationTrait,
    sea_query::OnConflict,
};
use serde::Serialize;
use serde_json::json;

use super::{
    ChangeError, Changed, Role, RoomKey, Store, StoreError, User, UserKey,
    audit::Act,
    members::{check_not_last, role_of},
    users::find_or_make,
};
use crate::protocol::{Timestamp, UserId};

/// A ban as HTTP shows it.
#[derive(Clone, Debug, Serialize)]
pub struct BanSummary {
    /// Who.
    pub user_id: String,
    /// Their name.
    pub user: String,
    /// When it ends by itself.
    pub until: Option<Timestamp>,
    /// Why.
    pub reason: Option<String>,
    /// Since when.
    pub created_at: Timestamp,
}

#[derive(FromQueryResult)]
struct BanRow {
    external_id: String,
    name: String,
    until: Option<DateTime<Utc>>,
    reason: Option<String>,
    created_at: DateTime<Utc>,
}

impl Store {
    /// A room's bans by their users' ids, after an id; one more than `limit` says that there are more.
    pub async fn bans(&self, room: RoomKey, after: &str, limit: u64) -> Result<Vec<BanSummary>, StoreError> {
        let find = ban::Entity::find()
            .select_only()
            .columns([ban::Column::Until, ban::Column::Reason, ban::Column::CreatedAt])
            .columns([user::Column::ExternalId, user::Column::Name])
            .join(JoinType::InnerJoin, ban::Relation::User.def())
            .filter(ban::Column::RoomId.eq(room.0))
            .filter(still())
            .filter(user::Column::ExternalId.gt(after))
            .order_by_asc(user::Column::ExternalId)
            .limit(limit)
            .into_model::<BanRow>();
        let rows = self.within(find.all(&self.read)).await?;
        let summary = |row: BanRow| BanSummary {
            user_id: row.external_id,
            user: row.name,
            until: row.until.map(Timestamp::from),
            reason: row.reason,
            created_at: row.created_at.into(),
        };
        Ok(rows.into_iter().map(summary).collect())
    }

    /// Whether the user may see and change a room's bans.
    pub async fn may_ban(&self, room: RoomKey, user: &User) -> Result<bool, StoreError> {
        if user.admin {
            return Ok(true);
        }
        let role = self.within(role_of(&self.read, room, user.key)).await?;
        Ok(matches!(role, Some(Role::Owner | Role::Moderator)))
    }
}

fn still() -> Condition {
    Condition::any().add(ban::Column::Until.is_null()).add(ban::Column::Until.gt(super::now().to_utc()))
}

/// All bans of a room that are not over.
pub(super) async fn of_room(
    db: &impl ConnectionTrait,
    room: i64,
) -> Result<HashMap<UserKey, Option<Timestamp>>, DbErr> {
    let rows = ban::Entity::find().filter(ban::Column::RoomId.eq(room)).filter(still()).all(db).await?;
    Ok(rows.into_iter().map(|row| (UserKey(row.user_id), row.until.map(Timestamp::from))).collect())
}

pub(super) async fn is_banned(db: &impl ConnectionTrait, room: RoomKey, user: UserKey) -> Result<bool, DbErr> {
    Ok(ban::Entity::find_by_id((room.0, user.0)).filter(still()).count(db).await? > 0)
}

/// Keeps somebody out. Who may: an owner or admin anybody but admins, a moderator plain members and strangers.
pub(super) async fn ban(
    transaction: &DatabaseTransaction,
    room: &room::Model,
    by: &User,
    mine: Option<Role>,
    id: &UserId,
    (until, reason): (Option<Timestamp>, Option<String>),
    make: bool,
) -> Result<Changed, ChangeError> {
    check_role(mine)?;
    if *id == by.id {
        return Err(ChangeError::Forbidden("nobody can ban themselves"));
    }
    let user = find_or_make(transaction, id, make).await?.ok_or(ChangeError::UnknownUser)?;
    if super::users::is_admin(transaction, user).await? {
        return Err(ChangeError::Forbidden("an admin can't be banned"));
    }
    let key = RoomKey(room.id);
    match role_of(transaction, key, user).await? {
        Some(Role::Owner | Role::Moderator) if mine == Some(Role::Moderator) => {
            return Err(ChangeError::Forbidden("a moderator may ban plain members only"));
        }
        Some(Role::Owner) => check_not_last(transaction, key).await?,
        _ => {}
    }
    member::Entity::delete_by_id((room.id, user.0)).exec(transaction).await?;
    let row = ban::ActiveModel {
        room_id: Set(room.id),
        user_id: Set(user.0),
        by_id: Set(by.key.0),
        reason: Set(reason.clone()),
        until: Set(until.map(Timestamp::to_utc)),
        created_at: Set(super::now().to_utc()),
    };
    let again = OnConflict::columns([ban::Column::RoomId, ban::Column::UserId])
        .update_columns([ban::Column::ById, ban::Column::Reason, ban::Column::Until])
        .to_owned();
    ban::Entity::insert(row).on_conflict(again).exec_without_returning(transaction).await?;
    let act = Act::by(by.id.as_str(), "ban").on_user(id).in_room(&room.name);
    act.with(json!({"until": until, "reason": reason})).record(transaction).await?;
    Ok(Changed::Banned { user })
}

/// Lets somebody in again; they are no member by that.
pub(super) async fn unban(
    transaction: &DatabaseTransaction,
    room: &room::Model,
    by: &User,
    mine: Option<Role>,
    id: &UserId,
) -> Result<Changed, ChangeError> {
    check_role(mine)?;
    let Some(user) = find_or_make(transaction, id, false).await? else { return Ok(Changed::Nothing { role: None }) };
    if ban::Entity::delete_by_id((room.id, user.0)).exec(transaction).await?.rows_affected == 0 {
        return Ok(Changed::Nothing { role: None });
    }
    Act::by(by.id.as_str(), "unban").on_user(id).in_room(&room.name).record(transaction).await?;
    Ok(Changed::Unbanned)
}

fn check_role(mine: Option<Role>) -> Result<(), ChangeError> {
    match mine {
        Some(Role::Owner | Role::Moderator) => Ok(()),
        _ => Err(ChangeError::Forbidden("only an owner or a moderator may ban")),
    }
}
