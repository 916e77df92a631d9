//! Time that passes when the simulation says so.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use block::Timestamp;

/// A clock that stands still until it is moved. Handles of one clock show the same time.
#[derive(Clone, Debug, Default)]
pub struct VirtualClock(Arc<AtomicU64>);

impl VirtualClock {
    /// The time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        Timestamp::from_ns(self.0.load(Ordering::Acquire))
    }

    /// Moves to a moment; stays where it is if that has passed.
    pub fn advance_to(&self, moment: Timestamp) {
        self.0.fetch_max(moment.as_ns(), Ordering::AcqRel);
    }

    /// Lets time pass.
    pub fn advance(&self, duration: Duration) {
        self.advance_to(self.now().after(duration));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_moves_forward_only_and_for_everybody() {
        let clock = VirtualClock::default();
        let other = clock.clone();
        clock.advance(Duration::from_micros(3));
        assert_eq!(other.now(), Timestamp::from_ns(3000));
        other.advance_to(Timestamp::from_ns(10));
        assert_eq!(clock.now(), Timestamp::from_ns(3000));
    }
}
