//! `/api/rooms`: list, make, look at one, give it another title; how far one has read it, and who is in it.

use std::sync::Arc;

use actix_web::{HttpResponse, web};
use serde::Deserialize;
use serde_json::json;

use super::{
    ApiError,
    extract::{Asker, Body, InRoom, page_limit},
};
use crate::{
    protocol::{RoomName, Seq, WireError},
    server::CreateRoom,
    store::{RoomChange, RoomKind, User},
    worker::Worker,
};

/// Longest title, in characters.
const TITLE_CHARS: usize = 200;

#[derive(Deserialize)]
pub(super) struct ListQuery {
    pub(super) after: Option<String>,
    pub(super) limit: Option<String>,
}

/// `GET /api/rooms?after=NAME&limit=50`: rooms that one may join, by name.
pub(super) async fn list(
    Asker(user): Asker,
    query: web::Query<ListQuery>,
    worker: web::Data<Worker>,
) -> Result<HttpResponse, ApiError> {
    let ListQuery { after, limit } = query.into_inner();
    let (after, limit) = (room_cursor(after)?, page_limit(limit)?);
    let mut rooms = worker.store.rooms(&user, &after, limit.saturating_add(1)).await?;
    let more = super::cut(&mut rooms, limit);
    Ok(HttpResponse::Ok().json(json!({"rooms": rooms, "more": more})))
}

/// The name of a room after which a list goes on; none where it starts.
pub(super) fn room_cursor(after: Option<String>) -> Result<String, WireError> {
    let known = after.filter(|after| !after.is_empty()).map(|after| RoomName::parse(&after).map(|_| after));
    let wrong = |_| WireError::bad_field("after", "must be a room's name");
    Ok(known.transpose().map_err(wrong)?.unwrap_or_default())
}

/// What people read: any Unicode.
pub(crate) fn check_title(title: &str) -> Result<(), WireError> {
    let fits = !title.trim().is_empty() && title.chars().count() <= TITLE_CHARS && !title.chars().any(char::is_control);
    if fits {
        Ok(())
    } else {
        Err(WireError::bad_field("title", "must be 1 to 200 characters without control characters"))
    }
}

#[derive(Deserialize)]
pub(super) struct NewRoomBody {
    name: String,
    title: Option<String>,
    kind: Option<RoomKind>,
}

/// `POST /api/rooms` {name, title?, kind?}: makes a room, whose owner one is.
pub(super) async fn create(
    Asker(user): Asker,
    body: Body<NewRoomBody>,
    worker: web::Data<Worker>,
) -> Result<HttpResponse, ApiError> {
    let NewRoomBody { name, title, kind } = body.fields()?;
    let room = RoomName::parse(&name)?;
    title.as_deref().map_or(Ok(()), check_title)?;
    let new = CreateRoom { room, title, kind: kind.unwrap_or(RoomKind::Public) };
    let key = worker.handle.create(user, new).await?;
    let made = worker.store.room_summary(key).await?.ok_or_else(WireError::internal)?;
    Ok(HttpResponse::Created().json(made))
}

/// `GET /api/rooms/{room}`.
pub(super) async fn one(
    Asker(user): Asker,
    InRoom(room): InRoom,
    worker: web::Data<Worker>,
) -> Result<HttpResponse, ApiError> {
    summary(&worker, user, room).await
}

#[derive(Deserialize)]
pub(super) struct TitleBody {
    title: String,
}

/// `PATCH /api/rooms/{room}` {title}: by an owner or moderator.
pub(super) async fn retitle(
    Asker(user): Asker,
    InRoom(room): InRoom,
    body: Body<TitleBody>,
    worker: web::Data<Worker>,
) -> Result<HttpResponse, ApiError> {
    let TitleBody { title } = body.fields()?;
    check_title(&title)?;
    worker.handle.change(Arc::clone(&user), room.clone(), RoomChange::Retitle(title)).await?;
    summary(&worker, user, room).await
}

#[derive(Deserialize)]
pub(super) struct ReadBody {
    seq: i64,
}

/// `PUT /api/rooms/{room}/read` {seq}: one's own marker, as it stands then.
pub(super) async fn mark_read(
    Asker(user): Asker,
    InRoom(room): InRoom,
    body: Body<ReadBody>,
    worker: web::Data<Worker>,
) -> Result<HttpResponse, ApiError> {
    let ReadBody { seq } = body.fields()?;
    let seq = worker.handle.read(user, room.clone(), Seq::parse(seq, "seq")?, None).await?;
    Ok(HttpResponse::Ok().json(json!({"room": room, "seq": seq})))
}

/// `GET /api/rooms/{room}/presence`: who is in it now.
pub(super) async fn presence(
    Asker(user): Asker,
    InRoom(room): InRoom,
    worker: web::Data<Worker>,
) -> Result<HttpResponse, ApiError> {
    Ok(HttpResponse::Ok().json(worker.handle.presence(user, room).await?))
}

async fn summary(worker: &Worker, user: Arc<User>, room: RoomName) -> Result<HttpResponse, ApiError> {
    let key = worker.handle.open(user, room).await?.key.ok_or_else(WireError::room_not_found)?;
    let found = worker.store.room_summary(key).await?.ok_or_else(WireError::room_not_found)?;
    Ok(HttpResponse::Ok().json(found))
}
