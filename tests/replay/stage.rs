//! The hub's own ChatServer, Writer and Dispatcher on one thread, the one that calls, for what measures them: benches/hot.rs and
//! tests/replay.rs. The database is a real file in a folder of its own, which goes with the stage. A member has a real socket over
//! loopback and no session behind it: its Dispatcher leads it, and where a delivery would need the session, that is counted and
//! fails the run. Bounds are those of config/default.toml, but for times, which a slow run must not meet.

use std::{
    net::TcpStream as Socket,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use actix::prelude::*;
use actix_web::web::BytesMut;
use hubbub::{
    config::{DatabaseConfig, DatabaseUrl},
    mirror::Mirror,
    protocol::{Command, Dialect, Draft, MessageLimits, Request, RoomName, Seq, UserId},
    room::RecentBounds,
    server::{
        ChatServer, Dispatcher, Holder, JoinsAt, Opened, Outbox, Pace, Place, Register, RegisterWorker, ServerBounds,
        ServerHandle, SessionId, ToSession, Watch, Wire, WorkerId,
    },
    stats::Stats,
    store::{Asker, ReadMarks, Store, StoreBounds, TokenMark, User, WriterBounds},
};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};

/// What people said, of tests/fixtures/irc.jsonl, whose README names the source: as long as chat is, in the median and beyond.
pub const LINES: [&str; 8] = [
    "can anyone help me write an ircd.conf",
    "no",
    "yeah windows is the best windows emulator",
    "Did you actually compare it to running in windos on the same machine?",
    "and it's zsnes, not znes",
    "the directx renderer for the UT2 engine is much better than the GL one",
    "any one have setup xinerama with nvidia twinview ?",
    "if I get 60 frames or 120 it is still smooth enough to play but yes windows plays better I agree..",
];

/// Bounds of a message.
pub const LIMITS: MessageLimits = MessageLimits { text_chars: 4_000, data_bytes: 8_192, data_depth: 32 };

/// No time of the hub's is over before a run is, however slow it is.
const LONG: Duration = Duration::from_secs(3_600);
/// What a delivery may take before the run fails.
const PATIENCE: Duration = Duration::from_secs(60);
/// The worker.
const WORKER: WorkerId = WorkerId(0);
/// A session of it that speaks and is in no room: its acks come back over the worker, and nobody's event waits for one.
pub const SPEAKER: Asker = Asker { worker: WORKER.0, session: 0 };

/// The room that all are in.
pub fn room() -> RoomName {
    RoomName::parse("replay").unwrap()
}

/// The `n`th command that a client of the native dialect sends.
pub fn command(n: usize) -> String {
    let line = LINES[n % LINES.len()];
    format!(r#"{{"type":"send","id":{n},"room":"replay","message":"{line}","client_id":"m-{n}"}}"#)
}

/// What a frame asks to be said, and where.
pub fn parse(dialect: &Dialect, text: &str) -> (RoomName, Draft) {
    match dialect.parse(text, &LIMITS) {
        Ok(Request { command: Command::Send { room, draft }, .. }) => (room, draft),
        other => panic!("{text} is read as {other:?}"),
    }
}

/// How a batch is gathered: at once, so that what is in one depends on what is queued and not on the time.
pub fn writer_bounds(batch_messages: usize) -> WriterBounds {
    WriterBounds { batch_messages, batch_bytes: 1 << 20, batch_interval: Duration::ZERO, timeout: LONG }
}

/// The hub's hold on an accepted socket, set as `app.rs` sets it.
fn wire(stream: TcpStream) -> Arc<Wire> {
    let socket = socket2::SockRef::from(&stream);
    socket.set_send_buffer_size(131_072).unwrap();
    socket.set_tcp_nodelay(true).unwrap();
    Arc::new(Wire::new(stream.into_split().1, BytesMut::new()))
}

/// In a session's place: whatever reaches it should have been written by the Dispatcher.
struct Nobody {
    strays: Arc<AtomicUsize>,
}

impl Actor for Nobody {
    type Context = Context<Self>;
}

impl Handler<ToSession> for Nobody {
    type Result = ();

    fn handle(&mut self, _: ToSession, _: &mut Context<Self>) {
        self.strays.fetch_add(1, Ordering::Relaxed);
    }
}

/// The hub, without sessions and HTTP.
pub struct Stage {
    pub store: Arc<Store>,
    pub stats: Arc<Stats>,
    pub handle: ServerHandle,
    /// Whoever speaks.
    pub user: Arc<User>,
    dispatcher: Addr<Dispatcher>,
    listener: TcpListener,
    members: u64,
    strays: Arc<AtomicUsize>,
    _folder: TempDir,
}

impl Stage {
    /// Starts it in this thread's actix system; the room is made by its first message, number 1. Gives the ChatServer too, for what
    /// goes past the handle.
    pub async fn open() -> (Self, Addr<ChatServer>) {
        let folder = tempfile::tempdir().unwrap();
        let (store, stats) = (Arc::new(open_store(&folder).await), Arc::new(Stats::new()));
        let arbiter = Arbiter::current();
        let mirror = (Mirror::Alone, store.epoch().await.unwrap());
        let (server, _) =
            ChatServer::start_on(&arbiter, Arc::clone(&store), server_bounds(), mirror, &[], Arc::clone(&stats));
        let bounds = (Watch::new(LONG, LONG, LONG), Pace { window: Duration::ZERO, held: 256, bytes: 262_144 }, 4_096);
        let dispatcher = Dispatcher::start_on(WORKER, server.clone(), Arc::clone(&store), Arc::clone(&stats), bounds);
        server.send(RegisterWorker { worker: WORKER, dispatcher: dispatcher.clone() }).await.unwrap();
        let marks = ReadMarks::start_in(&arbiter, Arc::clone(&store), Arc::clone(&stats), 10_000);
        let seen = store.user(UserId::parse("7").unwrap(), "topyli".into(), true).await.unwrap().unwrap();
        let stage = Self {
            handle: ServerHandle::new(server.clone(), marks, Arc::clone(&stats)),
            user: Arc::new(seen.user),
            listener: TcpListener::bind("127.0.0.1:0").await.unwrap(),
            members: 0,
            strays: Arc::default(),
            store,
            stats,
            dispatcher,
            _folder: folder,
        };
        let (room, first) = parse(&Dialect::Native, &command(0));
        let posted = stage
            .handle
            .post(Arc::clone(&stage.user), false, room, first, Some(SPEAKER))
            .unwrap()
            .await
            .unwrap()
            .unwrap();
        assert_eq!(posted.seq, Seq(1), "the room's first message");
        (stage, server)
    }

    /// One more member of the room, led by the Dispatcher from here on; gives the client's end of its socket.
    pub async fn join(&mut self) -> Socket {
        let end = Socket::connect(self.listener.local_addr().unwrap()).unwrap();
        let (stream, _) = self.listener.accept().await.unwrap();
        self.members += 1;
        let session = SessionId(self.members);
        let opened = Opened {
            session,
            recipient: Nobody { strays: Arc::clone(&self.strays) }.start().recipient(),
            outbox: Arc::new(Outbox::new(256, 262_144)),
            wire: wire(stream),
            awaits_token: false,
        };
        self.dispatcher.send(opened).await.unwrap();
        let holder = Holder {
            user: Arc::clone(&self.user),
            plain: false,
            mark: TokenMark::new(None, None),
            warn_at: None,
            ends_at: Instant::now() + LONG,
        };
        self.dispatcher.send(Register { session, holder }).await.unwrap();
        let place = Arc::<Place>::default();
        let at = JoinsAt { session, worker: WORKER, place: Arc::clone(&place) };
        let joined = self.handle.join(at, Arc::clone(&self.user), room(), None, 0).await.unwrap();
        place.give(joined.sent);
        end
    }

    /// Lets the actors run until so many deliveries have been written since the start.
    pub async fn delivered(&self, deliveries: u64) {
        let patience = Instant::now() + PATIENCE;
        while self.stats.delivered.get() < deliveries {
            assert_eq!(self.strays.load(Ordering::Relaxed), 0, "deliveries were not written by the Dispatcher");
            assert!(Instant::now() < patience, "{} of {deliveries} deliveries", self.stats.delivered.get());
            tokio::task::yield_now().await;
        }
    }
}

async fn open_store(folder: &TempDir) -> Store {
    let config = DatabaseConfig {
        url: DatabaseUrl::Sqlite(folder.path().join("hubbub.db")),
        url_file: String::new(),
        lanes: 1,
        readers: 1,
        write_timeout: LONG,
        read_timeout: LONG,
    };
    let bounds = StoreBounds {
        read_timeout: LONG,
        page_events: 100,
        page_bytes: 262_144,
        catch_up_reads: 4,
        revoked_tokens: 1_000,
    };
    Store::open(&config, bounds).await.unwrap()
}

fn server_bounds() -> ServerBounds {
    ServerBounds {
        auto_create: true,
        only_admins_create: false,
        typing_members: 100,
        lanes: 1,
        queue: 8_192,
        writer_queue: 10_000,
        writer: writer_bounds(256),
        recent: RecentBounds { events: 256, bytes: 262_144 },
        recent_total_bytes: 1 << 28,
        page_events: 100,
        page_bytes: 262_144,
        room_idle: LONG,
        new_rooms_per_hour: 20,
    }
}
