//! How long answers take.

/// An answer is not missed sooner, however quick the peer was so far: its process may have been put aside.
const TIMEOUT_NS_MIN: u64 = 1_000_000;
/// Before anything is known.
const TIMEOUT_NS_INITIAL: u64 = 20_000_000;

/// A smoothed round trip time with its deviation, as RFC 6298 has it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rtt {
    smoothed_ns: u64,
    deviation_ns: u64,
}

impl Rtt {
    /// Takes a measurement in. It must be of a packet that was sent once.
    #[inline]
    pub(super) fn measured(&mut self, ns: u64) {
        if self.smoothed_ns == 0 {
            (self.smoothed_ns, self.deviation_ns) = (ns.max(1), ns / 2);
            return;
        }
        let error = self.smoothed_ns.abs_diff(ns);
        self.deviation_ns = self.deviation_ns - self.deviation_ns / 4 + error / 4;
        self.smoothed_ns = (self.smoothed_ns - self.smoothed_ns / 8 + ns / 8).max(1);
    }

    /// The round trip, 0 before it was measured.
    #[inline]
    pub(super) const fn smoothed_ns(&self) -> u64 {
        self.smoothed_ns
    }

    /// After how long an answer is missed.
    #[inline]
    pub(super) fn timeout_ns(&self) -> u64 {
        match self.smoothed_ns {
            0 => TIMEOUT_NS_INITIAL,
            smoothed => (smoothed + 4 * self.deviation_ns).max(TIMEOUT_NS_MIN),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_peer_has_twenty_milliseconds() {
        assert_eq!(Rtt::default().timeout_ns(), 20_000_000);
    }

    #[test]
    fn a_quick_peer_has_a_millisecond_and_a_slow_one_what_it_takes() {
        let mut rtt = Rtt::default();
        (0..50).for_each(|_| rtt.measured(10_000));
        assert_eq!(rtt.timeout_ns(), 1_000_000);
        (0..100).for_each(|_| rtt.measured(8_000_000));
        assert!((7_900_000..8_500_000).contains(&rtt.timeout_ns()), "{rtt:?}");
    }

    #[test]
    fn the_first_measurement_counts_whole() {
        let mut rtt = Rtt::default();
        rtt.measured(4_000_000);
        assert_eq!((rtt.smoothed_ns(), rtt.timeout_ns()), (4_000_000, 12_000_000));
    }
}
