//! The Dispatcher actor: the ChatServer's hand on one worker. It knows the worker's sessions by room and by user, and
//! gives them what they share with `try_send`. Lives on the worker's thread; its queue is `limits.dispatcher_queue`
//! deliveries, each session's queue is its Outbox. How it watches over sessions that don't run is in `watch`.

use std::{
    cell::{Cell, RefCell},
    collections::{HashMap, HashSet},
    rc::Rc,
    sync::Arc,
    time::Instant,
};

use actix::prelude::*;
use indexmap::{IndexMap, IndexSet};

use super::{
    Outbox, SessionId, Wire, WorkerId,
    chat_server::ChatServer,
    fan_out::{LocalRoom, Member, Pace, fall_behind},
    messages::{
        Attach, Audience, CloseSession, Closing, Detach, Detached, Enforce, FellBehind, Holder, Notify, Opened,
        Register, Retain, SessionSummary, SessionsOf, StopSessions, ToSession, Unregister, WhoIsHere,
    },
    watch::Watch,
};
use crate::{
    protocol::{CloseCode, RoomName, Seq},
    stats::Stats,
    store::{Store, User, UserKey},
};

/// What was done to a session's socket from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SocketState {
    /// Nothing.
    Open,
    /// It ends when its last bytes are taken.
    Shut,
    /// It ends with the last hold on it.
    Cut,
}

/// One session as its Dispatcher knows it.
pub(super) struct Local {
    pub(super) id: SessionId,
    pub(super) recipient: Recipient<ToSession>,
    pub(super) outbox: Arc<Outbox>,
    pub(super) wire: Arc<Wire>,
    socket: Cell<SocketState>,
    /// Whether it is looked at in each tick.
    pub(super) attended: Cell<bool>,
    /// Whether it must bring a token in time.
    pub(super) awaits_token: bool,
    /// None before it is authenticated.
    pub(super) holder: RefCell<Option<Holder>>,
    pub(super) opened: Instant,
    /// The tick at which it opened.
    pub(super) since: u32,
}

impl Local {
    /// Queues a message of so many frames and bytes, or notes the room as missed.
    pub(super) fn queue(
        &self,
        message: ToSession,
        (frames, bytes): (usize, usize),
        watch: &Watch,
        stats: &Stats,
    ) -> bool {
        self.attend(watch);
        if !self.outbox.admit(frames, bytes, watch.tick()) {
            return false;
        }
        if self.recipient.try_send(message).is_err() {
            self.outbox.release(frames, bytes);
            return false;
        }
        stats.session_queues.add(frames);
        true
    }

    /// It is to be looked at in each tick, as long as there is something to see.
    fn attend(&self, watch: &Watch) {
        if !self.attended.replace(true) {
            watch.attend(self.id);
        }
    }

    /// Notes a room as missed up to `head`.
    pub(super) fn miss(&self, room: &RoomName, head: Seq, stats: &Stats) {
        if self.outbox.miss(room, head) {
            stats.lagging.add(1);
        }
    }

    /// The session must close. The Outbox says it, whether or not there is a place to wake the session at once.
    pub(super) fn close(&self, code: CloseCode, watch: &Watch) {
        self.attend(watch);
        self.outbox.close(code, watch.tick());
        self.wire.hush();
        drop(self.recipient.try_send(ToSession::Look));
    }

    /// Shuts the socket of a session that said goodbye and got no answer; its client may not have taken all yet.
    pub(super) fn shut(&self) {
        if self.socket.get() == SocketState::Open {
            self.socket.set(SocketState::Shut);
            self.wire.shut();
        }
        // One that reads nothing does not see that, and is told until it is gone; one that can't write does.
        drop(self.recipient.try_send(ToSession::End));
    }

    /// Cuts off a client that does not take what is sent; says whether it was there till now.
    pub(super) fn cut(&self) -> bool {
        self.wire.cut();
        drop(self.recipient.try_send(ToSession::End));
        self.socket.replace(SocketState::Cut) != SocketState::Cut
    }

    fn user(&self) -> Option<Arc<User>> {
        self.holder.borrow().as_ref().map(|holder| Arc::clone(&holder.user))
    }
}

/// The actor.
pub struct Dispatcher {
    worker: WorkerId,
    server: Addr<ChatServer>,
    store: Arc<Store>,
    pub(super) stats: Arc<Stats>,
    pub(super) watch: Watch,
    pub(super) sessions: HashMap<SessionId, (Rc<Local>, HashSet<RoomName>)>,
    pub(super) rooms: HashMap<RoomName, LocalRoom>,
    pub(super) pace: Pace,
    users: HashMap<UserKey, IndexSet<SessionId>>,
}

impl Dispatcher {
    /// A Dispatcher for this worker, which is to be started on its thread; `queue` is how many deliveries may wait.
    pub fn start_on(
        worker: WorkerId,
        server: Addr<ChatServer>,
        store: Arc<Store>,
        stats: Arc<Stats>,
        (watch, pace, queue): (Watch, Pace, usize),
    ) -> Addr<Self> {
        Self::create(move |ctx| {
            ctx.set_mailbox_capacity(queue);
            let (sessions, rooms, users) = (HashMap::new(), HashMap::new(), HashMap::new());
            Self { worker, server, store, stats, watch, pace, sessions, rooms, users }
        })
    }

    fn detach(&mut self, session: SessionId, room: &RoomName) {
        let Some(local) = self.rooms.get_mut(room) else { return };
        local.leave(session, &self.watch, &self.stats);
        if local.members.is_empty() {
            self.rooms.remove(room).into_iter().for_each(|local| local.end(&self.stats));
        }
    }

    fn tell_detached(&self, rooms: Vec<RoomName>) {
        if !rooms.is_empty() {
            #[expect(
                clippy::disallowed_methods,
                reason = "at most one for each join, and a session joins one at a time"
            )]
            self.server.do_send(Detached { worker: self.worker, rooms });
        }
    }
}

impl Actor for Dispatcher {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.start_watch(ctx);
    }
}

impl Handler<Opened> for Dispatcher {
    type Result = ();

    fn handle(&mut self, opened: Opened, _: &mut Context<Self>) {
        let Opened { session, recipient, outbox, wire, awaits_token } = opened;
        let (holder, opened, since) = (RefCell::new(None), Instant::now(), self.watch.tick());
        self.watch.opened(session, awaits_token);
        let local = Local {
            id: session,
            recipient,
            outbox,
            wire,
            socket: Cell::new(SocketState::Open),
            attended: Cell::new(false),
            awaits_token,
            holder,
            opened,
            since,
        };
        self.sessions.insert(session, (Rc::new(local), HashSet::new()));
    }
}

impl Handler<Register> for Dispatcher {
    type Result = ();

    fn handle(&mut self, Register { session, holder }: Register, _: &mut Context<Self>) {
        let Some((local, _)) = self.sessions.get(&session) else { return };
        // Whoever was disabled or revoked while they signed in has not been among the users yet.
        let sanctions = self.store.sanctions();
        if sanctions.refuse_lately(holder.user.key, &holder.mark) {
            local.close(CloseCode::Revoked, &self.watch);
        } else if sanctions.admin_lately(holder.user.key).is_some_and(|admin| admin != holder.user.admin) {
            local.close(CloseCode::Drain, &self.watch);
        }
        self.watch.holds(&holder, session);
        self.users.entry(holder.user.key).or_default().insert(session);
        *local.holder.borrow_mut() = Some(holder);
    }
}

impl Handler<Closing> for Dispatcher {
    type Result = ();

    fn handle(&mut self, Closing { session }: Closing, _: &mut Context<Self>) {
        if let Some((local, _)) = self.sessions.get(&session) {
            local.attend(&self.watch);
            local.outbox.said_goodbye(self.watch.tick());
        }
    }
}

impl Handler<Unregister> for Dispatcher {
    type Result = ();

    fn handle(&mut self, Unregister { session }: Unregister, _: &mut Context<Self>) {
        let Some((local, rooms)) = self.sessions.remove(&session) else { return };
        self.stats.session_queues.sub(local.outbox.frames());
        if local.outbox.has_missed() {
            self.stats.lagging.sub(1);
        }
        if let Some(user) = local.user()
            && let Some(sessions) = self.users.get_mut(&user.key)
        {
            sessions.swap_remove(&session);
            if sessions.is_empty() {
                self.users.remove(&user.key);
            }
        }
        for room in &rooms {
            self.detach(session, room);
        }
        self.tell_detached(rooms.into_iter().collect());
        self.watch.closing(Arc::clone(&local.wire), local.socket.get());
    }
}

impl Handler<Attach> for Dispatcher {
    type Result = ();

    fn handle(&mut self, Attach { session, room, place }: Attach, _: &mut Context<Self>) {
        let Some((local, rooms)) = self.sessions.get_mut(&session) else { return self.tell_detached(vec![room]) };
        let member = Member { local: Rc::clone(local), wire: Arc::clone(&local.wire), place };
        let attached = !rooms.insert(room.clone());
        self.rooms.entry(room.clone()).or_default().members.insert(session, member);
        if attached {
            // The ChatServer has counted one too many, as where it is gone since it asked.
            self.tell_detached(vec![room]);
        }
    }
}

impl Handler<Detach> for Dispatcher {
    type Result = ();

    fn handle(&mut self, Detach { session, room }: Detach, _: &mut Context<Self>) {
        if self.sessions.get_mut(&session).is_some_and(|(_, rooms)| rooms.remove(&room)) {
            self.detach(session, &room);
            self.tell_detached(vec![room]);
        }
    }
}

impl Handler<FellBehind> for Dispatcher {
    type Result = ();

    fn handle(&mut self, FellBehind { rooms }: FellBehind, _: &mut Context<Self>) {
        for (name, head) in rooms {
            let members = self.rooms.get(&name).into_iter().flat_map(|room| room.members.values());
            fall_behind(&name, head, members, &self.watch, &self.stats);
        }
    }
}

impl Handler<Notify> for Dispatcher {
    type Result = ();

    fn handle(&mut self, Notify { audience, notice }: Notify, _: &mut Context<Self>) {
        let of = |user: &UserKey| self.users.get(user).into_iter().flatten().copied();
        let inside = |room: &RoomName| self.rooms.get(room).into_iter().flat_map(|room| room.members.keys()).copied();
        let told: IndexSet<SessionId> = match &audience {
            Audience::User(user, except) => of(user).filter(|session| Some(*session) != *except).collect(),
            Audience::Others(room, user) => {
                let theirs: IndexSet<_> = of(user).collect();
                inside(room).filter(|session| !theirs.contains(session)).collect()
            }
            Audience::Everybody(room, members) => {
                members.iter().flat_map(of).chain(room.iter().flat_map(inside)).collect()
            }
        };
        for (local, _) in told.iter().filter_map(|session| self.sessions.get(session)) {
            // Without a number it may be lost; a client reads GET /api/me/rooms again after a reconnect.
            local.queue(ToSession::Notice(notice.clone()), (1, notice.len()), &self.watch, &self.stats);
        }
    }
}

impl Handler<Retain> for Dispatcher {
    type Result = ();

    fn handle(&mut self, Retain { room, guests }: Retain, _: &mut Context<Self>) {
        let stays = |Member { local, .. }: &Member| local.user().is_some_and(|user| guests.admit(&user));
        let inside = self.rooms.get(&room).into_iter().flat_map(|room| &room.members);
        let gone: Vec<_> = inside.filter(|(_, member)| !stays(member)).map(|(session, _)| *session).collect();
        for session in &gone {
            let Some((local, rooms)) = self.sessions.get_mut(session) else { continue };
            // The Outbox says it, whether or not there is a place to wake the session at once.
            let banned = local.user().is_some_and(|user| guests.banned.contains(&user.key));
            local.outbox.remove(&room, banned);
            drop(local.recipient.try_send(ToSession::Look));
            rooms.remove(&room);
            self.detach(*session, &room);
        }
        self.tell_detached(vec![room; gone.len()]);
    }
}

impl Handler<Enforce> for Dispatcher {
    type Result = ();

    fn handle(&mut self, Enforce { user, admin }: Enforce, _: &mut Context<Self>) {
        for session in self.users.get(&user).into_iter().flatten() {
            let Some((local, _)) = self.sessions.get(session) else { continue };
            let holder = local.holder.borrow();
            let Some(holder) = holder.as_ref() else { continue };
            if self.store.sanctions().refuse_lately(user, &holder.mark) {
                local.close(CloseCode::Revoked, &self.watch);
            } else if holder.user.admin != admin {
                // It comes back with the rights that it has now.
                local.close(CloseCode::Drain, &self.watch);
            }
        }
    }
}

impl Handler<CloseSession> for Dispatcher {
    type Result = bool;

    fn handle(&mut self, CloseSession(session): CloseSession, _: &mut Context<Self>) -> bool {
        let found = self.sessions.get(&session).filter(|(local, _)| local.outbox.ending().is_none());
        if let Some((local, _)) = found {
            local.close(CloseCode::ClosedByAdmin, &self.watch);
        }
        found.is_some()
    }
}

impl Handler<SessionsOf> for Dispatcher {
    type Result = Vec<SessionSummary>;

    fn handle(&mut self, SessionsOf(user): SessionsOf, _: &mut Context<Self>) -> Vec<SessionSummary> {
        let sessions = self.users.get(&user).into_iter().flatten();
        let summary = |session: &SessionId| {
            let (local, rooms) = self.sessions.get(session).filter(|(local, _)| local.outbox.ending().is_none())?;
            let ends_at = local.holder.borrow().as_ref()?.ends_at;
            Some(SessionSummary {
                session: session.to_string(),
                open_for_s: local.opened.elapsed().as_secs(),
                rooms: rooms.iter().cloned().collect(),
                queued: local.outbox.frames(),
                ends_in_s: ends_at.saturating_duration_since(Instant::now()).as_secs(),
            })
        };
        sessions.filter_map(summary).collect()
    }
}

impl Handler<WhoIsHere> for Dispatcher {
    type Result = Vec<Arc<User>>;

    fn handle(&mut self, WhoIsHere { room }: WhoIsHere, _: &mut Context<Self>) -> Vec<Arc<User>> {
        let users = self
            .rooms
            .get(&room)
            .into_iter()
            .flat_map(|room| room.members.values())
            .filter_map(|member| member.local.user());
        let distinct: IndexMap<UserKey, Arc<User>> = users.map(|user| (user.key, user)).collect();
        distinct.into_values().collect()
    }
}

impl Handler<StopSessions> for Dispatcher {
    type Result = ();

    fn handle(&mut self, StopSessions { spread_ms }: StopSessions, _: &mut Context<Self>) {
        for (local, _) in self.sessions.values() {
            let after_ms = rand::random_range(0..=spread_ms);
            let close = ToSession::Close { code: CloseCode::Drain, after_ms };
            if local.recipient.try_send(close).is_err() {
                tracing::debug!("a session takes nothing and is cut at the end");
            }
        }
    }
}
