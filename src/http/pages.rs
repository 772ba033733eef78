//! The pages for people, compiled into the binary: the chat page at `/`, the API's reference at `/api/docs`, and what
//! they load. They work without the internet and under a policy that allows nothing else.

use actix_web::{HttpResponse, Route, guard, http::header, web};

use super::ApiError;
use crate::protocol::{ErrorCode, WireError};

/// The API's description; a test calls every operation in it and holds it against the routes.
pub(super) const OPENAPI: &str = include_str!("openapi.json");

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
                      require-trusted-types-for 'script'; trusted-types 'none'";
/// Nothing of what a browser could give to a page.
const PERMISSIONS: &str = "camera=(), microphone=(), geolocation=(), payment=(), usb=()";

macro_rules! assets {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../web/", $name)))),*]
    };
}

/// Everything under web/, by name; a test holds it against the folder.
const ASSETS: &[(&str, &str)] = assets![
    "api-schema.js",
    "api.css",
    "api.html",
    "api.js",
    "app.js",
    "chat.css",
    "composer.js",
    "details.js",
    "dialogs.js",
    "dom.js",
    "entrance.js",
    "http.js",
    "icon.svg",
    "index.html",
    "log.js",
    "messages.js",
    "outbox.js",
    "presence.js",
    "reads.js",
    "room.js",
    "rooms.js",
    "session.js",
    "sidebar.js",
    "socket.js",
    "style.css",
    "sync.js",
    "texts.js",
    "typing.js",
];

pub(super) fn routes(config: &mut web::ServiceConfig) {
    config
        .route("/", readable().to(async || page("index.html")))
        .route("/api/docs", readable().to(async || page("api.html")))
        .route("/api/openapi.json", readable().to(openapi))
        .route("/assets/{name}", readable().to(async |name: web::Path<String>| page(name.into_inner())));
}

fn readable() -> Route {
    web::route().guard(guard::Any(guard::Get()).or(guard::Head()))
}

async fn openapi() -> HttpResponse {
    HttpResponse::Ok().insert_header(header::ContentType::json()).body(OPENAPI)
}

fn page(name: impl AsRef<str>) -> Result<HttpResponse, ApiError> {
    let found = ASSETS.iter().find(|(asset, _)| *asset == name.as_ref());
    let (name, text) = found.ok_or_else(|| WireError::new(ErrorCode::NotFound, "there is no such page"))?;
    let kind = match name.rsplit_once('.').map(|(_, extension)| extension) {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "text/plain; charset=utf-8",
    };
    Ok(HttpResponse::Ok()
        .content_type(kind)
        .insert_header((header::CONTENT_SECURITY_POLICY, POLICY))
        .insert_header((header::PERMISSIONS_POLICY, PERMISSIONS))
        .insert_header((header::CROSS_ORIGIN_OPENER_POLICY, "same-origin"))
        // A new version of the hub has new pages: the browser asks each time.
        .insert_header((header::CACHE_CONTROL, "no-cache"))
        .body(*text))
}
