//! A writer: one user who sends `writer-counter` values by a schedule that waits for nothing (open loop), and tries each again,
//! under the same client_id, until it is acked. Some acked ones are sent again later, which must find the first. On a
//! socket many are under way at once, up to a bound; over HTTP each message is a request of its own.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use tokio::{
    task::JoinSet,
    time::{sleep, sleep_until},
};

use super::{
    history::{Event, Kind, Op},
    load::{Room, Shared, Stage},
    net::{Ended, Route, Socket, pause},
};

/// Messages under way at once.
const WINDOW: usize = 64;
/// One in so many acked messages is sent again, some time later.
const AGAIN_ONE_IN: u32 = 20;
const AGAIN_AFTER: std::ops::Range<u64> = 200..3_000;

pub struct Writer {
    pub name: Arc<str>,
    pub room: Arc<Room>,
    pub route: Route,
    /// Each message over HTTP, through the balancer.
    pub http: bool,
    pub period: Duration,
    pub seed: u64,
}

/// Messages on their way.
struct Work {
    /// When the next one is due, and its counter.
    next: Instant,
    counter: u64,
    values: BTreeMap<u64, (Arc<str>, Instant)>,
    /// To be sent as soon as possible.
    ready: BTreeSet<u64>,
    /// To be sent again later.
    later: BTreeSet<(Instant, u64)>,
    /// Sent on this connection and not answered: counters by the command's id.
    under_way: HashMap<u64, u64>,
    next_id: u64,
    acked: BTreeSet<u64>,
}

impl Work {
    fn is_done(&self) -> bool {
        self.ready.is_empty() && self.later.is_empty() && self.under_way.is_empty()
    }
}

impl Writer {
    pub async fn run(mut self, shared: Arc<Shared>) {
        let mut random = StdRng::seed_from_u64(self.seed);
        let stage = shared.stage();
        if self.http {
            return self.post_all(shared, random).await;
        }
        let token = shared.network.token(&self.name);
        let mut work = Work {
            next: Instant::now(),
            counter: 0,
            values: BTreeMap::new(),
            ready: BTreeSet::new(),
            later: BTreeSet::new(),
            under_way: HashMap::new(),
            next_id: 1,
            acked: BTreeSet::new(),
        };
        let (mut tries, mut started) = (0, false);
        while stage.now() != Stage::Stop {
            let come = tokio::select! {
                () = stage.until(Stage::Stop) => return,
                come = self.come(&shared, &token) => come,
            };
            let ended = match come {
                Ok(socket) => {
                    if !started {
                        started = true;
                        shared.joined.fetch_add(1, Ordering::Relaxed);
                        stage.until(Stage::Load).await;
                        work.next = Instant::now() + self.period.mul_f64(random.random());
                    }
                    tries = 0;
                    match self.write(&shared, socket, &mut work, &mut random).await {
                        None => return,
                        Some(ended) => ended,
                    }
                }
                Err(ended) => ended,
            };
            for counter in std::mem::take(&mut work.under_way).into_values() {
                shared.recorder.record(self.event(&work.values[&counter].0, Kind::Info).code(&ended.code));
                work.ready.insert(counter);
            }
            if let Route::Node(node) = self.route {
                self.route = Route::Node((node + 1) % shared.network.nodes());
            }
            tokio::select! {
                () = stage.until(Stage::Stop) => return,
                () = sleep(pause(tries, ended.after)) => {}
            }
            tries += 1;
        }
    }

    fn event(&self, value: &Arc<str>, kind: Kind) -> Event {
        Event::new(&self.name, kind, Op::Send).room(&self.room.name).value(value)
    }

    async fn come(&self, shared: &Shared, token: &str) -> Result<Socket, Ended> {
        let _turn = shared.opening().await;
        let mut socket = shared.network.open(self.route, token).await?;
        socket.send(&json!({"type": "join", "id": 0, "room": &*self.room.name})).await?;
        let joined = socket.reply(&json!(0)).await?;
        assert!(joined["type"] == "ok" || joined["retryable"] == true, "{} may not join: {joined}", self.name);
        let refused = Ended { code: joined["code"].as_str().unwrap_or("?").to_owned(), after: None };
        if joined["type"] == "ok" { Ok(socket) } else { Err(refused) }
    }

    /// Sends what is due and takes the answers, until the connection ends; none where all is done.
    async fn write(&self, shared: &Shared, mut socket: Socket, work: &mut Work, random: &mut StdRng) -> Option<Ended> {
        let stage = shared.stage();
        loop {
            let now = stage.now();
            self.collect(shared, now, work);
            while work.under_way.len() < WINDOW
                && let Some(counter) = work.ready.pop_first()
            {
                if let Err(ended) = self.send(shared, &mut socket, work, counter).await {
                    return Some(ended);
                }
            }
            if now >= Stage::Drain && work.is_done() {
                // Its last messages are counted; the connection stays, as people's do.
                stage.until(Stage::Stop).await;
                socket.close().await;
                return None;
            }
            let due = (now == Stage::Load).then_some(work.next);
            let wake = work.later.first().map(|(at, _)| *at).into_iter().chain(due).min();
            tokio::select! {
                () = stage.until(Stage::Stop) => return None,
                () = stage.past(now), if now < Stage::Drain => {}
                () = sleep_until(wake.unwrap_or(work.next).into()), if wake.is_some() => {}
                frame = socket.receive() => match frame {
                    Ok(frame) => self.answered(shared, &socket, work, &frame, random),
                    Err(ended) => return Some(ended),
                },
            }
        }
    }

    /// What has become due.
    fn collect(&self, shared: &Shared, stage: Stage, work: &mut Work) {
        let now = Instant::now();
        while stage == Stage::Load && work.next <= now {
            work.counter += 1;
            let value = format!("{}-{}", self.name, work.counter).into();
            work.values.insert(work.counter, (value, work.next));
            work.ready.insert(work.counter);
            work.next += self.period;
            shared.attempted.fetch_add(1, Ordering::Relaxed);
        }
        while let Some((at, counter)) = work.later.first().copied()
            && at <= now
        {
            work.later.pop_first();
            work.ready.insert(counter);
        }
    }

    async fn send(&self, shared: &Shared, socket: &mut Socket, work: &mut Work, counter: u64) -> Result<(), Ended> {
        let (id, (value, due)) = (work.next_id, &work.values[&counter]);
        let invoke = self.event(value, Kind::Invoke).over(socket.conn, socket.node);
        shared.recorder.record(invoke.due(shared.recorder.micros(*due)));
        let command =
            json!({"type": "send", "id": id, "room": &*self.room.name, "message": &**value, "client_id": &**value});
        work.under_way.insert(id, counter);
        work.next_id += 1;
        socket.send(&command).await
    }

    fn answered(&self, shared: &Shared, socket: &Socket, work: &mut Work, frame: &Value, random: &mut StdRng) {
        let Some(counter) = frame["id"].as_u64().and_then(|id| work.under_way.remove(&id)) else { return };
        let (value, _) = &work.values[&counter];
        let event = |kind| self.event(value, kind).over(socket.conn, socket.node);
        if let ("ok", Some(seq)) = (frame["type"].as_str().unwrap_or_default(), frame["seq"].as_i64()) {
            shared.recorder.record(event(Kind::Ok).seq(seq));
            if work.acked.insert(counter) {
                self.room.acked(shared, seq);
                if random.random_ratio(1, AGAIN_ONE_IN) {
                    let later = Duration::from_millis(random.random_range(AGAIN_AFTER));
                    work.later.insert((Instant::now() + later, counter));
                }
            }
            return;
        }
        let code = frame["code"].as_str().unwrap_or("?");
        if frame["retryable"] == true {
            shared.recorder.record(event(Kind::Info).code(code));
            let later = frame["retry_after_ms"].as_u64().unwrap_or(100);
            work.later.insert((Instant::now() + Duration::from_millis(later), counter));
        } else {
            shared.recorder.record(event(Kind::Fail).code(code));
            if !work.acked.contains(&counter) {
                // Counted as answered, so that the drain does not wait for it; the verdict knows better.
                shared.acked.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// The same over HTTP.
    async fn post_all(self, shared: Arc<Shared>, mut random: StdRng) {
        let (stage, mut posts) = (shared.stage(), JoinSet::new());
        let token: Arc<str> = shared.network.token(&self.name).into();
        let writer = Arc::new(self);
        shared.joined.fetch_add(1, Ordering::Relaxed);
        stage.until(Stage::Load).await;
        let mut due = Instant::now() + writer.period.mul_f64(random.random());
        for counter in 1_u64.. {
            tokio::select! {
                () = stage.until(Stage::Drain) => break,
                () = sleep_until(due.into()) => {}
            }
            shared.attempted.fetch_add(1, Ordering::Relaxed);
            let again = random.random_ratio(1, AGAIN_ONE_IN);
            let (this, shared, token) = (Arc::clone(&writer), Arc::clone(&shared), Arc::clone(&token));
            posts.spawn(async move { this.post(shared, token, counter, due, again).await });
            due += writer.period;
        }
        while let Some(ended) = posts.join_next().await {
            ended.unwrap();
        }
    }

    async fn post(&self, shared: Arc<Shared>, token: Arc<str>, counter: u64, due: Instant, again: bool) {
        let stage = shared.stage();
        let value: Arc<str> = format!("{}-{counter}", self.name).into();
        let (mut tries, mut acks) = (0, 0);
        while stage.now() != Stage::Stop {
            let invoke = self.event(&value, Kind::Invoke).due(shared.recorder.micros(due));
            shared.recorder.record(invoke);
            let (network, room, token) = (Arc::clone(&shared.network), Arc::clone(&self.room.name), Arc::clone(&token));
            let body = json!({"message": &*value, "client_id": &*value});
            let answer = tokio::task::spawn_blocking(move || network.post(&room, &token, &body)).await.unwrap();
            let code = match &answer {
                Ok((200 | 201, body)) => {
                    let seq = body["seq"].as_i64().expect("an ack has a number");
                    shared.recorder.record(self.event(&value, Kind::Ok).seq(seq));
                    if acks == 0 {
                        self.room.acked(&shared, seq);
                    }
                    acks += 1;
                    if !again || acks > 1 {
                        return;
                    }
                    continue;
                }
                // The balancer's own answers, a request that came too slowly (RFC 9110 says: again), and what the hub says may be
                // tried again.
                Ok((status @ (408 | 502..=504), body)) if body["error"].is_null() => status.to_string(),
                Ok((_, body)) if body["error"]["retryable"] == true => body["error"]["code"].to_string(),
                Ok((status, body)) => {
                    shared.recorder.record(self.event(&value, Kind::Fail).code(&format!("{status} {body}")));
                    if acks == 0 {
                        shared.acked.fetch_add(1, Ordering::Relaxed);
                    }
                    return;
                }
                Err(why) => why.clone(),
            };
            shared.recorder.record(self.event(&value, Kind::Info).code(&code));
            tokio::select! {
                () = stage.until(Stage::Stop) => return,
                () = sleep(pause(tries, None)) => {}
            }
            tries += 1;
        }
    }
}
