//! Routes, and what they share: who asks, and how an error looks. Runs on the workers' threads; a request's body is
//! bounded by `limits.body_bytes`.

mod error;
mod health;
mod me;
mod messages;
mod rooms;
mod signed_in;

use actix_web::{HttpResponse, web};
use bytestring::ByteString;

pub use error::ApiError;
pub(crate) use error::query_error;
pub use signed_in::bearer;

use crate::protocol::{ErrorCode, WireError};

/// Everything under `/api` and `/health`, and a page for people at `/`.
pub fn routes(config: &mut web::ServiceConfig) {
    config
        .service(
            web::resource("/health/live").get(health::live).head(health::live).default_service(web::to(nothing_here)),
        )
        .service(
            web::resource("/health/ready")
                .get(health::ready)
                .head(health::ready)
                .default_service(web::to(nothing_here)),
        )
        .service(web::resource("/api/me").get(me::me).default_service(web::to(nothing_here)))
        .service(
            web::resource("/api/rooms").get(rooms::list).post(rooms::create).default_service(web::to(nothing_here)),
        )
        .service(web::resource("/api/rooms/{room}").get(rooms::one).default_service(web::to(nothing_here)))
        .service(
            web::resource("/api/rooms/{room}/messages")
                .get(messages::read)
                .post(messages::send)
                .default_service(web::to(nothing_here)),
        )
        .service(web::resource("/").get(index))
        .default_service(web::to(nothing_here));
}

/// A request's body as text. What it must be is the handler's to say, whatever its Content-Type claims.
fn text_of(body: Result<web::Bytes, actix_web::Error>) -> Result<ByteString, WireError> {
    let body = body.map_err(|_| WireError::new(ErrorCode::TooLong, "the body is too long, or did not come whole"))?;
    ByteString::try_from(body).map_err(|_| WireError::new(ErrorCode::BadJson, "the body must be UTF-8"))
}

async fn nothing_here() -> Result<HttpResponse, ApiError> {
    Err(WireError::new(ErrorCode::NotFound, "nothing is at this address, or not for this method").into())
}

async fn index() -> &'static str {
    "Hubbub is running.\n\nWebSocket: /ws (native), /ws/chat/?token=… (the tutorial's)\nHTTP: /api/rooms, /api/me, \
     /health/ready\n"
}
