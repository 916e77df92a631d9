//! From doorbell to completion: round robin over the submission queues (Base 3.4.4.1).

use nvme_spec::registers::Doorbell;
use nvme_spec::{Cqe, QueueId, Status};

use super::events::Event;
use super::held::{HELD_MAX, Held};
use super::{Answer, Controller, Fetched};

/// Commands that are taken from one queue before the next has its turn.
const BURST_COMMANDS_MAX: u32 = 32;

impl Controller {
    /// Looks at every doorbell that was written.
    pub(super) fn take_doorbells(&mut self) {
        let mut word = 0;
        while let Some(mut bits) = self.doorbells.take_written(word) {
            while bits != 0 {
                let queue = word * 64 + bits.trailing_zeros() as usize;
                bits &= bits - 1;
                self.take_doorbell(QueueId(u16::try_from(queue).unwrap_or(u16::MAX)));
            }
            word += 1;
        }
        if self.doorbells.take_nowhere() {
            self.complain(Event::InvalidDoorbellRegister);
        }
    }

    fn take_doorbell(&mut self, id: QueueId) {
        // With shadow doorbells a ring says "look", and its value may be older than what was read there.
        if !self.registers.may_complete() || (self.shadow.is_some() && !id.is_admin()) {
            return;
        }
        let tail = self.doorbells.value(id, Doorbell::SqTail);
        let head = self.doorbells.value(id, Doorbell::CqHead);
        let is_moved = !id.is_admin() && self.queues.cq_mut(id).is_some_and(|cq| cq.head() != head);
        self.stats.cq_doorbells += u64::from(is_moved);
        let sq = self.queues.sq_mut(id).map(|sq| sq.tail() == tail || sq.set_tail(tail).is_ok());
        let cq = self.queues.cq_mut(id).map(|cq| cq.head() == head || cq.set_head(head).is_ok());
        if sq == Some(false) || cq == Some(false) {
            self.complain(Event::InvalidDoorbellValue);
        }
        if (sq.is_none() && tail != 0) || (cq.is_none() && head != 0) {
            self.complain(Event::InvalidDoorbellRegister);
        }
    }

    fn complain(&mut self, event: Event) {
        self.stats.invalid_doorbells += 1;
        if self.registers.may_complete() {
            self.raise_event(event);
        }
    }

    /// Gives every submission queue a turn. Returns whether there is more to fetch.
    pub(super) fn fetch_round(&mut self) -> bool {
        let mut more = false;
        for index in 0..self.queues.submission.len() {
            if self.queues.submission[index].is_some() {
                more |= self.serve(QueueId(u16::try_from(index).unwrap_or(u16::MAX)));
            }
        }
        more
    }

    fn serve(&mut self, sqid: QueueId) -> bool {
        for _ in 0..BURST_COMMANDS_MAX {
            if !self.can_fetch(sqid) {
                return false;
            }
            self.fetch(sqid);
        }
        self.can_fetch(sqid)
    }

    #[inline]
    fn can_fetch(&self, sqid: QueueId) -> bool {
        self.registers.is_running()
            && self.queues.sq(sqid).is_some_and(super::queues::SubmissionQueue::has_work)
            && self.queues.has_room(sqid)
            && self.held.len() < HELD_MAX
    }

    fn fetch(&mut self, sqid: QueueId) {
        let Some(sq) = self.queues.sq_mut(sqid) else { return };
        match sq.fetch(&mut self.iommu) {
            Ok(sqe) => {
                self.stats.fetched += 1;
                self.begin(Fetched { sqid, sqe });
            }
            // Without its queue a controller cannot even tell what is wrong.
            Err(_) => self.fail(),
        }
    }

    /// Completes what was held and is due.
    pub(super) fn complete_due(&mut self) {
        while self.registers.may_complete() {
            let queues = &self.queues;
            let Some(held) = self.held.take_due(self.now, |sqid| queues.has_room(sqid)) else { return };
            let command = Fetched { sqid: held.sqid, sqe: held.sqe };
            match held.answer {
                Some(answer) => self.finish(command, answer),
                None => self.perform(command),
            }
        }
    }

    /// Ends a command: its completion is written, and its interrupt follows when the batch ends.
    pub(super) fn finish(&mut self, command: Fetched, answer: Answer) {
        if !self.registers.may_complete() {
            return;
        }
        if !self.queues.has_room(command.sqid) {
            let held = Held { sqid: command.sqid, sqe: command.sqe, answer: Some(answer), behind: 0 };
            self.held.hold(self.now, held);
            return;
        }
        let (dw0, status) = match answer {
            Ok(dw0) => (dw0, Status::SUCCESS),
            Err(status) => (0, self.log_error(command, status)),
        };
        let sqhd = self.queues.sq(command.sqid).map_or(0, super::queues::SubmissionQueue::head);
        self.post(command.sqid, Cqe::new(command.sqid, sqhd, command.sqe.cid(), status).with_dw0(dw0));
    }

    /// Writes a completion to the queue that belongs to a submission queue, which has room.
    #[inline]
    pub(super) fn post(&mut self, sqid: QueueId, cqe: Cqe) {
        let Some(cqid) = self.queues.sq(sqid).map(|sq| sq.cqid) else { return };
        let Some(cq) = self.queues.cq_mut(cqid) else { return };
        if cq.post(&mut self.iommu, cqe).is_err() {
            return self.fail();
        }
        self.stats.completed += 1;
        if let Some(vector) = cq.vector {
            self.interrupts.raise(vector);
        }
        self.held.overtake(sqid, self.now);
    }
}
