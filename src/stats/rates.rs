//! Rates from samples of the counters, one a second. Bounded: the samples of a minute.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
    time::Instant,
};

use serde::Serialize;

/// Samples kept: a minute has this many ends of seconds.
const SAMPLES: usize = 61;

#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Instant,
    stored: u64,
    delivered: u64,
}

/// The last minute's samples; the start is the first.
#[derive(Debug)]
pub(super) struct Rates(Mutex<VecDeque<Sample>>);

/// How often something happens, by the last second and by the last minute (or since the start).
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Rate {
    per_second_1s: f64,
    per_second_1m: f64,
}

impl Rates {
    pub(super) fn new() -> Self {
        let start = Sample { at: Instant::now(), stored: 0, delivered: 0 };
        Self(Mutex::new(VecDeque::from([start])))
    }

    pub(super) fn tick(&self, stored: u64, delivered: u64) {
        let mut samples = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if samples.len() >= SAMPLES {
            samples.pop_front();
        }
        samples.push_back(Sample { at: Instant::now(), stored, delivered });
    }

    /// Of messages stored, and of deliveries.
    pub(super) fn get(&self) -> (Rate, Rate) {
        let samples = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (newest, first) = (samples.back(), samples.front());
        let before = samples.len().checked_sub(2).and_then(|place| samples.get(place));
        let of = |number: fn(&Sample) -> u64| Rate {
            per_second_1s: between(before, newest, number),
            per_second_1m: between(first, newest, number),
        };
        (of(|sample| sample.stored), of(|sample| sample.delivered))
    }
}

fn between(from: Option<&Sample>, to: Option<&Sample>, number: fn(&Sample) -> u64) -> f64 {
    let (Some(from), Some(to)) = (from, to) else { return 0.0 };
    let seconds = to.at.duration_since(from.at).as_secs_f64();
    // More than 4 billion in a minute is beyond any node.
    let n = u32::try_from(number(to).saturating_sub(number(from))).map_or(f64::INFINITY, f64::from);
    if seconds > 0.0 { (n / seconds * 10.0).round() / 10.0 } else { 0.0 }
}
