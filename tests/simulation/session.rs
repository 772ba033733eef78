//! A worker's Dispatcher and its sessions: from the room's log to the client, as `server/dispatcher.rs` and
//! `session/deliver.rs` do it. `Outbox`, `Cursor` and `Guests` are the hub's own; mailboxes are modelled.

use std::{
    collections::{BTreeMap, VecDeque},
    rc::Rc,
    time::Duration,
};

use bytestring::ByteString;
use hubbub::{
    protocol::{Epoch, Seq, WireError},
    room::{Cursor, Next, Numbered},
    server::{Joined, Outbox, WorkerId},
};

use super::{
    node::{Happens, Join, ToDispatcher},
    rows::READ_AGAIN,
    world::World,
};

/// Live events that a session may hold back.
const HELD: usize = 4;
/// Behind by more than this there is no catching up.
pub const RESET_AFTER: u64 = 30;
/// Frames and bytes in a session's queue.
const OUTBOX: (usize, usize) = (8, 90);

pub type Events = Rc<[Numbered<ByteString>]>;

#[derive(Debug)]
pub enum ToSession {
    Events { room: usize, events: Events, bytes: usize },
    Behind { room: usize, head: Seq },
    Look,
}

pub struct Session {
    pub connection: u64,
    outbox: Outbox,
    mailbox: VecDeque<ToSession>,
    taking: bool,
    /// How long its client takes for what is queued.
    pub speed: (u64, u64),
    rooms: BTreeMap<usize, Place>,
}

struct Place {
    generation: u64,
    state: State,
}

enum State {
    Joining { early: Vec<Numbered<ByteString>>, head: Seq },
    Joined { cursor: Cursor<ByteString>, epoch: Epoch },
}

impl Session {
    pub fn new(connection: u64, speed: (u64, u64)) -> Self {
        let outbox = Outbox::new(OUTBOX.0, OUTBOX.1);
        Self { connection, outbox, mailbox: VecDeque::new(), taking: false, speed, rooms: BTreeMap::new() }
    }
}

impl World {
    fn session(&mut self, node: usize, client: usize) -> Option<&mut Session> {
        self.nodes[node].sessions.get_mut(&client)
    }

    /// Whether this joining is the present one of a session that is there.
    fn place(&mut self, node: usize, client: usize, room: usize) -> Option<&mut Place> {
        self.session(node, client)?.rooms.get_mut(&room)
    }

    pub fn dispatch(&mut self, node: usize) {
        let wait = self.between(0, 2);
        let place = &mut self.nodes[node];
        let Some(message) = place.dispatcher.pop_front() else {
            return;
        };
        place.dispatching = !place.dispatcher.is_empty();
        if place.dispatching {
            self.at_node(node, wait, Happens::Dispatch);
        }
        match message {
            ToDispatcher::Attach(client, generation, room) => {
                let place = &mut self.nodes[node];
                let there = place.sessions.get(&client).is_some_and(|session| generation > session.connection);
                if !there || !place.attached.entry(room).or_default().insert(client) {
                    self.detached(node, room);
                }
            }
            ToDispatcher::Detach(client, room) => self.detach(node, client, room),
            ToDispatcher::Deliver(room, events) => {
                let (frames, head) = (events.len(), events[events.len() - 1].seq);
                let bytes = events.iter().map(|event| event.event.len()).sum();
                for client in self.inside(node, room) {
                    let whole = ToSession::Events { room, events: Rc::clone(&events), bytes };
                    if !self.queue(node, client, whole, (frames, bytes)) {
                        self.queue_behind(node, client, room, head);
                    }
                }
            }
            ToDispatcher::FellBehind(rooms) => {
                for (room, head) in rooms {
                    for client in self.inside(node, room) {
                        self.queue_behind(node, client, room, head);
                    }
                }
            }
            ToDispatcher::Retain(room, guests, rights) => {
                self.nodes[node].retained.insert(room, rights);
                for client in self.inside(node, room) {
                    if guests.admit(&self.users[self.clients[client].user]) {
                        continue;
                    }
                    let name = self.rooms[room].clone();
                    if let Some(session) = self.session(node, client) {
                        session.outbox.remove(&name, false);
                        session.mailbox.push_back(ToSession::Look);
                    }
                    self.wake(node, client);
                    self.detach(node, client, room);
                }
            }
        }
    }

    fn inside(&self, node: usize, room: usize) -> Vec<usize> {
        self.nodes[node].attached.get(&room).into_iter().flatten().copied().collect()
    }

    fn detach(&mut self, node: usize, client: usize, room: usize) {
        if self.nodes[node].attached.get_mut(&room).is_some_and(|inside| inside.remove(&client)) {
            self.detached(node, room);
        }
    }

    fn detached(&mut self, node: usize, room: usize) {
        if let Some(ready) = self.nodes[node].ready(room) {
            ready.room.detach(WorkerId(0));
        }
    }

    fn queue(&mut self, node: usize, client: usize, message: ToSession, (frames, bytes): (usize, usize)) -> bool {
        let Some(session) = self.session(node, client) else {
            return true;
        };
        if !session.outbox.admit(frames, bytes, 0) {
            return false;
        }
        session.mailbox.push_back(message);
        let queued = session.outbox.frames();
        if queued > OUTBOX.0 {
            self.fail(|| format!("P5 client {client}: {queued} frames are queued"));
        }
        self.wake(node, client);
        true
    }

    fn queue_behind(&mut self, node: usize, client: usize, room: usize, head: Seq) {
        let name = self.rooms[room].clone();
        if !self.queue(node, client, ToSession::Behind { room, head }, (1, 0))
            && let Some(session) = self.session(node, client)
        {
            session.outbox.miss(&name, head);
        }
    }

    fn wake(&mut self, node: usize, client: usize) {
        let Some(session) = self.session(node, client) else {
            return;
        };
        if !std::mem::replace(&mut session.taking, true) {
            let (connection, (from, to)) = (session.connection, session.speed);
            let wait = self.between(from, to);
            self.at_node(node, wait, Happens::Take(client, connection));
        }
    }

    /// The session takes the next message from its mailbox.
    pub fn take(&mut self, node: usize, client: usize, connection: u64) {
        let Some(session) = self.session(node, client).filter(|session| session.connection == connection) else {
            return;
        };
        session.taking = false;
        let Some(message) = session.mailbox.pop_front() else {
            return;
        };
        self.drop_removed(node, client);
        match message {
            ToSession::Events { room, events, bytes } => {
                self.release(node, client, events.len(), bytes);
                self.live(node, client, room, &events);
            }
            ToSession::Behind { room, head } => {
                self.release(node, client, 1, 0);
                self.fell_behind(node, client, room, head);
            }
            ToSession::Look => {}
        }
        self.recover(node, client);
        if self.session(node, client).is_some_and(|session| !session.mailbox.is_empty()) {
            self.wake(node, client);
        }
    }

    fn release(&mut self, node: usize, client: usize, frames: usize, bytes: usize) {
        if let Some(session) = self.session(node, client) {
            session.outbox.release(frames, bytes);
        }
    }

    fn drop_removed(&mut self, node: usize, client: usize) {
        let Some(session) = self.session(node, client) else {
            return;
        };
        let removed = session.outbox.take_removed();
        for room in 0..self.rooms.len() {
            let gone = removed.contains_key(&self.rooms[room]);
            if gone && self.session(node, client).is_some_and(|session| session.rooms.remove(&room).is_some()) {
                self.client_removed(client, room);
            }
        }
    }

    /// Makes a place for a room that is being joined; gives its number.
    pub fn expect_room(&mut self, node: usize, client: usize, room: usize) -> u64 {
        self.drop_removed(node, client);
        let generation = self.number();
        let state = State::Joining { early: Vec::new(), head: Seq(0) };
        if let Some(session) = self.session(node, client) {
            session.rooms.insert(room, Place { generation, state });
        }
        generation
    }

    pub fn leave_room(&mut self, node: usize, client: usize, room: usize) {
        if let Some(session) = self.session(node, client) {
            session.rooms.remove(&room);
        }
        self.tell_dispatcher(node, ToDispatcher::Detach(client, room));
    }

    /// The join was answered.
    pub fn session_joined(
        &mut self,
        node: usize,
        (client, generation, room): (usize, u64, usize),
        join: &Join,
        answer: Result<Joined, WireError>,
    ) {
        let connection = self.clients[client].connection;
        if self.session(node, client).is_none_or(|session| session.connection != connection || generation < connection)
        {
            return;
        }
        self.drop_removed(node, client);
        let there = self.place(node, client, room).is_some();
        let (Ok(joined), true) = (answer, there) else {
            self.leave_room(node, client, room);
            return self.client_refused(client, room);
        };
        self.client_joined(client, room, join, &joined);
        let cursor = Cursor::new(joined.sent, joined.standing.head, HELD);
        let Some(place) = self.place(node, client, room) else {
            return;
        };
        let now = State::Joined { cursor, epoch: joined.standing.epoch };
        if let State::Joining { early, head } = std::mem::replace(&mut place.state, now) {
            self.live(node, client, room, &early);
            self.fell_behind(node, client, room, head);
        }
    }

    fn live(&mut self, node: usize, client: usize, room: usize, events: &[Numbered<ByteString>]) {
        let mut sent = Vec::new();
        match self.place(node, client, room).map(|place| &mut place.state) {
            None => {}
            Some(State::Joining { early, head }) => {
                for event in events {
                    *head = event.seq.max(*head);
                    if early.len() < HELD {
                        early.push(event.clone());
                    }
                }
            }
            Some(State::Joined { cursor, .. }) => {
                sent.extend(events.iter().filter_map(|event| cursor.offer(event.clone())));
                self.send(node, client, room, sent);
                self.step(node, client, room);
            }
        }
    }

    fn send(&mut self, node: usize, client: usize, room: usize, events: Vec<Numbered<ByteString>>) {
        for event in events {
            self.client_event(node, client, room, &event);
        }
    }

    fn fell_behind(&mut self, node: usize, client: usize, room: usize, seen: Seq) {
        match self.place(node, client, room).map(|place| &mut place.state) {
            None => {}
            Some(State::Joining { head, .. }) => *head = seen.max(*head),
            Some(State::Joined { cursor, .. }) => {
                cursor.fell_behind(seen);
                self.step(node, client, room);
            }
        }
    }

    /// Does what the room's cursor wants next.
    pub fn step(&mut self, node: usize, client: usize, room: usize) {
        let Some(Place { generation, state: State::Joined { cursor, epoch } }) = self.place(node, client, room) else {
            return;
        };
        let (generation, epoch) = (*generation, epoch.clone());
        match cursor.next(RESET_AFTER) {
            Next::Live => {}
            Next::Read(after) => self.catch_up(node, client, generation, room, after),
            Next::Reset(head) => self.client_reset(client, room, head, &epoch),
        }
    }

    pub fn session_page(
        &mut self,
        node: usize,
        client: usize,
        generation: u64,
        room: usize,
        page: Result<Vec<Numbered<ByteString>>, ()>,
    ) {
        self.drop_removed(node, client);
        let Some(Place { generation: now, state: State::Joined { cursor, .. } }) = self.place(node, client, room)
        else {
            return;
        };
        if *now != generation {
            return;
        }
        if let Ok(page) = page {
            let events = cursor.page(page);
            self.send(node, client, room, events);
            self.step(node, client, room);
        } else {
            cursor.read_failed();
            self.at_node(node, READ_AGAIN, Happens::Step { client, room });
        }
    }

    /// Once all that was queued is taken: what was missed meanwhile.
    fn recover(&mut self, node: usize, client: usize) {
        let Some(session) = self.session(node, client) else {
            return;
        };
        let missed = session.outbox.take_missed();
        for room in 0..self.rooms.len() {
            if let Some(head) = missed.get(&self.rooms[room]) {
                self.figures.lags += 1;
                self.fell_behind(node, client, room, *head);
            }
        }
    }

    /// The socket is gone.
    pub fn unregister(&mut self, node: usize, client: usize) {
        if self.nodes[node].sessions.remove(&client).is_some() {
            for room in 0..self.rooms.len() {
                self.detach(node, client, room);
            }
        }
    }
}

/// How long clients take: those that read as they should, and those that don't.
pub const FAST: (u64, u64) = (0, 1);
pub const SLOW: (u64, u64) = (40, 250);

/// Whether a session is as fast as it should be.
pub fn is_fast(speed: (u64, u64)) -> bool {
    Duration::from_millis(speed.1) <= Duration::from_millis(FAST.1)
}
