//! The writing half of a session's socket, and what the socket is ended by.
//!
//! What a session says is gathered here while its actor runs and written when it has run. A live event is written by the Dispatcher
//! where nothing is before it: through the session's mailbox and actor it would cost several times what the kernel takes for it. One
//! of both at a time: session and Dispatcher live on one thread; the lock is there because messages between actors must be `Send`.
//! To whoever is about to be told that it is stored the event is left here, and the session writes both at once.
//!
//! What the kernel does not take waits here, and the actor does not run until it is gone (`session/flow`): that bounds it to what
//! one turn of an actor says, and one delivery, or `KEPT` and one delivery. Since it does not run then it can't close itself
//! either; the Dispatcher can.

use std::{
    io::ErrorKind,
    net::Shutdown,
    os::fd::AsRawFd,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use actix_http::ws::{CloseReason, OpCode, Parser};
use actix_web::web::BytesMut;
use socket2::SockRef;
use tokio::net::tcp::OwnedWriteHalf;

/// Bytes past which nothing more is kept for what the session says next.
const KEPT: usize = 65_536;

/// A session's socket; it is closed when this and the reading half are dropped.
#[derive(Debug)]
pub struct Wire {
    /// Whether the session must hear of something before anything else is written.
    hushed: AtomicBool,
    output: Mutex<Output>,
    socket: OwnedWriteHalf,
}

#[derive(Debug, Default)]
struct Output {
    /// Whether a close frame was said, or the socket is gone: nothing follows.
    ended: bool,
    /// What the kernel has not taken.
    waiting: BytesMut,
    /// Whether the kernel is not asked: it goes out with what the session, which has been woken, says next.
    kept: bool,
}

impl Output {
    /// Of a socket that takes nothing any more.
    fn gone() -> Self {
        Self { ended: true, ..Self::default() }
    }
}

/// What became of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// The kernel has it, or the session, which is about to speak.
    All,
    /// The kernel has a part of it or nothing yet, the rest waits: the session must look after that.
    Part,
    /// Nothing: it is not its turn.
    Nothing,
}

impl Wire {
    /// A wire of this socket; `first`, the response's head, goes out before anything else.
    pub fn new(socket: OwnedWriteHalf, first: BytesMut) -> Self {
        let output = Mutex::new(Output { waiting: first, ..Output::default() });
        Self { hushed: AtomicBool::new(false), output, socket }
    }

    fn output(&self) -> MutexGuard<'_, Output> {
        self.output.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says a text; it goes out at the next [`Wire::poll_flush`].
    pub fn text(&self, text: &[u8]) {
        self.say(text, OpCode::Text);
    }

    /// Sends bytes back.
    pub fn binary(&self, bytes: &[u8]) {
        self.say(bytes, OpCode::Binary);
    }

    /// Asks whether the client is there.
    pub fn ping(&self) {
        self.say(b"", OpCode::Ping);
    }

    /// Answers that the hub is.
    pub fn pong(&self, payload: &[u8]) {
        self.say(payload, OpCode::Pong);
    }

    fn say(&self, payload: &[u8], kind: OpCode) {
        let mut output = self.output();
        if !output.ended {
            Parser::write_message(&mut output.waiting, payload, kind, true, false);
        }
    }

    /// Says goodbye; nothing follows.
    pub fn close(&self, reason: Option<CloseReason>) {
        let mut output = self.output();
        if !output.ended {
            Parser::write_close(&mut output.waiting, reason, false);
        }
        output.ended = true;
    }

    /// The session has ended: nothing follows what waits.
    pub fn end(&self) {
        self.output().ended = true;
    }

    /// Gives the kernel what waits; says whether it took all.
    fn flush(&self) -> bool {
        let mut output = self.output();
        output.kept = false;
        while !output.waiting.is_empty() {
            match self.socket.try_write(&output.waiting) {
                Ok(sent) => drop(output.waiting.split_to(sent)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                // The reading side hears of it too, and ends the session.
                Err(_) => *output = Output::gone(),
            }
        }
        // An idle session holds no buffer.
        output.waiting = BytesMut::new();
        true
    }

    /// Gives the kernel what waits; pending until it has taken all.
    pub fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<()> {
        while !self.flush() {
            if ready!(self.socket.as_ref().poll_write_ready(cx)).is_err() {
                *self.output() = Output::gone();
            }
        }
        Poll::Ready(())
    }

    /// Whether what waits goes out with what the session says next.
    pub fn keeps(&self) -> bool {
        self.output().kept
    }

    /// The session is about to be woken for an ack: a live event goes out with that, in one write.
    pub(super) fn keep(&self) {
        let mut output = self.output();
        output.kept |= output.waiting.is_empty();
    }

    /// Nothing is written past the session any more.
    pub(super) fn hush(&self) {
        self.hushed.store(true, Ordering::Relaxed);
    }

    /// Whether there is a socket: a look at what a write needs, so that it is near.
    pub(super) fn is_there(&self) -> bool {
        self.socket.as_ref().as_raw_fd() >= 0
    }

    /// Whether nothing may be written past the session.
    pub(super) fn is_hushed(&self) -> bool {
        self.hushed.load(Ordering::Relaxed)
    }

    /// Writes frames past the session, where nothing is before them.
    pub(super) fn write(&self, frames: &[u8]) -> Written {
        let mut output = self.output();
        if output.ended || !(output.waiting.is_empty() || (output.kept && output.waiting.len() < KEPT)) {
            return Written::Nothing;
        }
        if output.kept {
            output.waiting.extend_from_slice(frames);
            return Written::All;
        }
        // Not by the runtime's, which would look up what it knows of the socket's readiness: in a large room that is far away.
        match SockRef::from(self.socket.as_ref()).send(frames).map(|sent| frames.get(sent..).unwrap_or_default()) {
            Ok([]) => Written::All,
            Ok(rest) => {
                output.waiting.extend_from_slice(rest);
                Written::Part
            }
            Err(_) => Written::Nothing,
        }
    }

    /// Says to the kernel that nothing follows: the client sees the end at once, and need not end the connection itself (RFC 6455
    /// section 7.1.1: the server does first).
    pub fn finish(&self) {
        self.shutdown(Shutdown::Write);
    }

    /// Ends the connection when its last bytes are written: both sides may say no more.
    pub(super) fn shut(&self) {
        self.shutdown(Shutdown::Both);
    }

    /// Ends the connection at once; what was not sent is given up, or the kernel would go on sending it to a client that
    /// takes a byte a second.
    pub(super) fn cut(&self) {
        drop(SockRef::from(self.socket.as_ref()).set_linger(Some(Duration::ZERO)));
        self.shut();
    }

    fn shutdown(&self, how: Shutdown) {
        // A connection that is gone already is as it should be.
        drop(SockRef::from(self.socket.as_ref()).shutdown(how));
    }
}
