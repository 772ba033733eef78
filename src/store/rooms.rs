//! Rooms: found by name, made once, listed. Their numbers are the writer's matter.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use entity::{member, room};
use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, Condition, ConnectionTrait, DbErr, EntityTrait, ExprTrait, FromQueryResult, QueryFilter, QueryOrder,
    QueryResult, QuerySelect, TransactionTrait, Value,
    sea_query::{Expr, OnConflict, Query},
    sqlx,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{Role, RoomKey, Store, StoreError, User, UserKey, events::EventRow};
use crate::protocol::{Epoch, RoomName, Seq, Timestamp};

/// The setting that names the history of new rooms.
const EPOCH: &str = "epoch";

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
    /// The kind's name, on the wire and in the table.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Private => "private",
        }
    }

    /// What an older or newer version wrote and this one does not know is closed to all but members.
    pub(super) fn parse(text: &str) -> Self {
        if text == "public" { Self::Public } else { Self::Private }
    }
}

/// A room as the database has it.
#[derive(Clone, Debug)]
pub struct RoomRow {
    /// The row.
    pub key: RoomKey,
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
    /// Who is banned, and till when; for good where there is no end.
    pub bans: HashMap<UserKey, Option<Timestamp>>,
}

impl RoomRow {
    /// Whether only members may join.
    pub fn is_private(&self) -> bool {
        self.kind == RoomKind::Private
    }
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

/// A room that one is a member of.
#[derive(Clone, Debug, Serialize)]
pub struct MyRoom {
    /// The name.
    pub name: String,
    /// What people read.
    pub title: String,
    /// Who may join.
    pub kind: RoomKind,
    /// The newest event.
    pub head: Seq,
    /// Which history the numbers belong to.
    pub epoch: String,
    /// As what one is a member.
    pub role: Role,
    /// The last event that one has read.
    pub read_seq: Seq,
    /// Messages after it.
    pub unread: i64,
    /// The newest message, as it went out.
    pub last_message: Option<Box<RawValue>>,
}

impl MyRoom {
    fn read(row: &QueryResult) -> Result<Self, DbErr> {
        let name: String = row.try_get("", "name")?;
        let head = Seq(row.try_get("", "last_seq")?);
        let count: i64 = row.try_get("", "message_count")?;
        let read: Option<i64> = row.try_get("", "read_ordinal")?;
        let last_message = match row.try_get::<Option<i64>>("", "l_seq")? {
            None => None,
            Some(_) => {
                let known = RoomName::parse(&name).map_err(|error| DbErr::Type(error.to_string()))?;
                let event = EventRow::from_query_result(row, "l_")?.into_event(&known).encode();
                RawValue::from_string(event.to_string()).ok()
            }
        };
        Ok(Self {
            title: row.try_get("", "title")?,
            kind: RoomKind::parse(&row.try_get::<String>("", "kind")?),
            head,
            epoch: row.try_get("", "epoch")?,
            role: Role::parse(&row.try_get::<String>("", "role")?),
            read_seq: Seq(row.try_get("", "read_seq")?),
            unread: count.saturating_sub(read.unwrap_or(0)),
            last_message,
            name,
        })
    }
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
        self.within(async {
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
                kind,
                first: Seq(row.first_seq),
                head: Seq(row.last_seq),
                rights: row.rights,
                epoch: Epoch::from(row.epoch.as_str()),
                members,
                bans: super::bans::of_room(&self.read, row.id).await?,
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
        self.within(async {
            let transaction = self.write.begin_with_options(super::immediate()).await?;
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
                role: Set(Role::Owner.as_str().to_owned()),
                read_seq: Set(0),
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
        let row = self.within(room::Entity::find_by_id(key.0).one(&self.read)).await?;
        Ok(row.map(RoomSummary::from))
    }

    /// Rooms that this user may join, by name, after a name; one more than `limit` says that there are more.
    pub async fn rooms(&self, user: &User, after: &str, limit: u64) -> Result<Vec<RoomSummary>, StoreError> {
        if user.admin {
            return self.all_rooms(after, limit).await;
        }
        let own = Query::select()
            .expr(Expr::col(member::Column::RoomId))
            .from(member::Entity)
            .and_where(member::Column::UserId.eq(user.key.0))
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
        Ok(self.within(find).await?.into_iter().map(RoomSummary::from).collect())
    }

    /// All rooms, by name, after a name.
    pub async fn all_rooms(&self, after: &str, limit: u64) -> Result<Vec<RoomSummary>, StoreError> {
        let find = room::Entity::find().filter(room::Column::Name.gt(after)).order_by_asc(room::Column::Name);
        Ok(self.within(find.limit(limit).all(&self.read)).await?.into_iter().map(RoomSummary::from).collect())
    }

    /// Rooms that this user is a member of, by name, after a name; one more than `limit` says that there are more.
    pub async fn my_rooms(&self, user: UserKey, after: &str, limit: u64) -> Result<Vec<MyRoom>, StoreError> {
        const LATEST: &str = "SELECT x.seq FROM hub_message x WHERE x.room_id = r.id AND x.ordinal IS NOT NULL";
        let sql = format!(
            "SELECT r.name, r.title, r.kind, r.last_seq, r.message_count, r.epoch, m.role, m.read_seq, \
             (SELECT x.ordinal FROM hub_message x WHERE x.room_id = r.id AND x.ordinal IS NOT NULL \
              AND x.seq <= m.read_seq ORDER BY x.seq DESC LIMIT 1) AS read_ordinal, \
             l.seq AS l_seq, l.kind AS l_kind, l.name AS l_name, l.client_id AS l_client_id, l.content AS l_content, \
             l.data AS l_data, l.created_at AS l_created_at, u.external_id AS l_external_id \
             FROM hub_member m JOIN hub_room r ON r.id = m.room_id \
             LEFT JOIN hub_message l ON l.room_id = r.id AND l.seq = ({LATEST} ORDER BY x.seq DESC LIMIT 1) \
             LEFT JOIN hub_user u ON u.id = l.user_id WHERE m.user_id = ? AND r.name > ? ORDER BY r.name LIMIT ?"
        );
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let values = [Value::from(user.0), Value::from(after), Value::from(limit)];
        let rows = self.within(self.read.query_all_raw(super::statement(&self.read, &sql, values))).await?;
        rows.iter().map(|row| MyRoom::read(row).map_err(StoreError::from)).collect()
    }

    /// Where these rooms stand: newest event and revision of the rights. On PostgreSQL alone, which others may write to.
    pub async fn heads(&self, rooms: Vec<(RoomKey, RoomName)>) -> Result<Vec<(RoomName, Seq, i64)>, StoreError> {
        if rooms.is_empty() {
            return Ok(Vec::new());
        }
        let mut names: HashMap<i64, RoomName> = rooms.into_iter().map(|(key, name)| (key.0, name)).collect();
        let keys: Vec<i64> = names.keys().copied().collect();
        // One text however many rooms there are: the server plans it once.
        let find = sqlx::query_as::<_, (i64, i64, i64)>("SELECT id, last_seq, rights FROM hub_room WHERE id = ANY($1)");
        let found = self.within(find.bind(keys).fetch_all(self.read.get_postgres_connection_pool())).await?;
        let head = |(id, head, rights)| names.remove(&id).map(|name| (name, Seq(head), rights));
        Ok(found.into_iter().filter_map(head).collect())
    }

    /// Which of these names have a room. On PostgreSQL alone, as `heads`.
    pub async fn rooms_made(&self, names: Vec<RoomName>) -> Result<Vec<RoomName>, StoreError> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let names: Vec<String> = names.iter().map(|name| name.as_str().to_owned()).collect();
        let find = sqlx::query_scalar::<_, String>("SELECT name FROM hub_room WHERE name = ANY($1)");
        let found = self.within(find.bind(names).fetch_all(self.read.get_postgres_connection_pool())).await?;
        Ok(found.iter().filter_map(|name| RoomName::parse(name).ok()).collect())
    }

    /// The history that new rooms belong to: rooms that are not there yet have it on all nodes alike.
    pub async fn epoch(&self) -> Result<Epoch, StoreError> {
        let text = self.setting_or(EPOCH, || Epoch::random().as_str().to_owned()).await?;
        Ok(Epoch::from(text.as_str()))
    }

    /// Gives every room another epoch, after the database was restored from a backup: cursors of the lost time get a reset.
    /// Raises the rights, so that a hub that runs all the same reads its rooms again.
    pub async fn new_epoch(&self) -> Result<u64, StoreError> {
        let epoch = Epoch::random();
        self.set_setting(EPOCH, epoch.as_str()).await?;
        let renew = room::Entity::update_many()
            .col_expr(room::Column::Epoch, epoch.as_str().into())
            .col_expr(room::Column::Rights, Expr::col(room::Column::Rights).add(1));
        Ok(self.within(renew.exec(&self.write)).await?.rows_affected)
    }
}
