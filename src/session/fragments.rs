//! A message that comes in several frames (RFC 6455 section 5.4), put together within bounds of size and number.

use actix_http::ws::Item;
use actix_web::web::Bytes;
use bytestring::ByteString;

use crate::protocol::CloseCode;

/// What a frame of a message makes of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Assembled {
    /// There is more to come.
    More,
    /// A text message is whole.
    Text(ByteString),
    /// A binary message is whole.
    Binary(Bytes),
}

/// The message under way.
#[derive(Debug, Default)]
pub(super) struct Fragments {
    bytes: Vec<u8>,
    count: usize,
    binary: bool,
}

impl Fragments {
    /// Takes the next frame; the error is the code to close with.
    pub(super) fn take(&mut self, item: Item, most: usize, most_bytes: usize) -> Result<Assembled, CloseCode> {
        let (bytes, last) = match item {
            Item::FirstText(bytes) => {
                *self = Self::default();
                (bytes, false)
            }
            Item::FirstBinary(bytes) => {
                *self = Self { binary: true, ..Self::default() };
                (bytes, false)
            }
            Item::Continue(bytes) => (bytes, false),
            Item::Last(bytes) => (bytes, true),
        };
        self.count = self.count.saturating_add(1);
        if self.count > most || self.bytes.len().saturating_add(bytes.len()) > most_bytes {
            return Err(CloseCode::TooBig);
        }
        self.bytes.extend_from_slice(&bytes);
        if !last {
            return Ok(Assembled::More);
        }
        match (std::mem::take(&mut self.bytes), self.binary) {
            (bytes, true) => Ok(Assembled::Binary(bytes.into())),
            (text, false) => {
                let text = ByteString::try_from(text).map_err(|_| CloseCode::InvalidText)?;
                Ok(Assembled::Text(text))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(fragments: &mut Fragments, item: Item) -> Result<Assembled, CloseCode> {
        fragments.take(item, 3, 6)
    }

    #[test]
    fn a_character_may_be_split_between_frames() {
        let mut fragments = Fragments::default();
        let (first, second) = "ü한".as_bytes().split_at(3);
        assert_eq!(take(&mut fragments, Item::FirstText(first.to_vec().into())), Ok(Assembled::More));
        let text = take(&mut fragments, Item::Last(second.to_vec().into()));
        assert_eq!(text, Ok(Assembled::Text("ü한".into())));
    }

    #[test]
    fn size_number_and_text_are_bounded() {
        let mut fragments = Fragments::default();
        assert_eq!(take(&mut fragments, Item::FirstText("1234".into())), Ok(Assembled::More));
        assert_eq!(take(&mut fragments, Item::Last("567".into())), Err(CloseCode::TooBig));
        for item in [Item::FirstText("".into()), Item::Continue("".into()), Item::Continue("".into())] {
            assert_eq!(take(&mut fragments, item), Ok(Assembled::More));
        }
        assert_eq!(take(&mut fragments, Item::Last("".into())), Err(CloseCode::TooBig));
        assert_eq!(take(&mut fragments, Item::FirstText("".into())), Ok(Assembled::More));
        assert_eq!(take(&mut fragments, Item::Last(vec![0xff].into())), Err(CloseCode::InvalidText));
        assert_eq!(take(&mut fragments, Item::FirstBinary(vec![0xff].into())), Ok(Assembled::More));
        assert_eq!(take(&mut fragments, Item::Last("".into())), Ok(Assembled::Binary(vec![0xff].into())));
    }
}
