//! When to try again, and when to stop.

use std::time::Duration;

use block::Timestamp;

use super::options::ReconnectOptions;

/// Attempts since the association was there last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Attempts {
    failed: u32,
    since: Option<Timestamp>,
}

impl Attempts {
    /// There is no association from now on.
    pub(super) fn begin(&mut self, now: Timestamp) {
        self.since.get_or_insert(now);
    }

    /// There is one again.
    pub(super) fn succeed(&mut self) {
        *self = Self::default();
    }

    /// How many failed.
    pub(super) const fn failed(self) -> u32 {
        self.failed
    }

    /// When the controller is given up.
    pub(super) fn give_up_at(self, options: &ReconnectOptions) -> Timestamp {
        match (self.since, options.loss_timeout) {
            (Some(since), Some(timeout)) => since.after(timeout),
            _ => Timestamp::NEVER,
        }
    }

    /// The pause before the next attempt. It doubles each time; up to a quarter is taken off, by `seed` and attempt, so that many
    /// hosts that lost one target do not come back at one moment.
    pub(super) fn next_pause(&mut self, options: &ReconnectOptions, seed: u64) -> Duration {
        let doubled = 2u32.checked_pow(self.failed).and_then(|factor| options.delay_min.checked_mul(factor));
        let pause = doubled.unwrap_or(options.delay_max).min(options.delay_max);
        self.failed = self.failed.saturating_add(1);
        pause - pause / 1024 * spread(seed, self.failed)
    }
}

/// 0 to 255, and another for each seed and attempt.
fn spread(seed: u64, attempt: u32) -> u32 {
    let mixed = (seed ^ u64::from(attempt)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    u32::from(mixed.to_be_bytes()[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let options = ReconnectOptions::default();
        let mut attempts = Attempts::default();
        let mut longest = options.delay_min;
        for _ in 0..200 {
            let pause = attempts.next_pause(&options, 7);
            assert!(pause <= longest && pause >= longest - longest / 4, "{pause:?} of {longest:?}");
            longest = (longest * 2).min(options.delay_max);
        }
        attempts.succeed();
        assert!(attempts.next_pause(&options, 7) <= options.delay_min);
    }

    #[test]
    fn hosts_do_not_come_back_at_one_moment() {
        let options = ReconnectOptions::default();
        let mut pauses: Vec<_> =
            (0..100).map(|seed| Attempts::default().next_pause(&options, seed)).collect();
        pauses.sort_unstable();
        pauses.dedup();
        assert!(pauses.len() > 50, "{} different pauses of 100", pauses.len());
    }

    #[test]
    fn the_loss_counts_from_its_beginning() {
        let options = ReconnectOptions::default();
        let mut attempts = Attempts::default();
        assert_eq!(attempts.give_up_at(&options), Timestamp::NEVER);
        attempts.begin(Timestamp::from_ns(5));
        attempts.begin(Timestamp::from_ns(1_000));
        assert_eq!(attempts.give_up_at(&options), Timestamp::from_ns(600_000_000_005));
        let for_ever = ReconnectOptions { loss_timeout: None, ..options };
        assert_eq!(attempts.give_up_at(&for_ever), Timestamp::NEVER);
    }
}
