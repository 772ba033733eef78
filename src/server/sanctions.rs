//! Acts of admins on users and sessions: what was done here is felt at once, what another process has done within a second,
//! since the record of acts in the database is asked for news. Part of the actor in `chat_server`.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

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
    store::{News, SeenUser, StoreError},
};

/// How often the record is asked.
pub(super) const NEWS: Duration = Duration::from_millis(500);
/// Acts that are remembered as known: as many as are asked for again.
const KNOWN: usize = 1_000;

/// Which acts are known: up to a number, and the latest one by one, since they are not committed in their order.
#[derive(Debug)]
pub(super) struct KnownActs {
    up_to: i64,
    latest: BTreeSet<i64>,
    asking: bool,
}

impl KnownActs {
    pub(super) fn up_to(up_to: i64) -> Self {
        Self { up_to, latest: BTreeSet::new(), asking: false }
    }

    /// Takes note of an act; says whether it is new.
    fn learn(&mut self, id: i64) -> bool {
        self.up_to = id.max(self.up_to);
        let new = self.latest.insert(id);
        while self.latest.len() > KNOWN {
            self.latest.pop_first();
        }
        new
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
        let (store, server, after) = (Arc::clone(&self.store), ctx.address(), self.acts.up_to);
        actix::spawn(async move {
            let news = store.news(after).await;
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
        let new: Vec<_> = news.unwrap_or_default().into_iter().filter(|news| self.acts.learn(news.id)).collect();
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
    fn an_act_that_was_committed_late_is_new() {
        let mut acts = KnownActs::up_to(5);
        assert!(acts.learn(7) && acts.learn(6), "6 was committed after 7");
        assert!(!acts.learn(7) && !acts.learn(6));
        assert_eq!(acts.up_to, 7);
    }
}
