//! P3, P4 and P7 where events are written past the sessions: rooms that are served in parts, members who leave and join again
//! meanwhile, readers that are slow by turns, events that are gathered, and how many writes all that takes.
//!
//! Seen to fail with the hub broken so (scripts/mutants): a place that is not taken back when its room is left (P7) or joined
//! anew (P3: a repeat), the member that takes a leaver's place not served (P4), frames written before those that wait (P3), events
//! left to sessions that have nothing to say or forgotten where they are too many to be held (P4), event and ack in two writes, a
//! room that never rests.

use std::{
    fs,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use serde_json::json;

use crate::support::{Client, Hub, HubOptions};

const MESSAGES: i64 = 200;

/// Reads to the last message; each must follow the one before.
async fn reads_all(mut client: Client, mut last: i64) -> Client {
    while last < MESSAGES {
        let seq = client.message().await["seq"].as_i64().unwrap();
        assert_eq!(seq, last + 1, "P3, P4: a gap or a repeat");
        last = seq;
    }
    client
}

/// Leaves and joins again, from where it was or from now on; nothing of the room may come in between.
async fn comes_and_goes(mut client: Client, n: usize) {
    let mut last = 0;
    while last < MESSAGES {
        for _ in 0..=n % 7 {
            if last == MESSAGES {
                return;
            }
            let seq = client.message().await["seq"].as_i64().unwrap();
            assert_eq!(seq, last + 1, "P3, P4: a gap or a repeat");
            last = seq;
        }
        if !n.is_multiple_of(3) {
            let left = client.ask(json!({"type": "leave", "room": "huge"})).await;
            assert_eq!(left["type"], "ok", "{left}");
            // What came before the answer was on its way.
            let before: Vec<_> = client.kept().filter(|frame| frame["type"] == "message").cloned().collect();
            last = before.last().map_or(last, |message| message["seq"].as_i64().unwrap());
            client.forget();
            tokio::time::sleep(Duration::from_millis(5)).await;
            let pong = client.ask(json!({"type": "ping"})).await;
            assert_eq!(pong["type"], "pong");
            assert!(client.kept().all(|frame| frame["type"] != "message"), "P7: of a room that was left");
        }
        // Where it was not left, this joins it anew while its events come.
        let joined = client.ask(json!({"type": "join", "room": "huge", "after": last})).await;
        assert_eq!(joined["type"], "ok", "{joined}");
        let before: Vec<i64> =
            client.kept().filter_map(|frame| frame["seq"].as_i64()).filter(|seq| *seq > last).collect();
        client.forget();
        assert!(before.iter().zip(last + 1..).all(|(seq, next)| *seq == next), "P3: {before:?} after {last}");
        if joined["replay"] == 0 && last < joined["head"].as_i64().unwrap() {
            last = joined["head"].as_i64().unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p3_p4_p7_a_huge_room_while_members_come_and_go() {
    let hub = Hub::with(HubOptions::default().unlimited().set("server.workers", 1));
    let member = |n: usize| {
        let hub = &hub;
        async move { hub.member(&format!("user-{n}"), "huge").await }
    };
    let mut members = Vec::new();
    for group in 0..14 {
        members.extend(join_all((group * 50..(group + 1) * 50).map(member)).await);
    }
    let mut sender = hub.member("sender", "huge").await;
    let reading = members.into_iter().enumerate().map(|(n, client)| {
        tokio::spawn(async move {
            // One in five stays away for a while again and again.
            if n.is_multiple_of(5) { comes_and_goes(client, n / 5).await } else { drop(reads_all(client, 0).await) }
        })
    });
    let reading: Vec<_> = reading.collect();
    for n in 0..MESSAGES {
        sender.say("huge", &n.to_string()).await;
    }
    for read in join_all(reading).await {
        read.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p3_p4_readers_that_are_slow_by_turns_and_a_worker_that_misses_deliveries() {
    let small =
        [("limits.send_buffer_bytes", "4608"), ("limits.dispatcher_queue", "1"), ("limits.batch_messages", "2")];
    let options = HubOptions::default().unlimited().set("server.workers", 1).set("limits.batch_interval", "0s");
    let hub = Hub::with(small.into_iter().fold(options, |options, (key, value)| options.set(key, value)));
    let mut slow = Vec::new();
    for n in 0..20 {
        let name = format!("slow-{n}");
        let mut client = Client::cramped(&hub.url("/ws"), &crate::support::token(&name, &name)).await;
        client.join("busy").await;
        slow.push(client);
    }
    let mut sender = hub.member("sender", "busy").await;
    let reading = slow.into_iter().enumerate().map(|(n, mut client)| {
        tokio::spawn(async move {
            for seq in 1..=MESSAGES {
                if seq % 4 == 0 {
                    // Its socket fills, and what was half written must come first.
                    tokio::time::sleep(Duration::from_micros(500 * u64::try_from(n).unwrap())).await;
                }
                assert_eq!(client.message().await["seq"], seq, "P3, P4: a gap, a repeat or another order");
            }
        })
    });
    let reading: Vec<_> = reading.collect();
    let text = "x".repeat(1_000);
    for n in 0..MESSAGES {
        sender.send(&json!({"type": "send", "id": n, "room": "busy", "message": text})).await;
        if n % 50 == 49 {
            sender.until(|frame| frame["id"] == n).await;
        }
    }
    for read in join_all(reading).await {
        read.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn within_the_flush_window_events_come_together_and_acks_at_once() {
    let hub = Hub::with(HubOptions::default().unlimited().set("limits.flush_window", "400ms"));
    let mut reader = hub.member("reader", "tea").await;
    let mut sender = hub.member("sender", "tea").await;
    let start = Instant::now();
    sender.say("tea", "0").await;
    assert_eq!(reader.message().await["message"], "0");
    assert!(start.elapsed() < Duration::from_millis(300), "the first waits: {:?}", start.elapsed());
    for n in 1..=5 {
        sender.say("tea", &n.to_string()).await;
    }
    assert!(start.elapsed() < Duration::from_millis(350), "acks wait: {:?}", start.elapsed());
    let mut came = Vec::new();
    for n in 1..=5 {
        let message = reader.message().await;
        assert_eq!((&message["message"], &message["seq"]), (&json!(n.to_string()), &json!(n + 1)), "P3");
        came.push(start.elapsed());
    }
    let (first, last) = (came[0], came[4]);
    assert!(first >= Duration::from_millis(380) && last - first < Duration::from_millis(100), "{came:?}");
    // After a pause the next one goes at once.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let start = Instant::now();
    sender.say("tea", "6").await;
    reader.message().await;
    assert!(start.elapsed() < Duration::from_millis(300), "{:?}", start.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p3_p4_more_events_than_are_held_come_while_they_are_gathered() {
    let options = HubOptions::default().unlimited().set("limits.flush_window", "20ms");
    let hub = Hub::with(options.set("limits.held_events", "8").set("limits.batch_messages", "16"));
    let mut readers = Vec::new();
    for n in 0..3 {
        readers.push(hub.member(&format!("reader-{n}"), "tea").await);
    }
    let mut sender = hub.member("sender", "tea").await;
    let reading: Vec<_> = readers.into_iter().map(|client| tokio::spawn(reads_all(client, 0))).collect();
    let mut sent = 0;
    for burst in (1..=20).cycle() {
        for n in sent..MESSAGES.min(sent + burst) {
            sender.send(&json!({"type": "send", "id": n, "room": "tea", "message": "x"})).await;
        }
        sent = MESSAGES.min(sent + burst);
        if sent == MESSAGES {
            break;
        }
        tokio::time::sleep(Duration::from_millis(u64::try_from(burst % 4).unwrap())).await;
    }
    for read in join_all(reading).await {
        read.unwrap();
    }
}

/// The writes of messages that say «marker» to clients, as strace sees them, while `what` is done to a hub with one worker.
async fn writes<F: Future<Output = ()>>(options: HubOptions, what: impl FnOnce(Hub) -> F) -> Vec<String> {
    let trace = tempfile::NamedTempFile::new().unwrap();
    let path = trace.path().to_str().unwrap();
    let strace = format!("strace -f -qq -s 600 -e trace=sendto,write,writev,sendmsg -e signal=none -o {path}");
    let strace: Vec<_> = strace.split(' ').collect();
    what(Hub::with(options.run_by(&strace).set("server.workers", 1))).await;
    fs::read_to_string(path)
        .unwrap()
        .lines()
        .filter(|line| line.contains(r#"\"message\":\"marker"#))
        .map(str::to_owned)
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_author_gets_event_and_ack_in_one_write() {
    let written = writes(HubOptions::default(), async |hub| {
        let mut sender = hub.member("sender", "tea").await;
        for n in 0..10 {
            sender.say("tea", &format!("marker {n}")).await;
        }
    })
    .await;
    let together = written.iter().filter(|line| line.contains(r#"\"type\":\"ok\""#)).count();
    assert_eq!((written.len(), together), (10, 10), "{written:#?}");
}

/// Under strace a write takes many times as long, so that the room needs more than its half of the worker.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_room_that_takes_all_of_its_worker_has_several_events_in_a_write() {
    const MEMBERS: usize = 100;
    let options =
        HubOptions::default().unlimited().set("limits.batch_messages", "1").set("limits.batch_interval", "0s");
    let written = writes(options, async |hub| {
        let members = join_all((0..MEMBERS).map(async |n| hub.member(&format!("user-{n}"), "tea").await)).await;
        let mut sender = hub.member("sender", "tea").await;
        let reading: Vec<_> = members.into_iter().map(|client| tokio::spawn(reads_all(client, 0))).collect();
        for n in 0..MESSAGES {
            sender.send(&json!({"type": "send", "id": n, "room": "tea", "message": format!("marker {n}")})).await;
        }
        for read in join_all(reading).await {
            read.unwrap();
        }
    })
    .await;
    let (writes, each) = (written.len(), 200 * MEMBERS);
    assert!((MEMBERS..each * 3 / 4).contains(&writes), "{writes} writes of {each} events");
}
