//! What is not as it should be gets a clear answer with a code, and whatever stands beside it goes on.

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::support::{Client, Hub, HubOptions, token};

/// The session still works, and so does its neighbour.
async fn all_goes_on(session: &mut Client, neighbour: &mut Client) {
    let said = session.say("lobby", "still here").await;
    assert_eq!(said["type"], "ok", "{said}");
    let heard = neighbour.message().await;
    assert_eq!((&heard["message"], &heard["seq"]), (&json!("still here"), &said["seq"]));
    session.message().await;
}

#[tokio::test]
async fn a_bad_frame_is_answered_with_its_code() {
    let hub = Hub::with(HubOptions::default().unlimited());
    let mut session = hub.member("alice", "lobby").await;
    let mut neighbour = hub.member("bob", "lobby").await;
    let send = |message: Value| json!({"type": "send", "id": 9, "room": "lobby", "message": message}).to_string();
    let deep = format!(r#"{{"type":"send","id":9,"room":"lobby","data":{}1{}}}"#, "[".repeat(33), "]".repeat(33));
    let large = json!({"type": "send", "id": 9, "room": "lobby", "data": "x".repeat(8_191)}).to_string();
    let cases: Vec<(String, &str, bool)> = vec![
        ("hello".into(), "bad_json", false),
        ("[1]".into(), "bad_json", false),
        (r#"["ping",7,null,null,null,null,null,null,null,null,null,null,null]"#.into(), "bad_json", false),
        (r#"{"type":"resume","id":9,"rooms":{"a":[0,null]}}"#.into(), "bad_field", true),
        ("{".into(), "bad_json", false),
        (String::new(), "bad_json", false),
        (r#"{"type":"fly","id":9}"#.into(), "unknown_type", true),
        (r#"{"id":9}"#.into(), "bad_field", true),
        (r#"{"type":7,"id":9}"#.into(), "bad_field", true),
        (r#"{"type":"ping","id":[1]}"#.into(), "bad_field", false),
        (r#"{"type":"join","id":9}"#.into(), "bad_field", true),
        (r#"{"type":"join","id":9,"room":5}"#.into(), "bad_field", true),
        (r#"{"type":"join","id":9,"room":"lobby","after":-1}"#.into(), "bad_field", true),
        (r#"{"type":"join","id":9,"room":"lobby","after":"x"}"#.into(), "bad_field", true),
        (r#"{"type":"join","id":9,"room":"no room"}"#.into(), "bad_room_name", true),
        (json!({"type": "join", "id": 9, "room": "x".repeat(256)}).to_string(), "bad_room_name", true),
        (r#"{"type":"join","id":9,"room":"dm:a:b"}"#.into(), "forbidden", true),
        (r#"{"type":"send","id":9,"room":"lobby"}"#.into(), "bad_field", true),
        (send(json!(["hi"])), "bad_field", true),
        (send(json!("")), "empty", true),
        (send(json!(" \n\t\u{3000}")), "empty", true),
        (send(json!("a\0b")), "bad_field", true),
        (send(json!("한".repeat(4_001))), "too_long", true),
        (deep, "bad_field", true),
        (large, "too_long", true),
        (r#"{"type":"send","id":9,"room":"lobby","message":"x","client_id":"a b"}"#.into(), "bad_field", true),
        (r#"{"type":"send","id":9,"room":"elsewhere","message":"x"}"#.into(), "not_joined", true),
        (r#"{"type":"leave","id":9,"room":"elsewhere"}"#.into(), "not_joined", true),
        (r#"{"type":"history","id":9,"room":"lobby","limit":-1}"#.into(), "bad_field", true),
        (r#"{"type":"history","id":9,"room":"lobby","limit":1000000000000}"#.into(), "bad_field", true),
        (r#"{"type":"history","id":9,"room":"lobby","limit":0}"#.into(), "bad_field", true),
        (r#"{"type":"resume","id":9,"rooms":[]}"#.into(), "bad_field", true),
    ];
    for (frame, code, with_id) in cases {
        session.send_raw(Message::text(frame.clone())).await;
        let answer = session.until(|frame| frame["type"] == "error").await;
        assert_eq!(answer["code"], code, "{frame}: {answer}");
        assert_eq!(answer["id"] == 9, with_id, "{frame}: {answer}");
        assert_eq!(answer["retryable"], false);
        assert!(answer["message"].as_str().unwrap().len() > 5);
    }
    session.send_raw(Message::binary(vec![1, 2, 3])).await;
    assert_eq!(session.next().await["code"], "bad_json");
    all_goes_on(&mut session, &mut neighbour).await;
    // Exactly at the bounds all is well.
    let most = json!({"type": "send", "room": "lobby", "message": "한".repeat(4_000), "data": "x".repeat(8_190)});
    assert_eq!(session.ask(most).await["type"], "ok");
    assert_eq!(neighbour.message().await["message"].as_str().unwrap().chars().count(), 4_000);
}

#[tokio::test]
async fn a_bad_frame_ends_no_plain_session() {
    let hub = Hub::with(HubOptions::default().unlimited());
    let mut plain = Client::plain(&hub, "", &token("1", "alice")).await;
    let mut neighbour = hub.member("bob", "lobby").await;
    for (frame, code) in [
        ("hi", "bad_json"),
        ("7", "bad_json"),
        ("{}", "bad_field"),
        (r#"{"message":null}"#, "bad_field"),
        (r#"{"message":"  "}"#, "empty"),
        (r#"{"message":"\u0000"}"#, "bad_field"),
    ] {
        plain.send_raw(Message::text(frame)).await;
        let answer = plain.next().await;
        assert_eq!(answer["error"]["code"], code, "{frame}");
        assert!(answer.get("message").is_none() && answer.get("user").is_none());
    }
    plain.send_raw(Message::binary(vec![0])).await;
    assert_eq!(plain.next().await["error"]["code"], "bad_json");
    plain.send(&json!({"message": "still here"})).await;
    assert_eq!(neighbour.message().await["message"], "still here");
}

#[tokio::test]
async fn a_cursor_from_the_future_or_of_another_history_is_reset() {
    let hub = Hub::start();
    let mut client = hub.member("alice", "lobby").await;
    client.say("lobby", "one").await;
    let future = client.ask(json!({"type": "join", "room": "lobby", "after": 7})).await;
    assert_eq!((&future["reset"], &future["head"]), (&json!(true), &json!(1)));
    let other = client.ask(json!({"type": "join", "room": "lobby", "after": 0, "epoch": "zzzz"})).await;
    assert_eq!((&other["reset"], &other["replay"]), (&json!(true), &Value::Null));
    let page = hub.api("alice").get("/api/rooms/lobby/messages?after=7");
    assert_eq!((page.status, page.body), (200, json!({"messages": [], "head": 1, "more": false})));
}

#[tokio::test]
async fn a_reused_client_id_loses_nothing_silently() {
    let hub = Hub::start();
    let mut client = hub.member("alice", "lobby").await;
    let mut send = async |text: &str, data: Value| {
        client.ask(json!({"type": "send", "room": "lobby", "message": text, "client_id": "same", "data": data})).await
    };
    let first = send("one", json!(1)).await;
    assert_eq!(send("two", json!(1)).await["code"], "client_id_reused");
    assert_eq!(send("one", json!(2)).await["code"], "client_id_reused");
    let again = send("one", json!(1)).await;
    assert_eq!(
        (&again["seq"], &again["timestamp"], &again["repeat"]),
        (&first["seq"], &first["timestamp"], &json!(true))
    );
    // The same id from somebody else, or in another room, is another message.
    let mut bob = hub.member("bob", "lobby").await;
    let other = bob.ask(json!({"type": "send", "room": "lobby", "message": "two", "client_id": "same"})).await;
    assert_eq!(other["seq"], 2);
}

#[tokio::test]
async fn rooms_that_may_not_be_known_of_look_like_none() {
    let hub = Hub::with(HubOptions::default().set("rooms.auto_create", false));
    let (alice, bob) = (hub.api("alice"), hub.api("bob"));
    assert_eq!(alice.post("/api/rooms", &json!({"name": "secret", "kind": "private"})).status, 201);
    let mut owner = hub.member("alice", "secret").await;
    owner.say("secret", "psst").await;
    let mut stranger = hub.client("bob").await;
    let mut answers = Vec::new();
    for room in ["secret", "nothing"] {
        answers.push(stranger.ask(json!({"type": "join", "room": room})).await["code"].clone());
        answers.push(stranger.ask(json!({"type": "history", "room": room})).await["code"].clone());
        let resumed = stranger.ask(json!({"type": "resume", "rooms": {room: {"after": 0}}})).await;
        answers.push(resumed["rooms"][room]["error"]["code"].clone());
        for answer in [
            bob.get(&format!("/api/rooms/{room}")),
            bob.get(&format!("/api/rooms/{room}/messages")),
            bob.post(&format!("/api/rooms/{room}/messages"), &json!({"message": "x"})),
        ] {
            assert_eq!(answer.status, 404);
            answers.push(answer.body["error"]["code"].clone());
        }
    }
    assert!(answers.iter().all(|code| code == "room_not_found"), "{answers:?}");
    assert_eq!(bob.get("/api/rooms").body["rooms"], json!([]));
    assert_eq!(alice.get("/api/rooms").body["rooms"][0]["name"], "secret");
    // Where rooms appear by themselves their names are no secret, but their insides are.
    let open = Hub::start();
    assert_eq!(open.api("alice").post("/api/rooms", &json!({"name": "secret", "kind": "private"})).status, 201);
    assert_eq!(open.client("bob").await.ask(json!({"type": "join", "room": "secret"})).await["code"], "forbidden");
    assert_eq!(open.api("bob").get("/api/rooms/secret/messages").refusal(), (403, "forbidden"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_slips_into_a_private_room_while_it_is_being_made() {
    let hub = Hub::start();
    let mut bob = hub.client("bob").await;
    hub.client("alice").await;
    let database = hub.database().await;
    database.lock().await;
    let api = hub.api("alice");
    let making =
        tokio::task::spawn_blocking(move || api.post("/api/rooms", &json!({"name": "club", "kind": "private"})));
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert_eq!(bob.ask(json!({"type": "join", "room": "club"})).await["code"], "forbidden");
    database.unlock().await;
    assert_eq!(making.await.unwrap().status, 201);
    assert_eq!(bob.ask(json!({"type": "join", "room": "club"})).await["code"], "forbidden");
}

#[tokio::test]
async fn rooms_that_could_not_be_made_are_not_counted() {
    let options = HubOptions::default().set("limits.new_rooms_per_hour", 1).set("database.read_timeout", "300ms");
    let hub = Hub::with(options.set("database.write_timeout", "300ms"));
    let mut alice = hub.member("alice", "tea").await;
    let database = hub.database().await;
    database.lock().await;
    for _ in 0..3 {
        assert_eq!(alice.say("tea", "hi").await["code"], "unavailable");
    }
    database.unlock().await;
    assert_eq!(alice.say("tea", "hi").await["seq"], 1);
}

#[tokio::test]
async fn a_plain_session_that_can_t_join_is_closed() {
    let hub = Hub::with(HubOptions::default().set("rooms.auto_create", false));
    let mut plain = Client::plain(&hub, "", &token("1", "alice")).await;
    assert_eq!(plain.next().await["error"]["code"], "room_not_found");
    assert_eq!(plain.closed().await.unwrap().code, 1008);
}

#[tokio::test]
async fn too_much_is_refused_with_a_time_and_in_the_end_closed() {
    let options = HubOptions::default().set("limits.commands_per_second", 5).set("limits.commands_burst", 10);
    let hub = Hub::with(options.set("limits.rooms_per_session", 2).set("limits.new_rooms_per_hour", 1));
    let mut client = hub.member("alice", "a").await;
    client.join("b").await;
    assert_eq!(client.ask(json!({"type": "join", "room": "c"})).await["code"], "room_limit");
    client.join("a").await;
    assert_eq!(client.say("a", "makes a room").await["type"], "ok");
    let limited = client.say("b", "makes another").await;
    assert_eq!(limited["code"], "room_limit");
    assert!(limited["retry_after_ms"].as_i64().unwrap() > 3_000_000);
    for _ in 0..20 {
        client.send(&json!({"type": "ping", "id": "p"})).await;
    }
    let refused = client.until(|frame| frame["code"] == "rate_limited").await;
    assert!(
        refused["id"] == "p" && refused["retryable"] == true && refused["retry_after_ms"].as_i64().unwrap() <= 200,
        "{refused}"
    );
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    assert_eq!(client.ask(json!({"type": "ping"})).await["type"], "pong");
    let mut flooding = hub.client("mallory").await;
    for _ in 0..500 {
        if !flooding.try_send(&json!({"type": "ping"})).await {
            break;
        }
    }
    assert_eq!(flooding.closed().await.unwrap().code, 1008);
    // A resume counts each of its rooms: more than a burst is possible, and paid for afterwards.
    let mut resuming = hub.client("bob").await;
    let rooms: serde_json::Map<_, _> = (0..20).map(|n| (format!("r{n}"), json!({"after": 0}))).collect();
    assert_eq!(resuming.ask(json!({"type": "resume", "rooms": rooms})).await["type"], "ok");
    let after = resuming.ask(json!({"type": "ping"})).await;
    assert_eq!(after["code"], "rate_limited");
    assert!(after["retry_after_ms"].as_i64().unwrap() > 1_500, "{after}");
}

#[tokio::test]
async fn a_frame_that_breaks_the_protocol_closes_with_its_code() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let hub = Hub::start();
    let mut neighbour = hub.member("bob", "lobby").await;
    let oversized = [vec![0x81, 0xff], 70_000_u64.to_be_bytes().to_vec(), vec![0; 4 + 70_000]].concat();
    let cases: [(&str, Vec<u8>, u16); 6] = [
        ("text that is not UTF-8", vec![0x81, 0x82, 0, 0, 0, 0, 0xff, 0xff], 1007),
        ("an unmasked frame", vec![0x81, 0x01, b'x'], 1002),
        ("a reserved bit", vec![0xc1, 0x80, 0, 0, 0, 0], 1002),
        ("a reserved opcode", vec![0x83, 0x80, 0, 0, 0, 0], 1002),
        ("a frame of 70,000 bytes", oversized, 1009),
        ("17 fragments", [vec![0x01, 0x80, 0, 0, 0, 0], [0x00, 0x80, 0, 0, 0, 0].repeat(17)].concat(), 1009),
    ];
    for (what, bytes, code) in cases {
        let mut socket = tokio::net::TcpStream::connect(hub.address).await.unwrap();
        let request = format!(
            "GET /ws?token={} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
            token("1", "alice")
        );
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut seen = vec![0; 16_384];
        let mut filled = 0;
        while !String::from_utf8_lossy(&seen[..filled]).contains("hello") {
            filled += socket.read(&mut seen[filled..]).await.unwrap();
        }
        // Cut off while it is being written is as good as read.
        drop(socket.write_all(&bytes).await);
        let mut rest = Vec::new();
        drop(tokio::time::timeout(std::time::Duration::from_secs(5), socket.read_to_end(&mut rest)).await);
        let close = rest.windows(4).find(|window| window[0] == 0x88).map(|f| u16::from_be_bytes([f[2], f[3]]));
        assert_eq!(close, Some(code), "{what}");
    }
    // Within the bounds, fragments make a message, also with a ping between them.
    neighbour.say("lobby", "all well").await;
    assert_eq!(neighbour.message().await["message"], "all well");
}
