//! Latencies: moments and a histogram.

use hdrhistogram::Histogram;

use super::moments::Moments;

/// Longest latency that is told apart from longer ones: an hour.
const LATENCY_NS_MAX: u64 = 3_600_000_000_000;

/// Decimal digits that are told apart: one in a hundred, somewhat finer than fio's one in 64. More would cost cache.
const DIGITS: u8 = 2;

/// The percentiles of fio's reports.
pub const PERCENTILES: [f64; 17] =
    [1.0, 5.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0, 95.0, 99.0, 99.5, 99.9, 99.95, 99.99];

/// Upper ends of fio's classes in nanoseconds and microseconds; each class is what is below its end and no earlier one.
pub const CLASSES: [u64; 10] = [2, 4, 10, 20, 50, 100, 250, 500, 750, 1000];

/// Upper ends of fio's classes in milliseconds, before the open one.
pub const CLASSES_MS: [u64; 11] = [2, 4, 10, 20, 50, 100, 250, 500, 750, 1000, 2000];

/// Latencies in nanoseconds.
#[derive(Clone, Debug)]
pub struct Latency {
    moments: Moments,
    histogram: Histogram<u64>,
}

/// How many latencies fall into each class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Classes {
    /// Below a microsecond.
    pub ns: [u64; 10],
    /// Below a millisecond.
    pub us: [u64; 10],
    /// The others; the last class is open.
    pub ms: [u64; 12],
}

impl Default for Latency {
    #[allow(clippy::unwrap_used, reason = "hdrhistogram takes these constants, as every test shows")]
    fn default() -> Self {
        let histogram = Histogram::new_with_bounds(1, LATENCY_NS_MAX, DIGITS).unwrap();
        Self { moments: Moments::default(), histogram }
    }
}

impl Latency {
    /// Notes a latency that came `count` times.
    #[inline]
    pub fn record(&mut self, latency_ns: u64, count: u64) {
        self.moments.record(latency_ns, count);
        self.histogram.saturating_record_n(latency_ns, count);
    }

    /// Adds another's.
    pub fn add(&mut self, other: &Self) {
        self.moments.add(&other.moments);
        // Both have the same bounds, the only thing that could be refused.
        let added = self.histogram.add(&other.histogram);
        debug_assert!(added.is_ok(), "histograms of the same bounds add up");
    }

    /// Count, extremes, mean, deviation.
    #[must_use]
    pub fn moments(&self) -> &Moments {
        &self.moments
    }

    /// The latency that this percentage of all does not exceed; 0 if there are none.
    #[must_use]
    pub fn percentile(&self, percent: f64) -> u64 {
        self.histogram.value_at_percentile(percent).min(self.moments.max())
    }

    /// The classes of fio's reports.
    #[must_use]
    pub fn classes(&self) -> Classes {
        let mut classes = Classes::default();
        for (value_ns, count) in self.counts() {
            classes.note(value_ns, count);
        }
        classes
    }

    /// The recorded latencies, rounded, and how often each came.
    pub fn counts(&self) -> impl Iterator<Item = (u64, u64)> {
        self.histogram.iter_recorded().map(|step| (step.value_iterated_to(), step.count_at_value()))
    }
}

impl Classes {
    fn note(&mut self, value_ns: u64, count: u64) {
        let class = |ends: &[u64], value| ends.iter().take_while(|end| value >= **end).count();
        match value_ns {
            0..1_000 => self.ns[class(&CLASSES, value_ns)] += count,
            1_000..1_000_000 => self.us[class(&CLASSES, value_ns / 1_000)] += count,
            _ => self.ms[class(&CLASSES_MS, value_ns / 1_000_000)] += count,
        }
    }

    /// Adds another's.
    pub fn add(&mut self, other: &Self) {
        let sum = |into: &mut [u64], from: &[u64]| into.iter_mut().zip(from).for_each(|(a, b)| *a += b);
        sum(&mut self.ns, &other.ns);
        sum(&mut self.us, &other.us);
        sum(&mut self.ms, &other.ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_right_to_a_hundredth() {
        let mut latency = Latency::default();
        (1..=100_000u64).for_each(|at| latency.record(at * 10, 1));
        for (percent, exact) in [(1.0, 10_000u64), (50.0, 500_000), (99.0, 990_000), (99.99, 999_900)] {
            let found = latency.percentile(percent);
            assert!(found.abs_diff(exact) <= exact / 100, "{percent}: {found} for {exact}");
        }
        assert_eq!(latency.moments().max(), 1_000_000);
        assert_eq!(latency.percentile(100.0), 1_000_000);
        assert_eq!(Latency::default().percentile(50.0), 0);
    }

    #[test]
    fn nothing_is_too_long() {
        let mut latency = Latency::default();
        latency.record(u64::MAX, 1);
        latency.record(0, 2);
        assert_eq!(latency.counts().map(|(_, count)| count).sum::<u64>(), 3);
    }

    #[test]
    fn classes_are_fios() {
        let mut classes = Classes::default();
        for value_ns in [0, 1, 2, 999, 1_000, 1_999, 2_000, 999_999, 1_000_000, 1_999_999_999, 2_000_000_000]
        {
            classes.note(value_ns, 1);
        }
        assert_eq!(classes.ns, [2, 1, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(classes.us, [2, 1, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(classes.ms, [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1]);
    }
}
