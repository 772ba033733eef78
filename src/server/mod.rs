//! ChatServer (central: rooms, who is where, rights, order) and Dispatcher (its hand on each worker, which knows its
//! local sessions by room and by user). Requests flow one way, session → ChatServer → Writer; answers come back through
//! oneshots or as new messages, so nothing here ever waits for another actor.

mod chat_server;
mod commands;
mod dispatcher;
mod effects;
mod handle;
mod members;
mod online;
mod outbox;
mod refresh;
mod room;

pub use chat_server::{ChatServer, RegisterWorker, ServerBounds};
pub use dispatcher::{Detach, Dispatcher, Register, StopSessions, ToSession, Unregister};
pub use handle::{Catchup, CreateRoom, Joined, OpenRoom, ServerHandle};
pub use online::Online;
pub use outbox::Outbox;

/// A socket's session, unique as long as the process lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SessionId(pub u64);

impl std::fmt::Display for SessionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// One of the threads that serve sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerId(pub usize);
