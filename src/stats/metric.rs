//! What a number can be: one that goes up, one that goes up and down, and how something is distributed.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use prometheus_client::metrics::histogram::Histogram as Buckets;
use serde::Serialize;

/// How long values stay in a distribution's percentiles: between this and twice this.
const WINDOW: Duration = Duration::from_secs(60);

/// A number that goes up.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One that stands at 0.
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Adds to it.
    pub fn add(&self, n: usize) {
        self.0.fetch_add(u64::try_from(n).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// The sum so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// Raises it.
    pub fn add(&self, n: usize) {
        self.0.fetch_add(i64::try_from(n).unwrap_or(i64::MAX), Ordering::Relaxed);
    }

    /// Lowers it.
    pub fn sub(&self, n: usize) {
        self.0.fetch_sub(i64::try_from(n).unwrap_or(i64::MAX), Ordering::Relaxed);
    }

    /// Sets it.
    pub fn set(&self, n: usize) {
        self.0.store(i64::try_from(n).unwrap_or(i64::MAX), Ordering::Relaxed);
    }

    /// What it stands at.
    pub fn get(&self) -> usize {
        usize::try_from(self.0.load(Ordering::Relaxed)).unwrap_or(0)
    }
}

/// How a value was distributed: lately by percentiles, since the start by buckets, and since the last sample of the history.
#[derive(Debug)]
pub struct Distribution {
    recent: Mutex<Recent>,
    buckets: Buckets,
}

#[derive(Debug)]
struct Recent {
    /// Since the last sample; not in `now` yet, so that a value costs one place.
    sample: Histogram<u64>,
    now: Histogram<u64>,
    before: Histogram<u64>,
    since: Instant,
}

/// The percentiles of the last minute or two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Percentiles {
    /// Half are not above this.
    pub p50: u64,
    /// All but one in a hundred are not above this.
    pub p99: u64,
    /// None is above this.
    pub max: u64,
}

impl Distribution {
    /// With these upper bounds of the buckets; another one holds what is above them all.
    pub fn new(bounds: impl IntoIterator<Item = f64>) -> Self {
        let [sample, now, before] = [(); 3].map(|()| histogram());
        let recent = Recent { sample, now, before, since: Instant::now() };
        Self { recent: Mutex::new(recent), buckets: Buckets::new(bounds) }
    }

    /// Takes a value in.
    pub fn record(&self, value: u64) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.turn();
        // It grows by itself, so every value fits.
        recent.sample.record(value).ok();
        self.buckets.observe(u32::try_from(value).map_or(f64::INFINITY, f64::from));
    }

    /// The percentiles of the last minute or two; zeros where nothing was recorded.
    pub fn percentiles(&self) -> Percentiles {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.turn();
        let mut all = recent.now.clone();
        all += &recent.before;
        all += &recent.sample;
        Percentiles::of(&all)
    }

    /// The percentiles since this was last called; zeros where nothing was recorded.
    pub(super) fn sample(&self) -> Percentiles {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if recent.sample.is_empty() {
            // Asked each second: walking through empty histograms is most of what an idle hub would do.
            return Percentiles { p50: 0, p99: 0, max: 0 };
        }
        let percentiles = Percentiles::of(&recent.sample);
        recent.settle();
        percentiles
    }

    pub(super) fn buckets(&self) -> Buckets {
        self.buckets.clone()
    }
}

impl Percentiles {
    fn of(values: &Histogram<u64>) -> Self {
        Self { p50: values.value_at_quantile(0.5), p99: values.value_at_quantile(0.99), max: values.max() }
    }
}

impl Recent {
    /// What the sample has belongs to the minute from here on.
    fn settle(&mut self) {
        self.now += &self.sample;
        self.sample.reset();
    }

    fn turn(&mut self) {
        if self.since.elapsed() >= WINDOW {
            self.settle();
            std::mem::swap(&mut self.now, &mut self.before);
            self.now.reset();
            if self.since.elapsed() >= WINDOW * 2 {
                self.before.reset();
            }
            self.since = Instant::now();
        }
    }
}

/// An empty histogram that grows with its values, to three digits. To be filled by `record`: `saturating_record` does not
/// let it grow.
#[expect(clippy::expect_used, reason = "invariant: 1 to 5 digits are possible")]
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new(3).expect("three digits")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_hold_small_and_large_values() {
        let times = Distribution::new([10.0, 1e6]);
        for value in 1..=99 {
            times.record(value);
        }
        times.record(5_000_000);
        let Percentiles { p50, p99, max } = times.percentiles();
        assert_eq!((p50, p99), (50, 99));
        assert!((5_000_000..5_010_000).contains(&max), "{max}");
    }

    #[test]
    fn a_sample_has_what_came_since_the_last_one() {
        let times = Distribution::new([10.0]);
        assert_eq!(times.sample(), Percentiles { p50: 0, p99: 0, max: 0 });
        times.record(7);
        times.record(9);
        assert_eq!(times.sample(), Percentiles { p50: 7, p99: 9, max: 9 });
        times.record(3);
        assert_eq!((times.sample().max, times.sample().max), (3, 0));
        assert_eq!(times.percentiles(), Percentiles { p50: 7, p99: 9, max: 9 }, "samples take nothing from the minute");
    }
}
