//! A rate without drift: I/O number n is due at a moment that depends on n and the start alone.

use block::Timestamp;

/// Nanoseconds of a second.
const SECOND_NS: u128 = 1_000_000_000;

/// When the next I/O is due, at a fixed rate.
///
/// A stall is made up for: what was due in the meantime is issued as fast as the queue takes it, so the average is the
/// rate as long as the device can keep up with it.
#[derive(Clone, Debug)]
pub struct Pace {
    rate_iops: u64,
    start: Timestamp,
    issued: u64,
}

impl Pace {
    /// `rate_iops` I/O a second (not 0), the first at once.
    #[must_use]
    pub fn new(rate_iops: u64, start: Timestamp) -> Self {
        Self { rate_iops, start, issued: 0 }
    }

    /// How many I/O may be issued now.
    #[inline]
    #[must_use]
    pub fn due(&self, now: Timestamp) -> u64 {
        let whole = u128::from(now.ns_since(self.start)) * u128::from(self.rate_iops) / SECOND_NS + 1;
        u64::try_from(whole).unwrap_or(u64::MAX).saturating_sub(self.issued)
    }

    /// Notes that one was issued.
    #[inline]
    pub fn issue(&mut self) {
        self.issued += 1;
    }

    /// When the next one is due.
    #[must_use]
    pub fn next(&self) -> Timestamp {
        let after_ns = (u128::from(self.issued) * SECOND_NS).div_ceil(u128::from(self.rate_iops));
        self.start.after_ns(u64::try_from(after_ns).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_third_of_a_second_does_not_add_up_to_a_drift() {
        let start = Timestamp::from_ns(500);
        let mut pace = Pace::new(3, start);
        assert_eq!((pace.due(start), pace.next()), (1, start));
        pace.issue();
        assert_eq!((pace.due(start), pace.next()), (0, start.after_ns(333_333_334)));
        assert_eq!(pace.due(pace.next()), 1);
        for _ in 1..3_000_000 {
            pace.issue();
        }
        assert_eq!(pace.next(), start.after_ns(1_000_000_000_000_000));
    }

    #[test]
    fn a_stall_is_made_up_for() {
        let pace = Pace::new(1000, Timestamp::default());
        assert_eq!(pace.due(Timestamp::from_ns(5_000_000_000)), 5001);
        assert_eq!(Pace::new(u64::MAX, Timestamp::default()).due(Timestamp::NEVER), u64::MAX);
    }
}
