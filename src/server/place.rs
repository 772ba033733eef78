//! Who of two leads a session through a room's events: its Dispatcher, as long as each event follows the one before, or the session
//! with its cursor, where something was missed and must be read. Shared by both, which live on one thread; an atomic because
//! messages between actors must be `Send`.

use std::sync::atomic::{AtomicI64, Ordering};

use crate::protocol::Seq;

/// The session leads.
const SESSION: i64 = -1;

/// A session's place in a room.
#[derive(Debug)]
pub struct Place(AtomicI64);

impl Default for Place {
    /// The session leads.
    fn default() -> Self {
        Self(AtomicI64::new(SESSION))
    }
}

impl Place {
    /// The session has all events up to `sent`, and none is on its way to it: the Dispatcher leads.
    pub fn give(&self, sent: Seq) {
        self.0.store(sent.0, Ordering::Relaxed);
    }

    /// The session leads again; gives up to where the Dispatcher has led it, if it did.
    pub fn take(&self) -> Option<Seq> {
        let sent = self.0.swap(SESSION, Ordering::Relaxed);
        (sent != SESSION).then_some(Seq(sent))
    }

    /// Up to where the Dispatcher has led the session, if it does.
    pub(super) fn sent(&self) -> Option<Seq> {
        let sent = self.0.load(Ordering::Relaxed);
        (sent != SESSION).then_some(Seq(sent))
    }
}
