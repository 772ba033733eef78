//! The native dialect over a real socket: hello, auth, join, leave, send, resume, history, ping.

use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use crate::support::{Client, Hub, HubOptions, token};

#[tokio::test]
async fn hello_says_who_one_is_and_what_holds() {
    let hub = Hub::start();
    let mut client = Client::open(&hub.url("/ws"), Some(&token("7", "민지"))).await.unwrap();
    let hello = client.next().await;
    assert_eq!(
        (&hello["user_id"], &hello["user"], &hello["protocol"]),
        (&json!("7"), &json!("민지"), &json!("hubbub.v1"))
    );
    assert_eq!(hello["ping_interval_ms"], 25_000);
    assert_eq!(hello["limits"]["message_chars"], 4_000);
    let left = hello["token_expires_in_ms"].as_i64().unwrap();
    assert!((3_500_000..=3_600_000).contains(&left), "{left}");
}

#[tokio::test]
async fn a_token_may_come_in_the_address_the_header_or_the_first_frame() {
    let hub = Hub::start();
    let token = token("1", "alice");
    let mut by_address = Client::open(&hub.url(&format!("/ws/?token={token}")), None).await.unwrap();
    let mut by_header = Client::open(&hub.url("/ws"), Some(&token)).await.unwrap();
    let mut by_frame = Client::open(&hub.url("/ws"), None).await.unwrap();
    by_frame.send(&json!({"type": "auth", "token": token})).await;
    // What follows the token at once is kept until that is judged.
    by_frame.send(&json!({"type": "ping", "id": "after"})).await;
    for client in [&mut by_address, &mut by_header, &mut by_frame] {
        let hello = client.next().await;
        assert_eq!((&hello["type"], &hello["user"]), (&json!("hello"), &json!("alice")));
    }
    assert_eq!(by_frame.next().await, json!({"type": "pong", "id": "after"}));
    let again = by_frame.ask(json!({"type": "auth", "token": token})).await;
    assert_eq!(again["code"], "forbidden");
}

#[tokio::test]
async fn a_message_reaches_everybody_in_the_room_and_nobody_else() {
    let hub = Hub::start();
    let mut alice = hub.member("alice", "lobby").await;
    let mut bob = hub.member("bob", "lobby").await;
    let mut carol = hub.member("carol", "kitchen").await;
    let command = json!({"type": "send", "room": "lobby", "message": "hi", "client_id": "c-1", "data": {"n": [1.50]}});
    let ack = alice.ask(command).await;
    assert_eq!((&ack["type"], &ack["room"], &ack["seq"]), (&json!("ok"), &json!("lobby"), &json!(1)));
    for client in [&mut alice, &mut bob] {
        assert_eq!(
            client.message().await,
            json!({"type": "message", "room": "lobby", "seq": 1, "user": "alice", "user_id": "alice", "message": "hi",
                   "timestamp": ack["timestamp"], "client_id": "c-1", "data": {"n": [1.50]}})
        );
    }
    carol.say("kitchen", "alone").await;
    assert_eq!(carol.message().await["message"], "alone");
    assert_eq!(carol.kept().count(), 0, "carol heard of another room");
}

#[tokio::test]
async fn commands_may_follow_each_other_without_waiting() {
    let hub = Hub::start();
    let mut client = hub.client("alice").await;
    client.send(&json!({"type": "join", "id": 1, "room": "lobby"})).await;
    client.send(&json!({"type": "send", "id": 2, "room": "lobby", "message": "one"})).await;
    client.send(&json!({"type": "send", "id": 3, "room": "lobby", "message": "two"})).await;
    client.send(&json!({"type": "leave", "id": 4, "room": "lobby"})).await;
    client.send(&json!({"type": "send", "id": 5, "room": "lobby", "message": "three"})).await;
    assert_eq!(client.until(|frame| frame["id"] == 1).await["head"], 0);
    assert_eq!(client.until(|frame| frame["id"] == 2).await["seq"], 1);
    assert_eq!(client.until(|frame| frame["id"] == 3).await["seq"], 2);
    assert_eq!(client.until(|frame| frame["id"] == 4).await["type"], "ok");
    assert_eq!(client.until(|frame| frame["id"] == 5).await["code"], "not_joined");
}

#[tokio::test]
async fn leaving_ends_the_room_s_events() {
    let hub = Hub::start();
    let mut alice = hub.member("alice", "lobby").await;
    let mut bob = hub.member("bob", "lobby").await;
    let left = bob.ask(json!({"type": "leave", "room": "lobby"})).await;
    assert_eq!((&left["type"], &left["room"]), (&json!("ok"), &json!("lobby")));
    assert_eq!(bob.ask(json!({"type": "leave", "room": "lobby"})).await["code"], "not_joined");
    alice.say("lobby", "gone?").await;
    alice.message().await;
    bob.join("kitchen").await;
    bob.say("kitchen", "x").await;
    assert_eq!(bob.message().await["room"], "kitchen");
    assert_eq!(bob.kept().count(), 0);
}

#[tokio::test]
async fn history_pages_both_ways_and_around() {
    let hub = Hub::with(HubOptions::default().unlimited());
    let mut client = hub.member("alice", "lobby").await;
    for n in 1..=30 {
        client.say("lobby", &format!("m{n}")).await;
    }
    let mut page = async |mut window: serde_json::Value| {
        window["type"] = json!("history");
        window["room"] = json!("lobby");
        let page = client.ask(window).await;
        let seqs: Vec<_> = page["messages"].as_array().unwrap().iter().map(|m| m["seq"].as_i64().unwrap()).collect();
        assert_eq!(page["head"], 30);
        (seqs, page["more"].as_bool().unwrap())
    };
    assert_eq!(page(json!({"limit": 3})).await, (vec![28, 29, 30], true));
    assert_eq!(page(json!({"after": 0, "limit": 2})).await, (vec![1, 2], true));
    assert_eq!(page(json!({"after": 28})).await, (vec![29, 30], false));
    assert_eq!(page(json!({"after": 99})).await, (vec![], false));
    assert_eq!(page(json!({"before": 3})).await, (vec![1, 2], false));
    assert_eq!(page(json!({"around": 10, "limit": 4})).await, (vec![8, 9, 10, 11], true));
}

#[tokio::test]
async fn resume_takes_many_rooms_each_from_its_cursor() {
    let hub = Hub::start();
    let mut alice = hub.member("alice", "a").await;
    let epoch = alice.join("b").await["epoch"].clone();
    for room in ["a", "a", "b", "b", "b"] {
        alice.say(room, "x").await;
    }
    let mut bob = hub.client("bob").await;
    let rooms =
        json!({"b": {"after": 1, "epoch": epoch}, "a": {"after": 2}, "c": {"after": 9}, "no way": {"after": 0}});
    let reply = bob.ask(json!({"type": "resume", "rooms": rooms})).await;
    assert_eq!((&reply["rooms"]["b"]["head"], &reply["rooms"]["b"]["replay"]), (&json!(3), &json!(2)));
    assert_eq!((&reply["rooms"]["a"]["head"], &reply["rooms"]["a"]["replay"]), (&json!(2), &json!(0)));
    assert_eq!((&reply["rooms"]["c"]["head"], &reply["rooms"]["c"]["reset"]), (&json!(0), &json!(true)));
    assert_eq!(reply["rooms"]["no way"]["error"]["code"], "bad_room_name");
    for seq in [2, 3] {
        let message = bob.message().await;
        assert_eq!((&message["room"], &message["seq"]), (&json!("b"), &json!(seq)));
    }
    alice.say("a", "live").await;
    assert_eq!(bob.message().await["seq"], 3);
}

#[tokio::test]
async fn whoever_makes_a_room_learns_of_it_on_all_sessions() {
    let hub = Hub::start();
    let (mut first, mut second) = (hub.client("alice").await, hub.client("alice").await);
    let mut other = hub.client("bob").await;
    assert_eq!(hub.api("alice").post("/api/rooms", &json!({"name": "club", "kind": "private"})).status, 201);
    for client in [&mut first, &mut second] {
        let added = client.until(|frame| frame["type"] == "member_added").await;
        assert_eq!(added, json!({"type": "member_added", "room": "club", "user_id": "alice", "role": "owner"}));
    }
    other.ask(json!({"type": "ping"})).await;
    assert_eq!(other.kept().count(), 0);
}

#[tokio::test]
async fn pings_are_answered_and_silence_ends_the_session() {
    let options = HubOptions::default().set("limits.heartbeat", "200ms").set("limits.silence", "1s");
    let hub = Hub::with(options);
    let mut client = hub.client("alice").await;
    assert_eq!(client.ask(json!({"type": "ping"})).await["type"], "pong");
    client.send_raw(Message::Ping("x".into())).await;
    client.send(&json!({"type": "pong"})).await;
    // tungstenite answers pings only while it is read: unread, the session is silent.
    tokio::time::sleep(std::time::Duration::from_millis(1_600)).await;
    let bye = client.until(|frame| frame["type"] == "bye").await;
    assert_eq!((&bye["code"], &bye["reason"], &bye["reconnect"]), (&json!(4003), &json!("no_heartbeat"), &json!(true)));
    assert_eq!(client.closed().await.unwrap().code, 4003);
    // Whoever answers pings stays.
    let mut alive = hub.client("alice").await;
    let waiting = tokio::time::timeout(std::time::Duration::from_millis(2_500), alive.closed()).await;
    assert!(waiting.is_err(), "an answering client was closed: {waiting:?}");
}

#[tokio::test]
async fn the_subprotocol_is_accepted_and_not_required() {
    use tokio_tungstenite::tungstenite::client::IntoClientRequest;
    let hub = Hub::start();
    let mut request = hub.url(&format!("/ws?token={}", token("1", "a"))).into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", "other, hubbub.v1".parse().unwrap());
    let (_, response) = tokio_tungstenite::connect_async(request).await.unwrap();
    assert_eq!(response.headers()["sec-websocket-protocol"], "hubbub.v1");
}
