//! The clients: they join, say things, leave, come back elsewhere with what they have. What they get is checked here:
//! strictly one after the other, as the database has it, and by nobody who has lost their right.

use std::{collections::BTreeMap, time::Duration};

use bytestring::ByteString;
use hubbub::{
    protocol::{Epoch, Position, Seq},
    room::Numbered,
    server::Joined,
};
use rand::RngExt;

use super::{
    database::{Item, time_of},
    node::{Command, Join},
    session::{FAST, RESET_AFTER, SLOW, Session},
    world::{Event, World},
};

/// How many missed events may be replayed on a join.
const REPLAY: i64 = 20;

/// What a client has of a room.
#[derive(Clone, Debug)]
pub struct Seen {
    pub epoch: Epoch,
    pub last: i64,
    /// The time in the last event.
    time: i64,
    /// By which rights it was let in.
    rights: i64,
    /// Whether it is in the room now, since when.
    pub live: Option<Duration>,
}

#[derive(Clone, Debug)]
pub struct Client {
    pub user: usize,
    pub connection: u64,
    pub at: Option<usize>,
    pub speed: (u64, u64),
    pub fast_since: Duration,
    pub rooms: BTreeMap<usize, Seen>,
    /// Rooms whose join was not answered yet.
    asking: BTreeMap<usize, u64>,
    unacked: Option<(usize, u64)>,
}

impl Client {
    pub fn new(user: usize) -> Self {
        let (rooms, asking) = (BTreeMap::new(), BTreeMap::new());
        let fast_since = Duration::ZERO;
        Self { user, connection: 0, at: None, speed: FAST, fast_since, rooms, asking, unacked: None }
    }
}

impl World {
    pub fn act(&mut self, client: usize) {
        let wait = if self.healed { self.between(100, 300) } else { self.between(10, 100) };
        self.after(wait, Event::Client(client));
        let Some(node) = self.clients[client].at else {
            return self.connect_client(client);
        };
        if self.healed {
            return self.join_all(client, node);
        }
        let room = self.pick(0, self.rooms.len());
        let inside = self.clients[client].rooms.get(&room).is_some_and(|seen| seen.live.is_some());
        let asking = self.clients[client].asking.contains_key(&room);
        match self.random.random_range(0..100) {
            0..55 => self.say(client, node, room),
            55..75 if !inside && !asking => self.join_room(client, node, room),
            75..79 if inside => self.join_room(client, node, room),
            79..83 if inside && !asking => {
                self.clients[client].rooms.get_mut(&room).unwrap().live = None;
                self.note(|| format!("client {client} leaves room {room}"));
                self.leave_room(node, client, room);
            }
            83..91 => self.disconnect(client),
            91..94 => {
                let speed = if self.chance(0.5) { FAST } else { SLOW };
                self.set_speed(client, speed);
            }
            94..98 => {
                if let Some((room, text)) = self.clients[client].unacked {
                    self.post_text(client, node, room, text);
                }
            }
            _ => self.command(node, room, Command::Open),
        }
    }

    /// Whoever may be in a room comes back.
    fn join_all(&mut self, client: usize, node: usize) {
        for room in 0..self.rooms.len() {
            let of = &self.clients[client];
            let inside = of.rooms.get(&room).is_some_and(|seen| seen.live.is_some());
            let member = self.database.rooms[room].members.contains(&self.users[of.user].key);
            if member && !inside && !of.asking.contains_key(&room) {
                self.join_room(client, node, room);
            }
        }
    }

    pub fn set_speed(&mut self, client: usize, speed: (u64, u64)) {
        let now = self.now;
        let place = &mut self.clients[client];
        (place.speed, place.fast_since) = (speed, now);
        if let Some(node) = place.at
            && let Some(session) = self.nodes[node].sessions.get_mut(&client)
        {
            session.speed = speed;
        }
    }

    fn connect_client(&mut self, client: usize) {
        let node = self.pick(0, self.nodes.len());
        if !self.nodes[node].alive {
            return;
        }
        let connection = self.number();
        let speed = self.clients[client].speed;
        (self.clients[client].at, self.clients[client].connection) = (Some(node), connection);
        self.nodes[node].sessions.insert(client, Session::new(connection, speed));
        self.note(|| format!("client {client} connects to node {node}"));
        let known: Vec<_> = self.clients[client].rooms.keys().copied().collect();
        for room in known {
            self.join_room(client, node, room);
        }
    }

    /// The client's side of a connection's end; the node's too, if that is there to see it.
    pub fn disconnect(&mut self, client: usize) {
        let Some(node) = self.clients[client].at.take() else {
            return;
        };
        self.note(|| format!("client {client} is away from node {node}"));
        let place = &mut self.clients[client];
        place.asking.clear();
        place.rooms.values_mut().for_each(|seen| seen.live = None);
        self.unregister(node, client);
    }

    fn join_room(&mut self, client: usize, node: usize, room: usize) {
        let position = self.clients[client].rooms.get(&room).cloned().and_then(|seen| {
            let after = match self.random.random_range(0..100) {
                0..4 => return None,
                4..7 if !self.healed => seen.last + 1_000,
                7..17 => (seen.last - self.random.random_range(0..4)).max(0),
                _ => seen.last,
            };
            let told = seen.epoch != self.database.epoch() || self.chance(0.9);
            Some(Position { after: Seq(after), epoch: told.then_some(seen.epoch) })
        });
        if let Some(seen) = self.clients[client].rooms.get_mut(&room) {
            seen.live = None;
        }
        self.note(|| format!("client {client} joins room {room} on node {node} from {position:?}"));
        let generation = self.expect_room(node, client, room);
        self.clients[client].asking.insert(room, generation);
        self.command(node, room, Command::Join(Join { client, generation, position, head: None, rights: 0 }));
    }

    fn say(&mut self, client: usize, node: usize, room: usize) {
        let many = if self.chance(0.03) { self.random.random_range(10..40) } else { 1 };
        for _ in 0..many {
            let text = self.number();
            self.clients[client].unacked = Some((room, text));
            self.post_text(client, node, room, text);
        }
    }

    pub fn post_text(&mut self, client: usize, node: usize, room: usize, text: u64) {
        let (user, received) = (self.clients[client].user, self.now);
        let item = Item { room, user, client, text, rights: 0, received, answered: false };
        self.command(node, room, Command::Post(item));
    }

    pub fn acked(&mut self, item: &Item, seq: Seq) {
        if self.database.rooms[item.room].texts.get(&item.text) != Some(&seq.0) {
            self.fail(|| format!("P1 text {} was acked as {seq} and is not stored so", item.text));
        }
        let client = &mut self.clients[item.client];
        client.unacked.take_if(|(_, text)| *text == item.text);
    }

    pub fn client_joined(&mut self, client: usize, room: usize, join: &Join, joined: &Joined) {
        let (standing, now) = (&joined.standing, self.now);
        let head = self.database.rooms[room].head();
        let epoch = self.database.epoch();
        self.note(|| format!("client {client} is in room {room}: {standing:?}"));
        self.figures.joins += 1;
        if standing.head.0 > head || standing.epoch != epoch {
            return self.fail(|| format!("P4 client {client} was told of {standing:?}, the database is at {head}"));
        }
        if join.head.is_some_and(|head| standing.head.0 < head) {
            return self.fail(|| format!("P4 client {client}'s join was judged by an old head {}", standing.head));
        }
        if let Some(Position { after, epoch: given }) = &join.position {
            let other = given.as_ref().is_some_and(|given| *given != epoch);
            let missed = standing.head.0 - after.0;
            if standing.reset && !(other || after.0 > head || missed > REPLAY) {
                return self.fail(|| format!("P4 client {client} at {after} was reset without a reason"));
            }
            if !standing.reset && (other || missed < 0 || standing.replay != u64::try_from(missed).ok()) {
                return self.fail(|| format!("P4 client {client} at {after} was not reset: {standing:?}"));
            }
            self.figures.resets += u64::from(standing.reset);
            self.figures.replays += u64::from(standing.replay.is_some_and(|replay| replay > 0));
        }
        let seen = Seen { epoch, last: joined.sent.0, time: 0, rights: join.rights, live: Some(now) };
        self.clients[client].asking.remove(&room);
        self.clients[client].rooms.insert(room, seen);
    }

    pub fn client_refused(&mut self, client: usize, room: usize) {
        self.note(|| format!("client {client} is not let into room {room}"));
        self.clients[client].asking.remove(&room);
    }

    pub fn client_removed(&mut self, client: usize, room: usize) {
        self.note(|| format!("client {client} is taken out of room {room}"));
        self.clients[client].asking.remove(&room);
        if let Some(seen) = self.clients[client].rooms.get_mut(&room) {
            seen.live = None;
        }
    }

    pub fn client_reset(&mut self, client: usize, room: usize, head: Seq, epoch: &Epoch) {
        self.note(|| format!("client {client} lags in room {room} and goes on from {head}"));
        self.figures.resets += 1;
        let right = *epoch == self.database.epoch() && head.0 <= self.database.rooms[room].head();
        let Some(seen) = self.clients[client].rooms.get_mut(&room).filter(|seen| seen.live.is_some()) else {
            return self.fail(|| format!("P4 client {client} was reset in room {room}, where it is not"));
        };
        let missed = Seq(seen.last).distance_to(head);
        seen.last = head.0;
        if !right || missed <= RESET_AFTER {
            self.fail(|| format!("P4 client {client} was reset for {missed} events, or to a number that is not there"));
        }
    }

    pub fn client_event(&mut self, node: usize, client: usize, room: usize, event: &Numbered<ByteString>) {
        let seq = event.seq.0;
        self.figures.delivered += 1;
        self.note(|| format!("client {client} gets {seq} of room {room} on node {node}"));
        self.check_event(room, event);
        self.check_right(node, client, room, seq);
        let Some(seen) = self.clients[client].rooms.get_mut(&room).filter(|seen| seen.live.is_some()) else {
            return self.fail(|| format!("P7 client {client} got {seq} of room {room}, where it is not"));
        };
        let (last, time, now) = (seen.last, seen.time, time_of(&event.event));
        (seen.last, seen.time) = (seq, now);
        if seq != last + 1 {
            self.fail(|| format!("P4 client {client}: gap or repeat, {seq} of room {room} after {last}"));
        } else if now < time {
            self.fail(|| format!("P3 client {client}: time runs back with {seq} of room {room}"));
        }
    }

    /// Nothing but what is committed, as it is.
    pub fn check_event(&mut self, room: usize, event: &Numbered<ByteString>) {
        let index = usize::try_from(event.seq.0 - 1).unwrap_or(usize::MAX);
        if self.database.rooms[room].rows.get(index) != Some(&event.event) {
            self.fail(|| format!("P12 phantom: {} of room {room} is not «{}»", event.seq, event.event));
        }
    }

    pub fn check_order(&mut self, node: usize, room: usize, events: &[Numbered<ByteString>]) {
        if !events.windows(2).all(|pair| pair[0].seq.next() == pair[1].seq) {
            self.fail(|| format!("P3 node {node} delivers {events:?}"));
        }
        events.iter().for_each(|event| self.check_event(room, event));
    }

    /// Whoever was removed gets nothing that came later, whether or not the node knows of it.
    fn check_right(&mut self, node: usize, client: usize, room: usize, seq: i64) {
        let (user, place) = (self.clients[client].user, &self.nodes[node]);
        let judged = self.clients[client].rooms.get(&room).map(|seen| seen.rights);
        let known = place.retained.get(&room).copied().max(judged).unwrap_or(0);
        let changes = &self.database.rooms[room].changes;
        let of_user = |rights: i64| changes.iter().rfind(|change| change.user == user && change.rights <= rights);
        if of_user(known).is_some_and(|change| !change.member && seq > change.head) {
            return self.fail(|| format!("P7 client {client} got {seq} of room {room}: node {node} knows better"));
        }
        if of_user(i64::MAX).is_some_and(|change| !change.member && seq > change.head) {
            self.fail(|| format!("P7 client {client} got {seq} of room {room}, from after it was removed"));
        }
    }
}
