//! Which sessions are open, for an admin who looks through them: each worker gives its first few, each node those of its
//! workers, and other nodes are asked as they are for presence. Part of the actors in `dispatcher` and `chat_server`. A look
//! at all sessions of a worker takes a short key of each; only those that are shown are written out.

use std::{cmp::Reverse, collections::HashSet, sync::Arc, time::Instant};

use actix::prelude::*;

use super::{
    SessionId,
    chat_server::ChatServer,
    dispatcher::{Dispatcher, Local},
    handle::{Reply, workers_say},
};
use crate::{
    mirror::{Channel, Frame, SessionList, SessionRow, SessionSearch, SessionsQuestion},
    protocol::{NodeId, RoomName},
};

/// The first sessions of this worker's.
#[derive(Clone, Message)]
#[rtype(result = "SessionList")]
pub(super) struct ListSessions(pub(super) Arc<SessionSearch>);

/// Somebody wants the sessions of all nodes: the answer says whom to ask.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct ListEverywhere {
    pub(super) search: SessionSearch,
    pub(super) reply: Reply<(Vec<Addr<Dispatcher>>, Option<SessionsQuestion>)>,
}

fn row(session: SessionId, local: &Local, rooms: &HashSet<RoomName>, now: Instant) -> Option<SessionRow> {
    let holder = local.holder.borrow();
    let holder = holder.as_ref()?;
    Some(SessionRow {
        session: session.to_string(),
        user_id: holder.user.id.as_str().to_owned(),
        user: holder.user.name.to_string(),
        plain: holder.plain,
        open_for_s: now.saturating_duration_since(local.opened).as_secs(),
        rooms: rooms.len(),
        queued: local.outbox.frames(),
        lagging: local.outbox.has_missed(),
        ends_in_s: holder.ends_at.saturating_duration_since(now).as_secs(),
    })
}

/// Whether it is a session's user, or the session itself, that is looked for.
fn is_wanted(search: &SessionSearch, session: SessionId, local: &Local) -> bool {
    let holder = local.holder.borrow();
    let Some(holder) = holder.as_ref().filter(|_| local.outbox.ending().is_none()) else { return false };
    search.is_in([holder.user.id.as_str(), &holder.user.name]) || search.names(session.0)
}

impl Handler<ListSessions> for Dispatcher {
    type Result = MessageResult<ListSessions>;

    fn handle(&mut self, ListSessions(search): ListSessions, _: &mut Context<Self>) -> MessageResult<ListSessions> {
        let wanted = self.sessions.iter().filter(|(session, (local, _))| is_wanted(&search, **session, local));
        let key = |session: SessionId, local: &Local| {
            (!local.outbox.has_missed(), Reverse(local.outbox.frames()), Reverse(local.opened), session.0)
        };
        let mut keys: Vec<_> = wanted.map(|(session, (local, _))| key(*session, local)).collect();
        let total = u64::try_from(keys.len()).unwrap_or(u64::MAX);
        if keys.len() > search.limit() {
            keys.select_nth_unstable(search.limit());
            keys.truncate(search.limit());
        }
        let now = Instant::now();
        let write = |(.., session): &(_, _, _, u64)| {
            let (local, rooms) = self.sessions.get(&SessionId(*session))?;
            row(SessionId(*session), local, rooms, now)
        };
        MessageResult(SessionList { total, sessions: keys.iter().filter_map(write).collect() })
    }
}

impl Handler<ListEverywhere> for ChatServer {
    type Result = ();

    fn handle(&mut self, ListEverywhere { search, reply }: ListEverywhere, _: &mut Context<Self>) {
        self.stats.server_queue.sub(1);
        let elsewhere = self.mirror.bus().map(|bus| bus.ask_sessions(search));
        drop(reply.send(Ok((self.dispatchers().cloned().collect(), elsewhere))));
    }
}

impl ChatServer {
    /// Answers another node that wants to know which sessions are open here.
    pub(super) fn answer_sessions(&self, search: SessionSearch, node: NodeId, ask: u64) {
        let workers: Vec<_> = self.dispatchers().cloned().collect();
        let mirror = self.mirror.clone();
        actix::spawn(async move {
            let limit = search.limit();
            // Who can't say all says nothing, and is named as silent.
            let Ok(lists) = workers_say(&workers, ListSessions(Arc::new(search))).await else { return };
            let list = SessionList::merge(lists, limit);
            mirror.tell(Channel::Node(node), Frame::Sessions { ask, list });
        });
    }
}
