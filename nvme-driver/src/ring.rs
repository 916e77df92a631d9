//! Submission and completion rings (Base 3.3, PCIe 3.1): entries in DMA memory, doorbells in registers.

use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use dma::{AccessError, AddressTable, DmaArray, Segment};
use nvme_spec::registers::{Doorbell, DoorbellStride};
use nvme_spec::{Cqe, QueueId, Sqe};

use crate::pci::PciFunction;

/// Bytes of a submission queue entry.
pub(crate) const SQE_BYTES: u32 = 64;
/// Bytes of a completion queue entry.
pub(crate) const CQE_BYTES: u32 = 16;

/// The shadow doorbell and EventIdx pages of a controller that offers them (Base 5.2.5, Doorbell Buffer Config).
#[derive(Debug)]
pub(crate) struct ShadowDoorbells {
    pub(crate) doorbells: DmaArray<u32, 1>,
    pub(crate) event_indexes: DmaArray<u32, 1>,
}

impl ShadowDoorbells {
    /// Forgets what was rung, for a controller that begins anew.
    pub(crate) fn clear(&self) {
        self.doorbells.clear();
        self.event_indexes.clear();
    }
}

/// One doorbell: a register, or a word of shared memory with a register behind it.
#[derive(Debug)]
struct Bell {
    register: u32,
    shadow: Option<(Arc<ShadowDoorbells>, u32)>,
}

impl Bell {
    fn new(
        queue: QueueId,
        doorbell: Doorbell,
        stride: DoorbellStride,
        shadow: Option<&Arc<ShadowDoorbells>>,
    ) -> Self {
        let at = |bytes: u64| u32::try_from(bytes).unwrap_or(u32::MAX);
        let word = at(stride.offset_in_array(queue, doorbell)) / 4;
        let shadow = shadow.filter(|pages| word < pages.doorbells.entries());
        let register = at(stride.offset(queue, doorbell));
        let bell = Self { register, shadow: shadow.map(|pages| (Arc::clone(pages), word)) };
        bell.clear();
        bell
    }

    /// Back to the index of a queue that has yet to be created. What an earlier queue of this identifier left in shared
    /// memory would count as rung otherwise, and the controller would fetch entries that nobody wrote.
    fn clear(&self) {
        if let Some((pages, word)) = &self.shadow {
            pages.doorbells.store_word(*word, 0, 0);
            pages.event_indexes.store_word(*word, 0, 0);
        }
    }

    /// Tells the controller that the index went from `old` to `new`.
    #[inline]
    fn ring<F: PciFunction>(&self, function: &F, old: u32, new: u32) {
        let Some((pages, word)) = &self.shadow else {
            function.write32(self.register, new);
            return;
        };
        pages.doorbells.store_word(*word, 0, new);
        // The controller writes EventIdx and then looks at the doorbell; we do it the other way round. Without a full
        // fence between, both could miss what the other wrote.
        fence(Ordering::SeqCst);
        if is_passed(pages.event_indexes.load_word(*word, 0), old, new) {
            function.write32(self.register, new);
        }
    }
}

/// Where the doorbells of this queue end, in bytes of the register space.
pub(crate) fn doorbells_end(queue: QueueId, stride: DoorbellStride) -> u64 {
    stride.offset(queue, Doorbell::CqHead) + 4
}

/// Two words in the order of memory, as one.
#[inline]
fn pairs(words: &[u32; 16]) -> [u64; 8] {
    std::array::from_fn(|at| u64::from(words[2 * at]) | u64::from(words[2 * at + 1]) << 32)
}

/// The words of a pair, in the order of memory.
#[inline]
fn halves(pair: u64) -> [u32; 2] {
    let bytes = pair.to_le_bytes();
    let (words, _) = bytes.as_chunks::<4>();
    [u32::from_le_bytes(words[0]), u32::from_le_bytes(words[1])]
}

/// Whether going from `old` to `new` passes `event`, all modulo 2^16: then the controller wants the register written.
#[inline]
fn is_passed(event: u32, old: u32, new: u32) -> bool {
    let distance = |from: u32, to: u32| to.wrapping_sub(from) % (1 << 16);
    distance(event.wrapping_add(1), new) < distance(old, new)
}

/// The side that we write: commands.
#[derive(Debug)]
pub(crate) struct SubmissionRing {
    entries: DmaArray<u64, 8>,
    bell: Bell,
    tail: u32,
    rung: u32,
}

impl SubmissionRing {
    pub(crate) fn new(
        memory: Segment,
        queue: QueueId,
        stride: DoorbellStride,
        shadow: Option<&Arc<ShadowDoorbells>>,
    ) -> Result<Self, AccessError> {
        let bell = Bell::new(queue, Doorbell::SqTail, stride, shadow);
        Ok(Self { entries: DmaArray::new(memory)?, bell, tail: 0, rung: 0 })
    }

    /// Rings where the controller listens now: shadow doorbells are granted, or not, with every initialisation.
    pub(crate) fn rebind(
        &mut self,
        queue: QueueId,
        stride: DoorbellStride,
        shadow: Option<&Arc<ShadowDoorbells>>,
    ) {
        self.bell = Bell::new(queue, Doorbell::SqTail, stride, shadow);
    }

    pub(crate) fn entries(&self) -> u32 {
        self.entries.entries()
    }

    pub(crate) fn iova(&self, addresses: &AddressTable) -> Option<u64> {
        Some(addresses.get(self.entries.region())? + self.entries.region_offset())
    }

    /// Back to the state of a queue that was just created.
    pub(crate) fn clear(&mut self) {
        self.entries.clear();
        self.bell.clear();
        (self.tail, self.rung) = (0, 0);
    }

    /// Writes a command. The caller has fewer commands outstanding than the ring has entries, so the entry is free:
    /// entries are fetched in order, and every outstanding command has at most one.
    #[inline]
    pub(crate) fn push(&mut self, command: &Sqe) {
        self.entries.store(self.tail, &pairs(command.dwords()));
        self.tail += 1;
        if self.tail == self.entries.entries() {
            self.tail = 0;
        }
    }

    /// Tells the controller about all commands since the last time; says whether there were any.
    #[inline]
    pub(crate) fn ring<F: PciFunction>(&mut self, function: &F) -> bool {
        let any = self.rung != self.tail;
        if any {
            self.bell.ring(function, self.rung, self.tail);
            self.rung = self.tail;
        }
        any
    }
}

/// The side that the controller writes: completions.
#[derive(Debug)]
pub(crate) struct CompletionRing {
    entries: DmaArray<u64, 2>,
    bell: Bell,
    head: u32,
    rung: u32,
    phase: bool,
    /// Completions taken of which the controller need not know yet.
    untold_max: u32,
}

impl CompletionRing {
    pub(crate) fn new(
        memory: Segment,
        queue: QueueId,
        stride: DoorbellStride,
        shadow: Option<&Arc<ShadowDoorbells>>,
    ) -> Result<Self, AccessError> {
        let bell = Bell::new(queue, Doorbell::CqHead, stride, shadow);
        Ok(Self { entries: DmaArray::new(memory)?, bell, head: 0, rung: 0, phase: true, untold_max: 0 })
    }

    /// Lets [`Self::ring_if_due`] keep up to half of the entries that are never needed, at most `depth` commands being
    /// outstanding, to itself.
    pub(crate) fn tell_late(&mut self, depth: u32) {
        self.untold_max = self.entries().saturating_sub(1 + depth) / 2;
    }

    pub(crate) fn entries(&self) -> u32 {
        self.entries.entries()
    }

    pub(crate) fn iova(&self, addresses: &AddressTable) -> Option<u64> {
        Some(addresses.get(self.entries.region())? + self.entries.region_offset())
    }

    /// Back to the state of a queue that was just created.
    pub(crate) fn clear(&mut self) {
        self.entries.clear();
        self.bell.clear();
        (self.head, self.rung, self.phase) = (0, 0, true);
    }

    /// As [`SubmissionRing::rebind`].
    pub(crate) fn rebind(
        &mut self,
        queue: QueueId,
        stride: DoorbellStride,
        shadow: Option<&Arc<ShadowDoorbells>>,
    ) {
        self.bell = Bell::new(queue, Doorbell::CqHead, stride, shadow);
    }

    /// Whether a completion is there.
    #[inline]
    pub(crate) fn is_ready(&self) -> bool {
        let [_, dw3] = halves(self.entries.load_word(self.head, 1));
        Cqe::phase_of_dw3(dw3) == self.phase
    }

    /// The next completion. The half with the phase tag is loaded first, with acquire, so the other is whole.
    #[inline]
    pub(crate) fn pop(&mut self) -> Option<Cqe> {
        let [dw2, dw3] = halves(self.entries.load_word(self.head, 1));
        if Cqe::phase_of_dw3(dw3) != self.phase {
            return None;
        }
        let [dw0, dw1] = halves(self.entries.load_word(self.head, 0));
        self.head += 1;
        if self.head == self.entries.entries() {
            self.head = 0;
            self.phase = !self.phase;
        }
        Some(Cqe::from_dwords([dw0, dw1, dw2, dw3]))
    }

    /// Tells the controller which completions have been taken.
    #[inline]
    pub(crate) fn ring<F: PciFunction>(&mut self, function: &F) {
        if self.rung != self.head {
            self.bell.ring(function, self.rung, self.head);
            self.rung = self.head;
        }
    }

    /// The same, but only once enough have been taken that the controller could run out of entries before long.
    #[inline]
    pub(crate) fn ring_if_due<F: PciFunction>(&mut self, function: &F) {
        let behind = if self.head < self.rung { self.entries.entries() } else { 0 };
        if self.head + behind - self.rung > self.untold_max {
            self.ring(function);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_register_is_written_when_the_event_index_is_passed() {
        // EventIdx 5: the controller wants to be told when the doorbell moves beyond 5.
        assert!(is_passed(5, 5, 6) && is_passed(5, 3, 9));
        assert!(!is_passed(5, 6, 9) && !is_passed(5, 3, 5));
        assert!(is_passed(0xffff, 0xfffe, 3), "across the wrap of 16 bits");
    }
}
