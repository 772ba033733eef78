//! Somebody got into Redis and knows its protocol, but not the hub's key. P12: whatever they publish, nobody sees anything
//! twice, out of order or in another room; what is not sealed is counted, and everything flows on.
//!
//! Seen to fail with the hub broken so (scripts/mutants): seals not looked at (P12: what the attacker says is delivered);
//! nodes believed that never heard of this one (P11, P12: ghosts are there, and tell what was told).

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::task::JoinSet;

use super::{Traffic, nodes, prefixed, typical, until};
use crate::support::{Attacker, Captured, Client, Hub, PATIENCE, Redis, token, unique};

fn refused(hub: &Hub) -> u64 {
    hub.api("root").get("/api/admin/stats").body["mirror"]["refused_total"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p12_nothing_that_an_attacker_publishes_is_delivered() {
    let prefix = unique();
    let mut attacker = Attacker::beside(Redis::shared().port(), &prefix).await;
    let hubs: [Hub; 2] = nodes(prefixed(&Redis::shared().url(), &prefix)).await;
    hubs[0].admin();
    let mut others = [hubs[0].member("other0", "other").await, hubs[1].member("other1", "other").await];
    let traffic = Traffic::start(&hubs, "lobby", Duration::from_millis(10)).await;
    for n in 1..=10 {
        others[0].say("other", &format!("said in other {n}")).await;
        hubs[1].api("other1").get("/api/rooms/other/presence");
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let captured = attacker.captured();
    let (lobby, other, all) = (attacker.channel("room:lobby"), attacker.channel("room:other"), attacker.channel("all"));
    let of = |wanted: &Vec<u8>| -> Captured { captured.iter().filter(|(at, _)| at == wanted).cloned().collect() };
    let heard = [&lobby, &other, &all].map(|channel| of(channel).len());
    assert!(heard[0] > 20 && heard[1] >= 10 && heard[2] >= 2, "the attacker hears little: {heard:?}");

    let forged = attacker.forged([&lobby, &other, &all], 1_500);
    let before = hubs.each_ref().map(refused);
    attacker.publish(&forged).await;
    let counted = |hub: &Hub, before: u64| refused(hub) - before;
    for (hub, before) in hubs.iter().zip(before) {
        let all = u64::try_from(forged.len()).unwrap();
        until("P12: what is not sealed is refused and counted", PATIENCE, async || counted(hub, before) >= all).await;
    }

    // What was sealed once, again and again, forwards and backwards.
    for round in 0..6 {
        let mut again: Captured = captured.iter().filter(|(_, payload)| !payload.is_empty()).cloned().collect();
        if round % 2 == 0 {
            again.reverse();
        }
        attacker.publish(&again).await;
    }
    let since = Instant::now();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let outcome = traffic.finish(&hubs[0]).await;
    outcome.hold_times("under attack");
    let across = typical(outcome.across(since, Instant::now()));
    assert!(across < Duration::from_millis(100), "P12: {across:?} to another node after the attack");
    for other in &mut others {
        for seq in 1..=10 {
            let event = other.message().await;
            let expected = json!(["other", seq, format!("said in other {seq}")]);
            assert_eq!(json!([event["room"], event["seq"], event["message"]]), expected, "P12 P3");
        }
        other.ask(json!({"type": "ping"})).await;
        assert!(!other.kept().any(|frame| frame["type"] == "message"), "P12: more than was said");
    }
}

/// Notices have no number by which a client could see that one comes twice, or late.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p12_notices_that_are_published_again_are_not_told_again() {
    let prefix = unique();
    let mut attacker = Attacker::beside(Redis::shared().port(), &prefix).await;
    let hubs: [Hub; 2] = nodes(prefixed(&Redis::shared().url(), &prefix)).await;
    let mut alice = hubs[1].client("alice").await;
    let owner = hubs[0].api("owner");
    owner.post("/api/rooms", &json!({"name": "club", "kind": "private"}));
    owner.put("/api/rooms/club/members/alice", &json!({}));
    alice.until(|frame| frame["type"] == "member_added").await;
    joined(&mut alice).await;
    let mut speaker = hubs[0].member("owner", "club").await;
    speaker.ask(json!({"type": "typing", "room": "club"})).await;
    alice.until(|frame| frame["type"] == "typing").await;
    let captured = attacker.captured();
    for _ in 0..3 {
        attacker.publish(&captured).await;
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    alice.ask(json!({"type": "ping"})).await;
    let told: Vec<_> = alice.kept().filter(|frame| frame["type"] != "hello").collect();
    assert!(told.is_empty(), "P12: told again: {told:?}");
}

/// Frames of a node that has ended, to one that started after that: it has never heard of it, nor of how far it counted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p11_p12_a_dead_node_s_frames_tell_a_new_one_nothing() {
    let prefix = unique();
    let mut attacker = Attacker::beside(Redis::shared().port(), &prefix).await;
    let options = prefixed(&Redis::shared().url(), &prefix);
    let [mut dead, living]: [Hub; 2] = nodes(options.clone()).await;
    let owner = dead.api("owner");
    owner.post("/api/rooms", &json!({"name": "club", "kind": "private"}));
    let mut alice = living.client("alice").await;
    for _ in 0..3 {
        owner.put("/api/rooms/club/members/alice", &json!({}));
        alice.until(|frame| frame["type"] == "member_added").await;
        owner.delete("/api/rooms/club/members/alice");
        alice.until(|frame| frame["type"] == "member_removed").await;
    }
    dead.kill();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let captured = attacker.captured();
    let [later]: [Hub; 1] = nodes(options).await;
    let mut alice = later.client("alice").await;
    let root = later.admin();
    for _ in 0..10 {
        attacker.publish(&captured).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    alice.ask(json!({"type": "ping"})).await;
    let told: Vec<_> = alice.kept().filter(|frame| frame["type"] != "hello").collect();
    assert!(told.is_empty(), "P12: told what was said before this node started: {told:?}");
    let count = || root.get("/api/admin/stats").body["cluster"]["nodes"].as_array().map(Vec::len);
    until("P11: the two that live", PATIENCE, async || count() == Some(2)).await;
    // And it does hear the living.
    assert!(living.api("owner").put("/api/rooms/club/members/alice", &json!({})).status < 300);
    alice.until(|frame| frame["type"] == "member_added").await;
}

async fn joined(client: &mut Client) {
    let join = json!({"type": "join", "room": "club"});
    while client.ask(join.clone()).await["type"] != "ok" {}
}

/// Questions whose askers are gone before they are answered: a node that does not answer is asked by each of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p5_p11_presence_works_on_after_many_askers_have_gone() {
    let hubs: [Hub; 2] = nodes(prefixed(&Redis::shared().url(), &unique())).await;
    let _bob = hubs[1].member("bob", "lobby").await;
    let mut alice = hubs[0].member("alice", "lobby").await;
    let count =
        async |client: &mut Client| client.ask(json!({"type": "presence", "room": "lobby"})).await["count"].clone();
    until("P11: both are seen", PATIENCE, async || count(&mut alice).await == 2).await;
    hubs[1].signal("STOP");
    let mut askers = JoinSet::new();
    for _ in 0..100 {
        let (url, token) = (hubs[0].url("/ws"), token("asker", "asker"));
        askers.spawn(async move {
            for _ in 0..11 {
                let mut asker = Client::open(&url, Some(&token)).await.unwrap();
                asker.send(&json!({"type": "presence", "room": "elsewhere"})).await;
                tokio::time::sleep(Duration::from_millis(100)).await;
                asker.cut();
            }
        });
    }
    askers.join_all().await;
    hubs[1].signal("CONT");
    until("P11: both are seen again", Duration::from_secs(10), async || count(&mut alice).await == 2).await;
}
