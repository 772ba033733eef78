//! What is queued for one session, counted in frames and bytes. Shared by the session and its worker's Dispatcher, which
//! live on one thread; the atomics are there because messages between actors must be `Send`.

use std::{
    collections::HashMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering},
    },
};

use crate::protocol::{CloseCode, RoomName, Seq};

/// The counters of one session's queue, and what it must be told whether or not there is a place in it.
#[derive(Debug)]
pub struct Outbox {
    frames: AtomicUsize,
    bytes: AtomicUsize,
    most_frames: usize,
    most_bytes: usize,
    /// The Dispatcher's tick at which the queue was last empty.
    waiting_since: AtomicU32,
    /// Whether there is anything in `removed` or `closing`: asked for each delivery.
    urgent: AtomicBool,
    aside: Mutex<Aside>,
}

#[derive(Debug, Default)]
struct Aside {
    /// Rooms of which something was not queued, and how far they have got: at most as many as are joined.
    missed: HashMap<RoomName, Seq>,
    /// Rooms that the session was taken out of and does not know of yet, and whether by a ban: at most as many as are
    /// joined.
    removed: HashMap<RoomName, bool>,
    /// That it must close, or has said goodbye.
    closing: Option<Ending>,
}

/// How far a session's end has come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ending {
    /// With which code it is to end; none where it has said so itself.
    pub(super) code: Option<CloseCode>,
    /// At which tick that was noted.
    pub(super) since: u32,
}

impl Outbox {
    /// An empty queue with its bounds.
    pub fn new(most_frames: usize, most_bytes: usize) -> Self {
        let (frames, bytes) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let (waiting_since, aside) = (AtomicU32::new(0), Mutex::default());
        let urgent = AtomicBool::new(false);
        Self { frames, bytes, most_frames, most_bytes, waiting_since, urgent, aside }
    }

    fn aside(&self) -> std::sync::MutexGuard<'_, Aside> {
        self.aside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts frames in; `false`, and nothing counted, where they are too many. Once something was missed, nothing more
    /// is queued before the session has drained.
    pub fn admit(&self, frames: usize, bytes: usize, tick: u32) -> bool {
        let before = self.frames.load(Ordering::Relaxed);
        let after = before.saturating_add(frames);
        let after_bytes = self.bytes.load(Ordering::Relaxed).saturating_add(bytes);
        if after > self.most_frames || after_bytes > self.most_bytes || self.has_missed() {
            return false;
        }
        if before == 0 {
            self.waiting_since.store(tick, Ordering::Relaxed);
        }
        self.frames.store(after, Ordering::Relaxed);
        self.bytes.store(after_bytes, Ordering::Relaxed);
        true
    }

    /// Counts frames out again, as the session takes them.
    pub fn release(&self, frames: usize, bytes: usize) {
        self.frames.fetch_sub(frames, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// For how many ticks the session has not taken all that was queued for it.
    pub(super) fn stuck_for(&self, tick: u32) -> u32 {
        match self.frames() {
            0 => 0,
            _ => tick.saturating_sub(self.waiting_since.load(Ordering::Relaxed)),
        }
    }

    /// Notes that a room has got to `head` without this session; says whether it is the first that was missed.
    pub fn miss(&self, room: &RoomName, head: Seq) -> bool {
        let missed = &mut self.aside().missed;
        let first = missed.is_empty();
        match missed.get_mut(room) {
            Some(known) => *known = head.max(*known),
            None => drop(missed.insert(room.clone(), head)),
        }
        first
    }

    /// Notes that the session is in this room no longer: nothing more of it may be sent.
    pub fn remove(&self, room: &RoomName, banned: bool) {
        self.aside().removed.insert(room.clone(), banned);
        self.urgent.store(true, Ordering::Relaxed);
    }

    /// Rooms that the session was taken out of since the last call, and whether by a ban.
    pub fn take_removed(&self) -> HashMap<RoomName, bool> {
        if !self.urgent.load(Ordering::Relaxed) {
            return HashMap::new();
        }
        let mut aside = self.aside();
        self.urgent.store(aside.closing.is_some(), Ordering::Relaxed);
        std::mem::take(&mut aside.removed)
    }

    /// Notes that the session must close: nothing more may be sent.
    pub(super) fn close(&self, code: CloseCode, tick: u32) {
        self.aside().closing.get_or_insert(Ending { code: Some(code), since: tick });
        self.urgent.store(true, Ordering::Relaxed);
    }

    /// Notes that its close frame is on its way.
    pub(super) fn said_goodbye(&self, tick: u32) {
        self.aside().closing = Some(Ending { code: None, since: tick });
        self.urgent.store(true, Ordering::Relaxed);
    }

    /// Whether it must, and with which code.
    pub fn closing(&self) -> Option<CloseCode> {
        self.ending().and_then(|ending| ending.code)
    }

    /// How far its end has come.
    pub(super) fn ending(&self) -> Option<Ending> {
        if self.urgent.load(Ordering::Relaxed) { self.aside().closing } else { None }
    }

    /// Frames that are queued.
    pub fn frames(&self) -> usize {
        self.frames.load(Ordering::Relaxed)
    }

    /// Once the session has taken all that was queued: what it missed.
    pub fn take_missed(&self) -> HashMap<RoomName, Seq> {
        if self.frames() > 0 {
            return HashMap::new();
        }
        std::mem::take(&mut self.aside().missed)
    }

    pub(super) fn has_missed(&self) -> bool {
        !self.aside().missed.is_empty()
    }
}
