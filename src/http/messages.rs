//! `/api/rooms/{room}/messages`: read a page of the history, or say something without a socket.

use std::sync::Arc;

use actix_web::{HttpResponse, http::header, web};
use serde::Deserialize;
use serde_json::json;

use super::{
    ApiError,
    extract::{Asker, Body, InRoom, number, page_limit},
};
use crate::{
    config::UsersPolicy,
    protocol::{Command, Dialect, ErrorCode, Reply, UserId, Window, WireError},
    worker::Worker,
};

#[derive(Deserialize)]
pub(super) struct PageQuery {
    after: Option<String>,
    before: Option<String>,
    around: Option<String>,
    limit: Option<String>,
}

/// `GET …?after=41&limit=50` (or before, around; none: the newest): messages ascending by seq.
pub(super) async fn read(
    Asker(user): Asker,
    InRoom(room): InRoom,
    query: web::Query<PageQuery>,
    worker: web::Data<Worker>,
) -> Result<HttpResponse, ApiError> {
    let PageQuery { after, before, around, limit } = query.into_inner();
    let window = Window::from_options(number(after, "after")?, number(before, "before")?, number(around, "around")?)?;
    let limit = page_limit(limit)?;
    let (page, head) = worker.handle.history(&worker.store, user, room, window, limit).await?;
    Ok(HttpResponse::Ok().insert_header(header::ContentType::json()).body(Reply::page(&page.events, head, page.more)))
}

#[derive(Deserialize)]
pub(super) struct AsUser {
    as_user: Option<String>,
}

/// `POST` {message, client_id?, data?}: 201 once it is stored, 200 where an earlier try had stored it. An admin may name
/// `as_user`, in whose name it is.
pub(super) async fn send(
    Asker(asker): Asker,
    InRoom(room): InRoom,
    body: Body<AsUser>,
    worker: web::Data<Worker>,
) -> Result<HttpResponse, ApiError> {
    let dialect = Dialect::Plain { room: room.clone(), resumes: false };
    let request = dialect.parse(&body.text, &worker.config.limits.message()).map_err(|failure| failure.error)?;
    let Command::Send { draft, .. } = request.command else { return Err(WireError::internal().into()) };
    let AsUser { as_user } = body.fields()?;
    let user = match as_user {
        None => Arc::clone(&asker),
        Some(_) if !asker.admin => return Err(WireError::forbidden("only an admin may speak as somebody else").into()),
        Some(id) => {
            let id = UserId::parse(&id).ok_or_else(|| WireError::bad_field("as_user", "must be a user's id"))?;
            let make = worker.config.auth.users == UsersPolicy::Any;
            let unknown = || WireError::new(ErrorCode::UserNotFound, "no such user");
            Arc::new(worker.store.user_by_id(&id, make).await?.ok_or_else(unknown)?)
        }
    };
    let stored = worker.handle.post(user, asker.admin, room.clone(), draft, None)?;
    let posted = stored.await.unwrap_or_else(|_| Err(WireError::unavailable()))?;
    let answer = json!({"room": room, "seq": posted.seq, "timestamp": posted.timestamp, "repeat": posted.repeat});
    Ok(if posted.repeat { HttpResponse::Ok().json(answer) } else { HttpResponse::Created().json(answer) })
}
