//! Asking the other nodes: who is in a room, which sessions are open. Whoever asks waits for half a second at most; an answer
//! about a room is good for a second. Questions under way are bounded by the Bus.

use std::{collections::HashSet, sync::Arc, time::Duration};

use tokio::{sync::mpsc, time::timeout};

use super::{
    bus::{Answer, Bus, Said},
    frame::{Frame, Present},
    sessions::{SessionList, SessionSearch},
};
use crate::protocol::{NodeId, RoomName};

/// The longest that other nodes are waited for when they are asked something.
const ANSWERS: Duration = Duration::from_millis(500);

/// The place for a question's answers, as long as somebody waits for them.
#[derive(Debug)]
pub struct Asking {
    bus: Arc<Bus>,
    ask: u64,
    /// Who was asked and has not answered yet.
    asked: HashSet<NodeId>,
    answers: mpsc::Receiver<Answer>,
}

impl Asking {
    pub(super) fn new(bus: Arc<Bus>, ask: u64, asked: HashSet<NodeId>, answers: mpsc::Receiver<Answer>) -> Self {
        Self { bus, ask, asked, answers }
    }

    /// What the nodes say, each once, until all have or the time is over.
    async fn each(&mut self, mut take: impl FnMut(NodeId, Said)) {
        let all = async {
            while !self.asked.is_empty() {
                let Some((node, said)) = self.answers.recv().await else { break };
                if self.asked.remove(&node) {
                    take(node, said);
                }
            }
        };
        drop(timeout(ANSWERS, all).await);
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.bus.forget(self.ask);
    }
}

/// What was asked of the other nodes about a room.
#[derive(Debug)]
pub enum Question {
    /// The answer is there.
    Known(Arc<[Present]>),
    /// It is on its way.
    Asked(Asking, RoomName),
}

impl Question {
    /// Who is in the room on other nodes, as far as they answer in time.
    pub async fn answers(self) -> Arc<[Present]> {
        let (mut asking, room) = match self {
            Self::Known(users) => return users,
            Self::Asked(asking, room) => (asking, room),
        };
        let mut users = HashSet::new();
        let take = |_, said| {
            if let Said::Here(here) = said {
                users.extend(here);
            }
        };
        asking.each(take).await;
        let users: Arc<[Present]> = users.into_iter().collect();
        asking.bus.keep(room, &users);
        users
    }
}

/// What was asked of the other nodes about their sessions.
#[derive(Debug)]
pub enum SessionsQuestion {
    /// Nobody can be asked now: these nodes live, or did a moment ago.
    Silent(HashSet<NodeId>),
    /// The answers are on their way.
    Asked(Asking),
}

impl SessionsQuestion {
    /// What each node says, and who says nothing in time.
    pub async fn answers(self) -> (Vec<(NodeId, SessionList)>, Vec<NodeId>) {
        let mut lists = Vec::new();
        let mut silent: Vec<_> = match self {
            Self::Silent(nodes) => nodes.into_iter().collect(),
            Self::Asked(mut asking) => {
                let take = |node, said| {
                    if let Said::Sessions(list) = said {
                        lists.push((node, list));
                    }
                };
                asking.each(take).await;
                asking.asked.drain().collect()
            }
        };
        silent.sort_unstable_by_key(|node| node.0);
        (lists, silent)
    }
}

impl Bus {
    /// Asks the other nodes whom they have in a room.
    pub fn ask(self: &Arc<Self>, room: &RoomName) -> Question {
        if let Some(users) = self.kept(room) {
            return Question::Known(users);
        }
        match self.ask_nodes(|ask| Frame::WhoIsHere { ask, room: room.as_str().to_owned() }) {
            Some(asking) => Question::Asked(asking, room.clone()),
            None => Question::Known(Arc::from([])),
        }
    }

    /// Asks the other nodes which sessions they have.
    pub fn ask_sessions(self: &Arc<Self>, search: SessionSearch) -> SessionsQuestion {
        let asking = self.ask_nodes(|ask| Frame::ListSessions { ask, search });
        asking.map_or_else(|| SessionsQuestion::Silent(self.living()), SessionsQuestion::Asked)
    }
}
