//! The pages for people, compiled into the binary: the chat page at `/`, the console at `/admin`, the API's reference at `/api/docs`, and what
//! they load. They work without the internet and under a policy that allows nothing else.

use std::{collections::HashMap, sync::LazyLock};

use actix_web::{
    HttpMessage, HttpRequest, HttpResponse, Route, guard,
    http::header::{self, ETag, EntityTag, IfNoneMatch},
    web,
};
use bytestring::ByteString;
use sha2::{Digest, Sha256};

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

/// What is served of web/, by name; a test holds it against the folder.
const SOURCES: &[(&str, &str)] = assets![
    "admin/acts.js",
    "admin/admin.css",
    "admin/app.js",
    "admin/charts.js",
    "admin/en.js",
    "admin/index.html",
    "admin/ko.js",
    "admin/numbers.js",
    "admin/overview.js",
    "admin/tables.js",
    "api/api-schema.js",
    "api/api.css",
    "api/api.html",
    "api/api.js",
    "chat/app.js",
    "chat/banner.js",
    "chat/chat.css",
    "chat/composer.js",
    "chat/details.js",
    "chat/dialogs.js",
    "chat/drafts.js",
    "chat/en.js",
    "chat/head.js",
    "chat/history.js",
    "chat/index.html",
    "chat/ko.js",
    "chat/links.js",
    "chat/message.js",
    "chat/outgoing.js",
    "chat/reads.js",
    "chat/rooms.js",
    "chat/sidebar.js",
    "chat/window.js",
    "client/accounts.js",
    "client/connection.js",
    "client/emitter.js",
    "client/errors.js",
    "client/http.js",
    "client/hubbub.js",
    "client/outbox.js",
    "client/pace.js",
    "client/room.js",
    "client/timeline.js",
    "shared/dom.js",
    "shared/entrance.js",
    "shared/icon.svg",
    "shared/language.js",
    "shared/session.js",
    "shared/style.css",
];

/// A page or a part of one, as it is served.
struct Asset {
    kind: &'static str,
    text: ByteString,
    etag: EntityTag,
}

/// By name.
static ASSETS: LazyLock<HashMap<&str, Asset>> = LazyLock::new(|| {
    let served = |&(name, source): &(&'static str, &'static str)| {
        let kind = match name.rsplit_once('.').map(|(_, extension)| extension) {
            Some("html") => "text/html; charset=utf-8",
            Some("css") => "text/css; charset=utf-8",
            Some("js") => "text/javascript; charset=utf-8",
            Some("svg") => "image/svg+xml",
            _ => "text/plain; charset=utf-8",
        };
        let text = lean(source, name);
        let etag = Sha256::digest(&text).iter().take(12).map(|byte| format!("{byte:02x}")).collect();
        (name, Asset { kind, text: text.into(), etag: EntityTag::new_strong(etag) })
    };
    SOURCES.iter().map(served).collect()
});

/// A source without what only its readers need: indentation, blank lines, and comments that have lines of their own. (No source
/// has text over several lines in which that would matter.)
fn lean(source: &str, name: &str) -> String {
    let is_script = name.ends_with(".js");
    let mut in_comment = false;
    let mut lean = String::with_capacity(source.len());
    for line in source.lines().map(str::trim) {
        let begins = line.starts_with("/*") || line.starts_with("<!--");
        let drop = in_comment || begins || line.is_empty() || (is_script && line.starts_with("//"));
        in_comment = (in_comment || begins) && !line.ends_with("*/") && !line.ends_with("-->");
        if !drop {
            lean.push_str(line);
            lean.push('\n');
        }
    }
    lean
}

pub(super) fn routes(config: &mut web::ServiceConfig) {
    config
        .route("/", readable().to(async |request: HttpRequest| page(&request, "chat/index.html")))
        .route("/admin", readable().to(async |request: HttpRequest| page(&request, "admin/index.html")))
        .route("/api/docs", readable().to(async |request: HttpRequest| page(&request, "api/api.html")))
        .route("/api/openapi.json", readable().to(openapi))
        .route("/assets/{name:.*}", readable().to(asset));
}

fn readable() -> Route {
    web::route().guard(guard::Any(guard::Get()).or(guard::Head()))
}

async fn openapi() -> HttpResponse {
    HttpResponse::Ok().insert_header(header::ContentType::json()).body(OPENAPI)
}

async fn asset(request: HttpRequest, name: web::Path<String>) -> Result<HttpResponse, ApiError> {
    page(&request, &name)
}

fn page(request: &HttpRequest, name: &str) -> Result<HttpResponse, ApiError> {
    let asset = ASSETS.get(name).ok_or_else(|| WireError::new(ErrorCode::NotFound, "there is no such page"))?;
    let Asset { kind, text, etag } = asset;
    let known = match request.get_header::<IfNoneMatch>() {
        Some(IfNoneMatch::Items(known)) => known.iter().any(|known| known.weak_eq(etag)),
        Some(IfNoneMatch::Any) | None => false,
    };
    let mut response = if known { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    response
        .insert_header((header::CONTENT_SECURITY_POLICY, POLICY))
        .insert_header((header::PERMISSIONS_POLICY, PERMISSIONS))
        .insert_header((header::CROSS_ORIGIN_OPENER_POLICY, "same-origin"))
        // A new version of the hub has new pages: the browser asks each time, and is told where it has them already.
        .insert_header((header::CACHE_CONTROL, "no-cache"))
        .insert_header(ETag(etag.clone()));
    Ok(if known { response.finish() } else { response.content_type(*kind).body(text.clone()) })
}
