//! The keep-alive timer (Base, Keep Alive). Command based: TBKAS is not claimed, since I/O commands do not touch it.

use std::time::Duration;

use block::Timestamp;

/// KAS: the timer's granularity, 100 ms.
pub(super) const GRANULARITY_UNITS: u16 = 1;

const GRANULARITY_MS: u32 = 100;

/// When a host that is not heard of counts as gone.
#[derive(Debug)]
pub(super) struct KeepAlive {
    /// KATO as the host said it; 0 is no timer.
    timeout_ms: u32,
    /// What holds for a host that wants no timer.
    idle_max: Option<Duration>,
    deadline: Timestamp,
}

impl KeepAlive {
    pub(super) fn new(now: Timestamp, timeout_ms: u32, idle_max: Option<Duration>) -> Self {
        let mut timer = Self { timeout_ms, idle_max, deadline: Timestamp::NEVER };
        timer.restart(now);
        timer
    }

    pub(super) const fn timeout_ms(&self) -> u32 {
        self.timeout_ms
    }

    pub(super) const fn deadline(&self) -> Timestamp {
        self.deadline
    }

    /// Feature 0Fh was set.
    pub(super) fn set(&mut self, now: Timestamp, timeout_ms: u32) {
        self.timeout_ms = timeout_ms;
        self.restart(now);
    }

    /// The host was heard of. KATO is rounded up to the granularity.
    pub(super) fn restart(&mut self, now: Timestamp) {
        let rounded = u64::from(self.timeout_ms.div_ceil(GRANULARITY_MS)) * u64::from(GRANULARITY_MS);
        let timeout = if rounded == 0 { self.idle_max } else { Some(Duration::from_millis(rounded)) };
        self.deadline = timeout.map_or(Timestamp::NEVER, |timeout| now.after(timeout));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kato_is_in_milliseconds_and_rounded_up_to_the_granularity() {
        let now = Timestamp::from_ns(7);
        let deadline = |ms| KeepAlive::new(now, ms, None).deadline();
        assert_eq!(deadline(5000), now.after(Duration::from_secs(5)));
        assert_eq!(deadline(1), now.after(Duration::from_millis(100)));
        assert_eq!(deadline(0), Timestamp::NEVER);
        let idle = Some(Duration::from_secs(120));
        assert_eq!(KeepAlive::new(now, 0, idle).deadline(), now.after(Duration::from_secs(120)));
    }
}
