//! A token bucket: so many a second in the long run, so many at once. Sixteen bytes in the session.

use std::time::Instant;

/// The bucket.
#[derive(Debug)]
pub(super) struct Bucket {
    per_second: f64,
    burst: f64,
    left: f64,
    at: Instant,
}

impl Bucket {
    pub(super) fn new(per_second: u32, burst: u32) -> Self {
        let (per_second, burst) = (f64::from(per_second), f64::from(burst));
        Self { per_second, burst, left: burst, at: Instant::now() }
    }

    /// Takes so many; else says after how many milliseconds they would be there. What is more than a burst is taken from a
    /// full bucket, and paid for afterwards.
    pub(super) fn take(&mut self, cost: u32, now: Instant) -> Result<(), u64> {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.left = passed.mul_add(self.per_second, self.left).min(self.burst);
        self.at = now;
        let cost = f64::from(cost);
        let needed = cost.min(self.burst);
        if needed <= self.left {
            self.left -= cost;
            return Ok(());
        }
        let wait = std::time::Duration::from_secs_f64((needed - self.left) / self.per_second);
        Err(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_burst_then_a_rate_then_a_time_to_wait() {
        let (mut bucket, start) = (Bucket::new(20, 3), Instant::now());
        assert_eq!([(); 3].map(|()| bucket.take(1, start)), [Ok(()); 3]);
        assert_eq!(bucket.take(1, start), Err(50));
        assert_eq!(bucket.take(1, start + Duration::from_millis(60)), Ok(()));
        assert_eq!(bucket.take(3, start + Duration::from_secs(9)), Ok(()), "no more than a burst is saved up");
        assert!(bucket.take(1, start + Duration::from_secs(9)).is_err());
        assert_eq!(bucket.take(23, start + Duration::from_secs(10)), Ok(()), "more than a burst at once");
        assert_eq!(bucket.take(1, start + Duration::from_secs(11)), Err(50), "is paid for afterwards");
    }
}
