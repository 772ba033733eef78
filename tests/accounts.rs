//! The hub's own accounts: registering, signing in, refreshing, in simplejwt's shapes; and what they must not be good for.

use std::time::{Duration, Instant};

use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Value, json};

use crate::support::{Api, Client, Hub, HubOptions, SECRET, signed};

fn nobody(hub: &Hub) -> Api {
    Api::new(hub.address, None)
}

fn register(hub: &Hub, name: &str) -> (String, String) {
    let made = nobody(hub).post("/api/register/", &json!({"username": name, "password": "correct horse"}));
    assert_eq!(made.status, 201, "{:?}", made.body);
    assert_eq!(made.body["user_id"], format!("hub:{name}"));
    let token = |kind: &str| made.body[kind].as_str().unwrap().to_owned();
    (token("access"), token("refresh"))
}

#[tokio::test]
async fn an_account_is_made_and_talks() {
    let hub = Hub::start();
    let (access, refresh) = register(&hub, "민지.k+1");
    let mut client = Client::native(&hub, &access).await;
    client.join("lobby").await;
    client.say("lobby", "hi").await;
    let message = client.message().await;
    assert_eq!((&message["user"], &message["user_id"]), (&json!("민지.k+1"), &json!("hub:민지.k+1")));
    let credentials = json!({"username": "민지.k+1", "password": "correct horse"});
    let signed_in = nobody(&hub).post("/api/token/", &credentials);
    assert_eq!(signed_in.status, 200);
    let fields: Vec<_> = signed_in.body.as_object().unwrap().keys().collect();
    assert_eq!(fields, ["access", "refresh"]);
    let renewed = nobody(&hub).post("/api/token/refresh/", &json!({"refresh": refresh}));
    assert_eq!(renewed.status, 200);
    let renewed = renewed.body["access"].as_str().unwrap().to_owned();
    assert_eq!(Api::new(hub.address, Some(renewed.clone())).get("/api/me").body["user"], "민지.k+1");
    // As a form, as simplejwt takes it too.
    let form = ("application/x-www-form-urlencoded", "username=%EB%AF%BC%EC%A7%80.k%2B1&password=correct+horse");
    assert_eq!(nobody(&hub).call("POST", "/api/token", Some(form)).status, 200);
    for (token, status) in [(&renewed, 200), (&refresh, 200), (&format!("{renewed}x"), 401), (&"x".to_owned(), 401)] {
        let verified = nobody(&hub).post("/api/token/verify/", &json!({"token": token}));
        assert_eq!(verified.status, status);
        let expected = json!({"detail": "Token is invalid", "code": "token_not_valid"});
        assert_eq!(verified.body, if status == 200 { json!({}) } else { expected });
    }
    // The password is nowhere as it is.
    let hash = hub.database().await.text("SELECT password_hash FROM hub_user WHERE password_hash IS NOT NULL").await;
    assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
    assert!(!hub.log().contains("correct horse") && !hub.log().contains(&hash));
}

#[tokio::test]
async fn bad_names_and_passwords_are_refused_field_by_field() {
    let hub = Hub::start();
    register(&hub, "alice");
    hub.beside(&["token", "--user", "operator"]);
    let taken = json!({"username": ["A user with that username already exists."]});
    let again = nobody(&hub).post("/api/register", &json!({"username": "alice", "password": "another horse"}));
    assert_eq!((again.status, again.body), (400, taken));
    let long = "x".repeat(10_000);
    for (body, fields) in [
        (json!({}), vec!["password", "username"]),
        (json!({"username": "", "password": ""}), vec!["password", "username"]),
        (json!({"username": "bob", "password": "short"}), vec!["password"]),
        (json!({"username": "bob", "password": "x".repeat(257)}), vec!["password"]),
        (json!({"username": "bob_bob_bob", "password": "Bob_bob_bob"}), vec!["password"]),
        (json!({"username": long, "password": "correct horse"}), vec!["username"]),
        (json!({"username": "a\u{7}b", "password": "correct horse"}), vec!["username"]),
        (json!({"username": "a b", "password": "correct horse"}), vec!["username"]),
        (json!({"username": "hub:alice", "password": "correct horse"}), vec!["username"]),
        (json!({"username": ["a"], "password": null}), vec!["password", "username"]),
    ] {
        let refused = nobody(&hub).post("/api/register", &body);
        let named: Vec<_> = refused.body.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!((refused.status, &named), (400, &fields), "{:?}", refused.body);
        assert!(refused.body.as_object().unwrap().values().all(|why| why[0].is_string()), "{:?}", refused.body);
    }
    let no_json = nobody(&hub).post_text("/api/register", "{");
    assert_eq!((no_json.status, no_json.body["detail"].is_string()), (400, true));
    assert_eq!(nobody(&hub).post_text("/api/token", &format!("\"{}\"", "x".repeat(70_000))).status, 413);
    // A name that only the operator gave a token to is nobody's to take.
    let operator = hub.beside(&["token", "--user", "operator"]);
    let token = String::from_utf8(operator.stdout).unwrap().trim().to_owned();
    assert_eq!(Api::new(hub.address, Some(token)).get("/api/me").status, 200);
    let stolen = nobody(&hub).post("/api/register", &json!({"username": "operator", "password": "correct horse"}));
    assert_eq!(stolen.status, 400);
    let closed = Hub::with(HubOptions::default().set("accounts.register", false));
    let refused = nobody(&closed).post("/api/register", &json!({"username": "bob", "password": "correct horse"}));
    assert_eq!((refused.status, &refused.body["code"]), (403, &json!("registration_closed")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_and_an_unknown_user_look_and_take_the_same() {
    let hub = Hub::with(HubOptions::default().unlimited());
    register(&hub, "alice");
    let attempt = |name: &str| {
        let start = Instant::now();
        let refused = nobody(&hub).post("/api/token/", &json!({"username": name, "password": "wrong horse"}));
        assert_eq!(refused.status, 401);
        assert_eq!(refused.body, json!({"detail": "No active account found with the given credentials"}));
        start.elapsed()
    };
    // One after the other, so that what else the machine does falls on all alike.
    let mut times = [const { Vec::new() }; 3];
    for _ in 0..15 {
        for (times, name) in times.iter_mut().zip(["alice", "nobody", "no such name"]) {
            times.push(attempt(name));
        }
    }
    let [known, unknown, odd] = times.map(|mut times| {
        times.sort();
        times[times.len() / 2]
    });
    // A hash takes tens of milliseconds; what is left out would show as most of it missing.
    for other in [unknown, odd] {
        let (short, long) = (known.min(other), known.max(other));
        assert!(long < short * 2, "a known user takes {known:?}, others {unknown:?} and {odd:?}");
    }
    assert!(known > Duration::from_millis(5), "no password was hashed in {known:?}");
}

#[tokio::test]
async fn own_tokens_and_the_app_s_don_t_mix() {
    let hub = Hub::start();
    let (access, refresh) = register(&hub, "alice");
    for token in [&access, &refresh] {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.validate_aud = false;
        let verified = jsonwebtoken::decode::<Value>(token, &DecodingKey::from_secret(SECRET.as_bytes()), &validation);
        assert!(verified.is_err(), "the app's key verifies a token of the hub's own");
        // And what is in it is signed with another key than it says: the header has no room for one.
        assert_eq!(jsonwebtoken::decode_header(token).unwrap().alg, Algorithm::HS256);
    }
    // A refresh token opens nothing, an access token refreshes nothing.
    assert_eq!(Api::new(hub.address, Some(refresh.clone())).get("/api/me").refusal(), (401, "unauthenticated"));
    assert_eq!(nobody(&hub).post("/api/token/refresh", &json!({"refresh": access})).status, 401);
    // The app's key can't sign for an account here, whatever its token says.
    for claims in [
        json!({"user_id": "hub:alice", "exp": 4_000_000_000_u64}),
        json!({"user_id": "hub:alice", "exp": 4_000_000_000_u64, "iss": "hubbub", "token_type": "access"}),
    ] {
        assert_eq!(Api::new(hub.address, Some(signed(&claims))).get("/api/me").refusal(), (401, "unauthenticated"));
    }
    let refresh_by_app =
        signed(&json!({"user_id": "hub:alice", "exp": 4_000_000_000_u64, "iss": "hubbub", "token_type": "refresh"}));
    assert_eq!(nobody(&hub).post("/api/token/refresh", &json!({"refresh": refresh_by_app})).status, 401);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lifetimes_come_from_the_config_and_an_end_is_an_end() {
    let options = HubOptions::default().set("accounts.access_lifetime", "1s").set("accounts.refresh_lifetime", "2s");
    let hub = Hub::with(options);
    let (access, refresh) = register(&hub, "alice");
    // 5 s of leeway.
    tokio::time::sleep(Duration::from_secs(8)).await;
    for (path, body) in
        [("/api/token/verify", json!({"token": access})), ("/api/token/refresh", json!({"refresh": refresh}))]
    {
        let refused = nobody(&hub).post(path, &body);
        let expected = json!({"detail": "Token is expired", "code": "token_not_valid"});
        assert_eq!((refused.status, refused.body), (401, expected), "{path}");
    }
}

/// Passwords are hashed on threads of their own: whoever floods sign-in is told `busy`, and nobody else waits.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_flood_of_sign_ins_is_bounded_and_holds_up_nobody() {
    let options = HubOptions::default().unlimited().set("server.workers", 1);
    let hub = Hub::with(options.set("limits.password_checks", 1).set("limits.password_queue", 4));
    let mut client = hub.member("alice", "lobby").await;
    let address = hub.address;
    let floods: Vec<_> = (0..24)
        .map(|n| {
            std::thread::spawn(move || {
                let api = Api::new(address, None);
                let body = json!({"username": format!("user{n}"), "password": "wrong horse"});
                (0..4).map(|_| api.post("/api/token", &body).status).collect::<Vec<_>>()
            })
        })
        .collect();
    let mut slowest = Duration::ZERO;
    while !floods.iter().all(std::thread::JoinHandle::is_finished) {
        let start = Instant::now();
        assert_eq!(client.say("lobby", "hi").await["type"], "ok");
        slowest = slowest.max(start.elapsed());
    }
    let answers: Vec<_> = floods.into_iter().flat_map(|flood| flood.join().unwrap()).collect();
    let busy = answers.iter().filter(|status| **status == 503).count();
    assert!(busy > 0 && answers.contains(&401), "{answers:?}");
    assert!(answers.iter().all(|status| [401, 503].contains(status)), "{answers:?}");
    assert!(slowest < Duration::from_millis(500), "a message waited {slowest:?} for passwords");
}
