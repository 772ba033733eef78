//! What the reports of several nodes say together: sums for `GET /api/admin/stats`, and a point of the history. Pure code. A
//! user or a room on several nodes counts on each. A node of an older version has not all fields: those count as nothing.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};

use super::busiest::{self, BusyRoom};
use crate::protocol::Timestamp;

fn count(nodes: &[&Value], pointer: &str) -> u64 {
    nodes.iter().filter_map(|node| node.pointer(pointer)?.as_u64()).fold(0, u64::saturating_add)
}

fn rate(nodes: &[&Value], pointer: &str) -> f64 {
    tenths(nodes.iter().filter_map(|node| node.pointer(pointer)?.as_f64()).sum())
}

fn worst(nodes: &[&Value], pointer: &str) -> u64 {
    nodes.iter().filter_map(|node| node.pointer(pointer)?.as_u64()).max().unwrap_or(0)
}

/// A rate as it is shown.
pub(super) fn tenths(rate: f64) -> f64 {
    (rate * 10.0).round() / 10.0
}

/// What adds up of these nodes' reports, and the slowest one's times.
pub fn sums(nodes: &[&Value]) -> Value {
    let flow = |name: &str| {
        json!({
            "total": count(nodes, &format!("/{name}/total")),
            "per_second_1s": rate(nodes, &format!("/{name}/per_second_1s")),
            "per_second_1m": rate(nodes, &format!("/{name}/per_second_1m")),
        })
    };
    let mut errors: BTreeMap<&str, u64> = BTreeMap::new();
    for (code, times) in nodes.iter().filter_map(|node| node["errors"].as_object()).flatten() {
        let sum = errors.entry(code).or_default();
        *sum = sum.saturating_add(times.as_u64().unwrap_or(0));
    }
    let lists = nodes.iter().filter_map(|node| node.pointer("/rooms/busiest"));
    let rooms = lists.filter_map(|list| serde_json::from_value::<Vec<BusyRoom>>(list.clone()).ok()).flatten();
    json!({
        "nodes": nodes.len(),
        "sessions": count(nodes, "/sessions/total"),
        "lagging": count(nodes, "/sessions/lagging"),
        "users": count(nodes, "/users"),
        "rooms_with_sessions": count(nodes, "/rooms/with_sessions"),
        "busiest": busiest::merge(rooms),
        "messages": flow("messages"),
        "deliveries": flow("deliveries"),
        "commit_p99_us": worst(nodes, "/writer/commit_us/p99"),
        "delivery_p99_us": worst(nodes, "/delivery_us/p99"),
        "errors": errors,
        "resident_bytes": count(nodes, "/memory/resident_bytes"),
    })
}

/// One point of the history.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Point {
    pub(super) at: Timestamp,
    nodes: usize,
    sessions: u64,
    users: u64,
    messages_per_s: f64,
    deliveries_per_s: f64,
    commit_p99_us: u64,
    delivery_p99_us: u64,
    lagging: u64,
    errors_per_s: f64,
    writer_queue: u64,
    dispatcher_queue: u64,
    server_queue: u64,
    session_queues: u64,
    resident_bytes: u64,
}

impl Point {
    /// What these nodes' reports say together.
    pub(super) fn of(at: Timestamp, nodes: &[&Value]) -> Self {
        Self {
            at,
            nodes: nodes.len(),
            sessions: count(nodes, "/sessions/total"),
            users: count(nodes, "/users"),
            messages_per_s: rate(nodes, "/last_5s/messages_per_s"),
            deliveries_per_s: rate(nodes, "/last_5s/deliveries_per_s"),
            commit_p99_us: worst(nodes, "/last_5s/commit_p99_us"),
            delivery_p99_us: worst(nodes, "/last_5s/delivery_p99_us"),
            lagging: count(nodes, "/sessions/lagging"),
            errors_per_s: rate(nodes, "/last_5s/errors_per_s"),
            writer_queue: count(nodes, "/writer/queue"),
            dispatcher_queue: count(nodes, "/queues/dispatchers"),
            server_queue: count(nodes, "/queues/server"),
            session_queues: count(nodes, "/queues/sessions"),
            resident_bytes: count(nodes, "/memory/resident_bytes"),
        }
    }
}
