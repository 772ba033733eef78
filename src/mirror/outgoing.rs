//! What waits to be published. Bounded in frames and bytes (`limits.mirror_queue`, `limits.mirror_queue_bytes`): past
//! that a room's events are dropped and only its head is kept, and others read them. Pure code.

use std::collections::VecDeque;

use indexmap::IndexMap;

use super::frame::{Channel, Frame, LogFrame};
use super::sessions::SessionRow;
use crate::protocol::RoomName;

/// How much may wait.
#[derive(Clone, Copy, Debug)]
pub struct OutgoingBounds {
    /// Frames, and again so many rooms' heads.
    pub frames: usize,
    /// Bytes of the frames' events and notices.
    pub bytes: usize,
}

/// The queue.
#[derive(Debug)]
pub struct Outgoing {
    bounds: OutgoingBounds,
    frames: VecDeque<(Channel, Frame)>,
    bytes: usize,
    /// Rooms whose events did not fit, with the newest that is known of each.
    heads: IndexMap<RoomName, LogFrame>,
    /// What must leave however much waits: the node's last beat.
    beat: Option<Frame>,
}

impl Outgoing {
    /// An empty one.
    pub fn new(bounds: OutgoingBounds) -> Self {
        Self { bounds, frames: VecDeque::new(), bytes: 0, heads: IndexMap::new(), beat: None }
    }

    /// Frames and heads that wait.
    pub fn len(&self) -> usize {
        self.frames.len().saturating_add(self.heads.len()).saturating_add(usize::from(self.beat.is_some()))
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes a frame in. Says whether all of it will leave.
    pub fn push(&mut self, channel: Channel, frame: Frame) -> bool {
        if matches!(frame, Frame::Beat { .. }) {
            self.beat = Some(frame);
            return true;
        }
        let bytes = size(&frame);
        // What may be lost leaves room for what is read from the database otherwise.
        let may_be_lost = !matches!(frame, Frame::Log(_));
        if may_be_lost && self.frames.len() >= self.bounds.frames.div_ceil(2) {
            return false;
        }
        if self.frames.len() < self.bounds.frames && self.bytes.saturating_add(bytes) <= self.bounds.bytes {
            self.bytes = self.bytes.saturating_add(bytes);
            self.frames.push_back((channel, frame));
            return true;
        }
        if let (Channel::Room(room), Frame::Log(mut log)) = (channel, frame)
            && (self.heads.len() < self.bounds.frames || self.heads.contains_key(&room))
        {
            log.events = Vec::new();
            self.heads.insert(room, log);
        }
        false
    }

    /// The next frames, oldest first, at most so many and about so many bytes; heads of what was dropped come last.
    pub fn take(&mut self, most: usize, most_bytes: usize) -> Vec<(Channel, Frame)> {
        let mut taken: Vec<_> = self.beat.take().map(|beat| (Channel::All, beat)).into_iter().collect();
        let mut bytes = 0_usize;
        while taken.len() < most && (bytes < most_bytes || taken.is_empty()) {
            if let Some((channel, frame)) = self.frames.pop_front() {
                let size = size(&frame);
                bytes = bytes.saturating_add(size);
                self.bytes = self.bytes.saturating_sub(size);
                taken.push((channel, frame));
            } else if let Some((room, log)) = self.heads.pop() {
                taken.push((Channel::Room(room), Frame::Log(log)));
            } else {
                break;
            }
        }
        taken
    }

    /// Drops everything; says how many frames that were. Others find what they miss in the database.
    pub fn clear(&mut self) -> usize {
        let dropped = self.len();
        *self = Self::new(self.bounds);
        dropped
    }
}

fn size(frame: &Frame) -> usize {
    match frame {
        Frame::Log(log) => log.events.iter().map(|(_, event)| event.len()).sum(),
        Frame::Others { notice, .. } => notice.len(),
        Frame::Users { users, notice, .. } => notice.len().saturating_add(users.len().saturating_mul(8)),
        Frame::Here { users, .. } => users.iter().map(|user| user.user_id.len().saturating_add(user.name.len())).sum(),
        Frame::Sessions { list, .. } => list.sessions.iter().map(SessionRow::bytes).sum(),
        Frame::Beat { .. } | Frame::WhoIsHere { .. } | Frame::ListSessions { .. } | Frame::Acts => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(room: &str, head: i64) -> (Channel, Frame) {
        let events = vec![(head, "0123456789".into())];
        let log = LogFrame { epoch: "e".into(), rights: 0, head, events };
        (Channel::Room(RoomName::parse(room).unwrap()), Frame::Log(log))
    }

    fn push(queue: &mut Outgoing, (channel, frame): (Channel, Frame)) -> bool {
        queue.push(channel, frame)
    }

    #[test]
    fn past_its_bounds_a_room_s_newest_head_is_kept() {
        for bounds in [OutgoingBounds { frames: 2, bytes: 1_000 }, OutgoingBounds { frames: 10, bytes: 25 }] {
            let mut queue = Outgoing::new(bounds);
            assert!(push(&mut queue, event("a", 1)) && push(&mut queue, event("a", 2)));
            assert!(!push(&mut queue, event("a", 3)) && !push(&mut queue, event("b", 1)), "P5");
            assert!(!push(&mut queue, event("a", 4)), "P5");
            let taken = queue.take(10, 1_000);
            let found: Vec<_> = taken
                .iter()
                .map(|(channel, frame)| match frame {
                    Frame::Log(log) => (channel.name(""), log.head, log.events.len()),
                    other => panic!("{other:?}"),
                })
                .collect();
            let named = |room: &str, head, events| (format!("room:{room}"), head, events);
            let (mut kept, dropped) = (found[..2].to_vec(), found[2..].iter().cloned());
            kept.extend(dropped);
            kept.sort();
            assert_eq!(kept, [named("a", 1, 1), named("a", 2, 1), named("a", 4, 0), named("b", 1, 0)]);
            assert!(queue.is_empty());
        }
    }

    #[test]
    fn heads_are_bounded_too() {
        let mut queue = Outgoing::new(OutgoingBounds { frames: 2, bytes: 1_000 });
        for n in 0..100 {
            push(&mut queue, event(&format!("room-{n}"), 1));
        }
        assert_eq!(queue.len(), 4, "P5");
        assert_eq!(queue.clear(), 4);
        assert!(push(&mut queue, event("a", 1)), "nothing is in the way any more");
    }
}
