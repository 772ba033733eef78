//! What one is told of one's rooms: membership, titles, read markers, who is typing, who is there.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Hub, HubOptions};

/// What a session was told and did not ask for, once everything has come.
async fn told(client: &mut crate::support::Client, kind: &str) -> Vec<Value> {
    client.ask(json!({"type": "ping"})).await;
    client.kept().filter(|frame| frame["type"] == kind).cloned().collect()
}

#[tokio::test]
async fn all_sessions_of_a_user_learn_what_becomes_of_their_membership() {
    let hub = Hub::start();
    let owner = hub.api("owner");
    let (mut one, mut other, mut stranger) =
        (hub.client("alice").await, hub.client("alice").await, hub.client("mallory").await);
    owner.post("/api/rooms", &json!({"name": "club", "kind": "private", "title": "The club"}));
    owner.put("/api/rooms/club/members/alice", &json!({}));
    owner.put("/api/rooms/club/members/alice", &json!({"role": "moderator"}));
    for session in [&mut one, &mut other] {
        for role in ["member", "moderator"] {
            let added = session.until(|frame| frame["type"] == "member_added").await;
            assert_eq!(added, json!({"type": "member_added", "room": "club", "user_id": "alice", "role": role}));
        }
    }
    one.join("club").await;
    let renamed = hub.api("alice").patch("/api/rooms/club", &json!({"title": "차 🍵"}));
    assert_eq!((renamed.status, &renamed.body["title"]), (200, &json!("차 🍵")));
    for session in [&mut one, &mut other] {
        let updated = session.until(|frame| frame["type"] == "room_updated").await;
        assert_eq!(updated, json!({"type": "room_updated", "room": "club", "title": "차 🍵"}));
    }
    owner.delete("/api/rooms/club/members/alice");
    for session in [&mut one, &mut other] {
        session.until(|frame| frame["type"] == "member_removed").await;
    }
    let heard: Vec<_> = stranger.kept().cloned().collect();
    assert_eq!(stranger.ask(json!({"type": "ping"})).await["type"], "pong");
    assert!(heard.is_empty() && stranger.kept().count() == 0, "P7: a stranger was told");
    assert_eq!(owner.patch("/api/rooms/club", &json!({"title": ""})).refusal(), (400, "bad_field"));
    assert_eq!(owner.patch("/api/rooms/club", &json!({"title": "x".repeat(201)})).refusal(), (400, "bad_field"));
}

#[tokio::test]
async fn unread_messages_are_counted_from_the_marker() {
    let hub = Hub::with(HubOptions::default().unlimited());
    let mut bob = hub.member("bob", "tea").await;
    for n in 1..=5 {
        bob.say("tea", &format!("message {n}")).await;
    }
    let alice = hub.api("alice");
    assert_eq!(alice.get("/api/me/rooms").body, json!({"rooms": [], "more": false}), "no member yet");
    let (mut one, mut other) = (hub.member("alice", "tea").await, hub.client("alice").await);
    let marked = one.ask(json!({"type": "read", "room": "tea", "seq": 2})).await;
    assert_eq!((&marked["type"], &marked["seq"]), (&json!("ok"), &json!(2)));
    assert_eq!(other.until(|frame| frame["type"] == "read").await, json!({"type": "read", "room": "tea", "seq": 2}));
    assert!(told(&mut one, "read").await.is_empty(), "told to the session that said it");
    let room = |api: &crate::support::Api| api.get("/api/me/rooms").body["rooms"][0].clone();
    let mine = room(&alice);
    assert_eq!(
        (&mine["name"], &mine["role"], &mine["head"], &mine["read_seq"], &mine["unread"]),
        (&json!("tea"), &json!("member"), &json!(5), &json!(2), &json!(3))
    );
    let (last, live) =
        (&mine["last_message"], bob.until(|frame| frame["seq"] == 5 && frame["type"] == "message").await);
    assert_eq!(last, &live);
    // Never back, never ahead of what is there.
    assert_eq!(alice.put("/api/rooms/tea/read", &json!({"seq": 1})).status, 200);
    assert_eq!(room(&alice)["read_seq"], 2);
    assert_eq!(alice.put("/api/rooms/tea/read", &json!({"seq": 1_000})).body, json!({"room": "tea", "seq": 5}));
    assert_eq!((&room(&alice)["read_seq"], &room(&alice)["unread"]), (&json!(5), &json!(0)));
    assert_eq!(other.until(|frame| frame["type"] == "read" && frame["seq"] == 5).await["room"], "tea");
    bob.say("tea", "message 6").await;
    assert_eq!(room(&alice)["unread"], 1);
    // Whoever is added has nothing unread yet.
    hub.api("bob").put("/api/rooms/tea/members/carol", &json!({}));
    assert_eq!((&room(&hub.api("carol"))["unread"], &room(&hub.api("carol"))["read_seq"]), (&json!(0), &json!(6)));
    for (answer, expected) in [
        (alice.put("/api/rooms/tea/read", &json!({"seq": -1})), (400, "bad_field")),
        (alice.put("/api/rooms/tea/read", &json!({})), (400, "bad_field")),
        (alice.put("/api/rooms/nothing/read", &json!({"seq": 1})), (404, "room_not_found")),
        (alice.get("/api/me/rooms?after=no%20name"), (400, "bad_field")),
        (alice.get("/api/me/rooms?limit=101"), (400, "bad_field")),
        (alice.get("/api/rooms?after=no%20name"), (400, "bad_field")),
        (alice.get("/api/rooms/tea/messages?after=x"), (400, "bad_field")),
    ] {
        assert_eq!(answer.refusal(), expected, "{:?}", answer.body);
    }
    for n in 0..3 {
        alice.post("/api/rooms", &json!({"name": format!("room-{n}")}));
    }
    let page = alice.get("/api/me/rooms?limit=2").body;
    assert_eq!((&page["rooms"][1]["name"], &page["more"]), (&json!("room-1"), &json!(true)));
    let rest = alice.get("/api/me/rooms?after=room-1").body;
    assert_eq!((&rest["rooms"][0]["name"], &rest["rooms"][1]["name"]), (&json!("room-2"), &json!("tea")));
}

/// Markers of a busy room share their commits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_markers_at_once_are_all_stored() {
    let hub = Hub::with(HubOptions::default().unlimited());
    let mut bob = hub.member("bob", "tea").await;
    for n in 1..=20 {
        bob.say("tea", &n.to_string()).await;
    }
    let mut readers = Vec::new();
    for n in 0..30 {
        readers.push(hub.client(&format!("reader-{n}")).await);
    }
    for reader in &mut readers {
        for seq in [7, 20, 3] {
            reader.send(&json!({"type": "read", "id": format!("r{seq}"), "room": "tea", "seq": seq})).await;
        }
    }
    for reader in &mut readers {
        for seq in [7, 20, 3] {
            assert_eq!(reader.until(|frame| frame["id"] == format!("r{seq}")).await["type"], "ok");
        }
    }
    let database = hub.database().await;
    assert_eq!(database.number("SELECT count(*) FROM hub_member WHERE read_seq = 20").await, 30);
}

#[tokio::test]
async fn typing_is_told_to_the_others_at_most_every_three_seconds() {
    let hub = Hub::with(HubOptions::default().set("limits.typing_members", 3));
    let (mut alice, mut again, mut bob) =
        (hub.member("alice", "tea").await, hub.member("alice", "tea").await, hub.member("bob", "tea").await);
    for _ in 0..5 {
        let answer = alice.ask(json!({"type": "typing", "room": "tea"})).await;
        assert_eq!((&answer["type"], &answer["room"]), (&json!("ok"), &json!("tea")));
    }
    let start = std::time::Instant::now();
    let heard = json!({"type": "typing", "room": "tea", "user_id": "alice", "user": "alice"});
    assert_eq!(bob.until(|frame| frame["type"] == "typing").await, heard);
    assert_eq!(told(&mut bob, "typing").await.len(), 0, "more than once within {:?}", start.elapsed());
    assert_eq!(told(&mut again, "typing").await.len(), 0, "told to oneself");
    bob.ask(json!({"type": "typing", "room": "tea"})).await;
    assert_eq!(alice.until(|frame| frame["type"] == "typing").await["user_id"], "bob", "each has a time of their own");
    tokio::time::sleep(Duration::from_secs(3).saturating_sub(start.elapsed())).await;
    alice.ask(json!({"type": "typing", "room": "tea"})).await;
    assert_eq!(bob.until(|frame| frame["type"] == "typing").await, heard);
    // Above the bound nobody is told any more.
    let mut carol = hub.member("carol", "tea").await;
    carol.ask(json!({"type": "typing", "room": "tea"})).await;
    assert_eq!(told(&mut bob, "typing").await.len(), 0, "in a room with too many sessions");
    assert_eq!(hub.client("dave").await.ask(json!({"type": "typing", "room": "tea"})).await["code"], "not_joined");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn presence_says_who_is_there_once_each() {
    let hub = Hub::with(HubOptions::default().unlimited().set("server.workers", 2));
    let mut alice = hub.member("alice", "tea").await;
    let _again = hub.member("alice", "tea").await;
    let bob = hub.member("bob", "tea").await;
    let _elsewhere = hub.member("carol", "coffee").await;
    let there = alice.ask(json!({"type": "presence", "room": "tea"})).await;
    let users = json!([{"user_id": "alice", "user": "alice"}, {"user_id": "bob", "user": "bob"}]);
    assert_eq!((&there["count"], &there["users"]), (&json!(2), &users));
    bob.cut();
    let start = std::time::Instant::now();
    while alice.ask(json!({"type": "presence", "room": "tea"})).await["count"] != 1 {
        assert!(start.elapsed() < crate::support::PATIENCE, "a session that is gone is still there");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    alice.ask(json!({"type": "leave", "room": "tea"})).await;
    assert_eq!(hub.api("dave").get("/api/rooms/tea/presence").body["count"], 1, "the other session of alice's");
    let mut crowd = Vec::new();
    for n in 0..105 {
        crowd.push(hub.member(&format!("user-{n:03}"), "tea").await);
    }
    let body = hub.api("dave").get("/api/rooms/tea/presence").body;
    assert_eq!((&body["count"], body["users"].as_array().unwrap().len()), (&json!(106), 100));
}
