//! What the generator says and understands: the hub's native dialect, and the tutorial's, which other servers speak too. Frames are
//! looked through for the few fields that matter.

use memchr::memmem;

/// How the server is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Speech {
    /// The hub's own.
    Native,
    /// The tutorial's: `{"message": …}` both ways, the room in the path, the token in the query, no acks and no numbers.
    Tutorial,
}

/// Where the server is and how a connection to it begins.
#[derive(Clone, Debug)]
pub(super) struct Door {
    /// Host and port.
    pub(super) host: String,
    /// The path; `{room}` stands for the room's name.
    pub(super) path: String,
    pub(super) speech: Speech,
    /// Whether each message has a random `client_id`, as a UUID is.
    pub(super) client_ids: bool,
}

/// A frame from the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Frame {
    Hello,
    /// A join's answer: where the room stands.
    Joined {
        head: u64,
    },
    /// The message that was sent under this number is stored.
    Stored(u64),
    /// Something was refused.
    Refused,
    /// A message: its number in the room, and the one that it was sent under.
    Message {
        seq: Option<u64>,
        number: u64,
    },
    /// A session was told that it missed something, or must go.
    Lagged,
    Other,
}

impl Door {
    pub(super) fn request(&self, room: &str, token: &str) -> Vec<u8> {
        let Self { host, path, speech, .. } = self;
        let path = path.replace("{room}", room);
        let (query, header) = match speech {
            Speech::Native => (String::new(), format!("Authorization: Bearer {token}\r\n")),
            Speech::Tutorial => (format!("?token={token}"), String::new()),
        };
        // The key is RFC 6455's own example: this client has no cache between itself and the server to be wary of.
        format!(
            "GET {path}{query} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n{header}\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        .into_bytes()
    }
}

impl Speech {
    /// What is said on a new connection: nothing where it is in its room by its address.
    pub(super) fn join(self, room: &str, after: Option<u64>) -> Option<String> {
        let after = after.map(|after| format!(r#","after":{after}"#)).unwrap_or_default();
        (self == Self::Native).then(|| format!(r#"{{"type":"join","id":"in","room":"{room}"{after}}}"#))
    }

    /// A message under a number, at least so long.
    pub(super) fn message(self, room: &str, number: u64, characters: usize, client_id: Option<u128>) -> String {
        let mut text = format!("{number};");
        text.extend(std::iter::repeat_n('x', characters.saturating_sub(text.len())));
        match self {
            Self::Native => {
                let client_id = client_id.map(|id| format!(r#","client_id":"{id:032x}""#)).unwrap_or_default();
                format!(r#"{{"type":"send","id":{number},"room":"{room}","message":"{text}"{client_id}}}"#)
            }
            Self::Tutorial => format!(r#"{{"message":"{text}"}}"#),
        }
    }

    pub(super) fn read(self, text: &[u8]) -> Frame {
        let message = || number_after(text, br#""message":"#);
        match self {
            Self::Tutorial => message().map_or(Frame::Other, |number| Frame::Message { seq: None, number }),
            Self::Native if text.starts_with(br#"{"type":"message""#) => {
                match (number_after(text, br#""seq":"#), message()) {
                    (seq @ Some(_), Some(number)) => Frame::Message { seq, number },
                    _ => Frame::Other,
                }
            }
            Self::Native if text.starts_with(br#"{"type":"ok","id":"in""#) => {
                number_after(text, br#""head":"#).map_or(Frame::Refused, |head| Frame::Joined { head })
            }
            Self::Native if text.starts_with(br#"{"type":"ok""#) => {
                number_after(text, br#""id":"#).map_or(Frame::Other, Frame::Stored)
            }
            Self::Native if text.starts_with(br#"{"type":"hello""#) => Frame::Hello,
            Self::Native if text.starts_with(br#"{"type":"error""#) => Frame::Refused,
            Self::Native if text.starts_with(br#"{"type":"lagged""#) || text.starts_with(br#"{"type":"bye""#) => {
                Frame::Lagged
            }
            Self::Native => Frame::Other,
        }
    }
}

/// The number after `name`, be it in a string or not, with or without a space before.
fn number_after(text: &[u8], name: &[u8]) -> Option<u64> {
    let at = memmem::find(text, name)?.saturating_add(name.len());
    let mut digits =
        text.get(at..)?.iter().skip_while(|byte| matches!(byte, b' ' | b'"')).take_while(|byte| byte.is_ascii_digit());
    let digit = |byte: &u8| u64::from(byte.wrapping_sub(b'0'));
    let first = digit(digits.next()?);
    Some(digits.fold(first, |number, byte| number.wrapping_mul(10).wrapping_add(digit(byte))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_told_apart() {
        for (text, frame) in [
            (
                r#"{"type":"message","room":"a","seq":12,"user":"x","user_id":"y","message":"7;xx"}"#,
                Frame::Message { seq: Some(12), number: 7 },
            ),
            (r#"{"type":"message","room":"a","seq":12,"message":"hello"}"#, Frame::Other),
            (r#"{"type":"ok","id":"in","room":"a","head":3,"epoch":"e"}"#, Frame::Joined { head: 3 }),
            (r#"{"type":"ok","id":41,"room":"a","seq":3}"#, Frame::Stored(41)),
            (r#"{"type":"error","id":41,"code":"busy"}"#, Frame::Refused),
            (r#"{"type":"bye","code":4000}"#, Frame::Lagged),
        ] {
            assert_eq!(Speech::Native.read(text.as_bytes()), frame, "{text}");
        }
        let from_python = br#"{"message": "19;xxx", "user": "a"}"#;
        assert_eq!(Speech::Tutorial.read(from_python), Frame::Message { seq: None, number: 19 });
    }
}
