//! From an HTTP request to a session: the room and the token are read, then `handover` opens the socket. A bad token is told
//! over the socket, since a browser can't see an HTTP status; only what no client should retry as it is, or must not
//! retry now, is answered before.

use actix_web::{
    HttpMessage, HttpRequest, HttpResponse, HttpResponseBuilder,
    http::header::{self, HeaderName, HeaderValue},
    web,
};
use actix_web_actors::ws;
use serde::Deserialize;

use super::{
    actor::Entrance,
    handover::{Newcomer, Takeable},
};
use crate::{
    http::ApiError,
    protocol::{CloseCode, Dialect, Epoch, ErrorCode, Position, RoomName, SUBPROTOCOL, Seq, WireError},
    worker::{SignInError, Worker},
};

/// The room of the tutorial's clients, which name none.
const LOBBY: &str = "lobby";
/// The one version there is (RFC 6455 section 4.1); actix takes its drafts too.
const VERSION: &str = "13";
/// A subprotocol that holds a token. It is never chosen, so the token is not sent back.
const BEARER: &str = "bearer.";

/// What may stand in the address. Never logged: the token is in it.
#[derive(Default, Deserialize)]
pub struct SocketQuery {
    token: Option<String>,
    ticket: Option<String>,
    room: Option<String>,
    after: Option<String>,
    epoch: Option<String>,
}

/// How a client proves who it is.
enum Proof {
    Token(String),
    Ticket(String),
    None,
}

/// `GET /ws`: the native dialect.
pub async fn native(
    request: HttpRequest,
    query: web::Query<SocketQuery>,
    worker: web::Data<Worker>,
) -> Result<HttpResponse, ApiError> {
    let proof = proof(&request, query.into_inner(), &worker);
    open(&request, worker, Dialect::Native, None, Some(proof)).await
}

/// `GET /ws/chat` and `/ws/chat/{room}`: the tutorial's dialect.
pub async fn plain(
    request: HttpRequest,
    query: web::Query<SocketQuery>,
    path: web::Path<PlainPath>,
    worker: web::Data<Worker>,
) -> Result<HttpResponse, ApiError> {
    let mut query = query.into_inner();
    let room = match (path.into_inner().room, query.room.take()) {
        (Some(path), Some(query)) if path != query => {
            return Err(WireError::bad_field("room", "differs from the room in the path").into());
        }
        (path, query) => path.or(query),
    };
    let room = RoomName::parse(room.as_deref().unwrap_or(LOBBY))?;
    let after = match query.after.take().map(|after| after.parse::<i64>()) {
        None => None,
        Some(Ok(after)) if after >= 0 => Some(Seq(after)),
        Some(_) => return Err(WireError::bad_field("after", "must be a number from 0").into()),
    };
    let epoch = query.epoch.take();
    let position = after.map(|after| Position { after, epoch: epoch.as_deref().map(Epoch::from) });
    let dialect = Dialect::Plain { room: room.clone(), resumes: position.is_some() };
    let proof = proof(&request, query, &worker);
    open(&request, worker, dialect, position, Some(proof)).await
}

/// `GET /ws/echo`, where `server.echo` is on: sends back what it gets.
pub async fn echo(request: HttpRequest, worker: web::Data<Worker>) -> Result<HttpResponse, ApiError> {
    open(&request, worker, Dialect::Native, None, None).await
}

/// The room in a plain address's path.
#[derive(Deserialize)]
pub struct PlainPath {
    room: Option<String>,
}

/// What the client brought: `Authorization`, a subprotocol, `?ticket=`, `?token=`, the first that is there.
fn proof(request: &HttpRequest, query: SocketQuery, worker: &Worker) -> Proof {
    let in_protocol = offered(request).find_map(|protocol| protocol.strip_prefix(BEARER));
    let bearer = crate::http::bearer(request).or(in_protocol).map(str::to_owned);
    match (bearer, query.ticket, query.token.filter(|_| worker.config.auth.query_token)) {
        (Some(token), ..) | (None, None, Some(token)) => Proof::Token(token),
        (None, Some(ticket), _) => Proof::Ticket(ticket),
        (None, None, None) => Proof::None,
    }
}

/// The subprotocols that the client offers, which may be in several headers (RFC 6455 section 11.3.4); actix reads the first.
fn offered(request: &HttpRequest) -> impl Iterator<Item = &str> {
    let headers = request.headers().get_all(header::SEC_WEBSOCKET_PROTOCOL).filter_map(|value| value.to_str().ok());
    headers.flat_map(|protocols| protocols.split(',')).map(str::trim)
}

/// Opens the socket; with no `proof` at all it is one that echoes.
async fn open(
    request: &HttpRequest,
    worker: web::Data<Worker>,
    dialect: Dialect,
    position: Option<Position>,
    proof: Option<Proof>,
) -> Result<HttpResponse, ApiError> {
    if worker.stopping.is_closed() {
        let stopping = WireError::new(ErrorCode::Unavailable, "the hub is stopping").retry_after_ms(1_000);
        return Err(stopping.into());
    }
    check_origin(request, &worker.config.server.origins)?;
    if request.headers().get(header::SEC_WEBSOCKET_VERSION).is_some_and(|version| version != VERSION) {
        return Ok(HttpResponse::UpgradeRequired().insert_header((header::SEC_WEBSOCKET_VERSION, VERSION)).finish());
    }
    let seat = worker.admission.seat(crate::http::client_address(request, &worker))?;
    let refused = |error: SignInError| Entrance::Refused(error.close_code());
    let entrance = match (proof, &dialect) {
        (None, _) => Entrance::Echo,
        (Some(Proof::Token(token)), _) => worker.sign_in(&token).await.map_or_else(refused, Entrance::Open),
        (Some(Proof::Ticket(ticket)), _) => {
            worker.sign_in_by_ticket(&ticket).await.map_or_else(refused, Entrance::Open)
        }
        (Some(Proof::None), Dialect::Native) => Entrance::AwaitsToken,
        (Some(Proof::None), Dialect::Plain { .. }) => Entrance::Refused(CloseCode::TokenInvalid),
    };
    let speaks = offered(request).any(|protocol| protocol == SUBPROTOCOL);
    let mut response = handshake(request).ok_or_else(|| {
        WireError::new(ErrorCode::BadField, "this address speaks WebSocket: the upgrade headers are missing")
    })?;
    if speaks {
        response.insert_header((header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL)));
    }
    let mut response = response.finish();
    response.extensions_mut().insert(Newcomer { worker, dialect, entrance, position, seat });
    Ok(response)
}

/// The response, where this is an upgrade that can be made.
fn handshake(request: &HttpRequest) -> Option<HttpResponseBuilder> {
    request.extensions().get::<Takeable>().and_then(|_| ws::handshake(request).ok())
}

/// Which page a browser runs is for browsers alone to say: what sends no `Origin` is none.
fn check_origin(request: &HttpRequest, allowed: &[String]) -> Result<(), WireError> {
    const ORIGIN: HeaderName = header::ORIGIN;
    let fits = |origin: &HeaderValue| allowed.iter().any(|allowed| origin == allowed.as_str());
    let mut origins = request.headers().get_all(ORIGIN);
    if allowed.is_empty() || origins.all(fits) {
        Ok(())
    } else {
        Err(WireError::forbidden("pages of this origin may not open sockets here (server.origins)"))
    }
}
