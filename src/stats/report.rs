//! What `GET /api/admin/stats` answers.

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{Stats, metric::Percentiles, rates::Rate};
use crate::process::Process;

#[derive(Serialize)]
struct Flow {
    total: u64,
    #[serde(flatten)]
    rate: Rate,
}

impl Stats {
    /// All numbers as one JSON object. Times are in microseconds where their name says `_us`, else in seconds.
    pub fn report(&self) -> Value {
        let (stored, delivered) = self.rates.get();
        let errors: Map<String, Value> = self
            .errors()
            .filter(|(_, counter)| counter.get() > 0)
            .map(|(code, counter)| (code.as_str().to_owned(), counter.get().into()))
            .collect();
        let (batch, commit_us): (Percentiles, Percentiles) = (self.batches.percentiles(), self.commits.percentiles());
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "node": self.node.to_string(),
            "uptime_s": self.started.elapsed().as_secs(),
            "sessions": {
                "total": self.sessions.get(),
                "native": self.native.get(),
                "plain": self.plain.get(),
                "unauthenticated": self.unauthenticated(),
                "lagging": self.lagging.get(),
                "lagged_total": self.lagged.get(),
                "evicted_total": self.evicted.get(),
            },
            "users": self.users.get(),
            "rooms": { "with_sessions": self.occupied_rooms.get(), "in_memory": self.rooms.get(), "busiest": self.busiest.get() },
            "messages": Flow { total: self.stored.get(), rate: stored },
            "deliveries": Flow { total: self.delivered.get(), rate: delivered },
            "writer": { "queue": self.writer_queue.get(), "batch": batch, "commit_us": commit_us },
            "delivery_us": self.delivery.percentiles(),
            "last_5s": self.history.lately(),
            "queues": {
                "server": self.server_queue.get(),
                "dispatchers": self.dispatcher_queue.get(),
                "sessions": self.session_queues.get(),
                "read_marks": self.read_marks.get(),
                "password_checks": self.password_checks.get(),
            },
            "mirror": {
                "queue": self.mirror_queue.get(),
                "inbox": self.mirror_inbox.get(),
                "followed_rooms": self.followed_rooms.get(),
                "received_total": self.bus_received.get(),
                "refused_total": self.bus_refused.get(),
                "dropped_total": self.bus_dropped.get(),
            },
            "errors": errors,
            "memory": {
                "resident_bytes": Process::new(std::process::id()).and_then(|process| process.resident_bytes()),
                "recent_bytes": self.recent_bytes.get(),
            },
        })
    }
}
