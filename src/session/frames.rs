//! WebSocket frames as they come from the wire, looked at before anything of them is stored: what breaks RFC 6455 or is too
//! long is refused at the frame's header (section 5.2), a close frame's payload at its end (section 5.5.1). Pure; holds at
//! most one header and one control frame's payload.

use std::str;

use crate::protocol::CloseCode;

/// Two bytes, eight for the length, four for the mask.
const LONGEST_HEADER: usize = 14;
/// Section 5.5.
const LONGEST_CONTROL: u64 = 125;
const CLOSE: u8 = 0x8;

/// Follows the frames of one socket.
#[derive(Debug, Default)]
pub struct Frames {
    header: [u8; LONGEST_HEADER],
    have: usize,
    /// Bytes of the frame's payload that are still to come, once its header is whole.
    left: Option<u64>,
    /// A close frame's payload, unmasked.
    closing: Option<Vec<u8>>,
}

/// Bytes that may be handed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passed {
    /// How many.
    pub bytes: usize,
    /// Whether a frame ends with them.
    pub whole: bool,
}

impl Frames {
    /// Looks at the next bytes, at most to the end of a frame; one of more than `most` bytes is refused. The error is the
    /// code to close with.
    pub fn pass(&mut self, bytes: &[u8], most: usize) -> Result<Passed, CloseCode> {
        let mut passed = 0_usize;
        let mut rest = bytes;
        while self.left.is_none() {
            let Some((byte, after)) = rest.split_first() else { return Ok(Passed { bytes: passed, whole: false }) };
            if let Some(place) = self.header.get_mut(self.have) {
                *place = *byte;
            }
            self.have = self.have.saturating_add(1);
            passed = passed.saturating_add(1);
            rest = after;
            self.check_header(most)?;
        }
        let left = self.left.unwrap_or(0);
        let taken = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
        let payload = rest.get(..taken).unwrap_or_default();
        self.keep(payload);
        let left = left.saturating_sub(u64::try_from(taken).unwrap_or(u64::MAX));
        self.left = Some(left);
        let whole = left == 0;
        if whole {
            if let Some(payload) = self.closing.take() {
                check_close(&payload)?;
            }
            (self.left, self.have) = (None, 0);
        }
        Ok(Passed { bytes: passed.saturating_add(taken), whole })
    }

    /// Judges what there is of the header; once it is whole the payload's length is known.
    fn check_header(&mut self, most: usize) -> Result<(), CloseCode> {
        let [first, second, extended @ ..] = self.header;
        let (opcode, length) = (first & 0x0f, second & 0x7f);
        let control = opcode >= CLOSE;
        if self.have == 1 {
            let reserved = first & 0x70 != 0 || matches!(opcode, 0x3..=0x7 | 0xb..);
            let in_parts = control && first & 0x80 == 0;
            return if reserved || in_parts { Err(CloseCode::ProtocolError) } else { Ok(()) };
        }
        let unmasked = second & 0x80 == 0;
        if unmasked || (control && u64::from(length) > LONGEST_CONTROL) {
            return Err(CloseCode::ProtocolError);
        }
        let more = match length {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        if self.have < more + 2 {
            return Ok(());
        }
        let number = |bytes: &[u8]| bytes.iter().fold(0_u64, |number, byte| (number << 8) | u64::from(*byte));
        let number = number(extended.get(..more).unwrap_or_default());
        // The shortest form that holds the length must be used, and its highest bit is zero.
        let length = match more {
            0 => u64::from(length),
            2 if number > LONGEST_CONTROL => number,
            8 if number > u64::from(u16::MAX) && number >> 63 == 0 => number,
            _ => return Err(CloseCode::ProtocolError),
        };
        if usize::try_from(length).map_or(true, |length| length > most) {
            return Err(CloseCode::TooBig);
        }
        if self.have == more + 6 {
            self.left = Some(length);
            self.closing = (opcode == CLOSE).then(Vec::new);
        }
        Ok(())
    }

    fn keep(&mut self, payload: &[u8]) {
        let Some(closing) = &mut self.closing else { return };
        // Close frames have short lengths: the mask follows the first two bytes.
        let mask = self.header.get(2..6).unwrap_or_default();
        for byte in payload {
            let key = mask.get(closing.len() % 4).copied().unwrap_or_default();
            closing.push(byte ^ key);
        }
    }
}

/// A close frame's payload is empty, or a code that may be sent and a reason in UTF-8.
fn check_close(payload: &[u8]) -> Result<(), CloseCode> {
    let (code, reason) = match payload {
        [] => return Ok(()),
        [high, low, reason @ ..] => (u16::from_be_bytes([*high, *low]), reason),
        _ => return Err(CloseCode::ProtocolError),
    };
    // Section 7.4 and IANA's registry; 1004–1006 and 1015 are never sent.
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(CloseCode::ProtocolError);
    }
    str::from_utf8(reason).map(drop).map_err(|_| CloseCode::InvalidText)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![first];
        match payload.len() {
            short @ ..126 => bytes.push(0x80 | u8::try_from(short).unwrap()),
            middle @ ..65_536 => {
                bytes.push(0xfe);
                bytes.extend(u16::try_from(middle).unwrap().to_be_bytes());
            }
            long => {
                bytes.push(0xff);
                bytes.extend(u64::try_from(long).unwrap().to_be_bytes());
            }
        }
        let mask = [1, 2, 3, 4];
        bytes.extend(mask);
        bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
        bytes
    }

    fn verdict(bytes: &[u8]) -> Result<Passed, CloseCode> {
        Frames::default().pass(bytes, 65_536)
    }

    #[test]
    fn what_breaks_the_protocol_is_refused_at_its_header() {
        for first in [0x91, 0xa1, 0xc1, 0x83, 0x87, 0x8b, 0x8f, 0x08, 0x09, 0x0a] {
            assert_eq!(verdict(&[first]), Err(CloseCode::ProtocolError), "{first:#x}");
        }
        assert_eq!(verdict(&[0x81, 0x05]), Err(CloseCode::ProtocolError), "unmasked");
        assert_eq!(verdict(&[0x89, 0xfe]), Err(CloseCode::ProtocolError), "a long ping");
        assert_eq!(verdict(&[0x81, 0xfe, 0, 125]), Err(CloseCode::ProtocolError), "not the shortest form");
        assert_eq!(verdict(&[0x81, 0xff, 0, 0, 0, 0, 0, 0, 1, 0]), Err(CloseCode::ProtocolError));
        assert_eq!(verdict(&[0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0]), Err(CloseCode::ProtocolError));
        assert_eq!(verdict(&[0x81, 0xff, 0, 0, 0, 0, 0, 1, 0, 1]), Err(CloseCode::TooBig));
        assert_eq!(verdict(&[0x82, 0xff, 0x40, 0, 0, 0, 0, 0, 0, 0]), Err(CloseCode::TooBig), "2^62");
        assert_eq!(verdict(&frame(0x81, &[b'x'; 65_536])), Ok(Passed { bytes: 65_550, whole: true }));
    }

    #[test]
    fn close_frames_say_what_may_be_said() {
        let close = |payload: &[u8]| verdict(&frame(0x88, payload)).map(|passed| passed.whole);
        let coded = |code: u16, reason: &[u8]| close(&[&code.to_be_bytes(), reason].concat());
        assert_eq!((close(b""), close(b"x")), (Ok(true), Err(CloseCode::ProtocolError)));
        for code in [1000, 1003, 1007, 1014, 3000, 4999] {
            assert_eq!(coded(code, "ü".as_bytes()), Ok(true), "{code}");
        }
        for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, u16::MAX] {
            assert_eq!(coded(code, b""), Err(CloseCode::ProtocolError), "{code}");
        }
        assert_eq!(coded(1000, b"\xff"), Err(CloseCode::InvalidText));
    }

    proptest! {
        /// However the bytes are cut, the frames are the same ones.
        #[test]
        fn frames_end_where_they_end(
            payloads in prop::collection::vec((0_u8..2, prop::collection::vec(any::<u8>(), 0..400)), 1..8),
            cuts in prop::collection::vec(1_usize..50, 1..64),
        ) {
            let bytes: Vec<u8> = payloads.iter().flat_map(|(kind, payload)| frame(0x81 + kind, payload)).collect();
            let (mut frames, mut rest, mut ends, mut at) = (Frames::default(), &bytes[..], Vec::new(), 0);
            let mut cuts = cuts.iter().cycle();
            while !rest.is_empty() {
                let piece = &rest[..rest.len().min(*cuts.next().unwrap())];
                let passed = frames.pass(piece, 400).unwrap();
                at += passed.bytes;
                rest = &rest[passed.bytes..];
                if passed.whole {
                    ends.push(at);
                }
            }
            let mut sum = 0;
            let expected: Vec<usize> = payloads.iter().map(|(kind, payload)| { sum += frame(0x81 + kind, payload).len(); sum }).collect();
            prop_assert_eq!(ends, expected);
        }
    }
}
