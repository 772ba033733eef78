//! The load of one run: who writes, who reads, over which way, and the stages through which all of them go together. Each
//! writer and member is a task; a panic in one of them fails the run.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinSet,
    time::sleep,
};

use super::{
    history::Recorder,
    member::Member,
    net::{Network, Route},
    writer::Writer,
};

/// Everybody comes in within this time.
const OPENING: Duration = Duration::from_secs(120);
/// Within this time every writer has heard that the load is over.
const NOTICED: Duration = Duration::from_millis(200);
/// How many come in at once before the load begins.
const AT_ONCE: usize = 32;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Everybody connects; nothing is written.
    Warm,
    Load,
    /// No new messages; those that are under way are tried until they are acked.
    Drain,
    Stop,
}

/// Which way members come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ways {
    /// Half of them over the balancer, half straight to nodes; in every second room to others than the writers'.
    Mixed,
    Balancer,
    /// All straight to nodes, each room's to all of them.
    Spread,
    /// All on one node.
    Node(usize),
}

#[derive(Clone, Debug)]
pub struct Plan {
    pub name: String,
    pub seed: u64,
    pub rooms: usize,
    /// Of each room.
    pub members: usize,
    pub writers: usize,
    /// Messages a second of each writer.
    pub rate: f64,
    pub ways: Ways,
    /// One in four members goes elsewhere every few seconds; one in four writers uses HTTP.
    pub lively: bool,
}

pub struct Room {
    pub name: Arc<str>,
    /// The highest acked number.
    highest: AtomicI64,
    /// Where each member stands.
    pub reached: Vec<AtomicI64>,
}

impl Room {
    pub fn acked(&self, shared: &Shared, seq: i64) {
        self.highest.fetch_max(seq, Ordering::Relaxed);
        shared.acked.fetch_add(1, Ordering::Relaxed);
    }

    fn is_everywhere(&self) -> bool {
        let highest = self.highest.load(Ordering::Relaxed);
        self.reached.iter().all(|reached| reached.load(Ordering::Relaxed) >= highest)
    }
}

/// What all tasks of a run share.
pub struct Shared {
    pub network: Arc<Network>,
    pub recorder: Recorder,
    /// Who has come in once.
    pub joined: AtomicUsize,
    pub attempted: AtomicUsize,
    /// Or refused for good.
    pub acked: AtomicUsize,
    stage: watch::Sender<Stage>,
    turns: Arc<Semaphore>,
}

impl Shared {
    pub fn stage(&self) -> StageWatch {
        StageWatch(self.stage.subscribe())
    }

    /// A turn to open a connection: before the load a few at once, later as everybody likes.
    pub async fn opening(&self) -> Option<OwnedSemaphorePermit> {
        if *self.stage.borrow() > Stage::Warm {
            return None;
        }
        Arc::clone(&self.turns).acquire_owned().await.ok()
    }
}

/// One task's view of the stage.
pub struct StageWatch(watch::Receiver<Stage>);

impl StageWatch {
    pub fn now(&self) -> Stage {
        *self.0.borrow()
    }

    /// Waits for this stage or a later one.
    pub async fn until(&self, stage: Stage) {
        self.wait(|now| now >= stage).await;
    }

    /// Waits for the end of this stage.
    pub async fn past(&self, stage: Stage) {
        self.wait(|now| now > stage).await;
    }

    async fn wait(&self, fits: impl Fn(Stage) -> bool) {
        let mut watched = self.0.clone();
        // A run that is gone is a run that has stopped.
        let _ = watched.wait_for(|now| fits(*now)).await.is_ok();
    }
}

/// A run's tasks.
pub struct Load {
    shared: Arc<Shared>,
    rooms: Vec<Arc<Room>>,
    tasks: JoinSet<()>,
    failed: Vec<String>,
}

impl Load {
    /// Everybody is in when it returns.
    pub async fn open(network: Arc<Network>, recorder: Recorder, plan: &Plan) -> Result<Self, String> {
        let nodes = network.nodes();
        let shared = Arc::new(Shared {
            network,
            recorder,
            joined: AtomicUsize::new(0),
            attempted: AtomicUsize::new(0),
            acked: AtomicUsize::new(0),
            stage: watch::Sender::new(Stage::Warm),
            turns: Arc::new(Semaphore::new(AT_ONCE)),
        });
        let mut load = Self { shared, rooms: Vec::new(), tasks: JoinSet::new(), failed: Vec::new() };
        for number in 0..plan.rooms {
            load.populate(plan, number, nodes);
        }
        let (all, start) = (plan.rooms * (plan.members + plan.writers), Instant::now());
        while load.shared.joined.load(Ordering::Relaxed) < all {
            load.look_for_panics();
            if !load.failed.is_empty() || start.elapsed() > OPENING {
                let joined = load.shared.joined.load(Ordering::Relaxed);
                return Err(format!("{joined} of {all} came in; {}", load.failed.join("; ")));
            }
            sleep(Duration::from_millis(20)).await;
        }
        Ok(load)
    }

    fn populate(&mut self, plan: &Plan, number: usize, nodes: usize) {
        let name: Arc<str> = format!("{}.r{number}", plan.name).into();
        let reached = (0..plan.members).map(|_| AtomicI64::new(0)).collect();
        let room = Arc::new(Room { name, highest: AtomicI64::new(0), reached });
        let seed = |kind: u64, n: usize| {
            let place = u64::try_from(number * 10_000 + n).unwrap();
            plan.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (kind << 48) ^ place
        };
        // The node of the room's writers; where the members keep to others, they do so from the next one on.
        let home = match plan.ways {
            Ways::Node(node) => (node + 1) % nodes,
            Ways::Mixed | Ways::Balancer | Ways::Spread => number % nodes,
        };
        for n in 0..plan.writers {
            let through_balancer = plan.ways == Ways::Balancer || plan.ways == Ways::Mixed && n % 3 == 2;
            let route = if through_balancer { Route::Balancer } else { Route::Node(home) };
            let writer = Writer {
                name: format!("{}.w{n}", room.name).into(),
                room: Arc::clone(&room),
                route,
                http: plan.lively && (number * plan.writers + n) % 4 == 3,
                period: Duration::from_secs_f64(1.0 / plan.rate),
                seed: seed(1, n),
            };
            self.tasks.spawn(writer.run(Arc::clone(&self.shared)));
        }
        for n in 0..plan.members {
            let apart = usize::from(number.is_multiple_of(2));
            let route = match plan.ways {
                Ways::Balancer => Route::Balancer,
                Ways::Node(node) => Route::Node(node),
                Ways::Spread => Route::Node((home + n) % nodes),
                Ways::Mixed if n % 2 == 0 => Route::Balancer,
                Ways::Mixed if nodes > 1 && apart == 1 => Route::Node((home + 1 + (n / 2) % (nodes - 1)) % nodes),
                Ways::Mixed => Route::Node((home + n / 2) % nodes),
            };
            let member = Member {
                name: format!("{}.m{n}", room.name).into(),
                room: Arc::clone(&room),
                place: n,
                route,
                moves: plan.lively && n % 4 == 3,
                seed: seed(2, n),
            };
            self.tasks.spawn(member.run(Arc::clone(&self.shared)));
        }
        self.rooms.push(room);
    }

    pub fn rooms(&self) -> impl Iterator<Item = &str> {
        self.rooms.iter().map(|room| &*room.name)
    }

    pub fn enter(&self, stage: Stage) {
        self.shared.stage.send_replace(stage);
    }

    /// Waits until each message is acked and every member has them all, or for so long; whether it came to that.
    pub async fn drain(&mut self, within: Duration) -> bool {
        self.enter(Stage::Drain);
        // A writer may be about to send what was due the moment before.
        sleep(NOTICED).await;
        let start = Instant::now();
        while start.elapsed() < within {
            self.look_for_panics();
            let [attempted, acked] =
                [&self.shared.attempted, &self.shared.acked].map(|count| count.load(Ordering::Relaxed));
            if acked >= attempted && self.rooms.iter().all(|room| room.is_everywhere()) {
                return true;
            }
            sleep(Duration::from_millis(20)).await;
        }
        false
    }

    /// Ends all tasks, and gives what they died of.
    pub async fn stop(mut self) -> Vec<String> {
        self.enter(Stage::Stop);
        while let Some(ended) = self.tasks.join_next().await {
            self.failed.extend(ended.err().map(said));
        }
        self.failed
    }

    fn look_for_panics(&mut self) {
        while let Some(ended) = self.tasks.try_join_next() {
            self.failed.extend(ended.err().map(said));
        }
    }
}

/// What a task said when it panicked.
pub fn said(error: tokio::task::JoinError) -> String {
    let Ok(panic) = error.try_into_panic() else { return "a task was cancelled".to_owned() };
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}
