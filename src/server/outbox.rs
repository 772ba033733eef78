//! What is queued for one session, counted in frames and bytes. Shared by the session and its worker's Dispatcher, which
//! live on one thread; the atomics are there because messages between actors must be `Send`.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use crate::protocol::{RoomName, Seq};

/// The counters of one session's queue, and what did not fit into it.
#[derive(Debug)]
pub struct Outbox {
    frames: AtomicUsize,
    bytes: AtomicUsize,
    most_frames: usize,
    most_bytes: usize,
    /// Rooms of which something was not queued, and how far they have got: at most as many as are joined.
    missed: Mutex<HashMap<RoomName, Seq>>,
    /// Rooms that the session was taken out of and does not know of yet: at most as many as are joined.
    removed: Mutex<HashSet<RoomName>>,
}

impl Outbox {
    /// An empty queue with its bounds.
    pub fn new(most_frames: usize, most_bytes: usize) -> Self {
        let (frames, bytes) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let (missed, removed) = (Mutex::new(HashMap::new()), Mutex::new(HashSet::new()));
        Self { frames, bytes, most_frames, most_bytes, missed, removed }
    }

    /// Counts frames in; `false`, and nothing counted, where they are too many. Once something was missed, nothing more
    /// is queued before the session has drained.
    pub(super) fn admit(&self, frames: usize, bytes: usize) -> bool {
        let after = self.frames.load(Ordering::Relaxed).saturating_add(frames);
        let after_bytes = self.bytes.load(Ordering::Relaxed).saturating_add(bytes);
        if after > self.most_frames || after_bytes > self.most_bytes || self.has_missed() {
            return false;
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

    /// Notes that a room has got to `head` without this session; says whether it is the first that was missed.
    pub(super) fn miss(&self, room: &RoomName, head: Seq) -> bool {
        let mut missed = self.missed.lock().unwrap_or_else(PoisonError::into_inner);
        let first = missed.is_empty();
        match missed.get_mut(room) {
            Some(known) => *known = head.max(*known),
            None => drop(missed.insert(room.clone(), head)),
        }
        first
    }

    /// Notes that the session is in this room no longer: nothing more of it may be sent.
    pub(super) fn remove(&self, room: &RoomName) {
        self.removed.lock().unwrap_or_else(PoisonError::into_inner).insert(room.clone());
    }

    /// Rooms that the session was taken out of since the last call.
    pub fn take_removed(&self) -> HashSet<RoomName> {
        std::mem::take(&mut *self.removed.lock().unwrap_or_else(PoisonError::into_inner))
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
        std::mem::take(&mut *self.missed.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn has_missed(&self) -> bool {
        !self.missed.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }
}
