//! How time passes in a test: as on the wall, or as a simulation says.

use block::{MonotonicClock, Sleeper, Timestamp};

/// A clock that can be waited for.
pub trait Time: Send {
    /// The time.
    fn now(&self) -> Timestamp;

    /// Every endpoint of the test has nothing to do until `until`, or until one of the sleeper's descriptors says
    /// otherwise: lets time pass, though no further than that. A little of it passes also if `until` is now.
    fn pass(&mut self, sleeper: &mut Sleeper, until: Timestamp);

    /// Whether several threads can work with one device, and sleep on descriptors.
    fn is_real(&self) -> bool;
}

/// Time as on the wall.
#[derive(Clone, Copy, Debug)]
pub struct RealTime(MonotonicClock);

impl RealTime {
    /// Begins now.
    #[must_use]
    pub fn start() -> Self {
        Self(MonotonicClock::start())
    }
}

impl Time for RealTime {
    fn now(&self) -> Timestamp {
        self.0.now()
    }

    fn pass(&mut self, sleeper: &mut Sleeper, until: Timestamp) {
        sleeper.sleep_until(self.0.now(), until).unwrap();
    }

    fn is_real(&self) -> bool {
        true
    }
}
