//! Crashes: the hub is killed (SIGKILL) while everybody sends and reads, starts again on the same file, and everybody
//! comes back.
//!
//! P1 P2 P3 P4 under kill -9. Seen to fail with the hub broken so (scripts/mutants): the ack sent before the commit
//! (P1). What SIGKILL can't see, an ack before the disk has it, is in `durability`; the other breaks in `order` and
//! `resume`.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde_json::json;

use crate::support::{Client, History, Hub, HubOptions, PATIENCE, token};

const ROUNDS: usize = 20;
const WRITERS: usize = 4;
const READERS: usize = 3;

/// Where the hub is now: writers and readers find it again after each crash.
type Address = Arc<Mutex<String>>;

async fn connect(address: &Address, user: &str, done: &AtomicBool) -> Option<Client> {
    loop {
        let url = format!("ws://{}/ws", address.lock().unwrap());
        if let Ok(mut client) = Client::open(&url, Some(&token(user, user))).await
            && client.try_next().await.is_some_and(|hello| hello["type"] == "hello")
        {
            return Some(client);
        }
        if done.load(Ordering::Relaxed) {
            return None;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Sends `writer-counter` values one after the other, each until it is acked.
async fn write(name: String, address: Address, history: Arc<Mutex<History>>, done: Arc<AtomicBool>) {
    let mut counter = 0;
    let mut value = format!("{name}-{counter}");
    history.lock().unwrap().attempt(&value);
    while let Some(mut client) = connect(&address, &name, &done).await {
        if !client.try_send(&json!({"type": "join", "room": "lobby"})).await {
            continue;
        }
        loop {
            let command = json!({"type": "send", "id": counter, "room": "lobby", "message": value, "client_id": value});
            if !client.try_send(&command).await {
                break;
            }
            let acked = loop {
                match client.try_next().await {
                    Some(frame) if frame["id"] == counter => break Some(frame),
                    Some(_) => {}
                    None => break None,
                }
            };
            let Some(ack) = acked else { break };
            if ack["type"] != "ok" {
                assert_eq!(ack["retryable"], true, "{ack}");
                continue;
            }
            history.lock().unwrap().ack(&value, ack["seq"].as_i64().unwrap());
            counter += 1;
            if done.load(Ordering::Relaxed) {
                return;
            }
            value = format!("{name}-{counter}");
            history.lock().unwrap().attempt(&value);
        }
    }
}

/// Reads, comes back with its cursor after each crash, and ends when it has all that was acked.
async fn read(name: String, address: Address, history: Arc<Mutex<History>>, done: Arc<AtomicBool>) {
    let (mut last, mut epoch) = (0, serde_json::Value::Null);
    loop {
        let Some(mut client) = connect(&address, &name, &done).await else { return };
        let mut join = json!({"type": "join", "id": "j", "room": "lobby", "after": last});
        if epoch.is_string() {
            join["epoch"] = epoch.clone();
        }
        if !client.try_send(&join).await {
            continue;
        }
        loop {
            let Ok(frame) = tokio::time::timeout(Duration::from_millis(50), client.try_next()).await else {
                let history = history.lock().unwrap();
                if done.load(Ordering::Relaxed) && last >= history.highest() {
                    return;
                }
                continue;
            };
            let Some(frame) = frame else { break };
            if frame["id"] == "j" {
                assert!(frame["reset"].is_null(), "P1 P4: what {name} has seen up to {last} is gone: {frame}");
                // The room of the first join was not stored yet: its epoch counts only once there is an event.
                epoch = if frame["head"] == 0 { epoch } else { frame["epoch"].clone() };
            } else if frame["type"] == "message" {
                last = frame["seq"].as_i64().unwrap();
                history.lock().unwrap().see(&name, last, frame["message"].as_str().unwrap());
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p1_p2_p3_p4_no_acked_message_is_lost_or_doubled_when_the_hub_is_killed() {
    let mut hub = Hub::with(HubOptions::default().unlimited());
    let address: Address = Arc::new(Mutex::new(hub.address.to_string()));
    let history = Arc::new(Mutex::new(History::default()));
    let done = Arc::new(AtomicBool::new(false));
    let mut writers = tokio::task::JoinSet::new();
    for n in 0..WRITERS {
        writers.spawn(write(format!("w{n}"), Arc::clone(&address), Arc::clone(&history), Arc::clone(&done)));
    }
    let mut readers = tokio::task::JoinSet::new();
    for n in 0..READERS {
        readers.spawn(read(format!("r{n}"), Arc::clone(&address), Arc::clone(&history), Arc::clone(&done)));
    }
    for round in 0..ROUNDS {
        let before = history.lock().unwrap().acks();
        let wait = Duration::from_millis(rand::random_range(20..250));
        tokio::time::sleep(wait).await;
        // Each crash comes while messages are on their way, never before the first ack of its round.
        let start = std::time::Instant::now();
        while history.lock().unwrap().acks() <= before {
            assert!(start.elapsed() < PATIENCE, "round {round}: nobody is acked any more");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        hub.kill();
        hub.restart();
        *address.lock().unwrap() = hub.address.to_string();
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    done.store(true, Ordering::Relaxed);
    let all = async {
        while let Some(ended) = writers.join_next().await {
            ended.unwrap();
        }
        while let Some(ended) = readers.join_next().await {
            ended.unwrap();
        }
    };
    tokio::time::timeout(PATIENCE, all).await.expect("somebody never came to the end");
    let stored = hub.database().await.messages("lobby").await;
    let history = history.lock().unwrap();
    assert!(history.acks() > ROUNDS, "only {} acks", history.acks());
    history.check(&stored);
    println!("{ROUNDS} kills, {} acked, {} stored", history.acks(), stored.len());
}
