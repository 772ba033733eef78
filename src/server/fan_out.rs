//! One room's events to this worker's sessions in it. Each event is framed once; who has all before it gets it written past the
//! session's actor (`wire`), anybody else through their queue. A huge room is served in parts, between which other rooms and
//! sockets have their turn. One that has taken more than half of the worker's time rests till it has not: its next events go in one
//! write. What comes meanwhile, or within the flush window, waits: at most `limits.held_events`, past which the sessions read it
//! from the log. Part of the actor in `dispatcher`.

use std::{
    mem,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use actix::prelude::*;
use actix_http::ws::{OpCode, Parser};
use actix_web::web::BytesMut;
use bytestring::ByteString;
use indexmap::{IndexMap, map::Slice};

use super::{
    Place, SessionId, Watch, Wire,
    dispatcher::{Dispatcher, Local},
    messages::{Deliver, ToSession},
    wire::Written,
};
use crate::{
    protocol::{RoomName, Seq},
    room::Numbered,
    stats::Stats,
    store::Answer,
};

/// Sessions that are served before others have a turn.
const PART: usize = 256;
/// Members whose state is fetched into the processor's cache together: one after the other each would be waited for.
const AHEAD: usize = 16;
/// No room rests longer; and none that has not taken more than its half for as long.
const REST: Duration = Duration::from_millis(10);
/// So many events are not made to wait for more: each costs next to nothing in one write.
const ENOUGH: usize = 16;

/// How events are gathered.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// For how long after a room's events went out the next ones are gathered.
    pub window: Duration,
    /// How many may be.
    pub held: usize,
    /// More bytes than this are not written at once, but through the sessions' queues.
    pub bytes: usize,
}

/// A session in a room.
pub(super) struct Member {
    pub(super) local: Rc<Local>,
    /// The local's, and nearer.
    pub(super) wire: Arc<Wire>,
    pub(super) place: Arc<Place>,
}

impl Member {
    /// Whether events from `first` on may be written past the session.
    fn is_next(&self, first: Seq) -> bool {
        self.place.sent().is_some_and(|sent| sent.next() == first) && !self.wire.is_hushed()
    }

    /// Writes them; says whether the member has them now.
    fn write(&self, fan_out: &FanOut) -> bool {
        if self.place.sent().is_some_and(|sent| sent >= fan_out.head) {
            return true;
        }
        if fan_out.frames.is_empty() || !self.is_next(fan_out.first) {
            return false;
        }
        match self.wire.write(&fan_out.frames) {
            Written::Nothing => return false,
            Written::All => {}
            // The session waits for its socket; where its mailbox is full it has been woken.
            Written::Part => drop(self.local.recipient.try_send(ToSession::Look)),
        }
        self.place.give(fan_out.head);
        true
    }
}

/// Events that are being given out.
struct FanOut {
    room: RoomName,
    first: Seq,
    head: Seq,
    events: Arc<[Numbered<ByteString>]>,
    /// The same, as frames one behind the other; empty where that is too much for one write.
    frames: BytesMut,
    /// Bytes of the events.
    bytes: usize,
    /// The first member that has not been served.
    next: usize,
    /// When this node took the first message of these, where it has taken one.
    taken: Option<Instant>,
    /// How many deliveries it is of those that the gauge counts.
    deliveries: usize,
}

impl FanOut {
    /// None where there are no events.
    fn new(
        room: RoomName,
        events: Arc<[Numbered<ByteString>]>,
        (taken, deliveries): (Option<Instant>, usize),
        most: usize,
    ) -> Option<Self> {
        let (first, head) = (events.first()?.seq, events.last()?.seq);
        let bytes = events.iter().map(|event| event.event.len()).sum();
        let mut frames = BytesMut::new();
        for event in events.iter().filter(|_| bytes <= most) {
            Parser::write_message(&mut frames, event.event.as_bytes(), OpCode::Text, true, false);
        }
        Some(Self { room, first, head, events, frames, bytes, next: 0, taken, deliveries })
    }

    /// Serves these members.
    fn serve(&self, members: &Slice<SessionId, Member>, watch: &Watch, stats: &Stats) {
        let mut written = 0_usize;
        for from in (0..members.len()).step_by(AHEAD) {
            let Some(some) = members.get_range(from..members.len().min(from.saturating_add(AHEAD))) else { return };
            // Only looked at, so that it is near when it is needed.
            std::hint::black_box(
                some.values().filter(|member| member.is_next(self.first) && member.wire.is_there()).count(),
            );
            for member in some.values() {
                if member.write(self) {
                    written = written.saturating_add(self.events.len());
                } else {
                    self.queue(&member.local, watch, stats);
                }
            }
        }
        stats.delivered.add(written);
    }

    /// Through the session's queue: what does not fit at all is read page by page, what does not fit now is caught up after
    /// draining.
    fn queue(&self, local: &Local, watch: &Watch, stats: &Stats) {
        let whole = ToSession::Events { room: self.room.clone(), events: Arc::clone(&self.events), bytes: self.bytes };
        let queued = local.queue(whole, (self.events.len(), self.bytes), watch, stats)
            || local.queue(ToSession::Behind { room: self.room.clone(), head: self.head }, (1, 0), watch, stats);
        if !queued {
            local.miss(&self.room, self.head, stats);
        }
    }
}

/// A room as its worker knows it.
#[derive(Default)]
pub(super) struct LocalRoom {
    pub(super) members: IndexMap<SessionId, Member>,
    /// What is being given out, if that takes more than a turn.
    going: Option<FanOut>,
    held: Held,
    /// Until when events are gathered.
    window: Option<Instant>,
    /// When all that the room has taken is half of the time, if it takes nothing more.
    even_at: Option<Instant>,
    /// Whether a timer runs for the window's end.
    timed: bool,
}

/// What goes out next.
#[derive(Default)]
struct Held {
    events: Vec<Numbered<ByteString>>,
    /// Up to where the room got, where that was too much to be held.
    behind: Option<Seq>,
    taken: Option<Instant>,
    deliveries: usize,
}

impl LocalRoom {
    /// A session is in it no longer. The last one takes its place, which may have been served already.
    pub(super) fn leave(&mut self, session: SessionId, watch: &Watch, stats: &Stats) {
        let Some((place, ..)) = self.members.swap_remove_full(&session) else { return };
        let Some(going) = self.going.as_ref().filter(|going| place < going.next) else { return };
        if let Some(moved) = self.members.as_slice().get_range(place..place.saturating_add(1)) {
            going.serve(moved, watch, stats);
        }
    }

    /// Nobody is in it any more.
    pub(super) fn end(self, stats: &Stats) {
        let going = self.going.map_or(0, |going| going.deliveries);
        stats.dispatcher_queue.sub(going.saturating_add(self.held.deliveries));
    }

    /// Keeps events for later.
    fn hold(&mut self, Deliver { events, taken, .. }: Deliver, most: usize) {
        let held = &mut self.held;
        held.deliveries = held.deliveries.saturating_add(1);
        held.taken = held.taken.or(taken);
        let (last, first) = (held.events.last().map(|last| last.seq.next()), events.first().map(|first| first.seq));
        let hole = last.is_some() && last != first;
        if held.behind.is_some() || hole || held.events.len().saturating_add(events.len()) > most {
            held.behind = events.last().map(|last| last.seq).or(held.behind);
            held.events.clear();
        } else {
            held.events.extend(events.iter().cloned());
        }
    }
}

impl Dispatcher {
    /// Serves the next part of a room, and comes back for the one after it.
    fn go_on(&mut self, name: RoomName, ctx: &mut Context<Self>) {
        let (watch, stats) = (&self.watch, Arc::clone(&self.stats));
        let Some(room) = self.rooms.get_mut(&name) else { return };
        let Some(going) = &mut room.going else { return };
        let (began, end) = (Instant::now(), room.members.len().min(going.next.saturating_add(PART)));
        if let Some(part) = room.members.get_range(going.next..end) {
            going.serve(part, watch, &stats);
        }
        going.next = end;
        let even_at = room.even_at.map_or(began, |at| at.max(began)) + began.elapsed() * 2;
        room.even_at = Some(even_at);
        if end < room.members.len() {
            // After the other rooms and sockets of this worker.
            let turn = tokio::task::yield_now().into_actor(self);
            ctx.spawn(turn.map(|(), dispatcher, ctx| dispatcher.go_on(name, ctx)));
            return;
        }
        let Some(done) = room.going.take() else { return };
        stats.dispatcher_queue.sub(done.deliveries);
        if let Some(taken) = done.taken {
            stats.delivery.record(u64::try_from(taken.elapsed().as_micros()).unwrap_or(u64::MAX));
        }
        let now = Instant::now();
        let even_at = even_at.min(now + REST * 2);
        room.even_at = Some(even_at);
        let gathers = self.pace.window.max(even_at.saturating_duration_since(now + REST));
        room.window = (!gathers.is_zero()).then(|| now + gathers);
        self.release(name, ctx);
    }

    /// Gives out what was held, where its time has come.
    fn release(&mut self, name: RoomName, ctx: &mut Context<Self>) {
        let (watch, stats) = (&self.watch, Arc::clone(&self.stats));
        let Some(room) = self.rooms.get_mut(&name).filter(|room| room.going.is_none() && room.held.deliveries > 0)
        else {
            return;
        };
        if let Some(left) = room.window.map(|until| until.saturating_duration_since(Instant::now()))
            && !left.is_zero()
            && room.held.events.len() < ENOUGH
        {
            if !mem::replace(&mut room.timed, true) {
                ctx.run_later(left, move |dispatcher, ctx| {
                    dispatcher.rooms.get_mut(&name).into_iter().for_each(|room| room.timed = false);
                    dispatcher.release(name, ctx);
                });
            }
            return;
        }
        let Held { events, behind, taken, deliveries } = mem::take(&mut room.held);
        if let Some(head) = behind {
            stats.dispatcher_queue.sub(deliveries);
            return fall_behind(&name, head, room.members.values(), watch, &stats);
        }
        room.going = FanOut::new(name.clone(), events.into(), (taken, deliveries), self.pace.bytes);
        self.go_on(name, ctx);
    }
}

/// The room has got to `head`, and these read what is between.
pub(super) fn fall_behind<'a>(
    room: &RoomName,
    head: Seq,
    members: impl Iterator<Item = &'a Member>,
    watch: &Watch,
    stats: &Stats,
) {
    for Member { local, .. } in members {
        if !local.queue(ToSession::Behind { room: room.clone(), head }, (1, 0), watch, stats) {
            local.miss(room, head, stats);
        }
    }
}

impl Handler<Deliver> for Dispatcher {
    type Result = ();

    fn handle(&mut self, mut deliver: Deliver, ctx: &mut Context<Self>) {
        let answers = mem::take(&mut deliver.answers);
        if let Some(room) = self.rooms.get(&deliver.room) {
            let asker = |answer: &Answer| answer.asker.and_then(|asker| room.members.get(&SessionId(asker.session)));
            answers.iter().filter_map(asker).for_each(|member| member.wire.keep());
        }
        self.take(deliver, ctx);
        // After the events, and before any session has its turn.
        answers.into_iter().for_each(Answer::give);
    }
}

impl Dispatcher {
    /// Gives events out, or holds them while the room's last ones are under way or it rests.
    fn take(&mut self, deliver: Deliver, ctx: &mut Context<Self>) {
        let waiting = self.rooms.get(&deliver.room).map_or(0, |room| room.held.events.len());
        if waiting > 0 && waiting.saturating_add(deliver.events.len()) > self.pace.held {
            // Too much for one write: what waits goes first.
            self.rooms.get_mut(&deliver.room).into_iter().for_each(|room| room.window = None);
            self.release(deliver.room.clone(), ctx);
        }
        let Some(room) = self.rooms.get_mut(&deliver.room) else { return self.stats.dispatcher_queue.sub(1) };
        let gathers = room.window.is_some_and(|until| until > Instant::now());
        if gathers || room.going.is_some() || room.held.deliveries > 0 {
            let name = deliver.room.clone();
            room.hold(deliver, self.pace.held);
            return self.release(name, ctx);
        }
        let Deliver { room: name, events, taken, .. } = deliver;
        room.going = FanOut::new(name.clone(), events, (taken, 1), self.pace.bytes);
        if room.going.is_none() {
            return self.stats.dispatcher_queue.sub(1);
        }
        self.go_on(name, ctx);
    }
}
