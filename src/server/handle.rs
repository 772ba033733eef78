//! How sessions and HTTP ask the ChatServer: one handle each, with the one address that it uses for all it sends (a
//! clone of an address has a place of its own in the queue, so a clone a command would undo the bound).

use std::{sync::Arc, time::Instant};

use actix::prelude::*;
use bytestring::ByteString;
use tokio::sync::oneshot;

use super::{SessionId, WorkerId, chat_server::ChatServer};
use crate::{
    protocol::{Draft, Position, RoomName, Seq, Standing, Window, WireError},
    room::Memory,
    stats::Stats,
    store::{EventPage, Posted, RoomKey, RoomKind, Store, User},
};

pub(super) type Reply<T> = oneshot::Sender<Result<T, WireError>>;

/// A session wants to receive a room's events.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Join {
    pub(super) room: RoomName,
    pub(super) user: Arc<User>,
    pub(super) session: SessionId,
    pub(super) worker: WorkerId,
    pub(super) position: Option<Position>,
    /// How many missed events may be replayed.
    pub(super) most: u64,
    pub(super) reply: Reply<Joined>,
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
    pub(super) draft: Draft,
    pub(super) received: Instant,
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

/// A session that catches up asks for what memory has after its cursor.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Recent {
    pub(super) room: RoomName,
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

/// The ChatServer for one session, or for one worker's HTTP. Shared, not cloned.
pub struct ServerHandle {
    server: Addr<ChatServer>,
    stats: Arc<Stats>,
}

impl ServerHandle {
    /// A handle with an address of its own.
    pub fn new(server: Addr<ChatServer>, stats: Arc<Stats>) -> Self {
        Self { server, stats }
    }

    /// Joins a room for a session that is registered with its worker's Dispatcher.
    pub async fn join(
        &self,
        (session, worker): (SessionId, WorkerId),
        user: Arc<User>,
        room: RoomName,
        position: Option<Position>,
        most: u64,
    ) -> Result<Joined, WireError> {
        let (reply, answer) = oneshot::channel();
        self.give(Join { room, user, session, worker, position, most, reply })?;
        answer.await.unwrap_or_else(|_| Err(WireError::unavailable()))
    }

    /// Judges whether the user may read the room.
    pub async fn open(&self, user: Arc<User>, room: RoomName) -> Result<OpenRoom, WireError> {
        let (reply, answer) = oneshot::channel();
        self.give(Open { room, user, reply })?;
        answer.await.unwrap_or_else(|_| Err(WireError::unavailable()))
    }

    /// Gives a message to the hub at once; the answer comes when it is stored. Messages given one after the other are
    /// stored in that order.
    pub fn post(
        &self,
        user: Arc<User>,
        room: RoomName,
        draft: Draft,
    ) -> Result<oneshot::Receiver<Result<Posted, WireError>>, WireError> {
        let (reply, answer) = oneshot::channel();
        self.give(Post { room, user, draft, received: Instant::now(), reply })?;
        Ok(answer)
    }

    /// Makes a room; gives its row.
    pub async fn create(&self, user: Arc<User>, new: CreateRoom) -> Result<RoomKey, WireError> {
        let (reply, answer) = oneshot::channel();
        self.give(Create { new, user, reply })?;
        answer.await.unwrap_or_else(|_| Err(WireError::unavailable()))
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
            Some(key) => store.history(key, &room, window, limit).await?,
            None => EventPage { events: Vec::new(), more: false },
        };
        Ok((page, head))
    }

    /// Asks memory for what comes after a cursor.
    pub async fn catch_up(&self, room: RoomName, after: Seq) -> Result<Catchup, WireError> {
        let (reply, answer) = oneshot::channel();
        self.give(Recent { room, after, reply })?;
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
