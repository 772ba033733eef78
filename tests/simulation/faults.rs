//! What goes wrong, for how long, and what must be right afterwards. Each seed has some kinds of faults, some seeds none.

use std::time::Duration;

use rand::{RngExt, rngs::StdRng};

use super::{
    bus::Redis,
    database::{Mood, TIMEOUT},
    node::{Command, Entry},
    rows::READ_AGAIN,
    session::{FAST, is_fast},
    world::{Check, Due, Event, Over, World, ms},
};

/// Faults of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    DatabaseSlow,
    DatabaseAway,
    DatabaseSilent,
    AnswersLost,
    BusLossy,
    BusAway,
    Deaf,
    HalfOpen,
    Forged,
    Replayed,
    Overrun,
    Crash,
    Pause,
    WallClock,
    Rights,
    Restore,
    Quiet,
    Forgotten,
}

impl Kind {
    const ALL: [Self; 18] = [
        Self::DatabaseSlow,
        Self::DatabaseAway,
        Self::DatabaseSilent,
        Self::AnswersLost,
        Self::BusLossy,
        Self::BusAway,
        Self::Deaf,
        Self::HalfOpen,
        Self::Forged,
        Self::Replayed,
        Self::Overrun,
        Self::Crash,
        Self::Pause,
        Self::WallClock,
        Self::Rights,
        Self::Restore,
        Self::Quiet,
        Self::Forgotten,
    ];

    /// Those of one seed.
    pub fn some(random: &mut StdRng) -> Vec<Self> {
        let often = [0.0, 0.15, 0.3, 0.6][random.random_range(0..4)];
        let mut kinds: Vec<_> = Self::ALL.into_iter().filter(|_| random.random_bool(often)).collect();
        // Rights change everywhere.
        kinds.extend(random.random_bool(0.4).then_some(Self::Rights));
        kinds
    }
}

impl World {
    pub fn fault(&mut self) {
        if self.healed {
            return;
        }
        let wait = self.between(20, 400);
        self.after(wait, Event::Fault);
        if self.kinds.is_empty() {
            return;
        }
        if self.now > ms(500) && self.database.backup.is_none() {
            self.database.backup = Some(self.database.rooms.clone());
        }
        let kind = self.pick(0, self.kinds.len());
        let kind = self.kinds[kind];
        let (node, room) = (self.pick(0, self.nodes.len()), self.pick(0, self.rooms.len()));
        self.figures.faults += 1;
        self.note(|| format!("fault {kind:?}: node {node}, room {room}"));
        match kind {
            Kind::DatabaseSlow => self.mood(Mood::Slow, ms(800)),
            Kind::DatabaseAway => self.mood(Mood::Away, READ_AGAIN),
            Kind::DatabaseSilent => self.mood(Mood::Silent, TIMEOUT + READ_AGAIN),
            Kind::AnswersLost => self.database.lost = self.random.random_range(0.0..0.5),
            Kind::BusLossy => {
                let chance = |world: &mut Self| {
                    if world.chance(0.5) { 0.0 } else { world.random.random_range(0.0..0.6) }
                };
                (self.redis.drops, self.redis.repeats, self.redis.delays) = (chance(self), chance(self), chance(self));
                let wait = self.between(200, 1_500);
                self.after(wait, Event::Over(Over::Lossy));
            }
            Kind::BusAway => {
                self.redis.away = true;
                if self.chance(0.3) {
                    for node in 0..self.nodes.len() {
                        let present = self.nodes[node].present.as_ref().map(|present| present.number);
                        present.into_iter().for_each(|number| self.give_up(node, number));
                    }
                }
                let wait = self.between(100, 3_000);
                self.after(wait, Event::Over(Over::Outage));
            }
            Kind::Deaf => {
                if let Some(present) = &mut self.nodes[node].present {
                    present.deaf = true;
                }
            }
            Kind::HalfOpen => {
                if let Some(present) = &mut self.nodes[node].present {
                    present.dead.insert(room);
                }
            }
            Kind::Forged => (0..3).for_each(|_| self.forge()),
            Kind::Replayed => {
                let many = self.random.random_range(1..30);
                for _ in 0..many {
                    let wait = self.between(0, 300);
                    self.after(wait, Event::Replay);
                }
            }
            Kind::Overrun => self.nodes[node].overrun = true,
            Kind::Crash => self.crash(node),
            Kind::Pause if self.nodes[node].alive && !self.nodes[node].paused => {
                self.nodes[node].paused = true;
                let wait = self.between(50, 2_500);
                self.after(wait, Event::Over(Over::Pause(node)));
            }
            Kind::Pause => {}
            Kind::WallClock => self.nodes[node].wall = self.random.random_range(-100_000..100_000),
            Kind::Rights => {
                for _ in 0..3 {
                    let (user, member) = (self.pick(0, self.users.len()), self.chance(0.5));
                    if self.nodes[node].alive {
                        self.command(node, room, Command::Change(user, member));
                    }
                }
            }
            Kind::Restore => self.restore(),
            Kind::Quiet => {
                let long_ago = self.instant().checked_sub(Duration::from_secs(70)).unwrap();
                if let Some(ready) = self.nodes[node].ready(room) {
                    ready.room.active = long_ago;
                }
            }
            Kind::Forgotten => {
                if let Some(ready) = self.nodes[node].ready(room) {
                    ready.room.log.forget_recent();
                }
            }
        }
    }

    /// For a while, and for what is under way then.
    fn mood(&mut self, mood: Mood, after: Duration) {
        let wait = self.between(50, 1_000);
        self.database.mood = mood;
        self.database.fine_since = self.database.fine_since.max(self.now + wait + after);
        self.after(wait, Event::Over(Over::Database));
    }

    fn crash(&mut self, node: usize) {
        if !self.nodes[node].alive {
            return;
        }
        let place = &mut self.nodes[node];
        (place.alive, place.paused, place.present) = (false, false, None);
        for client in 0..self.clients.len() {
            if self.clients[client].at == Some(node) {
                self.disconnect(client);
            }
        }
        let wait = self.between(50, 1_500);
        self.after(wait, Event::Over(Over::Crash(node)));
    }

    /// All nodes end, the database is one of before, with a new epoch. What Redis had is still on its way.
    fn restore(&mut self) {
        // Once, so that it is the same backup for all.
        let Some(backup) = self.database.backup.clone().filter(|_| self.database.epoch == 1) else {
            return;
        };
        (0..self.nodes.len()).for_each(|node| self.crash(node));
        self.database.rooms = backup;
        self.database.rooms.iter_mut().for_each(|room| room.rights += 1);
        self.database.epoch += 1;
        self.database.restored = self.number();
    }

    pub fn over(&mut self, over: &Over) {
        self.note(|| format!("over: {over:?}"));
        match *over {
            Over::Database => self.database.mood = Mood::Fine,
            Over::Lossy => (self.redis.drops, self.redis.repeats, self.redis.delays) = (0.0, 0.0, 0.0),
            Over::Outage => self.redis.away = false,
            Over::Crash(node) if !self.nodes[node].alive => self.start(node),
            Over::Pause(node) if self.nodes[node].paused => {
                let place = &mut self.nodes[node];
                (place.paused, place.fine_since) = (false, self.now);
                let late = std::mem::take(&mut place.late);
                late.into_iter().for_each(|happens| self.at_node(node, Duration::ZERO, happens));
            }
            Over::Crash(_) | Over::Pause(_) => {}
        }
    }

    pub fn heal(&mut self) {
        self.note(|| "heal".to_owned());
        self.healed = true;
        self.redis = Redis { recorded: std::mem::take(&mut self.redis.recorded), ..Redis::default() };
        (self.database.mood, self.database.lost) = (Mood::Fine, 0.0);
        for node in 0..self.nodes.len() {
            self.over(&Over::Crash(node));
            self.over(&Over::Pause(node));
            self.nodes[node].overrun = false;
        }
        (0..self.clients.len()).for_each(|client| self.set_speed(client, FAST));
    }

    /// One more message in each room, by somebody who may: nothing is to be quiet.
    pub fn last_words(&mut self) {
        for room in 0..self.rooms.len() {
            let node = self.pick(0, self.nodes.len());
            let members = &self.database.rooms[room].members;
            let Some(client) = self.clients.iter().position(|client| members.contains(&self.users[client.user].key))
            else {
                continue;
            };
            let text = self.number();
            self.post_text(client, node, room, text);
        }
    }

    /// Looks at something that was promised, unless something that went wrong meanwhile excuses it.
    pub fn check(&mut self, Check { node, life, room, epoch, since, due }: Check) {
        let (instant, fine) = (self.instant(), self.database.fine_since);
        let outdated = epoch != self.database.epoch || fine > since;
        let place = &mut self.nodes[node];
        if outdated || place.life != life || !place.alive || place.paused || place.fine_since > since {
            return;
        }
        let (up, changed) = (place.up, place.up_changed);
        let Some(Entry::Ready(ready)) = place.rooms.get(&room) else {
            return;
        };
        let (head, rights, active) =
            (ready.room.log.head().0, ready.room.rights, ready.room.is_compared(false, instant));
        if ready.since > since {
            return;
        }
        match due {
            Due::Head(seq) if head < seq => {
                self.fail(|| format!("P9 node {node} is at {head} of room {room}, two seconds after {seq}"));
            }
            Due::HeadWithoutBus(seq) if head < seq && active && !up && changed <= since => {
                self.fail(|| {
                    format!("P9 node {node} is at {head} of room {room}, a second after {seq}, without a bus")
                });
            }
            Due::Rights(revision) if rights < revision => {
                self.fail(|| {
                    format!("P7 node {node} does not know rights {revision} of room {room} after two seconds")
                });
            }
            Due::Delivered(seq) => {
                for client in 0..self.clients.len() {
                    let of = &self.clients[client];
                    let Some(seen) = of.rooms.get(&room).filter(|_| of.at == Some(node)) else {
                        continue;
                    };
                    let (last, fast) = (seen.last, is_fast(of.speed) && of.fast_since <= since);
                    if last < seq && fast && seen.live.is_some_and(|live| live <= since) {
                        self.fail(|| {
                            format!("P9 client {client} is at {last} of room {room}, three seconds after {seq}")
                        });
                    }
                }
            }
            _ => {}
        }
    }

    /// Everything is as if nothing had gone wrong.
    pub fn check_end(&mut self) {
        /// Reads in a second in which nothing goes wrong: heads and, where somebody is refused, a row.
        const QUIET: u64 = 12;
        for client in 0..self.clients.len() {
            for room in 0..self.rooms.len() {
                let of = &self.clients[client];
                let (head, member) = (
                    self.database.rooms[room].head(),
                    self.database.rooms[room].members.contains(&self.users[of.user].key),
                );
                let last = of.rooms.get(&room).filter(|seen| seen.live.is_some()).map(|seen| seen.last);
                if member && last != Some(head) {
                    self.fail(|| format!("P9 at the end client {client} is at {last:?} of room {room}, not at {head}"));
                }
                if !member && last.is_some() {
                    self.fail(|| format!("P7 at the end client {client} is in room {room}"));
                }
            }
        }
        for node in 0..self.nodes.len() {
            let place = &self.nodes[node];
            let (up, living) = (place.up, place.others.living(self.now - place.started).count());
            let unsettled = |entry: &Entry| match entry {
                Entry::Loading { .. } => true,
                Entry::Ready(ready) => !ready.room.log.is_settled() || !ready.waiting.is_empty(),
            };
            let unsettled = place.rooms.values().any(unsettled);
            let waiting = place.batch.is_some() || place.outgoing.len() > 1;
            let (second, reads) = place.reads;
            if !up || living != self.nodes.len() - 1 {
                self.fail(|| format!("P11 at the end node {node} hears {living} others, and the bus is up: {up}"));
            } else if unsettled || waiting {
                self.fail(|| format!("P9 at the end node {node} is not settled"));
            } else if reads > QUIET && second + 1 >= self.now.as_secs() {
                self.fail(|| format!("P9 livelock: node {node} reads {reads} times in a quiet second"));
            }
        }
    }
}
