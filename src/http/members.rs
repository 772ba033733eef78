//! `/api/rooms/{room}/members`: who belongs to a room. Adding and removing is answered when it holds everywhere on this
//! node, open sockets among it.

use actix_web::{HttpResponse, web};
use serde::Deserialize;
use serde_json::json;

use super::{
    ApiError,
    extract::{Asker, Body, InRoom, PathUser, page_limit, user_id},
    rooms::ListQuery,
};
use crate::{
    config::UsersPolicy,
    protocol::{UserId, WireError},
    store::{Changed, Role, RoomChange},
    worker::Worker,
};

/// `GET …?after=USER_ID&limit=50`, by id: for whoever may read the room.
pub(super) async fn list(
    Asker(user): Asker,
    InRoom(room): InRoom,
    query: web::Query<ListQuery>,
    worker: web::Data<Worker>,
) -> Result<HttpResponse, ApiError> {
    let ListQuery { after, limit } = query.into_inner();
    let limit = page_limit(limit)?;
    let after = after.map(|after| user_id(&after, "after")).transpose()?;
    let key = worker.handle.open(user, room).await?.key.ok_or_else(WireError::room_not_found)?;
    let after = after.as_ref().map_or("", UserId::as_str);
    let mut members = worker.store.members(key, after, limit.saturating_add(1)).await?;
    let more = super::cut(&mut members, limit);
    Ok(HttpResponse::Ok().json(json!({"members": members, "more": more})))
}

#[derive(Default, Deserialize)]
pub(super) struct MemberBody {
    role: Option<Role>,
}

/// `PUT …/{user_id}` {role?}: 201 where they are a member now, 200 where they were one.
pub(super) async fn put(
    Asker(by): Asker,
    InRoom(room): InRoom,
    PathUser(user): PathUser,
    body: Body<MemberBody>,
    worker: web::Data<Worker>,
) -> Result<HttpResponse, ApiError> {
    let MemberBody { role } = body.fields_or_default()?;
    let make = worker.config.auth.users == UsersPolicy::Any;
    let change = RoomChange::Put { user: user.clone(), role, make };
    let (role, added) = match worker.handle.change(by, room.clone(), change).await? {
        Changed::Member { role, added, .. } => (role, added),
        Changed::Nothing { role } => (role.unwrap_or(Role::Member), false),
        Changed::Removed { .. } | Changed::Banned { .. } | Changed::Unbanned | Changed::Retitled { .. } => {
            return Err(WireError::internal().into());
        }
    };
    let answer = json!({"room": room, "user_id": user, "role": role});
    Ok(if added { HttpResponse::Created().json(answer) } else { HttpResponse::Ok().json(answer) })
}

/// `DELETE …/{user_id}`: 204, also where they were none.
pub(super) async fn remove(
    Asker(by): Asker,
    InRoom(room): InRoom,
    PathUser(user): PathUser,
    worker: web::Data<Worker>,
) -> Result<HttpResponse, ApiError> {
    worker.handle.change(by, room, RoomChange::Remove { user }).await?;
    Ok(HttpResponse::NoContent().finish())
}
