//! Those that mean harm, among those that don't: clients that take nothing of what they ask for, clients that send as fast as they
//! can, and somebody who got into Redis. What that costs the others and the node is the scenario's to judge.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::json;
use tokio::{task::JoinSet, time::sleep};

use super::{flood::flood, net::Network};
use crate::support::{Attacker, Client, client::connections, raw::frame};

/// A client that takes nothing must be gone after this: `limits.stalled_timeout`, and what it takes to notice.
const STALLED: Duration = Duration::from_secs(25);

/// So many clients of a node are in a loud room, half of them taking nothing, half a byte now and then. Returns when all are shut
/// out, with the longest time that took.
pub async fn slow_readers(network: &Arc<Network>, node: usize, room: &str, count: usize) -> Duration {
    let (start, room) = (Instant::now(), format!("{room}.loud"));
    let url = |node| format!("ws://{}/ws", network.node(node));
    let mut slow = Vec::new();
    for n in 0..count {
        let mut client = Client::cramped(&url(node), &network.token(&format!("slow{n}"))).await;
        client.send(&json!({"type": "join", "room": room})).await;
        slow.push(client.into_stream());
    }
    let mut loud = Client::open(&url((node + 1) % network.nodes()), Some(&network.token("loud"))).await.unwrap();
    loud.join(&room).await;
    let (text, data) = ("x".repeat(3_900), "x".repeat(8_000));
    let speaking = async {
        loop {
            let said = loud.ask(json!({"type": "send", "room": room, "message": text, "data": data})).await;
            assert_eq!(said["type"], "ok", "{said}");
            loud.forget();
            sleep(Duration::from_millis(40)).await;
        }
    };
    let leaving = async {
        while !slow.is_empty() {
            assert!(start.elapsed() < STALLED, "P6: {} are still connected after {STALLED:?}", slow.len());
            sleep(Duration::from_millis(100)).await;
            let connected = connections();
            slow.retain(|(_, ends)| connected.contains(ends));
            for (stream, _) in slow.iter().step_by(2) {
                // A byte, where one is there.
                drop(stream.try_read(&mut [0]));
            }
        }
    };
    tokio::select! {
        () = leaving => {}
        () = speaking => {}
    }
    start.elapsed()
}

/// So many clients of a node send frames as fast as it takes them: pings, pongs, fragments that never end, and one of a GiB.
/// Each must be closed with its code. Gives the longest time that took.
pub async fn floods(network: &Arc<Network>, node: usize, count: usize) -> Duration {
    let kinds = [
        (frame(0x89, b"").repeat(100), 1008),
        (frame(0x8a, b"").repeat(100), 1008),
        (frame(0x81, b"{").repeat(100), 1008),
        ([frame(0x01, b""), frame(0x00, b"").repeat(1_000)].concat(), 1009),
    ];
    let (mut all, mut longest) = (JoinSet::new(), Duration::ZERO);
    for n in 0..count {
        let bearer = format!("Authorization: Bearer {}", network.token(&format!("flood{n}")));
        let (address, (bytes, code)) = (network.node(node), kinds[n % kinds.len()].clone());
        all.spawn(async move {
            let (closed, took) = flood(address, "/ws", &[bearer], &bytes).await;
            assert_eq!(closed, Some(code), "a flood was closed with another code");
            took
        });
    }
    while let Some(ended) = all.join_next().await {
        longest = longest.max(ended.unwrap());
    }
    longest
}

/// Twenty times a second: forged frames, and what was sealed once again, backwards and in any order.
pub async fn publish_forged(mut attacker: Attacker, room: String) {
    let channels =
        [format!("room:{room}"), "room:elsewhere".to_owned(), "all".to_owned()].map(|name| attacker.channel(&name));
    let [room, elsewhere, all] = &channels;
    loop {
        sleep(Duration::from_millis(50)).await;
        let mut again = attacker.captured();
        again.retain(|(_, payload)| !payload.is_empty());
        again.drain(..again.len().saturating_sub(200));
        if again.is_empty() {
            continue;
        }
        let forged = attacker.forged([room, elsewhere, all], 10);
        again.reverse();
        attacker.publish(&[forged, again].concat()).await;
    }
}
