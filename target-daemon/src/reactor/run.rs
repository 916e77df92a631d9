//! The loop that waits.

use block::{Timestamp, Wait};

use super::{Reactor, TICK};
use crate::engine::Poll;

/// How long an idle reactor looks again before it asks whether it may sleep: about what a wake-up costs.
const SPIN_NS_MAX: u64 = 20_000;

impl Reactor {
    /// Runs until it is told to stop.
    pub(crate) fn run(mut self) {
        while !self.is_stopping {
            if self.turn() {
                self.busy_at = self.core.now;
            } else {
                self.rest();
            }
        }
        for station in &mut self.stations {
            station.close_all(&mut self.core);
        }
    }

    /// Nothing happened in a turn.
    fn rest(&mut self) {
        let now = self.core.now;
        if self.poll == Poll::Always || now.ns_since(self.busy_at) < SPIN_NS_MAX {
            std::hint::spin_loop();
            return;
        }
        match self.prepare_wait(now) {
            // Whoever is to answer may need this processor.
            Wait::Poll => std::thread::yield_now(),
            Wait::Until(until) => self.sleep(now, until),
        }
    }

    fn prepare_wait(&mut self, now: Timestamp) -> Wait {
        let devices = self.core.devices.prepare_wait(now);
        self.stations.iter_mut().fold(devices, |wait, station| wait.and(station.port.prepare_wait(now)))
    }

    fn sleep(&mut self, now: Timestamp, until: Timestamp) {
        self.core.gauges.sleeps.add(1);
        let until = until.min(self.next_tick).min(now.after(TICK));
        if let Err(error) = self.sleeper.sleep_until(now, until) {
            tracing::error!(%error, "a reactor cannot sleep: it keeps looking");
            self.poll = Poll::Always;
        }
        self.core.now = self.core.hub.clock().now();
        // One that has no requests is not looked at otherwise, and may be what ended the sleep.
        self.look_at_devices();
    }
}
