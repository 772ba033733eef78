//! The Session actor: one socket. It reads frames (`incoming`), hands commands on in order (`commands`), and writes what it
//! is given (`deliver`). Bounds: `limits.pending_commands` waiting commands, an Outbox of queued frames, one page of older events, and what
//! `guard` and `fragments` say. It has no timer that its right to be open rests on: its Dispatcher watches over it.

use std::{
    collections::{HashMap, VecDeque},
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use actix::prelude::*;
use actix_web::web;
use actix_web_actors::ws::{self, CloseReason, WebsocketContext};

use super::{deliver::JoinedRoom, fragments::Fragments, guard::Gate};
use crate::{
    admission::Seat,
    auth::TOKEN_LEEWAY,
    protocol::{CloseCode, Command, Dialect, Hello, Limits, Position, Reply, Request, RoomName, SUBPROTOCOL},
    rates::{Bucket, SharedBucket},
    server::{Closing, Holder, Opened, Outbox, Register, ServerHandle, SessionId, Unregister, Wire},
    stats::Gauge,
    worker::{SignedIn, Worker},
};

/// Places in the mailbox beside those for queued frames: the hub's own few messages.
const SPARE_PLACES: usize = 16;

/// What a clock can't hold.
const FAR: Duration = Duration::from_secs(10 * 365 * 86_400);

pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

pub(super) type Ctx = WebsocketContext<Session>;

/// How a session comes in.
pub(super) enum Entrance {
    /// With a token that was verified.
    Open(SignedIn),
    /// Without one; the first frame must bring it.
    AwaitsToken,
    /// It is only opened to be told why it is closed.
    Refused(CloseCode),
    /// It sends back what it gets: for conformance tests.
    Echo,
}

/// What a session holds of the node's as long as it is open.
pub(super) struct Holds {
    /// Counted as long as it is held.
    pub(super) _seat: Seat,
    pub(super) gate: Rc<Gate>,
}

/// The actor.
pub(super) struct Session {
    pub(super) id: SessionId,
    pub(super) worker: web::Data<Worker>,
    pub(super) server: Rc<ServerHandle>,
    pub(super) dialect: Dialect,
    pub(super) entrance: Entrance,
    pub(super) holds: Holds,
    /// Its place among the user's sessions, and their common rate.
    user_seat: Option<Seat>,
    pub(super) user_rate: Option<SharedBucket>,
    position: Option<Position>,
    /// What it says goes out when its turn ends.
    pub(super) wire: Arc<Wire>,
    pub(super) outbox: Arc<Outbox>,
    pub(super) rooms: HashMap<RoomName, JoinedRoom>,
    /// Commands whose turn has not come.
    pub(super) waiting: VecDeque<Request>,
    /// Whether a command is under way that the next one must wait for.
    pub(super) busy: bool,
    /// Messages given to the hub that are not stored yet.
    pub(super) unstored: usize,
    pub(super) fragments: Fragments,
    /// Of commands.
    pub(super) rate: Bucket,
    /// Of frames of any kind.
    pub(super) frame_rate: Bucket,
    pub(super) refusals: u32,
    pub(super) heard: Instant,
    /// When the token ends, without any grace.
    pub(super) token_ends: Instant,
    /// The close code that waits for what is under way.
    pub(super) closing: Option<CloseCode>,
    /// Whether its close frame is on its way: nothing follows it.
    pub(super) closed: bool,
    /// Whether the client has said goodbye.
    pub(super) parted: bool,
    /// Whether the hub stops, and it has its time to go.
    pub(super) leaving: bool,
}

impl Session {
    pub(super) fn new(
        worker: web::Data<Worker>,
        dialect: Dialect,
        entrance: Entrance,
        position: Option<Position>,
        wire: Arc<Wire>,
        holds: Holds,
    ) -> Self {
        let limits = &worker.config.limits;
        let bucket = |per_second: u32, burst: u32| Bucket::new(f64::from(per_second), f64::from(burst));
        Self {
            id: SessionId(rand::random()),
            server: Rc::new(worker.handle.another()),
            outbox: Arc::new(Outbox::new(limits.session_queue_frames, limits.session_queue_bytes)),
            rate: bucket(limits.commands_per_second, limits.commands_burst),
            frame_rate: bucket(limits.frames_per_second, limits.frames_burst),
            worker,
            dialect,
            entrance,
            holds,
            user_seat: None,
            user_rate: None,
            position,
            wire,
            rooms: HashMap::new(),
            waiting: VecDeque::new(),
            busy: false,
            unstored: 0,
            fragments: Fragments::default(),
            refusals: 0,
            heard: Instant::now(),
            token_ends: Instant::now(),
            closing: None,
            closed: false,
            leaving: false,
            parted: false,
        }
    }

    pub(super) fn signed_in(&self) -> Option<&SignedIn> {
        match &self.entrance {
            Entrance::Open(signed_in) => Some(signed_in),
            Entrance::AwaitsToken | Entrance::Refused(_) | Entrance::Echo => None,
        }
    }

    /// Says something in the session's dialect, if that has words for it.
    pub(super) fn say(&self, reply: &Reply) {
        if let Reply::Error { error, .. } = reply {
            self.worker.stats.refused(error.code);
        }
        if let Some(frame) = self.dialect.encode(reply) {
            self.wire.text(frame.as_bytes());
        }
    }

    /// Says goodbye and ends the session. Where messages are still to be stored, `drain` waits for their acks.
    pub(super) fn close(&mut self, code: CloseCode, after_ms: u64, ctx: &mut Ctx) {
        if self.closed {
            return;
        }
        if code.code() >= 4000 && self.closing.is_none() {
            self.say(&Reply::Bye { code, after_ms });
        }
        self.closing = Some(code);
        if code == CloseCode::Drain && (self.unstored > 0 || self.busy) {
            return;
        }
        let description = Some(code.reason().into());
        self.end(Some(CloseReason { code: ws::CloseCode::from(code.code()), description }), ctx);
    }

    /// Sends a close frame. The session ends when the client's has come too (RFC 6455 section 7.1.1); if none comes soon, the
    /// Dispatcher shuts the socket.
    pub(super) fn end(&mut self, reason: Option<CloseReason>, ctx: &mut Ctx) {
        let code = reason.as_ref().map_or(0, |reason| u16::from(reason.code));
        tracing::debug!(session = %self.id, code, "session closed");
        self.closed = true;
        self.give_up_place();
        self.wire.close(reason);
        if self.parted {
            return ctx.stop();
        }
        #[expect(clippy::disallowed_methods, reason = "one for each session, to its own thread")]
        self.worker.dispatcher.do_send(Closing { session: self.id });
    }

    /// The user may have another session instead.
    fn give_up_place(&mut self) {
        if self.user_seat.take().is_some() {
            self.dialect_gauge().sub(1);
        }
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

    /// Takes a token that was verified, the first one or a new one, and says to the Dispatcher how long it holds.
    pub(super) fn hold_token(&mut self, signed_in: SignedIn) {
        let now = Instant::now();
        let auth = &self.worker.config.auth;
        // A native client comes back with a new token; a plain one can't know that it should.
        let (grace, warns) = match self.dialect {
            // As long as the token would still be taken.
            Dialect::Native => (TOKEN_LEEWAY, true),
            Dialect::Plain { .. } => (auth.plain_grace, false),
        };
        let after = |time: Duration| now.checked_add(time).unwrap_or_else(|| now + FAR);
        let holder = Holder {
            user: Arc::clone(&signed_in.user),
            plain: matches!(self.dialect, Dialect::Plain { .. }),
            mark: signed_in.mark,
            // Of a short token not before half of it is over: the next one would be as short.
            warn_at: warns.then(|| {
                let notice = auth.expiry_notice.min(signed_in.expires_in / 2);
                after(signed_in.expires_in.saturating_sub(notice))
            }),
            ends_at: after(signed_in.expires_in.saturating_add(grace)),
        };
        self.token_ends = after(signed_in.expires_in);
        self.user_rate = self.worker.admission.commands(&signed_in.user);
        self.entrance = Entrance::Open(signed_in);
        #[expect(clippy::disallowed_methods, reason = "one for each session and token, to its own thread")]
        self.worker.dispatcher.do_send(Register { session: self.id, holder });
    }

    pub(super) fn welcome(&mut self, signed_in: SignedIn, ctx: &mut Ctx) {
        let SignedIn { user, expires_in, .. } = signed_in.clone();
        self.user_seat = self.worker.admission.user_seat(user.key);
        if self.user_seat.is_none() {
            return self.close(CloseCode::SessionLimit, 0, ctx);
        }
        self.hold_token(signed_in);
        self.dialect_gauge().add(1);
        let limits = &self.worker.config.limits;
        self.holds.gate.allow(limits.frame_bytes);
        let hello = Hello {
            session: self.id.to_string(),
            user: user.name.to_string(),
            user_id: user.id.clone(),
            protocol: SUBPROTOCOL,
            features: &["data", "history", "presence", "read", "refresh", "resume", "typing"],
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
        self.say(&Reply::Hello(hello));
        tracing::debug!(session = %self.id, user = %user.id, dialect = self.dialect.name(), "session opened");
        if let Dialect::Plain { room, .. } = &self.dialect {
            let command = Command::Join { room: room.clone(), position: self.position.take() };
            self.waiting.push_back(Request { id: None, command });
            self.pump(ctx);
        }
    }

    /// Pings an idle client, and closes a silent one.
    pub(super) fn heartbeat(&mut self, ctx: &mut Ctx) {
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
        self.wire.ping();
        self.say(&Reply::Ping);
    }
}

impl Actor for Session {
    type Context = Ctx;

    fn started(&mut self, ctx: &mut Ctx) {
        self.worker.stats.sessions.add(1);
        let limits = &self.worker.config.limits;
        ctx.set_mailbox_capacity(limits.session_queue_frames.saturating_add(SPARE_PLACES));
        let opened = Opened {
            session: self.id,
            recipient: ctx.address().recipient(),
            outbox: Arc::clone(&self.outbox),
            wire: Arc::clone(&self.wire),
            awaits_token: matches!(self.entrance, Entrance::AwaitsToken),
        };
        #[expect(clippy::disallowed_methods, reason = "one for each session, to its own thread")]
        self.worker.dispatcher.do_send(opened);
        match &self.entrance {
            Entrance::Open(signed_in) => self.welcome(signed_in.clone(), ctx),
            Entrance::Refused(code) => {
                let code = *code;
                self.close(code, 0, ctx);
            }
            Entrance::AwaitsToken => {}
            Entrance::Echo => self.holds.gate.allow(limits.frame_bytes),
        }
    }

    fn stopped(&mut self, _: &mut Ctx) {
        self.wire.end();
        self.worker.stats.sessions.sub(1);
        self.give_up_place();
        #[expect(clippy::disallowed_methods, reason = "one for each session, to its own thread")]
        self.worker.dispatcher.do_send(Unregister { session: self.id });
    }
}
