//! The ReadMarks actor: read markers, stored many at a time. In a busy room every member's marker moves with every
//! message, and each alone would cost a commit; what comes in while one is stored goes with the next. Lives on the
//! Writer's arbiter; bounded by `limits.read_marks` in the mailbox and as many in the batch to come.
//!
//! A marker only moves on, never beyond the room's head. A first one in a public room makes its user a member.

use std::{collections::HashMap, sync::Arc};

use actix::prelude::*;
use sea_orm::{ConnectionTrait, Value};
use tokio::sync::oneshot;

use super::{Role, RoomKey, Store, StoreError, UserKey};
use crate::{
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
    next: HashMap<(RoomKey, UserKey), (Seq, Replies)>,
    waiting: usize,
    storing: bool,
}

impl ReadMarks {
    /// Starts it; `bound` is how many markers may wait.
    pub fn start_in(arbiter: &ArbiterHandle, store: Arc<Store>, stats: Arc<Stats>, bound: usize) -> Addr<Self> {
        Self::start_in_arbiter(arbiter, move |ctx| {
            ctx.set_mailbox_capacity(bound);
            Self { store, stats, bound, next: HashMap::new(), waiting: 0, storing: false }
        })
    }

    fn pump(&mut self, ctx: &mut Context<Self>) {
        if self.storing || self.next.is_empty() {
            return;
        }
        let keys: Vec<_> = self.next.keys().copied().take(BATCH).collect();
        let batch: Vec<_> = keys.into_iter().filter_map(|key| self.next.remove(&key).map(|mark| (key, mark))).collect();
        self.storing = true;
        let store = Arc::clone(&self.store);
        let run = async move {
            let marks: Vec<_> = batch.iter().map(|((room, user), (seq, _))| (*room, *user, *seq)).collect();
            let stored = store.mark_read(&marks).await;
            (batch, stored)
        };
        ctx.spawn(run.into_actor(self).map(|(batch, stored), actor, ctx| {
            actor.storing = false;
            for reply in batch.into_iter().flat_map(|(_, (_, replies))| replies) {
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
    /// Moves markers on, all or none. Whoever is no member of a private room (any more) gets none.
    async fn mark_read(&self, marks: &[(RoomKey, UserKey, Seq)]) -> Result<(), StoreError> {
        let sql = format!(
            "INSERT INTO hub_member (room_id, user_id, role, read_seq, joined_at) \
             SELECT v.column1, v.column2, v.column4, CASE WHEN v.column3 < r.last_seq THEN v.column3 ELSE r.last_seq END, \
             v.column5 FROM (VALUES {}) v JOIN hub_room r ON r.id = v.column1 WHERE r.kind = 'public' OR EXISTS \
             (SELECT 1 FROM hub_member m WHERE m.room_id = v.column1 AND m.user_id = v.column2) \
             ON CONFLICT (room_id, user_id) DO UPDATE SET read_seq = excluded.read_seq \
             WHERE excluded.read_seq > hub_member.read_seq",
            super::repeated("(?,?,?,?,?)", marks.len())
        );
        let now = super::now().to_utc();
        let values = marks.iter().flat_map(|(room, user, seq)| {
            let role = Value::from(Role::Member.as_str());
            [Value::from(room.0), Value::from(user.0), Value::from(seq.0), role, Value::from(now)]
        });
        let statement = super::statement(&self.write, &sql, values);
        self.within(self.write.execute_raw(statement)).await.map(drop)
    }
}
