//! What the operator has: stats and metrics checked against a run whose numbers are known, users and rooms by the command
//! line beside a running hub, backup and restore.

use std::{fs, process::Command, time::Duration};

use serde_json::{Value, json};

use crate::support::{Api, Client, Hub, HubOptions, client as program, on_postgres, token};

fn text(output: &std::process::Output) -> String {
    let both = [&output.stdout[..], &output.stderr[..]].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&both));
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// A metric's value; `name` with its labels.
fn metric(metrics: &str, name: &str) -> f64 {
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in\n{metrics}")).parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stats_and_metrics_say_what_happened() {
    let hub = Hub::with(HubOptions::default().unlimited().set("server.metrics_token", "for the scraper alone"));
    let admin = hub.admin();
    // 3 native sessions and a plain one of 3 users; a socket without a token; 2 rooms with sessions, one without.
    let mut alice = hub.member("alice", "tea").await;
    let mut again = hub.member("alice", "tea").await;
    let mut bob = hub.member("bob", "coffee").await;
    let mut carol = Client::plain(&hub, "&room=tea", &token("carol", "carol")).await;
    let _silent = Client::open(&hub.url("/ws"), None).await.unwrap();
    bob.join("tea").await;
    bob.ask(json!({"type": "leave", "room": "tea"})).await;
    // 20 messages to a room of three sessions, 5 to a room of one, one to a room of none.
    for n in 0..20 {
        alice.say("tea", &n.to_string()).await;
    }
    for n in 0..5 {
        bob.say("coffee", &n.to_string()).await;
    }
    hub.api("dave").post("/api/rooms/milk/messages", &json!({"message": "26"}));
    for _ in 0..20 {
        again.message().await;
        carol.next().await;
    }
    // 3 refusals over the socket, 2 over HTTP, one of an account's shape; a repeat is none.
    for _ in 0..3 {
        alice.say("tea", " ").await;
    }
    hub.api("dave").get("/api/rooms/none/members");
    hub.api("dave").get("/api/rooms/no%20name");
    Api::new(hub.address, None).post("/api/token", &json!({"username": "x", "password": "wrong"}));
    tokio::time::sleep(Duration::from_millis(2_200)).await;

    let stats = admin.get("/api/admin/stats").body;
    let sessions = &stats["sessions"];
    assert_eq!(sessions["total"], 5, "{stats}");
    assert_eq!((&sessions["native"], &sessions["plain"]), (&json!(3), &json!(1)));
    assert_eq!((&sessions["unauthenticated"], &sessions["lagging"]), (&json!(1), &json!(0)));
    assert_eq!((&stats["users"], &stats["rooms"]["with_sessions"]), (&json!(3), &json!(2)));
    assert_eq!((&stats["messages"]["total"], &stats["deliveries"]["total"]), (&json!(26), &json!(65)));
    let errors = json!({"empty": 3, "room_not_found": 1, "bad_room_name": 1, "unauthenticated": 1});
    assert_eq!(stats["errors"], errors);
    assert_eq!((&stats["version"], stats["node"].as_str().unwrap().len()), (&json!(env!("CARGO_PKG_VERSION")), 16));
    let writer = &stats["writer"];
    assert_eq!((&writer["queue"], &writer["batch"]["p50"], &writer["batch"]["max"]), (&json!(0), &json!(1), &json!(1)));
    let number = |value: &Value| value.as_f64().unwrap();
    let (p50, p99) = (number(&writer["commit_us"]["p50"]), number(&writer["commit_us"]["p99"]));
    assert!(p50 > 10.0 && p50 <= p99 && p99 < 1_000_000.0, "{writer}");
    let resident = number(&stats["memory"]["resident_bytes"]);
    assert!((1e6..1e9).contains(&resident) && number(&stats["memory"]["recent_bytes"]) > 1_000.0, "{stats}");
    // Nothing happened in the last second, something in the last minute.
    assert_eq!(stats["messages"]["per_second_1s"], 0.0);
    assert!(number(&stats["messages"]["per_second_1m"]) > 0.0 && number(&stats["uptime_s"]) >= 2.0, "{stats}");
    let queues = &stats["queues"];
    assert!(queues.as_object().unwrap().values().all(|length| length == 0), "a queue that never empties: {queues}");

    let scraper = Api::new(hub.address, Some("for the scraper alone".into()));
    let answer = scraper.get("/metrics");
    assert!(answer.headers["content-type"].to_str().unwrap().starts_with("application/openmetrics-text"));
    let metrics = answer.body.as_str().unwrap().to_owned();
    for (name, expected) in [
        ("hubbub_sessions_native", 3.0),
        ("hubbub_sessions_plain", 1.0),
        ("hubbub_sessions_unauthenticated", 1.0),
        ("hubbub_sessions_lagging", 0.0),
        ("hubbub_users", 3.0),
        ("hubbub_rooms_occupied", 2.0),
        ("hubbub_messages_stored_total", 26.0),
        ("hubbub_deliveries_total", 65.0),
        ("hubbub_errors_total{code=\"empty\"}", 3.0),
        ("hubbub_errors_total{code=\"internal\"}", 0.0),
        ("hubbub_batch_messages_count", 26.0),
        ("hubbub_batch_messages_bucket{le=\"1.0\"}", 26.0),
        ("hubbub_commit_microseconds_count", 26.0),
        ("hubbub_writer_queue", 0.0),
    ] {
        assert_eq!(metric(&metrics, name), expected, "{name}");
    }
    assert!(metrics.ends_with("# EOF\n"));
    // No names, no ids: what is in a label is seen by whoever sees the metrics.
    assert!(!["alice", "bob", "tea", "coffee"].iter().any(|name| metrics.contains(name)), "{metrics}");
    assert!(admin.get("/metrics").status == 200);
    for (api, expected) in
        [(hub.api("dave"), (403, "forbidden")), (Api::new(hub.address, None), (401, "unauthenticated"))]
    {
        assert_eq!(api.get("/metrics").refusal(), expected);
        assert_eq!(api.get("/api/admin/stats").refusal(), expected);
    }
    let almost = Api::new(hub.address, Some("for the scraper alon".into()));
    assert_eq!(almost.get("/metrics").status, 401);
    // Without a token in the config, none is enough.
    let closed = Hub::start();
    assert_eq!(Api::new(closed.address, Some(String::new())).get("/metrics").status, 401);
    documented(&metrics);
}

/// docs/operations.md explains each metric, and no other.
fn documented(metrics: &str) {
    let docs = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operations.md")).unwrap();
    let named = |line: &str| line.strip_prefix("# HELP ").map(|rest| rest.split(' ').next().unwrap().to_owned());
    let served: Vec<_> = metrics.lines().filter_map(named).collect();
    let row =
        |line: &str| line.strip_prefix("| `hubbub_").map(|rest| format!("hubbub_{}", rest.split('`').next().unwrap()));
    let mut rows: Vec<_> = docs.lines().filter_map(row).collect();
    let mut served_sorted = served.clone();
    served_sorted.sort();
    rows.sort();
    assert_eq!(rows, served_sorted, "docs/operations.md's table of metrics");
}

/// A gauge of sessions that lag goes up, and down again when they have caught up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lagging_sessions_are_counted_while_they_lag() {
    let options = HubOptions::default().unlimited().set("limits.session_queue_frames", 8);
    let hub = Hub::with(options.set("limits.session_queue_bytes", 20_000).set("limits.send_buffer_bytes", 4_096));
    let admin = hub.admin();
    let mut slow = Client::cramped(&hub.url("/ws"), &token("slow", "slow")).await;
    slow.join("tea").await;
    let mut alice = hub.member("alice", "tea").await;
    let lagging = || admin.get("/api/admin/stats").body["sessions"]["lagging"].as_u64().unwrap();
    let mut sent = 0;
    while lagging() == 0 {
        alice.say("tea", &"x".repeat(3_900)).await;
        sent += 1;
        assert!(sent < 500, "it never lags");
    }
    for n in 1..=sent {
        assert_eq!(slow.message().await["seq"], n, "P4");
    }
    let start = std::time::Instant::now();
    while lagging() != 0 {
        assert!(start.elapsed() < crate::support::PATIENCE, "it lags for ever");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The bench's figures, as it appends them to a file.
fn bench(hub: &Hub, words: &[&str]) -> (bool, Value) {
    let (url, pid) = (format!("ws://{}", hub.address), hub.pid().to_string());
    let file = hub.folder().join("figures.json");
    let file = file.to_str().unwrap();
    let words = [&["bench", "--url", &url, "--pid", &pid, "--json", file, "--warmup", "200ms"], words].concat();
    let output = hub.beside(&words);
    let said = fs::read_to_string(file).unwrap();
    (output.status.success(), serde_json::from_str(said.lines().last().unwrap()).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bench_counts_and_times_what_it_did() {
    let hub = Hub::with(HubOptions::default().unlimited());
    for dialect in ["native", "tutorial"] {
        let words = ["--members", "5", "--rate", "50", "--time", "1s", "--dialect", dialect];
        let (whole, report) = bench(&hub, &words);
        let figure = |name: &str| report["figures"][name].as_f64().unwrap_or_else(|| panic!("no {name}: {report}"));
        assert!(whole, "{report}");
        assert_eq!((figure("sent"), figure("delivered")), (50.0, 250.0), "{report}");
        assert_eq!((figure("lost"), figure("doubled_or_out_of_order")), (0.0, 0.0), "{report}");
        assert!((0.02..1_000.0).contains(&figure("delivery_p50_ms")), "{report}");
        assert!(figure("cpu_us_per_delivery") > 0.0, "{report}");
    }
    // Earlier figures stand beside.
    let file = hub.folder().join("figures.json");
    let (url, pid) = (format!("ws://{}", hub.address), hub.pid().to_string());
    let words = ["bench", "--url", &url, "--pid", &pid, "--time", "200ms", "--compare", file.to_str().unwrap()];
    let said = text(&hub.beside(&words));
    assert!(said.contains("was 250"), "{said}");
}

/// Open loop: what a server that stands still keeps waiting is late from when it was due.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bench_sees_a_hub_that_stands_still() {
    let hub = Hub::with(HubOptions::default().unlimited());
    let pid = hub.pid().to_string();
    let stopped = std::thread::spawn(move || {
        let signal = |name: &str| assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
        std::thread::sleep(Duration::from_millis(1_700));
        signal("-STOP");
        std::thread::sleep(Duration::from_millis(500));
        signal("-CONT");
    });
    let (whole, report) = bench(&hub, &["--members", "5", "--rate", "200", "--time", "3s"]);
    stopped.join().unwrap();
    assert!(whole, "{report}");
    let p99_9 = report["figures"]["delivery_p99_9_ms"].as_f64().unwrap();
    assert!((400.0..2_000.0).contains(&p99_9), "{report}");
}

fn with_input(hub: &Hub, arguments: &[&str], input: &str) -> (Option<i32>, String) {
    let file = hub.folder().join("input");
    fs::write(&file, input).unwrap();
    let mut command = Command::new("sh");
    let words = format!("exec \"$0\" \"$@\" < {}", file.display());
    command.args(["-c", &words, env!("CARGO_BIN_EXE_hubbub")]).args(arguments);
    for (name, value) in hub.environment() {
        command.env(name, value);
    }
    let output = command.current_dir(hub.folder()).output().unwrap();
    let both = [&output.stdout[..], &output.stderr[..]].concat();
    (output.status.code(), String::from_utf8(both).unwrap())
}

#[tokio::test]
async fn users_and_rooms_are_managed_beside_a_running_hub() {
    let hub = Hub::with(HubOptions::default().set("rooms.auto_create", false).set("accounts.register", false));
    let (code, said) = with_input(&hub, &["user", "create", "alice"], "correct horse\n");
    assert_eq!((code, said.contains("made hub:alice")), (Some(0), true), "{said}");
    for (arguments, input, expected) in [
        (vec!["user", "create", "alice"], "correct horse\n", "hub:alice is there already"),
        (vec!["user", "create", "a b"], "correct horse\n", "Enter a valid username"),
        (vec!["user", "create", "bob"], "short\n", "too short"),
        (vec!["user", "create", "bob"], "", "too short"),
        (vec!["user", "admin", "hub:nobody"], "", "nobody has the id hub:nobody"),
        (vec!["user", "admin", "7", "--revoke"], "", "nobody has the id 7"),
        (vec!["room", "create", "a b", "--owner", "7"], "", "a room's name is"),
        (vec!["room", "create", "tea", "--owner", "hub:nobody"], "", "nobody has the id hub:nobody"),
    ] {
        let (code, said) = with_input(&hub, &arguments, input);
        assert_eq!((code, said.contains(expected)), (Some(1), true), "{arguments:?}: {said}");
        assert!(!said.contains("correct horse"));
    }
    let signed_in =
        Api::new(hub.address, None).post("/api/token", &json!({"username": "alice", "password": "correct horse"}));
    let alice = Api::new(hub.address, signed_in.body["access"].as_str().map(str::to_owned));
    assert_eq!(alice.get("/api/me").body["admin"], false);
    assert!(
        text(&hub.beside(&["room", "create", "tea", "--owner", "hub:alice", "--private", "--title", "Tea"]))
            .contains("made")
    );
    let again = hub.beside(&["room", "create", "tea", "--owner", "hub:alice"]);
    assert!(String::from_utf8(again.stderr).unwrap().contains("a room tea is there already"));
    assert_eq!(alice.get("/api/me/rooms").body["rooms"][0]["role"], "owner");
    assert_eq!(alice.post("/api/rooms/tea/messages", &json!({"message": "hi"})).status, 201);
    assert_eq!(text(&hub.beside(&["room", "list"])), "tea\tprivate\t1\tTea\n");
    // An app's user who never came can be an admin; a running hub sees it within seconds.
    assert!(text(&hub.beside(&["user", "admin", "7"])).contains("7 is an admin"));
    assert_eq!(hub.api("7").get("/api/me").body["admin"], true);
    text(&hub.beside(&["user", "admin", "hub:alice"]));
    let start = std::time::Instant::now();
    while alice.get("/api/me").body["admin"] != true {
        assert!(start.elapsed() < Duration::from_secs(10), "the hub never sees it");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let users = text(&hub.beside(&["user", "list"]));
    let lines: Vec<Vec<&str>> = users.lines().map(|line| line.split('\t').collect()).collect();
    assert_eq!(
        lines.iter().map(|line| &line[..4]).collect::<Vec<_>>(),
        [["7", "7", "admin", "-"], ["hub:alice", "alice", "admin", "password"],]
    );
    assert!(text(&hub.beside(&["user", "admin", "7", "--revoke"])).contains("7 is no admin"));
}

/// As docs/operations.md says it: a copy while the hub runs, more messages, a restore, `new-epoch`. Whoever saw more than
/// the backup has gets a reset and no silence.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p4_a_restored_backup_resets_the_cursors_of_the_lost_time() {
    let mut hub = Hub::start();
    let mut alice = hub.member("alice", "tea").await;
    for n in 1..=10 {
        alice.say("tea", &format!("message {n}")).await;
    }
    let dump = hub.folder().join("backup");
    if on_postgres() {
        let made =
            program("pg_dump").args(["-Fc", "-f"]).arg(&dump).arg(hub.options().database_url()).output().unwrap();
        text(&made);
    } else {
        assert!(text(&hub.beside(&["backup", "backup"])).contains("wrote backup"));
        let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&dump).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600, "others can read the keys in it");
        let again = hub.beside(&["backup", "backup"]);
        assert!(String::from_utf8(again.stderr).unwrap().contains("backup: File exists"));
    }
    // The hub goes on meanwhile, and what comes now will be lost.
    for n in 11..=15 {
        assert_eq!(alice.say("tea", &format!("message {n}")).await["seq"], n);
    }
    let standing = hub.client("bob").await.join("tea").await;
    assert_eq!(standing["head"], 15);
    let busy = hub.beside(&["new-epoch"]);
    assert!(String::from_utf8(busy.stderr).unwrap().contains("another hubbub"), "beside a running hub");
    hub.signal("TERM");
    assert!(hub.ended(Duration::from_secs(15)).success());
    if on_postgres() {
        let url = hub.options().database_url();
        let restored =
            program("pg_restore").args(["--clean", "--if-exists", "--no-owner", "-d", url]).arg(&dump).output();
        text(&restored.unwrap());
    } else {
        for ending in ["-wal", "-shm"] {
            drop(fs::remove_file(hub.database_file().with_extension(format!("db{ending}"))));
        }
        fs::copy(&dump, hub.database_file()).unwrap();
    }
    assert!(text(&hub.beside(&["new-epoch"])).contains("1 rooms have a new epoch"));
    hub.restart();
    let mut bob = hub.client("bob").await;
    for after in [15, 3] {
        let join = json!({"type": "join", "room": "tea", "after": after, "epoch": standing["epoch"]});
        let joined = bob.ask(join).await;
        assert_eq!((&joined["reset"], &joined["head"]), (&json!(true), &json!(10)), "P4: silence after a restore");
        assert_ne!(joined["epoch"], standing["epoch"]);
    }
    let page = hub.api("bob").get("/api/rooms/tea/messages").body;
    let texts: Vec<_> = page["messages"].as_array().unwrap().iter().map(|event| event["message"].clone()).collect();
    assert_eq!(texts, (1..=10).map(|n| json!(format!("message {n}"))).collect::<Vec<_>>(), "P1");
    assert_eq!(bob.say("tea", "after the restore").await["seq"], 11);
}

#[test]
fn logs_are_for_people_or_for_machines() {
    let text = Hub::start();
    assert!(text.log().contains("INFO listening address=127.0.0.1:"), "{}", text.log());
    let json = Hub::with(HubOptions::default().set("log.format", "json"));
    for line in json.log().lines() {
        let entry: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"));
        assert!(entry["timestamp"].is_string() && entry["level"].is_string(), "{line}");
    }
    assert!(json.log().lines().count() > 1);
}
