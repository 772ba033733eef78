//! Every decoder of what comes from outside, fed with anything: it never panics, and what it allocates is bounded by what
//! it was given. 10^4 inputs of each kind; PROPTEST_CASES=1000000 for more.

use hubbub::{
    protocol::{ClientId, Dialect, MessageLimits, RoomName, Timestamp, UserId, object},
    session::Frames,
};
use proptest::{prelude::*, test_runner::TestRunner};

use super::{MEMORY, alone};

const LIMITS: MessageLimits = MessageLimits { text_chars: 4_000, data_bytes: 8_192, data_depth: 32 };
/// What a decoder may allocate for each byte that it gets, and beside that.
const PER_BYTE: usize = 64;
const BESIDE: usize = 16_384;

/// Runs `decode` on many inputs, each of so many bytes, and looks at what it allocates at most.
fn holds<T: std::fmt::Debug>(inputs: impl Strategy<Value = T>, length: impl Fn(&T) -> usize, decode: impl Fn(&T)) {
    let _turn = alone();
    // PROPTEST_CASES goes before this.
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(10_000);
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let checked = TestRunner::new(config).run(&inputs, |input| {
        // What the program's other threads allocate meanwhile is counted too, so the least of three counts.
        let tries = [(); 3].map(|()| {
            let before = MEMORY.current_usage();
            MEMORY.reset_peak_usage();
            decode(&input);
            MEMORY.peak_usage().saturating_sub(before)
        });
        let grown = tries.into_iter().min().unwrap_or(0);
        prop_assert!(grown <= length(&input) * PER_BYTE + BESIDE, "{grown} bytes for {} bytes", length(&input));
        Ok(())
    });
    checked.unwrap();
}

/// Text that looks like a command, with anything where anything can stand.
fn commands() -> impl Strategy<Value = String> {
    let value = prop_oneof![
        any::<String>().prop_map(|text| serde_json::to_string(&text).unwrap()),
        any::<i64>().prop_map(|number| number.to_string()),
        any::<f64>().prop_map(|number| number.to_string()),
        Just("null".to_owned()),
        Just("{\"after\":1,\"epoch\":\"x\"}".to_owned()),
        (0_usize..3_000).prop_map(|depth| "[".repeat(depth)),
        (0_usize..300).prop_map(|depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth))),
        prop::collection::vec(any::<char>(), 0..20).prop_map(|chars| chars.into_iter().collect()),
        (0_usize..50).prop_map(|rooms| {
            let rooms: Vec<_> = (0..rooms).map(|n| format!("\"r{n}\":{{\"after\":{n}}}")).collect();
            format!("{{{}}}", rooms.join(","))
        }),
    ];
    let kind = prop::sample::select(vec![
        "auth", "refresh", "join", "resume", "leave", "send", "history", "read", "typing", "presence", "ping", "pong",
        "edit",
    ]);
    let field = prop::sample::select(vec![
        "type",
        "id",
        "room",
        "message",
        "client_id",
        "data",
        "token",
        "after",
        "before",
        "around",
        "limit",
        "epoch",
        "rooms",
        "seq",
        "other",
    ]);
    (kind, prop::collection::vec((field, value), 0..8)).prop_map(|(kind, fields)| {
        let fields: String = fields.iter().map(|(name, value)| format!(",\"{name}\":{value}")).collect();
        format!("{{\"type\":\"{kind}\"{fields}}}")
    })
}

fn decode_text(text: &str) {
    drop(Dialect::Native.parse(text, &LIMITS));
    let plain = Dialect::Plain { room: RoomName::parse("lobby").unwrap(), resumes: true };
    drop(plain.parse(text, &LIMITS));
    drop(object::<serde_json::Value>(text));
    drop(RoomName::parse(text));
    drop(ClientId::parse(text));
    UserId::parse(text);
    Timestamp::parse(text);
}

#[test]
fn commands_in_any_state() {
    holds(commands(), String::len, |text| decode_text(text));
}

#[test]
fn any_text() {
    holds(any::<String>(), String::len, |text| decode_text(text));
}

#[test]
fn any_bytes_as_frames() {
    let pieces = prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..8);
    holds(
        pieces,
        |pieces| pieces.iter().map(Vec::len).sum(),
        |pieces| {
            let mut frames = Frames::default();
            for piece in pieces {
                let mut rest = &piece[..];
                while !rest.is_empty() {
                    let Ok(passed) = frames.pass(rest, 65_536) else { return };
                    assert!(passed.bytes > 0, "it stands still");
                    rest = &rest[passed.bytes..];
                }
            }
        },
    );
}
