//! A member: one logical reader of one room, which keeps its name and its cursor over all of its connections. It comes back
//! as the protocol asks (full jitter, `bye`, close codes) and records what it is sent; some go elsewhere on purpose.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use tokio::time::{sleep, sleep_until};

use super::{
    history::{Event, Kind, Op},
    load::{Room, Shared, Stage},
    net::{Ended, Route, Socket, pause},
};

/// A mover stays on a connection for so long, in milliseconds.
const STAY: std::ops::Range<u64> = 1_000..3_000;

pub struct Member {
    pub name: Arc<str>,
    pub room: Arc<Room>,
    /// Its place in the room's progress.
    pub place: usize,
    pub route: Route,
    pub moves: bool,
    pub seed: u64,
}

struct Cursor {
    seq: i64,
    epoch: Value,
}

/// Why a member leaves a connection.
enum Left {
    Ended(Ended),
    Moves,
    Done,
}

impl Member {
    pub async fn run(mut self, shared: Arc<Shared>) {
        let mut random = StdRng::seed_from_u64(self.seed);
        let token = shared.network.token(&self.name);
        let (mut cursor, mut tries) = (None, 0);
        let stage = shared.stage();
        while stage.now() != Stage::Stop {
            let turn = shared.opening().await;
            let come = tokio::select! {
                () = stage.until(Stage::Stop) => return,
                come = self.come(&shared, &token, &mut cursor, &mut random) => come,
            };
            drop(turn);
            let ended = match come {
                Ok(socket) => {
                    tries = 0;
                    match self.stay(&shared, socket, &mut cursor, &mut random).await {
                        Left::Done => return,
                        Left::Ended(ended) => {
                            let lost = Event::new(&self.name, Kind::Info, Op::Lost).room(&self.room.name);
                            shared.recorder.record(lost.code(&ended.code));
                            ended
                        }
                        Left::Moves => {
                            self.go_elsewhere(&shared, &mut random);
                            continue;
                        }
                    }
                }
                Err(ended) => {
                    let failed = Event::new(&self.name, Kind::Fail, Op::Join).room(&self.room.name);
                    let route = match self.route {
                        Route::Balancer => None,
                        Route::Node(node) => Some(node + 1),
                    };
                    shared.recorder.record(Event { node: route, ..failed.code(&ended.code) });
                    ended
                }
            };
            // Before the load only a node that takes so many in a second refuses, and they are to be where the plan has them.
            if stage.now() > Stage::Warm {
                self.go_elsewhere(&shared, &mut random);
            }
            tokio::select! {
                () = stage.until(Stage::Stop) => return,
                () = sleep(pause(tries, ended.after)) => {}
            }
            tries += 1;
        }
    }

    /// Who knows nodes takes another one; the balancer's clients leave that to it.
    fn go_elsewhere(&mut self, shared: &Shared, random: &mut StdRng) {
        if let Route::Node(node) = self.route {
            let nodes = shared.network.nodes();
            self.route = Route::Node((node + random.random_range(1..nodes.max(2))) % nodes);
        }
    }

    /// Opens and joins, by either of the two commands.
    async fn come(
        &self,
        shared: &Shared,
        token: &str,
        cursor: &mut Option<Cursor>,
        random: &mut StdRng,
    ) -> Result<Socket, Ended> {
        let mut socket = shared.network.open(self.route, token).await?;
        let room = &*self.room.name;
        let resumes = cursor.is_some() && random.random();
        let command = match &cursor {
            None => json!({"type": "join", "id": 1, "room": room}),
            Some(Cursor { seq, epoch }) if resumes => {
                json!({"type": "resume", "id": 1, "rooms": {room: {"after": seq, "epoch": epoch}}})
            }
            Some(Cursor { seq, epoch }) => {
                json!({"type": "join", "id": 1, "room": room, "after": seq, "epoch": epoch})
            }
        };
        socket.send(&command).await?;
        let reply = socket.reply(&json!(1)).await?;
        let said = if resumes && reply["type"] == "ok" { &reply["rooms"][room] } else { &reply };
        if let (Some(head), Some(_)) = (said["head"].as_i64(), said["epoch"].as_str()) {
            let seq = cursor.as_ref().map_or(head, |cursor| cursor.seq);
            let event = |op| Event::new(&self.name, Kind::Ok, op).room(&self.room.name).over(socket.conn, socket.node);
            shared.recorder.record(event(Op::Join).seq(seq));
            let reset = said["reset"] == true;
            if reset {
                shared.recorder.record(event(Op::Reset).seq(head));
            }
            if cursor.is_none() {
                shared.joined.fetch_add(1, Ordering::Relaxed);
            }
            *cursor = Some(Cursor { seq: if reset { head } else { seq }, epoch: said["epoch"].clone() });
            return Ok(socket);
        }
        let error = if said["error"].is_object() { &said["error"] } else { said };
        assert_eq!(error["retryable"], true, "{} may not join: {reply}", self.name);
        let after = error["retry_after_ms"].as_u64().map(Duration::from_millis);
        Err(Ended { code: error["code"].as_str().unwrap_or("?").to_owned(), after })
    }

    /// Reads until something ends it.
    async fn stay(
        &self,
        shared: &Shared,
        mut socket: Socket,
        cursor: &mut Option<Cursor>,
        random: &mut StdRng,
    ) -> Left {
        let stage = shared.stage();
        let leaves = Instant::now() + Duration::from_millis(random.random_range(STAY));
        let event = |socket: &Socket, kind, op| {
            Event::new(&self.name, kind, op).room(&self.room.name).over(socket.conn, socket.node)
        };
        loop {
            let frame = tokio::select! {
                () = stage.until(Stage::Stop) => {
                    socket.close().await;
                    return Left::Done;
                }
                () = sleep_until(leaves.into()), if self.moves && stage.now() == Stage::Load => {
                    shared.recorder.record(event(&socket, Kind::Info, Op::Move));
                    if random.random() {
                        socket.close().await;
                    }
                    return Left::Moves;
                }
                frame = socket.receive() => match frame {
                    Ok(frame) => frame,
                    Err(ended) => return Left::Ended(ended),
                },
            };
            match (frame["type"].as_str(), frame["seq"].as_i64()) {
                (Some("message"), Some(seq)) => {
                    let value: Arc<str> = frame["message"].as_str().unwrap_or_default().into();
                    shared.recorder.record(event(&socket, Kind::Ok, Op::See).seq(seq).value(&value));
                    self.moved(cursor, seq);
                }
                (Some("lagged"), _) if frame["reset"] == true => {
                    let head = frame["head"].as_i64().expect("a reset has a head");
                    shared.recorder.record(event(&socket, Kind::Info, Op::Reset).seq(head));
                    self.moved(cursor, head);
                }
                (Some("lagged" | "typing" | "member_added" | "room_updated"), _) => {}
                _ => panic!("{} was sent {frame}", self.name),
            }
        }
    }

    fn moved(&self, cursor: &mut Option<Cursor>, seq: i64) {
        if let Some(cursor) = cursor {
            cursor.seq = cursor.seq.max(seq);
            self.room.reached[self.place].store(cursor.seq, Ordering::Relaxed);
        }
    }
}
