//! The bounds of what is between nodes, and of how many sockets may be opened at once when a node's clients come to the
//! others.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio_tungstenite::tungstenite::Error;

use super::{Traffic, nodes, options, until};
use crate::support::{Client, Hub, HubOptions, PATIENCE, Redis, token};

/// Next to nothing may wait to be published: what does not fit is read from the database.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p3_p5_frames_that_are_dropped_for_want_of_room_are_read_instead() {
    for (key, most) in [("limits.mirror_queue", 1), ("limits.mirror_queue_bytes", 200)] {
        let hubs: [Hub; 2] = nodes(options(&Redis::shared().url()).set(key, most)).await;
        let mut burst = hubs[0].member("burst", "flood").await;
        let traffic = Traffic::start(&hubs, "lobby", Duration::ZERO).await;
        let mut far = hubs[1].member("far", "flood").await;
        for n in 0..500 {
            burst.send(&json!({"type": "send", "room": "flood", "message": n.to_string()})).await;
        }
        for seq in 1..=500 {
            assert_eq!(far.message().await["seq"], seq, "P3: with {key} = {most}");
        }
        let outcome = traffic.finish(&hubs[0]).await;
        assert!(outcome.acks.len() > 10, "P5: little was said: {}", outcome.acks.len());
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
    let allowed = 6 + start.elapsed().as_secs() * 5 + 5 * u64::from(start.elapsed().subsec_millis()) / 1_000;
    assert!(open.len() >= 5 && open.len() as u64 <= allowed, "P6: {} of 15 sockets were opened", open.len());
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
