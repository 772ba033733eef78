//! For admins: disabling users, revoking tokens, closing sessions, and the record of who did what. Each is answered when the
//! node's open sessions have been told.

use actix_web::{HttpResponse, web};
use serde::Deserialize;
use serde_json::json;

use super::{
    ApiError,
    extract::{Admin, Body, PathUser, number, page_limit},
};
use crate::{
    config::{DatabaseUrl, UsersPolicy},
    protocol::{ErrorCode, Timestamp, UserId, WireError},
    server::SessionId,
    store::{Revoke, RevokeError},
    worker::Worker,
};

/// Longest reason, in characters.
const REASON_CHARS: usize = 500;
/// Longest `jti`, in characters.
const JTI_CHARS: usize = 255;

/// A reason, for people.
pub(super) fn check_reason(reason: &str) -> Result<(), WireError> {
    let fits = reason.chars().count() <= REASON_CHARS && !reason.chars().any(char::is_control);
    if fits {
        Ok(())
    } else {
        Err(WireError::bad_field("reason", "must be at most 500 characters, none a control one"))
    }
}

/// A moment in a body.
pub(super) fn moment(text: Option<&str>, field: &str) -> Result<Option<Timestamp>, WireError> {
    let parse = |text| Timestamp::parse(text).ok_or_else(|| WireError::bad_field(field, "must be an RFC 3339 time"));
    text.map(parse).transpose()
}

fn user_not_found() -> WireError {
    WireError::new(ErrorCode::UserNotFound, "no such user")
}

#[derive(Default, Deserialize)]
pub(super) struct DisableBody {
    reason: Option<String>,
}

/// `POST /api/admin/users/{user_id}/disable` {reason?}: the user's sessions end, and they get no new ones.
pub(super) async fn disable(
    admin: Admin,
    PathUser(user): PathUser,
    body: Body<DisableBody>,
    worker: web::Data<Worker>,
) -> Result<HttpResponse, ApiError> {
    let DisableBody { reason } = body.fields_or_default()?;
    reason.as_deref().map_or(Ok(()), check_reason)?;
    set_disabled(&admin, user, true, reason.as_deref(), &worker).await
}

/// `POST /api/admin/users/{user_id}/enable`
pub(super) async fn enable(
    admin: Admin,
    PathUser(user): PathUser,
    worker: web::Data<Worker>,
) -> Result<HttpResponse, ApiError> {
    set_disabled(&admin, user, false, None, &worker).await
}

async fn set_disabled(
    Admin(admin): &Admin,
    user: UserId,
    disabled: bool,
    reason: Option<&str>,
    worker: &Worker,
) -> Result<HttpResponse, ApiError> {
    if disabled && user == admin.id {
        return Err(WireError::forbidden("nobody can disable themselves").into());
    }
    let make = disabled && worker.config.auth.users == UsersPolicy::Any;
    if !worker.store.set_disabled(&user, disabled, make, reason, admin.id.as_str()).await? {
        return Err(user_not_found().into());
    }
    worker.handle.settle_user(user.clone()).await?;
    Ok(HttpResponse::Ok().json(json!({"user_id": user, "disabled": disabled})))
}

#[derive(Default, Deserialize)]
pub(super) struct RevokeBody {
    jti: Option<String>,
    until: Option<String>,
    issued_before: Option<String>,
}

/// `POST /api/admin/users/{user_id}/revoke` {jti, until?} or {issued_before?}: one token, or all issued up to then, which
/// is now where nothing is said.
pub(super) async fn revoke(
    Admin(admin): Admin,
    PathUser(user): PathUser,
    body: Body<RevokeBody>,
    worker: web::Data<Worker>,
) -> Result<HttpResponse, ApiError> {
    let RevokeBody { jti, until, issued_before } = body.fields_or_default()?;
    let (until, issued_before) =
        (moment(until.as_deref(), "until")?, moment(issued_before.as_deref(), "issued_before")?);
    let what = match (jti, issued_before) {
        (Some(_), Some(_)) => return Err(WireError::bad_field("jti", "does not go with `issued_before`").into()),
        (None, _) if until.is_some() => return Err(WireError::bad_field("until", "goes with `jti` alone").into()),
        (Some(jti), None) if (1..=JTI_CHARS).contains(&jti.chars().count()) && !jti.contains('\0') => {
            Revoke::Token { jti, until }
        }
        (Some(_), None) => return Err(WireError::bad_field("jti", "must be 1 to 255 characters").into()),
        (None, before) => Revoke::IssuedBefore(before.unwrap_or_else(Timestamp::now)),
    };
    let answer = match &what {
        Revoke::Token { jti, .. } => json!({"user_id": user, "jti": jti}),
        Revoke::IssuedBefore(before) => json!({"user_id": user, "issued_before": before}),
    };
    let make = worker.config.auth.users == UsersPolicy::Any;
    worker.store.revoke(&user, what, make, admin.id.as_str()).await?;
    worker.handle.settle_user(user).await?;
    Ok(HttpResponse::Ok().json(answer))
}

impl From<RevokeError> for WireError {
    fn from(error: RevokeError) -> Self {
        match error {
            RevokeError::UnknownUser => user_not_found(),
            RevokeError::TooMany => Self::new(ErrorCode::TooMany, error.to_string()),
            RevokeError::Store(error) => error.into(),
        }
    }
}

/// `GET /api/admin/users/{user_id}/sessions`: those on this node.
pub(super) async fn sessions(
    _: Admin,
    PathUser(user): PathUser,
    worker: web::Data<Worker>,
) -> Result<HttpResponse, ApiError> {
    let user = worker.store.user_by_id(&user, false).await?.ok_or_else(user_not_found)?;
    let sessions = worker.handle.sessions_of(user.key).await?;
    Ok(HttpResponse::Ok().json(json!({"sessions": sessions})))
}

/// `POST /api/admin/sessions/{session}/close`: with 4505, so that its client does not come back by itself. 202 where it may
/// be on another node.
pub(super) async fn close_session(
    Admin(admin): Admin,
    path: web::Path<String>,
    worker: web::Data<Worker>,
) -> Result<HttpResponse, ApiError> {
    let nowhere = || WireError::new(ErrorCode::NotFound, "no such session");
    let session = SessionId::parse(&path).ok_or_else(nowhere)?;
    let closed = worker.handle.close_session(session).await?;
    let others = matches!(worker.config.database.url, DatabaseUrl::Postgres(_));
    if !closed && !others {
        return Err(nowhere().into());
    }
    // Other nodes learn it from the record.
    worker.store.note_closed_session(&session.to_string(), admin.id.as_str()).await?;
    let mut answer = if closed { HttpResponse::Ok() } else { HttpResponse::Accepted() };
    Ok(answer.json(json!({"session": session.to_string(), "closed": closed})))
}

#[derive(Deserialize)]
pub(super) struct AuditQuery {
    before: Option<String>,
    limit: Option<String>,
}

/// `GET /api/admin/audit?before=ID&limit=50`: who did what, newest first.
pub(super) async fn audit(
    _: Admin,
    query: web::Query<AuditQuery>,
    worker: web::Data<Worker>,
) -> Result<HttpResponse, ApiError> {
    let AuditQuery { before, limit } = query.into_inner();
    let (before, limit) = (number(before, "before")?, page_limit(limit)?);
    let mut acts = worker.store.audit(before, limit.saturating_add(1)).await?;
    let more = super::cut(&mut acts, limit);
    Ok(HttpResponse::Ok().json(json!({"acts": acts, "more": more})))
}
