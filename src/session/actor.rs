//! The Session actor: one socket. It reads frames, keeps their rate, hands commands on in order, and writes what it is
//! given. Bounds: `limits.pending_commands` waiting commands, an Outbox of queued frames, one page of older events.

use std::{
    collections::{HashMap, VecDeque},
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use actix::prelude::*;
use actix_web::web;
use actix_web_actors::ws::{self, CloseReason, ProtocolError, WebsocketContext};
use bytestring::ByteString;

use super::{
    deliver::JoinedRoom,
    fragments::{Assembled, Fragments},
    rate::Bucket,
};
use crate::{
    protocol::{
        CloseCode, Command, Dialect, ErrorCode, Failure, Hello, Limits, Position, Reply, Request, RequestId, RoomName,
        SUBPROTOCOL, WireError,
    },
    server::{Outbox, Register, ServerHandle, SessionId, Unregister},
    stats::Gauge,
    worker::{SignedIn, Worker},
};

/// Refused commands in a row after which a session is closed: whoever does not listen costs more than it gives.
const REFUSALS: u32 = 300;
/// Places in the mailbox beside those for queued frames: the hub's own few messages.
const SPARE_PLACES: usize = 16;

/// After a token's end: the leeway with which it would still be taken.
const TOKEN_GRACE: Duration = Duration::from_secs(5);
/// How often a session without a token looks whether its time is over.
const STOP_LOOK: Duration = Duration::from_millis(500);

pub(super) type Ctx = WebsocketContext<Session>;

/// How a session comes in.
pub(super) enum Entrance {
    /// With a token that was verified.
    Open(SignedIn),
    /// Without one; the first frame must bring it.
    AwaitsToken,
    /// It is only opened to be told why it is closed.
    Refused(CloseCode),
}

/// The actor.
pub(super) struct Session {
    pub(super) id: SessionId,
    pub(super) worker: web::Data<Worker>,
    pub(super) server: Rc<ServerHandle>,
    pub(super) dialect: Dialect,
    entrance: Entrance,
    /// The timer of a session without a token.
    awaiting: Option<SpawnHandle>,
    position: Option<Position>,
    pub(super) outbox: Arc<Outbox>,
    pub(super) rooms: HashMap<RoomName, JoinedRoom>,
    /// Commands whose turn has not come.
    pub(super) waiting: VecDeque<Request>,
    /// Whether a command is under way that the next one must wait for.
    pub(super) busy: bool,
    /// Messages given to the hub that are not stored yet.
    pub(super) unstored: usize,
    fragments: Fragments,
    bucket: Bucket,
    refusals: u32,
    heard: Instant,
    /// The close code that waits for what is under way.
    pub(super) closing: Option<CloseCode>,
    closed: bool,
}

impl Session {
    pub(super) fn new(
        worker: web::Data<Worker>,
        dialect: Dialect,
        entrance: Entrance,
        position: Option<Position>,
    ) -> Self {
        let limits = &worker.config.limits;
        Self {
            id: SessionId(rand::random()),
            server: Rc::new(worker.handle.another()),
            outbox: Arc::new(Outbox::new(limits.session_queue_frames, limits.session_queue_bytes)),
            bucket: Bucket::new(limits.commands_per_second, limits.commands_burst),
            worker,
            dialect,
            entrance,
            awaiting: None,
            position,
            rooms: HashMap::new(),
            waiting: VecDeque::new(),
            busy: false,
            unstored: 0,
            fragments: Fragments::default(),
            refusals: 0,
            heard: Instant::now(),
            closing: None,
            closed: false,
        }
    }

    pub(super) fn signed_in(&self) -> Option<&SignedIn> {
        match &self.entrance {
            Entrance::Open(signed_in) => Some(signed_in),
            Entrance::AwaitsToken | Entrance::Refused(_) => None,
        }
    }

    /// Says something in the session's dialect, if that has words for it.
    pub(super) fn say(&self, reply: &Reply, ctx: &mut Ctx) {
        if let Reply::Error { error, .. } = reply {
            self.worker.stats.refused(error.code);
        }
        if let Some(frame) = self.dialect.encode(reply).filter(|_| !self.closed) {
            ctx.text(frame);
        }
    }

    /// Says goodbye and ends the session. Where messages are still to be stored, `drain` waits for their acks.
    pub(super) fn close(&mut self, code: CloseCode, after_ms: u64, ctx: &mut Ctx) {
        if self.closed {
            return;
        }
        if code.code() >= 4000 && self.closing.is_none() {
            self.say(&Reply::Bye { code, after_ms }, ctx);
        }
        self.closing = Some(code);
        if code == CloseCode::Drain && (self.unstored > 0 || self.busy) {
            return;
        }
        self.closed = true;
        tracing::debug!(session = %self.id, code = code.code(), reason = code.reason(), "session closed");
        ctx.close(Some(CloseReason {
            code: ws::CloseCode::from(code.code()),
            description: Some(code.reason().into()),
        }));
        // `close` alone would leave the actor running, `stop` alone would send no frame.
        ctx.stop();
    }

    /// After something that was under way: whether a stop waited for it.
    pub(super) fn settled(&mut self, ctx: &mut Ctx) {
        if let Some(code) = self.closing {
            self.close(code, 0, ctx);
        }
    }

    fn dialect_gauge(&self) -> &Gauge {
        match self.dialect {
            Dialect::Native => &self.worker.stats.native,
            Dialect::Plain { .. } => &self.worker.stats.plain,
        }
    }

    fn welcome(&mut self, ctx: &mut Ctx) {
        if let Some(awaiting) = self.awaiting.take() {
            ctx.cancel_future(awaiting);
        }
        let Some(SignedIn { user, expires_in }) = self.signed_in().cloned() else { return };
        let register = Register {
            session: self.id,
            user: Arc::clone(&user),
            recipient: ctx.address().recipient(),
            outbox: Arc::clone(&self.outbox),
        };
        #[expect(clippy::disallowed_methods, reason = "one for each session, to its own thread")]
        self.worker.dispatcher.do_send(register);
        self.dialect_gauge().add(1);
        // A native client comes back with a new token; a plain one can't know that it should.
        let grace = match self.dialect {
            Dialect::Native => TOKEN_GRACE,
            Dialect::Plain { .. } => self.worker.config.auth.plain_grace,
        };
        let token_ends = expires_in.saturating_add(grace);
        ctx.run_later(token_ends, |session, ctx| session.close(CloseCode::TokenExpired, 0, ctx));
        let limits = &self.worker.config.limits;
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let hello = Hello {
            session: self.id.to_string(),
            user: user.name.to_string(),
            user_id: user.id.clone(),
            protocol: SUBPROTOCOL,
            features: &["data", "history", "presence", "read", "resume", "typing"],
            limits: Limits {
                message_chars: limits.message_chars,
                data_bytes: limits.data_bytes,
                frame_bytes: limits.frame_bytes,
                commands_per_second: limits.commands_per_second,
                rooms: limits.rooms_per_session,
            },
            ping_interval_ms: millis(limits.heartbeat),
            token_expires_in_ms: millis(expires_in),
        };
        self.say(&Reply::Hello(hello), ctx);
        tracing::debug!(session = %self.id, user = %user.id, dialect = self.dialect.name(), "session opened");
        if let Dialect::Plain { room, .. } = &self.dialect {
            let command = Command::Join { room: room.clone(), position: self.position.take() };
            self.waiting.push_back(Request { id: None, command });
            self.pump(ctx);
        }
    }

    fn text(&mut self, text: &ByteString, ctx: &mut Ctx) {
        if self.signed_in().is_none() {
            return self.first_frame(text, ctx);
        }
        match self.dialect.parse(text, &self.worker.config.limits.message()) {
            Err(Failure { id, error }) => {
                if self.within_rate(1, id.as_ref(), ctx) {
                    self.say(&Reply::Error { id, error }, ctx);
                }
            }
            Ok(request) => {
                let cost = match &request.command {
                    Command::Resume { rooms } => u32::try_from(rooms.len()).unwrap_or(u32::MAX).max(1),
                    _ => 1,
                };
                if !self.within_rate(cost, request.id.as_ref(), ctx) {
                    return;
                }
                if self.waiting.len() >= self.worker.config.limits.pending_commands {
                    return self.say(&Reply::Error { id: request.id, error: WireError::busy() }, ctx);
                }
                self.waiting.push_back(request);
                self.pump(ctx);
            }
        }
    }

    /// Whether the session keeps its rate; if not it is told so, and closed where it does not listen.
    fn within_rate(&mut self, cost: u32, id: Option<&RequestId>, ctx: &mut Ctx) -> bool {
        match self.bucket.take(cost, Instant::now()) {
            Ok(()) => {
                self.refusals = 0;
                true
            }
            Err(wait_ms) => {
                self.refusals = self.refusals.saturating_add(1);
                if self.refusals > REFUSALS {
                    self.close(CloseCode::Policy, 0, ctx);
                } else {
                    let error = WireError::new(ErrorCode::RateLimited, "too many commands").retry_after_ms(wait_ms);
                    self.say(&Reply::Error { id: id.cloned(), error }, ctx);
                }
                false
            }
        }
    }

    fn first_frame(&mut self, text: &ByteString, ctx: &mut Ctx) {
        let limits = &self.worker.config.limits;
        if text.len() > limits.auth_frame_bytes {
            return self.close(CloseCode::TooBig, 0, ctx);
        }
        let (id, token) = match self.dialect.parse(text, &limits.message()) {
            Ok(Request { id, command: Command::Auth { token } }) => (id, token),
            Ok(Request { id, .. }) | Err(Failure { id, .. }) => {
                let error = WireError::new(ErrorCode::Unauthenticated, "the first frame must be `auth` with a token");
                self.say(&Reply::Error { id, error }, ctx);
                return self.close(CloseCode::TokenInvalid, 0, ctx);
            }
        };
        let worker = self.worker.clone();
        let sign_in = async move { worker.sign_in(&token).await };
        // Frames that come meanwhile wait in the socket; the store's timeout bounds the wait.
        ctx.wait(sign_in.into_actor(self).map(|signed_in, session, ctx| match signed_in {
            Ok(signed_in) => {
                session.entrance = Entrance::Open(signed_in);
                session.welcome(ctx);
            }
            Err(error) => {
                let code = error.close_code();
                session.say(&Reply::Error { id, error: error.into() }, ctx);
                session.close(code, 0, ctx);
            }
        }));
    }

    fn binary(&mut self, ctx: &mut Ctx) {
        if self.signed_in().is_none() {
            return self.close(CloseCode::TokenInvalid, 0, ctx);
        }
        if self.within_rate(1, None, ctx) {
            let error = WireError::new(ErrorCode::BadJson, "frames must be text, not binary");
            self.say(&Reply::Error { id: None, error }, ctx);
        }
    }

    /// Pings an idle client, and closes a silent one.
    fn heartbeat(&mut self, ctx: &mut Ctx) {
        let limits = &self.worker.config.limits;
        let left = limits.silence.saturating_sub(self.heard.elapsed());
        if left.is_zero() {
            return self.close(CloseCode::NoHeartbeat, 0, ctx);
        }
        if left < limits.heartbeat {
            ctx.run_later(left, |session, ctx| {
                if session.heard.elapsed() >= session.worker.config.limits.silence {
                    session.close(CloseCode::NoHeartbeat, 0, ctx);
                }
            });
        }
        ctx.ping(b"");
        if self.signed_in().is_some() {
            self.say(&Reply::Ping, ctx);
        }
    }
}

impl Actor for Session {
    type Context = Ctx;

    fn started(&mut self, ctx: &mut Ctx) {
        self.worker.stats.sessions.add(1);
        let limits = &self.worker.config.limits;
        ctx.set_mailbox_capacity(limits.session_queue_frames.saturating_add(SPARE_PLACES));
        ctx.run_interval(limits.heartbeat, Self::heartbeat);
        let auth_timeout = limits.auth_timeout;
        match &self.entrance {
            Entrance::Open(_) => self.welcome(ctx),
            Entrance::Refused(code) => {
                let code = *code;
                self.close(code, 0, ctx);
            }
            Entrance::AwaitsToken => {
                // Its Dispatcher does not know it yet, so it looks for itself whether the hub stops.
                let opened = Instant::now();
                self.awaiting = Some(ctx.run_interval(STOP_LOOK, move |session, ctx| {
                    if session.worker.stopping.is_closed() {
                        session.close(CloseCode::Drain, 0, ctx);
                    } else if opened.elapsed() >= auth_timeout {
                        session.close(CloseCode::AuthTimeout, 0, ctx);
                    }
                }));
            }
        }
    }

    fn stopped(&mut self, _: &mut Ctx) {
        self.worker.stats.sessions.sub(1);
        if self.signed_in().is_some() {
            self.dialect_gauge().sub(1);
            #[expect(clippy::disallowed_methods, reason = "one for each session, to its own thread")]
            self.worker.dispatcher.do_send(Unregister { session: self.id });
        }
    }
}

impl StreamHandler<Result<ws::Message, ProtocolError>> for Session {
    fn handle(&mut self, frame: Result<ws::Message, ProtocolError>, ctx: &mut Ctx) {
        self.heard = Instant::now();
        if self.closing.is_some() {
            return;
        }
        let (most, most_bytes) = (self.worker.config.limits.fragments, self.worker.config.limits.frame_bytes);
        match frame {
            Ok(ws::Message::Text(text)) => self.text(&text, ctx),
            Ok(ws::Message::Binary(_)) => self.binary(ctx),
            Ok(ws::Message::Ping(payload)) => {
                if self.within_rate(1, None, ctx) {
                    ctx.pong(&payload);
                }
            }
            Ok(ws::Message::Pong(_) | ws::Message::Nop) => {}
            Ok(ws::Message::Close(_)) => self.close(CloseCode::Normal, 0, ctx),
            Ok(ws::Message::Continuation(item)) => match self.fragments.take(item, most, most_bytes) {
                Ok(Assembled::More) => {}
                Ok(Assembled::Text(text)) => self.text(&text, ctx),
                Ok(Assembled::Binary) => self.binary(ctx),
                Err(code) => self.close(code, 0, ctx),
            },
            // Most of these leave the bytes where they are: a session that went on would spin on them for ever.
            Err(ProtocolError::Overflow) => self.close(CloseCode::TooBig, 0, ctx),
            // Bad UTF-8 has no variant of its own.
            Err(ProtocolError::Io(error)) if error.to_string().contains("utf-8") => {
                self.close(CloseCode::InvalidText, 0, ctx);
            }
            Err(_) => self.close(CloseCode::ProtocolError, 0, ctx),
        }
    }
}
