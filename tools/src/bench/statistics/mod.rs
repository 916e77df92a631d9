//! What a job measures, and how several jobs add up.

mod depth;
mod latency;
mod moments;
mod series;

use block::Timestamp;

pub use depth::Depths;
pub use latency::{CLASSES, CLASSES_MS, Classes, Latency, PERCENTILES};
pub use moments::Moments;
pub use series::Series;

use super::workload::Direction;

/// One direction's numbers.
#[derive(Clone, Debug, Default)]
pub struct DirectionStatistics {
    /// From when the I/O was made to when it was submitted.
    pub submission: Latency,
    /// From when it was submitted to when it was found completed.
    pub completion: Latency,
    /// Both together.
    pub total: Latency,
    /// Completed I/O in equal intervals.
    pub series: Series,
    /// Completed I/O.
    pub ios: u64,
    /// How long was measured; 0 if there was no such I/O.
    pub runtime_ns: u64,
}

/// A job's numbers, or several jobs'.
#[derive(Clone, Debug, Default)]
pub struct Statistics {
    /// By [`Direction`].
    pub directions: [DirectionStatistics; 3],
    /// Flushes, from submit to completion.
    pub sync: Latency,
    /// Depths and batches.
    pub depths: Depths,
    /// How long was measured, of all jobs together.
    pub job_runtime_ns: u64,
    /// I/O that failed, ramp time included.
    pub failed_ios: u64,
}

/// Gathers a job's numbers.
#[derive(Debug)]
pub struct Recorder {
    statistics: Statistics,
    start: Timestamp,
    /// Completions with the same times, not yet noted.
    pending: Pending,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pending {
    direction: Direction,
    made: Timestamp,
    submitted: Timestamp,
    count: u64,
}

impl Recorder {
    /// Begins to measure.
    #[must_use]
    pub fn new(start: Timestamp) -> Self {
        let pending = Pending { direction: Direction::Read, made: start, submitted: start, count: 0 };
        Self { statistics: Statistics::default(), start, pending }
    }

    /// Forgets all but failures and begins anew.
    pub fn restart(&mut self, start: Timestamp) {
        let failed_ios = self.statistics.failed_ios;
        *self = Self::new(start);
        self.statistics.failed_ios = failed_ios;
    }

    /// Since when it measures.
    #[must_use]
    pub fn start(&self) -> Timestamp {
        self.start
    }

    /// Notes that I/O was submitted at once.
    #[inline]
    pub fn submitted(&mut self, ios: usize, in_flight: usize) {
        self.statistics.depths.submitted(ios, in_flight);
    }

    /// Notes a completion; `now` is the same until [`Self::close`]. I/O that was submitted together and is found completed together has the same latency, so it
    /// is noted together.
    #[inline]
    pub fn completed(&mut self, direction: Direction, made: Timestamp, submitted: Timestamp, now: Timestamp) {
        let next = Pending { direction, made, submitted, count: self.pending.count };
        if next != self.pending {
            self.note_pending(now);
            self.pending = Pending { count: 0, ..next };
        }
        self.pending.count += 1;
    }

    /// Notes a completed flush.
    pub fn synced(&mut self, submitted: Timestamp, now: Timestamp) {
        self.statistics.sync.record(now.ns_since(submitted), 1);
    }

    /// Notes a failed I/O.
    pub fn failed(&mut self) {
        self.statistics.failed_ios += 1;
    }

    /// How many I/O failed.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.statistics.failed_ios
    }

    /// All completions of a poll were noted.
    #[inline]
    pub fn close(&mut self, completions: usize, now: Timestamp) {
        self.note_pending(now);
        self.statistics.depths.completed(completions);
    }

    /// Completed I/O by direction.
    #[inline]
    #[must_use]
    pub fn ios(&self) -> [u64; 3] {
        Direction::ALL.map(|direction| self.statistics.directions[direction.index()].ios)
    }

    /// The numbers.
    #[must_use]
    pub fn finish(mut self, now: Timestamp) -> Statistics {
        let runtime_ns = now.ns_since(self.start);
        self.statistics.job_runtime_ns = runtime_ns;
        for direction in self.statistics.directions.iter_mut().filter(|direction| direction.ios > 0) {
            direction.runtime_ns = runtime_ns;
        }
        self.statistics
    }

    #[inline]
    fn note_pending(&mut self, now: Timestamp) {
        let Pending { direction, made, submitted, count } = self.pending;
        if count == 0 {
            return;
        }
        self.pending.count = 0;
        let at_ns = now.ns_since(self.start);
        let direction = &mut self.statistics.directions[direction.index()];
        direction.submission.record(submitted.ns_since(made), count);
        direction.completion.record(now.ns_since(submitted), count);
        direction.total.record(now.ns_since(made), count);
        direction.series.record(at_ns, count);
        direction.ios += count;
    }
}

impl DirectionStatistics {
    /// So much in the runtime, for a second; 0 in no time.
    #[must_use]
    pub fn rate(&self, amount: u64) -> u64 {
        let rate = u128::from(amount) * 1_000_000_000 / u128::from(self.runtime_ns.max(1));
        if self.runtime_ns == 0 { 0 } else { u64::try_from(rate).unwrap_or(u64::MAX) }
    }
}

impl Statistics {
    /// Adds another job's, which began at the same time.
    pub fn add(&mut self, other: &Self) {
        for (into, from) in self.directions.iter_mut().zip(&other.directions) {
            into.submission.add(&from.submission);
            into.completion.add(&from.completion);
            into.total.add(&from.total);
            into.series.add(&from.series);
            into.ios += from.ios;
            into.runtime_ns = into.runtime_ns.max(from.runtime_ns);
        }
        self.sync.add(&other.sync);
        self.depths.add(&other.depths);
        self.job_runtime_ns += other.job_runtime_ns;
        self.failed_ios += other.failed_ios;
    }

    /// I/O of all directions.
    #[must_use]
    pub fn ios(&self) -> u64 {
        self.directions.iter().map(|direction| direction.ios).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ns: u64) -> Timestamp {
        Timestamp::from_ns(ns)
    }

    #[test]
    fn completions_of_one_batch_are_noted_together_and_right() {
        let mut recorder = Recorder::new(at(1000));
        for _ in 0..3 {
            recorder.completed(Direction::Read, at(1100), at(1110), at(1500));
        }
        recorder.completed(Direction::Write, at(1100), at(1110), at(1500));
        recorder.completed(Direction::Read, at(1200), at(1230), at(1500));
        recorder.close(5, at(1500));
        assert_eq!(recorder.ios(), [4, 1, 0]);
        let statistics = recorder.finish(at(2000));
        let read = &statistics.directions[0];
        let clat = read.completion.moments();
        assert_eq!((clat.count(), clat.min(), clat.max()), (4, 270, 390));
        assert_eq!((read.submission.moments().max(), read.total.moments().max()), (30, 400));
        assert_eq!((read.runtime_ns, statistics.job_runtime_ns), (1000, 1000));
        assert_eq!(statistics.depths.complete, [0, 0, 1, 0, 0, 0, 0]);
    }

    #[test]
    fn a_ramp_leaves_nothing_but_failures() {
        let mut recorder = Recorder::new(at(0));
        recorder.failed();
        recorder.completed(Direction::Read, at(1), at(2), at(3));
        recorder.close(1, at(3));
        recorder.restart(at(10));
        assert_eq!((recorder.ios(), recorder.start()), ([0; 3], at(10)));
        assert_eq!(recorder.finish(at(20)).failed_ios, 1);
    }

    #[test]
    fn jobs_add_up() {
        let job = |done| {
            let mut recorder = Recorder::new(at(0));
            recorder.completed(Direction::Write, at(0), at(1), at(done));
            recorder.synced(at(1), at(5));
            recorder.close(1, at(done));
            recorder.finish(at(1000))
        };
        let mut sum = job(10);
        sum.add(&job(30));
        assert_eq!((sum.ios(), sum.job_runtime_ns, sum.sync.moments().count()), (2, 2000, 2));
        assert_eq!((sum.directions[1].runtime_ns, sum.directions[1].total.moments().max()), (1000, 30));
    }
}
