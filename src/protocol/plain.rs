//! The tutorial's dialect: `{"message": "hi"}` in, messages and errors out. A frame that is no message has neither
//! `message` nor `user` at its top level, so that the tutorial's client shows nothing odd.

use bytestring::ByteString;
use serde::Deserialize;
use serde_json::{json, value::RawValue};

use super::{
    Command, Failure, MessageLimits, Reply, Request, RoomName,
    native::{object, text_field},
    reply::to_json,
};

#[derive(Deserialize)]
struct Frame<'a> {
    #[serde(borrow)]
    message: Option<&'a RawValue>,
    #[serde(borrow)]
    client_id: Option<&'a RawValue>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

pub(super) fn parse(text: &str, room: &RoomName, limits: &MessageLimits) -> Result<Request, Failure> {
    let draft = || {
        let frame: Frame<'_> = object(text)?;
        let message = text_field(frame.message, "message")?;
        let client_id = text_field(frame.client_id, "client_id")?;
        limits.draft(message, client_id.as_deref(), frame.data)
    };
    match draft() {
        Ok(draft) => Ok(Request { id: None, command: Command::Send { room: room.clone(), draft } }),
        Err(error) => Err(Failure { id: None, error }),
    }
}

pub(super) fn encode(reply: &Reply, resumes: bool) -> Option<ByteString> {
    match reply {
        Reply::Error { error, .. } => Some(to_json(&json!({ "error": error }))),
        // A client that names its messages knows of the hub and wants to know what became of them.
        Reply::Sent { client_id: Some(client_id), seq, timestamp, repeat, .. } => Some(to_json(
            &json!({"ok": {"client_id": client_id, "seq": seq, "timestamp": timestamp, "repeat": repeat}}),
        )),
        Reply::Joined { room, standing, .. } if resumes => Some(if standing.reset {
            to_json(&json!({"reset": {"room": room, "head": standing.head, "epoch": standing.epoch}}))
        } else {
            to_json(&json!({"joined": {"room": room, "head": standing.head, "epoch": standing.epoch}}))
        }),
        Reply::Hello(_)
        | Reply::Joined { .. }
        | Reply::Resumed { .. }
        | Reply::Refreshed { .. }
        | Reply::TokenExpiring { .. }
        | Reply::Done { .. }
        | Reply::Read { .. }
        | Reply::Presence { .. }
        | Reply::Sent { .. }
        | Reply::History { .. }
        | Reply::Ping
        | Reply::Pong { .. }
        | Reply::Lagged { .. }
        | Reply::Bye { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{ErrorCode, WireError};

    const LIMITS: MessageLimits = MessageLimits { text_chars: 5, data_bytes: 20, data_depth: 2 };

    fn parse_plain(text: &str) -> Result<Command, ErrorCode> {
        let room = RoomName::parse("lobby").unwrap();
        parse(text, &room, &LIMITS).map(|request| request.command).map_err(|failure| failure.error.code)
    }

    #[test]
    fn other_fields_are_ignored_even_type() {
        let Ok(Command::Send { room, draft }) = parse_plain(r#"{"type": 3, "message": "hi", "user": "x"}"#) else {
            panic!("not a send");
        };
        assert_eq!((room.as_str(), &*draft.text), ("lobby", "hi"));
    }

    #[test]
    fn what_is_no_message_is_an_error() {
        assert_eq!(parse_plain("hi").err(), Some(ErrorCode::BadJson));
        assert_eq!(parse_plain(r#""hi""#).err(), Some(ErrorCode::BadJson));
        assert_eq!(parse_plain("{}").err(), Some(ErrorCode::BadField));
        assert_eq!(parse_plain(r#"{"message": 5}"#).err(), Some(ErrorCode::BadField));
    }

    #[test]
    fn errors_have_no_top_level_message_or_user() {
        let error = Reply::Error { id: None, error: WireError::busy() };
        let value: serde_json::Value = serde_json::from_str(&encode(&error, false).unwrap()).unwrap();
        assert!(value.get("message").is_none() && value.get("user").is_none());
        assert_eq!(value["error"]["code"], "busy");
    }
}
