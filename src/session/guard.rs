//! The reading half of a session's socket, and its guard before actix-web-actors' codec. The codec reads all that is there before it
//! gives out the first frame, and a frame whole before it looks at its length: one client could fill the memory in two
//! ways. The guard hands on one frame at a time, the next one only when the session has handled it, and none that `Frames`
//! refuses. Bounds: a frame of `limits.frame_bytes` (`limits.auth_frame_bytes` before a token came), and the 16 KiB that were
//! read at once, or what actix-http had read behind the request, at most 128 KiB. Lives on the session's thread.

use std::{
    cell::Cell,
    mem::{self, MaybeUninit},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use actix_web::{error::PayloadError, web::Bytes};
use futures_util::Stream;
use tokio::{
    io::{AsyncRead, ReadBuf},
    net::tcp::OwnedReadHalf,
};

use super::frames::Frames;
use crate::protocol::CloseCode;

/// Read at once: from the stack, since an idle session holds no buffer.
const CHUNK: usize = 16_384;

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
    socket: OwnedReadHalf,
    /// Read, and not handed on.
    ahead: Bytes,
    frames: Frames,
    gate: Rc<Gate>,
}

impl Guard {
    /// Guards this socket, of which `ahead` has been read.
    pub(super) fn new(socket: OwnedReadHalf, ahead: Bytes, gate: Rc<Gate>) -> Self {
        // An empty part of a buffer would hold all of it.
        let ahead = if ahead.is_empty() { Bytes::new() } else { ahead };
        Self { socket, ahead, frames: Frames::default(), gate }
    }

    /// What the client has sent; nothing where it sends no more, or its connection is broken.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Bytes> {
        let mut space = [const { MaybeUninit::uninit() }; CHUNK];
        let mut read = ReadBuf::uninit(&mut space);
        let result = ready!(Pin::new(&mut self.socket).poll_read(cx, &mut read));
        Poll::Ready(if result.is_ok() { Bytes::copy_from_slice(read.filled()) } else { Bytes::new() })
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
            self.ahead = ready!(self.poll_read(cx));
            if self.ahead.is_empty() {
                return Poll::Ready(None);
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
