//! A second hold on a session's socket, beside actix-web's: to write by, and to end it by.
//!
//! actix-web would pass each frame through a session's mailbox, the actor, a response's body and a buffer, which costs several
//! times what the kernel takes for it. So what a session says is gathered here while its actor runs and written when it has run,
//! and a live event is written by the Dispatcher where nothing is before it. One of both at a time: session and Dispatcher live
//! on one thread; the lock is there because messages between actors must be `Send`.
//!
//! What the kernel does not take waits here, and the actor does not run until it is gone (`session/flow`): that bounds it to what
//! one turn of an actor says, or one delivery. Since it does not run then it can't close itself either; the Dispatcher can.

use std::{
    io::{self, ErrorKind},
    net::Shutdown,
    os::fd::{AsRawFd, RawFd},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use actix_http::ws::{CloseReason, OpCode, Parser};
use actix_web::web::BytesMut;
use socket2::{SockRef, Socket};
use tokio::{
    io::{Interest, unix::AsyncFd},
    net::TcpStream,
};

/// A session's socket; costs one entry in the process's table of open files.
#[derive(Debug)]
pub struct Wire {
    /// Whether the session must hear of something before anything else is written.
    hushed: AtomicBool,
    output: Mutex<Output>,
    socket: Socket,
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

impl Output {
    /// Of a socket that takes nothing any more.
    fn gone() -> Self {
        Self { begun: true, ended: true, waiting: BytesMut::new() }
    }
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
    /// A hold on this socket.
    pub fn of(stream: &TcpStream) -> io::Result<Self> {
        let socket = SockRef::from(stream).try_clone()?;
        Ok(Self { hushed: AtomicBool::new(false), output: Mutex::default(), socket })
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

    /// The session has ended: nothing follows what waits.
    pub fn end(&self) {
        self.output().ended = true;
    }

    /// Gives the kernel what waits; says whether it took all.
    pub fn flush(&self) -> bool {
        let mut output = self.output();
        while output.begun && !output.waiting.is_empty() {
            match self.socket.send(&output.waiting) {
                Ok(sent) => drop(output.waiting.split_to(sent)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                // The reading side hears of it too, and ends the session.
                Err(_) => *output = Output::gone(),
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
        *self.output() = Output::gone();
        self.shut();
    }

    /// Waits until the kernel has taken all that waits.
    pub async fn flushed(self: Arc<Self>) -> io::Result<()> {
        #[expect(deprecated, reason = "sound for a socket that is held; what replaces it is unsafe to call")]
        let socket = AsyncFd::with_interest(Arc::clone(&self), Interest::WRITABLE)?;
        loop {
            let mut ready = socket.writable().await?;
            if self.flush() {
                return Ok(());
            }
            ready.clear_ready();
        }
    }

    /// Nothing is written past the session any more.
    pub(super) fn hush(&self) {
        self.hushed.store(true, Ordering::Relaxed);
    }

    /// Whether nothing may be written past the session.
    pub(super) fn is_hushed(&self) -> bool {
        self.hushed.load(Ordering::Relaxed)
    }

    /// Writes frames past the session, where nothing is before them.
    pub(super) fn write(&self, frames: &[u8]) -> Written {
        let mut output = self.output();
        if !output.begun || output.ended || !output.waiting.is_empty() {
            return Written::Nothing;
        }
        match self.socket.send(frames).map(|sent| frames.get(sent..).unwrap_or_default()) {
            Ok([]) => Written::All,
            Ok(rest) => {
                output.waiting.extend_from_slice(rest);
                Written::Part
            }
            Err(_) => Written::Nothing,
        }
    }

    /// Hears nothing more: both sides have said goodbye, and the connection closes when its last bytes are written, not after
    /// actix's wait for a client that is to close it (RFC 6455 section 5.5.1: the server does, at once).
    pub fn hang_up(&self) {
        drop(self.socket.shutdown(Shutdown::Read));
    }

    /// Ends the connection when its last bytes are written: both sides may say no more.
    pub(super) fn shut(&self) {
        // A connection that is gone already is as it should be.
        drop(self.socket.shutdown(Shutdown::Both));
    }

    /// Ends the connection at once; what was not sent is given up, or the kernel would go on sending it to a client that
    /// takes a byte a second.
    pub(super) fn cut(&self) {
        drop(self.socket.set_linger(Some(Duration::ZERO)));
        self.shut();
    }
}

impl AsRawFd for Wire {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}
