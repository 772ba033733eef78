//! The socket's guard, between actix-web's payload and actix-web-actors' codec. The codec reads all that is there before it
//! gives out the first frame, and a frame whole before it looks at its length: one client could fill the memory in two
//! ways. The guard hands on one frame at a time, the next one only when the session has handled it, and none that `Frames`
//! refuses. Bounds: a frame of `limits.frame_bytes` (`limits.auth_frame_bytes` before a token came), and the chunk of at most
//! 32 KiB that actix-web has read. Lives on the session's thread.

use std::{
    cell::Cell,
    mem,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use actix_web::{
    error::PayloadError,
    web::{self, Bytes},
};
use futures_util::Stream;

use super::frames::Frames;
use crate::protocol::CloseCode;

/// What the guard and its session tell each other.
#[derive(Debug)]
pub(super) struct Gate {
    most_bytes: Cell<usize>,
    open: Cell<bool>,
    fault: Cell<Option<CloseCode>>,
}

impl Gate {
    /// Frames may have so many bytes.
    pub(super) fn new(most_bytes: usize) -> Rc<Self> {
        Rc::new(Self { most_bytes: Cell::new(most_bytes), open: Cell::new(true), fault: Cell::new(None) })
    }

    /// From the next frame on they may have so many.
    pub(super) fn allow(&self, most_bytes: usize) {
        self.most_bytes.set(most_bytes);
    }

    /// The frame is handled, the next one may come.
    pub(super) fn next_frame(&self) {
        self.open.set(true);
    }

    /// Why the stream ended with an error, where the guard ended it.
    pub(super) fn fault(&self) -> Option<CloseCode> {
        self.fault.get()
    }
}

/// The guarded stream of a socket's bytes.
pub(super) struct Guard {
    payload: web::Payload,
    /// Read, and not handed on.
    ahead: Bytes,
    frames: Frames,
    gate: Rc<Gate>,
}

impl Guard {
    pub(super) fn new(payload: web::Payload, gate: Rc<Gate>) -> Self {
        Self { payload, ahead: Bytes::new(), frames: Frames::default(), gate }
    }
}

impl Stream for Guard {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.gate.fault.get().is_some() || !self.gate.open.get() {
            // No waker: the codec has a whole frame now, and asks again when the session has handled it. After a fault, or
            // where the gate stays closed, nothing is read any more and the client's bytes stay in its own buffers.
            return Poll::Pending;
        }
        if self.ahead.is_empty() {
            match Pin::new(&mut self.payload).poll_next(cx) {
                Poll::Ready(Some(Ok(bytes))) => self.ahead = bytes,
                other => return other,
            }
        }
        let mut ahead = mem::take(&mut self.ahead);
        let most = self.gate.most_bytes.get();
        match self.frames.pass(&ahead, most) {
            Ok(passed) => {
                self.gate.open.set(!passed.whole);
                let part = ahead.split_to(passed.bytes);
                self.ahead = ahead;
                Poll::Ready(Some(Ok(part)))
            }
            Err(code) => {
                self.gate.fault.set(Some(code));
                Poll::Ready(Some(Err(PayloadError::Overflow)))
            }
        }
    }
}
