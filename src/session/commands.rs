//! A session's commands, one after the other: a `send` is given to the hub and its ack comes when it comes; what must be
//! answered first (join, resume, history) holds the next ones back. Part of the actor in `actor`.

use std::{rc::Rc, sync::Arc};

use actix::prelude::*;

use super::actor::{Ctx, Session, millis};
use crate::{
    protocol::{
        CloseCode, Command, Dialect, Draft, ErrorCode, Position, Reply, Request, RequestId, ResumeRoom, RoomName, Seq,
        Standing, Window, WireError,
    },
    server::{Detach, Joined},
    store::{Asker, User},
    worker::{SignInError, SignedIn},
};

/// What became of one room of a `resume`.
type JoinAnswer = Result<(RoomName, Joined), WireError>;

impl Session {
    /// Runs what waits, until something must be waited for.
    pub(super) fn pump(&mut self, ctx: &mut Ctx) {
        while !self.busy && self.closing.is_none() {
            let Some(Request { id, command }) = self.waiting.pop_front() else { return };
            let Some(user) = self.signed_in().map(|signed_in| Arc::clone(&signed_in.user)) else { return };
            match command {
                Command::Auth { .. } => {
                    self.refuse(id, WireError::new(ErrorCode::Forbidden, "the session is authenticated already"));
                }
                Command::Refresh { token } => self.refresh_token(id, user, token, ctx),
                Command::Join { room, position } => self.join(id, user, room, position, ctx),
                Command::Resume { rooms } => self.resume(id, user, rooms, ctx),
                Command::Leave { room } => self.leave(id, room, ctx),
                Command::Send { room, draft } => self.send(id, user, room, draft, ctx),
                Command::History { room, window, limit } => self.history(id, user, room, window, limit, ctx),
                Command::Read { room, seq } => self.read_up_to(id, user, room, seq, ctx),
                Command::Typing { room } => self.typing(id, user, room, ctx),
                Command::Presence { room } => self.presence(id, user, room, ctx),
                Command::Ping => self.say(&Reply::Pong { id }),
                Command::Pong => {}
            }
        }
    }

    /// The session goes on with a new token, if that is of the same user.
    fn refresh_token(&mut self, id: Option<RequestId>, user: Arc<User>, token: String, ctx: &mut Ctx) {
        let worker = self.worker.clone();
        let sign_in = async move { worker.sign_in(&token).await };
        let done = move |session: &mut Self, signed_in: Result<SignedIn, SignInError>, _: &mut Ctx| match signed_in {
            Ok(new) if new.user.key != user.key => {
                session.refuse(id, WireError::forbidden("the token is another user's"));
            }
            Ok(new) => {
                let expires_in_ms = millis(new.expires_in);
                session.hold_token(new);
                session.say(&Reply::Refreshed { id, expires_in_ms });
            }
            Err(error) => session.refuse(id, error.into()),
        };
        self.hold(sign_in, done, ctx);
    }

    fn refuse(&self, id: Option<RequestId>, error: WireError) {
        self.say(&Reply::Error { id, error });
    }

    /// Runs something that the next command must wait for.
    fn hold<T: 'static>(
        &mut self,
        work: impl Future<Output = T> + 'static,
        done: impl FnOnce(&mut Self, T, &mut Ctx) + 'static,
        ctx: &mut Ctx,
    ) {
        self.busy = true;
        ctx.spawn(work.into_actor(self).map(move |result, session, ctx| {
            session.busy = false;
            done(session, result, ctx);
            session.settled(ctx);
            session.pump(ctx);
        }));
    }

    fn join(
        &mut self,
        id: Option<RequestId>,
        user: Arc<User>,
        room: RoomName,
        position: Option<Position>,
        ctx: &mut Ctx,
    ) {
        let at = match self.expect_room(&room, ctx) {
            Ok(at) => at,
            Err(error) => return self.refuse(id, error),
        };
        let server = Rc::clone(&self.server);
        let (most, name) = (self.worker.config.limits.replay_join, room.clone());
        let joining = async move { server.join(at, user, name, position, most).await };
        self.hold(
            joining,
            move |session, joined, ctx| match joined {
                // Taken out of it before the answer came: the Dispatcher may have let it in since.
                Ok(_) if !session.is_in(&room, ctx) => {
                    session.forget(&room);
                    session.refuse(id, removed_error());
                }
                Ok(joined) => {
                    let standing = joined.standing.clone();
                    session.say(&Reply::Joined { id, room: room.clone(), standing });
                    session.joined(&room, &joined, ctx);
                }
                Err(error) => {
                    session.forget(&room);
                    let code = match error.code {
                        ErrorCode::Banned => CloseCode::Banned,
                        _ if error.retryable => CloseCode::Unavailable,
                        _ => CloseCode::Policy,
                    };
                    session.refuse(id, error);
                    // A plain session is in its one room or has nothing to be open for.
                    if session.dialect != Dialect::Native {
                        session.close(code, 0, ctx);
                    }
                }
            },
            ctx,
        );
    }

    /// A room that could not be joined (again): where an earlier joining still stands, that ends.
    fn forget(&mut self, room: &RoomName) {
        self.rooms.remove(room);
        #[expect(clippy::disallowed_methods, reason = "at most one for each room that the session asked for")]
        self.worker.dispatcher.do_send(Detach { session: self.id, room: room.clone() });
    }

    fn resume(&mut self, id: Option<RequestId>, user: Arc<User>, rooms: Vec<ResumeRoom>, ctx: &mut Ctx) {
        let rooms: Vec<_> = rooms
            .into_iter()
            .map(|(given, room)| {
                let expected =
                    room.and_then(|(room, position)| self.expect_room(&room, ctx).map(|at| (room, position, at)));
                (given, expected)
            })
            .collect();
        let server = Rc::clone(&self.server);
        let mut left = self.worker.config.limits.replay_resume;
        let joining = async move {
            let mut answers: Vec<(String, JoinAnswer)> = Vec::new();
            let mut refused = Vec::new();
            for (given, room) in rooms {
                let answer = match room {
                    Err(error) => Err(error),
                    Ok((room, position, at)) => {
                        let user = Arc::clone(&user);
                        match server.join(at, user, room.clone(), Some(position), left).await {
                            Ok(joined) => {
                                left = left.saturating_sub(joined.standing.replay.unwrap_or(0));
                                Ok((room, joined))
                            }
                            Err(error) => {
                                refused.push(room);
                                Err(error)
                            }
                        }
                    }
                };
                answers.push((given, answer));
            }
            (answers, refused)
        };
        self.hold(
            joining,
            move |session, (mut answers, refused), ctx| {
                for room in refused {
                    session.forget(&room);
                }
                for (_, answer) in &mut answers {
                    if let Ok((room, _)) = answer
                        && !session.is_in(room, ctx)
                    {
                        session.forget(room);
                        *answer = Err(removed_error());
                    }
                }
                let standing = |answer: &JoinAnswer| -> Result<Standing, WireError> {
                    answer.as_ref().map(|(_, joined)| joined.standing.clone()).map_err(Clone::clone)
                };
                let rooms = answers.iter().map(|(given, answer)| (given.clone(), standing(answer))).collect();
                session.say(&Reply::Resumed { id, rooms });
                for (room, joined) in answers.into_iter().filter_map(|(_, answer)| answer.ok()) {
                    session.joined(&room, &joined, ctx);
                }
            },
            ctx,
        );
    }

    fn leave(&mut self, id: Option<RequestId>, room: RoomName, ctx: &mut Ctx) {
        if !self.is_in(&room, ctx) {
            return self.refuse(id, not_joined());
        }
        self.forget(&room);
        self.say(&Reply::Done { id, room });
    }

    fn send(&mut self, id: Option<RequestId>, user: Arc<User>, room: RoomName, draft: Draft, ctx: &mut Ctx) {
        if !self.is_in(&room, ctx) {
            return self.refuse(id, not_joined());
        }
        if self.unstored >= self.worker.config.limits.pending_commands {
            return self.refuse(id, WireError::busy());
        }
        let client_id = draft.client_id.clone();
        let admin = user.admin;
        let asker = Asker { worker: self.worker.id.0, session: self.id.0 };
        let stored = match self.server.post(user, admin, room.clone(), draft, Some(asker)) {
            Ok(stored) => stored,
            Err(error) => return self.refuse(id, error),
        };
        self.unstored = self.unstored.saturating_add(1);
        ctx.spawn(stored.into_actor(self).map(move |posted, session, ctx| {
            session.unstored = session.unstored.saturating_sub(1);
            match posted.unwrap_or_else(|_| Err(WireError::unavailable())) {
                Ok(posted) => {
                    let (seq, timestamp, repeat) = (posted.seq, posted.timestamp, posted.repeat);
                    session.say(&Reply::Sent { id, room, client_id, seq, timestamp, repeat });
                }
                Err(error) => session.refuse(id, error),
            }
            session.settled(ctx);
        }));
    }

    fn history(
        &mut self,
        id: Option<RequestId>,
        user: Arc<User>,
        room: RoomName,
        window: Window,
        limit: u64,
        ctx: &mut Ctx,
    ) {
        let (worker, name) = (self.worker.clone(), room.clone());
        let server = Rc::clone(&self.server);
        let reading = async move { server.history(&worker.store, user, name, window, limit).await };
        self.hold(
            reading,
            move |session, page, _| match page {
                Ok((page, head)) => {
                    session.say(&Reply::History { id, room, events: page.events, head, more: page.more });
                }
                Err(error) => session.refuse(id, error),
            },
            ctx,
        );
    }
}

impl Session {
    /// Commands that follow need not wait until it is stored.
    fn read_up_to(&self, id: Option<RequestId>, user: Arc<User>, room: RoomName, seq: Seq, ctx: &mut Ctx) {
        let (server, name, session) = (Rc::clone(&self.server), room.clone(), self.id);
        let marking = async move { server.read(user, name, seq, Some(session)).await };
        ctx.spawn(marking.into_actor(self).map(move |marked, session, _| match marked {
            Ok(seq) => session.say(&Reply::Read { id, room, seq }),
            Err(error) => session.refuse(id, error),
        }));
    }

    fn typing(&mut self, id: Option<RequestId>, user: Arc<User>, room: RoomName, ctx: &mut Ctx) {
        if !self.is_in(&room, ctx) {
            return self.refuse(id, not_joined());
        }
        let (server, name) = (Rc::clone(&self.server), room.clone());
        let telling = async move { server.typing(user, name).await };
        let done = move |session: &mut Self, told, _: &mut Ctx| match told {
            Ok(()) => session.say(&Reply::Done { id, room }),
            Err(error) => session.refuse(id, error),
        };
        self.hold(telling, done, ctx);
    }

    fn presence(&mut self, id: Option<RequestId>, user: Arc<User>, room: RoomName, ctx: &mut Ctx) {
        let (server, name) = (Rc::clone(&self.server), room.clone());
        let asking = async move { server.presence(user, name).await };
        let done = move |session: &mut Self, presence, _: &mut Ctx| match presence {
            Ok(presence) => session.say(&Reply::Presence { id, room, presence }),
            Err(error) => session.refuse(id, error),
        };
        self.hold(asking, done, ctx);
    }
}

/// Of a room whose joining was overtaken by the user's removal.
pub(super) fn removed_error() -> WireError {
    WireError::forbidden("you were removed from this room")
}

fn not_joined() -> WireError {
    WireError::new(ErrorCode::NotJoined, "join the room first")
}
