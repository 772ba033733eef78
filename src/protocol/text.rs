//! What a message may be: the bounds and rules of its text and `data`, the same for every dialect and for HTTP.

use std::sync::Arc;

use serde_json::value::RawValue;

use super::{ClientId, Draft, ErrorCode, WireError};

/// Bounds of one message, from the config's `limits`.
#[derive(Clone, Copy, Debug)]
pub struct MessageLimits {
    /// Unicode scalar values of text.
    pub text_chars: usize,
    /// Bytes of `data`.
    pub data_bytes: usize,
    /// Levels of objects and arrays in `data`.
    pub data_depth: usize,
}

impl MessageLimits {
    /// Makes a draft of what a client sent, or says what is wrong with it.
    pub fn draft(
        &self,
        text: Option<String>,
        client_id: Option<&str>,
        data: Option<&RawValue>,
    ) -> Result<Draft, WireError> {
        // `null` is how many encoders write "none"; stored as such it could not be told from none by a reader.
        let data = data.filter(|data| data.get() != "null");
        let client_id = client_id.map(ClientId::parse).transpose()?;
        let text = match (text, data) {
            (Some(text), _) => text,
            (None, Some(_)) => String::new(),
            (None, None) => return Err(WireError::bad_field("message", "is missing: it must be text")),
        };
        if text.contains('\0') {
            return Err(WireError::bad_field("message", "must not contain U+0000"));
        }
        if text.chars().count() > self.text_chars {
            let most = format!("a message has at most {} characters", self.text_chars);
            return Err(WireError::new(ErrorCode::TooLong, most));
        }
        match data {
            None if text.trim().is_empty() => return Err(WireError::new(ErrorCode::Empty, "the message is blank")),
            None => {}
            Some(data) => self.check_data(data)?,
        }
        Ok(Draft { text: text.into(), client_id, data: data.map(|data| Arc::from(data.to_owned())) })
    }

    fn check_data(&self, data: &RawValue) -> Result<(), WireError> {
        if data.get().len() > self.data_bytes {
            return Err(WireError::new(ErrorCode::TooLong, format!("`data` has at most {} bytes", self.data_bytes)));
        }
        if is_deeper(data.get(), self.data_depth) {
            return Err(WireError::bad_field("data", "is nested too deep"));
        }
        Ok(())
    }
}

/// Whether JSON has more levels of nesting than this; ends as soon as it has.
pub(super) fn is_deeper(json: &str, most: usize) -> bool {
    let (mut depth, mut in_text, mut escaped) = (0_usize, false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b'{' | b'[' if !in_text => {
                depth = depth.saturating_add(1);
                if depth > most {
                    return true;
                }
            }
            b'}' | b']' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: MessageLimits = MessageLimits { text_chars: 5, data_bytes: 20, data_depth: 2 };

    fn raw(json: &str) -> Box<RawValue> {
        serde_json::from_str(json).unwrap()
    }

    fn code(text: &str, data: Option<&str>) -> Option<ErrorCode> {
        let data = data.map(raw);
        LIMITS.draft(Some(text.into()), None, data.as_deref()).err().map(|error| error.code)
    }

    #[test]
    fn text_is_bounded_in_characters_not_bytes() {
        assert_eq!(code("안녕하세요", None), None);
        assert_eq!(code("안녕하세요!", None), Some(ErrorCode::TooLong));
    }

    #[test]
    fn blank_text_needs_data() {
        assert_eq!(code(" \u{3000}\n", None), Some(ErrorCode::Empty));
        assert_eq!(code("", Some("null")), Some(ErrorCode::Empty));
        assert_eq!(code("", Some("{}")), None);
        assert_eq!(code("a\0b", None), Some(ErrorCode::BadField));
    }

    #[test]
    fn data_is_bounded_in_bytes_and_depth() {
        assert_eq!(code("", Some(r#"["[[[[\"[[[["]"#)), None);
        assert_eq!(code("", Some("[[1]]")), None);
        assert_eq!(code("", Some("[[[1]]]")), Some(ErrorCode::BadField));
        assert_eq!(code("", Some(r#""aaaaaaaaaaaaaaaaaaa""#)), Some(ErrorCode::TooLong));
    }
}
