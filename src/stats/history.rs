//! The last hour of the cluster as this node sees it, for the operator's charts: one point each 5 s, kept in memory, by one
//! task (`Stats::sample`). Bounded: `POINTS`. A node that has just started has what it saw.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use serde::Serialize;
use serde_json::{Value, json};

use super::{
    Stats,
    cluster::{Point, tenths},
};
use crate::protocol::Timestamp;

/// Time between points.
pub const EVERY: Duration = Duration::from_secs(5);
/// Points kept: an hour.
const POINTS: usize = 720;

/// What one node did since its sample before, which is also part of what it tells the others.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Lately {
    messages_per_s: f64,
    deliveries_per_s: f64,
    errors_per_s: f64,
    commit_p99_us: u64,
    delivery_p99_us: u64,
}

#[derive(Clone, Copy, Debug)]
struct Before {
    at: Instant,
    stored: u64,
    delivered: u64,
    refused: u64,
}

/// The points, and what the next one is counted from.
#[derive(Debug)]
pub(super) struct History {
    before: Mutex<Before>,
    lately: Mutex<Lately>,
    points: Mutex<VecDeque<Point>>,
}

impl History {
    pub(super) fn new() -> Self {
        let before = Before { at: Instant::now(), stored: 0, delivered: 0, refused: 0 };
        Self { before: Mutex::new(before), lately: Mutex::default(), points: Mutex::default() }
    }

    pub(super) fn lately(&self) -> Lately {
        *self.lately.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, point: Point) {
        let mut points = self.points.lock().unwrap_or_else(PoisonError::into_inner);
        if points.len() >= POINTS {
            points.pop_front();
        }
        points.push_back(point);
    }
}

impl Stats {
    /// Adds a point of this node and of the others, whose reports these are.
    pub fn sample(&self, others: &[Value]) {
        let refused = self.errors().map(|(_, counter)| counter.get()).fold(0, u64::saturating_add);
        let now = Before { at: Instant::now(), stored: self.stored.get(), delivered: self.delivered.get(), refused };
        let mut before = self.history.before.lock().unwrap_or_else(PoisonError::into_inner);
        let seconds = now.at.duration_since(before.at).as_secs_f64();
        let per_s = |from: u64, to: u64| {
            // More than 4 billion in 5 s is beyond any node.
            let n = u32::try_from(to.saturating_sub(from)).map_or(f64::INFINITY, f64::from);
            if seconds > 0.0 { tenths(n / seconds) } else { 0.0 }
        };
        let lately = Lately {
            messages_per_s: per_s(before.stored, now.stored),
            deliveries_per_s: per_s(before.delivered, now.delivered),
            errors_per_s: per_s(before.refused, now.refused),
            commit_p99_us: self.commits.sample().p99,
            delivery_p99_us: self.delivery.sample().p99,
        };
        *before = now;
        drop(before);
        *self.history.lately.lock().unwrap_or_else(PoisonError::into_inner) = lately;
        let own = self.report();
        let nodes: Vec<&Value> = std::iter::once(&own).chain(others).collect();
        self.history.push(Point::of(Timestamp::now(), &nodes));
    }

    /// The points after a moment, oldest first; all that there are where none is named. To the millisecond, as they are
    /// written.
    pub fn history(&self, after: Option<Timestamp>) -> Value {
        let millis = |at: &Timestamp| at.to_utc().timestamp_millis();
        let after = after.map_or(i64::MIN, |after| millis(&after));
        let points = self.history.points.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted: Vec<_> = points.iter().filter(|point| millis(&point.at) > after).collect();
        json!({ "every_s": EVERY.as_secs(), "points": wanted })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_is_kept_and_no_more() {
        let stats = Stats::new();
        stats.stored.add(10);
        for _ in 0..POINTS + 5 {
            stats.sample(&[]);
        }
        let all = stats.history(None);
        assert_eq!((all["points"].as_array().unwrap().len(), &all["every_s"]), (POINTS, &json!(5)), "P5");
        assert_eq!(stats.history(Some(Timestamp::now()))["points"], json!([]));
    }

    #[test]
    fn a_point_adds_the_nodes_up_and_has_the_slowest_one_s_times() {
        let stats = Stats::new();
        stats.sessions.add(3);
        stats.delivery.record(700);
        let other = json!({
            "sessions": {"total": 4, "lagging": 1},
            "users": 2,
            "last_5s": {"messages_per_s": 1.5, "deliveries_per_s": 3.0, "errors_per_s": 0.2, "commit_p99_us": 900, "delivery_p99_us": 80},
            "writer": {"queue": 5},
            "queues": {"server": 1, "dispatchers": 2, "sessions": 3},
            "memory": {"resident_bytes": null},
        });
        stats.sample(&[other]);
        let point = &stats.history(None)["points"][0];
        assert_eq!((&point["nodes"], &point["sessions"], &point["lagging"]), (&json!(2), &json!(7), &json!(1)));
        assert_eq!((&point["commit_p99_us"], &point["delivery_p99_us"]), (&json!(900), &json!(700)));
        assert_eq!((&point["messages_per_s"], &point["writer_queue"]), (&json!(1.5), &json!(5)));
    }
}
