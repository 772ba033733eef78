//! The Redis subscriber actor: keeps the connection, subscribes to the rooms that this node follows, publishes what is
//! queued in the Bus, and beats. What it hears is in `hearing`. Lives on an arbiter of its own, with fred's tasks.

use std::{
    collections::{HashMap, HashSet},
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use actix::prelude::*;
use tokio::sync::{
    broadcast::error::{RecvError, TryRecvError},
    oneshot,
};

use super::{
    bus::Bus,
    connection::{BusError, Connection},
    frame::{Channel, Frame, Seal},
    hearing::{Arrived, Counts, FromBus},
    link::{BEAT, Link},
    outgoing::OutgoingBounds,
};
use crate::{config::Secret, fatal::AbortOnPanic, protocol::RoomName, stats::Stats};

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
    /// What may wait to be published, and again for the ChatServer.
    pub bounds: OutgoingBounds,
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

/// The present connection.
pub(super) struct Present {
    pub(super) number: u64,
    connection: Rc<Connection>,
    /// Rooms whose channels it has.
    subscribed: HashSet<RoomName>,
    /// Whether channels are being changed.
    changing: bool,
    tasks: Vec<SpawnHandle>,
}

/// The actor.
pub struct Subscriber {
    pub(super) settings: BusSettings,
    pub(super) seal: Seal,
    pub(super) bus: Arc<Bus>,
    pub(super) stats: Arc<Stats>,
    pub(super) listener: Option<Recipient<FromBus>>,
    pub(super) link: Link,
    pub(super) present: Option<Present>,
    connections: u64,
    wanted: HashSet<RoomName>,
    /// Rooms whose channels may not be as they are wanted.
    unsettled: HashSet<RoomName>,
    /// Whoever waits for a room's channel, until this is dropped.
    waiting: HashMap<RoomName, Vec<oneshot::Sender<()>>>,
    /// Whether it was said that Redis is away.
    pub(super) said_away: bool,
    /// Which frames of other nodes were heard already.
    pub(super) counts: Counts,
    /// Whether the ChatServer is still to be told that something was missed.
    pub(super) missed: bool,
    stopping: bool,
    _guard: AbortOnPanic,
}

impl Subscriber {
    /// Starts it on an arbiter of its own; gives the bus.
    pub async fn start_on(arbiter: &ArbiterHandle, settings: BusSettings, stats: Arc<Stats>) -> Arc<Bus> {
        let (node, (give, bus)) = (stats.node, oneshot::channel());
        Self::start_in_arbiter(arbiter, move |ctx| {
            let made = Bus::new(node, settings.bounds, ctx.address(), Instant::now(), Arc::clone(&stats));
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
                unsettled: HashSet::new(),
                waiting: HashMap::new(),
                said_away: false,
                counts: Counts::default(),
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
                                let (mut some, mut missed) = (vec![first], false);
                                while some.len() < BATCH {
                                    match messages.try_recv() {
                                        Ok(message) => some.push(message),
                                        Err(TryRecvError::Lagged(_)) => missed = true,
                                        Err(TryRecvError::Empty | TryRecvError::Closed) => break,
                                    }
                                }
                                (some, missed)
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
                actor.unsettled.clone_from(&actor.wanted);
                actor.present = Some(Present { number, connection, subscribed, changing: false, tasks });
                actor.change_channels(ctx);
            }
            Err(error) => {
                actor.say_away(&error.to_string());
                actor.release_waiting();
                ctx.run_later(TRY_AGAIN, Self::connect);
            }
        }));
    }

    /// Brings the channels of the present connection to those that are wanted, one change at a time.
    fn change_channels(&mut self, ctx: &mut Context<Self>) {
        let Some(present) = self.present.as_mut().filter(|present| !present.changing) else { return };
        let changed = std::mem::take(&mut self.unsettled).into_iter();
        let (more, less): (Vec<_>, Vec<_>) = changed
            .filter(|room| self.wanted.contains(room) != present.subscribed.contains(room))
            .partition(|room| self.wanted.contains(room));
        if more.is_empty() && less.is_empty() {
            return self.channels_stand();
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
                present.subscribed.extend(more);
                actor.waiting.retain(|room, _| !present.subscribed.contains(room));
                actor.stats.followed_rooms.set(present.subscribed.len());
                // All that were wanted when it was connected: others come and go all the time.
                actor.channels_stand();
                actor.change_channels(ctx);
            }
            Err(error) => actor.give_up(number, Some(error), ctx),
        }));
    }

    /// The connection has its channels: from here on a beat that comes back proves it.
    fn channels_stand(&mut self) {
        if self.link.subscribe_once(self.bus.now()) {
            self.beat();
        }
    }

    /// The present connection, if it is this one, is dropped for a new one.
    fn give_up(&mut self, number: u64, error: Option<BusError>, ctx: &mut Context<Self>) {
        let Some(present) = self.present.take_if(|present| present.number == number) else { return };
        for task in present.tasks {
            ctx.cancel_future(task);
        }
        self.link.lost();
        self.release_waiting();
        self.say_away(&error.map_or_else(|| "the connection is silent, or gone".to_owned(), |error| error.to_string()));
        if self.bus.is_up() {
            self.bus.set_up(false);
            self.tell_missed();
        }
        ctx.run_later(TRY_AGAIN / 2, Self::connect);
    }

    fn say_away(&mut self, reason: &str) {
        if !std::mem::replace(&mut self.said_away, true) {
            tracing::warn!(reason, "redis is away: other nodes' messages come from the database");
        }
    }

    /// Whoever waits for a channel goes on without it.
    fn release_waiting(&mut self) {
        self.waiting.clear();
    }

    pub(super) fn beat(&mut self) {
        let count = self.link.beat();
        let report = (count % REPORT_EVERY == 1 || self.stopping).then(|| self.stats.report().to_string().into());
        let heard_of = self.bus.heard_of();
        self.bus.publish(Channel::All, Frame::Beat { count, heard_of, stopping: self.stopping, report });
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
}

/// Publishes what is queued until that fails.
async fn publish(connection: Rc<Connection>, bus: Arc<Bus>, seal: Seal, prefix: String) -> BusError {
    loop {
        let frames = bus.next_frames(BATCH, BATCH_BYTES).await;
        let sealed = frames.iter().map(|(channel, frame)| {
            let name = channel.name(&prefix);
            let sealed = seal.seal(&name, bus.next_count(), frame);
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
        self.unsettled.insert(room.clone());
        let stands = |present: &Present| !present.changing && present.subscribed.contains(&room);
        if self.present.as_ref().is_none_or(stands) {
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
                self.waiting.remove(&room);
                self.wanted.remove(&room);
            } else if let Some(present) = &mut self.present {
                // Redis takes what it has already for what it is.
                present.subscribed.remove(&room);
            }
            self.unsettled.insert(room);
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
