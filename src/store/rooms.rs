//! Rooms: found by name, made once, listed. Their numbers are the writer's matter.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use entity::{member, room};
use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, Condition, EntityTrait, QueryFilter, QueryOrder, QuerySelect, TransactionTrait,
    sea_query::{Expr, OnConflict, Query},
};
use serde::{Deserialize, Serialize};

use super::{RoomKey, Store, StoreError, UserKey, within};
use crate::protocol::{Epoch, RoomName, Seq, Timestamp};

/// Who may join a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RoomKind {
    /// Everybody.
    Public,
    /// Its members.
    Private,
}

impl RoomKind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Private => "private",
        }
    }

    /// What an older or newer version wrote and this one does not know is closed to all but members.
    fn parse(text: &str) -> Self {
        if text == "public" { Self::Public } else { Self::Private }
    }
}

/// A room as the database has it.
#[derive(Clone, Debug)]
pub struct RoomRow {
    /// The row.
    pub key: RoomKey,
    /// The name.
    pub name: RoomName,
    /// Who may join.
    pub kind: RoomKind,
    /// The oldest event that is kept.
    pub first: Seq,
    /// The newest event.
    pub head: Seq,
    /// The revision of who may do what.
    pub rights: i64,
    /// Which history the numbers belong to.
    pub epoch: Epoch,
    /// Who belongs to it, where that decides about joining: empty for a public room.
    pub members: HashSet<UserKey>,
}

/// A room that is to be made.
#[derive(Clone, Debug)]
pub struct NewRoom {
    /// Its name.
    pub name: RoomName,
    /// What people read; the name where there is none.
    pub title: Option<String>,
    /// Who may join.
    pub kind: RoomKind,
    /// Which history its numbers will belong to.
    pub epoch: Epoch,
    /// Whoever makes it, its owner.
    pub owner: UserKey,
}

/// A room in a list or on its own over HTTP.
#[derive(Clone, Debug, Serialize)]
pub struct RoomSummary {
    /// The name.
    pub name: String,
    /// What people read.
    pub title: String,
    /// Who may join.
    pub kind: RoomKind,
    /// The newest event.
    pub head: Seq,
    /// How many messages there ever were.
    pub message_count: i64,
    /// Which history the numbers belong to.
    pub epoch: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// The newest event's time.
    pub last_at: Option<Timestamp>,
}

impl From<room::Model> for RoomSummary {
    fn from(row: room::Model) -> Self {
        Self {
            kind: RoomKind::parse(&row.kind),
            name: row.name,
            title: row.title,
            head: Seq(row.last_seq),
            message_count: row.message_count,
            epoch: row.epoch,
            created_at: row.created_at.into(),
            last_at: row.last_at.map(Timestamp::from),
        }
    }
}

impl Store {
    /// The room of this name, with its members where they decide about joining.
    pub async fn room(&self, name: &RoomName) -> Result<Option<RoomRow>, StoreError> {
        within(self.bounds.read_timeout, async {
            let find = room::Entity::find().filter(room::Column::Name.eq(name.as_str()));
            let Some(row) = find.one(&self.read).await? else { return Ok(None) };
            let kind = RoomKind::parse(&row.kind);
            let members = match kind {
                RoomKind::Public => HashSet::new(),
                RoomKind::Private => {
                    let members = member::Entity::find().filter(member::Column::RoomId.eq(row.id)).all(&self.read);
                    members.await?.into_iter().map(|member| UserKey(member.user_id)).collect()
                }
            };
            Ok::<_, StoreError>(Some(RoomRow {
                key: RoomKey(row.id),
                name: name.clone(),
                kind,
                first: Seq(row.first_seq),
                head: Seq(row.last_seq),
                rights: row.rights,
                epoch: Epoch::from(row.epoch.as_str()),
                members,
            }))
        })
        .await
    }

    /// Makes the room with its owner; `false` where one of this name was there already.
    pub async fn create_room(&self, new: &NewRoom) -> Result<bool, StoreError> {
        let now: DateTime<Utc> = super::now().to_utc();
        let row = room::ActiveModel {
            name: Set(new.name.as_str().to_owned()),
            title: Set(new.title.clone().unwrap_or_else(|| new.name.as_str().to_owned())),
            kind: Set(new.kind.as_str().to_owned()),
            epoch: Set(new.epoch.as_str().to_owned()),
            created_at: Set(now),
            ..Default::default()
        };
        within(self.bounds.read_timeout, async {
            let transaction = self.write.begin().await?;
            let once = OnConflict::column(room::Column::Name).do_nothing().to_owned();
            let made = room::Entity::insert(row).on_conflict(once).exec_without_returning(&transaction).await?;
            if made == 0 {
                transaction.rollback().await?;
                return Ok(false);
            }
            let find = room::Entity::find().filter(room::Column::Name.eq(new.name.as_str())).one(&transaction);
            let room = find.await?.ok_or_else(|| StoreError::Refused("a new room did not stay".into()))?;
            let owner = member::ActiveModel {
                room_id: Set(room.id),
                user_id: Set(new.owner.0),
                role: Set("owner".to_owned()),
                joined_at: Set(now),
            };
            member::Entity::insert(owner).exec_without_returning(&transaction).await?;
            transaction.commit().await?;
            Ok::<_, StoreError>(true)
        })
        .await
    }

    /// The room as HTTP shows it.
    pub async fn room_summary(&self, key: RoomKey) -> Result<Option<RoomSummary>, StoreError> {
        let row = within(self.bounds.read_timeout, room::Entity::find_by_id(key.0).one(&self.read)).await?;
        Ok(row.map(RoomSummary::from))
    }

    /// Rooms that this user may join, by name, after a name; one more than `limit` says that there are more.
    pub async fn rooms(&self, user: UserKey, after: &str, limit: u64) -> Result<Vec<RoomSummary>, StoreError> {
        let own = Query::select()
            .expr(Expr::col(member::Column::RoomId))
            .from(member::Entity)
            .and_where(member::Column::UserId.eq(user.0))
            .to_owned();
        let open = Condition::any()
            .add(room::Column::Kind.eq(RoomKind::Public.as_str()))
            .add(room::Column::Id.in_subquery(own));
        let find = room::Entity::find()
            .filter(room::Column::Name.gt(after))
            .filter(open)
            .order_by_asc(room::Column::Name)
            .limit(limit)
            .all(&self.read);
        Ok(within(self.bounds.read_timeout, find).await?.into_iter().map(RoomSummary::from).collect())
    }
}
