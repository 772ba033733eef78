//! `/api/rooms`: list, make, look at one.

use actix_web::{HttpResponse, web};
use serde::Deserialize;
use serde_json::json;

use super::{ApiError, signed_in::Asker};
use crate::{
    protocol::{RoomName, Window, WireError, object},
    server::CreateRoom,
    store::RoomKind,
    worker::Worker,
};

/// Longest title, in characters.
const TITLE_CHARS: usize = 200;

#[derive(Deserialize)]
pub(super) struct ListQuery {
    after: Option<String>,
    limit: Option<i64>,
}

/// `GET /api/rooms?after=NAME&limit=50`: rooms that one may join, by name.
pub(super) async fn list(
    Asker(user): Asker,
    query: web::Query<ListQuery>,
    worker: web::Data<Worker>,
) -> Result<HttpResponse, ApiError> {
    let ListQuery { after, limit } = query.into_inner();
    let limit = Window::limit(limit)?;
    let mut rooms = worker.store.rooms(user.key, after.as_deref().unwrap_or(""), limit.saturating_add(1)).await?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = rooms.len() > limit;
    rooms.truncate(limit);
    Ok(HttpResponse::Ok().json(json!({"rooms": rooms, "more": more})))
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
    body: Result<web::Bytes, actix_web::Error>,
    worker: web::Data<Worker>,
) -> Result<HttpResponse, ApiError> {
    let body = super::text_of(body)?;
    let NewRoomBody { name, title, kind } = object(&body)?;
    let room = RoomName::parse(&name)?;
    if let Some(title) = &title {
        let fits =
            !title.trim().is_empty() && title.chars().count() <= TITLE_CHARS && !title.chars().any(char::is_control);
        if !fits {
            return Err(WireError::bad_field("title", "must be 1 to 200 characters without control characters").into());
        }
    }
    let new = CreateRoom { room, title, kind: kind.unwrap_or(RoomKind::Public) };
    let key = worker.handle.create(user, new).await?;
    let made = worker.store.room_summary(key).await?.ok_or_else(WireError::internal)?;
    Ok(HttpResponse::Created().json(made))
}

/// `GET /api/rooms/{room}`.
pub(super) async fn one(
    Asker(user): Asker,
    path: web::Path<String>,
    worker: web::Data<Worker>,
) -> Result<HttpResponse, ApiError> {
    let room = RoomName::parse(&path)?;
    let opened = worker.handle.open(user, room).await?;
    let key = opened.key.ok_or_else(WireError::room_not_found)?;
    let found = worker.store.room_summary(key).await?.ok_or_else(WireError::room_not_found)?;
    Ok(HttpResponse::Ok().json(found))
}
