//! The bounds of what is between nodes, and of how many sockets may be opened at once when a node's clients come to the
//! others.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use serde_json::json;
use tokio_tungstenite::tungstenite::Error;

use super::{Traffic, nodes, options, until};
use crate::support::{Client, Hub, HubOptions, PATIENCE, Redis, token};

/// Next to nothing may wait to be published: what does not fit is read from the database.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p3_p5_frames_that_are_dropped_for_want_of_room_are_read_instead() {
    for (key, most) in [("limits.mirror_queue", 1), ("limits.mirror_queue_bytes", 200)] {
        let hubs: [Hub; 2] = nodes(options(&Redis::shared().url()).set(key, most)).await;
        let (mut burst, mut far) = (hubs[0].client("burst").await, hubs[1].client("far").await);
        let rooms: Vec<_> = (0..10).map(|n| format!("flood{n}")).collect();
        for room in &rooms {
            burst.join(room).await;
            far.join(room).await;
        }
        let traffic = Traffic::start(&hubs, "lobby", Duration::from_millis(2)).await;
        for n in 0..1_000 {
            burst.send(&json!({"type": "send", "room": rooms[n % 10], "message": n.to_string()})).await;
        }
        let mut last: HashMap<String, i64> = HashMap::new();
        for _ in 0..1_000 {
            let event = far.message().await;
            let last = last.entry(event["room"].as_str().unwrap().to_owned()).or_default();
            *last += 1;
            assert_eq!(event["seq"], *last, "P3: with {key} = {most}: {event}");
        }
        assert!(rooms.iter().all(|room| last[room] == 100), "P3: {last:?}");
        tokio::time::sleep(Duration::from_millis(700)).await;
        let outcome = traffic.finish(&hubs[0]).await;
        assert!(outcome.acks.len() > 50, "P5: little was said: {}", outcome.acks.len());
        let stats = hubs[0].admin().get("/api/admin/stats").body;
        assert!(stats["mirror"]["dropped_total"].as_u64().unwrap() > 0, "P5: nothing was dropped: {}", stats["mirror"]);
        until("P5: nothing waits", PATIENCE, async || {
            let mirror = hubs[0].api("root").get("/api/admin/stats").body["mirror"].clone();
            mirror["queue"] == 0 && mirror["inbox"] == 0
        })
        .await;
    }
}

/// A storm of clients: some are told to come a little later, and then get in.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p6_a_storm_of_handshakes_is_spread() {
    let options = HubOptions::default().unlimited();
    let hub = Hub::with(options.set("limits.handshakes_per_second", 5).set("limits.handshakes_burst", 5));
    let (token, start) = (token("alice", "alice"), Instant::now());
    let (mut open, mut refused) = (Vec::new(), 0);
    for _ in 0..15 {
        match Client::open(&hub.url("/ws"), Some(&token)).await {
            Ok(client) => open.push(client),
            Err(Error::Http(answer)) => {
                assert_eq!(answer.status(), 503, "P6");
                let after: u64 = answer.headers()["retry-after"].to_str().unwrap().parse().unwrap();
                assert!((1..=3).contains(&after), "P6: come back after {after} s");
                refused += 1;
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert!(refused > 0, "P6: nobody was refused");
    let allowed = 6 + start.elapsed().as_millis() / 200;
    assert!(
        open.len() >= 5 && u128::try_from(open.len()).unwrap() <= allowed,
        "P6: {} of 15 sockets were opened",
        open.len()
    );
    for client in &mut open {
        assert_eq!(client.next().await["type"], "hello");
    }
    // Each comes again until it is let in; requests are no sockets.
    assert_eq!(hub.api("alice").get("/api/me").status, 200);
    until("P6: all get in", PATIENCE, async || {
        refused -= usize::from(Client::open(&hub.url("/ws"), Some(&token)).await.is_ok());
        refused == 0
    })
    .await;
}
