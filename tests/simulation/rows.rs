//! What a node does with the database's answers: rooms that were read, holes that were filled, heads, and what its writer
//! stored. The messages of `server/{commands,follow,refresh,effects,members}.rs` and `store/writer.rs`, modelled on the
//! hub's own `Room`, `RoomLog`, `Waiting` and `Compared`.

use std::time::Duration;

use hubbub::{
    protocol::{Seq, WireError},
    room::{Input, Memory, Numbered},
    server::Room,
    store::RoomRow,
};

use super::{
    database::{Ask, Found, Item, Outcome},
    node::{Answer, Entry, Happens, RECENT, ToDispatcher, Why},
    world::{World, ms},
};

pub const READ_AGAIN: Duration = ms(500);
const WRITE_AGAIN: Duration = ms(200);
/// How long a message may wait for its ack.
const WRITE_TIMEOUT: Duration = ms(4_000);
/// Messages that the writer has, and those of one transaction.
const WRITER: usize = 40;
const BATCH: usize = 8;

impl World {
    pub fn answered(&mut self, node: usize, Answer { id, found }: Answer) {
        let Some(ask) = self.nodes[node].asked.remove(&id) else {
            return;
        };
        match (ask, found) {
            (Ask::Row(room, why), found) => {
                let row = found.map(|found| match found {
                    Found::Row(row) => *row,
                    other => panic!("{other:?}"),
                });
                self.row_read(node, room, &why, row);
            }
            (Ask::Hole(room, _), Ok(Found::Page(events))) => {
                if !events.is_empty() {
                    self.filled_by_database(node, room);
                }
                self.apply(node, room, Input::Fetched(events));
            }
            (Ask::Hole(room, _), _) => {
                for join in self.nodes[node].ready(room).map(|ready| ready.waiting.stuck()).unwrap_or_default() {
                    self.answer_join(node, room, join, Err(WireError::unavailable()));
                }
                self.at_node(node, READ_AGAIN, Happens::FetchFailed(room));
            }
            (Ask::Missed { room, client, generation, .. }, found) => {
                let page = match found {
                    Ok(Found::Page(events)) => Ok(events),
                    _ => Err(()),
                };
                self.session_page(node, client, generation, room, page);
            }
            (Ask::Heads(_), found) => {
                self.nodes[node].compared.answered();
                let Ok(Found::Heads(heads)) = found else {
                    return;
                };
                for (room, head, rights) in heads {
                    let Some(ready) = self.nodes[node].ready(room) else {
                        continue;
                    };
                    if ready.room.is_outdated(rights) {
                        self.refresh_once(node, room);
                    } else {
                        self.stands_at(node, room, head);
                    }
                }
            }
            (Ask::Append(_), Ok(Found::Outcomes(outcomes))) => self.written(node, outcomes),
            (Ask::Append(_), _) => {
                if let Some((_, in_doubt)) = &mut self.nodes[node].batch {
                    *in_doubt = true;
                    self.at_node(node, WRITE_AGAIN, Happens::WriteAgain);
                }
            }
            (Ask::Change(room, ..), Ok(Found::Row(row))) => {
                self.settle_row(node, room, *row);
                self.publish_log(node, room, &[]);
            }
            // Whether it was made is not known: what is there now counts.
            (Ask::Change(room, ..), _) => self.ask(node, Ask::Row(room, Why::Refresh)),
        }
    }

    fn row_read(&mut self, node: usize, room: usize, why: &Why, row: Result<RoomRow, ()>) {
        match why {
            Why::Load { followed } => self.loaded(node, room, *followed, row),
            Why::Warm => self.warmed(node, room, row),
            Why::Refresh => {
                let Some(ready) = self.nodes[node].ready(room) else {
                    return;
                };
                ready.room.refreshing = row.is_err();
                match row {
                    Ok(row) => {
                        let again = std::mem::take(&mut ready.room.again);
                        self.settle_row(node, room, row);
                        if again {
                            self.refresh_once(node, room);
                        }
                    }
                    Err(()) => self.at_node(node, READ_AGAIN, Happens::RefreshAgain(room)),
                }
            }
            Why::Judge => {
                let held = self.nodes[node].ready(room).and_then(|ready| ready.held.take()).unwrap_or_default();
                let Ok(row) = row else { return };
                self.settle_row(node, room, row);
                self.publish_log(node, room, &[]);
                for item in held {
                    self.post(node, item);
                }
            }
        }
    }

    fn loaded(&mut self, node: usize, index: usize, followed: bool, row: Result<RoomRow, ()>) {
        let Some(Entry::Loading { heard, waiting, seen, rights }) = self.nodes[node].rooms.get_mut(&index) else {
            return;
        };
        if matches!(&row, Ok(row) if row.rights < *rights) {
            return self.load(node, index, followed);
        }
        let (waiting, seen, heard) = (std::mem::take(waiting), *seen, *heard);
        let Ok(row) = row else {
            self.nodes[node].rooms.remove(&index);
            if followed {
                self.unfollow(node, index, false);
            }
            for command in waiting {
                if let super::node::Command::Join(join) = command {
                    self.answer_join(node, index, join, Err(WireError::unavailable()));
                }
            }
            return;
        };
        let rights = row.rights;
        let epoch = row.epoch.clone();
        let mut room = Room::new(Some(row), RECENT, &epoch);
        room.followed = followed;
        room.active = self.instant();
        self.nodes[node].retained.insert(index, rights);
        self.insert(node, index, room);
        if seen > Seq(0) {
            self.apply(node, index, Input::Head(seen));
        }
        for command in waiting {
            self.run_command(node, index, command);
        }
        if heard {
            self.refresh_once(node, index);
        }
    }

    fn warmed(&mut self, node: usize, room: usize, row: Result<RoomRow, ()>) {
        let (now, since) = (self.instant(), self.now);
        let Some(ready) = self.nodes[node].ready(room) else {
            return;
        };
        match row {
            Err(()) => {
                for join in ready.waiting.unread() {
                    self.answer_join(node, room, join, Err(WireError::unavailable()));
                }
            }
            Ok(row) => {
                ready.waiting.was_read(row.head, now);
                self.settle_row(node, room, row);
                if let Some(ready) = self.nodes[node].ready(room)
                    && !std::mem::replace(&mut ready.room.followed, true)
                {
                    ready.since = since;
                }
                self.apply(node, room, Input::HoleDue);
                self.release_joins(node, room);
            }
        }
        self.warm(node, room);
    }

    /// Takes in a row as it was read: whoever has no right any more is taken out before anything later is delivered.
    pub fn settle_row(&mut self, node: usize, index: usize, row: RoomRow) {
        let (head, rights) = (row.head, row.rights);
        match self.nodes[node].rooms.get_mut(&index) {
            None => {}
            Some(Entry::Loading { seen, rights: known, .. }) => {
                *seen = head.max(*seen);
                *known = rights.max(*known);
            }
            Some(Entry::Ready(ready)) => {
                if let Some(guests) = ready.room.take_row(row) {
                    self.note(|| format!("node {node} knows rights {rights} of room {index}"));
                    self.tell_dispatcher(node, ToDispatcher::Retain(index, guests, rights));
                }
                self.stands_at(node, index, head);
            }
        }
    }

    /// The database has a room's events up to here.
    pub fn stands_at(&mut self, node: usize, index: usize, head: Seq) {
        match self.nodes[node].ready(index) {
            Some(ready) if ready.room.is_unwatched() && head > ready.room.log.head() => {
                ready.room.log = hubbub::room::RoomLog::new(head, RECENT);
            }
            _ => self.apply(node, index, Input::Head(head)),
        }
    }

    pub fn post(&mut self, node: usize, mut item: Item) {
        let right = self.users[item.user].right();
        let place = &mut self.nodes[node];
        let full = place.queue.len() >= WRITER;
        let Some(ready) = place.ready(item.room) else {
            return;
        };
        if ready.room.judge(right, true).is_err() {
            return;
        }
        item.rights = ready.room.rights;
        match &mut ready.held {
            Some(held) => held.push(item),
            None if !full => {
                place.queue.push_back(item);
                if place.batch.is_none() {
                    self.write(node);
                }
            }
            None => {}
        }
    }

    /// The writer tries its batch, or begins a new one.
    pub fn write(&mut self, node: usize) {
        let now = self.now;
        let place = &mut self.nodes[node];
        if place.batch.is_none() {
            let many = place.queue.len().min(BATCH);
            let items: Vec<_> = place.queue.drain(..many).collect();
            place.batch = (!items.is_empty()).then_some((items, false));
        }
        let Some((items, _)) = &mut place.batch else {
            return;
        };
        // Whoever waited too long is told so; from then on it is only looked for.
        items.iter_mut().for_each(|item| item.answered |= now - item.received > WRITE_TIMEOUT);
        let items = items.clone();
        self.ask(node, Ask::Append(items));
    }

    fn written(&mut self, node: usize, outcomes: Vec<(Outcome, bytestring::ByteString)>) {
        let Some((items, in_doubt)) = self.nodes[node].batch.take() else {
            return;
        };
        let mut stored: Vec<Vec<Numbered<_>>> = vec![Vec::new(); self.rooms.len()];
        let (mut seen, mut acks, mut refused) = (Vec::new(), Vec::new(), Vec::new());
        for ((outcome, event), item) in outcomes.into_iter().zip(items) {
            match outcome {
                Outcome::New(seq) => {
                    stored[item.room].push(Numbered { seq, event });
                    acks.push((item, seq));
                }
                Outcome::Repeat(seq) => {
                    seen.extend(in_doubt.then_some((item.room, seq)));
                    acks.push((item, seq));
                }
                Outcome::StaleRights if !item.answered => refused.push(item),
                Outcome::StaleRights | Outcome::NotThere => {}
            }
        }
        for (room, events) in stored.into_iter().enumerate().filter(|(_, events)| !events.is_empty()) {
            if let (Some(Entry::Loading { seen, .. }), Some(last)) =
                (self.nodes[node].rooms.get_mut(&room), events.last())
            {
                *seen = last.seq.max(*seen);
            }
            self.publish_log(node, room, &events);
            self.apply(node, room, Input::Committed(events));
        }
        for (room, seq) in seen {
            if let Some(Entry::Loading { seen, .. }) = self.nodes[node].rooms.get_mut(&room) {
                *seen = seq.max(*seen);
            }
            self.apply(node, room, Input::Head(seq));
        }
        for item in refused {
            self.judge_again(node, item);
        }
        for (item, seq) in acks {
            self.acked(&item, seq);
        }
        self.write(node);
    }

    fn judge_again(&mut self, node: usize, item: Item) {
        let room = item.room;
        match self.nodes[node].ready(room) {
            Some(super::node::Ready { held: Some(held), .. }) => held.push(item),
            Some(ready) => {
                ready.held = Some(vec![item]);
                self.ask(node, Ask::Row(room, Why::Judge));
            }
            None => self.command(node, room, super::node::Command::Post(item)),
        }
    }

    /// What the log's memory has for a session; else the database is asked.
    pub fn catch_up(&mut self, node: usize, client: usize, generation: u64, room: usize, after: Seq) {
        let (right, wait) = (self.users[self.clients[client].user].right(), self.between(0, 2));
        let page = match self.nodes[node].ready(room) {
            Some(ready) => match (ready.room.judge(right, true), ready.room.log.recent_after(after, 5, 100)) {
                (Err(_), _) => Err(()),
                (Ok(()), Memory::Events(events)) => Ok(events),
                (Ok(()), Memory::NotHere) => {
                    return self.ask(node, Ask::Missed { room, after, client, generation });
                }
            },
            None => Ok(Vec::new()),
        };
        self.at_node(node, wait, Happens::Page { client, generation, room, page });
    }
}
