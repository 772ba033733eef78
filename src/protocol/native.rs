//! The native dialect: commands with a `type` and an optional `id`, as docs/protocol.md has them. Each field is looked
//! at on its own, so that an error can name it and still carry the command's id.

use std::collections::HashSet;

use bytestring::ByteString;
use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::value::RawValue;

use super::{
    Command, Epoch, ErrorCode, Failure, MessageLimits, Position, Reply, Request, RequestId, ResumeRoom, Resumed,
    RoomName, Seq, Window, WireError,
    reply::{json_array, to_json},
    text::is_deeper,
};

/// Bytes from which on JSON is looked through before it is parsed.
const LARGE: usize = 4_096;
/// Levels of nesting; `data` has a bound of its own, everything else needs a few.
const DEEPEST: usize = 128;

#[derive(Deserialize)]
struct Frame<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    room: Option<&'a RawValue>,
    #[serde(borrow)]
    message: Option<&'a RawValue>,
    #[serde(borrow)]
    client_id: Option<&'a RawValue>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    token: Option<&'a RawValue>,
    #[serde(borrow)]
    after: Option<&'a RawValue>,
    #[serde(borrow)]
    before: Option<&'a RawValue>,
    #[serde(borrow)]
    around: Option<&'a RawValue>,
    #[serde(borrow)]
    limit: Option<&'a RawValue>,
    #[serde(borrow)]
    epoch: Option<&'a RawValue>,
    #[serde(borrow)]
    rooms: Option<&'a RawValue>,
    #[serde(borrow)]
    seq: Option<&'a RawValue>,
}

pub(super) fn parse(text: &str, limits: &MessageLimits) -> Result<Request, Failure> {
    let frame: Frame<'_> = object(text).map_err(|error| Failure { id: None, error })?;
    let id = match frame.id.map(|raw| RequestId::parse(raw).ok_or(())) {
        None => None,
        Some(Ok(id)) => Some(id),
        Some(Err(())) => {
            let error = WireError::bad_field("id", "must be a number, or text of up to 64 characters");
            return Err(Failure { id: None, error });
        }
    };
    match command(&frame, limits) {
        Ok(command) => Ok(Request { id, command }),
        Err(error) => Err(Failure { id, error }),
    }
}

fn command(frame: &Frame<'_>, limits: &MessageLimits) -> Result<Command, WireError> {
    let kind = needed(text_field(frame.kind, "type")?, "type")?;
    let room = || RoomName::parse(&needed(text_field(frame.room, "room")?, "room")?);
    Ok(match kind.as_str() {
        "auth" => Command::Auth { token: needed(text_field(frame.token, "token")?, "token")? },
        "refresh" => Command::Refresh { token: needed(text_field(frame.token, "token")?, "token")? },
        "join" => {
            let epoch = text_field(frame.epoch, "epoch")?;
            Command::Join { room: room()?, position: position(number_field(frame.after, "after")?, epoch)? }
        }
        "resume" => Command::Resume { rooms: resume_field(frame.rooms)? },
        "leave" => Command::Leave { room: room()? },
        "typing" => Command::Typing { room: room()? },
        "presence" => Command::Presence { room: room()? },
        "read" => {
            let seq = needed(number_field(frame.seq, "seq")?, "seq")?;
            Command::Read { room: room()?, seq: Seq::parse(seq, "seq")? }
        }
        "send" => {
            let room = room()?;
            let client_id = text_field(frame.client_id, "client_id")?;
            let draft = limits.draft(text_field(frame.message, "message")?, client_id.as_deref(), frame.data)?;
            Command::Send { room, draft }
        }
        "history" => Command::History {
            room: room()?,
            window: Window::from_options(
                number_field(frame.after, "after")?,
                number_field(frame.before, "before")?,
                number_field(frame.around, "around")?,
            )?,
            limit: Window::limit(number_field(frame.limit, "limit")?)?,
        },
        "ping" => Command::Ping,
        "pong" => Command::Pong,
        _ => return Err(WireError::new(ErrorCode::UnknownType, "no command has this `type`")),
    })
}

/// Reads a JSON object; a struct alone would take an array of its fields too.
pub fn object<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, WireError> {
    // Only what is large can be deep enough to cost something.
    if text.len() > LARGE && is_deeper(text, DEEPEST) {
        return Err(WireError::new(ErrorCode::BadJson, "this is nested too deep"));
    }
    if !text.trim_ascii_start().starts_with('{') {
        return Err(WireError::new(ErrorCode::BadJson, "this must be one JSON object"));
    }
    serde_json::from_str(text).map_err(|error| {
        let (code, what) = match error.is_data() && !error.to_string().starts_with("duplicate") {
            true => (ErrorCode::BadField, error.to_string()),
            false => (ErrorCode::BadJson, "this must be one JSON object, each field once".to_owned()),
        };
        WireError::new(code, what)
    })
}

/// A cursor, where `after` is given.
fn position(after: Option<i64>, epoch: Option<String>) -> Result<Option<Position>, WireError> {
    let epoch = epoch.map(|epoch| Epoch::from(epoch.as_str()));
    match after {
        None => Ok(None),
        Some(after) => Ok(Some(Position { after: Seq::parse(after, "after")?, epoch })),
    }
}

fn needed<T>(value: Option<T>, field: &str) -> Result<T, WireError> {
    value.ok_or_else(|| WireError::bad_field(field, "is missing"))
}

/// A field that must be text where it is given.
pub(super) fn text_field(raw: Option<&RawValue>, field: &str) -> Result<Option<String>, WireError> {
    let parse = |raw: &RawValue| serde_json::from_str(raw.get());
    raw.map(parse).transpose().map_err(|_| WireError::bad_field(field, "must be text"))
}

fn number_field(raw: Option<&RawValue>, field: &str) -> Result<Option<i64>, WireError> {
    let parse = |raw: &RawValue| serde_json::from_str(raw.get());
    raw.map(parse).transpose().map_err(|_| WireError::bad_field(field, "must be a whole number"))
}

fn resume_field(raw: Option<&RawValue>) -> Result<Vec<ResumeRoom>, WireError> {
    #[derive(Deserialize)]
    struct Cursor<'a>(#[serde(borrow)] &'a RawValue);
    #[derive(Deserialize)]
    struct Place {
        after: i64,
        epoch: Option<String>,
    }
    let wrong = || WireError::bad_field("rooms", r#"must be an object of names, each with {"after", "epoch"}"#);
    let InOrder(rooms) =
        serde_json::from_str::<InOrder<Cursor<'_>>>(needed(raw, "rooms")?.get()).map_err(|_| wrong())?;
    let mut names = HashSet::new();
    rooms
        .into_iter()
        .map(|(name, cursor)| {
            if !names.insert(name.clone()) {
                return Err(WireError::bad_field("rooms", "names a room twice"));
            }
            let Place { after, epoch } = object(cursor.0.get()).map_err(|_| wrong())?;
            let position = position(Some(after), epoch)?.ok_or_else(wrong)?;
            let room = RoomName::parse(&name).map(|room| (room, position));
            Ok((name, room))
        })
        .collect()
}

/// A JSON object in the order in which it was written, so that rooms are resumed in the client's order of importance.
struct InOrder<T>(Vec<(String, T)>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for InOrder<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor<T>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>> de::Visitor<'de> for Visitor<T> {
            type Value = InOrder<T>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries: Vec<(String, T)> = Vec::new();
                while let Some(entry) = map.next_entry::<String, T>()? {
                    entries.push(entry);
                }
                Ok(InOrder(entries))
            }
        }
        deserializer.deserialize_map(Visitor(std::marker::PhantomData))
    }
}

#[derive(Serialize, Default)]
struct Answer<'a> {
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a RequestId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    room: Option<&'a RoomName>,
}

impl<'a> Answer<'a> {
    fn ok(id: Option<&'a RequestId>, room: &'a RoomName) -> Self {
        Self { r#type: "ok", id, room: Some(room) }
    }
}

#[derive(Serialize)]
struct With<'a, T> {
    #[serde(flatten)]
    answer: Answer<'a>,
    #[serde(flatten)]
    rest: T,
}

pub(super) fn encode(reply: &Reply) -> ByteString {
    match reply {
        Reply::Hello(hello) => to_json(&With { answer: Answer { r#type: "hello", ..Answer::default() }, rest: hello }),
        Reply::Joined { id, room, standing } => {
            to_json(&With { answer: Answer::ok(id.as_ref(), room), rest: standing })
        }
        Reply::Resumed { id, rooms } => encode_resumed(id.as_ref(), rooms),
        Reply::Refreshed { id, expires_in_ms } => {
            #[derive(Serialize)]
            struct Refreshed {
                token_expires_in_ms: u64,
            }
            let answer = Answer { r#type: "ok", id: id.as_ref(), room: None };
            to_json(&With { answer, rest: Refreshed { token_expires_in_ms: *expires_in_ms } })
        }
        Reply::TokenExpiring { in_ms } => to_json(&serde_json::json!({"type": "token_expiring", "in_ms": in_ms})),
        Reply::Done { id, room } => to_json(&Answer::ok(id.as_ref(), room)),
        Reply::Read { id, room, seq } => {
            #[derive(Serialize)]
            struct Read {
                seq: Seq,
            }
            to_json(&With { answer: Answer::ok(id.as_ref(), room), rest: Read { seq: *seq } })
        }
        Reply::Presence { id, room, presence } => {
            to_json(&With { answer: Answer::ok(id.as_ref(), room), rest: presence })
        }
        Reply::Sent { id, room, seq, timestamp, repeat, .. } => {
            #[derive(Serialize)]
            struct Sent<'a> {
                seq: &'a Seq,
                timestamp: &'a super::Timestamp,
                #[serde(skip_serializing_if = "std::ops::Not::not")]
                repeat: bool,
            }
            let rest = Sent { seq, timestamp, repeat: *repeat };
            to_json(&With { answer: Answer::ok(id.as_ref(), room), rest })
        }
        Reply::History { id, room, events, head, more } => {
            // No flattening here: it would buffer the page, and events that are JSON already can't be buffered.
            #[derive(Serialize)]
            struct History<'a> {
                r#type: &'static str,
                #[serde(skip_serializing_if = "Option::is_none")]
                id: Option<&'a RequestId>,
                room: &'a RoomName,
                messages: &'a RawValue,
                head: Seq,
                more: bool,
            }
            let messages = json_array(events);
            to_json(&History { r#type: "ok", id: id.as_ref(), room, messages: &messages, head: *head, more: *more })
        }
        Reply::Error { id, error } => {
            to_json(&With { answer: Answer { r#type: "error", id: id.as_ref(), room: None }, rest: error })
        }
        Reply::Ping => to_json(&Answer { r#type: "ping", ..Answer::default() }),
        Reply::Pong { id } => to_json(&Answer { r#type: "pong", id: id.as_ref(), room: None }),
        Reply::Lagged { room, reset } => {
            let standing = reset.as_ref().map(|(head, epoch)| super::Standing {
                head: *head,
                epoch: epoch.clone(),
                replay: None,
                reset: true,
            });
            to_json(&With { answer: Answer { r#type: "lagged", id: None, room: Some(room) }, rest: standing })
        }
        Reply::Bye { code, after_ms } => to_json(&serde_json::json!({
            "type": "bye", "code": code.code(), "reason": code.reason(), "reconnect": code.reconnect(),
            "after_ms": after_ms,
        })),
    }
}

fn encode_resumed(id: Option<&RequestId>, rooms: &[(String, Result<super::Standing, WireError>)]) -> ByteString {
    #[derive(Serialize)]
    struct Answers<'a> {
        r#type: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<&'a RequestId>,
        #[serde(serialize_with = "in_order")]
        rooms: &'a [(String, Result<super::Standing, WireError>)],
    }
    fn in_order<S: serde::Serializer>(
        rooms: &[(String, Result<super::Standing, WireError>)],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_map(rooms.iter().map(|(name, result)| match result {
            Ok(standing) => (name, Resumed::Standing(standing)),
            Err(error) => (name, Resumed::Refused { error }),
        }))
    }
    to_json(&Answers { r#type: "ok", id, rooms })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: MessageLimits = MessageLimits { text_chars: 4_000, data_bytes: 8_192, data_depth: 32 };

    fn parse_native(text: &str) -> Result<Request, Failure> {
        parse(text, &LIMITS)
    }

    fn refusal(text: &str) -> (ErrorCode, String) {
        let failure = parse_native(text).expect_err("a refusal");
        (failure.error.code, failure.error.message.into_owned())
    }

    #[test]
    fn an_error_names_the_field_and_keeps_the_id() {
        let failure = parse_native(r#"{"type":"join","id":"a-1","room":7}"#).expect_err("a refusal");
        let frame = encode(&Reply::Error { id: failure.id, error: failure.error });
        assert_eq!(
            &*frame,
            r#"{"type":"error","id":"a-1","code":"bad_field","message":"`room` must be text","retryable":false}"#
        );
    }

    #[test]
    fn what_is_no_command_has_its_code() {
        assert_eq!(refusal("[]").0, ErrorCode::BadJson);
        assert_eq!(refusal(r#"{"type":"ping","type":"ping"}"#).0, ErrorCode::BadJson);
        assert_eq!(refusal(r#"{"type":"edit"}"#).0, ErrorCode::UnknownType);
        assert_eq!(refusal(r#"{"id":1}"#), (ErrorCode::BadField, "`type` is missing".into()));
        assert_eq!(refusal(r#"{"type":"join","room":"a b"}"#).0, ErrorCode::BadRoomName);
        assert_eq!(refusal(r#"{"type":"join","room":"a","after":-1}"#).0, ErrorCode::BadField);
        assert_eq!(refusal(r#"{"type":"join","room":"a","after":1.5}"#).0, ErrorCode::BadField);
        assert_eq!(refusal(r#"{"type":"history","room":"a","limit":101}"#).0, ErrorCode::BadField);
        assert_eq!(refusal(r#"{"type":"history","room":"a","after":1,"before":2}"#).0, ErrorCode::BadField);
        assert_eq!(refusal(r#"{"type":"send","room":"a","message":"\ud800"}"#).0, ErrorCode::BadField);
        assert_eq!(refusal(r#"{"type":"send","room":"a","message":"a","client_id":"ü"}"#).0, ErrorCode::BadField);
        assert_eq!(refusal(r#"{"type":"resume","rooms":{"a":1}}"#).0, ErrorCode::BadField);
        assert_eq!(
            refusal(r#"{"type":"resume","rooms":{"a":{"after":1},"\u0061":{"after":2}}}"#).0,
            ErrorCode::BadField
        );
        assert_eq!(refusal(r#"{"type":"ping","id":{}}"#).0, ErrorCode::BadField);
    }

    #[test]
    fn resume_keeps_the_order_of_its_rooms_and_says_which_name_is_none() {
        let request =
            parse_native(r#"{"type":"resume","rooms":{"z":{"after":1},"no no":{"after":0},"a":{"after":2}}}"#);
        let Ok(Request { command: Command::Resume { rooms }, .. }) = request else { panic!("not a resume") };
        let names: Vec<_> = rooms.iter().map(|(name, room)| (name.as_str(), room.is_ok())).collect();
        assert_eq!(names, [("z", true), ("no no", false), ("a", true)]);
    }

    #[test]
    fn data_is_kept_as_it_came() {
        let request = parse_native(r#"{"type":"send","room":"a","data":{"b": 1.50,  "a":[ ]}}"#);
        let Ok(Request { command: Command::Send { draft, .. }, .. }) = request else { panic!("not a send") };
        assert_eq!(draft.data.unwrap().get(), r#"{"b": 1.50,  "a":[ ]}"#);
    }
}
