//! From an HTTP request to a session: the room and the token are read, then the socket is opened. A bad token is told
//! over the socket, since a browser can't see an HTTP status; only what no client should retry as it is, or must not
//! retry now, is answered before.

use actix_web::{HttpRequest, HttpResponse, http::header, web};
use actix_web_actors::ws;
use serde::Deserialize;

use super::actor::{Entrance, Session};
use crate::{
    http::ApiError,
    protocol::{CloseCode, Dialect, Epoch, ErrorCode, Position, RoomName, SUBPROTOCOL, Seq, WireError},
    worker::Worker,
};

/// The room of the tutorial's clients, which name none.
const LOBBY: &str = "lobby";

/// What may stand in the address. Never logged: the token is in it.
#[derive(Deserialize)]
pub struct SocketQuery {
    token: Option<String>,
    room: Option<String>,
    after: Option<String>,
    epoch: Option<String>,
}

/// `GET /ws`: the native dialect.
pub async fn native(
    request: HttpRequest,
    payload: web::Payload,
    query: web::Query<SocketQuery>,
    worker: web::Data<Worker>,
) -> Result<HttpResponse, ApiError> {
    open(&request, payload, query.into_inner().token, worker, Dialect::Native, None).await
}

/// `GET /ws/chat` and `/ws/chat/{room}`: the tutorial's dialect.
pub async fn plain(
    request: HttpRequest,
    payload: web::Payload,
    query: web::Query<SocketQuery>,
    path: web::Path<PlainPath>,
    worker: web::Data<Worker>,
) -> Result<HttpResponse, ApiError> {
    let SocketQuery { token, room, after, epoch } = query.into_inner();
    let room = match (path.into_inner().room, room) {
        (Some(path), Some(query)) if path != query => {
            return Err(WireError::bad_field("room", "differs from the room in the path").into());
        }
        (path, query) => path.or(query),
    };
    let room = RoomName::parse(room.as_deref().unwrap_or(LOBBY))?;
    let after = match after.map(|after| after.parse::<i64>()) {
        None => None,
        Some(Ok(after)) if after >= 0 => Some(Seq(after)),
        Some(_) => return Err(WireError::bad_field("after", "must be a number from 0").into()),
    };
    let position = after.map(|after| Position { after, epoch: epoch.as_deref().map(Epoch::from) });
    let dialect = Dialect::Plain { room: room.clone(), resumes: position.is_some() };
    open(&request, payload, token, worker, dialect, position).await
}

/// The room in a plain address's path.
#[derive(Deserialize)]
pub struct PlainPath {
    room: Option<String>,
}

async fn open(
    request: &HttpRequest,
    payload: web::Payload,
    query_token: Option<String>,
    worker: web::Data<Worker>,
    dialect: Dialect,
    position: Option<Position>,
) -> Result<HttpResponse, ApiError> {
    if worker.stopping.is_closed() {
        let stopping = WireError::new(ErrorCode::Unavailable, "the hub is stopping").retry_after_ms(1_000);
        return Err(stopping.into());
    }
    let bearer = crate::http::bearer(request).map(str::to_owned);
    let entrance = match (bearer.or(query_token), &dialect) {
        (Some(token), _) => match worker.sign_in(&token).await {
            Ok(signed_in) => Entrance::Open(signed_in),
            Err(error) => Entrance::Refused(error.close_code()),
        },
        (None, Dialect::Native) => Entrance::AwaitsToken,
        (None, Dialect::Plain { .. }) => Entrance::Refused(CloseCode::TokenInvalid),
    };
    let frame_bytes = worker.config.limits.frame_bytes;
    let session = Session::new(worker, dialect, entrance, position);
    ws::WsResponseBuilder::new(session, request, payload)
        .frame_size(frame_bytes)
        .protocols(&[SUBPROTOCOL])
        .start()
        .map(|mut response| {
            // actix adds it to any streamed answer; it says nothing about a socket.
            response.headers_mut().remove(header::CONTENT_TYPE);
            response
        })
        .map_err(|_| {
            WireError::new(ErrorCode::BadField, "this address speaks WebSocket: the upgrade headers are missing").into()
        })
}
