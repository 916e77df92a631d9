//! Time as an argument: nanoseconds of a clock that never goes back.

use std::fmt;
use std::time::{Duration, Instant};

/// A moment: nanoseconds since an arbitrary start. Simulations make their own; reactors ask a [`MonotonicClock`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// A deadline that never comes.
    pub const NEVER: Self = Self(u64::MAX);

    /// The moment `nanoseconds` after the clock's start.
    #[must_use]
    pub const fn from_ns(nanoseconds: u64) -> Self {
        Self(nanoseconds)
    }

    /// Nanoseconds since the clock's start.
    #[inline]
    #[must_use]
    pub const fn as_ns(self) -> u64 {
        self.0
    }

    /// The moment `duration` later; [`Self::NEVER`] if that is beyond 584 years.
    #[inline]
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        self.after_ns(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
    }

    /// The moment `nanoseconds` later; [`Self::NEVER`] if that is beyond 584 years.
    #[inline]
    #[must_use]
    pub const fn after_ns(self, nanoseconds: u64) -> Self {
        Self(self.0.saturating_add(nanoseconds))
    }

    /// Nanoseconds from `earlier` to this moment; 0 if `earlier` is later.
    #[inline]
    #[must_use]
    pub const fn ns_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// Time from `earlier` to this moment; zero if `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.ns_since(earlier))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::NEVER { f.write_str("never") } else { write!(f, "{} ns", self.0) }
    }
}

/// The clock of reactors: CLOCK_MONOTONIC, counted from when the clock was made.
#[derive(Clone, Copy, Debug)]
pub struct MonotonicClock {
    start: Instant,
}

impl MonotonicClock {
    /// A clock that starts now.
    #[must_use]
    #[allow(clippy::disallowed_methods, reason = "the one clock; reactors own one and pass `now` on")]
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// The time by this clock. About 20 ns: read once per turn of a loop.
    #[inline]
    #[must_use]
    pub fn now(&self) -> Timestamp {
        Timestamp::default().after(self.start.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates() {
        let late = Timestamp::from_ns(u64::MAX - 1);
        assert_eq!(late.after(Duration::from_secs(1)), Timestamp::NEVER);
        assert_eq!(Timestamp::from_ns(5).since(late), Duration::ZERO);
        assert_eq!(Timestamp::from_ns(5).after_ns(7).ns_since(Timestamp::from_ns(5)), 7);
    }

    #[test]
    fn the_clock_does_not_go_back() {
        let clock = MonotonicClock::start();
        let first = clock.now();
        assert!(clock.now() >= first);
    }
}
