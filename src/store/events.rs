//! Reading a room's log: pages for history, and what a cursor missed. Reads for sessions that catch up are few at a
//! time, and sessions that want the same range share one.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use bytestring::ByteString;
use entity::{message, user};
use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use sea_orm::{
    ColumnTrait, EntityTrait, FromQueryResult, JoinType, QueryFilter, QueryOrder, QuerySelect, RelationTrait,
    prelude::ChronoDateTimeUtc,
};
use serde_json::value::RawValue;
use tokio::sync::Semaphore;

use super::{RoomKey, Store, StoreError};
use crate::{
    protocol::{ClientId, Event, EventKind, Message, RoomName, Seq, UserId, Window},
    room::Numbered,
    stats::Counter,
};

/// A part of a room's log.
#[derive(Clone, Debug)]
pub struct EventPage {
    /// The events as they went out, ascending.
    pub events: Vec<ByteString>,
    /// Whether there is more: after the last for `after`, before the first otherwise.
    pub more: bool,
}

type Read = Result<Arc<[Numbered<ByteString>]>, StoreError>;
type Running = HashMap<(RoomKey, Seq), Shared<BoxFuture<'static, Read>>>;

/// Reads under way, by room and cursor, and how many may be.
pub(super) struct SharedReads {
    running: Mutex<Running>,
    permits: Semaphore,
}

impl SharedReads {
    pub(super) fn new(at_once: usize) -> Self {
        Self { running: Mutex::new(HashMap::new()), permits: Semaphore::new(at_once) }
    }
}

/// One row of a room's log, with its sender's id.
#[derive(FromQueryResult)]
pub(super) struct EventRow {
    seq: i64,
    kind: String,
    name: String,
    client_id: Option<String>,
    content: String,
    data: Option<String>,
    created_at: ChronoDateTimeUtc,
    external_id: Option<String>,
}

impl EventRow {
    pub(super) fn into_event(self, room: &RoomName) -> Event {
        let (seq, timestamp) = (Seq(self.seq), self.created_at.into());
        let kind = match self.kind.as_str() {
            "message" => self.into_message().map_or_else(
                || {
                    // Somebody's hand was in the database. The number is kept, or nobody would get past it.
                    tracing::error!(%room, %seq, "a stored message can't be read: its user or data is broken");
                    EventKind::Other("unreadable".into())
                },
                EventKind::Message,
            ),
            _ => EventKind::Other(self.kind),
        };
        Event { room: room.clone(), seq, timestamp, kind }
    }

    fn into_message(self) -> Option<Message> {
        let data = self.data.map(RawValue::from_string).transpose().ok()?;
        Some(Message {
            user: self.name.into(),
            user_id: self.external_id.as_deref().and_then(UserId::parse)?,
            text: self.content.into(),
            // The writer's own keys start with `~`, which no client's can.
            client_id: self.client_id.as_deref().and_then(|id| ClientId::parse(id).ok()),
            data: data.map(Arc::from),
        })
    }
}

/// Which rows of a room, nearest first.
#[derive(Clone, Copy)]
enum Side {
    /// After the first, up to the second.
    Between(Seq, Seq),
    Before(Seq),
}

impl Store {
    /// What comes after `after`, oldest first: as much as a page holds. The same range asked for twice at once is read
    /// once, and counted once.
    pub async fn read_after(self: &Arc<Self>, room: RoomKey, name: &RoomName, after: Seq, pages: &Counter) -> Read {
        let mine = (room, after);
        let read = {
            let mut running = self.reads.running.lock().unwrap_or_else(PoisonError::into_inner);
            let (store, name) = (Arc::clone(self), name.clone());
            let start = move || {
                pages.add(1);
                // A task of its own: whoever asked may be gone before the answer, and it holds a permit.
                let read = tokio::spawn(async move {
                    let read = store.page_after(room, &name, after).await;
                    store.reads.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&mine);
                    read
                });
                let failed = |error| Err(StoreError::Unavailable(format!("a read ended early: {error}")));
                read.map(move |joined| joined.unwrap_or_else(failed)).boxed().shared()
            };
            running.entry(mine).or_insert_with(start).clone()
        };
        read.await
    }

    async fn page_after(&self, room: RoomKey, name: &RoomName, after: Seq) -> Read {
        self.within(async {
            let _permit = self.reads.permits.acquire().await.map_err(|_| StoreError::Unavailable("closed".into()))?;
            let (events, _) =
                self.read(room, name, Side::Between(after, Seq(i64::MAX)), self.bounds.page_events).await?;
            Ok::<_, StoreError>(Arc::from(events))
        })
        .await
    }

    /// A page of history, with nothing after `head`.
    pub async fn history(
        &self,
        room: RoomKey,
        name: &RoomName,
        head: Seq,
        window: Window,
        limit: u64,
    ) -> Result<EventPage, StoreError> {
        let page = async {
            let (events, more) = match window {
                Window::Latest => self.read(room, name, Side::Before(head.next()), limit).await?,
                Window::After(seq) => self.read(room, name, Side::Between(seq, head), limit).await?,
                Window::Before(seq) => self.read(room, name, Side::Before(seq.min(head.next())), limit).await?,
                Window::Around(seq) => {
                    let older = limit / 2;
                    let (mut events, more) = self.read(room, name, Side::Before(seq.min(head.next())), older).await?;
                    let newer = Side::Between(Seq(seq.0.saturating_sub(1)), head);
                    events.extend(self.read(room, name, newer, limit.saturating_sub(older)).await?.0);
                    (events, more)
                }
            };
            Ok::<_, StoreError>(EventPage { events: events.into_iter().map(|event| event.event).collect(), more })
        };
        self.within(page).await
    }

    /// Events in ascending order, and whether there are more on that side.
    async fn read(
        &self,
        room: RoomKey,
        name: &RoomName,
        side: Side,
        limit: u64,
    ) -> Result<(Vec<Numbered<ByteString>>, bool), StoreError> {
        let find = message::Entity::find()
            .select_only()
            .columns([
                message::Column::Seq,
                message::Column::Kind,
                message::Column::Name,
                message::Column::ClientId,
                message::Column::Content,
                message::Column::Data,
                message::Column::CreatedAt,
            ])
            .column(user::Column::ExternalId)
            .join(JoinType::LeftJoin, message::Relation::User.def())
            .filter(message::Column::RoomId.eq(room.0));
        let find = match side {
            Side::Between(seq, last) => find
                .filter(message::Column::Seq.gt(seq.0))
                .filter(message::Column::Seq.lte(last.0))
                .order_by_asc(message::Column::Seq),
            Side::Before(seq) => find.filter(message::Column::Seq.lt(seq.0)).order_by_desc(message::Column::Seq),
        };
        let rows = find.limit(limit.saturating_add(1)).into_model::<EventRow>().all(&self.read).await?;
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let (mut events, mut bytes, found) = (Vec::new(), 0_usize, rows.len());
        for row in rows.into_iter().take(limit) {
            let event = row.into_event(name);
            let encoded = event.encode();
            bytes = bytes.saturating_add(encoded.len());
            if bytes > self.bounds.page_bytes && !events.is_empty() {
                break;
            }
            events.push(Numbered { seq: event.seq, event: encoded });
        }
        let more = found > events.len();
        if matches!(side, Side::Before(_)) {
            events.reverse();
        }
        Ok((events, more))
    }
}
