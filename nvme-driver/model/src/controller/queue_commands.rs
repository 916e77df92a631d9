//! Create and delete I/O queues (Base 5.2.1 to 5.2.4, PCIe 4.1).

use nvme_spec::command::{CreateIoCq, CreateIoSq, QueueSize};
use nvme_spec::{QueueId, Status, StatusCode};

use nvme_spec::registers::Doorbell;

use super::queues::{CompletionQueue, SubmissionQueue};
use super::{Answer, Controller};

const INVALID_QUEUE_IDENTIFIER: Status = Status::permanent(StatusCode::INVALID_QUEUE_IDENTIFIER);

impl Controller {
    pub(super) fn create_cq(&mut self, create: &CreateIoCq) -> Answer {
        self.check_queue_id(create.qid, self.features.queue_counts().1)?;
        if self.queues.cq(create.qid).is_some() {
            return Err(INVALID_QUEUE_IDENTIFIER);
        }
        let sized = self.registers.configuration().iocqes() != 0;
        self.check_queue_shape(create.size, sized, create.contiguous, create.prp1)?;
        if create.interrupt_vector.is_some_and(|vector| vector >= self.vectors()) {
            return Err(Status::permanent(StatusCode::INVALID_INTERRUPT_VECTOR));
        }
        let (qid, entries) = (create.qid, create.size.entries());
        self.doorbells.clear(qid, Doorbell::CqHead);
        let queue = CompletionQueue::new(qid, create.prp1, entries, create.interrupt_vector);
        self.queues.completion[usize::from(qid.0)] = Some(queue);
        Ok(0)
    }

    pub(super) fn create_sq(&mut self, create: &CreateIoSq) -> Answer {
        self.check_queue_id(create.qid, self.features.queue_counts().0)?;
        if self.queues.sq(create.qid).is_some() {
            return Err(INVALID_QUEUE_IDENTIFIER);
        }
        let sized = self.registers.configuration().iosqes() != 0;
        self.check_queue_shape(create.size, sized, create.contiguous, create.prp1)?;
        self.check_queue_id(create.cqid, self.features.queue_counts().1)?;
        let Some(cq) = self.queues.cq_mut(create.cqid) else {
            return Err(Status::permanent(StatusCode::COMPLETION_QUEUE_INVALID));
        };
        cq.users += 1;
        let (qid, entries) = (create.qid, create.size.entries());
        self.doorbells.clear(qid, Doorbell::SqTail);
        let queue = SubmissionQueue::new(create.cqid, create.prp1, entries);
        self.queues.submission[usize::from(qid.0)] = Some(queue);
        Ok(0)
    }

    /// Commands that are held end without a completion (Base 5.2.4: implicitly completed).
    pub(super) fn delete_sq(&mut self, qid: QueueId) -> Answer {
        let Some(sq) = self.take_sq(qid) else { return Err(INVALID_QUEUE_IDENTIFIER) };
        if let Some(cq) = self.queues.cq_mut(sq.cqid) {
            cq.users -= 1;
        }
        self.held.drop_queue(qid);
        self.doorbells.clear(qid, Doorbell::SqTail);
        Ok(0)
    }

    fn take_sq(&mut self, qid: QueueId) -> Option<SubmissionQueue> {
        if qid.is_admin() { None } else { self.queues.submission.get_mut(usize::from(qid.0))?.take() }
    }

    pub(super) fn delete_cq(&mut self, qid: QueueId) -> Answer {
        match self.queues.cq(qid) {
            Some(cq) if !qid.is_admin() => {
                if cq.users > 0 {
                    return Err(Status::permanent(StatusCode::INVALID_QUEUE_DELETION));
                }
            }
            _ => return Err(INVALID_QUEUE_IDENTIFIER),
        }
        self.queues.completion[usize::from(qid.0)] = None;
        self.doorbells.clear(qid, Doorbell::CqHead);
        Ok(0)
    }

    /// MSI-X vectors: one for the admin queue and one for each I/O queue pair.
    pub(crate) fn vectors(&self) -> u16 {
        self.options.io_queue_pairs + 1
    }

    fn check_queue_id(&self, qid: QueueId, allocated: u16) -> Result<(), Status> {
        if (1..=allocated).contains(&qid.0) { Ok(()) } else { Err(INVALID_QUEUE_IDENTIFIER) }
    }

    fn check_queue_shape(
        &self,
        size: QueueSize,
        sized: bool,
        contiguous: bool,
        prp1: u64,
    ) -> Result<(), Status> {
        if !sized || size.entries() > self.options.queue_entries_max {
            return Err(Status::permanent(StatusCode::INVALID_QUEUE_SIZE));
        }
        // CAP.CQR is 1.
        if !contiguous {
            return Err(Status::permanent(StatusCode::INVALID_FIELD));
        }
        if self.registers.page_size().offset(prp1) != 0 {
            return Err(Status::permanent(StatusCode::PRP_OFFSET_INVALID));
        }
        Ok(())
    }
}
