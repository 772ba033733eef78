//! Acts of admins on users and sessions: what was done here is felt at once, what another process has done within a second,
//! since the record of acts in the database is asked for news. Part of the actor in `chat_server`.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use actix::prelude::*;

use super::{
    SessionId,
    chat_server::ChatServer,
    dispatcher::Dispatcher,
    handle::Reply,
    messages::{CloseSession, Enforce},
};
use crate::{
    mirror::{Channel, Frame},
    protocol::{UserId, WireError},
    store::{News, RECENT_ACTS, SeenUser, StoreError},
};

/// How often the record is asked.
pub(super) const NEWS: Duration = Duration::from_millis(500);
/// Without news for so long, this node does not know who may still be here.
const BLIND: Duration = Duration::from_secs(2);
/// How long numbers are waited for whose acts are not there: longer than any transaction takes.
const LATE: Duration = Duration::from_secs(60);

/// Which acts are known: up to a number, but for those that were not there when it was passed, since acts are not committed in
/// their order.
#[derive(Debug)]
pub(super) struct KnownActs {
    up_to: i64,
    late: BTreeMap<i64, Instant>,
    asking: bool,
    answered: Instant,
    catching_up: bool,
}

impl KnownActs {
    /// Knows these, newest first, and all before.
    pub(super) fn new(latest: &[i64], now: Instant) -> Self {
        let up_to = latest.last().copied().unwrap_or(0);
        let mut known = Self { up_to, late: BTreeMap::new(), asking: false, answered: now, catching_up: false };
        for id in latest {
            known.learn(*id, now);
        }
        known
    }

    /// Takes note of an act; says whether it is new.
    fn learn(&mut self, id: i64, now: Instant) -> bool {
        if id <= self.up_to {
            return self.late.remove(&id).is_some();
        }
        let first = id.saturating_sub_unsigned(RECENT_ACTS).max(self.up_to.saturating_add(1));
        self.late.extend((first..id).map(|missing| (missing, now)));
        while u64::try_from(self.late.len()).is_ok_and(|late| late > RECENT_ACTS) {
            self.late.pop_first();
        }
        self.up_to = id;
        true
    }

    /// Those that may still come.
    fn late(&mut self, now: Instant) -> Vec<i64> {
        self.late.retain(|_, since| now.saturating_duration_since(*since) < LATE);
        self.late.keys().copied().collect()
    }

    /// The record has answered. Says whether acts are known now that were not. Of what it has after a long time the first
    /// answer tells, and it is felt by the second.
    fn answered(&mut self, now: Instant) -> bool {
        let unknown = self.are_unknown(now);
        self.catching_up = unknown && !self.catching_up;
        if !self.catching_up {
            self.answered = now;
        }
        unknown && !self.catching_up
    }

    /// Whether acts may have been done that this node should have felt.
    pub(super) fn are_unknown(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.answered) > BLIND
    }
}

/// Something was done to a user: read what they may do now.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct Settle {
    pub(super) user: UserId,
    pub(super) reply: Reply<()>,
}

/// Somebody wants to ask all workers.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct Everywhere {
    pub(super) reply: Reply<Vec<Addr<Dispatcher>>>,
}

/// What a user may do was read again.
#[derive(Message)]
#[rtype(result = "()")]
struct Settled {
    user: UserId,
    seen: Result<Option<SeenUser>, StoreError>,
    reply: Option<Reply<()>>,
}

/// What the record has that is new.
#[derive(Message)]
#[rtype(result = "()")]
struct Learned(Result<Vec<News>, StoreError>);

impl ChatServer {
    pub(super) fn ask_for_news(&mut self, ctx: &Context<Self>) {
        if self.acts.asking {
            return;
        }
        self.acts.asking = true;
        let (after, late) = (self.acts.up_to, self.acts.late(Instant::now()));
        let (store, server) = (Arc::clone(&self.store), ctx.address());
        actix::spawn(async move {
            let news = store.news(after, late).await;
            #[expect(clippy::disallowed_methods, reason = "one at a time")]
            server.do_send(Learned(news));
        });
    }

    fn settle_user(&self, user: UserId, reply: Option<Reply<()>>, ctx: &Context<Self>) {
        let (store, server) = (Arc::clone(&self.store), ctx.address());
        actix::spawn(async move {
            let seen = store.settle_user(&user).await;
            #[expect(clippy::disallowed_methods, reason = "one for each act of an admin")]
            server.do_send(Settled { user, seen, reply });
        });
    }
}

impl Handler<Settle> for ChatServer {
    type Result = ();

    fn handle(&mut self, Settle { user, reply }: Settle, ctx: &mut Context<Self>) {
        self.stats.server_queue.sub(1);
        self.settle_user(user, Some(reply), ctx);
    }
}

impl Handler<Everywhere> for ChatServer {
    type Result = ();

    fn handle(&mut self, Everywhere { reply }: Everywhere, _: &mut Context<Self>) {
        self.stats.server_queue.sub(1);
        drop(reply.send(Ok(self.dispatchers().cloned().collect())));
    }
}

impl Handler<Settled> for ChatServer {
    type Result = ();

    fn handle(&mut self, Settled { user, seen, reply }: Settled, ctx: &mut Context<Self>) {
        if reply.is_some() {
            // Done here, so that others have not heard of it.
            self.mirror.tell(Channel::All, Frame::Acts);
        }
        let answer = match seen {
            Ok(seen) => {
                if let Some(SeenUser { user, .. }) = seen {
                    for dispatcher in self.dispatchers() {
                        #[expect(clippy::disallowed_methods, reason = "one for each worker and act of an admin")]
                        dispatcher.do_send(Enforce { user: user.key, admin: user.admin });
                    }
                }
                Ok(())
            }
            Err(error) => {
                // The act is in the database: it must be felt, however long that takes.
                ctx.run_later(NEWS, move |server, ctx| server.settle_user(user, None, ctx));
                Err(WireError::from(error))
            }
        };
        if let Some(reply) = reply {
            drop(reply.send(answer));
        }
    }
}

impl Handler<Learned> for ChatServer {
    type Result = ();

    fn handle(&mut self, Learned(news): Learned, ctx: &mut Context<Self>) {
        self.acts.asking = false;
        // Where the database does not answer it is asked again.
        let Ok(news) = news else { return };
        let now = Instant::now();
        if self.acts.answered(now) {
            self.compare_all(ctx);
        }
        let new: Vec<_> = news.into_iter().filter(|news| self.acts.learn(news.id, now)).collect();
        let users: BTreeSet<_> = new.iter().filter_map(|news| news.user.clone()).collect();
        for user in users {
            self.settle_user(user, None, ctx);
        }
        for session in new.iter().filter_map(|news| SessionId::parse(news.session.as_deref()?)) {
            for dispatcher in self.dispatchers() {
                #[expect(clippy::disallowed_methods, reason = "one for each worker and session that was closed")]
                dispatcher.do_send(CloseSession(session));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_long_time_without_an_answer_it_takes_two() {
        let start = Instant::now();
        let after = |ms| start + Duration::from_millis(ms);
        let mut acts = KnownActs::new(&[], start);
        assert!(!acts.answered(after(500)) && !acts.are_unknown(after(2_000)));
        assert!(acts.are_unknown(after(3_000)) && !acts.answered(after(3_000)) && acts.are_unknown(after(3_000)), "P8");
        assert!(acts.answered(after(3_500)) && !acts.are_unknown(after(3_500)));
        assert!(!acts.answered(after(4_000)));
    }

    #[test]
    fn an_act_that_was_committed_late_is_new() {
        let now = Instant::now();
        let mut acts = KnownActs::new(&[5, 3, 2], now);
        assert_eq!((acts.up_to, acts.late(now)), (5, vec![4]));
        assert!(acts.learn(8, now));
        assert!(acts.learn(6, now) && acts.learn(4, now), "P8: they were committed after 5 and 8");
        assert!(!acts.learn(8, now) && !acts.learn(6, now) && !acts.learn(4, now) && !acts.learn(1, now));
        assert_eq!((acts.up_to, acts.late(now)), (8, vec![7]));
        assert_eq!(acts.late(now + LATE), [0; 0]);
        assert!(acts.learn(1_000_000, now) && acts.late(now).len() == 1_000, "P5");
    }
}
