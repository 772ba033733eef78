//! For the operator's console: the last hour, and lists of users, rooms and sessions with a search. For admins alone; a page
//! has at most 100 entries.

use actix_web::{HttpResponse, http::header, web};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    ApiError,
    extract::{Admin, page_limit},
    sanctions::moment,
};
use crate::{
    mirror::SessionSearch,
    protocol::WireError,
    store::{Account, Listed},
    worker::Worker,
};

/// Longest text that is searched for, in characters.
const SEARCH_CHARS: usize = 100;

#[derive(Deserialize)]
pub(super) struct HistoryQuery {
    after: Option<String>,
}

/// `GET /api/admin/history?after=TIME`: the last hour of all nodes, as this one saw it.
pub(super) async fn history(
    _: Admin,
    query: web::Query<HistoryQuery>,
    worker: web::Data<Worker>,
) -> Result<HttpResponse, ApiError> {
    let after = moment(query.after.as_deref(), "after")?;
    Ok(fresh(&worker.stats.history(after)))
}

#[derive(Deserialize)]
pub(super) struct ListQuery {
    q: Option<String>,
    after: Option<String>,
    limit: Option<String>,
}

impl ListQuery {
    /// What is searched for: part of a name, so any text that one may have.
    fn search(&self) -> Result<&str, WireError> {
        let q = self.q.as_deref().unwrap_or_default();
        if q.chars().count() > SEARCH_CHARS || q.chars().any(char::is_control) {
            return Err(WireError::bad_field("q", "must be at most 100 characters, none a control one"));
        }
        Ok(q)
    }

    /// The last name of the page before.
    fn after(&self) -> Result<&str, WireError> {
        let after = self.after.as_deref().unwrap_or_default();
        if after.contains('\0') {
            return Err(WireError::bad_field("after", "must be the last name of the page before"));
        }
        Ok(after)
    }

    fn limit(&self) -> Result<u64, WireError> {
        page_limit(self.limit.clone())
    }
}

/// `GET /api/admin/users?q=&after=&limit=50`: all users, by id.
pub(super) async fn users(
    _: Admin,
    query: web::Query<ListQuery>,
    worker: web::Data<Worker>,
) -> Result<HttpResponse, ApiError> {
    let (q, after, limit) = (query.search()?, query.after()?, query.limit()?);
    let mut users = worker.store.users(Listed { q, after, limit: limit.saturating_add(1) }).await?;
    let more = super::cut(&mut users, limit);
    let users: Vec<Value> = users.iter().map(user).collect();
    Ok(fresh(&json!({"users": users, "more": more})))
}

fn user(account: &Account) -> Value {
    json!({
        "user_id": account.id,
        "user": account.name,
        "role": if account.admin { "admin" } else { "user" },
        "account": account.has_password,
        "created_at": account.created_at,
        "disabled_at": account.disabled_at,
    })
}

/// `GET /api/admin/rooms?q=&after=&limit=50`: all rooms, private ones too, by name.
pub(super) async fn rooms(
    _: Admin,
    query: web::Query<ListQuery>,
    worker: web::Data<Worker>,
) -> Result<HttpResponse, ApiError> {
    let (q, after, limit) = (query.search()?, query.after()?, query.limit()?);
    let mut rooms = worker.store.listed_rooms(Listed { q, after, limit: limit.saturating_add(1) }).await?;
    let more = super::cut(&mut rooms, limit);
    Ok(fresh(&json!({"rooms": rooms, "more": more})))
}

/// `GET /api/admin/sessions?q=&limit=50`: the open sessions of all nodes, those first that lag or have much queued.
pub(super) async fn sessions(
    _: Admin,
    query: web::Query<ListQuery>,
    worker: web::Data<Worker>,
) -> Result<HttpResponse, ApiError> {
    let limit = usize::try_from(query.limit()?).unwrap_or(usize::MAX);
    let listed = worker.handle.list_sessions(SessionSearch::new(query.search()?, limit)).await?;
    let each = listed.sessions.iter().map(|(node, row)| {
        json!({
            "session": row.session,
            "node": node.to_string(),
            "user_id": row.user_id,
            "user": row.user,
            "dialect": if row.plain { "plain" } else { "native" },
            "open_for_s": row.open_for_s,
            "rooms": row.rooms,
            "queued": row.queued,
            "lagging": row.lagging,
            "ends_in_s": row.ends_in_s,
        })
    });
    let sessions: Vec<Value> = each.collect();
    let silent: Vec<_> = listed.silent.iter().map(ToString::to_string).collect();
    Ok(fresh(&json!({"sessions": sessions, "total": listed.total, "silent": silent})))
}

/// What is true now alone.
fn fresh(body: &Value) -> HttpResponse {
    HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(body)
}
