//! `POST /api/ws-ticket`: what opens one socket.
//! `GET /api/me`: who the token says one is. `GET /api/me/rooms`: the rooms that one is a member of, and what is unread.

use actix_web::{HttpRequest, HttpResponse, Responder, web};
use serde_json::json;

use super::{
    ApiError,
    extract::{Asker, bearer, page_limit},
    rooms::{ListQuery, room_cursor},
};
use crate::worker::Worker;

/// A ticket for `?ticket=`, where a token in an address is too much.
pub(super) async fn ticket(
    _: Asker,
    request: HttpRequest,
    worker: web::Data<Worker>,
) -> Result<HttpResponse, ApiError> {
    let (ticket, expires_in_ms) = worker.issue_ticket(bearer(&request).unwrap_or_default()).await?;
    Ok(HttpResponse::Ok().json(json!({"ticket": ticket, "expires_in_ms": expires_in_ms})))
}

pub(super) async fn me(Asker(user): Asker) -> impl Responder {
    HttpResponse::Ok().json(json!({"user_id": user.id, "user": &*user.name, "admin": user.admin}))
}

/// `GET /api/me/rooms?after=NAME&limit=50`, by name.
pub(super) async fn rooms(
    Asker(user): Asker,
    query: web::Query<ListQuery>,
    worker: web::Data<Worker>,
) -> Result<HttpResponse, ApiError> {
    let ListQuery { after, limit } = query.into_inner();
    let (after, limit) = (room_cursor(after)?, page_limit(limit)?);
    let mut rooms = worker.store.my_rooms(user.key, &after, limit.saturating_add(1)).await?;
    let more = super::cut(&mut rooms, limit);
    Ok(HttpResponse::Ok().json(json!({"rooms": rooms, "more": more})))
}
