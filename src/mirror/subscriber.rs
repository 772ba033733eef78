//! The Redis subscriber actor: keeps the connection, subscribes to the rooms that this node follows, opens what comes and
//! hands it to the ChatServer in batches. Lives on an arbiter of its own, with fred's tasks. What waits for the ChatServer
//! is bounded by `limits.mirror_queue`; what does not fit is dropped, and heads are compared instead.

use std::{
    collections::{HashMap, HashSet},
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use actix::prelude::*;
use bytestring::ByteString;
use fred::types::Message as RedisMessage;
use tokio::sync::{broadcast::error::RecvError, oneshot};

use super::{
    bus::Bus,
    connection::{BusError, Connection},
    frame::{Channel, Frame, LogFrame, Seal},
    link::{BEAT, Link},
    outgoing::OutgoingBounds,
};
use crate::{
    config::Secret,
    fatal::AbortOnPanic,
    protocol::{NodeId, RoomName},
    stats::Stats,
};

/// After a try to connect that failed; at most this and a timeout pass between tries.
const TRY_AGAIN: Duration = Duration::from_millis(500);
/// Frames that are opened, or published, in one go.
const BATCH: usize = 256;
/// Bytes that are published in one go.
const BATCH_BYTES: usize = 1_048_576;
/// A node's numbers are in every so many beats.
const REPORT_EVERY: u64 = 4;

/// What the subscriber is told at its start.
#[derive(Clone)]
pub struct BusSettings {
    /// Where Redis is.
    pub url: Secret,
    /// What all channels start with.
    pub prefix: String,
    /// The longest that Redis may take to answer.
    pub timeout: Duration,
    /// By which frames are sealed.
    pub key: Secret,
    /// What may wait to be published.
    pub outgoing: OutgoingBounds,
    /// Frames that may wait for the ChatServer.
    pub inbox: usize,
}

/// What the ChatServer is told, in the order in which it came.
#[derive(Message)]
#[rtype(result = "()")]
pub struct FromBus {
    /// What was heard.
    pub heard: Vec<Heard>,
}

/// One thing that was heard.
#[derive(Debug)]
pub enum Heard {
    /// Something was committed to a room, or changed about it.
    Log(RoomName, LogFrame),
    /// For the sessions in a room but for those of one user.
    Others(RoomName, i64, ByteString),
    /// For all sessions of these users, and of those in a room.
    Users(Vec<i64>, Option<RoomName>, ByteString),
    /// Whom do we have in this room? The answer goes to that node.
    WhoIsHere(RoomName, NodeId, u64),
    /// There is something new in the record of acts.
    Acts,
    /// Anything may have been missed: the bus came, went, or was too fast.
    Missed,
}

/// Where the ChatServer is.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Listen(pub(super) Recipient<FromBus>);

/// A room's channel is wanted.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Follow {
    pub(super) room: RoomName,
    /// Dropped when it is subscribed, or can't be for now.
    pub(super) done: oneshot::Sender<()>,
}

/// Rooms' channels are not wanted any longer, or only anew.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Unfollow {
    pub(super) rooms: Vec<RoomName>,
    pub(super) again: bool,
}

/// The node ends.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Stop;

/// What came from Redis; nothing where more came than could be kept.
#[derive(Message)]
#[rtype(result = "()")]
struct Arrived {
    connection: u64,
    messages: Vec<RedisMessage>,
    missed: bool,
}

/// The present connection.
struct Present {
    number: u64,
    connection: Rc<Connection>,
    /// Rooms whose channels it has.
    subscribed: HashSet<RoomName>,
    /// Whether channels are being changed.
    changing: bool,
    tasks: Vec<SpawnHandle>,
}

/// The actor.
pub struct Subscriber {
    settings: BusSettings,
    seal: Seal,
    bus: Arc<Bus>,
    stats: Arc<Stats>,
    listener: Option<Recipient<FromBus>>,
    link: Link,
    present: Option<Present>,
    connections: u64,
    wanted: HashSet<RoomName>,
    /// Whoever waits for a room's channel, until this is dropped.
    waiting: HashMap<RoomName, Vec<oneshot::Sender<()>>>,
    /// Whether the ChatServer is still to be told that something was missed.
    missed: bool,
    stopping: bool,
    _guard: AbortOnPanic,
}

impl Subscriber {
    /// Starts it on an arbiter of its own; gives the bus.
    pub async fn start_on(arbiter: &ArbiterHandle, settings: BusSettings, stats: Arc<Stats>) -> Arc<Bus> {
        let (node, (give, bus)) = (stats.node, oneshot::channel());
        Self::start_in_arbiter(arbiter, move |ctx| {
            let made = Bus::new(node, settings.outgoing, ctx.address(), Instant::now(), Arc::clone(&stats));
            let bus = Arc::new(made);
            drop(give.send(Arc::clone(&bus)));
            Self {
                seal: Seal::new(settings.key.reveal(), node),
                settings,
                bus,
                stats,
                listener: None,
                link: Link::default(),
                present: None,
                connections: 0,
                wanted: HashSet::new(),
                waiting: HashMap::new(),
                missed: false,
                stopping: false,
                _guard: AbortOnPanic("redis subscriber"),
            }
        });
        #[expect(clippy::expect_used, reason = "invariant: the closure above runs before its arbiter ends")]
        bus.await.expect("the subscriber starts")
    }

    fn connect(&mut self, ctx: &mut Context<Self>) {
        self.connections = self.connections.saturating_add(1);
        let number = self.connections;
        let (settings, node) = (self.settings.clone(), self.bus.node());
        let opening = async move {
            let connection = Connection::open(&settings.url, settings.timeout).await?;
            let messages = connection.messages();
            let own = [Channel::All, Channel::Node(node)].map(|channel| channel.name(&settings.prefix));
            connection.subscribe(&own).await?;
            Ok((connection, messages))
        };
        ctx.spawn(opening.into_actor(self).map(move |opened: Result<_, BusError>, actor, ctx| match opened {
            Ok((connection, mut messages)) => {
                let connection = Rc::new(connection);
                let (address, publisher) = (ctx.address(), Rc::clone(&connection));
                let reading = async move {
                    loop {
                        let (messages, missed) = match messages.recv().await {
                            Ok(first) => {
                                let more = std::iter::from_fn(|| messages.try_recv().ok()).take(BATCH);
                                (std::iter::once(first).chain(more).collect(), false)
                            }
                            Err(RecvError::Lagged(_)) => (Vec::new(), true),
                            Err(RecvError::Closed) => break,
                        };
                        if address.send(Arrived { connection: number, messages, missed }).await.is_err() {
                            break;
                        }
                    }
                };
                let reading = ctx.spawn(reading.into_actor(actor).map(move |(), actor, ctx| {
                    actor.give_up(number, None, ctx);
                }));
                let publishing =
                    publish(publisher, Arc::clone(&actor.bus), actor.seal.clone(), actor.settings.prefix.clone());
                let publishing = ctx.spawn(publishing.into_actor(actor).map(move |error, actor, ctx| {
                    actor.give_up(number, Some(error), ctx);
                }));
                let tasks = vec![reading, publishing];
                let subscribed = HashSet::new();
                actor.present = Some(Present { number, connection, subscribed, changing: false, tasks });
                actor.change_channels(ctx);
            }
            Err(error) => {
                tracing::debug!(%error, "no connection to redis");
                actor.release_waiting();
                ctx.run_later(TRY_AGAIN, Self::connect);
            }
        }));
    }

    /// Brings the channels of the present connection to those that are wanted, one change at a time.
    fn change_channels(&mut self, ctx: &mut Context<Self>) {
        let Some(present) = self.present.as_mut().filter(|present| !present.changing) else { return };
        let more: Vec<_> = self.wanted.difference(&present.subscribed).cloned().collect();
        let less: Vec<_> = present.subscribed.difference(&self.wanted).cloned().collect();
        if more.is_empty() && less.is_empty() {
            if self.link.subscribe_once(self.bus.now()) {
                self.beat();
            }
            return;
        }
        present.changing = true;
        let (connection, number, prefix) =
            (Rc::clone(&present.connection), present.number, self.settings.prefix.clone());
        let changing = async move {
            let names = |rooms: &[RoomName]| -> Vec<_> {
                rooms.iter().map(|room| Channel::Room(room.clone()).name(&prefix)).collect()
            };
            connection.unsubscribe(&names(&less)).await?;
            connection.subscribe(&names(&more)).await?;
            Ok((more, less))
        };
        ctx.spawn(changing.into_actor(self).map(move |changed: Result<_, BusError>, actor, ctx| match changed {
            Ok((more, less)) => {
                let Some(present) = actor.present.as_mut().filter(|present| present.number == number) else { return };
                present.changing = false;
                for room in less {
                    present.subscribed.remove(&room);
                }
                for room in more {
                    drop(actor.waiting.remove(&room));
                    present.subscribed.insert(room);
                }
                actor.stats.followed_rooms.set(present.subscribed.len());
                actor.change_channels(ctx);
            }
            Err(error) => actor.give_up(number, Some(error), ctx),
        }));
    }

    /// The present connection, if it is this one, is dropped for a new one.
    fn give_up(&mut self, number: u64, error: Option<BusError>, ctx: &mut Context<Self>) {
        let Some(present) = self.present.take_if(|present| present.number == number) else { return };
        for task in present.tasks {
            ctx.cancel_future(task);
        }
        self.link.lost();
        self.release_waiting();
        if self.bus.is_up() {
            let reason = error.map_or_else(|| "the connection ended".to_owned(), |error| error.to_string());
            tracing::warn!(reason, "redis is away: other nodes' messages come from the database");
            self.bus.set_up(false);
            self.tell_missed();
        }
        ctx.run_later(TRY_AGAIN / 2, Self::connect);
    }

    /// Whoever waits for a channel goes on without it.
    fn release_waiting(&mut self) {
        self.waiting.clear();
    }

    fn beat(&mut self) {
        let count = self.link.beat();
        let report = (count % REPORT_EVERY == 1 || self.stopping).then(|| self.stats.report().to_string().into());
        self.bus.publish(Channel::All, Frame::Beat { count, stopping: self.stopping, report });
    }

    fn look(&mut self, ctx: &mut Context<Self>) {
        let Some(present) = &self.present else { return };
        if present.connection.is_broken() || self.link.is_deaf(self.bus.now()) {
            let number = present.number;
            return self.give_up(number, None, ctx);
        }
        self.beat();
        self.bus.sweep();
        if self.missed {
            self.tell_missed();
        }
    }

    fn tell_missed(&mut self) {
        self.missed = !self.give(vec![Heard::Missed]);
    }

    /// Hands on what was heard; says whether there was a place for it.
    fn give(&self, heard: Vec<Heard>) -> bool {
        let (count, Some(listener)) = (heard.len(), &self.listener) else { return false };
        if self.stats.mirror_inbox.get().saturating_add(count) > self.settings.inbox {
            return false;
        }
        self.stats.mirror_inbox.add(count);
        let given = listener.try_send(FromBus { heard }).is_ok();
        if !given {
            self.stats.mirror_inbox.sub(count);
        }
        given
    }

    /// What a frame means for the ChatServer; what it means for the bus itself is done here.
    fn hear(&mut self, message: &RedisMessage) -> Option<Heard> {
        let channel: &str = &message.channel;
        let sealed = message.value.as_bytes()?;
        let (node, frame) = match self.seal.open(channel, sealed) {
            Ok(opened) => opened,
            Err(error) => {
                self.stats.bus_refused.add(1);
                tracing::debug!(%error, "a frame from redis was dropped");
                return None;
            }
        };
        self.stats.bus_received.add(1);
        if node == self.bus.node() {
            if let Frame::Beat { count, .. } = frame
                && self.link.echo(count, self.bus.now())
            {
                tracing::info!(node = %node, "redis works: nodes hear each other");
                self.bus.set_up(true);
                return Some(Heard::Missed);
            }
            return None;
        }
        let room = || Channel::room(channel, &self.settings.prefix);
        match frame {
            Frame::Log(log) => Some(Heard::Log(room()?, log)),
            Frame::Others { but, notice } => Some(Heard::Others(room()?, but, notice)),
            Frame::Users { users, room, notice } => {
                Some(Heard::Users(users, room.and_then(|room| RoomName::parse(&room).ok()), notice))
            }
            Frame::WhoIsHere { ask, room } => Some(Heard::WhoIsHere(RoomName::parse(&room).ok()?, node, ask)),
            Frame::Acts => Some(Heard::Acts),
            Frame::Beat { count, stopping, report } => {
                self.bus.hear(node, count, stopping, report);
                None
            }
            Frame::Here { ask, users } => {
                self.bus.answered(node, ask, users);
                None
            }
        }
    }
}

/// Publishes what is queued until that fails.
async fn publish(connection: Rc<Connection>, bus: Arc<Bus>, seal: Seal, prefix: String) -> BusError {
    loop {
        let frames = bus.next_frames(BATCH, BATCH_BYTES).await;
        let sealed = frames.iter().map(|(channel, frame)| {
            let name = channel.name(&prefix);
            let sealed = seal.seal(&name, frame);
            (name, sealed)
        });
        if let Err(error) = connection.publish(sealed.collect()).await {
            return error;
        }
    }
}

impl Actor for Subscriber {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.connect(ctx);
        ctx.run_interval(BEAT, Self::look);
    }
}

impl Handler<Listen> for Subscriber {
    type Result = ();

    fn handle(&mut self, Listen(listener): Listen, _: &mut Context<Self>) {
        self.listener = Some(listener);
    }
}

impl Handler<Follow> for Subscriber {
    type Result = ();

    fn handle(&mut self, Follow { room, done }: Follow, ctx: &mut Context<Self>) {
        self.wanted.insert(room.clone());
        let subscribed = self.present.as_ref().is_some_and(|present| present.subscribed.contains(&room));
        if self.present.is_none() || subscribed {
            // Without a connection there is nothing to wait for.
            drop(done);
        } else {
            self.waiting.entry(room).or_default().push(done);
        }
        self.change_channels(ctx);
    }
}

impl Handler<Unfollow> for Subscriber {
    type Result = ();

    fn handle(&mut self, Unfollow { rooms, again }: Unfollow, ctx: &mut Context<Self>) {
        for room in rooms {
            if !again {
                self.wanted.remove(&room);
            } else if let Some(present) = &mut self.present {
                // Redis takes what it has already for what it is.
                present.subscribed.remove(&room);
            }
        }
        self.change_channels(ctx);
    }
}

impl Handler<Stop> for Subscriber {
    type Result = ();

    fn handle(&mut self, _: Stop, _: &mut Context<Self>) {
        self.stopping = true;
        self.beat();
    }
}

impl Handler<Arrived> for Subscriber {
    type Result = ();

    fn handle(&mut self, Arrived { connection, messages, missed }: Arrived, _: &mut Context<Self>) {
        if self.present.as_ref().is_none_or(|present| present.number != connection) {
            return;
        }
        let heard: Vec<_> = messages.iter().filter_map(|message| self.hear(message)).collect();
        self.missed |= missed || (!heard.is_empty() && !self.give(heard));
    }
}
