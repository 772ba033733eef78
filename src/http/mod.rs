//! Routes, and what they share: who asks, and how an error looks. Runs on the workers' threads; a request's body is
//! bounded by `limits.body_bytes`.

mod accounts;
mod admin;
mod bans;
mod console;
mod error;
mod extract;
mod finish;
mod health;
mod me;
mod members;
mod messages;
mod pages;
mod rooms;
mod sanctions;
mod setup;

use actix_web::{HttpResponse, Route, guard, http::Method, web};

pub(crate) use accounts::{name_faults, password_faults};
pub use error::ApiError;
pub(crate) use error::query_error;
pub use extract::bearer;
pub(crate) use extract::client_address;
pub(crate) use finish::{cors, finish};
pub(crate) use rooms::check_title;

use crate::protocol::{ErrorCode, WireError};

/// Every route but those of the pages: where, how, and what runs. The OpenAPI document is held against it.
fn table() -> Vec<(&'static str, Vec<(Method, Route)>)> {
    let (get, post, put, patch, delete) = (Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE);
    vec![
        ("/health/live", vec![(get.clone(), web::to(health::live))]),
        ("/health/ready", vec![(get.clone(), web::to(health::ready))]),
        ("/metrics", vec![(get.clone(), web::to(admin::metrics))]),
        ("/api/register", vec![(post.clone(), web::to(accounts::register))]),
        ("/api/token", vec![(post.clone(), web::to(accounts::obtain))]),
        ("/api/token/refresh", vec![(post.clone(), web::to(accounts::refresh))]),
        ("/api/token/verify", vec![(post.clone(), web::to(accounts::verify))]),
        ("/api/ws-ticket", vec![(post.clone(), web::to(me::ticket))]),
        ("/api/me", vec![(get.clone(), web::to(me::me))]),
        ("/api/me/rooms", vec![(get.clone(), web::to(me::rooms))]),
        ("/api/rooms", vec![(get.clone(), web::to(rooms::list)), (post.clone(), web::to(rooms::create))]),
        ("/api/rooms/{room}", vec![(get.clone(), web::to(rooms::one)), (patch, web::to(rooms::retitle))]),
        (
            "/api/rooms/{room}/messages",
            vec![(get.clone(), web::to(messages::read)), (post.clone(), web::to(messages::send))],
        ),
        ("/api/rooms/{room}/read", vec![(put.clone(), web::to(rooms::mark_read))]),
        ("/api/rooms/{room}/presence", vec![(get.clone(), web::to(rooms::presence))]),
        ("/api/rooms/{room}/members", vec![(get.clone(), web::to(members::list))]),
        (
            "/api/rooms/{room}/members/{user_id}",
            vec![(put.clone(), web::to(members::put)), (delete.clone(), web::to(members::remove))],
        ),
        ("/api/rooms/{room}/bans", vec![(get.clone(), web::to(bans::list))]),
        ("/api/rooms/{room}/bans/{user_id}", vec![(put, web::to(bans::put)), (delete, web::to(bans::remove))]),
        ("/api/setup", vec![(post.clone(), web::to(setup::setup))]),
        ("/api/admin/stats", vec![(get.clone(), web::to(admin::stats))]),
        ("/api/admin/history", vec![(get.clone(), web::to(console::history))]),
        ("/api/admin/users", vec![(get.clone(), web::to(console::users))]),
        ("/api/admin/rooms", vec![(get.clone(), web::to(console::rooms))]),
        ("/api/admin/sessions", vec![(get.clone(), web::to(console::sessions))]),
        ("/api/admin/audit", vec![(get.clone(), web::to(sanctions::audit))]),
        ("/api/admin/users/{user_id}/disable", vec![(post.clone(), web::to(sanctions::disable))]),
        ("/api/admin/users/{user_id}/enable", vec![(post.clone(), web::to(sanctions::enable))]),
        ("/api/admin/users/{user_id}/revoke", vec![(post.clone(), web::to(sanctions::revoke))]),
        ("/api/admin/users/{user_id}/sessions", vec![(get, web::to(sanctions::sessions))]),
        ("/api/admin/sessions/{session}/close", vec![(post, web::to(sanctions::close_session))]),
    ]
}

/// Method and path of every route but those of the pages.
pub fn operations() -> Vec<(Method, &'static str)> {
    let each = |(path, methods): (&'static str, Vec<(Method, Route)>)| {
        methods.into_iter().map(move |(method, _)| (method, path))
    };
    table().into_iter().flat_map(each).collect()
}

/// Everything under `/api` and `/health`, the metrics, and the pages for people.
pub fn routes(config: &mut web::ServiceConfig) {
    for (path, methods) in table() {
        let resource = web::resource(path).default_service(web::to(nothing_here));
        // Whatever can be got can be asked for its head (RFC 9110 section 9.3.2).
        let with = |resource: actix_web::Resource, (method, route): (Method, Route)| match method {
            Method::GET => resource.route(route.guard(guard::Any(guard::Get()).or(guard::Head()))),
            _ => resource.route(route.method(method)),
        };
        config.service(methods.into_iter().fold(resource, with));
    }
    pages::routes(config);
    config.default_service(web::to(nothing_here));
}

async fn nothing_here() -> Result<HttpResponse, ApiError> {
    Err(WireError::new(ErrorCode::NotFound, "nothing is at this address, or not for this method").into())
}

/// A page of a list that was read with one entry more than was asked for: whether there are more.
fn cut<T>(list: &mut Vec<T>, limit: u64) -> bool {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = list.len() > limit;
    list.truncate(limit);
    more
}
