//! A busy room, twenty attackers, and what the room's members and the hub's process feel of them.

use std::{
    fs,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::json;
use tokio::{task::JoinSet, time::sleep};

use crate::support::{Client, Hub, HubOptions, token};

pub const ATTACKERS: usize = 20;
/// How a verdict starts that is about time.
pub const UNBEARABLE: &str = "P6: unbearable";
const MEMBERS: usize = 10;
/// Linux's unit of time in /proc/PID/stat: a hundredth of a second, by its ABI.
const TICKS_A_SECOND: f64 = 100.0;

/// Resident memory of a process, in bytes.
pub fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1_024
}

/// Seconds that a process has used of the processors.
pub fn processor_time(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let after_name = stat.rsplit_once(") ").unwrap().1;
    let ticks: u32 = after_name.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<u32>().unwrap()).sum();
    f64::from(ticks) / TICKS_A_SECOND
}

/// A room in which somebody speaks and ten listen.
pub struct Scene {
    pub hub: Hub,
    talking: Arc<AtomicBool>,
    /// From a message's sending to its arrival, by all members.
    delays: Arc<Mutex<Vec<Duration>>>,
    people: JoinSet<()>,
}

/// What the attack did.
pub struct Felt {
    before: Duration,
    during: Duration,
    grown: u64,
    /// Of a core, during the attack.
    cost: f64,
    idle_share: f64,
}

impl Scene {
    /// `pause` between messages of `length` characters.
    pub async fn new(options: HubOptions, pause: Duration, length: usize) -> Self {
        let hub = Hub::with(options);
        let (talking, delays) = (Arc::new(AtomicBool::new(true)), Arc::new(Mutex::new(Vec::new())));
        let mut people = JoinSet::new();
        let sent: Arc<Mutex<Vec<Instant>>> = Arc::default();
        for n in 0..MEMBERS {
            let mut member = hub.member(&format!("member{n}"), "lobby").await;
            let (sent, delays) = (Arc::clone(&sent), Arc::clone(&delays));
            people.spawn(async move {
                for expected in 1.. {
                    let message = member.message().await;
                    assert_eq!(message["seq"], expected, "P3 P6: a member that only reads lost its place");
                    let number: usize = message["client_id"].as_str().unwrap().parse().unwrap();
                    let delay = sent.lock().unwrap()[number].elapsed();
                    delays.lock().unwrap().push(delay);
                }
            });
        }
        let mut writer = hub.member("writer", "lobby").await;
        let still = Arc::clone(&talking);
        people.spawn(async move {
            let text = "x".repeat(length);
            loop {
                if still.load(Ordering::Relaxed) {
                    let number = sent.lock().unwrap().len();
                    sent.lock().unwrap().push(Instant::now());
                    let command = json!({
                        "type": "send", "id": number, "room": "lobby", "message": text, "client_id": number.to_string(),
                    });
                    writer.send(&command).await;
                    writer.until(|frame| frame["id"] == number).await;
                }
                sleep(pause).await;
            }
        });
        Self { hub, talking, delays, people }
    }

    /// The worst delay but for one in a hundred, of what arrives in this time.
    async fn delay_within(&self, time: Duration) -> Duration {
        self.delays.lock().unwrap().clear();
        sleep(time).await;
        self.delay()
    }

    fn delay(&self) -> Duration {
        let mut delays = std::mem::take(&mut *self.delays.lock().unwrap());
        delays.sort();
        assert!(delays.len() > 100, "the room was not busy: {} deliveries", delays.len());
        delays[delays.len() * 99 / 100]
    }

    /// Lets twenty of them loose; each must come to its end, and say what is wrong otherwise.
    pub async fn attack<F, A>(&mut self, attacker: A) -> Felt
    where
        F: Future<Output = ()> + Send + 'static,
        A: Fn(usize) -> F,
    {
        let before = self.delay_within(Duration::from_secs(2)).await;
        let resident_before = resident(self.hub.pid());
        let mut attackers: JoinSet<()> = (0..ATTACKERS).map(attacker).collect();
        let (start, mut most, used_before) = (Instant::now(), 0, processor_time(self.hub.pid()));
        while !attackers.is_empty() || start.elapsed() < Duration::from_secs(2) {
            most = resident(self.hub.pid()).max(most);
            if let Some(ended) = attackers.try_join_next() {
                ended.unwrap();
            } else {
                sleep(Duration::from_millis(10)).await;
            }
        }
        let during = self.delay();
        let cost = (processor_time(self.hub.pid()) - used_before) / start.elapsed().as_secs_f64();
        self.talking.store(false, Ordering::Relaxed);
        sleep(Duration::from_secs(5)).await;
        let (used, since) = (processor_time(self.hub.pid()), Instant::now());
        sleep(Duration::from_secs(2)).await;
        let idle_share = (processor_time(self.hub.pid()) - used) / since.elapsed().as_secs_f64();
        assert!(self.people.try_join_next().is_none(), "somebody in the room lost their connection");
        Felt { before, during, grown: most.saturating_sub(resident_before), cost, idle_share }
    }
}

impl Felt {
    /// Holds it against what twenty attackers may cost.
    pub fn is_bearable(&self, name: &str) {
        let Self { before, during, grown, cost, idle_share } = self;
        eprintln!(
            "{name}: members' p99 {before:.1?} before, {during:.1?} during; memory grew by {} KiB; \
             {:.0} % of a core during, {:.1} % 5 s later",
            *grown / 1_024,
            cost * 100.0,
            idle_share * 100.0
        );
        assert!(*grown <= (8 + u64::try_from(ATTACKERS).unwrap()) << 20, "{name}: P5: memory grew by {grown} bytes");
        let bearable = (*before * 2).max(Duration::from_millis(50));
        assert!(*during < bearable, "{UNBEARABLE}: {name}: the members' p99 was {during:?}, {before:?} before");
        assert!(*idle_share < 0.05, "{UNBEARABLE}: {name}: {:.1} % of a core 5 s later", idle_share * 100.0);
    }
}

/// A member of the room whose kernel buffers little.
pub async fn cramped(url: String, user: String) -> Client {
    let mut client = Client::cramped(&url, &token(&user, &user)).await;
    assert_eq!(client.next().await["type"], "hello");
    client.join("lobby").await;
    client
}
