//! The ChatServer actor: which rooms there are, who is where, who may do what, and the one order of each room's events.
//! Lives on an arbiter that it shares with its Writers and the ReadMarks, on one core with the worker too; its queue is
//! `limits.server_queue`. Its handlers are short and wait for nothing: rooms are read by tasks that come back with a message,
//! events go out by one message a worker.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use actix::{dev::channel::channel, prelude::*};
use bytestring::ByteString;

use super::{
    WorkerId,
    dispatcher::Dispatcher,
    messages::{Audience, Detached, FellBehind, Notify, StopSessions},
    refresh::{COMPARE, Compared},
    room::{Entry, Room, RoomCommand},
    sanctions::{KnownActs, NEWS},
};
use crate::{
    fatal::AbortOnPanic,
    mirror::Mirror,
    protocol::{Epoch, RoomName, Seq, WireError},
    room::RecentBounds,
    stats::Stats,
    store::{Answer, Store, UserKey, Writer, WriterBounds},
};

/// How often workers that fell behind are told again.
const NUDGE: Duration = Duration::from_millis(20);
/// How often rooms that nobody uses are looked for.
const SWEEP: Duration = Duration::from_secs(1);
/// How often the numbers go to the log.
const STATS: Duration = Duration::from_secs(60);

/// What bounds the ChatServer, from the config.
#[derive(Clone, Copy, Debug)]
pub struct ServerBounds {
    /// Whether a room appears by its first message.
    pub auto_create: bool,
    /// Whether only admins may make rooms otherwise.
    pub only_admins_create: bool,
    /// Above so many sessions in a room nobody is told who is typing.
    pub typing_members: usize,
    /// Writers, each with rooms of its own.
    pub lanes: usize,
    /// Commands waiting for it.
    pub queue: usize,
    /// Messages given to the writer.
    pub writer_queue: usize,
    /// The writer's own bounds.
    pub writer: WriterBounds,
    /// Recent events of one room.
    pub recent: RecentBounds,
    /// Bytes of recent events of all rooms.
    pub recent_total_bytes: usize,
    /// Events in one answer to a session that catches up.
    pub page_events: usize,
    /// Bytes in one such answer.
    pub page_bytes: usize,
    /// How long an unused room stays.
    pub room_idle: Duration,
    /// Rooms that one user may make in an hour.
    pub new_rooms_per_hour: u32,
}

/// A worker's Dispatcher is there; sent before that worker takes its first socket.
#[derive(Message)]
#[rtype(result = "()")]
pub struct RegisterWorker {
    /// The worker.
    pub worker: WorkerId,
    /// Its Dispatcher.
    pub dispatcher: Addr<Dispatcher>,
}

/// One worker as the ChatServer knows it.
#[derive(Default)]
pub(super) struct Worker {
    pub(super) dispatcher: Option<Addr<Dispatcher>>,
    /// Rooms of which something did not fit into its queue.
    pub(super) behind: HashMap<RoomName, Seq>,
}

/// The actor.
pub struct ChatServer {
    pub(super) store: Arc<Store>,
    pub(super) writers: Vec<Addr<Writer>>,
    pub(super) bounds: ServerBounds,
    pub(super) stats: Arc<Stats>,
    pub(super) workers: Vec<Worker>,
    pub(super) rooms: HashMap<RoomName, Entry>,
    pub(super) mirror: Mirror,
    /// The history that rooms which are not there yet will belong to.
    pub(super) epoch: Epoch,
    pub(super) recent_bytes: usize,
    /// When the database was asked where the rooms stand.
    pub(super) compared: Compared,
    /// Which acts of admins are known.
    pub(super) acts: KnownActs,
    /// How many rooms each user has made since when.
    pub(super) makers: HashMap<UserKey, (u32, Instant)>,
    /// What the senders of a room's events are told, while these go into its log: it leaves with them.
    pub(super) answers: Vec<Answer>,
    _guard: AbortOnPanic,
}

impl ChatServer {
    /// Starts the ChatServer and its Writers on an arbiter; gives their addresses. `latest_acts` are
    /// those in the record before any user's rights were read.
    pub fn start_on(
        arbiter: &ArbiterHandle,
        store: Arc<Store>,
        bounds: ServerBounds,
        (mirror, epoch): (Mirror, Epoch),
        latest_acts: &[i64],
        stats: Arc<Stats>,
    ) -> (Addr<Self>, Vec<Addr<Writer>>) {
        // Each of the two knows the other.
        let (sender, mailbox) = channel(bounds.queue);
        let server = Addr::new(sender);
        let writers: Vec<_> = (0..bounds.lanes)
            .map(|_| {
                let (store, stats) = (Arc::clone(&store), Arc::clone(&stats));
                // The ChatServer counts what it gave; their mailboxes are larger, so that they are never what refuses.
                let queue = bounds.writer_queue.saturating_add(1);
                Writer::start_in(arbiter, store, stats, bounds.writer, queue, server.clone().recipient())
            })
            .collect();
        let actor = Self {
            store,
            writers: writers.clone(),
            bounds,
            stats,
            workers: Vec::new(),
            rooms: HashMap::new(),
            mirror,
            epoch,
            recent_bytes: 0,
            compared: Compared::default(),
            acts: KnownActs::new(latest_acts, Instant::now()),
            makers: HashMap::new(),
            answers: Vec::new(),
            _guard: AbortOnPanic("chat server"),
        };
        arbiter.spawn_fn(move || drop(Context::with_receiver(mailbox).run(actor)));
        (server, writers)
    }

    /// Runs a command on its room, or keeps it until the room is read.
    pub(super) fn take(&mut self, command: RoomCommand, ctx: &mut Context<Self>) {
        self.stats.server_queue.sub(1);
        let name = command.room().clone();
        match self.rooms.get_mut(&name) {
            Some(Entry::Ready(room)) => {
                room.used = Instant::now();
                self.run(command, ctx);
            }
            Some(Entry::Loading { waiting, .. }) if waiting.len() < self.bounds.queue => waiting.push(command),
            Some(Entry::Loading { .. }) => command.refuse(WireError::busy()),
            None => {
                let follow = self.mirror.is_shared() && matches!(command, RoomCommand::Join(_));
                self.rooms.insert(
                    name.clone(),
                    Entry::Loading { heard: false, waiting: vec![command], seen: Seq(0), rights: 0 },
                );
                self.stats.rooms.set(self.rooms.len());
                self.load(name, follow, ctx);
            }
        }
    }

    pub(super) fn room_mut(&mut self, name: &RoomName) -> Option<&mut Room> {
        match self.rooms.get_mut(name) {
            Some(Entry::Ready(room)) => Some(room),
            _ => None,
        }
    }

    /// Drops rooms that nobody uses: they are read again when they are needed.
    fn sweep(&mut self) {
        let (now, idle) = (Instant::now(), self.bounds.room_idle);
        let (mut freed, mut unfollowed) = (0_usize, Vec::new());
        self.rooms.retain(|name, entry| match entry {
            Entry::Loading { .. } => true,
            Entry::Ready(room) => {
                // A name that somebody only asked for is forgotten at once.
                let idle = if room.key.is_some() { idle } else { SWEEP };
                let keep = !room.is_idle() || now.saturating_duration_since(room.used) < idle;
                if !keep {
                    freed = freed.saturating_add(room.log.recent_bytes());
                    // One whose row could not be read may be followed without being known to be.
                    unfollowed.push(name.clone());
                }
                keep
            }
        });
        self.unfollow(unfollowed);
        self.refuse_late();
        self.recent_bytes = self.recent_bytes.saturating_sub(freed);
        self.stats.rooms.set(self.rooms.len());
        self.stats.recent_bytes.set(self.recent_bytes);
        let occupied = |entry: &&Entry| matches!(entry, Entry::Ready(room) if room.workers().next().is_some());
        self.stats.occupied_rooms.set(self.rooms.values().filter(occupied).count());
        let second = self.stats.busiest.clock();
        let busy = self.rooms.iter_mut().filter_map(|(name, entry)| match entry {
            Entry::Ready(room) => Some((name, room.minute.get(second), room.sessions())),
            Entry::Loading { .. } => None,
        });
        self.stats.busiest.list(busy);
        self.stats.tick();
        self.store.sanctions().sweep();
        self.makers.retain(|_, (_, since)| since.elapsed() < super::commands::HOUR);
    }

    /// Rooms that are not in memory any longer are not followed.
    pub(super) fn unfollow(&self, rooms: Vec<RoomName>) {
        if let Some(bus) = self.mirror.bus().filter(|_| !rooms.is_empty()) {
            bus.unfollow(rooms, false);
        }
    }

    /// Tells this node's sessions something that may be lost.
    pub(super) fn notify_here(&self, audience: &Audience, notice: &ByteString) {
        let notify = Notify { audience: audience.clone(), notice: notice.clone() };
        for dispatcher in self.dispatchers() {
            if dispatcher.try_send(notify.clone()).is_err() {
                tracing::debug!("a notice did not fit into a dispatcher's queue");
            }
        }
    }

    pub(super) fn dispatchers(&self) -> impl Iterator<Item = &Addr<Dispatcher>> {
        self.workers.iter().filter_map(|worker| worker.dispatcher.as_ref())
    }

    /// Tells workers whose queue was full where the rooms stand that they missed something of.
    fn nudge(&mut self) {
        for worker in &mut self.workers {
            let (Some(dispatcher), false) = (&worker.dispatcher, worker.behind.is_empty()) else { continue };
            let rooms = worker.behind.iter().map(|(room, head)| (room.clone(), *head)).collect();
            if dispatcher.try_send(FellBehind { rooms }).is_ok() {
                worker.behind.clear();
            }
        }
    }
}

impl Actor for ChatServer {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.run_interval(NUDGE, |server, _| server.nudge());
        ctx.run_interval(SWEEP, |server, _| server.sweep());
        ctx.run_interval(STATS, |server, _| server.stats.log());
        if self.mirror.is_shared() {
            ctx.run_interval(COMPARE, |server, ctx| server.compare(ctx));
        }
        ctx.run_interval(NEWS, |server, ctx| server.ask_for_news(ctx));
    }
}

impl Handler<RegisterWorker> for ChatServer {
    type Result = ();

    fn handle(&mut self, RegisterWorker { worker, dispatcher }: RegisterWorker, _: &mut Context<Self>) {
        // actix numbers its workers' factories on when it starts one anew.
        if self.workers.len() <= worker.0 {
            self.workers.resize_with(worker.0.saturating_add(1), Worker::default);
        }
        if let Some(place) = self.workers.get_mut(worker.0) {
            place.dispatcher = Some(dispatcher);
        }
    }
}

impl Handler<Detached> for ChatServer {
    type Result = ();

    fn handle(&mut self, Detached { worker, rooms }: Detached, _: &mut Context<Self>) {
        for name in rooms {
            if let Some(room) = self.room_mut(&name) {
                room.detach(worker);
            }
        }
    }
}

impl Handler<StopSessions> for ChatServer {
    type Result = ();

    fn handle(&mut self, stop: StopSessions, _: &mut Context<Self>) {
        for dispatcher in self.dispatchers() {
            #[expect(clippy::disallowed_methods, reason = "one for each worker when the hub stops")]
            dispatcher.do_send(stop);
        }
    }
}
