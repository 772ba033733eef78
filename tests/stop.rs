//! P10: a stop is clean. SIGTERM turns readiness to 503, tells every client to come back after a random delay, stores
//! what it took, and ends with 0 before its deadline, also with a client that takes nothing.
//!
//! Seen to fail with the hub broken so (scripts/mutants): sessions not told (P10: no bye); acks not waited for (P10: one
//! that never comes); no deadline (P10: held by one deaf client).

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::support::{Api, Client, Hub, HubOptions, token};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p10_a_stop_tells_everybody_and_loses_no_ack() {
    let options = HubOptions::default().unlimited().set("server.drain_wait", "700ms").set("server.drain_spread", "3s");
    let mut hub = Hub::with(options);
    let api = Api::new(hub.address, None);
    let mut clients = Vec::new();
    for n in 0..40 {
        clients.push(hub.member(&format!("user-{n}"), "lobby").await);
    }
    // It reads all the while: whoever takes nothing is cut, and reads no close frame.
    let mut plain = Client::plain(&hub, "", &token("plain", "plain")).await;
    let plain = tokio::spawn(async move { plain.closed().await });
    let mut unauthenticated = Client::open(&hub.url("/ws"), None).await.unwrap();
    hub.signal("TERM");
    tokio::time::sleep(Duration::from_millis(200)).await;
    let ready = api.get("/health/ready");
    assert_eq!((ready.status, &ready.body["status"]), (503, &json!("stopping")), "P10: readiness comes first");
    // While the balancer looks, all goes on.
    assert_eq!(clients[0].say("lobby", "while it waits").await["seq"], 1);
    let sending = clients.into_iter().enumerate().map(|(n, mut client)| {
        tokio::spawn(async move {
            let mut acked = HashSet::new();
            for counter in 0_u64.. {
                let text = format!("{n}-{counter}");
                let command = json!({"type": "send", "id": counter, "room": "lobby", "message": text});
                if !client.try_send(&command).await {
                    break;
                }
                let reply = loop {
                    match client.try_next().await {
                        None => break None,
                        Some(frame) if frame["type"] == "bye" || frame["id"] == counter => break Some(frame),
                        Some(_) => {}
                    }
                };
                match reply {
                    Some(frame) if frame["type"] == "ok" => {
                        acked.insert(text);
                    }
                    Some(bye) if bye["type"] == "bye" => {
                        assert_eq!((&bye["code"], &bye["reason"]), (&json!(4000), &json!("drain")), "P10");
                        assert_eq!(bye["reconnect"], true);
                        // What was on its way when the hub said goodbye may still be acked before the close.
                        let closed = client.closed().await;
                        let ack = client.kept().find(|frame| frame["id"] == counter && frame["type"] == "ok");
                        acked.extend(ack.map(|_| text));
                        assert_eq!(closed.map(|closed| closed.code), Some(4000), "P10: closed without its code");
                        return (acked, bye["after_ms"].as_u64());
                    }
                    other => panic!("P10: the socket ended without a bye: {other:?}"),
                }
            }
            panic!("P10: the socket ended without a bye");
        })
    });
    let sending: Vec<_> = sending.collect();
    let status = hub.ended(Duration::from_secs(10));
    assert_eq!(status.code(), Some(0), "P10: {status}");
    assert_eq!(plain.await.unwrap().unwrap().code, 4000);
    assert_eq!(unauthenticated.closed().await.unwrap().code, 4000);
    let (mut acked, mut delays) = (HashSet::new(), HashSet::new());
    for sent in sending {
        let (mine, delay) = sent.await.unwrap();
        acked.extend(mine);
        delays.insert(delay.unwrap());
    }
    assert!(delays.len() > 20 && delays.iter().all(|delay| *delay <= 3_000), "P10: no random delays: {delays:?}");
    assert!(acked.len() > 40, "only {} messages were sent meanwhile", acked.len());
    let stored: HashSet<_> = hub.database().await.messages("lobby").await.into_iter().map(|row| row.content).collect();
    let lost: Vec<_> = acked.difference(&stored).collect();
    assert!(lost.is_empty(), "P10 P1: acked and lost: {lost:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p10_a_client_that_takes_nothing_can_t_hold_the_stop() {
    let options =
        HubOptions::default().unlimited().set("server.stop_timeout", "4s").set("limits.stalled_timeout", "60s");
    let mut hub = Hub::with(options.set("limits.send_buffer_bytes", 16_384));
    let mut deaf = Client::cramped(&hub.url("/ws"), &token("deaf", "deaf")).await;
    deaf.next().await;
    deaf.join("lobby").await;
    let mut writer = hub.member("writer", "lobby").await;
    let text = "x".repeat(3_900);
    for _ in 0..150 {
        writer.say("lobby", &text).await;
    }
    let start = Instant::now();
    hub.signal("TERM");
    let status = hub.ended(Duration::from_secs(5));
    println!("ended after {:?}", start.elapsed());
    assert_eq!(status.code(), Some(0), "P10");
    assert_eq!(writer.closed().await.unwrap().code, 4000);
    drop(deaf);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p10_a_second_signal_ends_at_once_and_a_stop_without_clients_is_quick() {
    let mut quick = Hub::start();
    quick.signal("INT");
    assert_eq!(quick.ended(Duration::from_secs(2)).code(), Some(0));
    let mut waiting =
        Hub::with(HubOptions::default().set("server.drain_wait", "20s").set("server.stop_timeout", "30s"));
    waiting.signal("TERM");
    tokio::time::sleep(Duration::from_millis(200)).await;
    waiting.signal("TERM");
    assert_eq!(waiting.ended(Duration::from_secs(2)).code(), Some(0));
    assert!(waiting.log().contains("second signal"));
}

#[tokio::test]
async fn p10_no_socket_is_taken_once_sockets_are_closed() {
    let hub =
        Hub::with(HubOptions::default().unlimited().set("server.stop_timeout", "4s").set("limits.auth_timeout", "60s"));
    let database = hub.database().await;
    let mut client = hub.member("alice", "lobby").await;
    client.say("lobby", "before").await;
    // A message that can't be stored yet holds the stop open.
    database.lock().await;
    client.send(&json!({"type": "send", "id": "last", "room": "lobby", "message": "last"})).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    hub.signal("TERM");
    client.until(|frame| frame["type"] == "bye").await;
    let Err(tokio_tungstenite::tungstenite::Error::Http(response)) = Client::open(&hub.url("/ws"), None).await else {
        panic!("P10: a socket was taken while the hub stops");
    };
    assert_eq!((response.status().as_u16(), response.headers().contains_key("retry-after")), (503, true));
    database.unlock().await;
    assert_eq!(client.until(|frame| frame["id"] == "last").await["seq"], 2, "P10: what was taken is stored and acked");
    assert_eq!(client.closed().await.unwrap().code, 4000);
}
