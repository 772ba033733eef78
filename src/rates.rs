//! Token buckets: so many a second in the long run, so many at once. A session has one of its own; those that several
//! share (a user's, an address's) are found by their key, at most `MOST` of each kind. Any thread.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Buckets of one kind in memory: some ten megabytes.
const MOST: usize = 100_000;

/// The bucket. Thirty-two bytes.
#[derive(Debug)]
pub struct Bucket {
    per_second: f64,
    burst: f64,
    left: f64,
    at: Instant,
}

/// What is left in a bucket, for an answer's headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    /// Requests at once.
    pub limit: u64,
    /// Those that are left.
    pub remaining: u64,
    /// Seconds until it is full again.
    pub full_in_s: u64,
}

impl Bucket {
    /// A full one.
    pub fn new(per_second: f64, burst: f64) -> Self {
        Self { per_second, burst, left: burst, at: Instant::now() }
    }

    fn fill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.left = passed.mul_add(self.per_second, self.left).min(self.burst);
        self.at = now;
    }

    /// Takes so many; else says after how many milliseconds they would be there. What is more than a burst is taken from a
    /// full bucket, and paid for afterwards.
    pub fn take(&mut self, cost: u32, now: Instant) -> Result<(), u64> {
        self.fill(now);
        let cost = f64::from(cost);
        let needed = cost.min(self.burst);
        if needed <= self.left {
            self.left -= cost;
            return Ok(());
        }
        let wait = Duration::from_secs_f64((needed - self.left) / self.per_second);
        Err(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1))
    }

    /// What is left now.
    pub fn level(&mut self, now: Instant) -> Level {
        self.fill(now);
        let whole = |number: f64| Duration::from_secs_f64(number.max(0.0)).as_secs();
        let full_in_s = whole(((self.burst - self.left) / self.per_second).ceil());
        Level { limit: whole(self.burst), remaining: whole(self.left), full_in_s }
    }
}

/// A bucket that several share.
#[derive(Clone, Debug)]
pub struct SharedBucket(Arc<Mutex<Bucket>>);

impl SharedBucket {
    /// A full one.
    pub fn new(per_second: f64, burst: f64) -> Self {
        Self(Arc::new(Mutex::new(Bucket::new(per_second, burst))))
    }

    /// As [`Bucket::take`].
    pub fn take(&self, cost: u32) -> Result<(), u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take(cost, Instant::now())
    }

    /// As [`Bucket::level`].
    pub fn level(&self) -> Level {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).level(Instant::now())
    }
}

/// Buckets by key.
#[derive(Debug)]
pub struct Buckets<K> {
    all: Mutex<HashMap<K, SharedBucket>>,
    per_second: f64,
    burst: f64,
}

impl<K: Eq + Hash> Buckets<K> {
    /// `burst` at once, and `burst` in this time.
    pub fn new(burst: u32, time: Duration) -> Self {
        Self::with_burst(f64::from(burst) / time.as_secs_f64(), burst)
    }

    /// So many a second in the long run.
    pub fn with_burst(per_second: f64, burst: u32) -> Self {
        Self { all: Mutex::new(HashMap::new()), per_second, burst: f64::from(burst) }
    }

    /// The key's bucket.
    pub fn of(&self, key: K) -> SharedBucket {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MOST && !all.contains_key(&key) {
            Self::make_room(&mut all);
        }
        let fresh = || SharedBucket(Arc::new(Mutex::new(Bucket::new(self.per_second, self.burst))));
        all.entry(key).or_insert_with(fresh).clone()
    }

    /// Those that are full tell nothing. Where too many are not, memory counts for more than they do.
    fn make_room(all: &mut HashMap<K, SharedBucket>) {
        let held = |bucket: &SharedBucket| Arc::strong_count(&bucket.0) > 1;
        all.retain(|_, bucket| held(bucket) || bucket.level().full_in_s > 0);
        if all.len() >= MOST {
            all.retain(|_, bucket| held(bucket));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_a_rate_then_a_time_to_wait() {
        let (mut bucket, start) = (Bucket::new(20.0, 3.0), Instant::now());
        assert_eq!([(); 3].map(|()| bucket.take(1, start)), [Ok(()); 3]);
        assert_eq!(bucket.take(1, start), Err(50));
        assert_eq!(bucket.take(1, start + Duration::from_millis(60)), Ok(()));
        assert_eq!(bucket.take(3, start + Duration::from_secs(9)), Ok(()), "no more than a burst is saved up");
        assert!(bucket.take(1, start + Duration::from_secs(9)).is_err());
        assert_eq!(bucket.take(23, start + Duration::from_secs(10)), Ok(()), "more than a burst at once");
        assert_eq!(bucket.take(1, start + Duration::from_secs(11)), Err(50), "is paid for afterwards");
    }

    #[test]
    fn buckets_by_key_are_bounded_and_shared() {
        let buckets = Buckets::new(2, Duration::from_secs(60));
        let held = buckets.of(0);
        assert_eq!((held.take(1), buckets.of(0).take(1)), (Ok(()), Ok(())));
        assert_eq!(held.level(), Level { limit: 2, remaining: 0, full_in_s: 60 });
        for key in 1..=u32::try_from(MOST).unwrap() * 2 {
            buckets.of(key).take(1).unwrap();
        }
        assert!(buckets.all.lock().unwrap().len() <= MOST);
        assert!(buckets.of(0).take(1).is_err(), "one that is in use stays");
    }
}
