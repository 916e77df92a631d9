//! Time, which the rest of the lab takes from here: the lab waits for other programs, so it must read a clock.

#![allow(clippy::disallowed_methods, reason = "the lab is no protocol code: it waits for a guest to get on")]

use std::time::{Duration, Instant};

/// How often something is looked at that cannot wake us, such as a socket that QEMU has yet to connect to.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// A point in time after which waiting is given up.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Instant);

impl Deadline {
    /// So long from now.
    pub fn after(wait: Duration) -> Self {
        Self(Instant::now() + wait)
    }

    /// What is left; `None` when it has passed.
    pub fn left(self) -> Option<Duration> {
        let left = self.0.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }

    /// Waits for one look's interval; false when the deadline has passed.
    pub fn pause(self) -> bool {
        let Some(left) = self.left() else { return false };
        std::thread::sleep(left.min(LOOK_EVERY));
        true
    }
}

/// Measures how long something took.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts now.
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Time since the start.
    pub fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}
