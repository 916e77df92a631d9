//! Waiting when there is nothing to do.

use block::{BlockQueue, SleepError, Sleeper, Timestamp, Wait, Waker};

use crate::bench::options::PollMode;

/// How long an idle job looks again before it asks whether it may sleep: about what a wake-up costs.
const SPIN_NS_MAX: u64 = 20_000;

/// Shortest sleep: a timer fires some 50 microseconds late.
const SLEEP_NS_MIN: u64 = 100_000;

/// Longest sleep, in case that nobody wakes.
const SLEEP_NS_MAX: u64 = 500_000_000;

/// How a job waits.
#[derive(Debug)]
pub struct Rest {
    mode: PollMode,
    sleeper: Sleeper,
    busy_at: Timestamp,
}

impl Rest {
    /// For a queue.
    pub fn new(mode: PollMode, queue: &dyn BlockQueue) -> Result<Self, SleepError> {
        let mut sleeper = Sleeper::new()?;
        let mut descriptors = Vec::new();
        queue.wake_descriptors(&mut descriptors);
        descriptors.into_iter().try_for_each(|descriptor| sleeper.add(descriptor))?;
        Ok(Self { mode, sleeper, busy_at: Timestamp::default() })
    }

    /// What ends a sleep from another thread.
    #[must_use]
    pub fn waker(&self) -> Waker {
        self.sleeper.waker()
    }

    /// There was something to do.
    #[inline]
    pub fn busy(&mut self, now: Timestamp) {
        self.busy_at = now;
    }

    /// There was nothing to do, and nothing but a completion will be before `until`; not even that if the queue is idle.
    pub fn rest(
        &mut self,
        queue: &mut dyn BlockQueue,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<(), SleepError> {
        let spins = match self.mode {
            PollMode::Always => true,
            PollMode::Adaptive => queue.in_flight() > 0 && now.ns_since(self.busy_at) < SPIN_NS_MAX,
            PollMode::Interrupt => false,
        };
        if spins || until.ns_since(now) < SLEEP_NS_MIN {
            // With several in flight nothing is lost by looking a little later, and whoever shares the processor gains. With
            // one, everybody waits for it; and a guest may pay for a pause with an exit: QEMU's emulation leaves its loop
            // and takes the lock under which it serves the drive.
            if queue.in_flight() > 1 {
                std::hint::spin_loop();
            }
            return Ok(());
        }
        match queue.prepare_wait(now) {
            // Whoever is to complete our I/O may need this processor.
            Wait::Poll => std::thread::yield_now(),
            Wait::Until(poll_at) => {
                let until = until.min(poll_at).min(now.after_ns(SLEEP_NS_MAX));
                self.sleeper.sleep_until(now, until)?;
            }
        }
        Ok(())
    }
}
