//! Whether the bus works, as far as this node can know: only its own beats that come back through Redis prove that frames
//! leave and arrive. What that means for how long a hole may wait and how often heads are compared stands here too. Pure
//! code: times are since the node's start, so that one seed can drive it.

use std::time::Duration;

/// How often a node beats.
pub const BEAT: Duration = Duration::from_millis(500);
/// A bus on which no beat came back for so long is away: a connection may be open and deaf.
pub const PATIENCE: Duration = Duration::from_millis(1_500);

/// What there is to ask in place of waiting, for rooms with sessions on this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// How long missing events may come by themselves.
    pub hole: Duration,
    /// How often rooms that were active within the last minute are compared with the database.
    pub active: Duration,
    /// How often the others are; who may do what in them is compared at the same time.
    pub quiet: Duration,
}

impl Pace {
    /// One process on a database of its own: it knows everything, and a hole can only be read. Not at once, so that a
    /// database that fails is not asked without end.
    pub const ALONE: Self = Self { hole: Duration::from_millis(10), active: Duration::MAX, quiet: Duration::MAX };
    /// Others may write to the database, and nothing else tells.
    pub const WITHOUT_BUS: Self =
        Self { hole: Duration::from_millis(1), active: Duration::from_millis(250), quiet: Duration::from_secs(1) };
    /// The bus tells; the database is asked in case it did not.
    pub const WITH_BUS: Self =
        Self { hole: Duration::from_millis(50), active: Duration::from_millis(500), quiet: Duration::from_secs(1) };
}

/// The state of the bus.
#[derive(Clone, Debug, Default)]
pub struct Link {
    /// Since when all channels are subscribed on the present connection.
    subscribed: Option<Duration>,
    /// The number of the last beat that was sent.
    count: u64,
    /// The first beat that was sent on the present connection.
    first: u64,
    /// When a beat of the present connection last came back.
    echoed: Option<Duration>,
}

impl Link {
    /// Whether frames leave and arrive.
    pub fn is_up(&self) -> bool {
        self.echoed.is_some()
    }

    /// A new connection has all channels.
    pub fn subscribed(&mut self, now: Duration) {
        (self.subscribed, self.first, self.echoed) = (Some(now), self.count.saturating_add(1), None);
    }

    /// The same, where the present connection has not had them all before. Says whether it is so.
    pub fn subscribe_once(&mut self, now: Duration) -> bool {
        let first = self.subscribed.is_none();
        if first {
            self.subscribed(now);
        }
        first
    }

    /// The number of the next beat.
    pub fn beat(&mut self) -> u64 {
        self.count = self.count.saturating_add(1);
        self.count
    }

    /// An own beat came back. Says whether the bus works since this one.
    pub fn echo(&mut self, count: u64, now: Duration) -> bool {
        // Repeats of earlier connections' beats prove nothing.
        if self.subscribed.is_none() || count < self.first || count > self.count {
            return false;
        }
        let new = self.echoed.is_none();
        // Each beat proves its own time only.
        self.first = count.saturating_add(1);
        self.echoed = Some(now);
        new
    }

    /// Whether the present connection has had its time and is deaf: it is to be given up.
    pub fn is_deaf(&self, now: Duration) -> bool {
        let since = self.echoed.or(self.subscribed);
        since.is_some_and(|since| now.saturating_sub(since) > PATIENCE)
    }

    /// The connection is gone.
    pub fn lost(&mut self) {
        (self.subscribed, self.echoed) = (None, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn only_a_beat_of_this_connection_that_came_back_proves_it() {
        let mut link = Link::default();
        let early = link.beat();
        assert!(!link.echo(early, at(1)), "not subscribed yet");
        link.subscribed(at(2));
        assert!(!link.echo(early, at(3)) && !link.is_up(), "sent before the channels stood");
        let count = link.beat();
        assert!(!link.echo(count + 1, at(4)), "never sent");
        assert!(link.echo(count, at(5)) && link.is_up());
        assert!(!link.is_deaf(at(5) + PATIENCE));
        assert!(!link.echo(count, at(1_000)), "repeated");
        assert!(link.is_deaf(at(6) + PATIENCE), "a repeat has kept a deaf connection");
    }

    #[test]
    fn a_connection_whose_first_beat_never_comes_back_is_deaf() {
        let mut link = Link::default();
        assert!(!link.is_deaf(at(100_000)), "there is none");
        link.subscribed(at(10));
        link.beat();
        assert!(link.is_deaf(at(11) + PATIENCE));
        link.lost();
        assert!(!link.is_deaf(at(100_000)) && !link.is_up());
    }
}
