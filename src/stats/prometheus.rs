//! What `GET /metrics` answers: OpenMetrics text. docs/operations.md explains each metric; a test holds it against this.

use std::fmt;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, text::encode},
    metrics::{TypedMetric, counter::ConstCounter, gauge::ConstGauge, info::Info},
    registry::{Registry, Unit},
};

use super::Stats;
use crate::process::Process;

/// <https://prometheus.io/docs/specs/om/open_metrics_spec/>
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The refusals by code: one metric with a label.
#[derive(Debug)]
struct Errors(Vec<(&'static str, u64)>);

impl Collector for Errors {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let help = "Refusals that clients were told, by error code";
        let mut family = encoder.encode_descriptor("errors", help, None, ConstCounter::<u64>::TYPE)?;
        for (code, count) in &self.0 {
            ConstCounter::new(*count).encode(family.encode_family(&[("code", *code)])?)?;
        }
        Ok(())
    }
}

/// The bounds that are in force, by their keys in `[limits]`: one metric with a label.
#[derive(Debug)]
struct Limits(Vec<(&'static str, usize)>);

impl Collector for Limits {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let help = "What limits.NAME allows at most, by name";
        let mut family = encoder.encode_descriptor("limit", help, None, ConstGauge::<i64>::TYPE)?;
        for (name, bound) in &self.0 {
            let bound = i64::try_from(*bound).unwrap_or(i64::MAX);
            ConstGauge::new(bound).encode(family.encode_family(&[("name", *name)])?)?;
        }
        Ok(())
    }
}

/// What is not counted but asked for when somebody looks.
#[derive(Debug)]
pub struct Standing {
    /// Whether messages can be stored.
    pub database_up: bool,
    /// Nodes that live, this one among them.
    pub nodes: usize,
    /// The bounds of what the gauges count, by their keys in `[limits]`.
    pub limits: Vec<(&'static str, usize)>,
}

impl Stats {
    /// All numbers as OpenMetrics text.
    pub fn metrics(&self, standing: Standing) -> Result<String, fmt::Error> {
        let mut all = Registry::with_prefix("hubbub");
        let info = Info::new([("version", env!("CARGO_PKG_VERSION").to_owned()), ("node", self.node.to_string())]);
        all.register("build", "Version and node", info);
        let seconds = i64::try_from(self.started.elapsed().as_secs()).unwrap_or(i64::MAX);
        all.register_with_unit("uptime", "Time since the start", Unit::Seconds, ConstGauge::new(seconds));
        for (name, help, value) in [
            ("database_up", "Whether messages can be stored", usize::from(standing.database_up)),
            ("nodes", "Nodes that this one hears of, itself among them (1 without Redis)", standing.nodes),
            ("sessions_native", "Authenticated sessions of the native dialect", self.native.get()),
            ("sessions_plain", "Authenticated sessions of the plain dialect", self.plain.get()),
            (
                "sessions_unauthenticated",
                "Sockets without a token, or with one that was refused",
                self.unauthenticated(),
            ),
            ("sessions_lagging", "Sessions that missed something and have not drained since", self.lagging.get()),
            ("users", "Users with a session", self.users.get()),
            ("rooms_occupied", "Rooms with a session in them", self.occupied_rooms.get()),
            ("rooms_in_memory", "Rooms in memory", self.rooms.get()),
            ("recent_bytes", "Bytes of recent events in memory (limits.recent_total_bytes)", self.recent_bytes.get()),
            ("server_queue", "Commands waiting for the ChatServer (limits.server_queue)", self.server_queue.get()),
            ("writer_queue", "Messages waiting to be stored (limits.writer_queue)", self.writer_queue.get()),
            (
                "dispatcher_queue",
                "Deliveries waiting for workers (limits.dispatcher_queue each)",
                self.dispatcher_queue.get(),
            ),
            (
                "session_queue_frames",
                "Frames queued for sessions (limits.session_queue_frames each)",
                self.session_queues.get(),
            ),
            ("redis_up", "Whether Redis works: frames leave and arrive (0 without one)", self.bus_up.get()),
            ("rooms_followed", "Rooms whose channels are subscribed", self.followed_rooms.get()),
            ("mirror_queue", "Frames waiting to be published (limits.mirror_queue)", self.mirror_queue.get()),
            (
                "mirror_inbox",
                "Frames from other nodes waiting for the ChatServer (limits.mirror_queue)",
                self.mirror_inbox.get(),
            ),
            ("mirror_inbox_bytes", "Bytes of them (limits.mirror_queue_bytes)", self.mirror_inbox_bytes.get()),
            ("read_marks", "Read markers waiting to be stored (limits.read_marks)", self.read_marks.get()),
            (
                "password_checks",
                "Passwords being hashed or waiting for it (limits.password_queue)",
                self.password_checks.get(),
            ),
        ] {
            all.register(name, help, ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX)));
        }
        if let Some(bytes) = Process::new(std::process::id()).and_then(|process| process.resident_bytes()) {
            let gauge = ConstGauge::new(i64::try_from(bytes).unwrap_or(i64::MAX));
            all.register_with_unit("resident_memory", "Memory of the process", Unit::Bytes, gauge);
        }
        for (name, help, counter) in [
            ("messages_stored", "Messages stored", &self.stored),
            ("deliveries", "Events given to sessions", &self.delivered),
            ("sessions_lagged", "Times that a session fell behind and caught up", &self.lagged),
            ("pages_read", "Pages of events read from the database, not from memory", &self.pages_read),
            ("bus_received", "Frames from Redis that this hub has sealed", &self.bus_received),
            ("bus_refused", "Frames from Redis that this hub has not sealed, or can't read", &self.bus_refused),
            ("bus_dropped", "Frames without a place or a Redis; others read the database", &self.bus_dropped),
            ("sessions_evicted", "Sockets shut from outside, since their clients took too little", &self.evicted),
        ] {
            all.register(name, help, ConstCounter::new(counter.get()));
        }
        all.register("batch_messages", "Messages in one transaction of the writer", self.batches.buckets());
        all.register("commit_microseconds", "Time of one transaction of the writer", self.commits.buckets());
        let help = "Time from taking a message to having given it to a worker's sessions";
        all.register("delivery_microseconds", help, self.delivery.buckets());
        let errors = self.errors().map(|(code, counter)| (code.as_str(), counter.get())).collect();
        all.register_collector(Box::new(Errors(errors)));
        all.register_collector(Box::new(Limits(standing.limits)));
        let mut text = String::new();
        encode(&mut text, &all)?;
        Ok(text)
    }
}
