//! What a reactor counts: written by it alone, without locks or atomic read-modify-writes, and read by anybody.

use std::array::from_fn;
use std::sync::atomic::{AtomicU64, Ordering};

use block::{Op, Timestamp};

use crate::engine::{IoCounters, LATENCY_BUCKETS, LatencyHistogram, ReactorView};

const NS_PER_US: u64 = 1000;

/// A number that one thread writes.
#[derive(Debug, Default)]
pub(crate) struct Cell(AtomicU64);

impl Cell {
    /// Only the owner may call this: another's addition in between would be lost.
    #[inline]
    pub(crate) fn add(&self, more: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[derive(Debug)]
struct LatencyCells {
    counts: [Cell; LATENCY_BUCKETS],
    sum_ns: Cell,
}

impl Default for LatencyCells {
    fn default() -> Self {
        Self { counts: from_fn(|_| Cell::default()), sum_ns: Cell::default() }
    }
}

impl LatencyCells {
    #[inline]
    fn add(&self, latency_ns: u64) {
        self.counts[bucket(latency_ns)].add(1);
        self.sum_ns.add(latency_ns);
    }

    fn read(&self) -> LatencyHistogram {
        LatencyHistogram { counts: from_fn(|index| self.counts[index].get()), sum_ns: self.sum_ns.get() }
    }
}

/// Which bucket: the number of bits of the whole microseconds.
#[inline]
fn bucket(latency_ns: u64) -> usize {
    let bits = u64::BITS - (latency_ns / NS_PER_US).leading_zeros();
    (bits as usize).min(LATENCY_BUCKETS - 1)
}

/// What one reactor counts for one namespace or host. On cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(crate) struct Cells {
    reads: Cell,
    writes: Cell,
    flushes: Cell,
    others: Cell,
    read_bytes: Cell,
    written_bytes: Cell,
    errors: Cell,
    read_latency: LatencyCells,
    write_latency: LatencyCells,
}

impl Cells {
    /// A command has ended.
    #[inline]
    pub(crate) fn ended(&self, op: Op, bytes: u64, latency_ns: u64, is_good: bool) {
        let counted = if is_good { bytes } else { 0 };
        match op {
            Op::Read => {
                self.reads.add(1);
                self.read_bytes.add(counted);
                self.read_latency.add(latency_ns);
            }
            Op::Write { .. } => {
                self.writes.add(1);
                self.written_bytes.add(counted);
                self.write_latency.add(latency_ns);
            }
            Op::Flush => self.flushes.add(1),
            _ => self.others.add(1),
        }
        if !is_good {
            self.errors.add(1);
        }
    }

    pub(crate) fn read(&self) -> IoCounters {
        IoCounters {
            reads: self.reads.get(),
            writes: self.writes.get(),
            flushes: self.flushes.get(),
            others: self.others.get(),
            read_bytes: self.read_bytes.get(),
            written_bytes: self.written_bytes.get(),
            errors: self.errors.get(),
            read_latency: self.read_latency.read(),
            write_latency: self.write_latency.read(),
        }
    }
}

/// What a reactor tells of itself now and then. On cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(crate) struct Gauges {
    pub(super) connections: Cell,
    pub(super) buffer_bytes: Cell,
    pub(super) buffer_bytes_free: Cell,
    pub(super) waiting: Cell,
    pub(super) waited: Cell,
    pub(super) read_bytes: Cell,
    pub(super) in_devices: Cell,
    pub(super) bytes_copied: Cell,
    pub(super) refused: Cell,
    pub(super) violations: Cell,
    pub(super) sleeps: Cell,
    looked_at_ns: Cell,
}

impl Gauges {
    /// The reactor has taken in what had arrived by then.
    #[inline]
    pub(crate) fn look(&self, at: Timestamp) {
        self.looked_at_ns.set(at.as_ns());
    }

    /// What had arrived by then has been taken in.
    pub(crate) fn looked_at(&self) -> Timestamp {
        Timestamp::from_ns(self.looked_at_ns.get())
    }
}

impl From<&Gauges> for ReactorView {
    fn from(gauges: &Gauges) -> Self {
        Self {
            connections: gauges.connections.get(),
            buffer_bytes: gauges.buffer_bytes.get(),
            buffer_bytes_free: gauges.buffer_bytes_free.get(),
            waiting: gauges.waiting.get(),
            waited: gauges.waited.get(),
            read_bytes: gauges.read_bytes.get(),
            in_devices: gauges.in_devices.get(),
            bytes_copied: gauges.bytes_copied.get(),
            refused: gauges.refused.get(),
            violations: gauges.violations.get(),
            sleeps: gauges.sleeps.get(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_powers_of_two_of_microseconds() {
        for (ns, index) in [(0, 0), (999, 0), (1000, 1), (1999, 1), (2000, 2), (4000, 3), (1_048_576_000, 21)]
        {
            assert_eq!(bucket(ns), index, "{ns} ns");
            assert!(LatencyHistogram::bucket_end_us(index).unwrap() * 1000 > ns);
        }
        assert_eq!(bucket(u64::MAX), LATENCY_BUCKETS - 1);
    }

    #[test]
    fn failed_commands_move_no_bytes() {
        let cells = Cells::default();
        cells.ended(Op::Read, 4096, 1500, true);
        cells.ended(Op::Write { fua: true }, 512, 10, false);
        cells.ended(Op::Flush, 0, 10, true);
        cells.ended(Op::Discard, 0, 10, true);
        let read = cells.read();
        assert_eq!((read.reads, read.writes, read.flushes, read.others, read.errors), (1, 1, 1, 1, 1));
        assert_eq!((read.read_bytes, read.written_bytes), (4096, 0));
        assert_eq!(
            (read.read_latency.count(), read.read_latency.counts[1], read.read_latency.sum_ns),
            (1, 1, 1500)
        );
    }
}
