//! A second hold on a session's socket. A session is the body of an HTTP response and does not run while its client takes
//! nothing (actix-web #2441): it can't close itself then. The Dispatcher can, from outside, by this.

use std::{io, net::Shutdown, sync::Arc, time::Duration};

use socket2::{SockRef, Socket};
use tokio::net::TcpStream;

/// The socket; costs one entry in the process's table of open files.
#[derive(Clone, Debug)]
pub struct Lifeline(Arc<Socket>);

impl Lifeline {
    /// A hold on this socket.
    pub fn of(stream: &TcpStream) -> io::Result<Self> {
        Ok(Self(Arc::new(SockRef::from(stream).try_clone()?)))
    }

    /// Gives the kernel bytes to send, as many as it takes.
    pub(super) fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        self.0.send(bytes)
    }

    /// The socket, to be waited for.
    pub(super) fn socket(&self) -> Arc<Socket> {
        Arc::clone(&self.0)
    }

    /// Hears nothing more: both sides have said goodbye, and the connection closes when its last bytes are written, not after
    /// actix's wait for a client that is to close it (RFC 6455 section 5.5.1: the server does, at once).
    pub fn hang_up(&self) {
        drop(self.0.shutdown(Shutdown::Read));
    }

    /// Ends the connection when its last bytes are written: both sides may say no more.
    pub(super) fn shut(&self) {
        // A connection that is gone already is as it should be.
        drop(self.0.shutdown(Shutdown::Both));
    }

    /// Ends the connection at once; what was not sent is given up, or the kernel would go on sending it to a client that
    /// takes a byte a second.
    pub(super) fn cut(&self) {
        drop(self.0.set_linger(Some(Duration::ZERO)));
        self.shut();
    }
}
