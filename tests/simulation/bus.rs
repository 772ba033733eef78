//! Redis, and a node's side of it. Redis drops, repeats, delays and reorders, and carries what others forge. The node's
//! `Link`, `Seal`, `Frame`, `Outgoing` and `Nodes` are the hub's; what its subscriber actor does with channels is modelled.

use std::{collections::BTreeSet, rc::Rc, time::Duration};

use bytestring::ByteString;
use hubbub::{
    mirror::{BEAT, Beat, Channel, Frame, LogFrame, Seal},
    protocol::NodeId,
    room::Numbered,
};
use rand::RngExt;

use super::{
    database::Ask,
    node::{Entry, Happens, Why},
    world::{World, ms},
};

pub const PREFIX: &str = "hubbub:";
pub const KEY: &str = "the hub's own key";
/// The longest that a room waits for its channel.
const FOLLOW: Duration = ms(500);
const TRY_AGAIN: Duration = ms(500);

pub type Sealed = Rc<[u8]>;

/// What goes wrong in Redis now.
#[derive(Debug, Default)]
pub struct Redis {
    pub away: bool,
    /// Chances that a frame is dropped, comes twice, or comes late.
    pub drops: f64,
    pub repeats: f64,
    pub delays: f64,
    /// Frames of before, for whoever repeats them.
    pub recorded: Vec<(Rc<str>, Sealed)>,
    /// Frames that were sealed.
    pub sealed: u64,
}

/// A node's connection.
#[derive(Debug, Default)]
pub struct Present {
    pub number: u64,
    pub subscribed: BTreeSet<usize>,
    changing: bool,
    /// Nothing comes over it any more, and nobody says so.
    pub deaf: bool,
    /// Channels that Redis has forgotten.
    pub dead: BTreeSet<usize>,
}

impl World {
    fn link_time(&self, node: usize) -> Duration {
        self.now - self.nodes[node].started
    }

    pub fn channel_of(&self, room: usize) -> Channel {
        Channel::Room(self.rooms[room].clone())
    }

    pub fn connect(&mut self, node: usize) {
        if self.redis.away {
            self.nodes[node].following.clear();
            return self.at_node(node, TRY_AGAIN, Happens::Connect);
        }
        let number = self.number();
        self.nodes[node].present = Some(Present { number, ..Present::default() });
        self.note(|| format!("node {node} has connection {number} to the bus"));
        self.change_channels(node);
    }

    fn change_channels(&mut self, node: usize) {
        let (now, wait) = (self.link_time(node), self.between(0, 8));
        let place = &mut self.nodes[node];
        let Some(present) = place.present.as_mut().filter(|present| !present.changing) else {
            return;
        };
        let more: Vec<_> = place.wanted.difference(&present.subscribed).copied().collect();
        let less: Vec<_> = present.subscribed.difference(&place.wanted).copied().collect();
        if more.is_empty() && less.is_empty() {
            if place.link.subscribe_once(now) {
                self.beat(node);
            }
            return;
        }
        present.changing = true;
        let connection = present.number;
        self.at_node(node, wait, Happens::Subscribed { connection, more, less });
    }

    pub fn subscribed(&mut self, node: usize, connection: u64, more: &[usize], less: &[usize]) {
        if self.redis.away {
            return self.give_up(node, connection);
        }
        let Some(present) = self.nodes[node].present.as_mut().filter(|present| present.number == connection) else {
            return;
        };
        present.changing = false;
        present.subscribed.retain(|room| !less.contains(room));
        for room in more {
            present.subscribed.insert(*room);
            present.dead.remove(room);
        }
        self.followed(node, |_, room| more.contains(&room));
        self.change_channels(node);
    }

    pub fn give_up(&mut self, node: usize, connection: u64) {
        let place = &mut self.nodes[node];
        if place.present.take_if(|present| present.number == connection).is_none() {
            return;
        }
        place.link.lost();
        let was_up = place.up;
        self.note(|| format!("node {node} gives connection {connection} up"));
        self.followed(node, |_, _| true);
        if was_up {
            let now = self.now;
            let place = &mut self.nodes[node];
            (place.up, place.up_changed) = (false, now);
            place.outgoing.clear();
            self.missed(node);
        }
        self.at_node(node, TRY_AGAIN / 2, Happens::Connect);
    }

    /// The channel is wanted; then the row is read.
    pub fn follow(&mut self, node: usize, room: usize, why: Why) {
        let place = &mut self.nodes[node];
        place.wanted.insert(room);
        let there = place.present.as_ref().is_none_or(|present| present.subscribed.contains(&room));
        if there {
            self.ask(node, Ask::Row(room, why));
        } else {
            let token = self.number();
            self.nodes[node].following.push((token, room, why));
            self.at_node(node, FOLLOW, Happens::NotFollowed(token));
        }
        self.change_channels(node);
    }

    /// Whoever waited for a channel goes on.
    pub fn followed(&mut self, node: usize, fits: impl Fn(u64, usize) -> bool) {
        let waiting = &mut self.nodes[node].following;
        let done: Vec<_> = waiting.extract_if(.., |(token, room, _)| fits(*token, *room)).collect();
        for (_, room, why) in done {
            self.ask(node, Ask::Row(room, why));
        }
    }

    pub fn unfollow(&mut self, node: usize, room: usize, again: bool) {
        let place = &mut self.nodes[node];
        if !again {
            place.wanted.remove(&room);
        } else if let Some(present) = &mut place.present {
            present.subscribed.remove(&room);
        }
        self.change_channels(node);
    }

    fn beat(&mut self, node: usize) {
        let now = self.link_time(node);
        let place = &mut self.nodes[node];
        let (count, heard_of) = (place.link.beat(), place.others.heard_of(now));
        self.publish(node, Channel::All, Frame::Beat { count, heard_of, stopping: false, report: None });
    }

    pub fn look(&mut self, node: usize) {
        let now = self.link_time(node);
        self.at_node(node, BEAT, Happens::Look);
        let place = &mut self.nodes[node];
        let Some(present) = &place.present else {
            return;
        };
        if place.link.is_deaf(now) {
            let number = present.number;
            return self.give_up(node, number);
        }
        place.others.sweep(now);
        self.beat(node);
    }

    /// Queues a frame, where there is a bus.
    pub fn publish(&mut self, node: usize, channel: Channel, frame: Frame) {
        let (beat, wait) = (matches!(frame, Frame::Beat { .. }), self.between(0, 2));
        let place = &mut self.nodes[node];
        if !beat && !place.up {
            return;
        }
        place.outgoing.push(channel, frame);
        if place.outgoing.len() > 2 * super::node::OUTGOING.frames + 1 {
            self.fail(|| format!("P5 node {node}: too much waits to be published"));
        } else if !std::mem::replace(&mut self.nodes[node].publishing, true) {
            self.at_node(node, wait, Happens::Publish);
        }
    }

    pub fn publish_log(&mut self, node: usize, room: usize, events: &[Numbered<ByteString>]) {
        let Some(Entry::Ready(ready)) = self.nodes[node].rooms.get(&room) else {
            return;
        };
        let log = LogFrame {
            epoch: ready.room.epoch.as_str().into(),
            rights: ready.room.rights,
            head: events.last().map_or(ready.room.log.head(), |last| last.seq).0,
            events: events.iter().map(|event| (event.seq.0, event.event.clone())).collect(),
        };
        self.publish(node, self.channel_of(room), Frame::Log(log));
    }

    /// The publisher takes what waits; it leaves over the present connection or not at all.
    pub fn publish_queued(&mut self, node: usize) {
        let place = &mut self.nodes[node];
        place.publishing = false;
        if place.present.is_none() {
            return;
        }
        // The connection takes nothing for a while, and nobody says so.
        if self.redis.away || self.redis.delays > 0.3 {
            let wait = self.between(5, 60);
            self.nodes[node].publishing = true;
            self.at_node(node, wait, Happens::Publish);
        }
        if self.redis.away {
            return;
        }
        let place = &mut self.nodes[node];
        let frames = place.outgoing.take(4, 100);
        if !place.outgoing.is_empty() && !std::mem::replace(&mut place.publishing, true) {
            self.at_node(node, ms(1), Happens::Publish);
        }
        for (channel, frame) in frames {
            self.redis.sealed += 1;
            let name: Rc<str> = channel.name(PREFIX).into();
            let sealed: Sealed = self.nodes[node].seal.seal(&name, self.redis.sealed, &frame).into();
            if self.redis.recorded.len() < 32 {
                self.redis.recorded.push((Rc::clone(&name), Rc::clone(&sealed)));
            } else if matches!(frame, Frame::Log(_)) && self.chance(0.1) {
                let place = self.pick(0, 32);
                self.redis.recorded[place] = (Rc::clone(&name), Rc::clone(&sealed));
            }
            if !self.redis.away {
                self.carry(&name, &sealed);
            }
        }
    }

    /// Redis hands a frame to whoever has its channel.
    pub fn carry(&mut self, channel: &Rc<str>, frame: &Sealed) {
        let room = Channel::room(channel, PREFIX).and_then(|name| self.rooms.iter().position(|room| *room == name));
        for node in 0..self.nodes.len() {
            let Some(present) = &self.nodes[node].present else {
                continue;
            };
            let hears = room.is_none_or(|room| present.subscribed.contains(&room) && !present.dead.contains(&room));
            let connection = present.number;
            if present.deaf || !hears || self.chance(self.redis.drops) {
                continue;
            }
            for _ in 0..1 + usize::from(self.chance(self.redis.repeats)) {
                let late = self.chance(self.redis.delays);
                let wait = if late { self.between(0, 300) } else { self.between(1, 2) };
                let (channel, frame) = (Rc::clone(channel), Rc::clone(frame));
                self.at_node(node, wait, Happens::Arrived { connection, channel, frame });
            }
        }
    }

    /// A frame comes to a node.
    pub fn arrived(&mut self, node: usize, connection: u64, channel: &str, frame: &[u8]) {
        let now = self.link_time(node);
        let place = &mut self.nodes[node];
        if place.present.as_ref().is_none_or(|present| present.number != connection || present.deaf) {
            return;
        }
        if place.overrun {
            place.overrun = false;
            return self.missed(node);
        }
        self.figures.frames += 1;
        let Ok((from, _, frame)) = place.seal.open(channel, frame) else {
            self.figures.refused += 1;
            return;
        };
        if from == place.id {
            if let Frame::Beat { count, .. } = frame
                && place.link.echo(count, now)
            {
                (place.up, place.up_changed) = (true, self.now);
                self.note(|| format!("node {node}: the bus works"));
                self.missed(node);
            }
            return;
        }
        match frame {
            Frame::Log(log) => {
                let name = Channel::room(channel, PREFIX);
                let Some(room) = self.rooms.iter().position(|room| Some(room) == name.as_ref()) else {
                    return;
                };
                self.heard_log(node, room, log);
            }
            Frame::Beat { count, heard_of, stopping, report } => {
                let knows_us = heard_of.contains(&place.id);
                if place.others.hear(from, Beat { count, knows_us, stopping, report }, now) {
                    self.beat(node);
                }
            }
            _ => {}
        }
    }

    /// Anything may have been missed.
    fn missed(&mut self, node: usize) {
        self.nodes[node].compared.hurry();
        self.compare(node);
    }

    /// Somebody repeats a frame, be it of another life of a node or of another history of the room.
    pub fn replay(&mut self) {
        if !self.redis.recorded.is_empty() && !self.healed {
            let place = self.pick(0, self.redis.recorded.len());
            let (channel, frame) = self.redis.recorded[place].clone();
            self.carry(&channel, &frame);
        }
    }

    /// Somebody without the key writes to Redis: rubbish, a seal of their own, a frame moved to another channel, a bit.
    pub fn forge(&mut self) {
        let room = self.pick(0, self.rooms.len());
        let channel: Rc<str> = self.channel_of(room).name(PREFIX).into();
        let head = self.database.rooms[room].head() + 1;
        let (epoch, rights) = (self.database.epoch().as_str().into(), self.database.rooms[room].rights);
        let frame = Frame::Log(LogFrame { epoch, rights, head, events: vec![(head, "forged 0 0".into())] });
        let name = if self.chance(0.5) { "hubbub:room:another" } else { &channel };
        let key = if name == &*channel { "another key" } else { KEY };
        let mut sealed = Seal::new(key, NodeId(1)).seal(name, 1, &frame);
        if self.chance(0.3) {
            let place = self.pick(0, sealed.len());
            sealed[place] ^= 1 << self.random.random_range(0..8);
        }
        self.carry(&channel, &sealed.into());
    }
}
