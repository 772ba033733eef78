//! The HTTP API against a running hub.

use serde_json::json;

use crate::support::{Api, Hub, HubOptions};

#[tokio::test]
async fn rooms_are_made_listed_and_looked_at() {
    let hub = Hub::start();
    let alice = hub.api("alice");
    let made = alice.post("/api/rooms/", &json!({"name": "tea", "title": "차 🍵"}));
    assert_eq!((made.status, &made.body["title"], &made.body["kind"]), (201, &json!("차 🍵"), &json!("public")));
    assert_eq!(alice.post("/api/rooms", &json!({"name": "tea"})).refusal(), (409, "room_exists"));
    for name in ["beer", "coffee"] {
        alice.post("/api/rooms", &json!({"name": name}));
    }
    let page = alice.get("/api/rooms?limit=2");
    let names: Vec<_> = page.body["rooms"].as_array().unwrap().iter().map(|room| room["name"].clone()).collect();
    assert_eq!((names, &page.body["more"]), (vec![json!("beer"), json!("coffee")], &json!(true)));
    let rest = hub.api("bob").get("/api/rooms?after=coffee");
    assert_eq!((&rest.body["rooms"][0]["name"], &rest.body["more"]), (&json!("tea"), &json!(false)));
    assert_eq!(alice.get("/api/rooms/tea").body, made.body);
    assert_eq!(alice.get("/api/rooms/nothing").refusal(), (404, "room_not_found"));
}

#[tokio::test]
async fn messages_are_sent_and_read() {
    let hub = Hub::start();
    let alice = hub.api("alice");
    let mut bob = hub.member("bob", "a@b.c,d~1").await;
    let path = "/api/rooms/a@b.c,d~1/messages";
    let sent = alice.post(path, &json!({"message": "hi", "client_id": "x", "data": [1]}));
    assert_eq!((sent.status, &sent.body["seq"], &sent.body["repeat"]), (201, &json!(1), &json!(false)));
    let again = alice.post(path, &json!({"message": "hi", "client_id": "x", "data": [1]}));
    assert_eq!((again.status, &again.body["seq"], &again.body["repeat"]), (200, &json!(1), &json!(true)));
    assert_eq!(alice.post(path, &json!({"message": "ho", "client_id": "x"})).refusal(), (409, "client_id_reused"));
    let live = bob.message().await;
    let page = alice.get(&format!("{path}?limit=1"));
    assert_eq!(page.body, json!({"messages": [live], "head": 1, "more": false}));
    assert_eq!(alice.get("/api/rooms/nobody/messages").body, json!({"messages": [], "head": 0, "more": false}));
}

#[tokio::test]
async fn bad_requests_are_answered_with_their_code() {
    let hub = Hub::start();
    let (alice, nobody) = (hub.api("alice"), Api::new(hub.address, None));
    let messages = "/api/rooms/lobby/messages";
    for (answer, expected) in [
        (nobody.get("/api/me"), (401, "unauthenticated")),
        (nobody.post(messages, &json!({"message": "x"})), (401, "unauthenticated")),
        (alice.get("/api/nothing"), (404, "not_found")),
        (alice.post("/api/me", &json!({})), (404, "not_found")),
        (alice.get(&format!("{messages}?limit=-1")), (400, "bad_field")),
        (alice.get(&format!("{messages}?limit=101")), (400, "bad_field")),
        (alice.get(&format!("{messages}?limit=99999999999999999999")), (400, "bad_field")),
        (alice.get(&format!("{messages}?after=-1")), (400, "bad_field")),
        (alice.get(&format!("{messages}?after=1&before=2")), (400, "bad_field")),
        (alice.get("/api/rooms/no%20room/messages"), (400, "bad_room_name")),
        (alice.post_text(messages, "{"), (400, "bad_json")),
        (alice.post_text(messages, "[]"), (400, "bad_json")),
        (alice.post(messages, &json!({"text": "x"})), (400, "bad_field")),
        (alice.post(messages, &json!({"message": " "})), (400, "empty")),
        (alice.post(messages, &json!({"message": "x".repeat(4_001)})), (413, "too_long")),
        (alice.post_text(messages, &format!(r#"{{"message":"{}"}}"#, "x".repeat(70_000))), (413, "too_long")),
        (alice.post_text("/api/rooms", &format!(r#"{{"name":"{}"}}"#, "x".repeat(70_000))), (413, "too_long")),
        (alice.post("/api/rooms", &json!({"name": "a b"})), (400, "bad_room_name")),
        (alice.post("/api/rooms", &json!({"name": "$x"})), (403, "forbidden")),
        (alice.post("/api/rooms", &json!({"title": "x"})), (400, "bad_field")),
        (alice.post("/api/rooms", &json!({"name": "x", "kind": "open"})), (400, "bad_field")),
        (alice.post("/api/rooms", &json!({"name": "x", "title": 5})), (400, "bad_field")),
        (alice.get("/api/rooms?limit=x"), (400, "bad_field")),
        (alice.post("/api/rooms", &json!({"name": "x", "title": "\u{7}"})), (400, "bad_field")),
        (alice.post_text("/api/rooms", "nonsense"), (400, "bad_json")),
        (alice.post_text("/api/rooms", r#"["x",null,null]"#), (400, "bad_json")),
    ] {
        assert_eq!(answer.refusal(), expected, "{:?}", answer.body);
        let names_it = expected.1 != "bad_field" || answer.body["error"]["message"].as_str().unwrap().contains('`');
        assert!(names_it, "which field? {:?}", answer.body);
    }
}

#[tokio::test]
async fn trying_names_of_rooms_is_counted_like_making_them() {
    let hub = Hub::with(HubOptions::default().set("limits.new_rooms_per_hour", 3).set("rooms.auto_create", false));
    hub.api("owner").post("/api/rooms", &json!({"name": "secret", "kind": "private"}));
    let mallory = hub.api("mallory");
    let tries: Vec<_> = (0..5).map(|_| mallory.post("/api/rooms", &json!({"name": "secret"})).status).collect();
    assert_eq!(tries, [409, 409, 409, 429, 429]);
    assert_eq!(mallory.post("/api/rooms", &json!({"name": "mine"})).refusal(), (429, "room_limit"));
}

#[tokio::test]
async fn whatever_can_be_got_has_a_head() {
    let hub = Hub::start();
    let nobody = Api::new(hub.address, None);
    for path in ["/", "/api/docs", "/api/openapi.json", "/assets/chat/app.js", "/health/live", "/health/ready"] {
        let head = nobody.call("HEAD", path, None);
        assert_eq!((head.status, head.body.as_str()), (200, Some("")), "{path}");
    }
    assert_eq!(hub.api("alice").call("HEAD", "/api/me", None).status, 200);
}

#[tokio::test]
async fn health_tells_whether_messages_can_be_stored() {
    let hub = Hub::with(HubOptions::default());
    let nobody = Api::new(hub.address, None);
    assert_eq!(nobody.get("/health/live").status, 200);
    let ready = nobody.get("/health/ready");
    assert_eq!((ready.status, &ready.body["status"]), (200, &json!("ready")));
}
