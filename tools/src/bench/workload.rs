//! The sequence of I/O of a job: the same for the same seed.

use block::{BlockRange, Lba};

use super::options::{BenchOptions, Rw};
use super::rng::{SplitMix64, mix};
use super::shuffle::Shuffle;

/// What an I/O does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Read.
    Read = 0,
    /// Write.
    Write = 1,
    /// Discard.
    Trim = 2,
}

impl Direction {
    /// All.
    pub const ALL: [Self; 3] = [Self::Read, Self::Write, Self::Trim];

    /// For a table of three.
    #[inline]
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// One I/O.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Io {
    /// What.
    pub direction: Direction,
    /// Where.
    pub range: BlockRange,
}

/// A job's sequence. Reads and writes each have positions of their own, so that in a random mix reads come upon blocks
/// that were written; in a sequential mix both run through the area beside each other.
#[derive(Clone, Debug)]
pub struct Workload {
    area: BlockRange,
    io_blocks: u64,
    mix: Mix,
    reads: Positions,
    changes: Positions,
}

#[derive(Clone, Debug)]
enum Mix {
    Only(Direction),
    Reads { percent: u64, rng: SplitMix64 },
}

#[derive(Clone, Debug)]
enum Positions {
    Sequential { next: u64, count: u64 },
    Shuffled { next: u64, count: u64, seed: u64, pass: u64, shuffle: Shuffle },
    Independent { count: u64, rng: SplitMix64 },
}

impl Workload {
    /// The sequence of a job over `area`, which has room for at least one I/O of `io_blocks`.
    #[must_use]
    pub fn new(options: &BenchOptions, area: BlockRange, io_blocks: u32, job: u32) -> Self {
        let seed = mix(options.randseed ^ mix(u64::from(job)));
        let io_blocks = u64::from(io_blocks);
        let count = area.blocks / io_blocks;
        let positions = |stream: u64| Positions::new(options, count, mix(seed ^ stream));
        Self {
            area,
            io_blocks,
            mix: Mix::new(options, mix(seed)),
            reads: positions(1),
            changes: positions(2),
        }
    }

    /// The next I/O.
    #[inline]
    pub fn next_io(&mut self) -> Io {
        let direction = self.mix.next();
        let positions = if direction == Direction::Read { &mut self.reads } else { &mut self.changes };
        let start = Lba(self.area.start.0 + positions.next() * self.io_blocks);
        Io { direction, range: BlockRange::new(start, self.io_blocks) }
    }
}

impl Mix {
    fn new(options: &BenchOptions, seed: u64) -> Self {
        match options.rw {
            Rw::Read | Rw::RandRead => Self::Only(Direction::Read),
            Rw::Write | Rw::RandWrite => Self::Only(Direction::Write),
            Rw::Trim | Rw::RandTrim => Self::Only(Direction::Trim),
            Rw::Rw | Rw::RandRw => {
                Self::Reads { percent: u64::from(options.rwmixread), rng: SplitMix64::new(seed) }
            }
        }
    }

    #[inline]
    fn next(&mut self) -> Direction {
        match self {
            Self::Only(direction) => *direction,
            Self::Reads { percent, rng } => {
                if rng.below(100) < *percent {
                    Direction::Read
                } else {
                    Direction::Write
                }
            }
        }
    }
}

impl Positions {
    fn new(options: &BenchOptions, count: u64, seed: u64) -> Self {
        if !options.rw.is_random() {
            Self::Sequential { next: 0, count }
        } else if options.norandommap {
            Self::Independent { count, rng: SplitMix64::new(seed) }
        } else {
            Self::Shuffled { next: 0, count, seed, pass: 0, shuffle: Shuffle::new(count, seed, 0) }
        }
    }

    #[inline]
    fn next(&mut self) -> u64 {
        match self {
            Self::Sequential { next, count } => {
                let position = *next;
                *next = if position + 1 == *count { 0 } else { position + 1 };
                position
            }
            Self::Shuffled { next, count, seed, pass, shuffle } => {
                if next == count {
                    *pass += 1;
                    *next = 0;
                    *shuffle = Shuffle::new(*count, *seed, *pass);
                }
                *next += 1;
                shuffle.at(*next - 1)
            }
            Self::Independent { count, rng } => rng.below(*count),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::test_support::options;

    const AREA: BlockRange = BlockRange::new(Lba(100), 67);

    fn take(arguments: &str, job: u32, count: usize) -> Vec<Io> {
        let mut workload = Workload::new(&options("mem:1MiB", arguments), AREA, 8, job);
        (0..count).map(|_| workload.next_io()).collect()
    }

    fn starts(ios: &[Io]) -> Vec<u64> {
        ios.iter().map(|io| io.range.start.0).collect()
    }

    #[test]
    fn a_sequence_runs_through_the_whole_positions_and_begins_anew() {
        let ios = take("--rw write", 0, 10);
        assert_eq!(starts(&ios), [100, 108, 116, 124, 132, 140, 148, 156, 100, 108]);
        assert!(ios.iter().all(|io| io.direction == Direction::Write && io.range.blocks == 8));
    }

    #[test]
    fn random_positions_come_once_in_each_pass_and_in_another_order_in_the_next() {
        let ios = starts(&take("--rw randread", 0, 16));
        let sorted = |part: &[u64]| {
            let mut part = part.to_vec();
            part.sort_unstable();
            part
        };
        let all: Vec<u64> = (0..8).map(|at| 100 + at * 8).collect();
        assert_eq!((sorted(&ios[..8]), sorted(&ios[8..])), (all.clone(), all));
        assert_ne!(ios[..8], ios[8..]);
    }

    #[test]
    fn without_the_map_positions_repeat() {
        let mut ios = starts(&take("--rw randread --norandommap", 0, 8));
        ios.sort_unstable();
        ios.dedup();
        assert!(ios.len() < 8);
    }

    #[test]
    fn the_seed_and_the_job_tell_the_sequence() {
        let seeded = |seed: u64, job| take(&format!("--rw randrw --randseed {seed}"), job, 50);
        assert_eq!(seeded(1, 0), seeded(1, 0));
        assert_ne!(seeded(1, 0), seeded(2, 0));
        assert_ne!(seeded(1, 0), seeded(1, 1));
    }

    #[test]
    fn the_mix_is_as_asked() {
        let reads = |percent: u8| {
            let ios = take(&format!("--rw randrw --rwmixread {percent}"), 0, 10_000);
            ios.iter().filter(|io| io.direction == Direction::Read).count()
        };
        assert_eq!((reads(0), reads(100)), (0, 10_000));
        assert!((6_700..7_300).contains(&reads(70)));
    }
}
