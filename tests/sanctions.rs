//! P7, P8: whoever is disabled, revoked or banned is out within a second, on open sockets too, also on one that takes
//! nothing; and comes in by no gap between a sign-in and the act.
//!
//! Seen to fail with the hub broken so (scripts/mutants): sessions not held against the sanctions when they register (P8:
//! one that signed in meanwhile stays); room bans not judged in public rooms (P7).

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Api, Client, Hub, HubOptions, SECRET, on_postgres, signed, token, unique};

fn seconds_from_now(seconds: i64) -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    i64::try_from(now).unwrap() + seconds
}

/// A token that says when it was issued, and which one it is.
fn dated(user: &str, issued_in: i64, jti: &str) -> String {
    let (iat, exp) = (seconds_from_now(issued_in), seconds_from_now(3_600));
    signed(&json!({"token_type": "access", "user_id": user, "username": user, "iat": iat, "exp": exp, "jti": jti}))
}

/// Waits for the close, which must have this code and come within a second of the act.
async fn closed_with(client: &mut Client, code: u16, since: Instant) {
    assert_eq!(client.closed().await.map(|closed| closed.code), Some(code));
    assert!(since.elapsed() < Duration::from_secs(1), "P8: felt only after {:?}", since.elapsed());
}

fn acts(admin: &Api) -> Vec<String> {
    let audit = admin.get("/api/admin/audit?limit=100").body;
    let acts = audit["acts"].as_array().unwrap();
    acts.iter().map(|act| format!("{} {} {}", act["actor"], act["action"], act["user_id"]).replace('"', "")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p8_a_disabled_user_is_out_within_a_second_and_stays_out() {
    let mut hub = Hub::with(HubOptions::default().unlimited().set("server.workers", 2));
    let admin = hub.admin();
    let mut sessions = Vec::new();
    for _ in 0..6 {
        sessions.push(hub.member("eve", "lobby").await);
    }
    sessions.push(Client::plain(&hub, "", &token("eve", "eve")).await);
    let since = Instant::now();
    let done = admin.post("/api/admin/users/eve/disable", &json!({"reason": "spam"}));
    assert_eq!((done.status, &done.body), (200, &json!({"user_id": "eve", "disabled": true})));
    for session in &mut sessions {
        closed_with(session, 4501, since).await;
    }
    let refused = |hub: &Hub| hub.api("eve").post("/api/rooms/lobby/messages", &json!({"message": "hi"}));
    assert_eq!(refused(&hub).refusal(), (403, "forbidden"));
    hub.kill();
    hub.restart();
    assert_eq!(refused(&hub).refusal(), (403, "forbidden"), "after a restart");
    let mut again = Client::open(&hub.url("/ws"), Some(&token("eve", "eve"))).await.unwrap();
    assert_eq!(again.closed().await.unwrap().code, 4501);
    let admin = hub.api("root");
    assert_eq!(
        admin.post("/api/admin/users/eve/enable", &json!({})).body,
        json!({"user_id": "eve", "disabled": false})
    );
    hub.member("eve", "lobby").await;
    assert_eq!(acts(&admin), ["root enable eve", "root disable eve", "cli make_admin root"]);
    assert_eq!(admin.get("/api/admin/audit?limit=2").body["acts"][1]["detail"], json!({"reason": "spam"}));
    // What an admin may not do, and who is none.
    assert_eq!(admin.post("/api/admin/users/root/disable", &json!({})).refusal(), (403, "forbidden"));
    assert_eq!(admin.post("/api/admin/users/hub:nobody/disable", &json!({})).refusal(), (404, "user_not_found"));
    for act in ["users/bob/disable", "users/bob/enable", "users/bob/revoke", "sessions/0000000000000000/close"] {
        assert_eq!(
            hub.api("eve").post(&format!("/api/admin/{act}"), &json!({})).refusal(),
            (403, "forbidden"),
            "{act}"
        );
    }
}

/// Sockets opened while their user is disabled, again and again: once it was answered none stays, whatever it had read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p8_nobody_slips_in_while_they_are_disabled() {
    let hub = Hub::with(HubOptions::default().unlimited().set("server.workers", 2));
    let admin = hub.admin();
    for round in 0..15 {
        let user = format!("eve{round}");
        admin.post(&format!("/api/admin/users/{user}/enable"), &json!({}));
        let url = hub.url("/ws");
        let (token, url) = (token(&user, &user), url.clone());
        let opening = tokio::spawn(async move {
            let mut sockets = Vec::new();
            for _ in 0..12 {
                sockets.push(Client::open(&url, Some(&token)).await.unwrap());
            }
            sockets
        });
        tokio::time::sleep(Duration::from_millis(round % 6)).await;
        let done = tokio::task::block_in_place(|| admin.post(&format!("/api/admin/users/{user}/disable"), &json!({})));
        assert_eq!(done.status, 200);
        for mut socket in opening.await.unwrap() {
            let closed = tokio::time::timeout(Duration::from_secs(2), socket.closed()).await;
            let closed = closed.expect("P8: a socket stays that signed in while its user was disabled");
            assert_eq!(closed.unwrap().code, 4501);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p8_one_token_is_revoked_or_all_up_to_a_time() {
    let mut hub = Hub::with(HubOptions::default().unlimited());
    let admin = hub.admin();
    let (stolen, kept) = (unique(), unique());
    let mut thief = Client::native(&hub, &dated("alice", 0, &stolen)).await;
    let mut alice = Client::native(&hub, &dated("alice", 0, &kept)).await;
    let mut namesake = Client::native(&hub, &dated("bob", 0, &stolen)).await;
    let since = Instant::now();
    let done = admin.post("/api/admin/users/alice/revoke", &json!({"jti": stolen}));
    assert_eq!((done.status, &done.body["jti"]), (200, &json!(stolen)));
    closed_with(&mut thief, 4501, since).await;
    assert_eq!(alice.ask(json!({"type": "ping"})).await["type"], "pong", "another token of the same user");
    assert_eq!(namesake.ask(json!({"type": "ping"})).await["type"], "pong", "another user's of the same jti");
    let with_it = |hub: &Hub| Api::new(hub.address, Some(dated("alice", 0, &stolen))).get("/api/me");
    assert_eq!(with_it(&hub).refusal(), (401, "unauthenticated"));
    hub.kill();
    hub.restart();
    assert_eq!(with_it(&hub).refusal(), (401, "unauthenticated"), "after a restart");
    let admin = hub.api("root");

    let mut old = Client::native(&hub, &dated("alice", -10, &unique())).await;
    let mut undated = Client::native(&hub, &token("alice", "alice")).await;
    let mut new = Client::native(&hub, &dated("alice", 5, &unique())).await;
    let since = Instant::now();
    assert_eq!(admin.post("/api/admin/users/alice/revoke", &json!({})).status, 200);
    closed_with(&mut old, 4501, since).await;
    closed_with(&mut undated, 4501, since).await;
    assert_eq!(new.ask(json!({"type": "ping"})).await["type"], "pong", "issued after the time");
    // An earlier time takes nothing back.
    assert_eq!(
        admin.post("/api/admin/users/alice/revoke", &json!({"issued_before": "2020-01-01T00:00:00Z"})).status,
        200
    );
    let undated = || hub.api("alice").get("/api/me").status;
    assert_eq!(undated(), 401);
    // Nor is a revoked token taken on a socket that is open.
    let refused = new.ask(json!({"type": "refresh", "token": dated("alice", -10, &unique())})).await;
    assert_eq!(refused["code"], "unauthenticated");
    for (body, message) in [
        (json!({"jti": ""}), "`jti`"),
        (json!({"jti": 5}), "`jti`"),
        (json!({"jti": "x", "issued_before": "2026-01-01T00:00:00Z"}), "`jti`"),
        (json!({"issued_before": "yesterday"}), "`issued_before`"),
        (json!({"issued_before": "9999-12-31T23:59:59-23:59"}), "`issued_before`"),
        (json!({"until": "2026-01-01T00:00:00Z"}), "`until`"),
    ] {
        let refused = admin.post("/api/admin/users/alice/revoke", &body);
        assert_eq!(refused.refusal(), (400, "bad_field"), "{body}");
        assert!(refused.body["error"]["message"].as_str().unwrap().contains(message), "{body}");
    }
    assert_eq!(admin.post("/api/admin/users/hub:nobody/revoke", &json!({})).refusal(), (404, "user_not_found"));
    // Whoever has locked themselves out by tokens without a time is let in by the operator.
    assert!(hub.beside(&["user", "unrevoke", "alice"]).status.success());
    let start = Instant::now();
    while undated() != 200 {
        assert!(start.elapsed() < Duration::from_secs(2), "still revoked");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let few = Hub::with(HubOptions::default().set("limits.revoked_tokens", 1));
    let admin = few.admin();
    assert_eq!(admin.post("/api/admin/users/a/revoke", &json!({"jti": "1"})).status, 200);
    assert_eq!(admin.post("/api/admin/users/a/revoke", &json!({"jti": "2"})).refusal(), (409, "too_many"));
}

/// The hub's own accounts: a refresh token is worth nothing either, a password is.
#[tokio::test]
async fn p8_an_own_account_s_refresh_token_is_revoked_too() {
    let hub = Hub::start();
    let nobody = Api::new(hub.address, None);
    let made = nobody.post("/api/register", &json!({"username": "alice", "password": "correct horse"})).body;
    let refresh = |token: &Value| nobody.post("/api/token/refresh/", &json!({"refresh": token}));
    assert_eq!(refresh(&made["refresh"]).status, 200);
    let admin = hub.admin();
    assert_eq!(admin.post("/api/admin/users/hub:alice/revoke", &json!({})).status, 200);
    let refused = refresh(&made["refresh"]);
    assert_eq!((refused.status, &refused.body["code"]), (401, &json!("token_not_valid")));
    assert_eq!(nobody.post("/api/token/verify/", &json!({"token": made["access"]})).status, 401);
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let credentials = json!({"username": "alice", "password": "correct horse"});
    let again = nobody.post("/api/token/", &credentials);
    assert_eq!((again.status, refresh(&again.body["refresh"]).status), (200, 200));
    assert_eq!(admin.post("/api/admin/users/hub:alice/disable", &json!({})).status, 200);
    let refused = nobody.post("/api/token/", &credentials);
    assert_eq!(refused.body["detail"], "No active account found with the given credentials");
    assert_eq!(refresh(&again.body["refresh"]).body["code"], "no_active_account");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_admin_closes_one_session_of_those_that_are_listed() {
    let hub = Hub::with(HubOptions::default().unlimited().set("server.workers", 2));
    let admin = hub.admin();
    let mut hellos = Vec::new();
    for _ in 0..3 {
        let mut client = Client::open(&hub.url("/ws"), Some(&token("alice", "alice"))).await.unwrap();
        hellos.push((client.next().await["session"].as_str().unwrap().to_owned(), client));
    }
    hellos[1].1.join("lobby").await;
    let listed = admin.get("/api/admin/users/alice/sessions").body["sessions"].clone();
    let listed = listed.as_array().unwrap();
    assert_eq!(listed.len(), 3);
    let joined = listed.iter().find(|session| session["session"] == hellos[1].0).unwrap();
    assert_eq!(joined["rooms"], json!(["lobby"]));
    let since = Instant::now();
    let close = format!("/api/admin/sessions/{}/close", hellos[1].0);
    assert_eq!(admin.post(&close, &json!({})).body, json!({"session": hellos[1].0, "closed": true}));
    closed_with(&mut hellos[1].1, 4505, since).await;
    assert_eq!(hellos[0].1.ask(json!({"type": "ping"})).await["type"], "pong", "the others stay");
    assert_eq!(admin.get("/api/admin/users/alice/sessions").body["sessions"].as_array().unwrap().len(), 2);
    assert_eq!(admin.post("/api/admin/sessions/nonsense/close", &json!({})).refusal(), (404, "not_found"));
    // On a database that several nodes may share it may be another's.
    let elsewhere = if on_postgres() { (202, "none") } else { (404, "not_found") };
    for nothing in [close.as_str(), "/api/admin/sessions/ffffffffffffffff/close"] {
        assert_eq!(admin.post(nothing, &json!({})).refusal(), elsewhere, "{nothing}");
    }
    assert_eq!(admin.get("/api/admin/users/nobody/sessions").refusal(), (404, "user_not_found"));
}

/// Rights given and taken by the operator's command are felt by open sessions.
#[tokio::test]
async fn what_the_operator_s_command_does_is_felt_by_open_sockets() {
    let hub = Hub::start();
    let mut eve = hub.client("eve").await;
    let since = Instant::now();
    assert!(hub.beside(&["user", "disable", "eve", "--reason", "spam"]).status.success());
    assert_eq!(eve.closed().await.unwrap().code, 4501);
    assert!(since.elapsed() < Duration::from_secs(2), "felt only after {:?}", since.elapsed());
    assert!(hub.beside(&["user", "enable", "eve"]).status.success());
    let start = Instant::now();
    while hub.api("eve").get("/api/me").status != 200 {
        assert!(start.elapsed() < Duration::from_secs(2), "still disabled");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let nobody = hub.beside(&["user", "disable", "hub:nobody"]);
    assert!(!nobody.status.success() && String::from_utf8_lossy(&nobody.stderr).contains("nobody has the id"));
    hub.admin();
    let mut root = hub.client("root").await;
    let since = Instant::now();
    assert!(hub.beside(&["user", "admin", "root", "--revoke"]).status.success());
    assert_eq!(root.closed().await.unwrap().code, 4000, "it comes back with the rights that it has");
    assert!(since.elapsed() < Duration::from_secs(2), "felt only after {:?}", since.elapsed());
    assert_eq!(hub.api("root").get("/api/admin/stats").refusal(), (403, "forbidden"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p7_a_ban_reaches_open_sockets_and_ends_by_itself() {
    let hub = Hub::with(HubOptions::default().unlimited());
    let owner = hub.api("owner");
    assert_eq!(owner.post("/api/rooms", &json!({"name": "square"})).status, 201);
    owner.put("/api/rooms/square/members/eve", &json!({}));
    let mut eve = hub.member("eve", "square").await;
    let mut plain = Client::plain(&hub, "&room=square", &token("eve", "eve")).await;
    let mut bob = hub.member("bob", "square").await;
    let until = chrono::Utc::now() + chrono::TimeDelta::milliseconds(2_500);
    let until = until.to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
    let since = Instant::now();
    let banned = owner.put("/api/rooms/square/bans/eve", &json!({"until": until, "reason": "spam"}));
    let expected = json!({"room": "square", "user_id": "eve", "until": until, "reason": "spam"});
    assert_eq!((banned.status, &banned.body), (200, &expected));
    closed_with(&mut plain, 4502, since).await;
    assert_eq!(plain.kept().last().unwrap()["error"]["code"], "banned");
    let mut again = Client::plain(&hub, "&room=square", &token("eve", "eve")).await;
    assert_eq!(again.closed().await.unwrap().code, 4502);
    let told = eve.until(|frame| frame["type"] == "member_removed").await;
    assert_eq!((&told["banned"], &told["until"], &told["reason"]), (&json!(true), &json!(until), &json!("spam")));
    owner.post("/api/rooms/square/messages", &json!({"message": "without eve"}));
    assert_eq!(bob.message().await["seq"], 1);
    assert_eq!(eve.say("square", "?").await["code"], "not_joined");
    assert!(eve.kept().all(|frame| frame["type"] != "message"), "P7: heard after the ban");
    assert_eq!(eve.ask(json!({"type": "join", "room": "square"})).await["code"], "banned");
    assert_eq!(owner.get("/api/rooms/square/bans").body["bans"][0]["user_id"], "eve");
    let members = owner.get("/api/rooms/square/members").body["members"].clone();
    assert_eq!(members.as_array().unwrap().len(), 1, "a ban ends the membership: {members}");
    // When its time is over nobody needs to do anything.
    tokio::time::sleep(Duration::from_secs(3).saturating_sub(since.elapsed())).await;
    eve.join("square").await;
    assert_eq!(eve.say("square", "back").await["seq"], 2);
    assert_eq!(owner.get("/api/rooms/square/bans").body["bans"], json!([]));
    // Lifted by hand.
    assert_eq!(owner.put("/api/rooms/square/bans/eve", &json!({})).status, 200);
    assert_eq!(eve.ask(json!({"type": "join", "room": "square"})).await["code"], "banned");
    assert_eq!(owner.delete("/api/rooms/square/bans/eve").status, 204);
    assert_eq!(owner.delete("/api/rooms/square/bans/eve").status, 204, "a DELETE again");
    eve.join("square").await;
    for (body, field) in [
        (json!({"until": "2020-01-01T00:00:00Z"}), "`until`"),
        (json!({"until": 5}), "`until`"),
        (json!({"reason": "x".repeat(501)}), "`reason`"),
    ] {
        let refused = owner.put("/api/rooms/square/bans/eve", &body);
        assert_eq!(refused.refusal(), (400, "bad_field"));
        assert!(refused.body["error"]["message"].as_str().unwrap().contains(field), "{body}");
    }
    let admin = hub.admin();
    let acts: Vec<_> = acts(&admin).into_iter().filter(|act| act.contains("ban")).collect();
    assert_eq!(acts, ["owner unban eve", "owner ban eve", "owner ban eve"]);
}

/// Many times over: somebody joins and writes as fast as they can while they are banned. Nothing of theirs is stored, and
/// nothing is sent to them, after the ban was answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p7_joining_and_writing_never_overtake_a_ban() {
    let hub = Hub::with(HubOptions::default().unlimited().set("limits.server_queue", 100_000));
    let owner = hub.api("owner");
    owner.post("/api/rooms", &json!({"name": "square"}));
    let mut eve = hub.client("eve").await;
    for round in 0..30 {
        let address = hub.address;
        let banning = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(round % 7));
            let owner = Api::new(address, Some(token("owner", "owner")));
            assert_eq!(owner.put("/api/rooms/square/bans/eve", &json!({})).status, 200);
            owner.post("/api/rooms/square/messages", &json!({"message": "gone"})).body["seq"].as_i64().unwrap()
        });
        for n in 0..20 {
            eve.send(&json!({"type": "join", "id": format!("j{round}-{n}"), "room": "square"})).await;
            eve.send(&json!({"type": "send", "id": format!("s{round}-{n}"), "room": "square", "message": "x"})).await;
            if n % 5 == 4 {
                eve.send(&json!({"type": "leave", "room": "square"})).await;
            }
        }
        let gone = tokio::task::spawn_blocking(move || banning.join().unwrap()).await.unwrap();
        owner.post("/api/rooms/square/messages", &json!({"message": "after"}));
        for n in 0..20 {
            let id = json!(format!("s{round}-{n}"));
            let reply = eve.until(|frame| frame["id"] == id).await;
            assert!(reply["seq"].as_i64().is_none_or(|seq| seq < gone), "P7: stored after the ban: {reply}");
        }
        assert_eq!(eve.ask(json!({"type": "join", "room": "square"})).await["code"], "banned", "P7");
        let late = eve.kept().filter(|frame| frame["type"] == "message" && frame["seq"].as_i64() >= Some(gone)).count();
        assert_eq!(late, 0, "P7: it hears what is said after the ban");
        assert_eq!(owner.delete("/api/rooms/square/bans/eve").status, 204);
        eve.join("square").await;
        eve.forget();
    }
}

/// A client that takes nothing can't be told; its socket is shut, and what was queued for it never leaves.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p8_a_socket_that_takes_nothing_is_shut_when_its_user_is_disabled() {
    let options = HubOptions::default().unlimited().set("limits.send_buffer_bytes", 16_384);
    let hub = Hub::with(options.set("limits.session_queue_frames", 8));
    let admin = hub.admin();
    let mut deaf = Client::cramped(&hub.url("/ws"), &token("eve", "eve")).await;
    assert_eq!(deaf.next().await["type"], "hello");
    deaf.join("lobby").await;
    let mut writer = hub.member("writer", "lobby").await;
    for _ in 0..100 {
        writer.say("lobby", &"x".repeat(3_900)).await;
    }
    assert_eq!(admin.post("/api/admin/users/eve/disable", &json!({})).status, 200);
    deaf.until_shut(Duration::from_secs(4), None).await;
    let start = Instant::now();
    while admin.get("/api/admin/users/eve/sessions").body["sessions"] != json!([]) {
        assert!(start.elapsed() < Duration::from_secs(2), "its session is still there");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p8_a_session_is_told_before_its_token_ends_and_goes_on_with_a_new_one() {
    let hub = Hub::with(HubOptions::default().set("auth.expiry_notice", "2s"));
    let short = |user: &str, seconds: i64| {
        signed(&json!({"token_type": "access", "user_id": user, "username": user, "exp": seconds_from_now(seconds)}))
    };
    let mut client = Client::native(&hub, &short("alice", 4)).await;
    client.join("lobby").await;
    let told = client.until(|frame| frame["type"] == "token_expiring").await;
    let in_ms = told["in_ms"].as_i64().unwrap();
    assert!((500..=2_000).contains(&in_ms), "told {in_ms} ms before");
    for (refused, code) in [
        (short("bob", 60), "forbidden"),
        (short("alice", -60), "unauthenticated"),
        ("nonsense".to_owned(), "unauthenticated"),
        (SECRET.to_owned(), "unauthenticated"),
    ] {
        assert_eq!(client.ask(json!({"type": "refresh", "token": refused})).await["code"], code);
    }
    assert_eq!(client.ask(json!({"type": "refresh"})).await["code"], "bad_field");
    let refreshed = client.ask(json!({"type": "refresh", "token": short("alice", 11)})).await;
    assert_eq!(refreshed["type"], "ok");
    assert!((8_000..=11_000).contains(&refreshed["token_expires_in_ms"].as_i64().unwrap()), "{refreshed}");
    // Past the first token's end and grace it is still in its room, then it is told again.
    let start = Instant::now();
    let again = client.until(|frame| frame["type"] == "token_expiring").await;
    assert!(again["in_ms"].as_i64().unwrap() <= 2_000 && start.elapsed() > Duration::from_secs(5), "{again}");
    assert_eq!(client.say("lobby", "still here").await["seq"], 1);
    assert_eq!(client.closed().await.unwrap().code, 4001, "at the new one's end and 5 s of grace");
}
