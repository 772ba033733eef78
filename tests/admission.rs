//! Who may come in, and how often: origins, places for sockets, rates over HTTP and sockets, sign-ins and registrations;
//! and what browsers are told to beware of.

use serde_json::json;

use crate::support::{
    Answer, Api, Client, Hub, HubOptions,
    raw::{Raw, frame},
    token,
};

const APP: &str = "https://app.example.com";

/// The status line's code of an upgrade with this header.
async fn upgrade(hub: &Hub, lines: &[String]) -> u16 {
    let bearer = format!("Authorization: Bearer {}", token("alice", "alice"));
    let lines: Vec<_> = lines.iter().cloned().chain([bearer]).collect();
    let (_, answer) = Raw::ask(hub.address, "/ws", &lines, None).await;
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

fn header<'a>(answer: &'a Answer, name: &str) -> &'a str {
    answer.headers.get(name).map_or("", |value| value.to_str().unwrap())
}

#[tokio::test]
async fn only_the_configured_origins_open_sockets_and_read_answers() {
    let hub = Hub::with(HubOptions::default().set("server.origins", format!("{APP},http://localhost:3000")));
    for (origin, expected) in [
        (None, 101),
        (Some(APP), 101),
        (Some("http://localhost:3000"), 101),
        (Some("null"), 403),
        (Some(""), 403),
        (Some("http://app.example.com"), 403),
        (Some("https://app.example.com:8443"), 403),
        (Some("https://app.example.com.evil.example"), 403),
        (Some("https://evil-app.example.com"), 403),
        (Some("https://sub.app.example.com"), 403),
        (Some("https://APP.example.com"), 403),
    ] {
        let lines: Vec<_> = origin.iter().map(|origin| format!("Origin: {origin}")).collect();
        assert_eq!(upgrade(&hub, &lines).await, expected, "{origin:?}");
    }
    let two = [format!("Origin: {APP}"), "Origin: https://evil.example".to_owned()];
    assert_eq!(upgrade(&hub, &two).await, 403, "one good and one bad");
    let alice = hub.api("alice");
    let asked = |origin: &str| alice.with_headers("GET", "/api/me", &[("Origin", origin)]);
    assert_eq!(header(&asked(APP), "access-control-allow-origin"), APP);
    assert_eq!(header(&asked("https://evil.example"), "access-control-allow-origin"), "");
    let preflight = |origin: &str| {
        let headers = [
            ("Origin", origin),
            ("Access-Control-Request-Method", "PUT"),
            ("Access-Control-Request-Headers", "authorization,content-type"),
        ];
        Api::new(hub.address, None).with_headers("OPTIONS", "/api/rooms/lobby/members/alice", &headers)
    };
    let allowed = preflight(APP);
    assert_eq!((allowed.status, header(&allowed, "access-control-allow-origin")), (200, APP));
    assert!(header(&allowed, "access-control-allow-methods").contains("PUT"));
    assert_eq!(header(&allowed, "access-control-allow-credentials"), "");
    assert_eq!(header(&preflight("https://evil.example"), "access-control-allow-origin"), "");
    // Without a list any page may: nothing but a token says who it is.
    let open = Hub::start();
    assert_eq!(upgrade(&open, &["Origin: https://evil.example".to_owned()]).await, 101);
    let asked = open.api("alice").with_headers("GET", "/api/me", &[("Origin", "https://any.example")]);
    assert_eq!(header(&asked, "access-control-allow-origin"), "*");
}

#[tokio::test]
async fn requests_have_a_rate_and_say_what_is_left_of_it() {
    let options = HubOptions::default().set("limits.user_commands_per_second", 2);
    let hub = Hub::with(options.set("limits.user_commands_burst", 5));
    let alice = hub.api("alice");
    for left in (0..5).rev() {
        let answer = alice.get("/api/me");
        assert_eq!((answer.status, header(&answer, "x-ratelimit-limit")), (200, "5"));
        assert_eq!(header(&answer, "x-ratelimit-remaining"), left.to_string());
        assert!(["1", "2", "3"].contains(&header(&answer, "x-ratelimit-reset")));
    }
    let refused = alice.get("/api/me");
    assert_eq!(refused.refusal(), (429, "rate_limited"));
    assert_eq!((header(&refused, "retry-after"), header(&refused, "x-ratelimit-remaining")), ("1", "0"));
    assert!((1..=500).contains(&refused.body["error"]["retry_after_ms"].as_i64().unwrap()));
    // It is the user's, whatever the token or the way.
    let mut socket = Client::open(&hub.url("/ws"), Some(&token("alice", "alice"))).await.unwrap();
    assert_eq!(socket.next().await["type"], "hello");
    let refused = socket.ask(json!({"type": "ping"})).await;
    assert_eq!((&refused["code"], &refused["retryable"]), (&json!("rate_limited"), &json!(true)));
    assert_eq!(hub.api("bob").get("/api/me").status, 200, "another user notices nothing");
    let admin = hub.admin();
    for _ in 0..20 {
        let answer = admin.get("/api/me");
        assert_eq!((answer.status, header(&answer, "x-ratelimit-limit")), (200, ""), "admins are exempt");
    }
    tokio::time::sleep(std::time::Duration::from_millis(600)).await;
    assert_eq!(alice.get("/api/me").status, 200, "and after its time it goes on");
}

#[tokio::test]
async fn a_user_and_an_address_have_so_many_places() {
    let options = HubOptions::default().set("limits.sessions_per_user", 2).set("limits.sessions_per_address", 3);
    let hub = Hub::with(options.set("server.trusted_proxies", "127.0.0.0/8"));
    let open = async |user: &str, address: &str| {
        let lines =
            [format!("Authorization: Bearer {}", token(user, user)), format!("X-Forwarded-For: 1.1.1.1, {address}")];
        Raw::ask(hub.address, "/ws", &lines, None).await
    };
    let (mut first, _) = open("alice", "203.0.113.1").await;
    let (mut second, _) = open("alice", "203.0.113.1").await;
    // Workers race for a user's places: these two have theirs once they are greeted.
    for greeted in [&mut first, &mut second] {
        assert_eq!(greeted.next().await.map(|(opcode, _)| opcode), Some(1), "hello");
    }
    let (mut third, answer) = open("alice", "203.0.113.1").await;
    assert!(answer.starts_with("HTTP/1.1 101"), "a browser learns it over the socket");
    assert_eq!(third.close_code().await, Some(4504));
    third.send(&frame(0x88, b"")).await;
    assert!(third.ends_within(std::time::Duration::from_secs(5)).await);
    let busy = async || {
        let (_, answer) = open("bob", "203.0.113.1").await;
        answer.starts_with("HTTP/1.1 503") && answer.to_lowercase().contains("retry-after: 5")
    };
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    let (_bob, answer) = open("bob", "203.0.113.1").await;
    assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
    assert!(busy().await, "a fourth from one address");
    let (_, elsewhere) = open("bob", "203.0.113.2").await;
    assert!(elsewhere.starts_with("HTTP/1.1 101"), "{elsewhere}");
    // A place that is given back is free.
    first.send(&frame(0x88, b"")).await;
    assert!(first.ends_within(std::time::Duration::from_secs(5)).await);
    // The connection's end is seen a moment before its session's.
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    let (mut again, answer) = open("alice", "203.0.113.1").await;
    assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
    assert_eq!(again.next().await.map(|(opcode, _)| opcode), Some(1), "hello");
    let full = Hub::with(HubOptions::default().set("limits.sessions", 10));
    let mut sockets = Vec::new();
    for n in 0..10 {
        sockets.push(full.client(&format!("user{n}")).await);
    }
    assert_eq!(upgrade(&full, &[]).await, 503, "the node is full");
}

#[tokio::test]
async fn passwords_and_new_accounts_are_tried_at_a_bounded_rate() {
    let options = HubOptions::default().set("limits.sign_ins_per_minute", 3).set("limits.registrations_per_hour", 2);
    let hub = Hub::with(options.set("server.trusted_proxies", "127.0.0.0/8"));
    let nobody = Api::new(hub.address, None);
    let from = |address: &str, path: &str, name: &str, password: &str| {
        let body = json!({"username": name, "password": password}).to_string();
        nobody.post_from(address, path, &body)
    };
    for n in 0..2 {
        assert_eq!(from("203.0.113.1", "/api/register/", &format!("user{n}"), "correct horse").status, 201);
    }
    let throttled = from("203.0.113.1", "/api/register/", "user2", "correct horse");
    assert_eq!(throttled.status, 429);
    assert!(throttled.body["detail"].as_str().unwrap().starts_with("Request was throttled. Expected available in"));
    assert!(header(&throttled, "retry-after").parse::<u32>().unwrap() > 60);
    assert_eq!(from("203.0.113.2", "/api/register/", "user2", "correct horse").status, 201, "another address");
    let sign_in = |address: &str, name: &str, password: &str| from(address, "/api/token/", name, password).status;
    let wrong = [(); 4].map(|()| sign_in("203.0.113.1", "user0", "wrong horse"));
    assert_eq!(wrong, [401, 401, 401, 429]);
    assert_eq!(sign_in("203.0.113.1", "USER0", "correct horse"), 429, "whatever the password and the case");
    assert_eq!(sign_in("203.0.113.2", "user0", "correct horse"), 200, "nobody is shut out by somebody else");
    assert_eq!(sign_in("203.0.113.1", "user1", "correct horse"), 200, "another name");
    let names = (0..20).map(|n| sign_in("203.0.113.1", &format!("name{n}"), "wrong horse"));
    // Fifteen tries of an address, of which user0 had five and user1 one.
    assert_eq!(names.filter(|status| *status == 401).count(), 9);
}

#[test]
fn answers_tell_browsers_to_trust_as_little_as_possible() {
    let hub = Hub::start();
    let alice = hub.api("alice");
    for path in ["/", "/api/docs", "/assets/chat/app.js", "/api/me", "/api/nothing", "/health/live"] {
        let answer = alice.get(path);
        for (name, expected) in [
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("x-frame-options", "DENY"),
            ("cross-origin-resource-policy", "same-origin"),
        ] {
            assert_eq!(header(&answer, name), expected, "{path} {name}");
        }
        let policy = header(&answer, "content-security-policy");
        assert!(policy.starts_with("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{path}");
        assert!(!policy.contains("unsafe") && !policy.contains('*'), "{path}: {policy}");
        assert_eq!(header(&answer, "server"), "", "{path}: no banner");
    }
    assert_eq!(header(&alice.get("/api/me"), "cache-control"), "no-store");
    for path in ["/", "/api/docs"] {
        let page = alice.get(path);
        assert!(header(&page, "content-security-policy").contains("require-trusted-types-for 'script'"));
        assert_eq!(header(&page, "cross-origin-opener-policy"), "same-origin");
        let text = page.body.as_str().unwrap();
        assert!(!text.contains("<script>") && !text.contains(" style=") && !text.contains(" onclick="), "{path}");
    }
    let scripts = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/web")).unwrap();
    for script in scripts.map(|file| file.unwrap().path()).filter(|path| path.extension().is_some_and(|e| e == "js")) {
        let text = std::fs::read_to_string(&script).unwrap();
        for way in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"] {
            assert!(!text.contains(way), "{}: {way}", script.display());
        }
    }
    // Methods that only help to look around.
    let traced = alice.call("TRACE", "/api/me", None);
    assert_eq!(traced.refusal(), (404, "not_found"));
    assert!(!traced.body.to_string().contains("Bearer"), "it sends back what it got");
}
