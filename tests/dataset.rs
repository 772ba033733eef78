//! All 27,996 non-blank lines of the fixtures' real chat go through the hub from sixty users in six rooms, while half
//! of the connections are cut and resumed on the way. P1 P2 P3 P4 P12 on real input: every member received every message
//! once, in order, byte for byte, and so has the database.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};

use crate::support::{Client, Hub, HubOptions, PATIENCE, token};

const ROOMS: usize = 6;
const USERS: usize = 60;
/// Messages that a user has on the way at a time.
const WINDOW: usize = 16;

/// The lines in the order of the files, each with its room.
fn lines() -> Vec<(usize, String)> {
    let irc = include_str!("fixtures/irc.jsonl").lines();
    let korean = include_str!("fixtures/korean.jsonl").lines();
    let texts = irc.chain(korean).map(|line| {
        let line: Value = serde_json::from_str(line).unwrap();
        line["message"].as_str().unwrap().to_owned()
    });
    texts.filter(|text| !text.trim().is_empty()).enumerate().map(|(n, text)| (n % ROOMS, text)).collect()
}

struct User {
    name: String,
    room: String,
    token: String,
    /// The lines this user says, by number of the line.
    script: Vec<(usize, String)>,
    /// How many messages the room has in the end.
    all: usize,
    cuts: bool,
    cut_count: Arc<AtomicUsize>,
    hub: String,
}

impl User {
    async fn connect(&self, seen: &[Value], epoch: &Value) -> (Client, Value) {
        let mut client = Client::open(&format!("ws://{}/ws", self.hub), Some(&self.token)).await.unwrap();
        assert_eq!(client.next().await["type"], "hello");
        let mut join = json!({"type": "join", "room": self.room, "after": seen.len()});
        if !seen.is_empty() {
            join["epoch"] = epoch.clone();
        }
        let joined = client.ask(join).await;
        assert_eq!(
            joined["replay"].as_i64(),
            Some(joined["head"].as_i64().unwrap() - i64::try_from(seen.len()).unwrap()),
            "{joined}"
        );
        (client, joined["epoch"].clone())
    }

    /// Says the script and hears everything; what was not acked before a cut is said again.
    async fn run(self) -> Vec<Value> {
        let mut seen: Vec<Value> = Vec::new();
        let (mut client, mut epoch) = self.connect(&seen, &Value::Null).await;
        let mut acked = vec![false; self.script.len()];
        let (mut next, mut unacked) = (0, 0);
        let mut cut_at: Vec<usize> = if self.cuts { vec![self.all * 2 / 3, self.all / 3] } else { Vec::new() };
        while seen.len() < self.all || acked.iter().any(|acked| !acked) {
            while unacked < WINDOW && next < self.script.len() {
                if !acked[next] {
                    let (line, text) = &self.script[next];
                    let client_id = format!("line-{line}");
                    let send =
                        json!({"type": "send", "id": next, "room": self.room, "message": text, "client_id": client_id});
                    client.send(&send).await;
                    unacked += 1;
                }
                next += 1;
            }
            let frame = client.next().await;
            match frame["type"].as_str().unwrap() {
                "ok" => {
                    acked[usize::try_from(frame["id"].as_u64().unwrap()).unwrap()] = true;
                    unacked -= 1;
                }
                "message" => {
                    assert_eq!(frame["seq"], seen.len() + 1, "P3 P4: {} heard a gap or a repeat", self.name);
                    seen.push(frame);
                }
                "lagged" => assert!(frame["reset"].is_null(), "P4: {frame}"),
                _ => panic!("{frame}"),
            }
            if cut_at.last().is_some_and(|at| seen.len() >= *at) {
                cut_at.pop();
                client.cut();
                self.cut_count.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(rand::random_range(0..20))).await;
                (client, epoch) = self.connect(&seen, &epoch).await;
                (next, unacked) = (0, 0);
            }
        }
        seen
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p1_p2_p3_p4_p12_real_chat_arrives_once_in_order_byte_for_byte_through_cut_connections() {
    // A reader may be far behind the writers when it comes back: all of a room can be replayed.
    let options = HubOptions::default().unlimited().set("limits.replay_join", 10_000).set("limits.reset_after", 10_000);
    let hub = Hub::with(options);
    let lines = lines();
    assert_eq!(lines.len(), 27_996);
    let cut_count = Arc::new(AtomicUsize::new(0));
    let users = (0..USERS).map(|n| {
        let room = n % ROOMS;
        let mine = |line: usize| line / ROOMS % (USERS / ROOMS) == n / ROOMS;
        let in_room = lines.iter().enumerate().filter(|(_, (of, _))| *of == room);
        let name = format!("user-{n}");
        User {
            room: format!("room-{room}"),
            token: token(&name, &name),
            all: in_room.clone().count(),
            script: in_room.filter(|(line, _)| mine(*line)).map(|(line, (_, text))| (line, text.clone())).collect(),
            cuts: (n / ROOMS).is_multiple_of(2),
            cut_count: Arc::clone(&cut_count),
            hub: hub.address.to_string(),
            name,
        }
    });
    let running: Vec<_> = users.map(|user| tokio::spawn(user.run())).collect();
    let all = tokio::time::timeout(PATIENCE * 6, futures_util::future::join_all(running)).await.expect("too slow");
    assert_eq!(cut_count.load(Ordering::Relaxed), USERS, "half of the connections are cut twice");
    let heard: Vec<Vec<Value>> = all.into_iter().map(Result::unwrap).collect();
    let database = hub.database().await;
    let mut total = 0;
    for room in 0..ROOMS {
        let stored = database.messages(&format!("room-{room}")).await;
        total += stored.len();
        let mut texts: HashMap<String, &str> = HashMap::new();
        for (line, (of, text)) in lines.iter().enumerate() {
            if *of == room {
                texts.insert(format!("line-{line}"), text);
            }
        }
        assert_eq!(stored.len(), texts.len(), "P1 P2: lost or doubled in the database");
        for (index, message) in stored.iter().enumerate() {
            assert_eq!(message.seq, i64::try_from(index).unwrap() + 1);
            assert_eq!(Some(message.content.as_str()), texts.remove(&message.client_id), "P12: another text");
        }
        for seen in heard.iter().skip(room).step_by(ROOMS) {
            assert_eq!(seen.len(), stored.len(), "P4: a member has not heard all");
            for (message, row) in seen.iter().zip(&stored) {
                let same = message["message"] == row.content && message["user_id"] == row.user;
                assert!(same && message["client_id"] == row.client_id, "P3 P12: {message} but {row:?}");
            }
        }
    }
    assert_eq!(total, 27_996);
}
