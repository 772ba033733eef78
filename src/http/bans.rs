//! `/api/rooms/{room}/bans`: who is kept out of a room. For its owners and moderators, and for admins; answered when it
//! holds for all open sockets of this node.

use actix_web::{HttpResponse, web};
use serde::Deserialize;
use serde_json::json;

use super::{
    ApiError,
    extract::{Asker, Body, InRoom, PathUser, page_limit, user_id},
    rooms::ListQuery,
    sanctions::{check_reason, moment},
};
use crate::{
    config::UsersPolicy,
    protocol::{Timestamp, UserId, WireError},
    store::RoomChange,
    worker::Worker,
};

/// `GET …?after=USER_ID&limit=50`, by id.
pub(super) async fn list(
    Asker(user): Asker,
    InRoom(room): InRoom,
    query: web::Query<ListQuery>,
    worker: web::Data<Worker>,
) -> Result<HttpResponse, ApiError> {
    let ListQuery { after, limit } = query.into_inner();
    let limit = page_limit(limit)?;
    let after = after.map(|after| user_id(&after, "after")).transpose()?;
    let key =
        worker.handle.open(std::sync::Arc::clone(&user), room).await?.key.ok_or_else(WireError::room_not_found)?;
    if !worker.store.may_ban(key, &user).await? {
        return Err(WireError::forbidden("only an owner or a moderator may see who is banned").into());
    }
    let after = after.as_ref().map_or("", UserId::as_str);
    let mut bans = worker.store.bans(key, after, limit.saturating_add(1)).await?;
    let more = super::cut(&mut bans, limit);
    Ok(HttpResponse::Ok().json(json!({"bans": bans, "more": more})))
}

#[derive(Default, Deserialize)]
pub(super) struct BanBody {
    until: Option<String>,
    reason: Option<String>,
}

/// `PUT …/{user_id}` {until?, reason?}: ends a membership too.
pub(super) async fn put(
    Asker(by): Asker,
    InRoom(room): InRoom,
    PathUser(user): PathUser,
    body: Body<BanBody>,
    worker: web::Data<Worker>,
) -> Result<HttpResponse, ApiError> {
    let BanBody { until, reason } = body.fields_or_default()?;
    reason.as_deref().map_or(Ok(()), check_reason)?;
    let until = moment(until.as_deref(), "until")?;
    if until.is_some_and(|until| until <= Timestamp::now()) {
        return Err(WireError::bad_field("until", "must be in the future").into());
    }
    let answer = json!({"room": room, "user_id": user, "until": until, "reason": reason});
    let make = worker.config.auth.users == UsersPolicy::Any;
    worker.handle.change(by, room, RoomChange::Ban { user, until, reason, make }).await?;
    Ok(HttpResponse::Ok().json(answer))
}

/// `DELETE …/{user_id}`: 204, also where they were not banned.
pub(super) async fn remove(
    Asker(by): Asker,
    InRoom(room): InRoom,
    PathUser(user): PathUser,
    worker: web::Data<Worker>,
) -> Result<HttpResponse, ApiError> {
    worker.handle.change(by, room, RoomChange::Unban { user }).await?;
    Ok(HttpResponse::NoContent().finish())
}
