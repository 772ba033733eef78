//! P1 where a kill can't see it: what the live writing connection says of itself, and the order of the kernel calls
//! between a message and its ack.
//!
//! Seen to fail with the hub broken so: `synchronous=NORMAL` (both tests); the ack sent before the commit (strace).

use std::{fs, time::Duration};

use serde_json::json;

use crate::support::{Api, Hub, HubOptions};

#[tokio::test]
async fn p1_the_live_writing_connection_is_wal_and_full() {
    let hub = Hub::start();
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
    let strace = ["strace", "-f", "-qq", "-s", "200", "-e", calls, "-e", "signal=none", "-o", &path];
    let hub = Hub::with(HubOptions::default().run_by(&strace).set("server.workers", 1));
    let mut client = hub.member("alice", "lobby").await;
    for n in 0..10 {
        let ack = client.ask(json!({"type": "send", "room": "lobby", "message": format!("marker {n}")})).await;
        assert_eq!(ack["seq"], n + 1);
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let trace = fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = trace.lines().collect();
    // Client frames are masked, so a message shows by its event and its ack alone; both must come after a sync that
    // comes after the ack before.
    let synced = |line: &&str| line.contains("fdatasync") && line.ends_with("= 0");
    let mut from = 0;
    for n in 1..=10 {
        let seq = format!(r#"\"seq\":{n},"#);
        let sent = |line: &&str| line.contains(&seq) && line.contains("lobby");
        let place = lines.iter().position(sent).unwrap_or_else(|| panic!("no frame with number {n}"));
        assert!(place > from, "frames out of order in the trace");
        assert!(lines[from..place].iter().any(synced), "P1: number {n} left before the disk had it");
        from = place;
    }
}
