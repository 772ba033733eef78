//! P1 where a kill can't see it: what the live writing connection says of itself, and the order of the kernel calls
//! between a message and its ack.
//!
//! Seen to fail with the hub broken so (scripts/mutants): `synchronous=NORMAL` (P1: both tests); the ack sent before the
//! commit (P1: strace).

use std::{
    fs,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde_json::json;

use crate::support::{Api, Hub, HubOptions};

#[tokio::test]
async fn p1_the_live_writing_connection_is_wal_and_full() {
    let hub = Hub::with(HubOptions::default().sqlite());
    hub.member("alice", "lobby").await.say("lobby", "first").await;
    let ready = Api::new(hub.address, None).get("/health/ready");
    assert_eq!(ready.body["database"], json!({"journal_mode": "wal", "synchronous": 2}), "P1");
}

/// Each message is sent alone, so each ack has a sync of its own that must stand between the frame and it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p1_the_disk_has_a_message_before_its_ack_leaves() {
    let trace = tempfile::NamedTempFile::new().unwrap();
    let path = trace.path().to_str().unwrap().to_owned();
    let calls = "trace=fdatasync,sendto,write,writev,sendmsg";
    let strace = ["strace", "-f", "-qq", "-ttt", "-s", "200", "-e", calls, "-e", "signal=none", "-o", &path];
    let hub = Hub::with(HubOptions::default().sqlite().run_by(&strace).set("server.workers", 1));
    let mut client = hub.member("alice", "lobby").await;
    let mut sent_at = Vec::new();
    for n in 0..10 {
        // What the message before left to be done is done by now: this one needs a sync of its own.
        tokio::time::sleep(Duration::from_millis(50)).await;
        sent_at.push(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64());
        let ack = client.ask(json!({"type": "send", "room": "lobby", "message": format!("marker {n}")})).await;
        assert_eq!(ack["seq"], n + 1);
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let trace = fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = trace.lines().collect();
    // A line is: thread, time, call. Client frames are masked, so a message shows by its event and its ack alone, and when
    // it was sent is the client's to say.
    let time = |line: &str| line.split_whitespace().nth(1).and_then(|time| time.parse::<f64>().ok()).unwrap();
    let mut from = 0;
    for (n, sent_at) in (1..).zip(sent_at) {
        let seq = format!(r#"\"seq\":{n},"#);
        let place = lines.iter().position(|line| line.contains(&seq) && line.contains("lobby"));
        let place = place.unwrap_or_else(|| panic!("no frame with number {n}"));
        assert!(place > from, "frames out of order in the trace");
        let done = |line: &&&str| line.contains("fdatasync") && line.ends_with("= 0") && time(line) > sent_at;
        assert!(lines[from..place].iter().any(|line| done(&line)), "P1: number {n} left before the disk had it");
        from = place;
    }
}
