//! Wires everything together, runs it, and stops it: the order of starting and of stopping is all here.

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use actix::{Addr, Arbiter};
use actix_web::web;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::{MissedTickBehavior, interval, sleep, timeout},
};

use crate::{
    admission::Admission,
    auth::{self, AppKeys, Authenticator, KeyError, OWN_KEY_SETTING, OwnKey, Passwords},
    config::{self, Config, CreatePolicy, DatabaseUrl},
    greeting, listener,
    mirror::{self, BusError, BusSettings, Mirror, OutgoingBounds, Subscriber},
    protocol::Epoch,
    room::RecentBounds,
    server::{ChatServer, Dispatcher, Pace, RegisterWorker, ServerBounds, ServerHandle, StopSessions, Watch, WorkerId},
    stats::{self, Stats},
    store::{OpenError, Probe, ReadMarks, Store, StoreBounds, StoreError, Writer, WriterBounds},
    worker::{Stopping, Worker},
};

/// How often a stop looks whether it is done.
const LOOK: Duration = Duration::from_millis(20);
/// How often sessions that are still there are told again that the hub stops.
const TELL_AGAIN: Duration = Duration::from_millis(500);
/// The setting that holds the key by which nodes seal what they tell each other.
const BUS_KEY_SETTING: &str = "bus_key";
/// What the very end may take: requests under way, and the database's files.
const LAST: Duration = listener::LAST;

/// Why the hub does not run.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// There is no key to verify tokens by, or a weak one.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The database can't be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The database is open but does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The address of Redis is none.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// The address is taken.
    #[error("{0} is in use: stop what listens there, or choose another address with --bind")]
    PortInUse(SocketAddr),
    /// The address can't be listened on for another reason.
    #[error("can't listen on {address}: {source}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The server ended by itself, or signals can't be heard.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Opens the database as the settings say.
pub async fn open_store(config: &Config) -> Result<Store, OpenError> {
    Store::open(&config.database, store_bounds(config)).await
}

/// Opens the database beside a hub that may be running on it.
pub async fn open_store_beside(config: &Config) -> Result<Store, OpenError> {
    Store::open_beside(&config.database, store_bounds(config)).await
}

fn store_bounds(config: &Config) -> StoreBounds {
    StoreBounds {
        read_timeout: config.database.read_timeout,
        page_events: config.limits.page_events,
        page_bytes: config.limits.page_bytes,
        catch_up_reads: config.limits.catch_up_reads,
        revoked_tokens: config.limits.revoked_tokens,
    }
}

/// The hub's own signing key, made at the first start.
pub async fn own_key(store: &Store) -> Result<OwnKey, StoreError> {
    Ok(OwnKey::new(&store.setting_or(OWN_KEY_SETTING, auth::make_secret).await?))
}

/// Says what is wrong with `redis.url`, where one is set.
pub fn check_redis(config: &Config) -> Result<(), BusError> {
    if config.redis.url.reveal().is_empty() { Ok(()) } else { mirror::check_url(&config.redis.url) }
}

/// How this node will know of others.
async fn start_mirror(config: &Config, store: &Store, stats: &Arc<Stats>) -> Result<Mirror, StoreError> {
    if config.redis.url.reveal().is_empty() {
        return Ok(match config.database.url {
            DatabaseUrl::Sqlite(_) => Mirror::Alone,
            DatabaseUrl::Postgres(_) => Mirror::Database,
        });
    }
    let settings = BusSettings {
        url: config.redis.url.clone(),
        prefix: config.redis.prefix.clone(),
        timeout: config.redis.timeout,
        key: store.setting_or(BUS_KEY_SETTING, auth::make_secret).await?.into(),
        bounds: OutgoingBounds { frames: config.limits.mirror_queue, bytes: config.limits.mirror_queue_bytes },
    };
    Ok(Mirror::Bus(Subscriber::start_on(&Arbiter::new().handle(), settings, Arc::clone(stats)).await))
}

/// Where dev keeps the secret that it made: beside SQLite's file, else under ./data.
fn secret_file(config: &Config) -> PathBuf {
    let folder = match &config.database.url {
        DatabaseUrl::Sqlite(path) => path.parent().map(Path::to_owned).unwrap_or_default(),
        DatabaseUrl::Postgres(_) => PathBuf::from("data"),
    };
    folder.join("secret.key")
}

/// The actors that a node has one of: the ChatServer, with its Writers, and the read markers.
#[derive(Clone)]
struct Central {
    server: Addr<ChatServer>,
    writers: Vec<Addr<Writer>>,
    marks: Addr<ReadMarks>,
}

impl Central {
    /// Starts them, when the first worker does. They hand each other every message, and going to another thread and back costs more
    /// than what they do: so they share an arbiter, and where there is one core, its worker's.
    fn start(
        config: &Config,
        store: &Arc<Store>,
        (mirror, epoch): (Mirror, Epoch),
        latest_acts: &[i64],
        stats: &Arc<Stats>,
    ) -> Self {
        let arbiter = if config::cores() == 1 { Arbiter::current() } else { Arbiter::new().handle() };
        let most = config.limits.read_marks;
        let marks = ReadMarks::start_in(&arbiter, Arc::clone(store), Arc::clone(stats), most);
        let bus = mirror.bus().cloned();
        let (server, writers) = ChatServer::start_on(
            &arbiter,
            Arc::clone(store),
            server_bounds(config),
            (mirror, epoch),
            latest_acts,
            Arc::clone(stats),
        );
        if let Some(bus) = bus {
            bus.listen(server.clone().recipient());
        }
        Self { server, writers, marks }
    }
}

/// Runs the hub until a signal stops it.
pub async fn serve(config: Config) -> Result<(), AppError> {
    let mut signals = Signals::new()?;
    let config = Arc::new(config);
    // The profile's rules about the secret come before anything is made, the kept secret's folder with the database.
    let checked = auth::check_keys(&config)?;
    Store::check_url(&config.database)?;
    check_redis(&config)?;
    let store = Arc::new(open_store(&config).await?);
    // What is done after this is news.
    let latest_acts = store.latest_acts().await?;
    store.load_revoked().await?;
    let keys = checked.map_or_else(|| auth::kept_secret(&secret_file(&config)).map(AppKeys::dev), Ok)?;
    let own_key = Arc::new(own_key(&store).await?);
    let authenticator = Arc::new(Authenticator::new(&config.auth, keys, &own_key));
    let stats = Arc::new(Stats::new());
    let admission = Arc::new(Admission::new(&config, Arc::clone(&stats)));
    let limits = &config.limits;
    let passwords = Passwords::new(limits.password_checks, limits.password_queue, Arc::clone(&stats));
    let passwords = Arc::new(passwords);
    let stopping = Arc::new(Stopping::default());
    let mirror = start_mirror(&config, &store, &stats).await?;
    let epoch = store.epoch().await?;
    let watching = Arc::clone(&authenticator);
    actix_web::rt::spawn(async move { watching.watch_keys().await });
    actix_web::rt::spawn(keep_history(Arc::clone(&stats), mirror.clone()));

    let central = Arc::new(OnceLock::new());
    let make_worker = {
        let (config, store, stats, stopping) =
            (Arc::clone(&config), Arc::clone(&store), Arc::clone(&stats), Arc::clone(&stopping));
        let (admission, mirror) = (Arc::clone(&admission), mirror.clone());
        let (central, next) = (Arc::clone(&central), Arc::new(AtomicUsize::new(0)));
        move || {
            let start = || Central::start(&config, &store, (mirror.clone(), epoch.clone()), &latest_acts, &stats);
            let Central { server, writers, marks } = central.get_or_init(start).clone();
            let id = WorkerId(next.fetch_add(1, Ordering::Relaxed));
            let queue = config.limits.dispatcher_queue;
            let (limits, stats) = (&config.limits, Arc::clone(&stats));
            let watch = Watch::new(limits.heartbeat, limits.auth_timeout, limits.stalled_timeout);
            let pace = Pace { window: limits.flush_window, held: limits.held_events, bytes: limits.send_buffer_bytes };
            let (its_store, its_stats) = (Arc::clone(&store), Arc::clone(&stats));
            let dispatcher = Dispatcher::start_on(id, server.clone(), its_store, its_stats, (watch, pace, queue));
            #[expect(clippy::disallowed_methods, reason = "one for each worker, before its first socket")]
            server.do_send(RegisterWorker { worker: id, dispatcher: dispatcher.clone() });
            web::Data::new(Worker {
                id,
                config: Arc::clone(&config),
                authenticator: Arc::clone(&authenticator),
                store: Arc::clone(&store),
                handle: ServerHandle::new(server.clone(), marks, Arc::clone(&stats)),
                server,
                dispatcher,
                writers,
                admission: Arc::clone(&admission),
                passwords: Arc::clone(&passwords),
                own_key: Arc::clone(&own_key),
                stats,
                mirror: mirror.clone(),
                stopping: Arc::clone(&stopping),
            })
        }
    };
    let setup = store.setup_secret(auth::make_secret).await?;
    let (running, address) =
        listener::open(&config, admission.most_connections(), make_worker).map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => AppError::PortInUse(config.server.bind),
            _ => AppError::Bind { address: config.server.bind, source },
        })?;
    let stop_http = running.handle();
    let mut running = actix_web::rt::spawn(running);
    greeting::greet(&[address], setup.as_ref())?;

    tokio::select! {
        () = signals.next() => {}
        ended = &mut running => {
            return Err(io::Error::other(format!("the HTTP server ended by itself: {ended:?}")).into());
        }
    }
    let deadline = Instant::now() + config.server.stop_timeout;
    let drain = async {
        drain(&config, &stopping, &stats, central.get(), deadline).await;
        if let Some(bus) = mirror.bus() {
            bus.stop().await;
        }
        drop(timeout(LAST, stop_http.stop(true)).await);
        drop(timeout(LAST, store.close()).await);
    };
    tokio::select! {
        () = drain => tracing::info!(sessions_cut = stats.sessions.get(), "stopped"),
        () = signals.next() => tracing::warn!("second signal: ending at once"),
        () = sleep(config.server.stop_timeout) => tracing::warn!("stop_timeout is over: ending now"),
    }
    Ok(())
}

/// What the operator's charts show.
async fn keep_history(stats: Arc<Stats>, mirror: Mirror) {
    let mut ticks = interval(stats::EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let others = mirror.bus().map(|bus| bus.nodes()).unwrap_or_default();
        let others: Vec<_> = others.iter().filter_map(|report| serde_json::from_str(report).ok()).collect();
        stats.sample(&others);
    }
}

fn server_bounds(config: &Config) -> ServerBounds {
    let limits = &config.limits;
    ServerBounds {
        auto_create: config.rooms.auto_create,
        only_admins_create: config.rooms.create == CreatePolicy::Admin,
        typing_members: limits.typing_members,
        lanes: usize::try_from(config.database.lanes()).unwrap_or(1),
        queue: limits.server_queue,
        writer_queue: limits.writer_queue,
        writer: WriterBounds {
            batch_messages: limits.batch_messages,
            batch_bytes: limits.batch_bytes,
            batch_interval: limits.batch_interval,
            timeout: config.database.write_timeout,
        },
        recent: RecentBounds { events: limits.recent_events, bytes: limits.recent_bytes },
        recent_total_bytes: limits.recent_total_bytes,
        page_events: usize::try_from(limits.page_events).unwrap_or(usize::MAX),
        page_bytes: limits.page_bytes,
        room_idle: limits.room_idle,
        new_rooms_per_hour: limits.new_rooms_per_hour,
    }
}

/// SIGTERM and SIGINT.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// P10: readiness first, then every client is told to come back, then what was taken is stored.
async fn drain(config: &Config, stopping: &Stopping, stats: &Stats, central: Option<&Central>, deadline: Instant) {
    tracing::info!(sessions = stats.sessions.get(), "stopping");
    stopping.announce();
    sleep(config.server.drain_wait).await;
    stopping.close();
    // Where no worker has come up yet, nothing was taken.
    let Some(Central { server, writers, .. }) = central else { return };
    let spread_ms = u64::try_from(config.server.drain_spread.as_millis()).unwrap_or(u64::MAX);
    let last = deadline.checked_sub(LAST).unwrap_or(deadline);
    let mut told: Option<Instant> = None;
    while stats.sessions.get() > 0 && Instant::now() < last {
        if told.is_none_or(|told| told.elapsed() >= TELL_AGAIN) {
            #[expect(clippy::disallowed_methods, reason = "twice a second while the hub stops")]
            server.do_send(StopSessions { spread_ms });
            told = Some(Instant::now());
        }
        sleep(LOOK).await;
    }
    for writer in writers {
        while Instant::now() < last {
            match writer.send(Probe).await {
                Ok(state) if state.queued > 0 => sleep(LOOK).await,
                _ => break,
            }
        }
    }
}
