//! The ReadMarks actor: read markers, stored many at a time. In a busy room every member's marker moves with every
//! message, and each alone would cost a commit; what comes in while one is stored goes with the next. Lives on the
//! Writers' arbiter; bounded by `limits.read_marks` in the mailbox and as many in the batch to come.
//!
//! A marker only moves on, never beyond the room's head. A first one in a public room makes its user a member.

use std::sync::Arc;

use actix::prelude::*;
use indexmap::IndexMap;
use sea_orm::{ConnectionTrait, Value};
use tokio::sync::oneshot;

use super::{Role, RoomKey, Store, StoreError, UserKey};
use crate::{
    fatal::AbortOnPanic,
    protocol::{Seq, WireError},
    stats::Stats,
};

/// Markers in one statement: SQLite binds 32,766 values.
const BATCH: usize = 1_000;

/// This user has read this room up to here.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Mark {
    /// The room, which the user may read.
    pub room: RoomKey,
    /// The user.
    pub user: UserKey,
    /// The last event read.
    pub seq: Seq,
    /// Who waits for it to be stored.
    pub reply: oneshot::Sender<Result<(), WireError>>,
}

type Replies = Vec<oneshot::Sender<Result<(), WireError>>>;

/// The actor.
pub struct ReadMarks {
    store: Arc<Store>,
    stats: Arc<Stats>,
    bound: usize,
    /// In the order in which they came.
    next: IndexMap<(RoomKey, UserKey), (Seq, Replies)>,
    waiting: usize,
    storing: bool,
    _guard: AbortOnPanic,
}

impl ReadMarks {
    /// Starts it; `bound` is how many markers may wait.
    pub fn start_in(arbiter: &ArbiterHandle, store: Arc<Store>, stats: Arc<Stats>, bound: usize) -> Addr<Self> {
        Self::start_in_arbiter(arbiter, move |ctx| {
            ctx.set_mailbox_capacity(bound);
            Self {
                store,
                stats,
                bound,
                next: IndexMap::new(),
                waiting: 0,
                storing: false,
                _guard: AbortOnPanic("read marks"),
            }
        })
    }

    fn pump(&mut self, ctx: &mut Context<Self>) {
        if self.storing || self.next.is_empty() {
            return;
        }
        let rest = self.next.split_off(self.next.len().min(BATCH));
        let mut batch: Vec<_> = std::mem::replace(&mut self.next, rest).into_iter().collect();
        // Rows are locked in one order, whoever stores markers beside this one.
        batch.sort_by_key(|(key, _)| *key);
        self.storing = true;
        let store = Arc::clone(&self.store);
        let run = async move {
            let marks: Vec<_> = batch.iter().map(|((room, user), (seq, _))| (*room, *user, *seq)).collect();
            let stored = store.mark_read(&marks).await;
            (batch, stored)
        };
        ctx.spawn(run.into_actor(self).map(|(batch, stored), actor, ctx| {
            actor.storing = false;
            // Where the database is away the others would only wait for the same.
            let others = if stored.is_err() { std::mem::take(&mut actor.next) } else { IndexMap::new() };
            for reply in batch.into_iter().chain(others).flat_map(|(_, (_, replies))| replies) {
                actor.waiting = actor.waiting.saturating_sub(1);
                // Whoever asked may be gone.
                drop(reply.send(stored.clone().map_err(WireError::from)));
            }
            actor.stats.read_marks.set(actor.waiting);
            actor.pump(ctx);
        }));
    }
}

impl Actor for ReadMarks {
    type Context = Context<Self>;
}

impl Handler<Mark> for ReadMarks {
    type Result = ();

    fn handle(&mut self, Mark { room, user, seq, reply }: Mark, ctx: &mut Context<Self>) {
        if self.waiting >= self.bound {
            return drop(reply.send(Err(WireError::busy())));
        }
        self.waiting = self.waiting.saturating_add(1);
        self.stats.read_marks.set(self.waiting);
        let (newest, replies) = self.next.entry((room, user)).or_insert_with(|| (seq, Vec::new()));
        *newest = seq.max(*newest);
        replies.push(reply);
        self.pump(ctx);
    }
}

impl Store {
    /// Moves markers on, all or none. Whoever is no member of a private room (any more) gets none: an update passes over
    /// a row that is deleted meanwhile, where an insert would bring it back.
    async fn mark_read(&self, marks: &[(RoomKey, UserKey, Seq)]) -> Result<(), StoreError> {
        let rows = |one: &str| super::repeated(one, marks.len());
        let up_to = "CASE WHEN v.column3 < r.last_seq THEN v.column3 ELSE r.last_seq END";
        let update = format!(
            "UPDATE hub_member SET read_seq = {up_to} FROM (VALUES {}) v JOIN hub_room r ON r.id = v.column1 \
             WHERE hub_member.room_id = v.column1 AND hub_member.user_id = v.column2 AND hub_member.read_seq < {up_to}",
            rows("(?,?,?)")
        );
        let insert = format!(
            "INSERT INTO hub_member (room_id, user_id, role, read_seq, joined_at) \
             SELECT v.column1, v.column2, v.column4, {up_to}, v.column5 FROM (VALUES {}) v \
             JOIN hub_room r ON r.id = v.column1 WHERE r.kind = 'public' AND NOT EXISTS (SELECT 1 FROM hub_ban b \
             WHERE b.room_id = v.column1 AND b.user_id = v.column2 AND (b.until IS NULL OR b.until > v.column5)) \
             ON CONFLICT (room_id, user_id) DO NOTHING",
            rows("(?,?,?,?,?)")
        );
        let now = super::now().to_utc();
        let place = |(room, user, seq): &(RoomKey, UserKey, Seq)| [room.0, user.0, seq.0].map(Value::from);
        let values = marks.iter().flat_map(place);
        self.within(self.write.execute_raw(super::statement(&self.write, &update, values))).await?;
        let role = || Value::from(Role::Member.as_str());
        let values = marks.iter().flat_map(|mark| place(mark).into_iter().chain([role(), Value::from(now)]));
        self.within(self.write.execute_raw(super::statement(&self.write, &insert, values))).await.map(drop)
    }
}
