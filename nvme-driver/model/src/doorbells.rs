//! Doorbell writes: the only thing that a host does to the controller without a lock.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use nvme_spec::QueueId;
use nvme_spec::registers::{Doorbell, DoorbellStride};

/// A slot for each doorbell, and a bit for each queue whose doorbells were written and not yet looked at.
///
/// Only the last value of a doorbell is kept. That is what a controller sees which looks late.
#[derive(Debug)]
pub(crate) struct Doorbells {
    stride: DoorbellStride,
    values: Box<[AtomicU32]>,
    written: Box<[AtomicU64]>,
    /// Some doorbell beyond the last possible queue, or between doorbells, was written.
    nowhere: AtomicBool,
}

impl Doorbells {
    /// Doorbells of the queues 0 to `queues - 1`.
    pub(crate) fn new(stride: DoorbellStride, queues: u16) -> Self {
        let queues = usize::from(queues);
        Self {
            stride,
            values: (0..queues * 2).map(|_| AtomicU32::new(0)).collect(),
            written: (0..queues.div_ceil(64)).map(|_| AtomicU64::new(0)).collect(),
            nowhere: AtomicBool::new(false),
        }
    }

    /// A host's write at an offset of BAR 0 that is no register's. What it wrote to memory before is visible to
    /// whoever takes the written bit.
    #[inline]
    pub(crate) fn ring(&self, offset: u32, value: u32) {
        let slot = self.stride.doorbell_at(u64::from(offset)).map(|(queue, doorbell)| slot(queue, doorbell));
        let Some((slot, value_at)) = slot.and_then(|slot| Some((slot, self.values.get(slot)?))) else {
            self.nowhere.store(true, Ordering::SeqCst);
            return;
        };
        value_at.store(value, Ordering::Relaxed);
        let queue = slot / 2;
        self.written[queue / 64].fetch_or(1 << (queue % 64), Ordering::SeqCst);
    }

    /// Whether there is something to look at. Ordered after the caller's earlier stores, for who is about to sleep.
    pub(crate) fn any(&self) -> bool {
        self.nowhere.load(Ordering::SeqCst)
            || self.written.iter().any(|word| word.load(Ordering::SeqCst) != 0)
    }

    /// Takes the bits of the queues `64 * word` to `64 * word + 63`; `None` beyond the last word.
    #[inline]
    pub(crate) fn take_written(&self, word: usize) -> Option<u64> {
        let bits = self.written.get(word)?;
        if bits.load(Ordering::Relaxed) == 0 { Some(0) } else { Some(bits.swap(0, Ordering::SeqCst)) }
    }

    /// Whether a doorbell that is none was written since the last call.
    #[inline]
    pub(crate) fn take_nowhere(&self) -> bool {
        self.nowhere.load(Ordering::Relaxed) && self.nowhere.swap(false, Ordering::SeqCst)
    }

    /// The value that was last written.
    #[inline]
    pub(crate) fn value(&self, queue: QueueId, doorbell: Doorbell) -> u32 {
        self.values.get(slot(queue, doorbell)).map_or(0, |value| value.load(Ordering::Acquire))
    }

    /// Forgets what was written to a doorbell: its queue was made just now.
    pub(crate) fn clear(&self, queue: QueueId, doorbell: Doorbell) {
        if let Some(value) = self.values.get(slot(queue, doorbell)) {
            value.store(0, Ordering::Relaxed);
        }
    }

    /// As after a reset.
    pub(crate) fn clear_all(&self) {
        self.values.iter().for_each(|value| value.store(0, Ordering::Relaxed));
        self.written.iter().for_each(|word| word.store(0, Ordering::SeqCst));
        self.nowhere.store(false, Ordering::SeqCst);
    }
}

#[inline]
fn slot(queue: QueueId, doorbell: Doorbell) -> usize {
    usize::from(queue.0) * 2 + usize::from(doorbell == Doorbell::CqHead)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_is_seen_once_with_its_value() {
        let doorbells = Doorbells::new(DoorbellStride::from_raw(0), 66);
        // PCIe 3.1.2.1 and 3.1.2.2 with DSTRD 0: SQ65TDBL is at 1000h + 2 * 65 * 4, CQ65HDBL 4 bytes on.
        doorbells.ring(0x1208, 9);
        doorbells.ring(0x120C, 3);
        assert!(doorbells.any());
        assert_eq!((doorbells.take_written(0), doorbells.take_written(1)), (Some(0), Some(2)));
        assert_eq!(doorbells.value(QueueId(65), Doorbell::SqTail), 9);
        assert_eq!(doorbells.value(QueueId(65), Doorbell::CqHead), 3);
        assert!(!doorbells.any() && doorbells.take_written(2).is_none());
    }

    #[test]
    fn what_is_no_doorbell_is_told() {
        let doorbells = Doorbells::new(DoorbellStride::from_raw(1), 2);
        for offset in [0x1004, 0x1020, 0x0FFC] {
            assert!(!doorbells.take_nowhere());
            doorbells.ring(offset, 1);
            assert!(doorbells.any() && doorbells.take_nowhere(), "{offset:#x}");
        }
    }
}
