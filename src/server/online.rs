//! Which users have a session on this node, for the gauge alone. Shared by the workers' Dispatchers; bounded by the
//! sessions.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use crate::{stats::Stats, store::UserKey};

/// How many sessions each user has.
#[derive(Debug)]
pub struct Online {
    sessions: Mutex<HashMap<UserKey, u32>>,
    stats: Arc<Stats>,
}

impl Online {
    /// Nobody yet.
    pub fn new(stats: Arc<Stats>) -> Self {
        Self { sessions: Mutex::new(HashMap::new()), stats }
    }

    pub(super) fn enter(&self, user: UserKey) {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let count = sessions.entry(user).or_insert(0);
        *count = count.saturating_add(1);
        self.stats.users.set(sessions.len());
    }

    pub(super) fn leave(&self, user: UserKey) {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = sessions.get_mut(&user) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                sessions.remove(&user);
            }
        }
        self.stats.users.set(sessions.len());
    }
}
