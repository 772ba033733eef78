//! What a node's ChatServer does with commands, with frames, and with what a room's log wants. The room, its log, who waits
//! for its head and when heads are compared are the hub's own code; what stands between is modelled on
//! `server/{commands,follow,effects,neighbours,refresh}.rs`.

use std::time::Duration;

use bytestring::ByteString;
use hubbub::{
    mirror::LogFrame,
    protocol::{Seq, WireError},
    room::{Effect, Input, Numbered},
    server::{FrameUse, Joined, Room, Waiting, WorkerId},
};

use super::{
    database::Ask,
    node::{Command, Entry, Happens, Join, RECENT, Ready, ToDispatcher, Why},
    session::Events,
    world::{World, ms},
};

/// What waits for a worker's Dispatcher.
const DISPATCHER: usize = 6;
const NUDGE: Duration = ms(20);
const SWEEP: Duration = ms(1_000);
/// How long an unused room stays.
const IDLE: Duration = ms(1_500);
/// After so many holes in a row that only the database filled, a room's channel is subscribed anew.
const UNHEARD: u32 = 3;

impl World {
    /// Runs a command on its room, or keeps it until the room is read.
    pub fn command(&mut self, node: usize, room: usize, command: Command) {
        let now = self.now;
        match self.nodes[node].rooms.get_mut(&room) {
            Some(Entry::Ready(ready)) => {
                ready.used = now;
                self.run_command(node, room, command);
            }
            Some(Entry::Loading { waiting, .. }) => waiting.push(command),
            None => {
                let followed = matches!(command, Command::Join(_));
                let loading = Entry::Loading { heard: false, waiting: vec![command], seen: Seq(0), rights: 0 };
                self.nodes[node].rooms.insert(room, loading);
                self.load(node, room, followed);
            }
        }
    }

    pub fn load(&mut self, node: usize, room: usize, followed: bool) {
        if followed {
            self.follow(node, room, Why::Load { followed });
        } else {
            self.ask(node, Ask::Row(room, Why::Load { followed }));
        }
    }

    pub fn run_command(&mut self, node: usize, room: usize, command: Command) {
        let Some(ready) = self.nodes[node].ready(room) else {
            return;
        };
        match command {
            Command::Join(mut join) => {
                if ready.room.knows_head(true, join.position.as_ref()) {
                    return self.join_now(node, room, join);
                }
                join.head = Some(self.database.rooms[room].head());
                self.nodes[node].ready(room).unwrap().waiting.ask(join);
                self.warm(node, room);
            }
            Command::Post(item) => self.post(node, item),
            Command::Change(user, member) => self.ask(node, Ask::Change(room, user, member)),
            Command::Open => {}
        }
    }

    pub fn warm(&mut self, node: usize, room: usize) {
        let Some(ready) = self.nodes[node].ready(room) else {
            return;
        };
        if !ready.waiting.read() {
            return;
        }
        if ready.room.followed {
            self.ask(node, Ask::Row(room, Why::Warm));
        } else {
            self.follow(node, room, Why::Warm);
        }
    }

    pub fn join_now(&mut self, node: usize, room: usize, mut join: Join) {
        /// How many missed events may be replayed.
        const MOST: u64 = 20;
        let user = self.users[self.clients[join.client].user].right();
        let place = &mut self.nodes[node];
        let Some(ready) = place.ready(room) else {
            return;
        };
        join.rights = ready.room.rights;
        let answer =
            ready.room.judge(user, true).map(|()| ready.room.attach(WorkerId(0), join.position.as_ref(), MOST));
        if answer.is_ok() {
            self.tell_dispatcher(node, ToDispatcher::Attach(join.client, join.generation, room));
        }
        self.answer_join(node, room, join, answer);
    }

    pub fn answer_join(&mut self, node: usize, room: usize, join: Join, answer: Result<Joined, WireError>) {
        let (wait, client, generation) = (self.between(0, 2), join.client, join.generation);
        self.at_node(node, wait, Happens::Joined { client, generation, room, join, answer });
    }

    pub fn release_joins(&mut self, node: usize, room: usize) {
        let Some(ready) = self.nodes[node].ready(room) else {
            return;
        };
        for join in ready.waiting.ready(ready.room.log.head()) {
            self.join_now(node, room, join);
        }
    }

    /// Feeds a room's log and does what it wants.
    pub fn apply(&mut self, node: usize, room: usize, input: Input<ByteString>) {
        let (now, hole) = (self.instant(), self.nodes[node].pace().hole);
        let Some(ready) = self.nodes[node].ready(room) else {
            return;
        };
        let effects = ready.room.log.apply(input);
        let (bytes, ahead) = (ready.room.log.recent_bytes(), ready.room.log.ahead());
        if effects.iter().any(|effect| matches!(effect, Effect::Deliver(_))) {
            ready.room.active = now;
        }
        if bytes > RECENT.bytes || ahead > RECENT.events {
            return self.fail(|| format!("P5 node {node}: {bytes} bytes of recent events, {ahead} ahead"));
        }
        for effect in effects {
            match effect {
                Effect::Deliver(events) => {
                    self.check_order(node, room, &events);
                    self.deliver(node, room, events.into());
                    self.release_joins(node, room);
                }
                Effect::AwaitHole => self.at_node(node, hole, Happens::HoleDue(room)),
                Effect::Fetch(after) => self.ask(node, Ask::Hole(room, after)),
            }
        }
    }

    fn deliver(&mut self, node: usize, room: usize, events: Events) {
        let place = &mut self.nodes[node];
        let (Some(ready), Some(last)) = (place.ready(room), events.last()) else {
            return;
        };
        let head = last.seq;
        if ready.room.sessions() == 0 {
            return;
        }
        if place.dispatcher.len() < DISPATCHER {
            return self.tell_dispatcher(node, ToDispatcher::Deliver(room, events));
        }
        if place.behind.insert(room, head).is_none() && place.behind.len() == 1 {
            self.at_node(node, NUDGE, Happens::Nudge);
        }
    }

    pub fn nudge(&mut self, node: usize) {
        let place = &mut self.nodes[node];
        if place.dispatcher.len() < DISPATCHER {
            let rooms = std::mem::take(&mut place.behind).into_iter().collect();
            self.tell_dispatcher(node, ToDispatcher::FellBehind(rooms));
        } else {
            self.at_node(node, NUDGE, Happens::Nudge);
        }
    }

    pub fn tell_dispatcher(&mut self, node: usize, message: ToDispatcher) {
        let wait = self.between(0, 1);
        let place = &mut self.nodes[node];
        place.dispatcher.push_back(message);
        if !std::mem::replace(&mut place.dispatching, true) {
            self.at_node(node, wait, Happens::Dispatch);
        }
    }

    /// Another node tells what it has committed.
    pub fn heard_log(&mut self, node: usize, room: usize, log: LogFrame) {
        self.note(|| format!("node {node} hears of {} events up to {} in room {room}", log.events.len(), log.head));
        match self.nodes[node].rooms.get_mut(&room) {
            None => {}
            Some(Entry::Loading { heard, .. }) => *heard = true,
            Some(Entry::Ready(ready)) => {
                let (told, known, before) = (log.rights, ready.room.rights, ready.room.log.head());
                match ready.room.judge_frame(&log) {
                    FrameUse::Take => ready.room.unheard = 0,
                    FrameUse::ReadRow => return self.refresh_once(node, room),
                    FrameUse::Drop => return,
                }
                let numbered = |(seq, event)| Numbered { seq: Seq(seq), event };
                self.apply(node, room, Input::Committed(log.events.into_iter().map(numbered).collect()));
                self.apply(node, room, Input::Head(Seq(log.head)));
                if told > known && self.nodes[node].ready(room).is_some_and(|ready| ready.room.log.head() > before) {
                    self.fail(|| format!("P7 node {node} takes events of rights {told} in, and knows {known}"));
                }
            }
        }
    }

    pub fn refresh_once(&mut self, node: usize, room: usize) {
        let Some(ready) = self.nodes[node].ready(room) else {
            return;
        };
        if std::mem::replace(&mut ready.room.refreshing, true) {
            ready.room.again = true;
        } else {
            self.ask(node, Ask::Row(room, Why::Refresh));
        }
    }

    /// A hole was filled by the database, although the bus works.
    pub fn filled_by_database(&mut self, node: usize, room: usize) {
        let place = &mut self.nodes[node];
        let Some(Entry::Ready(ready)) = place.rooms.get_mut(&room).filter(|_| place.up) else {
            return;
        };
        ready.room.unheard += 1;
        if ready.room.unheard >= UNHEARD {
            ready.room.unheard = 0;
            self.unfollow(node, room, true);
        }
    }

    /// Asks the database where rooms stand, as often as the bus makes it needed.
    pub fn compare(&mut self, node: usize) {
        let now = self.instant();
        let place = &mut self.nodes[node];
        let Some(all) = place.compared.due(place.pace(), now) else {
            return;
        };
        let compared = |(room, entry): (&usize, &Entry)| match entry {
            Entry::Ready(ready) if ready.room.is_compared(all, now) => Some(*room),
            _ => None,
        };
        let rooms: Vec<_> = place.rooms.iter().filter_map(compared).collect();
        if !rooms.is_empty() {
            place.compared.asked();
            self.ask(node, Ask::Heads(rooms));
        }
    }

    /// Drops rooms that nobody uses, and refuses joins that wait too long.
    pub fn sweep(&mut self, node: usize) {
        self.at_node(node, SWEEP, Happens::Sweep);
        let (now, instant) = (self.now, self.instant());
        let idle = |ready: &Ready| {
            ready.room.is_idle() && ready.waiting.is_empty() && ready.held.is_none() && now - ready.used >= IDLE
        };
        let place = &mut self.nodes[node];
        let unused = place.rooms.extract_if(.., |_, entry| matches!(entry, Entry::Ready(ready) if idle(ready)));
        let unused: Vec<_> = unused.map(|(room, _)| room).collect();
        for room in unused {
            self.note(|| format!("node {node} drops room {room}"));
            self.nodes[node].retained.remove(&room);
            self.unfollow(node, room, false);
        }
        for room in 0..self.rooms.len() {
            let Some(ready) = self.nodes[node].ready(room) else {
                continue;
            };
            for join in ready.waiting.late(instant) {
                self.answer_join(node, room, join, Err(WireError::unavailable()));
            }
        }
    }

    /// A room that was read.
    pub fn insert(&mut self, node: usize, index: usize, room: Room) {
        let used = self.now;
        let ready = Ready { room, waiting: Waiting::default(), held: None, used, since: used };
        self.nodes[node].rooms.insert(index, Entry::Ready(Box::new(ready)));
    }
}
