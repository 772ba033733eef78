//! Who belongs to a room and in which role, and who may change that. Each change is judged and made in one transaction,
//! under the room's row lock, and raises the room's rights: a message judged before is judged again.

use chrono::{DateTime, Utc};
use entity::{member, room, user};
use sea_orm::{
    ActiveModelTrait,
    ActiveValue::{Set, Unchanged},
    ColumnTrait, ConnectionTrait, DatabaseTransaction, DbErr, EntityTrait, ExprTrait, FromQueryResult, JoinType,
    PaginatorTrait, QueryFilter, QueryOrder, QuerySelect, RelationTrait, TransactionTrait,
    sea_query::{Expr, OnConflict},
};
use serde::{Deserialize, Serialize};

use super::{RoomKey, RoomKind, Store, StoreError, User, UserKey};
use crate::protocol::{Timestamp, UserId};

/// What a member may do beyond reading and writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Everything: the room's title, all its members and their roles.
    Owner,
    /// The title, and to add and remove plain members.
    Moderator,
    /// Nothing.
    Member,
}

impl Role {
    /// The role's name, on the wire and in the table.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Moderator => "moderator",
            Self::Member => "member",
        }
    }

    /// A role that a newer version wrote and this one does not know gives no rights beyond a member's.
    pub(super) fn parse(text: &str) -> Self {
        match text {
            "owner" => Self::Owner,
            "moderator" => Self::Moderator,
            _ => Self::Member,
        }
    }
}

/// A change of a room that somebody asks for.
#[derive(Clone, Debug)]
pub enum RoomChange {
    /// Add this user, or give another role; with no role a member stays what they are.
    Put {
        /// Who.
        user: UserId,
        /// As what.
        role: Option<Role>,
        /// Whether a user who was never seen is made.
        make: bool,
    },
    /// Take this user out.
    Remove {
        /// Who.
        user: UserId,
    },
    /// Give the room another title.
    Retitle(String),
    /// Take this user out, and keep them out.
    Ban {
        /// Who.
        user: UserId,
        /// Till when; for good where there is none.
        until: Option<Timestamp>,
        /// Why, for the one who is banned.
        reason: Option<String>,
        /// Whether a user who was never seen is made.
        make: bool,
    },
    /// Let this user in again.
    Unban {
        /// Who.
        user: UserId,
    },
}

/// What became of it.
#[derive(Clone, Debug)]
pub enum Changed {
    /// It is as was asked already.
    Nothing {
        /// The member's role, where one was asked for.
        role: Option<Role>,
    },
    /// A member is there now, or has another role.
    Member {
        /// Who.
        user: UserKey,
        /// As what.
        role: Role,
        /// Whether they were none before.
        added: bool,
    },
    /// A member is one no longer.
    Removed {
        /// Who.
        user: UserKey,
    },
    /// Somebody is kept out now.
    Banned {
        /// Who.
        user: UserKey,
    },
    /// Somebody is kept out no longer.
    Unbanned,
    /// The title is another.
    Retitled {
        /// Whom that concerns.
        members: Vec<UserKey>,
    },
}

/// Why a change was not made.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The asker's role does not allow it.
    #[error("{0}")]
    Forbidden(&'static str),
    /// Who is banned can't be made a member.
    #[error("this user is banned from the room: lift the ban first")]
    Banned,
    /// A room has an owner, always.
    #[error("the last owner can't leave or step down: make somebody else an owner first")]
    LastOwner,
    /// Nobody has this id, and nobody may be made.
    #[error("no such user")]
    UnknownUser,
    /// The room is gone.
    #[error("no such room")]
    RoomGone,
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<DbErr> for ChangeError {
    fn from(error: DbErr) -> Self {
        Self::Store(error.into())
    }
}

/// A member as HTTP shows it.
#[derive(Clone, Debug, Serialize)]
pub struct MemberSummary {
    /// Who.
    pub user_id: String,
    /// Their name.
    pub user: String,
    /// As what.
    pub role: Role,
    /// Since when.
    pub joined_at: Timestamp,
}

#[derive(FromQueryResult)]
struct MemberRow {
    external_id: String,
    name: String,
    role: String,
    joined_at: DateTime<Utc>,
}

impl Store {
    /// A room's members by their ids, after an id; one more than `limit` says that there are more.
    pub async fn members(&self, room: RoomKey, after: &str, limit: u64) -> Result<Vec<MemberSummary>, StoreError> {
        let find = member::Entity::find()
            .select_only()
            .columns([member::Column::Role, member::Column::JoinedAt])
            .columns([user::Column::ExternalId, user::Column::Name])
            .join(JoinType::InnerJoin, member::Relation::User.def())
            .filter(member::Column::RoomId.eq(room.0))
            .filter(user::Column::ExternalId.gt(after))
            .order_by_asc(user::Column::ExternalId)
            .limit(limit)
            .into_model::<MemberRow>();
        let rows = self.within(find.all(&self.read)).await?;
        let summary = |row: MemberRow| MemberSummary {
            user_id: row.external_id,
            user: row.name,
            role: Role::parse(&row.role),
            joined_at: row.joined_at.into(),
        };
        Ok(rows.into_iter().map(summary).collect())
    }

    /// Makes a change that `by` asks for, if their role allows it.
    pub async fn change_room(&self, room: RoomKey, by: &User, change: RoomChange) -> Result<Changed, ChangeError> {
        let changing = async {
            // One at a time: messages wait for the same connections, and must never wait for a crowd of these.
            let closed = |_| StoreError::Unavailable("closed".into());
            let _turn = self.changes.acquire().await.map_err(closed)?;
            let transaction = self.write.begin_with_options(super::immediate()).await?;
            let changed = in_transaction(&transaction, room, by, change).await;
            match changed {
                Ok(Changed::Nothing { .. }) | Err(_) => transaction.rollback().await?,
                Ok(_) => transaction.commit().await?,
            }
            // What the rules say stands beside what the database says.
            Ok::<_, StoreError>(changed)
        };
        self.within(changing).await?
    }
}

async fn in_transaction(
    transaction: &DatabaseTransaction,
    room: RoomKey,
    by: &User,
    change: RoomChange,
) -> Result<Changed, ChangeError> {
    let row = room::Entity::find_by_id(room.0).lock_exclusive().one(transaction).await?;
    let row = row.ok_or(ChangeError::RoomGone)?;
    let mine = if by.admin { Some(Role::Owner) } else { role_of(transaction, room, by.key).await? };
    let changed = match change {
        RoomChange::Put { user, role, make } => put(transaction, &row, by, mine, &user, role, make).await?,
        RoomChange::Remove { user } => remove(transaction, room, by, mine, &user).await?,
        RoomChange::Retitle(title) => {
            if !matches!(mine, Some(Role::Owner | Role::Moderator)) {
                return Err(ChangeError::Forbidden("only an owner or a moderator may change the title"));
            }
            let row = room::ActiveModel { id: Unchanged(room.0), title: Set(title), ..Default::default() };
            row.update(transaction).await?;
            let members = member::Entity::find().filter(member::Column::RoomId.eq(room.0)).all(transaction).await?;
            Changed::Retitled { members: members.into_iter().map(|member| UserKey(member.user_id)).collect() }
        }
        RoomChange::Ban { user, until, reason, make } => {
            super::bans::ban(transaction, &row, by, mine, &user, (until, reason), make).await?
        }
        RoomChange::Unban { user } => super::bans::unban(transaction, &row, by, mine, &user).await?,
    };
    if !matches!(changed, Changed::Nothing { .. } | Changed::Retitled { .. }) {
        let raise = room::Entity::update_many()
            .col_expr(room::Column::Rights, Expr::col(room::Column::Rights).add(1))
            .filter(room::Column::Id.eq(room.0));
        raise.exec(transaction).await?;
    }
    Ok(changed)
}

pub(super) async fn role_of(db: &impl ConnectionTrait, room: RoomKey, user: UserKey) -> Result<Option<Role>, DbErr> {
    Ok(member::Entity::find_by_id((room.0, user.0)).one(db).await?.map(|member| Role::parse(&member.role)))
}

async fn put(
    transaction: &DatabaseTransaction,
    room: &room::Model,
    by: &User,
    mine: Option<Role>,
    id: &UserId,
    role: Option<Role>,
    make: bool,
) -> Result<Changed, ChangeError> {
    let myself = *id == by.id;
    // Judged before a user is looked for, let alone made.
    match (mine, role) {
        (Some(Role::Owner), _) | (Some(Role::Moderator), None | Some(Role::Member)) => {}
        _ if myself && RoomKind::parse(&room.kind) == RoomKind::Public && matches!(role, None | Some(Role::Member)) => {
        }
        (Some(_), None | Some(Role::Member)) if myself => {}
        (Some(Role::Moderator), _) => return Err(ChangeError::Forbidden("a moderator may add plain members only")),
        _ => return Err(ChangeError::Forbidden("only an owner or a moderator may add members")),
    }
    let user = super::users::find_or_make(transaction, id, make).await?.ok_or(ChangeError::UnknownUser)?;
    let key = RoomKey(room.id);
    let old = role_of(transaction, key, user).await?;
    let wanted = role.or(old).unwrap_or(Role::Member);
    if super::bans::is_banned(transaction, key, user).await? {
        return Err(ChangeError::Banned);
    }
    match old {
        Some(old) if old == wanted => return Ok(Changed::Nothing { role: Some(old) }),
        Some(_) if mine != Some(Role::Owner) => return Err(ChangeError::Forbidden("only an owner may change roles")),
        Some(Role::Owner) => check_not_last(transaction, key).await?,
        _ => {}
    }
    let row = member::ActiveModel {
        room_id: Set(room.id),
        user_id: Set(user.0),
        role: Set(wanted.as_str().to_owned()),
        // Unread is what comes from now on.
        read_seq: Set(room.last_seq),
        joined_at: Set(super::now().to_utc()),
    };
    let again = OnConflict::columns([member::Column::RoomId, member::Column::UserId])
        .update_column(member::Column::Role)
        .to_owned();
    member::Entity::insert(row).on_conflict(again).exec_without_returning(transaction).await?;
    Ok(Changed::Member { user, role: wanted, added: old.is_none() })
}

async fn remove(
    transaction: &DatabaseTransaction,
    room: RoomKey,
    by: &User,
    mine: Option<Role>,
    id: &UserId,
) -> Result<Changed, ChangeError> {
    let myself = *id == by.id;
    if !myself && !matches!(mine, Some(Role::Owner | Role::Moderator)) {
        return Err(ChangeError::Forbidden("only an owner or a moderator may remove others"));
    }
    let Some(user) = super::users::find_or_make(transaction, id, false).await? else {
        return Ok(Changed::Nothing { role: None });
    };
    match role_of(transaction, room, user).await? {
        None => return Ok(Changed::Nothing { role: None }),
        Some(Role::Owner | Role::Moderator) if !myself && mine == Some(Role::Moderator) => {
            return Err(ChangeError::Forbidden("a moderator may remove plain members only"));
        }
        Some(Role::Owner) => check_not_last(transaction, room).await?,
        Some(_) => {}
    }
    member::Entity::delete_by_id((room.0, user.0)).exec(transaction).await?;
    Ok(Changed::Removed { user })
}

pub(super) async fn check_not_last(transaction: &DatabaseTransaction, room: RoomKey) -> Result<(), ChangeError> {
    let owners = member::Entity::find()
        .filter(member::Column::RoomId.eq(room.0))
        .filter(member::Column::Role.eq(Role::Owner.as_str()))
        .count(transaction);
    if owners.await? > 1 { Ok(()) } else { Err(ChangeError::LastOwner) }
}
