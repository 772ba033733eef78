//! The Writer actor: group commit. What came in while one transaction ran is the next one's batch. A transaction costs much the
//! same with one message or with ten, so a small one begins not sooner than `batch_interval` after the one before; a lone message
//! is stored at once. On SQLite there is one; on PostgreSQL several, each for rooms of its own (`RoomKey::lane`). They live on
//! the ChatServer's arbiter; their queues are bounded by the ChatServer, which counts what it gave.
//!
//! No ack without a commit (P1). A batch whose outcome is unknown is run again: every row has a key by which it is found
//! (P2). A message that waited `timeout` is answered `unavailable`; if its outcome is unknown then, later tries only look
//! for it. A batch that the database refuses is halved until the message at fault stands alone. With nothing left to store a
//! writer that failed goes on trying whether it can write: readiness must come back where nobody sends.

use std::{
    collections::{HashSet, VecDeque},
    mem,
    sync::Arc,
    time::{Duration, Instant},
};

use actix::prelude::*;

use super::{
    Answer, Append, Committed, NewMessage, PostReply, Posted, Probe, Store, StoreError, Stored, WriterState,
    append::{AppendError, Outcome, Row},
};
use crate::{
    fatal::AbortOnPanic,
    protocol::{ErrorCode, Event, EventKind, Message as ChatMessage, RoomName, Seq, Timestamp, WireError},
    stats::Stats,
};

/// How often waiting messages are looked at for their time.
const TICK: Duration = Duration::from_millis(100);
/// So many messages are not made to wait for more.
const ENOUGH: usize = 16;
/// Between two tries of the same batch.
const RETRY: Duration = Duration::from_millis(200);

/// What bounds a transaction and the waiting for one.
#[derive(Clone, Copy, Debug)]
pub struct WriterBounds {
    /// Messages in one transaction.
    pub batch_messages: usize,
    /// Bytes of text and data in one transaction, but for its first message.
    pub batch_bytes: usize,
    /// From one transaction's beginning to the next one's, at least.
    pub batch_interval: Duration,
    /// After how long a message is answered `unavailable`.
    pub timeout: Duration,
}

struct Item {
    message: NewMessage,
    /// The client's id, or one of ours.
    client_id: String,
    /// `None` once the sender has had its answer.
    reply: Option<PostReply>,
}

impl Item {
    fn answer(&mut self, answer: Result<Posted, WireError>) {
        if let Some(reply) = self.reply.take() {
            // A sender that is gone needs no answer.
            drop(reply.send(answer));
        }
    }

    fn bytes(&self) -> usize {
        let data = self.message.draft.data.as_ref().map_or(0, |data| data.get().len());
        self.message.draft.text.len().saturating_add(data)
    }

    fn row(&self) -> Row {
        Row {
            room: self.message.key,
            rights: self.message.rights,
            user: self.message.user.key,
            name: Arc::clone(&self.message.user.name),
            client_id: self.client_id.clone(),
            content: Arc::clone(&self.message.draft.text),
            data: self.message.draft.data.as_ref().map(|data| data.get().to_owned()),
            only_look: self.reply.is_none(),
        }
    }

    fn event(&self, seq: Seq, timestamp: Timestamp) -> Event {
        let NewMessage { room, user, draft, .. } = &self.message;
        let message = ChatMessage {
            user: Arc::clone(&user.name),
            user_id: user.id.clone(),
            text: Arc::clone(&draft.text),
            client_id: draft.client_id.clone(),
            data: draft.data.clone(),
        };
        Event { room: room.clone(), seq, timestamp, kind: EventKind::Message(message) }
    }
}

/// A key for a message whose client gave none. The time comes first, so that a room's keys stand side by side in the
/// once-index: at random each would change a page of 4 KB of its own.
fn own_id() -> String {
    let now = u128::from(Timestamp::now().to_utc().timestamp_millis().unsigned_abs());
    format!("~{:032x}", now << 80 | rand::random::<u128>() >> 48)
}

fn rooms(items: &[Item]) -> Vec<RoomName> {
    items.iter().map(|item| item.message.room.clone()).collect()
}

/// A batch that is being stored.
struct Batch {
    items: Vec<Item>,
    /// Whether an earlier try may have been committed.
    in_doubt: bool,
}

/// The actor.
pub struct Writer {
    store: Arc<Store>,
    stats: Arc<Stats>,
    bounds: WriterBounds,
    listener: Recipient<Stored>,
    queue: VecDeque<Item>,
    /// Halves of a batch that was refused: they go before the queue.
    halves: VecDeque<Batch>,
    current: Option<Batch>,
    /// When the last transaction began.
    began: Instant,
    /// Whether the time for the next one is awaited.
    gathering: bool,
    failing: bool,
    /// Whether it is about to try whether it can write.
    probing: bool,
    _guard: AbortOnPanic,
}

impl Writer {
    /// A writer that tells `listener` of each transaction. `mailbox` is how many messages may wait unread.
    pub fn start_in(
        arbiter: &ArbiterHandle,
        store: Arc<Store>,
        stats: Arc<Stats>,
        bounds: WriterBounds,
        mailbox: usize,
        listener: Recipient<Stored>,
    ) -> Addr<Self> {
        Self::start_in_arbiter(arbiter, move |ctx| {
            ctx.set_mailbox_capacity(mailbox);
            Self {
                store,
                stats,
                bounds,
                listener,
                queue: VecDeque::new(),
                halves: VecDeque::new(),
                current: None,
                began: Instant::now(),
                gathering: false,
                failing: false,
                probing: false,
                _guard: AbortOnPanic("writer"),
            }
        })
    }

    fn pump(&mut self, ctx: &mut Context<Self>) {
        if self.current.is_some() || self.gathering {
            return;
        }
        let early = self.bounds.batch_interval.saturating_sub(self.began.elapsed());
        if !early.is_zero() && !self.queue.is_empty() && self.queue.len() < ENOUGH {
            self.gathering = true;
            ctx.run_later(early, |writer, ctx| {
                writer.gathering = false;
                writer.pump(ctx);
            });
            return;
        }
        let next = self.halves.pop_front().unwrap_or_else(|| Batch { items: self.take_batch(), in_doubt: false });
        if next.items.is_empty() {
            if self.failing && !mem::replace(&mut self.probing, true) {
                ctx.run_later(RETRY, Self::probe);
            }
            return;
        }
        self.current = Some(next);
        self.attempt(ctx);
    }

    /// Writes something of no meaning, where there is nothing else to write.
    fn probe(&mut self, ctx: &mut Context<Self>) {
        let store = Arc::clone(&self.store);
        let idle = self.failing && self.current.is_none();
        let wrote = async move { idle && store.try_write().await.is_ok() };
        ctx.spawn(wrote.into_actor(self).map(|wrote, writer, ctx| {
            writer.probing = false;
            // A batch that is under way will tell by itself.
            if wrote && writer.current.is_none() {
                writer.works();
            }
            writer.pump(ctx);
        }));
    }

    fn works(&mut self) {
        if mem::take(&mut self.failing) {
            tracing::info!("database writable again");
        }
    }

    /// Everything that is queued, up to the bounds. The same key twice would be found neither in the table nor in the
    /// batch, so a repeat ends the batch and is found by the next one.
    fn take_batch(&mut self) -> Vec<Item> {
        let mut keys = HashSet::new();
        let (mut items, mut bytes) = (Vec::new(), 0_usize);
        while let Some(item) = self.queue.front() {
            bytes = bytes.saturating_add(item.bytes());
            let full = items.len() >= self.bounds.batch_messages || bytes > self.bounds.batch_bytes;
            let new = keys.insert((item.message.key, item.message.user.key, item.client_id.clone()));
            if !new || (full && !items.is_empty()) {
                break;
            }
            items.extend(self.queue.pop_front());
        }
        items
    }

    fn attempt(&mut self, ctx: &mut Context<Self>) {
        let Some(batch) = &mut self.current else { return };
        if !batch.in_doubt {
            // Answered, and surely not stored: done with.
            let (waiting, done): (Vec<_>, Vec<_>) =
                mem::take(&mut batch.items).into_iter().partition(|item| item.reply.is_some());
            batch.items = waiting;
            self.done_with(rooms(&done));
        }
        let Some(batch) = self.current.as_ref().filter(|batch| !batch.items.is_empty()) else {
            self.current = None;
            self.pump(ctx);
            return;
        };
        let rows: Vec<Row> = batch.items.iter().map(Item::row).collect();
        let (store, timeout) = (Arc::clone(&self.store), self.bounds.timeout / 2);
        let started = Instant::now();
        self.began = started;
        let run = async move {
            let append = Box::pin(store.append(&rows));
            tokio::time::timeout(timeout, append).await.unwrap_or_else(|_| {
                let late = StoreError::Unavailable(format!("no answer within {} ms", timeout.as_millis()));
                Err(AppendError::in_doubt(late))
            })
        };
        ctx.spawn(run.into_actor(self).map(move |result, writer, ctx| {
            if result.is_ok() {
                writer.stats.commits.record(u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX));
            }
            writer.attempted(result, ctx);
        }));
    }

    fn attempted(&mut self, result: Result<Vec<Outcome>, AppendError>, ctx: &mut Context<Self>) {
        let Some(mut batch) = self.current.take() else { return };
        match result {
            Ok(outcomes) => {
                self.works();
                self.stats.batches.record(u64::try_from(batch.items.len()).unwrap_or(u64::MAX));
                self.settle(batch, &outcomes);
            }
            Err(AppendError { source: StoreError::Refused(why), in_doubt: false }) => self.halve(batch, &why),
            Err(AppendError { source, in_doubt }) => {
                if !mem::replace(&mut self.failing, true) {
                    tracing::error!(error = %source, messages = batch.items.len(), in_doubt, "database not writable");
                }
                batch.in_doubt |= in_doubt;
                self.current = Some(batch);
                ctx.run_later(RETRY, Self::attempt);
                return;
            }
        }
        self.pump(ctx);
    }

    fn halve(&mut self, Batch { mut items, in_doubt }: Batch, why: &str) {
        if items.len() > 1 {
            let second = items.split_off(items.len() / 2);
            self.halves.push_front(Batch { items: second, in_doubt });
            self.halves.push_front(Batch { items, in_doubt });
            return;
        }
        for mut item in items {
            tracing::error!(room = %item.message.room, user = %item.message.user.id, why, "a message can't be stored");
            item.answer(Err(WireError::internal()));
            self.done_with(rooms(&[item]));
        }
    }

    fn settle(&self, batch: Batch, outcomes: &[Outcome]) {
        let mut stored = Stored { settled: rooms(&batch.items), ..Stored::default() };
        for (item, outcome) in batch.items.into_iter().zip(outcomes) {
            let NewMessage { received, asker, .. } = item.message;
            let answer = match *outcome {
                Outcome::New(seq, timestamp) => {
                    let answer = Ok(Posted { seq, timestamp, repeat: false });
                    let event = item.event(seq, timestamp);
                    let answer = item.reply.map(|reply| Answer { asker, reply, answer });
                    stored.events.push(Committed { event, received, answer });
                    continue;
                }
                Outcome::Repeat(seq, timestamp) => {
                    if batch.in_doubt {
                        stored.seen.push((item.message.room.clone(), seq));
                    }
                    Ok(Posted { seq, timestamp, repeat: true })
                }
                Outcome::Reused => Err(WireError::new(
                    ErrorCode::ClientIdReused,
                    "this client_id already names a message with other content",
                )),
                Outcome::StaleRights | Outcome::RoomGone => {
                    if let Some(reply) = item.reply {
                        stored.refused.push(Append { message: item.message, reply });
                    }
                    continue;
                }
                Outcome::NotThere => continue,
            };
            stored.answers.extend(item.reply.map(|reply| Answer { asker, reply, answer }));
        }
        self.tell(stored);
    }

    fn tell(&self, stored: Stored) {
        if !stored.settled.is_empty() {
            #[expect(clippy::disallowed_methods, reason = "at most one for each message that the ChatServer gave")]
            self.listener.do_send(stored);
        }
    }

    /// Has the ChatServer told that it need not wait for these messages any more.
    fn done_with(&self, settled: Vec<RoomName>) {
        self.tell(Stored { settled, ..Stored::default() });
    }

    /// Answers whoever has waited too long. Those in no transaction are gone with that; the current batch's stay in it
    /// until their outcome is known.
    fn expire(&mut self) {
        let timeout = self.bounds.timeout;
        let now = Instant::now();
        let late = |item: &Item| now.saturating_duration_since(item.message.received) >= timeout;
        let running = self.current.iter_mut().flat_map(|batch| batch.items.iter_mut());
        for item in
            running.chain(self.halves.iter_mut().flat_map(|batch| batch.items.iter_mut())).filter(|item| late(item))
        {
            item.answer(Err(WireError::unavailable()));
        }
        let mut expired = Vec::new();
        while let Some(mut item) = self.queue.pop_front_if(|item| late(item)) {
            item.answer(Err(WireError::unavailable()));
            expired.push(item.message.room);
        }
        self.done_with(expired);
    }
}

impl Actor for Writer {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.run_interval(TICK, |writer, _| writer.expire());
    }
}

impl Handler<Append> for Writer {
    type Result = ();

    fn handle(&mut self, Append { message, reply }: Append, ctx: &mut Context<Self>) {
        let client_id = match &message.draft.client_id {
            Some(id) => id.as_str().to_owned(),
            None => own_id(),
        };
        self.queue.push_back(Item { message, client_id, reply: Some(reply) });
        self.pump(ctx);
    }
}

impl Handler<Probe> for Writer {
    type Result = WriterState;

    fn handle(&mut self, _: Probe, _: &mut Context<Self>) -> WriterState {
        let running = self.current.as_ref().map_or(0, |batch| batch.items.len());
        let halves: usize = self.halves.iter().map(|batch| batch.items.len()).sum();
        let queued = self.queue.len().saturating_add(running).saturating_add(halves);
        WriterState { queued, failing: self.failing }
    }
}
