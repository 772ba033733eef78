//! A database that can't be written: `unavailable` within 5 s, no false ack, and the hub goes on by itself. And one bad
//! message in a batch fails alone.
//!
//! Seen to fail with the hub broken so (scripts/mutants): a connection kept after a COMMIT that failed (P1: acked, never
//! committed); numbers given from memory (P3: a hole where a batch was refused).

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Api, Hub, HubOptions, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p1_p2_a_locked_database_refuses_in_time_and_heals_by_itself() {
    let hub = Hub::with(HubOptions::default().unlimited());
    let mut client = hub.member("alice", "lobby").await;
    let mut reader = hub.member("bob", "lobby").await;
    client.say("lobby", "before").await;
    let database = hub.database().await;
    database.lock().await;
    let start = Instant::now();
    for n in 0..50 {
        let command =
            json!({"type": "send", "id": n, "room": "lobby", "message": n.to_string(), "client_id": n.to_string()});
        client.send(&command).await;
    }
    for n in 0..50 {
        let answer = client.until(|frame| frame["id"] == n).await;
        assert_eq!((&answer["code"], &answer["retryable"]), (&json!("unavailable"), &json!(true)), "P1: a false ack");
    }
    let waited = start.elapsed();
    assert!(waited < Duration::from_secs(5), "unavailable only after {waited:?}");
    let ready = Api::new(hub.address, None).get("/health/ready");
    assert_eq!((ready.status, &ready.body["status"]), (503, &json!("unavailable")));
    // Reading goes on.
    assert_eq!(hub.api("bob").get("/api/rooms/lobby/messages").body["head"], 1);
    database.unlock().await;
    let healed = Instant::now();
    for n in 0..50 {
        let command = json!({"type": "send", "room": "lobby", "message": n.to_string(), "client_id": n.to_string()});
        assert_eq!(client.ask(command).await["type"], "ok");
    }
    assert!(healed.elapsed() < Duration::from_secs(2), "flow only after {:?}", healed.elapsed());
    assert_eq!(Api::new(hub.address, None).get("/health/ready").status, 200);
    let stored: Vec<_> = database.messages("lobby").await.into_iter().map(|message| message.content).collect();
    let mut expected: Vec<_> = (0..50).map(|n| n.to_string()).collect();
    expected.insert(0, "before".into());
    let mut sorted = stored.clone();
    sorted.sort_by_key(|content| content.parse::<i64>().unwrap_or(-1));
    assert_eq!(sorted, expected, "P1 P2: lost or doubled");
    for (index, content) in stored.iter().enumerate() {
        let message = reader.message().await;
        assert_eq!((&message["seq"], &message["message"]), (&json!(index + 1), &json!(content)), "P3");
    }
}

/// The database itself refuses one message of a batch, by a trigger.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_bad_message_fails_alone() {
    let hub = Hub::with(HubOptions::default().unlimited());
    let mut client = hub.member("alice", "lobby").await;
    client.say("lobby", "before").await;
    let database = hub.database().await;
    database.refuse_poison().await;
    // While the database is locked a batch gathers.
    database.lock().await;
    for n in 0..100 {
        let text = if n % 33 == 7 { format!("poison {n}") } else { format!("good {n}") };
        client.send(&json!({"type": "send", "id": n, "room": "lobby", "message": text})).await;
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    database.unlock().await;
    let mut seqs = Vec::new();
    for n in 0..100 {
        let answer = client.until(|frame| frame["id"] == n).await;
        if n % 33 == 7 {
            assert_eq!((&answer["code"], &answer["retryable"]), (&json!("internal"), &json!(false)));
        } else {
            assert_eq!(answer["type"], "ok", "{answer}");
            seqs.push(answer["seq"].as_i64().unwrap());
        }
    }
    assert_eq!(seqs, (2..=98).collect::<Vec<_>>(), "P3: the others keep their order, without a hole");
    assert_eq!(hub.log().matches("a message can't be stored").count(), 3);
}

/// The disk is full in the middle of commits, for longer than one try; then there is room again. What is acked after that
/// must really be there: SQLite has ended the transaction by itself then, and sqlx does not know.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p1_a_full_disk_refuses_and_what_is_acked_afterwards_is_stored() {
    // Python ignores SIGXFSZ, and so does what it becomes: writes over the limit fail as they do on a full disk.
    let ignoring = ["python3", "-c", "import os, sys; os.execv(sys.argv[1], sys.argv[1:])"];
    let mut hub = Hub::with(HubOptions::default().sqlite().unlimited().run_by(&ignoring));
    let limit_files_to = |bytes: &str| {
        let pid = hub.pid().to_string();
        let set = std::process::Command::new("prlimit").args(["--pid", &pid, &format!("--fsize={bytes}:")]).status();
        assert!(set.unwrap().success(), "prlimit");
    };
    let mut client = hub.member("alice", "lobby").await;
    let mut reader = hub.member("bob", "lobby").await;
    for n in 0..20 {
        client.say("lobby", &format!("before {n}")).await;
    }
    let owner = hub.api("alice");
    assert_eq!(owner.post("/api/rooms", &json!({"name": "club"})).status, 201);
    let log = hub.database_file().with_extension("db-wal");
    limit_files_to(&(std::fs::metadata(&log).unwrap().len() + 2_000).to_string());
    let big = "x".repeat(3_900);
    for n in 0..5 {
        let command =
            json!({"type": "send", "id": n, "room": "lobby", "message": big, "client_id": format!("full-{n}")});
        client.send(&command).await;
    }
    for n in 0..5 {
        let answer = client.until(|frame| frame["id"] == n).await;
        assert_eq!(answer["code"], "unavailable", "P1: {answer}");
    }
    // A transaction of another kind, once the writer is done with what it had: its connection is the same.
    tokio::time::sleep(Duration::from_secs(1)).await;
    for _ in 0..3 {
        assert_eq!(owner.put("/api/rooms/club/members/bob", &json!({})).status, 503, "P1: a change on a full disk");
    }
    // History stays readable.
    assert_eq!(hub.api("bob").get("/api/rooms/lobby/messages").body["head"], 20);
    limit_files_to("unlimited");
    let mut acked = Vec::new();
    for n in 0..10 {
        let command =
            json!({"type": "send", "room": "lobby", "message": format!("after {n}"), "client_id": format!("a-{n}")});
        let answer = client.ask(command).await;
        assert_eq!(answer["type"], "ok", "{answer}");
        acked.push((answer["seq"].as_i64().unwrap(), format!("after {n}")));
    }
    assert!(owner.put("/api/rooms/club/members/carol", &json!({})).status < 300);
    // An ack does not wait for the others' delivery, and a killed hub delivers nothing more.
    let last = acked.last().unwrap().0;
    let mut delivered = Vec::new();
    while delivered.last() != Some(&last) {
        delivered.push(reader.message().await["seq"].as_i64().unwrap());
    }
    hub.kill();
    let database = hub.database().await;
    let carol =
        "SELECT count(*) FROM hub_member WHERE user_id IN (SELECT id FROM hub_user WHERE external_id = 'carol')";
    assert_eq!(database.number(carol).await, 1, "P1: a change was answered after the disk was full, and is lost");
    let stored = database.messages("lobby").await;
    for (seq, text) in acked {
        let row = stored.iter().find(|row| row.seq == seq);
        assert_eq!(row.map(|row| &row.content), Some(&text), "P1: acked after the disk was full, and lost");
    }
    assert_eq!(delivered, stored.iter().map(|row| row.seq).collect::<Vec<_>>(), "P3");
}

/// What surely was not stored gives its place in the queue back: the next message hears of the database, not of a full queue.
#[tokio::test]
async fn a_locked_file_leaves_nothing_in_doubt() {
    let options = HubOptions::default().sqlite().set("limits.writer_queue", 1).set("database.write_timeout", "3s");
    let hub = Hub::with(options);
    let mut client = hub.member("alice", "lobby").await;
    client.say("lobby", "before").await;
    let database = hub.database().await;
    database.lock().await;
    assert_eq!(client.say("lobby", "one").await["code"], "unavailable");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(client.say("lobby", "two").await["code"], "unavailable");
    database.unlock().await;
}

#[tokio::test]
async fn p1_nothing_is_acked_into_a_file_that_was_deleted() {
    let hub = Hub::with(HubOptions::default().sqlite().set("database.write_timeout", "300ms"));
    let mut client = hub.member("alice", "lobby").await;
    client.say("lobby", "before").await;
    let (file, aside) = (hub.database_file(), hub.folder().join("aside"));
    std::fs::rename(&file, &aside).unwrap();
    assert_eq!(client.say("lobby", "lost?").await["code"], "unavailable", "P1");
    assert_eq!(Api::new(hub.address, None).get("/health/ready").status, 503);
    std::fs::rename(&aside, &file).unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(client.say("lobby", "after").await["seq"], 2);
}

#[tokio::test]
async fn rights_that_changed_meanwhile_are_read_again_before_a_message_is_stored() {
    let hub = Hub::start();
    let mut client = hub.member("alice", "lobby").await;
    client.say("lobby", "before").await;
    let database = hub.database().await;
    database.execute("UPDATE hub_room SET rights = rights + 1").await;
    assert_eq!(client.say("lobby", "after").await["seq"], 2, "a stale right is read again");
    // Now the room is for members alone; alice, who made it, is one, and bob is not.
    let mut bob = hub.member("bob", "lobby").await;
    database.execute("UPDATE hub_room SET kind = 'private', rights = rights + 1").await;
    assert_eq!(bob.say("lobby", "let me in").await["code"], "forbidden");
    assert_eq!(client.say("lobby", "mine").await["seq"], 3);
    assert_eq!(database.messages("lobby").await.len(), 3);
}

#[tokio::test]
async fn a_full_writer_queue_is_busy_and_loses_nothing_silently() {
    let hub = Hub::with(HubOptions::default().unlimited().set("limits.writer_queue", 10));
    let mut client = hub.member("alice", "lobby").await;
    client.say("lobby", "before").await;
    let database = hub.database().await;
    database.lock().await;
    for n in 0..40 {
        client.send(&json!({"type": "send", "id": n, "room": "lobby", "message": n.to_string()})).await;
    }
    let mut busy = 0;
    for n in 10..40 {
        let answer: Value = client.until(|frame| frame["id"] == n).await;
        assert_eq!((&answer["code"], &answer["retryable"]), (&json!("busy"), &json!(true)));
        busy += 1;
    }
    database.unlock().await;
    for n in 0..10 {
        assert_eq!(client.until(|frame| frame["id"] == n).await["seq"], n + 2);
    }
    assert_eq!((busy, database.number("SELECT count(*) FROM hub_message").await), (30, 11));
}

/// The database was away for so long that everybody had their answer, and nobody writes any more: a balancer that goes by
/// readiness sends nobody who would.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readiness_comes_back_where_nobody_writes() {
    let hub = Hub::with(HubOptions::default().set("database.write_timeout", "1s"));
    let mut client = hub.member("alice", "lobby").await;
    client.say("lobby", "before").await;
    let database = hub.database().await;
    database.lock().await;
    assert_eq!(client.say("lobby", "meanwhile").await["code"], "unavailable");
    // Whatever was tried for it has been given up.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let ready = || Api::new(hub.address, None).get("/health/ready").status;
    assert_eq!(ready(), 503);
    database.unlock().await;
    let took = until("ready again", Duration::from_secs(2), async || ready() == 200).await;
    eprintln!("ready again after {took:?}");
    // PostgreSQL may have finished the statement that nobody waited for any longer.
    let after = client.say("lobby", "after").await;
    assert_eq!(after["seq"], database.number("SELECT count(*) FROM hub_message").await, "{after}");
}
