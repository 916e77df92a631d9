//! Shadow doorbells (Base 5.2.5 and B.5): the host writes to memory, and rings only when the controller asked for it.
//!
//! A controller that is awake reads the shadows itself and leaves the event indices behind, so that the host need not
//! ring. Before it sleeps it moves every index to the value that it has seen, and looks once more.

use std::sync::atomic::{Ordering, fence};

use nvme_spec::registers::Doorbell;
use nvme_spec::{QueueId, Status, StatusCode};

use super::Controller;
use super::events::Event;

/// The two buffers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shadow {
    doorbells: u64,
    event_indices: u64,
}

impl Controller {
    /// Doorbell Buffer Config.
    pub(super) fn configure_shadow(&mut self, doorbells: u64, event_indices: u64) -> Result<u32, Status> {
        if !self.options.doorbell_buffer {
            return Err(Status::permanent(StatusCode::INVALID_OPCODE));
        }
        let page = self.registers.page_size();
        let bytes = page.bytes();
        if page.offset(doorbells) != 0 || page.offset(event_indices) != 0 {
            return Err(Status::permanent(StatusCode::INVALID_FIELD));
        }
        let reach = |_| Status::permanent(StatusCode::INVALID_FIELD);
        self.iommu.check(doorbells, bytes, false).map_err(reach)?;
        self.iommu.check(event_indices, bytes, true).map_err(reach)?;
        self.shadow = Some(Shadow { doorbells, event_indices });
        Ok(0)
    }

    /// Takes every queue's tail, and the heads of completion queues that look full, from the shadows.
    #[inline]
    pub(super) fn look_at_shadows(&mut self) {
        let Some(shadow) = self.shadow else { return };
        for index in 1..self.queues.submission.len() {
            let sqid = QueueId(u16::try_from(index).unwrap_or(u16::MAX));
            if self.queues.submission[index].is_some() {
                self.look_at_tail(shadow, sqid);
                if !self.queues.has_room(sqid) {
                    self.look_at_head(shadow, sqid);
                }
            }
        }
    }

    fn look_at_tail(&mut self, shadow: Shadow, sqid: QueueId) {
        let Some(tail) = self.load_shadow(shadow, sqid, Doorbell::SqTail) else { return };
        let Some(sq) = self.queues.sq_mut(sqid) else { return };
        if tail != sq.tail() && sq.set_tail(tail).is_err() {
            self.raise_event(Event::InvalidDoorbellValue);
        }
    }

    fn look_at_head(&mut self, shadow: Shadow, sqid: QueueId) {
        let Some(cqid) = self.queues.sq(sqid).map(|sq| sq.cqid) else { return };
        let Some(head) = self.load_shadow(shadow, cqid, Doorbell::CqHead) else { return };
        let Some(cq) = self.queues.cq_mut(cqid) else { return };
        if head != cq.head() && cq.set_head(head).is_err() {
            self.raise_event(Event::InvalidDoorbellValue);
        }
    }

    fn load_shadow(&mut self, shadow: Shadow, id: QueueId, doorbell: Doorbell) -> Option<u32> {
        let offset = self.options.doorbell_stride.offset_in_array(id, doorbell);
        let loaded = self.iommu.load_u32(shadow.doorbells + offset);
        if loaded.is_err() {
            self.fail();
        }
        loaded.ok()
    }

    /// Asks the host to ring when it next moves a doorbell. Returns whether it moved one meanwhile.
    pub(crate) fn arm(&mut self) -> bool {
        let Some(shadow) = self.shadow else { return self.doorbells.any() };
        if !self.registers.is_running() {
            return self.doorbells.any();
        }
        for index in 1..self.queues.submission.len() {
            let id = QueueId(u16::try_from(index).unwrap_or(u16::MAX));
            let tail = self.queues.sq(id).map(super::queues::SubmissionQueue::tail);
            let head = self.queues.cq(id).map(super::queues::CompletionQueue::head);
            self.store_event_index(shadow, id, Doorbell::SqTail, tail);
            self.store_event_index(shadow, id, Doorbell::CqHead, head);
        }
        // The host stores a doorbell and then reads the index; here it is the other way round. One of both sees the other.
        fence(Ordering::SeqCst);
        let moved = (1..self.queues.submission.len())
            .any(|index| self.has_moved(shadow, QueueId(u16::try_from(index).unwrap_or(u16::MAX))));
        moved || self.doorbells.any()
    }

    fn store_event_index(&mut self, shadow: Shadow, id: QueueId, doorbell: Doorbell, seen: Option<u32>) {
        let Some(seen) = seen else { return };
        let at = shadow.event_indices + self.options.doorbell_stride.offset_in_array(id, doorbell);
        if self.iommu.store_u32(at, seen).is_err() {
            self.fail();
        }
    }

    fn has_moved(&mut self, shadow: Shadow, id: QueueId) -> bool {
        let Some(tail) = self.queues.sq(id).map(super::queues::SubmissionQueue::tail) else { return false };
        let full = !self.queues.has_room(id);
        let head = self.queues.cq_of(id).map(|cq| (cq.id, cq.head()));
        let tail_moved = self.load_shadow(shadow, id, Doorbell::SqTail).is_some_and(|shadow| shadow != tail);
        let head_moved = full
            && head.is_some_and(|(cqid, head)| {
                self.load_shadow(shadow, cqid, Doorbell::CqHead).is_some_and(|shadow| shadow != head)
            });
        // A tail that moved while the completion queue is full is no reason to stay awake.
        (tail_moved && !full) || head_moved
    }
}
