//! What a socket's bytes may be (RFC 6455), byte by byte: what breaks the protocol is closed with 1002, bad UTF-8 with 1007,
//! what is too big with 1009, floods with 1008; at the frame's header where that decides. scripts/conformance runs the
//! whole of the Autobahn|Testsuite; these are the cases that matter most.
//!
//! Seen to fail with the hub broken so (scripts/mutants): frames not looked at before the codec (1009 never comes for a
//! frame whose body does not).

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{
    Hub, HubOptions,
    raw::{Raw, frame, header},
    token,
};

const TEXT: u8 = 0x81;
const PING: u8 = 0x89;

/// The close code after these bytes, in a session that has said hello.
async fn verdict(hub: &Hub, bytes: &[u8]) -> Option<u16> {
    let mut raw = Raw::native(hub.address, &token("raw", "raw")).await;
    raw.send(bytes).await;
    // Where the hub waits for more it does not close.
    tokio::time::timeout(Duration::from_secs(5), raw.close_code()).await.unwrap_or(None)
}

#[tokio::test]
async fn what_breaks_the_protocol_is_closed_with_its_code() {
    let hub = Hub::start();
    let close = |payload: &[u8]| frame(0x88, payload);
    let message = |frames: &[(u8, &[u8])]| frames.iter().flat_map(|(first, payload)| frame(*first, payload)).collect();
    let cases: Vec<(&str, Vec<u8>, Option<u16>)> = vec![
        ("a reserved bit", frame(TEXT | 0x40, b"{}"), Some(1002)),
        ("a reserved opcode", frame(0x83, b""), Some(1002)),
        ("a reserved control opcode", frame(0x8b, b""), Some(1002)),
        ("no mask", vec![TEXT, 2, b'{', b'}'], Some(1002)),
        ("a ping of 126 bytes", frame(PING, &[b'x'; 126]), Some(1002)),
        ("a ping in parts", frame(0x09, b"x"), Some(1002)),
        ("a length longer than it needs", vec![TEXT, 0xfe, 0, 5, 1, 2, 3, 4], Some(1002)),
        ("a continuation of nothing", frame(0x80, b"x"), Some(1002)),
        ("a message within a message", message(&[(0x01, b"{"), (TEXT, b"}")]), Some(1002)),
        ("bad UTF-8", frame(TEXT, b"\xce\xba\xed\xa0\x80"), Some(1007)),
        ("bad UTF-8 in parts", message(&[(0x01, b"\xce\xba"), (0x80, b"\xed\xa0\x80")]), Some(1007)),
        ("a code that may not be sent", close(&1005_u16.to_be_bytes()), Some(1002)),
        ("half a code", close(b"\x03"), Some(1002)),
        ("a reason that is not UTF-8", close(b"\x03\xe8\xff"), Some(1007)),
        ("a frame over the limit", header(TEXT, 65_537), Some(1009)),
        ("2^62 bytes announced", header(0x82, 1 << 62), Some(1009)),
        ("parts over the limit", message(&[(0x01, &[b'x'; 40_000]), (0x80, &[b'x'; 40_000])]), Some(1009)),
        ("17 parts", message(&[&[(0x01, b"".as_slice())][..], &[(0x00, b"".as_slice()); 16]].concat()), Some(1009)),
        ("a close with a code", close(&3000_u16.to_be_bytes()), Some(3000)),
        ("a close without one", close(b""), None),
    ];
    for (name, bytes, expected) in cases {
        assert_eq!(verdict(&hub, &bytes).await, expected, "{name}");
    }
    assert!(!hub.log().contains("panic"), "{}", hub.log());
}

#[tokio::test]
async fn parts_pings_and_split_characters_are_joined() {
    let hub = Hub::start();
    let mut raw = Raw::native(hub.address, &token("raw", "raw")).await;
    let command = json!({"type": "join", "id": "ü한", "room": "lobby"}).to_string();
    let (first, second) = command.as_bytes().split_at(command.find('한').unwrap() + 1);
    for bytes in [frame(0x01, first), frame(PING, b"between"), frame(0x00, b""), frame(0x80, second)] {
        // Byte by byte, so that headers and masks are cut too.
        for byte in bytes {
            raw.send(&[byte]).await;
        }
    }
    assert_eq!(raw.next().await, Some((10, b"between".to_vec())), "the pong has the ping's payload");
    let (_, joined) = raw.next().await.unwrap();
    let joined: Value = serde_json::from_slice(&joined).unwrap();
    assert_eq!((&joined["type"], &joined["id"]), (&json!("ok"), &json!("ü한")));
    // As large as a frame may be: refused for what is in it, and the session goes on.
    raw.send(&frame(TEXT, &[b'x'; 65_536])).await;
    let (_, refused) = raw.next().await.unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&refused).unwrap()["code"], "bad_json");
    raw.send(&frame(TEXT, br#"{"type":"ping"}"#)).await;
    assert_eq!(raw.next().await, Some((1, br#"{"type":"pong"}"#.to_vec())));
}

/// Each kind of frame alone, as fast as the socket takes it.
#[tokio::test]
async fn floods_of_any_frame_kind_are_closed_with_1008() {
    let hub = Hub::start();
    for (name, bytes) in [
        ("text", frame(TEXT, br#"{"type":"ping"}"#)),
        ("bad JSON", frame(TEXT, b"{")),
        ("binary", frame(0x82, b"x")),
        ("pings", frame(PING, b"")),
        ("pongs", frame(0x8a, b"")),
    ] {
        let mut raw = Raw::native(hub.address, &token("raw", "raw")).await;
        raw.send(&bytes.repeat(2_000)).await;
        assert_eq!(raw.close_code().await, Some(1008), "{name}");
    }
}

#[tokio::test]
async fn without_a_token_a_socket_is_tiny_and_short_lived() {
    let hub = Hub::with(HubOptions::default().set("limits.auth_timeout", "1s"));
    for (name, bytes, expected) in [
        ("silence", Vec::new(), 4503),
        ("a frame of 8 KiB and a byte", header(TEXT, 8_193), 1009),
        ("no auth", frame(TEXT, br#"{"type":"join","room":"lobby"}"#), 4500),
        ("binary", frame(0x82, b"x"), 4500),
        ("pings", frame(PING, b"").repeat(2_000), 1008),
    ] {
        let mut raw = Raw::open(hub.address, "/ws", &[], None).await;
        raw.send(&bytes).await;
        assert_eq!(raw.close_code().await, Some(expected), "{name}");
        assert!(raw.ends_within(Duration::from_secs(5)).await, "{name}: the connection stays");
    }
}

#[tokio::test]
async fn only_the_version_that_became_the_standard_is_spoken() {
    let hub = Hub::start();
    let version = ["Sec-WebSocket-Version: 8".to_owned()];
    let (_, answer) = Raw::ask(hub.address, "/ws", &version, None).await;
    assert!(
        answer.starts_with("HTTP/1.1 426") && answer.to_lowercase().contains("sec-websocket-version: 13"),
        "{answer}"
    );
}
