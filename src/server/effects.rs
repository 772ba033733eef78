//! From the writer and the room's log to the workers: what was committed goes into the log, and what the log wants is
//! done. Part of the actor in `chat_server`.

use std::{
    mem,
    sync::Arc,
    time::{Duration, Instant},
};

use actix::prelude::*;
use bytestring::ByteString;
use indexmap::IndexMap;

use super::{chat_server::ChatServer, messages::Deliver, room::Entry};
use crate::{
    protocol::{RoomName, Seq},
    room::{Effect, Input, Numbered},
    store::{Answer, Committed, StoreError, Stored},
};

/// After a read that failed.
const READ_AGAIN: Duration = Duration::from_millis(500);

/// What the database has after a log's head.
#[derive(Message)]
#[rtype(result = "()")]
struct Fetched {
    room: RoomName,
    events: Result<Arc<[Numbered<ByteString>]>, StoreError>,
}

/// What a transaction has of a room.
struct OfRoom {
    /// When the first of these came in.
    taken: Instant,
    events: Vec<Numbered<ByteString>>,
    answers: Vec<Answer>,
}

impl ChatServer {
    /// Feeds a room's log and does what it wants.
    pub(super) fn apply(&mut self, name: &RoomName, input: Input<ByteString>, ctx: &mut Context<Self>) {
        let Some(Entry::Ready(room)) = self.rooms.get_mut(name) else { return };
        let before = room.log.recent_bytes();
        let effects = room.log.apply(input);
        let after = room.log.recent_bytes();
        if effects.iter().any(|effect| matches!(effect, Effect::Deliver(_))) {
            room.active = Instant::now();
        }
        self.recent_bytes = self.recent_bytes.saturating_sub(before).saturating_add(after);
        for effect in effects {
            match effect {
                Effect::Deliver(events) => {
                    self.deliver(name, &events.into());
                    self.release_joins(name);
                }
                Effect::AwaitHole => {
                    let name = name.clone();
                    ctx.run_later(self.mirror.pace().hole, move |server, ctx| {
                        server.apply(&name, Input::HoleDue, ctx);
                    });
                }
                Effect::Fetch(after) => self.fetch(name, after, ctx),
            }
        }
        if self.recent_bytes > self.bounds.recent_total_bytes {
            self.forget_oldest();
        }
        self.stats.recent_bytes.set(self.recent_bytes);
    }

    /// One message to each worker that has sessions in the room.
    fn deliver(&mut self, name: &RoomName, events: &Arc<[Numbered<ByteString>]>) {
        let (Some(Entry::Ready(room)), Some(last)) = (self.rooms.get_mut(name), events.last()) else { return };
        let (head, taken) = (last.seq, room.undelivered.take_if(|(seq, _)| *seq <= last.seq));
        let taken = taken.map(|(_, at)| at);
        for id in room.workers() {
            let Some(worker) = self.workers.get_mut(id.0) else { continue };
            let Some(dispatcher) = &worker.dispatcher else { continue };
            self.stats.dispatcher_queue.add(1);
            let here = |answer: &mut Answer| answer.asker.is_some_and(|asker| asker.worker == id.0);
            let answers = self.answers.extract_if(.., here).collect();
            let deliver = Deliver { room: name.clone(), events: Arc::clone(events), taken, answers };
            if let Err(SendError::Full(deliver) | SendError::Closed(deliver)) = dispatcher.try_send(deliver) {
                self.stats.dispatcher_queue.sub(1);
                worker.behind.insert(name.clone(), head);
                self.answers.extend(deliver.answers);
            }
        }
    }

    /// How busy the room is, and since when its first event waits that has not gone out.
    fn note_stored(&mut self, name: &RoomName, events: &[Numbered<ByteString>], taken: Instant, second: u64) {
        let (Some(room), Some(first)) = (self.room_mut(name), events.first()) else { return };
        room.minute.add(events.len(), second);
        if !room.is_unwatched() && first.seq > room.log.head() {
            room.undelivered.get_or_insert((first.seq, taken));
        }
    }

    fn fetch(&self, name: &RoomName, after: Seq, ctx: &Context<Self>) {
        let Some(Entry::Ready(room)) = self.rooms.get(name) else { return };
        let Some(key) = room.key else { return };
        let (store, server, room) = (Arc::clone(&self.store), ctx.address(), name.clone());
        let stats = Arc::clone(&self.stats);
        actix::spawn(async move {
            let events = store.read_after(key, &room, after, &stats.pages_read).await;
            #[expect(clippy::disallowed_methods, reason = "one for each room that has a hole")]
            server.do_send(Fetched { room, events });
        });
    }

    /// Over the bound of all rooms' recent events: the rooms that were used least recently give theirs back.
    fn forget_oldest(&mut self) {
        let goal = self.bounds.recent_total_bytes / 10 * 9;
        let mut rooms: Vec<_> = self
            .rooms
            .values_mut()
            .filter_map(|entry| match entry {
                Entry::Ready(room) if room.log.recent_bytes() > 0 => Some(room),
                _ => None,
            })
            .collect();
        rooms.sort_by_key(|room| room.used);
        for room in rooms {
            if self.recent_bytes <= goal {
                break;
            }
            self.recent_bytes = self.recent_bytes.saturating_sub(room.log.recent_bytes());
            room.log.forget_recent();
        }
    }
}

impl Handler<Stored> for ChatServer {
    type Result = ();

    fn handle(&mut self, Stored { events, seen, refused, settled, answers }: Stored, ctx: &mut Context<Self>) {
        self.stats.writer_queue.sub(settled.len());
        self.stats.stored.add(events.len());
        let mut by_room: IndexMap<RoomName, OfRoom> = IndexMap::new();
        for Committed { event, received, answer } in events {
            let numbered = Numbered { seq: event.seq, event: event.encode() };
            let new = || OfRoom { taken: received, events: Vec::new(), answers: Vec::new() };
            let of_room = by_room.entry(event.room).or_insert_with(new);
            of_room.taken = received.min(of_room.taken);
            of_room.events.push(numbered);
            of_room.answers.extend(answer);
        }
        let second = self.stats.busiest.clock();
        for (room, OfRoom { taken, events, answers }) in by_room {
            self.answers = answers;
            self.note_stored(&room, &events, taken, second);
            if let (Some(Entry::Loading { seen, .. }), Some(last)) = (self.rooms.get_mut(&room), events.last()) {
                *seen = last.seq.max(*seen);
            }
            self.publish(&room, &events);
            match (self.room_mut(&room).is_some_and(|room| room.is_unwatched()), events.last()) {
                // What came before it was committed elsewhere, and nobody here waits for it.
                (true, Some(last)) => self.stands_at(&room, last.seq, ctx),
                _ => self.apply(&room, Input::Committed(events), ctx),
            }
            // Of senders who have no session in the room, or none here, or whose events go out later.
            mem::take(&mut self.answers).into_iter().for_each(Answer::give);
        }
        for (room, seq) in seen {
            if let Some(Entry::Loading { seen, .. }) = self.rooms.get_mut(&room) {
                *seen = seq.max(*seen);
            }
            self.apply(&room, Input::Head(seq), ctx);
        }
        self.judge_again(refused, ctx);
        self.settled(settled, ctx);
        answers.into_iter().for_each(Answer::give);
    }
}

impl Handler<Fetched> for ChatServer {
    type Result = ();

    fn handle(&mut self, Fetched { room, events }: Fetched, ctx: &mut Context<Self>) {
        match events {
            Ok(events) => {
                if !events.is_empty() {
                    self.filled_by_database(&room);
                }
                self.apply(&room, Input::Fetched(events.to_vec()), ctx);
            }
            Err(error) => {
                self.refuse_joins(&room);
                tracing::warn!(%room, %error, "a hole could not be read");
                ctx.run_later(READ_AGAIN, move |server, ctx| server.apply(&room, Input::FetchFailed, ctx));
            }
        }
    }
}
