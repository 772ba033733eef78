//! What comes from Redis: opened, sorted, and handed to the ChatServer in batches. What waits for it is bounded by
//! `limits.mirror_queue` and `mirror_queue_bytes`; what does not fit is dropped, what may be lost first, and heads are compared
//! instead. Part of the actor in `subscriber`.

use std::collections::HashMap;

use actix::prelude::*;
use bytestring::ByteString;
use fred::types::Message as RedisMessage;

use super::{
    bus::Said,
    frame::{Channel, Frame, LogFrame},
    nodes::Beat,
    sessions::SessionSearch,
    subscriber::Subscriber,
};
use crate::protocol::{NodeId, RoomName};

/// What the ChatServer is told, in the order in which it came.
#[derive(Message)]
#[rtype(result = "()")]
pub struct FromBus {
    /// What was heard.
    pub heard: Vec<Heard>,
    /// Bytes of it.
    pub bytes: usize,
}

/// One thing that was heard.
#[derive(Debug)]
pub enum Heard {
    /// Something was committed to a room, or changed about it.
    Log(RoomName, LogFrame),
    /// For the sessions in a room but for those of one user.
    Others(RoomName, i64, ByteString),
    /// For all sessions of these users, and of those in a room.
    Users(Vec<i64>, Option<RoomName>, ByteString),
    /// Whom do we have in this room? The answer goes to that node.
    WhoIsHere(RoomName, NodeId, u64),
    /// Which sessions do we have? The answer goes to that node.
    ListSessions(SessionSearch, NodeId, u64),
    /// There is something new in the record of acts.
    Acts,
    /// Anything may have been missed: the bus came, went, or was too fast.
    Missed,
}

/// What came from Redis; nothing where more came than could be kept.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Arrived {
    pub(super) connection: u64,
    pub(super) messages: Vec<RedisMessage>,
    pub(super) missed: bool,
}

impl Heard {
    /// Whether nobody looks for it where it does not come.
    fn may_be_lost(&self) -> bool {
        matches!(self, Self::Others(..) | Self::Users(..) | Self::WhoIsHere(..) | Self::ListSessions(..))
    }

    /// Bytes of what is told.
    fn bytes(&self) -> usize {
        match self {
            Self::Log(_, log) => log.events.iter().map(|(_, event)| event.len()).sum(),
            Self::Others(.., notice) => notice.len(),
            Self::Users(users, _, notice) => notice.len().saturating_add(users.len().saturating_mul(8)),
            Self::WhoIsHere(..) | Self::ListSessions(..) | Self::Acts | Self::Missed => 0,
        }
    }
}

/// The highest count of each node's frames that was heard: what others are told of users has no number of its own, so that
/// a frame that somebody repeats would be told again. Events have one, and answers their question.
#[derive(Debug, Default)]
pub(super) struct Counts(HashMap<NodeId, [u64; 2]>);

impl Counts {
    /// More nodes than any hub has.
    const MOST: usize = 1_000;

    fn is_new(&mut self, node: NodeId, count: u64, frame: &Frame) -> bool {
        // In a Redis Cluster channels may overtake each other, but no frame another one of its channel.
        let class = match frame {
            Frame::Log(_) | Frame::Here { .. } | Frame::Sessions { .. } => return true,
            Frame::Users { .. }
            | Frame::Acts
            | Frame::WhoIsHere { .. }
            | Frame::ListSessions { .. }
            | Frame::Beat { .. } => 0,
            Frame::Others { .. } => 1,
        };
        if self.0.len() >= Self::MOST {
            self.0.clear();
        }
        let [all, others] = self.0.entry(node).or_default();
        let last = if class == 0 { all } else { others };
        let new = count > *last;
        *last = count.max(*last);
        new
    }
}

impl Subscriber {
    pub(super) fn tell_missed(&mut self) {
        self.missed = !self.give(vec![Heard::Missed]);
    }

    /// Hands on what was heard; says whether there was a place for it.
    fn give(&self, heard: Vec<Heard>) -> bool {
        let (count, Some(listener)) = (heard.len(), &self.listener) else { return false };
        let bytes = heard.iter().map(Heard::bytes).sum();
        let (frames, bounds) = (self.stats.mirror_inbox.get(), self.settings.bounds);
        let full = self.stats.mirror_inbox_bytes.get().saturating_add(bytes) > bounds.bytes;
        if full || frames.saturating_add(count) > bounds.frames {
            return false;
        }
        self.stats.mirror_inbox.add(count);
        self.stats.mirror_inbox_bytes.add(bytes);
        let given = listener.try_send(FromBus { heard, bytes }).is_ok();
        if !given {
            self.stats.mirror_inbox.sub(count);
            self.stats.mirror_inbox_bytes.sub(bytes);
        }
        given
    }

    /// What a frame means for the ChatServer; what it means for the bus itself is done here.
    fn hear(&mut self, message: &RedisMessage) -> Option<Heard> {
        let channel: &str = &message.channel;
        let sealed = message.value.as_bytes()?;
        let (node, count, frame) = match self.seal.open(channel, sealed) {
            Ok(opened) => opened,
            Err(error) => {
                self.stats.bus_refused.add(1);
                tracing::debug!(%error, "a frame from redis was dropped");
                return None;
            }
        };
        self.stats.bus_received.add(1);
        if node == self.bus.node() {
            if let Frame::Beat { count, .. } = frame
                && self.link.echo(count, self.bus.now())
            {
                tracing::info!(node = %node, "redis works: nodes hear each other");
                self.said_away = false;
                self.bus.set_up(true);
                return Some(Heard::Missed);
            }
            return None;
        }
        let asks = matches!(frame, Frame::WhoIsHere { .. } | Frame::ListSessions { .. });
        let told = asks || matches!(frame, Frame::Others { .. } | Frame::Users { .. });
        // A node that has not heard of this one may have said it long before this one started.
        if !self.counts.is_new(node, count, &frame) || (told && !self.bus.has_met(node)) {
            return None;
        }
        let room = || Channel::room(channel, &self.settings.prefix);
        match frame {
            Frame::Log(log) => Some(Heard::Log(room()?, log)),
            Frame::Others { but, notice } => Some(Heard::Others(room()?, but, notice)),
            Frame::Users { users, room, notice } => {
                Some(Heard::Users(users, room.and_then(|room| RoomName::parse(&room).ok()), notice))
            }
            Frame::WhoIsHere { ask, room } => Some(Heard::WhoIsHere(RoomName::parse(&room).ok()?, node, ask)),
            Frame::ListSessions { ask, search } => Some(Heard::ListSessions(search, node, ask)),
            Frame::Acts => Some(Heard::Acts),
            Frame::Beat { count, heard_of, stopping, report } => {
                let knows_us = heard_of.contains(&self.bus.node());
                if self.bus.hear(node, Beat { count, knows_us, stopping, report }) {
                    // So that it meets this one at once.
                    self.beat();
                }
                None
            }
            Frame::Here { ask, users } => {
                self.bus.answered(node, ask, Said::Here(users));
                None
            }
            Frame::Sessions { ask, list } => {
                self.bus.answered(node, ask, Said::Sessions(list));
                None
            }
        }
    }
}

impl Handler<Arrived> for Subscriber {
    type Result = ();

    fn handle(&mut self, Arrived { connection, messages, missed }: Arrived, _: &mut Context<Self>) {
        if self.present.as_ref().is_none_or(|present| present.number != connection) {
            return;
        }
        let mut heard: Vec<_> = messages.iter().filter_map(|message| self.hear(message)).collect();
        // What may be lost leaves room for what is read from the database otherwise.
        let half = self.settings.bounds.frames.div_ceil(2);
        if self.stats.mirror_inbox.get().saturating_add(heard.len()) > half {
            heard.retain(|heard| !heard.may_be_lost());
        }
        self.missed |= missed || (!heard.is_empty() && !self.give(heard));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_number_is_heard_once() {
        let mut counts = Counts::default();
        let (one, other) = (NodeId(1), NodeId(2));
        let notice = |users| Frame::Users { users, room: None, notice: "{}".into() };
        assert!(counts.is_new(one, 5, &notice(vec![1])) && !counts.is_new(one, 5, &notice(vec![1])), "repeated");
        assert!(!counts.is_new(one, 4, &Frame::Acts) && counts.is_new(one, 6, &Frame::Acts), "older");
        assert!(counts.is_new(other, 1, &Frame::Acts), "another node's");
        let typing = Frame::Others { but: 1, notice: "{}".into() };
        assert!(counts.is_new(one, 3, &typing) && !counts.is_new(one, 3, &typing), "another channel's");
    }
}
