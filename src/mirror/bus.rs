//! The bus as the other threads see it: what they publish waits here, what is known of other nodes is read here. Shared by
//! all threads in an `Arc`; locks are held for a push or a look. Bounded by `limits.mirror_queue`.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use actix::prelude::*;
use bytestring::ByteString;
use tokio::{
    sync::{Notify, mpsc, oneshot},
    time::timeout,
};

use super::{
    asking::Asking,
    frame::{Channel, Frame, Present},
    hearing::FromBus,
    link::Pace,
    nodes::{Beat, Nodes},
    outgoing::{Outgoing, OutgoingBounds},
    sessions::SessionList,
    subscriber::{Follow, Listen, Subscriber, Unfollow},
};
use crate::{
    protocol::{NodeId, RoomName},
    stats::Stats,
};

/// The longest that a room waits for its channel; heads are compared anyhow.
const FOLLOW: Duration = Duration::from_millis(500);
/// How long an answer about a room is good for whoever asks next, and how many rooms' answers are kept.
const ANSWER_KEPT: Duration = Duration::from_secs(1);
const ANSWERS_KEPT: usize = 100;
/// Questions under way.
const QUESTIONS: usize = 1_000;

/// What was answered about rooms, and when.
type Answers = HashMap<RoomName, (Instant, Arc<[Present]>)>;
pub(super) type Answer = (NodeId, Said);

/// What a node answers.
#[derive(Debug)]
pub enum Said {
    /// Whom it has in a room.
    Here(Vec<Present>),
    /// Which sessions it has.
    Sessions(SessionList),
}

/// The bus.
pub struct Bus {
    node: NodeId,
    started: Instant,
    up: AtomicBool,
    outgoing: Mutex<Outgoing>,
    /// Frames that were sealed.
    sealed: AtomicU64,
    wake: Notify,
    nodes: Mutex<Nodes>,
    questions: Mutex<HashMap<u64, mpsc::Sender<Answer>>>,
    answers: Mutex<Answers>,
    subscriber: Addr<Subscriber>,
    stats: Arc<Stats>,
}

impl Bus {
    pub(super) fn new(
        node: NodeId,
        bounds: OutgoingBounds,
        subscriber: Addr<Subscriber>,
        started: Instant,
        stats: Arc<Stats>,
    ) -> Self {
        let (outgoing, nodes) = (Mutex::new(Outgoing::new(bounds)), Mutex::default());
        let (up, wake) = (AtomicBool::new(false), Notify::new());
        let (questions, answers) = (Mutex::default(), Mutex::default());
        let sealed = AtomicU64::new(0);
        Self { node, started, up, outgoing, sealed, wake, nodes, questions, answers, subscriber, stats }
    }

    /// What is heard goes here from now on.
    pub fn listen(&self, listener: Recipient<FromBus>) {
        #[expect(clippy::disallowed_methods, reason = "once")]
        self.subscriber.do_send(Listen(listener));
    }

    /// This node.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// Whether frames leave and arrive.
    pub fn is_up(&self) -> bool {
        self.up.load(Ordering::Relaxed)
    }

    pub(super) fn set_up(&self, up: bool) {
        self.up.store(up, Ordering::Relaxed);
        self.stats.bus_up.set(usize::from(up));
        if !up {
            let dropped = lock(&self.outgoing).clear();
            self.stats.bus_dropped.add(dropped);
            self.stats.mirror_queue.set(0);
        }
    }

    pub(super) fn pace(&self) -> Pace {
        if self.is_up() { Pace::WITH_BUS } else { Pace::WITHOUT_BUS }
    }

    /// Time since the node's start.
    pub(super) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Queues a frame. What finds no place, or no bus, others read from the database.
    pub(super) fn publish(&self, channel: Channel, frame: Frame) {
        let beat = matches!(frame, Frame::Beat { .. });
        if !beat && !self.is_up() {
            return self.stats.bus_dropped.add(1);
        }
        let mut outgoing = lock(&self.outgoing);
        if !outgoing.push(channel, frame) {
            self.stats.bus_dropped.add(1);
        }
        self.stats.mirror_queue.set(outgoing.len());
        drop(outgoing);
        self.wake.notify_one();
    }

    /// The next frames to publish, once there are some.
    pub(super) async fn next_frames(&self, most: usize, bytes: usize) -> Vec<(Channel, Frame)> {
        loop {
            let taken = self.take_frames(most, bytes);
            if !taken.is_empty() {
                return taken;
            }
            self.wake.notified().await;
        }
    }

    /// The next frame's count.
    pub(super) fn next_count(&self) -> u64 {
        self.sealed.fetch_add(1, Ordering::Relaxed).saturating_add(1)
    }

    fn take_frames(&self, most: usize, bytes: usize) -> Vec<(Channel, Frame)> {
        let mut outgoing = lock(&self.outgoing);
        let taken = outgoing.take(most, bytes);
        self.stats.mirror_queue.set(outgoing.len());
        taken
    }

    /// The room's channel is wanted; done when it is subscribed, or can't be for now.
    pub fn follow(&self, room: &RoomName) -> impl Future<Output = ()> + use<> {
        let (done, followed) = oneshot::channel();
        #[expect(clippy::disallowed_methods, reason = "one for each room that is being read")]
        self.subscriber.do_send(Follow { room: room.clone(), done });
        async move { drop(timeout(FOLLOW, followed).await) }
    }

    /// These rooms' channels are not wanted any longer. With `again`, they are at once: a subscription that brings nothing
    /// is made anew.
    pub fn unfollow(&self, rooms: Vec<RoomName>, again: bool) {
        #[expect(clippy::disallowed_methods, reason = "a room that was followed leaves once")]
        self.subscriber.do_send(Unfollow { rooms, again });
    }

    pub(super) fn hear(&self, node: NodeId, beat: Beat) -> bool {
        lock(&self.nodes).hear(node, beat, self.now())
    }

    pub(super) fn has_met(&self, node: NodeId) -> bool {
        lock(&self.nodes).has_met(node)
    }

    pub(super) fn heard_of(&self) -> Vec<NodeId> {
        lock(&self.nodes).heard_of(self.now())
    }

    pub(super) fn sweep(&self) {
        lock(&self.nodes).sweep(self.now());
        lock(&self.answers).retain(|_, (since, _)| since.elapsed() < ANSWER_KEPT);
    }

    /// The other nodes that live, with their numbers as JSON.
    pub fn nodes(&self) -> Vec<ByteString> {
        lock(&self.nodes).living(self.now()).map(|(_, report)| report.clone()).collect()
    }

    /// Asks the other nodes something, by a frame that bears the question's number; none where nobody can be asked.
    pub(super) fn ask_nodes(self: &Arc<Self>, frame: impl FnOnce(u64) -> Frame) -> Option<Asking> {
        let asked = self.living();
        let mut questions = lock(&self.questions);
        if asked.is_empty() || !self.is_up() || questions.len() >= QUESTIONS {
            return None;
        }
        let (answer, answers) = mpsc::channel(asked.len());
        let ask = rand::random();
        questions.insert(ask, answer);
        drop(questions);
        self.publish(Channel::All, frame(ask));
        Some(Asking::new(Arc::clone(self), ask, asked, answers))
    }

    /// The other nodes that live.
    pub(super) fn living(&self) -> HashSet<NodeId> {
        lock(&self.nodes).living(self.now()).map(|(node, _)| node).collect()
    }

    /// Nobody waits for a question's answers any longer.
    pub(super) fn forget(&self, ask: u64) {
        lock(&self.questions).remove(&ask);
    }

    /// An answer about a room that is good still.
    pub(super) fn kept(&self, room: &RoomName) -> Option<Arc<[Present]>> {
        let answers = lock(&self.answers);
        answers.get(room).filter(|(since, _)| since.elapsed() < ANSWER_KEPT).map(|(_, users)| Arc::clone(users))
    }

    pub(super) fn keep(&self, room: RoomName, users: &Arc<[Present]>) {
        let mut kept = lock(&self.answers);
        if kept.len() < ANSWERS_KEPT {
            kept.insert(room, (Instant::now(), Arc::clone(users)));
        }
    }

    pub(super) fn answered(&self, node: NodeId, ask: u64, said: Said) {
        if let Some(asker) = lock(&self.questions).get(&ask) {
            // More answers than nodes that were asked: one of them is somebody's repeat.
            drop(asker.try_send((node, said)));
        }
    }

    /// Gives the lease up, and waits for what is queued to leave.
    pub async fn stop(&self) {
        const LOOK: Duration = Duration::from_millis(10);
        const MOST: Duration = Duration::from_millis(500);
        if !self.is_up() {
            return;
        }
        drop(timeout(MOST, self.subscriber.send(super::subscriber::Stop)).await);
        let left = async {
            while !lock(&self.outgoing).is_empty() {
                tokio::time::sleep(LOOK).await;
            }
        };
        drop(timeout(MOST, left).await);
    }
}

impl std::fmt::Debug for Bus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bus").field("node", &self.node).field("up", &self.is_up()).finish_non_exhaustive()
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
