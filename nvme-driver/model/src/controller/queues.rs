//! Submission and completion queues in host memory, seen from the controller (Base 3.3.3).

use nvme_spec::cqe::CQE_BYTES;
use nvme_spec::sqe::SQE_BYTES;
use nvme_spec::{Cqe, QueueId, Sqe};

use crate::iommu::{DmaFault, Iommu};

/// A host's doorbell value that no correct host writes (Base, Figure 153: Invalid Doorbell Write Value).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InvalidDoorbellValue;

/// A ring of entries of which one stays empty: full is tail one behind head.
#[derive(Clone, Copy, Debug)]
struct Ring {
    base: u64,
    entries: u32,
    head: u32,
    tail: u32,
}

impl Ring {
    fn new(base: u64, entries: u32) -> Self {
        Self { base, entries, head: 0, tail: 0 }
    }

    #[inline]
    fn used(&self) -> u32 {
        self.distance(self.head, self.tail)
    }

    #[inline]
    fn free(&self) -> u32 {
        self.entries - 1 - self.used()
    }

    #[inline]
    fn distance(&self, from: u32, to: u32) -> u32 {
        if to >= from { to - from } else { to + self.entries - from }
    }

    #[inline]
    fn next(&self, index: u32) -> u32 {
        if index + 1 == self.entries { 0 } else { index + 1 }
    }
}

/// A submission queue: the host moves the tail, the controller the head.
#[derive(Debug)]
pub(crate) struct SubmissionQueue {
    pub(crate) cqid: QueueId,
    ring: Ring,
    /// A fault: nothing is fetched any more.
    hung: bool,
}

impl SubmissionQueue {
    pub(crate) fn new(cqid: QueueId, base: u64, entries: u32) -> Self {
        Self { cqid, ring: Ring::new(base, entries), hung: false }
    }

    /// Whether there is an entry that has not been fetched.
    #[inline]
    pub(crate) fn has_work(&self) -> bool {
        self.ring.head != self.ring.tail && !self.hung
    }

    /// The head: SQHD of completions.
    #[inline]
    pub(crate) fn head(&self) -> u16 {
        u16::try_from(self.ring.head).unwrap_or(u16::MAX)
    }

    #[inline]
    pub(crate) fn tail(&self) -> u32 {
        self.ring.tail
    }

    /// Takes the host's tail. It cannot pass the head.
    #[inline]
    pub(crate) fn set_tail(&mut self, tail: u32) -> Result<(), InvalidDoorbellValue> {
        let ring = &mut self.ring;
        if tail >= ring.entries || ring.distance(ring.tail, tail) > ring.free() {
            return Err(InvalidDoorbellValue);
        }
        ring.tail = tail;
        Ok(())
    }

    /// Reads the entry at the head and moves on; to be called if there is work.
    #[inline]
    pub(crate) fn fetch(&mut self, iommu: &mut Iommu) -> Result<Sqe, DmaFault> {
        let mut bytes = [0; SQE_BYTES];
        iommu.read(self.ring.base + u64::from(self.ring.head) * SQE_BYTES as u64, &mut bytes)?;
        self.ring.head = self.ring.next(self.ring.head);
        Ok(Sqe::from_bytes(&bytes))
    }

    /// A fault: as if the last entry had not been fetched, and no other ever will be.
    pub(crate) fn hang_before_last(&mut self) {
        let ring = &mut self.ring;
        ring.head = if ring.head == 0 { ring.entries - 1 } else { ring.head - 1 };
        self.hung = true;
    }
}

/// All queues of a controller, by identifier; 0 is the admin pair.
#[derive(Debug, Default)]
pub(crate) struct QueueSet {
    pub(crate) submission: Vec<Option<SubmissionQueue>>,
    pub(crate) completion: Vec<Option<CompletionQueue>>,
}

impl QueueSet {
    /// No queues, with room for the identifiers 0 to `pairs`.
    pub(crate) fn new(pairs: u16) -> Self {
        let slots = usize::from(pairs) + 1;
        Self {
            submission: (0..slots).map(|_| None).collect(),
            completion: (0..slots).map(|_| None).collect(),
        }
    }

    #[inline]
    pub(crate) fn sq(&self, id: QueueId) -> Option<&SubmissionQueue> {
        self.submission.get(usize::from(id.0)).and_then(Option::as_ref)
    }

    #[inline]
    pub(crate) fn sq_mut(&mut self, id: QueueId) -> Option<&mut SubmissionQueue> {
        self.submission.get_mut(usize::from(id.0)).and_then(Option::as_mut)
    }

    #[inline]
    pub(crate) fn cq(&self, id: QueueId) -> Option<&CompletionQueue> {
        self.completion.get(usize::from(id.0)).and_then(Option::as_ref)
    }

    #[inline]
    pub(crate) fn cq_mut(&mut self, id: QueueId) -> Option<&mut CompletionQueue> {
        self.completion.get_mut(usize::from(id.0)).and_then(Option::as_mut)
    }

    /// The completion queue of a submission queue.
    #[inline]
    pub(crate) fn cq_of(&self, sqid: QueueId) -> Option<&CompletionQueue> {
        self.sq(sqid).and_then(|sq| self.cq(sq.cqid))
    }

    /// Whether there are queues besides the admin pair.
    pub(crate) fn has_io_queues(&self) -> bool {
        self.submission.iter().skip(1).any(Option::is_some)
            || self.completion.iter().skip(1).any(Option::is_some)
    }

    /// Whether a completion of this submission queue can be posted now.
    #[inline]
    pub(crate) fn has_room(&self, sqid: QueueId) -> bool {
        self.cq_of(sqid).is_some_and(|cq| !cq.is_full())
    }
}

/// A completion queue: the controller moves the tail, the host the head.
#[derive(Debug)]
pub(crate) struct CompletionQueue {
    pub(crate) id: QueueId,
    ring: Ring,
    phase: bool,
    /// The interrupt vector, if interrupts are enabled.
    pub(crate) vector: Option<u16>,
    /// Submission queues that complete here.
    pub(crate) users: u32,
}

impl CompletionQueue {
    pub(crate) fn new(id: QueueId, base: u64, entries: u32, vector: Option<u16>) -> Self {
        Self { id, ring: Ring::new(base, entries), phase: true, vector, users: 0 }
    }

    #[inline]
    pub(crate) fn is_full(&self) -> bool {
        self.ring.free() == 0
    }

    #[inline]
    pub(crate) fn head(&self) -> u32 {
        self.ring.head
    }

    /// Takes the host's head. It cannot pass the tail.
    #[inline]
    pub(crate) fn set_head(&mut self, head: u32) -> Result<(), InvalidDoorbellValue> {
        let ring = &mut self.ring;
        if head >= ring.entries || ring.distance(ring.head, head) > ring.used() {
            return Err(InvalidDoorbellValue);
        }
        ring.head = head;
        Ok(())
    }

    /// Writes an entry, the dword with the phase tag last; to be called if there is room.
    #[inline]
    pub(crate) fn post(&mut self, iommu: &mut Iommu, cqe: Cqe) -> Result<(), DmaFault> {
        assert!(!self.is_full(), "a completion is posted where there is room");
        let at = self.ring.base + u64::from(self.ring.tail) * CQE_BYTES as u64;
        let bytes = cqe.with_phase(self.phase).to_bytes();
        iommu.write(at, &bytes[..12])?;
        iommu.store_u32(at + 12, cqe.with_phase(self.phase).dwords()[3])?;
        self.ring.tail = self.ring.next(self.ring.tail);
        self.phase ^= self.ring.tail == 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_cannot_pass_the_head() {
        let mut queue = SubmissionQueue::new(QueueId(1), 0, 4);
        assert_eq!(queue.set_tail(4), Err(InvalidDoorbellValue));
        assert_eq!(queue.set_tail(3), Ok(()));
        // Full: any further entry would make it look empty or pass the head.
        for tail in [0, 1, 2] {
            assert_eq!(queue.set_tail(tail), Err(InvalidDoorbellValue), "{tail}");
        }
        queue.ring.head = 2;
        assert_eq!(queue.set_tail(1), Ok(()));
        assert_eq!(queue.set_tail(2), Err(InvalidDoorbellValue));
    }

    #[test]
    fn a_head_cannot_pass_the_tail() {
        let mut queue = CompletionQueue::new(QueueId(1), 0, 4, None);
        assert_eq!(queue.set_head(1), Err(InvalidDoorbellValue));
        queue.ring.tail = 2;
        assert_eq!(queue.set_head(3), Err(InvalidDoorbellValue));
        assert_eq!(queue.set_head(2), Ok(()));
        assert_eq!(queue.set_head(1), Err(InvalidDoorbellValue));
        assert_eq!(queue.set_head(5), Err(InvalidDoorbellValue));
    }
}
