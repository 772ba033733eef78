//! How sessions and HTTP ask the ChatServer: one handle each, with the one address that it uses for all it sends (a
//! clone of an address has a place of its own in the queue, so a clone a command would undo the bound).

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use actix::prelude::*;
use bytestring::ByteString;
use futures_util::future::{OptionFuture, join, join_all};
use tokio::sync::oneshot;

use super::{
    Place, SessionId, WorkerId,
    chat_server::ChatServer,
    dispatcher::Dispatcher,
    listing::{ListEverywhere, ListSessions},
    messages::{CloseSession, SessionSummary, SessionsOf, WhoIsHere},
    sanctions::{Everywhere, Settle},
};
use crate::{
    mirror::{Question, SessionList, SessionSearch, SessionsOfNodes, SessionsQuestion},
    protocol::{Draft, Position, PresenceReply, RoomName, Seq, Standing, UserId, Window, WireError},
    room::Memory,
    stats::Stats,
    store::{Asker, Changed, EventPage, Mark, Posted, ReadMarks, RoomChange, RoomKey, RoomKind, Store, User, UserKey},
};

pub(super) type Reply<T> = oneshot::Sender<Result<T, WireError>>;

/// A session wants to receive a room's events.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Join {
    pub(super) room: RoomName,
    pub(super) user: Arc<User>,
    pub(super) at: JoinsAt,
    pub(super) position: Option<Position>,
    /// How many missed events may be replayed.
    pub(super) most: u64,
    pub(super) reply: Reply<Joined>,
}

/// Where a session stands that joins a room.
#[derive(Debug)]
pub struct JoinsAt {
    /// The session.
    pub session: SessionId,
    /// Its worker.
    pub worker: WorkerId,
    /// Its place in the room.
    pub place: Arc<Place>,
}

/// A session stands in a room: its events come from now on.
#[derive(Debug)]
pub struct Joined {
    /// What the client is told.
    pub standing: Standing,
    /// The number after which the session's cursor starts.
    pub sent: Seq,
}

/// Somebody wants to read a room.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Open {
    pub(super) room: RoomName,
    /// An event that the asker knows of; where this node has it too, nothing more is to be looked up.
    pub(super) knows: Option<Seq>,
    pub(super) user: Arc<User>,
    pub(super) reply: Reply<OpenRoom>,
}

/// A room that may be read.
#[derive(Debug)]
pub struct OpenRoom {
    /// Its row; none before its first message.
    pub key: Option<RoomKey>,
    /// Its newest event.
    pub head: Seq,
}

/// Somebody says something.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct Post {
    pub(super) room: RoomName,
    pub(super) user: Arc<User>,
    /// Whether an admin asks, in whoever's name.
    pub(super) admin: bool,
    pub(super) draft: Draft,
    pub(super) received: Instant,
    pub(super) asker: Option<Asker>,
    pub(super) reply: Reply<Posted>,
}

/// Somebody makes a room.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct Create {
    pub(super) new: CreateRoom,
    pub(super) user: Arc<User>,
    pub(super) reply: Reply<RoomKey>,
}

/// What a new room is to be.
#[derive(Debug)]
pub struct CreateRoom {
    /// Its name.
    pub room: RoomName,
    /// What people read.
    pub title: Option<String>,
    /// Who may join.
    pub kind: RoomKind,
}

/// Somebody wants a room or its members changed.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct Change {
    pub(super) room: RoomName,
    pub(super) by: Arc<User>,
    pub(super) change: RoomChange,
    pub(super) reply: Reply<Changed>,
}

/// Somebody is typing.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct Typing {
    pub(super) room: RoomName,
    pub(super) user: Arc<User>,
    pub(super) reply: Reply<()>,
}

/// Somebody wants to know who is in a room: the answer says whom to ask.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct Presence {
    pub(super) room: RoomName,
    pub(super) user: Arc<User>,
    pub(super) reply: Reply<(Vec<Addr<Dispatcher>>, Option<Question>)>,
}

/// A user has read a room up to here: for their other sessions.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct TellRead {
    pub(super) room: RoomName,
    pub(super) user: Arc<User>,
    pub(super) seq: Seq,
    pub(super) except: Option<SessionId>,
}

/// A session that catches up asks for what memory has after its cursor.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Recent {
    pub(super) room: RoomName,
    pub(super) user: Arc<User>,
    pub(super) after: Seq,
    pub(super) reply: Reply<Catchup>,
}

/// Where a session that catches up finds what it missed.
#[derive(Debug)]
pub struct Catchup {
    /// The events, where memory has them.
    pub memory: Memory<ByteString>,
    /// The room's row, to read them from the store.
    pub key: Option<RoomKey>,
}

/// The longest that a worker may take to answer.
const WORKERS_WAIT: Duration = Duration::from_secs(2);
/// Users that an answer names.
const PRESENCE_USERS: usize = 100;

/// The ChatServer for one session, or for one worker's HTTP. Shared, not cloned.
pub struct ServerHandle {
    server: Addr<ChatServer>,
    marks: Addr<ReadMarks>,
    stats: Arc<Stats>,
}

impl ServerHandle {
    /// A handle with addresses of its own.
    pub fn new(server: Addr<ChatServer>, marks: Addr<ReadMarks>, stats: Arc<Stats>) -> Self {
        Self { server, marks, stats }
    }

    /// Another one, for another session.
    pub fn another(&self) -> Self {
        Self::new(self.server.clone(), self.marks.clone(), Arc::clone(&self.stats))
    }

    /// Joins a room for a session that is registered with its worker's Dispatcher.
    pub async fn join(
        &self,
        at: JoinsAt,
        user: Arc<User>,
        room: RoomName,
        position: Option<Position>,
        most: u64,
    ) -> Result<Joined, WireError> {
        self.ask(|reply| Join { room, user, at, position, most, reply }).await
    }

    /// Judges whether the user may read the room.
    pub async fn open(&self, user: Arc<User>, room: RoomName) -> Result<OpenRoom, WireError> {
        self.ask(|reply| Open { room, knows: None, user, reply }).await
    }

    /// Gives a message to the hub at once; the answer comes when it is stored. Messages given one after the other are
    /// stored in that order. `admin` says whether an admin asks, be it in somebody else's name; `asker`, which session.
    pub fn post(
        &self,
        user: Arc<User>,
        admin: bool,
        room: RoomName,
        draft: Draft,
        asker: Option<Asker>,
    ) -> Result<oneshot::Receiver<Result<Posted, WireError>>, WireError> {
        let (reply, answer) = oneshot::channel();
        self.give(Post { room, user, admin, draft, received: Instant::now(), asker, reply })?;
        Ok(answer)
    }

    /// Makes a room; gives its row.
    pub async fn create(&self, user: Arc<User>, new: CreateRoom) -> Result<RoomKey, WireError> {
        self.ask(|reply| Create { new, user, reply }).await
    }

    /// A page of a room's history and the room's head, where the user may read it.
    pub async fn history(
        &self,
        store: &Store,
        user: Arc<User>,
        room: RoomName,
        window: Window,
        limit: u64,
    ) -> Result<(EventPage, Seq), WireError> {
        let OpenRoom { key, head } = self.open(user, room.clone()).await?;
        let page = match key {
            // What comes after this was judged is not in it, however long the read takes.
            Some(key) => store.history(key, &room, head, window, limit).await?,
            None => EventPage { events: Vec::new(), more: false },
        };
        Ok((page, head))
    }

    /// Changes a room or its members, where the asker's role allows it.
    pub async fn change(&self, by: Arc<User>, room: RoomName, change: RoomChange) -> Result<Changed, WireError> {
        self.ask(|reply| Change { room, by, change, reply }).await
    }

    /// Tells the others in a room that the user is typing, if that is to be told now.
    pub async fn typing(&self, user: Arc<User>, room: RoomName) -> Result<(), WireError> {
        self.ask(|reply| Typing { room, user, reply }).await
    }

    /// Who is in a room now, on all nodes that answer.
    pub async fn presence(&self, user: Arc<User>, room: RoomName) -> Result<PresenceReply, WireError> {
        let (workers, elsewhere) = self.ask(|reply| Presence { room: room.clone(), user, reply }).await?;
        let elsewhere = async { OptionFuture::from(elsewhere.map(Question::answers)).await };
        let (here, elsewhere) = join(workers_say(&workers, WhoIsHere { room }), elsewhere).await;
        let mut present: BTreeMap<UserId, Arc<str>> = BTreeMap::new();
        for user in elsewhere.iter().flat_map(|users| users.iter()) {
            present.extend(user.id().map(|id| (id, user.name.as_str().into())));
        }
        for user in here?.into_iter().flatten() {
            present.insert(user.id.clone(), Arc::clone(&user.name));
        }
        let count = present.len();
        let mut users: Vec<_> = present.into_iter().collect();
        users.truncate(PRESENCE_USERS);
        Ok(PresenceReply { count, users })
    }

    /// After an act that concerns a user: what they may do is read again, and their sessions feel it.
    pub async fn settle_user(&self, user: UserId) -> Result<(), WireError> {
        self.ask(|reply| Settle { user, reply }).await
    }

    /// Closes a session for an admin; says whether it is on this node.
    pub async fn close_session(&self, session: SessionId) -> Result<bool, WireError> {
        let workers = self.ask(|reply| Everywhere { reply }).await?;
        Ok(workers_say(&workers, CloseSession(session)).await?.contains(&true))
    }

    /// A user's sessions on this node.
    pub async fn sessions_of(&self, user: UserKey) -> Result<Vec<SessionSummary>, WireError> {
        let workers = self.ask(|reply| Everywhere { reply }).await?;
        Ok(workers_say(&workers, SessionsOf(user)).await?.into_iter().flatten().collect())
    }

    /// The open sessions of all nodes that answer in time, those first that need a look.
    pub async fn list_sessions(&self, search: SessionSearch) -> Result<SessionsOfNodes, WireError> {
        let limit = search.limit();
        let asked = search.clone();
        let (workers, elsewhere) = self.ask(|reply| ListEverywhere { search: asked, reply }).await?;
        let elsewhere = async { OptionFuture::from(elsewhere.map(SessionsQuestion::answers)).await };
        let (here, elsewhere) = join(workers_say(&workers, ListSessions(Arc::new(search))), elsewhere).await;
        let here = SessionList::merge(here?, limit);
        let (mut lists, silent) = elsewhere.unwrap_or_default();
        lists.push((self.stats.node, here));
        Ok(SessionsOfNodes::merge(lists, silent, limit))
    }

    /// Stores how far a user has read a room, and tells their other sessions. Gives the marker, at most the room's head.
    pub async fn read(
        &self,
        user: Arc<User>,
        room: RoomName,
        seq: Seq,
        session: Option<SessionId>,
    ) -> Result<Seq, WireError> {
        let opened = self.ask(|reply| Open { room: room.clone(), knows: Some(seq), user: Arc::clone(&user), reply });
        let OpenRoom { key, head } = opened.await?;
        let (key, seq) = (key.ok_or_else(WireError::room_not_found)?, seq.min(head));
        let (reply, answer) = oneshot::channel();
        let mark = Mark { room: key, user: user.key, seq, reply };
        self.marks.try_send(mark).map_err(|error| match error {
            SendError::Full(_) => WireError::busy(),
            SendError::Closed(_) => WireError::unavailable(),
        })?;
        answer.await.unwrap_or_else(|_| Err(WireError::unavailable()))?;
        // What may be lost needs no place in a queue that is full.
        drop(self.give(TellRead { room, user, seq, except: session }));
        Ok(seq)
    }

    /// Asks memory for what comes after a cursor, where the user may (still) read it.
    pub async fn catch_up(&self, user: Arc<User>, room: RoomName, after: Seq) -> Result<Catchup, WireError> {
        self.ask(|reply| Recent { room, user, after, reply }).await
    }

    /// Gives a command that is answered, and waits for the answer.
    async fn ask<M, T>(&self, command: impl FnOnce(Reply<T>) -> M) -> Result<T, WireError>
    where
        M: Message + Send + 'static,
        M::Result: Send,
        ChatServer: Handler<M>,
    {
        let (reply, answer) = oneshot::channel();
        self.give(command(reply))?;
        answer.await.unwrap_or_else(|_| Err(WireError::unavailable()))
    }

    fn give<M>(&self, message: M) -> Result<(), WireError>
    where
        M: Message + Send + 'static,
        M::Result: Send,
        ChatServer: Handler<M>,
    {
        self.stats.server_queue.add(1);
        self.server.try_send(message).map_err(|error| {
            self.stats.server_queue.sub(1);
            match error {
                SendError::Full(_) => WireError::busy(),
                SendError::Closed(_) => WireError::unavailable(),
            }
        })
    }
}

/// Asks all these workers the same.
pub(super) async fn workers_say<M>(workers: &[Addr<Dispatcher>], message: M) -> Result<Vec<M::Result>, WireError>
where
    M: Message + Clone + Send + 'static,
    M::Result: Send,
    Dispatcher: Handler<M>,
{
    let asking = workers.iter().map(|worker| worker.send(message.clone()));
    let answers = tokio::time::timeout(WORKERS_WAIT, join_all(asking)).await.map_err(|_| WireError::busy())?;
    Ok(answers.into_iter().flatten().collect())
}
