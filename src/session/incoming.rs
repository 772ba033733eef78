//! What comes from the client: frames of any kind, whose rate is kept, put together to commands that wait for their turn; the
//! first one of a socket that brought no token must bring it. Part of the actor in `actor`.

use std::time::Instant;

use actix::prelude::*;
use actix_http::ws::Item;
use actix_web_actors::ws::{self, CloseReason, ProtocolError};
use bytestring::ByteString;

use super::{
    actor::{Ctx, Entrance, Session},
    fragments::Assembled,
};
use crate::protocol::{CloseCode, Command, ErrorCode, Failure, Reply, Request, RequestId, WireError};

/// Refused commands in a row after which a session is closed: whoever does not listen costs more than it gives.
const REFUSALS: u32 = 300;

/// What a frame counts among the frames of a second: one, and one more for each 1 KiB.
fn weight(frame: &ws::Message) -> u32 {
    const FOR_ONE: usize = 1_024;
    let bytes = match frame {
        ws::Message::Text(text) => text.len(),
        ws::Message::Binary(bytes) | ws::Message::Ping(bytes) | ws::Message::Pong(bytes) => bytes.len(),
        ws::Message::Continuation(
            Item::FirstText(bytes) | Item::FirstBinary(bytes) | Item::Continue(bytes) | Item::Last(bytes),
        ) => bytes.len(),
        ws::Message::Close(_) | ws::Message::Nop => 0,
    };
    u32::try_from(bytes / FOR_ONE).unwrap_or(u32::MAX).saturating_add(1)
}

impl Session {
    fn text(&mut self, text: &ByteString, ctx: &mut Ctx) {
        match &self.entrance {
            Entrance::Open(_) => {}
            Entrance::Echo => return self.wire.text(text.as_bytes()),
            Entrance::AwaitsToken | Entrance::Refused(_) => return self.first_frame(text, ctx),
        }
        match self.dialect.parse(text, &self.worker.config.limits.message()) {
            Err(Failure { id, error }) => {
                if self.within_rate(1, id.as_ref(), ctx) {
                    self.say(&Reply::Error { id, error });
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
                    return self.say(&Reply::Error { id: request.id, error: WireError::busy() });
                }
                self.waiting.push_back(request);
                self.pump(ctx);
            }
        }
    }

    /// Whether the session, and its user, keep their rates; if not it is told so, and closed where it does not listen.
    fn within_rate(&mut self, cost: u32, id: Option<&RequestId>, ctx: &mut Ctx) -> bool {
        let of_user = |()| self.user_rate.as_ref().map_or(Ok(()), |rate| rate.take(cost));
        match self.rate.take(cost, Instant::now()).and_then(of_user) {
            Ok(()) => {
                self.refusals = 0;
                true
            }
            Err(wait_ms) => {
                self.refusals = self.refusals.saturating_add(1);
                if self.refusals > REFUSALS {
                    self.close(CloseCode::Policy, 0, ctx);
                } else {
                    let error = WireError::rate_limited("too many commands", wait_ms);
                    self.say(&Reply::Error { id: id.cloned(), error });
                }
                false
            }
        }
    }

    fn first_frame(&mut self, text: &ByteString, ctx: &mut Ctx) {
        let (id, token) = match self.dialect.parse(text, &self.worker.config.limits.message()) {
            Ok(Request { id, command: Command::Auth { token } }) => (id, token),
            Ok(Request { id, .. }) | Err(Failure { id, .. }) => {
                let error = WireError::new(ErrorCode::Unauthenticated, "the first frame must be `auth` with a token");
                self.say(&Reply::Error { id, error });
                return self.close(CloseCode::TokenInvalid, 0, ctx);
            }
        };
        let worker = self.worker.clone();
        let sign_in = async move { worker.sign_in(&token).await };
        // Frames that come meanwhile wait in the socket; the store's timeout bounds the wait.
        ctx.wait(sign_in.into_actor(self).map(|signed_in, session, ctx| match signed_in {
            Ok(signed_in) => session.welcome(signed_in, ctx),
            Err(error) => {
                let code = error.close_code();
                session.say(&Reply::Error { id, error: error.into() });
                session.close(code, 0, ctx);
            }
        }));
    }

    fn binary(&mut self, bytes: &[u8], ctx: &mut Ctx) {
        match &self.entrance {
            Entrance::Open(_) => {}
            Entrance::Echo => return self.wire.binary(bytes),
            Entrance::AwaitsToken | Entrance::Refused(_) => return self.close(CloseCode::TokenInvalid, 0, ctx),
        }
        if self.within_rate(1, None, ctx) {
            let error = WireError::new(ErrorCode::BadJson, "frames must be text, not binary");
            self.say(&Reply::Error { id: None, error });
        }
    }
}

impl StreamHandler<Result<ws::Message, ProtocolError>> for Session {
    fn handle(&mut self, frame: Result<ws::Message, ProtocolError>, ctx: &mut Ctx) {
        self.heard = Instant::now();
        let within_rate = self.frame_rate.take(frame.as_ref().map_or(1, weight), self.heard).is_ok();
        if within_rate {
            self.holds.gate.next_frame();
        }
        if self.closed {
            if matches!(frame, Ok(ws::Message::Close(_))) {
                self.parted = true;
                ctx.stop();
            }
            return;
        }
        if !within_rate {
            return self.close(CloseCode::Policy, 0, ctx);
        }
        if self.closing.is_some() {
            // It waits for acks; the client's goodbye is taken with its own.
            self.parted |= matches!(frame, Ok(ws::Message::Close(_)));
            return;
        }
        let (most, most_bytes) = (self.worker.config.limits.fragments, self.worker.config.limits.frame_bytes);
        match frame {
            Ok(ws::Message::Text(text)) => self.text(&text, ctx),
            Ok(ws::Message::Binary(bytes)) => self.binary(&bytes, ctx),
            Ok(ws::Message::Ping(payload)) => self.wire.pong(&payload),
            Ok(ws::Message::Pong(_) | ws::Message::Nop) => {}
            // The peer's code is sent back (RFC 6455 section 5.5.1).
            Ok(ws::Message::Close(reason)) => {
                self.closing = Some(CloseCode::Normal);
                self.parted = true;
                self.end(reason.map(|reason| CloseReason { code: reason.code, description: None }), ctx);
            }
            Ok(ws::Message::Continuation(item)) => match self.fragments.take(item, most, most_bytes) {
                Ok(Assembled::More) => {}
                Ok(Assembled::Text(text)) => self.text(&text, ctx),
                Ok(Assembled::Binary(bytes)) => self.binary(&bytes, ctx),
                Err(code) => self.close(code, 0, ctx),
            },
            // Most of these leave the bytes where they are: a session that went on would spin on them for ever.
            Err(error) => {
                let code = self.holds.gate.fault().unwrap_or(match error {
                    // Bad UTF-8 has no variant of its own.
                    ProtocolError::Io(error) if error.to_string().contains("utf-8") => CloseCode::InvalidText,
                    ProtocolError::Overflow => CloseCode::TooBig,
                    _ => CloseCode::ProtocolError,
                });
                self.close(code, 0, ctx);
            }
        }
    }
}
