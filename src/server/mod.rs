//! ChatServer (central: rooms, who is where, rights, order) and Dispatcher (its hand on each worker, which knows its
//! local sessions by room and by user). Requests flow one way, session → ChatServer → Writer; answers come back through
//! oneshots or as new messages, so nothing here ever waits for another actor. `fan_out`, `place` and `wire` are a live event's way to
//! a socket.

mod chat_server;
mod commands;
mod dispatcher;
mod doubts;
mod effects;
mod fan_out;
mod follow;
mod handle;
mod listing;
mod members;
mod messages;
mod neighbours;
mod outbox;
mod place;
mod refresh;
mod room;
mod sanctions;
mod waiting;
mod watch;
mod wire;

pub use chat_server::{ChatServer, RegisterWorker, ServerBounds};
pub use dispatcher::Dispatcher;
pub use fan_out::Pace;
pub use handle::{Catchup, CreateRoom, Joined, JoinsAt, OpenRoom, ServerHandle};
pub use messages::{
    Closing, Detach, Guests, Holder, Opened, Register, SessionSummary, StopSessions, ToSession, Unregister,
};
pub use outbox::Outbox;
pub use place::Place;
pub use refresh::{COMPARE, Compared};
pub use room::{FrameUse, Room};
pub use waiting::Waiting;
pub use watch::Watch;
pub use wire::Wire;

/// A socket's session, unique as long as the process lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SessionId(pub u64);

impl SessionId {
    /// Reads what `hello` has.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        u64::from_str_radix(text, 16).ok().filter(|_| digits).map(Self)
    }
}

impl std::fmt::Display for SessionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// One of the threads that serve sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerId(pub usize);
