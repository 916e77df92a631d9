//! What an attachment has done, for whoever asks.

use std::sync::atomic::{AtomicU64, Ordering};

/// Numbers that one thread adds to and others read.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) clients: AtomicU64,
    pub(super) accepted: AtomicU64,
    pub(super) reads: AtomicU64,
    pub(super) read_bytes: AtomicU64,
    pub(super) writes: AtomicU64,
    pub(super) written_bytes: AtomicU64,
    pub(super) flushes: AtomicU64,
    pub(super) errors: AtomicU64,
    pub(super) unaligned: AtomicU64,
    pub(super) copied_bytes: AtomicU64,
}

/// What an attachment has done since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Connections now.
    pub clients: u64,
    /// Connections there have been.
    pub accepted: u64,
    /// Reads that succeeded.
    pub reads: u64,
    /// Bytes that they read.
    pub read_bytes: u64,
    /// Writes that were acknowledged.
    pub writes: u64,
    /// Bytes that they wrote.
    pub written_bytes: u64,
    /// Flushes that succeeded.
    pub flushes: u64,
    /// Commands that were answered with an error.
    pub errors: u64,
    /// Commands that did not begin and end at blocks.
    pub unaligned: u64,
    /// Bytes of data that were copied between the socket and the device's memory by this program: those of small writes, which
    /// come in one call with the commands around them, and those of parts of blocks.
    pub copied_bytes: u64,
}

/// Adds to a number that nobody else adds to.
#[inline]
pub(super) fn add(counter: &AtomicU64, more: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
}

impl Counters {
    pub(super) fn status(&self) -> Status {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Status {
            clients: of(&self.clients),
            accepted: of(&self.accepted),
            reads: of(&self.reads),
            read_bytes: of(&self.read_bytes),
            writes: of(&self.writes),
            written_bytes: of(&self.written_bytes),
            flushes: of(&self.flushes),
            errors: of(&self.errors),
            unaligned: of(&self.unaligned),
            copied_bytes: of(&self.copied_bytes),
        }
    }
}
