//! A client that reads slowly costs itself only: it is told that it lagged, catches up by itself without a gap, or is
//! reset; the others in the room notice nothing.
//!
//! Seen to fail with the hub broken so (scripts/mutants): what did not fit into a queue forgotten (P4: gap).

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{Client, Hub, HubOptions, token};

/// Four kilobytes, so that buffers fill soon.
fn text() -> String {
    "x".repeat(3_900)
}

/// A writer that reads what it is sent: one that does not would be stopped by its own full socket.
async fn flood(hub: &Hub, count: usize) {
    let mut writer = hub.member("writer", "lobby").await;
    let text = text();
    for _ in 0..count {
        assert_eq!(writer.say("lobby", &text).await["type"], "ok");
    }
}

async fn cramped_member(hub: &Hub, user: &str) -> Client {
    let mut client = Client::cramped(&hub.url("/ws"), &token(user, user)).await;
    assert_eq!(client.next().await["type"], "hello");
    client.join("lobby").await;
    client
}

fn small_queues() -> HubOptions {
    let options = HubOptions::default().unlimited().set("limits.session_queue_frames", 8);
    options.set("limits.send_buffer_bytes", 16_384).set("limits.recent_events", 32).set("limits.stalled_timeout", "60s")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p4_a_session_that_lagged_catches_up_without_gap_or_repeat() {
    let hub = Hub::with(small_queues());
    let mut slow = cramped_member(&hub, "slow").await;
    let mut quick = hub.member("quick", "lobby").await;
    let reading = tokio::spawn(async move {
        for seq in 1..=300 {
            assert_eq!(quick.message().await["seq"], seq, "the quick one lagged");
        }
    });
    // 1.2 MB are not read: more than the sockets' buffers and the session's queue hold.
    flood(&hub, 300).await;
    reading.await.unwrap();
    let mut lagged = 0;
    for seq in 1..=300 {
        let frame = loop {
            let frame = slow.next().await;
            if frame["type"] == "lagged" {
                assert_eq!(frame, json!({"type": "lagged", "room": "lobby"}));
                lagged += 1;
                continue;
            }
            break frame;
        };
        assert_eq!(frame["seq"], seq, "P4: a gap or a repeat after lagging");
    }
    assert!(lagged > 0, "the slow one never lagged: the test floods too little");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_far_behind_is_a_reset_for_who_knows_it_and_a_close_for_who_does_not() {
    let hub = Hub::with(small_queues().set("limits.reset_after", 100));
    let mut native = cramped_member(&hub, "slow").await;
    let mut plain = Client::cramped(&hub.url("/ws/chat"), &token("plain", "plain")).await;
    plain.send(&json!({"message": "in"})).await;
    plain.next().await;
    flood(&hub, 300).await;
    let reset = native.until(|frame| frame["reset"] == true).await;
    assert_eq!((&reset["type"], &reset["room"]), (&json!("lagged"), &json!("lobby")));
    assert!(reset["epoch"].is_string());
    // From the head on it goes on live.
    let head = reset["head"].as_i64().unwrap();
    let mut writer = hub.member("writer", "lobby").await;
    writer.say("lobby", "live").await;
    let next = native.until(|frame| frame["seq"].as_i64() > Some(head)).await;
    assert_eq!(next["seq"], head + 1);
    assert_eq!(plain.closed().await.unwrap().code, 4002);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_takes_nothing_is_cut() {
    let hub = Hub::with(small_queues().set("limits.stalled_timeout", "1s"));
    let deaf = cramped_member(&hub, "deaf").await;
    flood(&hub, 300).await;
    let start = Instant::now();
    // The kernel gives up on it; the ready answer counts no sessions, so its log tells when it is gone at the stop.
    tokio::time::sleep(Duration::from_secs(4)).await;
    let mut hub = hub;
    hub.signal("TERM");
    assert!(hub.ended(Duration::from_secs(5)).success());
    assert!(hub.log().contains("sessions=0"), "the deaf client's session is still there after {:?}", start.elapsed());
    drop(deaf);
}

/// It takes a byte now and then, so that the kernel never gives up on it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p6_a_client_that_trickles_is_shut_and_nobody_else_notices() {
    let hub = Hub::with(small_queues().set("limits.stalled_timeout", "2s"));
    let trickling = cramped_member(&hub, "trickling").await;
    let mut quick = hub.member("quick", "lobby").await;
    let reading = tokio::spawn(async move {
        for seq in 1..=400 {
            assert_eq!(quick.message().await["seq"], seq, "the quick one lagged");
        }
    });
    let shut = tokio::spawn(trickling.until_shut(Duration::from_secs(10), Some(Duration::from_millis(50))));
    flood(&hub, 400).await;
    reading.await.unwrap();
    shut.await.unwrap();
    let admin = hub.admin();
    assert_eq!(admin.get("/api/admin/stats").body["sessions"]["evicted_total"], 1);
}
