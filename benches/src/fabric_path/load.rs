//! Loads, and what is measured of them.

use std::time::Duration;

/// Which way the data goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// To the host.
    Read,
    /// To the target.
    Write,
}

impl Direction {
    /// A word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
        }
    }
}

/// A load: random places, all I/Os alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Which way.
    pub direction: Direction,
    /// Bytes of an I/O.
    pub bytes: u32,
    /// I/Os at once.
    pub depth: u32,
}

const fn load(direction: Direction, bytes: u32, depth: u32) -> Load {
    Load { direction, bytes, depth }
}

/// What is measured.
pub const LOADS: [Load; 8] = [
    load(Direction::Read, 4096, 1),
    load(Direction::Read, 4096, 32),
    load(Direction::Read, 4096, 128),
    load(Direction::Write, 4096, 1),
    load(Direction::Write, 4096, 32),
    load(Direction::Write, 4096, 128),
    load(Direction::Read, 128 << 10, 32),
    load(Direction::Write, 128 << 10, 32),
];

/// What came of a run.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    /// I/Os a second.
    pub iops: f64,
    /// 2^20 bytes a second.
    pub mebibytes_a_second: f64,
    /// The median of an I/O's time.
    pub p50_us: f64,
    /// 99 of 100 take no longer.
    pub p99_us: f64,
}

impl Measured {
    /// Of the time that each I/O took, and the whole run.
    #[allow(clippy::cast_precision_loss, reason = "counts and times of a short run are far below 2^52")]
    pub fn of(load: Load, mut each_ns: Vec<u64>, whole: Duration) -> Self {
        each_ns.sort_unstable();
        let at = |percent: usize| {
            each_ns.get(each_ns.len() * percent / 100).map_or(f64::NAN, |ns| *ns as f64 / 1000.0)
        };
        let iops = each_ns.len() as f64 / whole.as_secs_f64();
        let mebibytes_a_second = iops * f64::from(load.bytes) / f64::from(1 << 20);
        Self { iops, mebibytes_a_second, p50_us: at(50), p99_us: at(99) }
    }
}
