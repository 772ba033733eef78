//! The writing side of a session's socket. actix-web would pass each frame through a session's mailbox, the actor, a response's
//! body and a buffer, which costs several times what the kernel takes for it. So what a session says is gathered here while its
//! actor runs and written when it has run, and a live event is written by the Dispatcher where nothing is before it. One of both
//! at a time: session and Dispatcher live on one thread; the lock is there because messages between actors must be `Send`.
//!
//! What the kernel does not take waits here, and the actor does not run until it is gone (`session/flow`): that bounds it to what
//! one turn of an actor says, or one delivery.

use std::{
    io::{self, ErrorKind},
    sync::{Mutex, MutexGuard, PoisonError},
};

use actix_http::ws::{CloseReason, OpCode, Parser};
use actix_web::web::BytesMut;
use tokio::io::{Interest, unix::AsyncFd};

use super::Lifeline;

/// A session's socket, to be written to.
#[derive(Debug)]
pub struct Wire {
    lifeline: Lifeline,
    output: Mutex<Output>,
}

#[derive(Debug, Default)]
struct Output {
    /// Whether the response's head is out: nothing goes before it.
    begun: bool,
    /// Whether a close frame was said, or the socket is gone: nothing follows.
    ended: bool,
    /// Frames that the kernel has not taken.
    waiting: BytesMut,
}

/// What became of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// The kernel has it.
    All,
    /// The kernel has a part of it, the rest waits: the session must look after that.
    Part,
    /// Nothing: it is not its turn.
    Nothing,
}

impl Wire {
    /// For this socket.
    pub fn new(lifeline: Lifeline) -> Self {
        Self { lifeline, output: Mutex::default() }
    }

    /// The hold on the socket.
    pub fn lifeline(&self) -> &Lifeline {
        &self.lifeline
    }

    fn output(&self) -> MutexGuard<'_, Output> {
        self.output.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The response's head is out.
    pub fn begin(&self) {
        self.output().begun = true;
    }

    /// Says a text; it goes out at the next [`Wire::flush`].
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

    /// Gives the kernel what waits; says whether it took all.
    pub fn flush(&self) -> bool {
        let mut output = self.output();
        while output.begun && !output.waiting.is_empty() {
            match self.lifeline.send(&output.waiting) {
                Ok(sent) => drop(output.waiting.split_to(sent)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                // The reading side hears of it too, and ends the session.
                Err(_) => *output = Output { begun: true, ended: true, waiting: BytesMut::new() },
            }
        }
        if output.waiting.is_empty() {
            // An idle session holds no buffer.
            output.waiting = BytesMut::new();
        }
        true
    }

    /// The socket is gone: nothing is written to it any more.
    pub fn give_up(&self) {
        *self.output() = Output { begun: true, ended: true, waiting: BytesMut::new() };
        self.lifeline.shut();
    }

    /// Waits until the kernel has taken all that waits.
    pub async fn flushed(&self) -> io::Result<()> {
        #[expect(deprecated, reason = "sound for a socket that is held; what replaces it is unsafe to call")]
        let socket = AsyncFd::with_interest(self.lifeline.socket(), Interest::WRITABLE)?;
        loop {
            let mut ready = socket.writable().await?;
            if self.flush() {
                return Ok(());
            }
            ready.clear_ready();
        }
    }

    /// Writes frames past the session, where nothing is before them.
    pub(super) fn write(&self, frames: &[u8]) -> Written {
        let mut output = self.output();
        if !output.begun || output.ended || !output.waiting.is_empty() {
            return Written::Nothing;
        }
        match self.lifeline.send(frames).map(|sent| frames.get(sent..).unwrap_or_default()) {
            Ok([]) => Written::All,
            Ok(rest) => {
                output.waiting.extend_from_slice(rest);
                Written::Part
            }
            Err(_) => Written::Nothing,
        }
    }
}
