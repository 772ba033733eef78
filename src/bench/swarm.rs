//! The generator: all connections in one loop on one thread. Messages go out when they are due, whatever became of those before
//! (open loop), or each when its sender has the one before; what comes is taken as it is read. Under a load the loop never sleeps: a
//! timer of the kernel's would be up to a millisecond late, and on loopback it is the server that pays for waking a client.

use std::{
    io,
    net::{SocketAddr, ToSocketAddrs},
    time::{Duration, Instant},
};

use mio::{Events, Poll, Token};

use super::{
    BenchError, Tokens,
    socket::{Came, Socket},
    speech::{Door, Frame, Speech},
    tally::Tally,
};

/// So long something may be late at the end, and so long an opening connection may say nothing.
const PATIENCE: Duration = Duration::from_secs(20);
/// Connections that are opened at the same time, where nothing else is said.
pub(super) const AT_ONCE: usize = 32;

/// Rooms that are alike.
#[derive(Clone, Copy, Debug)]
pub(super) struct Class {
    pub(super) rooms: u32,
    /// Members of each; those who send are among them.
    pub(super) members: u32,
    /// Senders of each.
    pub(super) senders: u32,
    pub(super) pace: Pace,
}

/// How the senders of a class send.
#[derive(Clone, Copy, Debug)]
pub(super) enum Pace {
    /// So many messages a second, all of them together.
    Rate(f64),
    /// Each has so many under way, and sends the next when one has come back to it.
    Window(u32),
}

impl Class {
    fn connections(&self) -> u32 {
        self.rooms.saturating_mul(self.members)
    }
}

struct Room {
    name: String,
    class: usize,
    members: u64,
}

/// One connection and what it stands for.
struct Member {
    /// Which user.
    user: u32,
    room: usize,
    /// Whether it sends, and keeps a window of messages.
    windowed: bool,
    socket: Option<Socket>,
    live: bool,
    /// The number of the last message in the room; none before the first.
    seq: Option<u64>,
    /// Up to where a join's answer says that there are messages to come.
    head: u64,
}

/// What a frame asks for, once it is read.
enum Want {
    Join,
    Pong,
    Next,
}

/// The senders of a class and when their next message is due.
struct Schedule {
    pace: Pace,
    senders: Vec<usize>,
    sent: u32,
    start: Instant,
}

impl Schedule {
    /// The time of the next message where it has one, and who sends it.
    fn next(&self) -> Option<(Instant, usize)> {
        let Pace::Rate(rate) = self.pace else { return None };
        let count = u32::try_from(self.senders.len()).ok().filter(|count| *count > 0)?;
        let sender = self.senders.get(usize::try_from(self.sent.checked_rem(count)?).ok()?)?;
        Some((self.start + Duration::from_secs_f64(f64::from(self.sent) / rate), *sender))
    }
}

/// All connections.
pub(super) struct Swarm {
    door: Door,
    address: SocketAddr,
    tokens: Tokens,
    poll: Poll,
    events: Events,
    buffer: Vec<u8>,
    classes: Vec<Class>,
    rooms: Vec<Room>,
    members: Vec<Member>,
    /// Characters of a message.
    body: usize,
    tally: Tally,
    live: usize,
    lost: Option<String>,
    /// No window is filled after this.
    end: Instant,
}

impl Swarm {
    /// Connections for these rooms, not opened yet.
    pub(super) fn new(door: Door, tokens: Tokens, classes: Vec<Class>, body: usize) -> Result<Self, BenchError> {
        let address = door.host.to_socket_addrs()?.next().ok_or(BenchError::NoAddress)?;
        let run: u32 = rand::random();
        let (mut rooms, mut members, mut user) = (Vec::new(), Vec::new(), 0_u32);
        for (index, class) in classes.iter().enumerate() {
            for number in 0..class.rooms {
                let room = rooms.len();
                let name = format!("bench-{run:08x}-{index}-{number}");
                rooms.push(Room { name, class: index, members: class.members.into() });
                for member in 0..class.members {
                    let windowed = matches!(class.pace, Pace::Window(_)) && member < class.senders;
                    members.push(Member { user, room, windowed, socket: None, live: false, seq: None, head: 0 });
                    user = user.saturating_add(1);
                }
            }
        }
        let tally = Tally::new(classes.len());
        let (poll, events) = (Poll::new()?, Events::with_capacity(1_024));
        let (buffer, end) = (vec![0; 256 * 1_024], Instant::now());
        Ok(Self {
            door,
            address,
            tokens,
            poll,
            events,
            buffer,
            classes,
            rooms,
            members,
            body,
            tally,
            live: 0,
            lost: None,
            end,
        })
    }

    /// The rooms, members and paces in words.
    pub(super) fn describe(&self) -> String {
        let of = |Class { rooms, members, senders, pace }: &Class| {
            let pace = match pace {
                Pace::Rate(rate) => format!("{rate} messages/s"),
                Pace::Window(window) => format!("{window} under way at once by each"),
            };
            format!("{rooms} rooms x {members} members, {senders} senders a room, {pace}")
        };
        self.classes.iter().map(of).collect::<Vec<_>>().join(" beside ")
    }

    /// Opens all that are not open, so many at a time, and waits until each is in its room and has what it missed. Says how
    /// many that were.
    pub(super) fn open(&mut self, at_once: usize) -> Result<usize, BenchError> {
        let closed: Vec<_> =
            (0..).zip(&self.members).filter(|(_, member)| member.socket.is_none()).map(|(index, _)| index).collect();
        let opened = closed.len();
        let all = self.live.saturating_add(opened);
        let mut opening = 0_usize;
        let (mut last, mut heard) = (self.live, Instant::now());
        let mut closed = closed.into_iter();
        while self.live < all {
            let ready = self.live.saturating_sub(last);
            if ready > 0 {
                (last, heard, opening) = (self.live, Instant::now(), opening.saturating_sub(ready));
            }
            for index in closed.by_ref().take(at_once.saturating_sub(opening)) {
                self.connect(index)?;
                opening = opening.saturating_add(1);
            }
            self.turn(Duration::from_millis(20))?;
            if heard.elapsed() > PATIENCE {
                return Err(BenchError::Silent { live: self.live, all });
            }
        }
        Ok(opened)
    }

    /// Lets go of all connections but the first so many of each room; where they stand in their rooms is kept.
    pub(super) fn drop_all(&mut self, but: usize) {
        let (mut room, mut place) = (usize::MAX, 0_usize);
        for member in &mut self.members {
            place = if member.room == room { place.saturating_add(1) } else { 0 };
            room = member.room;
            if place >= but {
                member.socket = None;
                member.live = false;
            }
        }
        self.live = self.members.iter().filter(|member| member.live).count();
    }

    /// Changes how a class sends; gives how it did.
    pub(super) fn set_pace(&mut self, class: usize, pace: Pace) -> Pace {
        self.classes.get_mut(class).map_or(pace, |class| std::mem::replace(&mut class.pace, pace))
    }

    /// Sends so many messages by each connection that is open, and waits until they are stored.
    pub(super) fn send_each(&mut self, messages: u32) -> Result<(), BenchError> {
        self.tally = Tally::new(self.classes.len());
        let open: Vec<_> = (0..).zip(&self.members).filter(|(_, member)| member.live).map(|(index, _)| index).collect();
        for index in open {
            for _ in 0..messages {
                self.send(index, Instant::now())?;
            }
        }
        let start = Instant::now();
        while self.tally.acked.saturating_add(self.tally.refused) < self.tally.sent() && start.elapsed() < PATIENCE {
            self.turn(Duration::from_millis(5))?;
        }
        Ok(())
    }

    /// What was counted so far.
    pub(super) fn counted(&self) -> &Tally {
        &self.tally
    }

    /// Keeps the load for so long, waits until all has arrived, and gives what was counted.
    pub(super) fn run(&mut self, time: Duration) -> Result<Tally, BenchError> {
        self.tally = Tally::new(self.classes.len());
        let start = Instant::now() + Duration::from_millis(2);
        self.end = start + time;
        let mut schedules = self.schedules(start);
        if self.door.speech == Speech::Tutorial {
            // Known only by this run's numbers.
            self.members.iter_mut().for_each(|member| member.seq = None);
        }
        self.fill_windows()?;
        loop {
            let now = Instant::now();
            for schedule in &mut schedules {
                while let Some((due, sender)) = schedule.next().filter(|(due, _)| *due < self.end) {
                    if due > now {
                        break;
                    }
                    schedule.sent = schedule.sent.saturating_add(1);
                    self.send(sender, due)?;
                }
            }
            if now >= self.end {
                break;
            }
            self.turn(Duration::ZERO)?;
        }
        while !self.tally.is_settled() && self.end.elapsed() < PATIENCE {
            self.turn(Duration::from_millis(5))?;
        }
        let mut tally = std::mem::replace(&mut self.tally, Tally::new(self.classes.len()));
        tally.took = start.elapsed();
        Ok(tally)
    }

    /// Reads and writes for so long, whatever comes.
    pub(super) fn idle(&mut self, time: Duration) -> Result<(), BenchError> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.turn(Duration::from_millis(20))?;
        }
        Ok(())
    }

    fn schedules(&self, start: Instant) -> Vec<Schedule> {
        let of = |index: usize, class: &Class| {
            // The first member of each room, then the second of each, so that neighbours in time are in different rooms.
            let offset: u32 = self.classes.iter().take(index).map(Class::connections).sum();
            let senders = (0..class.senders).flat_map(|sender| {
                (0..class.rooms)
                    .map(move |room| offset.saturating_add(room.saturating_mul(class.members)).saturating_add(sender))
            });
            let senders = senders.filter_map(|sender| usize::try_from(sender).ok()).collect();
            Schedule { pace: class.pace, senders, sent: 0, start }
        };
        self.classes.iter().enumerate().map(|(index, class)| of(index, class)).collect()
    }

    fn fill_windows(&mut self) -> Result<(), BenchError> {
        for index in 0..self.members.len() {
            let windowed = self.members.get(index).filter(|member| member.windowed);
            let class =
                windowed.and_then(|member| self.rooms.get(member.room)).and_then(|room| self.classes.get(room.class));
            if let Some(&Class { pace: Pace::Window(window), .. }) = class {
                for _ in 0..window {
                    self.send(index, Instant::now())?;
                }
            }
        }
        Ok(())
    }

    fn connect(&mut self, index: usize) -> Result<(), BenchError> {
        let Some(member) = self.members.get_mut(index) else { return Ok(()) };
        let Some(room) = self.rooms.get(member.room) else { return Ok(()) };
        let request = self.door.request(&room.name, &(self.tokens)(member.user));
        member.socket = Some(Socket::open(self.address, request, self.poll.registry(), Token(index))?);
        Ok(())
    }

    fn send(&mut self, index: usize, due: Instant) -> Result<(), BenchError> {
        let Some(member) = self.members.get_mut(index) else { return Ok(()) };
        let (Some(room), Some(socket)) = (self.rooms.get(member.room), &mut member.socket) else { return Ok(()) };
        let number = self.tally.send(due, index, room.members);
        let client_id = self.door.client_ids.then(rand::random);
        socket.send(&self.door.speech.message(&room.name, number, self.body, client_id))?;
        // Where nothing is acked, what was sent is what is expected.
        if self.door.speech == Speech::Tutorial {
            self.tally.taken(number);
        }
        Ok(())
    }

    /// Waits at most so long for something to come, and takes it.
    fn turn(&mut self, wait: Duration) -> Result<(), BenchError> {
        match self.poll.poll(&mut self.events, Some(wait)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            polled => polled?,
        }
        // Borrowed from `self` one by one, since what is taken changes the rest of it.
        let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        for event in &events {
            self.take(event.token().0)?;
        }
        self.events = events;
        match self.lost.take() {
            Some(why) => Err(BenchError::Lost(why)),
            None => Ok(()),
        }
    }

    fn take(&mut self, index: usize) -> Result<(), BenchError> {
        let Some(member) = self.members.get_mut(index) else { return Ok(()) };
        let (Some(socket), Some(room)) = (&mut member.socket, self.rooms.get(member.room)) else { return Ok(()) };
        let now = Instant::now();
        let speech = self.door.speech;
        let (tally, mut wants) = (&mut self.tally, Vec::new());
        let (seq, head, live, windowed) = (&mut member.seq, &mut member.head, &mut member.live, member.windowed);
        let was_live = *live;
        let senders = self.classes.get(room.class).map_or(0, |class| class.senders);
        let read = socket.flush().and_then(|()| {
            socket.read(&mut self.buffer, |came| {
                let text = match came {
                    Came::Text(text) => text,
                    Came::Ping => return wants.push(Want::Pong),
                    Came::Upgraded => {
                        *live = speech == Speech::Tutorial;
                        return;
                    }
                    Came::Close => return,
                };
                match speech.read(text) {
                    Frame::Hello => wants.push(Want::Join),
                    Frame::Joined { head: stands } => {
                        *head = stands;
                        *live = *seq.get_or_insert(stands) == stands;
                    }
                    Frame::Message { seq: given, number } => {
                        let last = match given {
                            Some(given) => seq.replace(given).map(|last| last.wrapping_add(1) == given),
                            // In one sender's room its numbers grow; several senders' order is the server's.
                            None => seq.replace(number).map(|last| last < number || senders > 1),
                        };
                        *live |= *seq >= Some(*head);
                        tally.delivered(number, room.class, last.unwrap_or(true), now);
                        if windowed && tally.is_from(number, index) {
                            wants.push(Want::Next);
                        }
                    }
                    Frame::Stored(number) => tally.stored(number, now),
                    Frame::Refused => tally.refused = tally.refused.saturating_add(1),
                    Frame::Lagged => tally.lagged = tally.lagged.saturating_add(1),
                    Frame::Other => {}
                }
            })
        });
        if let Err(error) = read {
            self.lost = Some(error.to_string());
            return Ok(());
        }
        self.live = self.live.saturating_add(usize::from(*live && !was_live));
        for want in wants {
            let Some(member) = self.members.get_mut(index) else { return Ok(()) };
            let (Some(socket), Some(room)) = (&mut member.socket, self.rooms.get(member.room)) else { return Ok(()) };
            match want {
                Want::Pong => socket.pong()?,
                Want::Join => {
                    if let Some(join) = speech.join(&room.name, member.seq) {
                        socket.send(&join)?;
                    }
                }
                Want::Next if now < self.end => self.send(index, now)?,
                Want::Next => {}
            }
        }
        Ok(())
    }
}
