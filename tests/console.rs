//! What the operator's console asks: the numbers with their bounds, the last hour, and lists of users, rooms and sessions with
//! a search, against runs whose answers are known. Fails where a bound, a sum or a page is wrong, where a character of a
//! search has a meaning of its own, and where anybody but an admin is answered.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Answer, Api, Client, Hub, HubOptions, PATIENCE, on_postgres, token, until};

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// What these entries have there.
fn each<'a>(answer: &'a Answer, list: &str, field: &str) -> Vec<&'a str> {
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.body[list].as_array().unwrap().iter().map(|entry| entry[field].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stats_have_bounds_deliveries_times_and_the_busiest_rooms() {
    let options = HubOptions::default().unlimited().set("server.workers", 1).set("limits.writer_queue", 1_234);
    let hub = Hub::with(options);
    let admin = hub.admin();
    let mut alice = hub.member("alice", "tea").await;
    let mut bob = hub.member("bob", "tea").await;
    for n in 0..12 {
        alice.say("tea", &n.to_string()).await;
    }
    // Nobody is there, so nothing is delivered.
    for _ in 0..3 {
        hub.api("dave").post("/api/rooms/milk/messages", &json!({"message": "hi"}));
    }
    for _ in 0..12 {
        bob.message().await;
    }
    tokio::time::sleep(Duration::from_millis(1_300)).await;
    let stats = admin.get("/api/admin/stats").body;
    assert_eq!(stats["limits"]["writer_queue"], 1_234, "{}", stats["limits"]);
    for queue in ["server_queue", "dispatcher_queue", "session_queue_frames", "sessions", "mirror_queue"] {
        assert!(stats["limits"][queue].as_u64().unwrap() > 0, "{queue}");
    }
    let busiest = json!([
        {"room": "tea", "messages_1m": 12, "sessions": 2},
        {"room": "milk", "messages_1m": 3, "sessions": 0},
    ]);
    assert_eq!(stats["rooms"]["busiest"], busiest);
    let number = |pointer: &str| stats.pointer(pointer).unwrap().as_u64().unwrap();
    let (p50, p99, max) = (number("/delivery_us/p50"), number("/delivery_us/p99"), number("/delivery_us/max"));
    assert!(0 < p50 && p50 <= p99 && p99 <= max && max < 2_000_000, "{}", stats["delivery_us"]);
    // A message is stored before it is delivered.
    assert!(p50 > number("/writer/commit_us/p50") / 2, "{stats}");
    let sum = &stats["cluster"]["sum"];
    assert_eq!((&sum["busiest"], &sum["lagging"]), (&busiest, &json!(0)));
    assert_eq!((number("/cluster/sum/delivery_p99_us"), &sum["errors"]), (p99, &stats["errors"]));
    assert_eq!(number("/cluster/sum/commit_p99_us"), number("/writer/commit_us/p99"));
    let metrics = admin.get("/metrics").body.as_str().unwrap().to_owned();
    assert!(
        metrics.contains("\nhubbub_delivery_microseconds_count 12\n"),
        "one for each delivery, not for each session"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_hour_has_a_point_each_five_seconds() {
    let hub = Hub::start();
    let admin = hub.admin();
    let start = Instant::now();
    let empty = admin.get("/api/admin/history").body;
    assert_eq!((&empty["every_s"], empty["points"].as_array().unwrap().len()), (&json!(5), 0), "it has only started");
    let mut alice = hub.member("alice", "tea").await;
    let points = |query: &str| -> Vec<Value> {
        admin.get(&format!("/api/admin/history{query}")).body["points"].as_array().unwrap().clone()
    };
    // Said all the time, so that each point has some of it.
    let mut said = 0;
    while points("").len() < 2 {
        assert_eq!(alice.say("tea", &said.to_string()).await["type"], "ok");
        said += 1;
        alice.say("tea", " ").await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(start.elapsed() < PATIENCE, "no points");
    }
    assert!((8..=15).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
    let all = points("");
    let last = &all[1];
    let number = |field: &str| last[field].as_f64().unwrap();
    assert_eq!((number("nodes"), number("sessions"), number("users")), (1.0, 1.0, 1.0), "{last}");
    for rate in ["messages_per_s", "deliveries_per_s", "errors_per_s"] {
        assert!((3.0..=10.0).contains(&number(rate)), "{rate}: {last}");
    }
    for time in ["commit_p99_us", "delivery_p99_us"] {
        assert!((10.0..2_000_000.0).contains(&number(time)), "{time}: {last}");
    }
    assert!(number("resident_bytes") > 1e6 && last.as_object().unwrap().len() == 15, "{last}");
    // A console asks for what it has not got.
    let [first, second] = [0, 1].map(|n| all[n]["at"].as_str().unwrap());
    assert_eq!(
        (points(&format!("?after={first}")), points(&format!("?after={second}"))),
        (vec![all[1].clone()], vec![])
    );
    for bad in ["yesterday", "5"] {
        assert_eq!(admin.get(&format!("/api/admin/history?after={bad}")).refusal(), (400, "bad_field"));
    }
}

#[test]
fn users_are_listed_and_searched() {
    let hub = Hub::with(HubOptions::default().unlimited());
    let admin = hub.admin();
    let made =
        Api::new(hub.address, None).post("/api/register", &json!({"username": "Zo_e", "password": "correct horse"}));
    assert_eq!(made.status, 201);
    for (id, name) in
        [("1", "100% Bob"), ("2", "김민준"), ("3", "O'Neil \"Ed\""), ("4", "back\\slash!"), ("5", "ALICE")]
    {
        assert_eq!(Api::new(hub.address, Some(token(id, name))).get("/api/me").status, 200);
    }
    assert_eq!(admin.post("/api/admin/users/3/disable", &json!({})).status, 200);
    let found = |q: &str| -> Vec<String> {
        let answer = admin.get(&format!("/api/admin/users?q={}", encoded(q)));
        each(&answer, "users", "user_id").into_iter().map(str::to_owned).collect()
    };
    for (q, ids) in [
        ("%", vec!["1"]),
        ("_", vec!["hub:Zo_e"]),
        ("o_", vec!["hub:Zo_e"]),
        ("o%", vec![]),
        ("민", vec!["2"]),
        ("김민준", vec!["2"]),
        ("'", vec!["3"]),
        ("\"ed\"", vec!["3"]),
        ("\\", vec!["4"]),
        ("!", vec!["4"]),
        ("alice", vec!["5"]),
        ("zO_", vec!["hub:Zo_e"]),
        ("HUB:", vec!["hub:Zo_e"]),
        ("'; DROP TABLE hub_user; --", vec![]),
        ("?", vec![]),
    ] {
        assert_eq!(found(q), ids, "{q}");
    }
    let one = &admin.get("/api/admin/users?q=o%27neil").body["users"][0];
    let (role, account) = (&one["role"], &one["account"]);
    assert_eq!((&one["user"], role, account), (&json!("O'Neil \"Ed\""), &json!("user"), &json!(false)));
    assert!(one["created_at"].is_string() && one["disabled_at"].is_string() && one.as_object().unwrap().len() == 6);
    let root = &admin.get("/api/admin/users?q=root").body["users"][0];
    assert_eq!((&root["role"], &root["disabled_at"]), (&json!("admin"), &Value::Null));
    assert_eq!(admin.get("/api/admin/users?q=Zo").body["users"][0]["account"], true);
    // Page by page everybody comes once.
    let (mut after, mut all) = (String::new(), Vec::new());
    loop {
        let page = admin.get(&format!("/api/admin/users?limit=2&after={}", encoded(&after)));
        let ids = each(&page, "users", "user_id");
        all.extend(ids.iter().map(|id| (*id).to_owned()));
        if page.body["more"] == false {
            break;
        }
        assert_eq!(ids.len(), 2);
        after = ids[1].to_owned();
    }
    assert_eq!(all, ["1", "2", "3", "4", "5", "hub:Zo_e", "root"]);
    let longest = "x".repeat(100);
    assert_eq!(found(&longest), [""; 0]);
    let refused = ["q=%00".into(), format!("q={longest}x"), "after=%00".into(), "limit=0".into(), "limit=101".into()];
    for query in refused {
        assert_eq!(admin.get(&format!("/api/admin/users?{query}")).refusal(), (400, "bad_field"), "{query}");
    }
}

#[test]
fn rooms_are_listed_and_searched_private_ones_too() {
    let hub = Hub::with(HubOptions::default().unlimited());
    let (admin, alice) = (hub.admin(), hub.api("alice"));
    for (name, title, kind) in
        [("tea", "Grüner Tee 100%", "public"), ("club_1", "비밀 모임", "private"), ("club21", "It's \"21\"", "private")]
    {
        let made = alice.post("/api/rooms", &json!({"name": name, "title": title, "kind": kind}));
        assert_eq!(made.status, 201, "{}", made.body);
    }
    assert_eq!(alice.put("/api/rooms/club_1/members/bob", &json!({})).status, 201);
    assert_eq!(alice.post("/api/rooms/club_1/messages", &json!({"message": "hi"})).status, 201);
    for (q, names) in [
        ("", vec!["club21", "club_1", "tea"]),
        ("CLUB", vec!["club21", "club_1"]),
        ("_", vec!["club_1"]),
        ("100%", vec!["tea"]),
        ("%", vec!["tea"]),
        ("비밀", vec!["club_1"]),
        ("s \"", vec!["club21"]),
        ("tEE", vec!["tea"]),
        ("nothing", vec![]),
    ] {
        let answer = admin.get(&format!("/api/admin/rooms?q={}", encoded(q)));
        let mut found = each(&answer, "rooms", "name");
        // Where an underscore stands among letters is the database's to say.
        found.sort_unstable();
        assert_eq!(found, names, "{q}");
    }
    let answer = admin.get("/api/admin/rooms?q=club_");
    let club = &answer.body["rooms"][0];
    let said = |field: &str| club[field].as_i64().unwrap();
    assert_eq!((said("head"), said("message_count"), said("members")), (1, 1, 2), "{club}");
    assert_eq!((&club["kind"], &club["title"]), (&json!("private"), &json!("비밀 모임")));
    assert!(club["created_at"].is_string() && club["last_at"].is_string() && club.as_object().unwrap().len() == 8);
    assert_eq!(admin.get("/api/admin/rooms?q=tea").body["rooms"][0]["last_at"], Value::Null);
    let page = admin.get("/api/admin/rooms?limit=2");
    let names = each(&page, "rooms", "name");
    let rest = admin.get(&format!("/api/admin/rooms?limit=2&after={}", names[1]));
    let all = [names, each(&rest, "rooms", "name")].concat();
    assert_eq!((all.len(), &page.body["more"], &rest.body["more"]), (3, &json!(true), &json!(false)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_are_listed_those_first_that_need_a_look() {
    let options = HubOptions::default().unlimited().set("limits.session_queue_frames", 8);
    let hub = Hub::with(options.set("limits.session_queue_bytes", 20_000).set("limits.send_buffer_bytes", 4_096));
    let admin = hub.admin();
    let mut slow = Client::cramped(&hub.url("/ws"), &token("slow", "Slow_100%")).await;
    slow.join("tea").await;
    let mut alice = hub.member("alice", "tea").await;
    let own = admin.get("/api/admin/users/alice/sessions");
    let id = own.body["sessions"][0]["session"].as_str().unwrap().to_owned();
    let mut plain = Client::plain(&hub, "&room=milk", &token("7", "김민준")).await;
    plain.send(&json!({"message": "hi"})).await;
    plain.next().await;
    let _silent = Client::open(&hub.url("/ws"), None).await.unwrap();
    let lags = || admin.get("/api/admin/stats").body["sessions"]["lagging"] == 1;
    let mut sent = 0;
    // And still does a while later: its socket takes nothing more.
    while !lags() || {
        tokio::time::sleep(Duration::from_millis(200)).await;
        !lags()
    } {
        alice.say("tea", &"x".repeat(3_900)).await;
        sent += 1;
        assert!(sent < 500, "it never lags");
    }
    let all = admin.get("/api/admin/sessions");
    assert_eq!((&all.body["total"], &all.body["silent"]), (&json!(3), &json!([])), "without a token it is no session");
    let sessions = all.body["sessions"].as_array().unwrap();
    let first = &sessions[0];
    assert_eq!((&first["user"], &first["lagging"]), (&json!("Slow_100%"), &json!(true)), "{}", all.body);
    assert!(first["queued"].as_u64().unwrap() > 0 && first["node"].as_str().unwrap().len() == 16, "{first}");
    let of = |user: &str| sessions.iter().find(|session| session["user_id"] == user).unwrap();
    assert_eq!((&of("7")["dialect"], &of("alice")["dialect"]), (&json!("plain"), &json!("native")));
    assert_eq!((&of("alice")["rooms"], &of("alice")["session"]), (&json!(1), &json!(id)));
    assert!(of("alice")["ends_in_s"].as_u64().unwrap() > 10 && of("alice").as_object().unwrap().len() == 10);
    for (q, users) in [
        ("SLOW", vec!["slow"]),
        ("_", vec!["slow"]),
        ("%", vec!["slow"]),
        ("민준", vec!["7"]),
        (&id[4..].to_uppercase(), vec!["alice"]),
        ("nobody", vec![]),
    ] {
        let found = admin.get(&format!("/api/admin/sessions?q={}", encoded(q)));
        assert_eq!(
            (each(&found, "sessions", "user_id"), &found.body["total"]),
            (users.clone(), &json!(users.len())),
            "{q}"
        );
    }
    let one = admin.get("/api/admin/sessions?limit=1");
    assert_eq!((each(&one, "sessions", "user_id"), &one.body["total"]), (vec!["slow"], &json!(3)));
    // One that was closed is in no list from then on.
    assert_eq!(admin.post(&format!("/api/admin/sessions/{id}/close"), &json!({})).status, 200);
    until("it is gone", PATIENCE, async || admin.get("/api/admin/sessions").body["total"] == 2).await;
    for query in ["limit=0", "limit=101", "q=%07"] {
        assert_eq!(admin.get(&format!("/api/admin/sessions?{query}")).refusal(), (400, "bad_field"));
    }
}

/// A worker with thousands of sessions is asked as any other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_sessions_the_first_few_are_shown() {
    let hub = Hub::with(HubOptions::default().unlimited().set("server.workers", 1));
    let admin = hub.admin();
    let mut open = Vec::new();
    for n in 0..300 {
        open.push(Client::native(&hub, &token(&format!("u{n:03}"), "somebody")).await);
    }
    let some = admin.get("/api/admin/sessions?limit=100");
    assert_eq!((some.body["sessions"].as_array().unwrap().len(), &some.body["total"]), (100, &json!(300)));
    let found = admin.get("/api/admin/sessions?q=u29");
    let mut users = each(&found, "sessions", "user_id");
    users.sort_unstable();
    let expected: Vec<_> = (290..300).map(|n| format!("u{n}")).collect();
    assert_eq!((users, &found.body["total"]), (expected.iter().map(String::as_str).collect(), &json!(10)));
}

#[test]
fn nobody_but_an_admin_is_answered() {
    let hub = Hub::start();
    let (alice, nobody) = (hub.api("alice"), Api::new(hub.address, None));
    for path in ["history", "users", "rooms", "sessions", "users?q=a", "sessions?limit=1"] {
        let path = format!("/api/admin/{path}");
        assert_eq!(alice.get(&path).refusal(), (403, "forbidden"), "{path}");
        assert_eq!(nobody.get(&path).refusal(), (401, "unauthenticated"), "{path}");
    }
    // Both databases search alike but for letters beyond ASCII, which SQLite tells apart by case.
    let admin = hub.admin();
    assert_eq!(Api::new(hub.address, Some(token("9", "ÉTÉ"))).get("/api/me").status, 200);
    let found = admin.get(&format!("/api/admin/users?q={}", encoded("ÉT")));
    assert_eq!(each(&found, "users", "user_id"), ["9"]);
    let lower = admin.get(&format!("/api/admin/users?q={}", encoded("ét")));
    assert!(each(&lower, "users", "user_id").is_empty() || on_postgres());
}
