//! Tokens against a running hub: those minted by the real simplejwt that its key judges, and the ways to bring them.

use serde_json::json;

use crate::support::{Api, Client, Hub, HubOptions, fixture_tokens, signed, token};

#[tokio::test]
async fn simplejwt_s_tokens_end_as_they_must() {
    let hub = Hub::start();
    let tokens = fixture_tokens();
    assert_eq!(tokens.len(), 14);
    for fixture in tokens {
        let (name, token) = (&fixture["name"], fixture["token"].as_str().unwrap());
        let mut client = Client::open(&hub.url("/ws"), None).await.unwrap();
        client.send(&json!({"type": "auth", "id": 1, "token": token})).await;
        let first = client.next().await;
        let mut plain = Client::plain(&hub, "", &token.replace(' ', "%20")).await;
        let http = Api::new(hub.address, Some(token.to_owned())).get("/api/me");
        if fixture["expect"] == "accept" {
            let id = match &fixture["claims"]["user_id"] {
                serde_json::Value::String(id) => id.clone(),
                number => number.to_string(),
            };
            let user = fixture["claims"]["username"].as_str().map_or(format!("user {id}"), str::to_owned);
            assert_eq!(
                (&first["type"], &first["user_id"], &first["user"]),
                (&json!("hello"), &json!(id), &json!(user))
            );
            assert_eq!(
                (http.status, &http.body),
                (200, &json!({"user_id": id, "user": user, "admin": false})),
                "{name}"
            );
            plain.send(&json!({"message": "in"})).await;
            assert_eq!(plain.next().await["user"], user);
        } else {
            assert_eq!((&first["code"], &first["id"]), (&json!("unauthenticated"), &json!(1)), "{name}");
            let code = if name == "expired_hs256" { 4001 } else { 4500 };
            assert_eq!(client.closed().await.unwrap().code, code, "{name}");
            assert_eq!(plain.closed().await.unwrap().code, code, "{name}");
            assert_eq!(http.refusal(), (401, "unauthenticated"), "{name}");
            assert_eq!(http.headers["www-authenticate"], "Bearer");
        }
    }
}

#[tokio::test]
async fn a_socket_without_a_token_is_small_and_short() {
    let hub = Hub::with(HubOptions::default().set("limits.auth_timeout", "600ms"));
    let mut silent = Client::open(&hub.url("/ws"), None).await.unwrap();
    assert_eq!(silent.closed().await.unwrap().code, 4503);
    let mut eager = Client::open(&hub.url("/ws"), None).await.unwrap();
    eager.send(&json!({"type": "join", "id": 5, "room": "lobby"})).await;
    let refused = eager.next().await;
    assert_eq!((&refused["code"], &refused["id"]), (&json!("unauthenticated"), &json!(5)));
    assert_eq!(eager.closed().await.unwrap().code, 4500);
    let mut long = Client::open(&hub.url("/ws"), None).await.unwrap();
    long.send(&json!({"type": "auth", "token": "x".repeat(9_000)})).await;
    assert_eq!(long.closed().await.unwrap().code, 1009);
    // Within the time the token may still come.
    let mut late = Client::open(&hub.url("/ws"), None).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    late.send(&json!({"type": "auth", "token": token("1", "a")})).await;
    assert_eq!(late.next().await["type"], "hello");
    tokio::time::sleep(std::time::Duration::from_millis(1_500)).await;
    assert_eq!(late.ask(json!({"type": "ping"})).await["type"], "pong", "the time without a token went on");
}

#[tokio::test]
async fn a_token_s_end_is_the_session_s_end() {
    let soon = || {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        signed(&json!({"user_id": "1", "exp": now + 1}))
    };
    let hub = Hub::start();
    let mut native = Client::native(&hub, &soon()).await;
    let mut plain = Client::plain(&hub, "", &soon()).await;
    let bye = native.until(|frame| frame["type"] == "bye").await;
    assert_eq!(
        (&bye["code"], &bye["reason"], &bye["reconnect"]),
        (&json!(4001), &json!("token_expired"), &json!(true))
    );
    assert_eq!(native.closed().await.unwrap().code, 4001);
    // The tutorial's client can't bring a new one: it stays for a while.
    plain.send(&json!({"message": "still here"})).await;
    assert_eq!(plain.next().await["message"], "still here");
    let strict = Hub::with(HubOptions::default().set("auth.plain_grace", "0s"));
    let mut plain = Client::plain(&strict, "", &soon()).await;
    assert_eq!(plain.closed().await.unwrap().code, 4001);
}

#[tokio::test]
async fn several_secrets_verify_and_unknown_users_may_be_shut_out() {
    let rotated = format!("a-new-secret-of-more-than-thirty-two-bytes,{}", crate::support::SECRET);
    let hub = Hub::with(HubOptions::default().set("auth.secret", rotated).set("auth.users", "known"));
    assert_eq!(hub.api("alice").get("/api/me").refusal(), (401, "unauthenticated"));
    let known =
        "INSERT INTO hub_user (external_id, name, created_at) VALUES ('alice', 'x', '2026-01-01 00:00:00+00:00')";
    hub.database().await.execute(known).await;
    assert_eq!(hub.api("alice").get("/api/me").status, 200);
    let stranger = signed(&json!({"user_id": "hub:alice", "exp": 4_000_000_000_u64}));
    assert_eq!(Api::new(hub.address, Some(stranger)).get("/api/me").status, 401);
}

#[tokio::test]
async fn hubbub_token_mints_one_that_the_running_hub_takes() {
    let hub = Hub::start();
    let output = hub.beside(&["token", "--user", "Zoë"]);
    assert!(output.status.success(), "{output:?}");
    let token = String::from_utf8(output.stdout).unwrap().trim().to_owned();
    let me = Api::new(hub.address, Some(token)).get("/api/me");
    assert_eq!(me.body, json!({"user_id": "hub:Zoë", "user": "Zoë", "admin": false}));
}

#[tokio::test]
async fn no_token_is_in_the_log_whatever_the_level() {
    let hub = Hub::with(HubOptions::default().set("log.level", "trace"));
    let token = token("1", "alice");
    let mut plain = Client::plain(&hub, "", &token).await;
    plain.send(&json!({"message": "a secret word: xyzzy"})).await;
    plain.next().await;
    Client::native(&hub, &token).await;
    Api::new(hub.address, Some(token.clone())).get("/api/me");
    let bad = format!("{}x", &token[..token.len() - 5]);
    Client::plain(&hub, "", &bad).await.closed().await;
    let log = hub.log();
    assert!(log.len() > 1_000, "the log is empty");
    let signature = token.rsplit('.').next().unwrap();
    assert!(!log.contains(signature) && !log.contains(&token[..30]), "a token is in the log");
    assert!(!log.contains("xyzzy"), "a message's text is in the log");
}
