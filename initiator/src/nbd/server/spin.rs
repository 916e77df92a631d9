//! How long to look again before sleeping: as long as that has paid lately.
//!
//! Where the next command follows within microseconds, looking again spares a sleep and a wake-up. Where it does not, or
//! where the client needs the very processor that looks, it costs time and brings nothing.

use block::Timestamp;

/// Longest time: about what a wake-up costs.
const SPIN_NS_MAX: u64 = 20_000;

/// Shortest time that is worth beginning.
const SPIN_NS_MIN: u64 = 2_500;

/// Pauses learn from each other.
#[derive(Debug)]
pub(super) struct Spin {
    spin_ns: u64,
    idle_since: Option<Timestamp>,
}

impl Spin {
    pub(super) fn new() -> Self {
        Self { spin_ns: SPIN_NS_MAX, idle_since: None }
    }

    /// Something happened: if a pause ends with it, its length says how to deal with the next one.
    #[inline]
    pub(super) fn note_work(&mut self, now: Timestamp) {
        let Some(since) = self.idle_since.take() else { return };
        let pause_ns = now.ns_since(since);
        if pause_ns > SPIN_NS_MAX {
            self.spin_ns = if self.spin_ns > SPIN_NS_MIN { self.spin_ns / 2 } else { 0 };
        } else if pause_ns > self.spin_ns {
            self.spin_ns = (self.spin_ns * 2).clamp(SPIN_NS_MIN, SPIN_NS_MAX);
        }
    }

    /// Nothing happened. Whether to look again rather than to sleep.
    #[inline]
    pub(super) fn looks_again(&mut self, now: Timestamp) -> bool {
        let since = *self.idle_since.get_or_insert(now);
        now.ns_since(since) < self.spin_ns
    }

    /// Whether pauses are spent looking again at all.
    #[inline]
    pub(super) fn is_on(&self) -> bool {
        self.spin_ns > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pause of so many nanoseconds, after one of work.
    fn pause(spin: &mut Spin, at: &mut u64, pause_ns: u64) {
        spin.looks_again(Timestamp::from_ns(*at));
        *at += pause_ns;
        spin.note_work(Timestamp::from_ns(*at));
        *at += 100;
    }

    #[test]
    fn long_pauses_end_it_and_short_ones_begin_it_again() {
        let (mut spin, mut at) = (Spin::new(), 0);
        for _ in 0..4 {
            assert!(spin.is_on());
            pause(&mut spin, &mut at, 1_000_000);
        }
        assert!(!spin.is_on() && !spin.looks_again(Timestamp::from_ns(at)));
        pause(&mut spin, &mut at, 3_000);
        assert!(spin.is_on() && spin.looks_again(Timestamp::from_ns(at)));
        for _ in 0..5 {
            pause(&mut spin, &mut at, 15_000);
        }
        assert!(spin.looks_again(Timestamp::from_ns(at)));
        assert!(spin.looks_again(Timestamp::from_ns(at + 19_999)));
        assert!(!spin.looks_again(Timestamp::from_ns(at + 20_000)));
    }

    #[test]
    fn pauses_that_it_covers_leave_it_as_it_is() {
        let (mut spin, mut at) = (Spin::new(), 0);
        for _ in 0..100 {
            pause(&mut spin, &mut at, 5_000);
        }
        assert_eq!(spin.spin_ns, SPIN_NS_MAX);
    }
}
