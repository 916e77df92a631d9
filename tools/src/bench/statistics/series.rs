//! I/O counted in equal intervals: where the minimum and maximum of IOPS and bandwidth come from.

use super::moments::Moments;

/// Nanoseconds of an interval, as fio's bwavgtime and iopsavgtime.
pub const INTERVAL_NS: u64 = 500_000_000;

/// Most intervals that are kept: six days.
const INTERVALS_MAX: usize = 1 << 20;

/// Completed I/O by interval, counted from the start of the measurement.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Series {
    ios: Vec<u64>,
}

impl Series {
    /// Notes `ios` that completed `at_ns` after the start.
    #[inline]
    pub fn record(&mut self, at_ns: u64, ios: u64) {
        let interval = usize::try_from(at_ns / INTERVAL_NS).unwrap_or(usize::MAX);
        if interval >= self.ios.len() {
            if interval >= INTERVALS_MAX {
                return;
            }
            self.ios.resize(interval + 1, 0);
        }
        self.ios[interval] += ios;
    }

    /// Adds another's, which began at the same time.
    pub fn add(&mut self, other: &Self) {
        self.ios.resize(self.ios.len().max(other.ios.len()), 0);
        self.ios.iter_mut().zip(&other.ios).for_each(|(a, b)| *a += b);
    }

    /// Amounts a second, each I/O counting `weight_bytes` / `unit_bytes`: one sample for each whole interval of a run of
    /// `runtime_ns`, or one for all of a shorter run; none if there was no I/O. Ones for both: IOPS.
    #[must_use]
    pub fn rates(&self, runtime_ns: u64, weight_bytes: u64, unit_bytes: u64) -> Moments {
        let mut samples = Moments::default();
        if self.ios.is_empty() {
            return samples;
        }
        let rate = |ios: u64, during_ns: u64| {
            let amount = u128::from(ios) * u128::from(weight_bytes) * 1_000_000_000;
            u64::try_from(amount / u128::from(unit_bytes) / u128::from(during_ns)).unwrap_or(u64::MAX)
        };
        let whole = usize::try_from(runtime_ns / INTERVAL_NS).unwrap_or(usize::MAX).min(INTERVALS_MAX);
        if whole == 0 {
            samples.record(rate(self.ios.iter().sum(), runtime_ns.max(1)), 1);
        }
        for interval in 0..whole {
            samples.record(rate(self.ios.get(interval).copied().unwrap_or(0), INTERVAL_NS), 1);
        }
        samples
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND_NS: u64 = 1_000_000_000;

    #[test]
    fn whole_intervals_are_samples_silent_ones_too() {
        let mut series = Series::default();
        series.record(0, 10);
        series.record(INTERVAL_NS - 1, 10);
        series.record(2 * INTERVAL_NS, 60);
        let iops = series.rates(3 * INTERVAL_NS + 1, 1, 1);
        assert_eq!((iops.count(), iops.min(), iops.max(), iops.mean()), (3, 0, 120, 160.0 / 3.0));
        let kib = series.rates(3 * INTERVAL_NS, 4096, 1024);
        assert_eq!((kib.min(), kib.max()), (0, 480));
    }

    #[test]
    fn a_short_run_is_one_sample_and_none_is_none() {
        let mut series = Series::default();
        assert_eq!(series.rates(SECOND_NS, 1, 1).count(), 0);
        series.record(1, 7);
        let iops = series.rates(SECOND_NS / 10, 1, 1);
        assert_eq!((iops.count(), iops.min(), iops.max()), (1, 70, 70));
    }

    #[test]
    fn jobs_add_up_by_interval() {
        let (mut a, mut b) = (Series::default(), Series::default());
        a.record(0, 1);
        b.record(INTERVAL_NS, 2);
        a.add(&b);
        assert_eq!(a.ios, [1, 2]);
        a.record(u64::MAX, 1);
        assert_eq!(a.ios.len(), 2);
    }
}
