//! Queue pairs on the controller's side: creating, deleting, aborting their commands, and burying them.

use block::Timestamp;
use nvme_spec::command::{AdminCommand, CreateIoCq, CreateIoSq, QueuePriority, QueueSize};
use nvme_spec::{CommandId, Cqe, QueueId, Sqe, Status};

use super::Core;
use super::admin_queue::Purpose;
use super::job::Job;
use super::lifecycle::State;
use crate::link::{Attachment, QueueLink};
use crate::pci::PciFunction;
use crate::queue::Orphan;
use crate::shared::{AttachQueue, ResetReason};

/// Most aborts in flight: they share the admin queue with everything else.
const ABORTS_MAX: usize = 4;
/// The identifier in a command that the admin queue has yet to number.
pub(super) const UNNUMBERED: CommandId = CommandId(0);

impl<F: PciFunction> Core<F> {
    /// `None` if the wish is of an incarnation that has ended.
    pub(super) fn create_cq_command(&self, attach: &AttachQueue) -> Option<Sqe> {
        let size = QueueSize::new(attach.cq_entries).filter(|_| attach.incarnation == self.incarnation)?;
        let command = CreateIoCq {
            qid: attach.link.queue_id,
            size,
            prp1: attach.cq_iova,
            contiguous: true,
            interrupt_vector: attach.interrupt_vector,
        };
        Some(AdminCommand::CreateIoCq(command).sqe(UNNUMBERED))
    }

    pub(super) fn cq_created(&mut self, attach: AttachQueue, entry: &Cqe, now: Timestamp) {
        if entry.status().is_success() {
            self.jobs.push_front(Job::CreateSq(attach));
        } else {
            self.attach_refused(&attach, entry.status(), now);
        }
    }

    pub(super) fn create_sq_command(&self, attach: &AttachQueue) -> Option<Sqe> {
        let size = QueueSize::new(attach.sq_entries)?;
        let command = CreateIoSq {
            qid: attach.link.queue_id,
            size,
            prp1: attach.sq_iova,
            contiguous: true,
            priority: QueuePriority::default(),
            cqid: attach.link.queue_id,
            nvmsetid: 0,
        };
        Some(AdminCommand::CreateIoSq(command).sqe(UNNUMBERED))
    }

    pub(super) fn sq_created(&mut self, attach: AttachQueue, entry: &Cqe, now: Timestamp) {
        if entry.status().is_success() {
            attach.link.set_attachment(Attachment::Created);
            attach.link.wake.signal();
        } else {
            self.attach_refused(&attach, entry.status(), now);
            self.jobs.push_front(Job::UndoCq(attach));
        }
    }

    pub(super) fn cq_undone(&mut self, attach: &AttachQueue, entry: &Cqe, now: Timestamp) {
        if !entry.status().is_success() {
            tracing::error!(queue = %attach.link.queue_id, "a completion queue could not be deleted: {}", entry.status());
            self.fail(&ResetReason::Refused { what: "delete a queue" }, now);
        }
    }

    /// A new queue may be refused. One that the controller had before its reset may not: then the reset did not help.
    fn attach_refused(&mut self, attach: &AttachQueue, status: Status, now: Timestamp) {
        tracing::error!(queue = %attach.link.queue_id, "the controller refused to create a queue pair: {status}");
        attach.link.set_attachment(Attachment::Refused(status));
        attach.link.wake.signal();
        if !attach.is_first {
            self.fail(&ResetReason::Refused { what: "create a queue pair again" }, now);
        }
    }

    pub(super) fn attach_is_stale(&self, attach: &AttachQueue) {
        tracing::debug!(queue = %attach.link.queue_id, "a queue pair was wanted in an incarnation that has ended");
    }

    /// `None` if the controller does not have the queue.
    pub(super) fn delete_sq_command(&self, orphan: &Orphan) -> Option<Sqe> {
        let is_there =
            orphan.incarnation == Some(self.incarnation) && orphan.link.attachment() == Attachment::Created;
        is_there.then(|| AdminCommand::DeleteIoSq(orphan.link.queue_id).sqe(UNNUMBERED))
    }

    pub(super) fn sq_deleted(&mut self, orphan: Box<Orphan>, entry: &Cqe, now: Timestamp) {
        if entry.status().is_success() {
            self.jobs.push_front(Job::DeleteCq(orphan));
        } else {
            self.delete_refused(orphan, entry.status(), now);
        }
    }

    pub(super) fn delete_cq_command(link: &QueueLink) -> Sqe {
        AdminCommand::DeleteIoCq(link.queue_id).sqe(UNNUMBERED)
    }

    pub(super) fn cq_deleted(&mut self, orphan: Orphan, entry: &Cqe, now: Timestamp) {
        if entry.status().is_success() {
            self.bury(orphan);
        } else {
            self.delete_refused(Box::new(orphan), entry.status(), now);
        }
    }

    /// Only a reset ends the queue then; the orphan waits in line for it.
    fn delete_refused(&mut self, orphan: Box<Orphan>, status: Status, now: Timestamp) {
        tracing::error!(queue = %orphan.link.queue_id, "the controller refused to delete a queue: {status}");
        self.jobs.push_front(Job::DeleteSq(orphan));
        self.fail(&ResetReason::Refused { what: "delete a queue" }, now);
    }

    /// The controller can no longer touch the queue: its memory and its identifier are free.
    pub(super) fn bury(&self, orphan: Orphan) {
        self.shared.directory().free_link(&orphan.link);
        orphan.bury();
    }

    /// Ends what was under way when the incarnation ended: orphans are buried, other jobs are begun anew by their
    /// owners.
    pub(super) fn bury_orphans(&mut self) {
        for job in self.current.take().into_iter().chain(std::mem::take(&mut self.jobs)) {
            match job {
                Job::DeleteSq(orphan) | Job::DeleteCq(orphan) => self.bury(*orphan),
                // A queue that does not know yet that its incarnation has ended asks again when it does.
                Job::CreateCq(attach) | Job::CreateSq(attach) => {
                    attach.link.set_attachment(Attachment::Absent)
                }
                Job::Init(_)
                | Job::Scan(_)
                | Job::Log(_)
                | Job::UndoCq(_)
                | Job::Outside(_)
                | Job::GoLive => {}
            }
        }
    }

    /// The same when nobody knows whether the controller still touches memory.
    pub(super) fn keep_orphans(&mut self) {
        self.unreachable = true;
        for job in self.current.take().into_iter().chain(std::mem::take(&mut self.jobs)) {
            if let Job::DeleteSq(orphan) | Job::DeleteCq(orphan) = job {
                orphan.keep();
            }
        }
    }

    /// Orphans that come after the end.
    pub(super) fn bury_late_orphans(&mut self) {
        if self.unreachable {
            self.keep_orphans();
        } else {
            self.bury_orphans();
        }
    }

    /// Whether the command could be aborted shows in its own completion, or in its absence.
    pub(super) fn abort_answered(&self, queue: QueueId) {
        let directory = self.shared.directory();
        if let Some(link) = directory.links().find(|link| link.queue_id == queue) {
            link.abort_answered();
        }
    }

    /// Sends the aborts that queues wish for, as many at once as the controller takes.
    pub(super) fn send_aborts(&mut self, now: Timestamp) {
        if self.state != State::Live {
            return;
        }
        let aborts_max = self.info.as_ref().map_or(1, |info| usize::from(info.identify.aborts_max()));
        let due = now.after(self.shared.options.admin_timeout);
        let links: Vec<_> = self.shared.directory().links().cloned().collect();
        for link in links {
            while self.admin.aborts() < aborts_max.min(ABORTS_MAX) {
                let Some((of, cid)) = link.next_abort_wish() else { break };
                if of != self.incarnation {
                    continue;
                }
                tracing::warn!(queue = %link.queue_id, command = %cid, "aborting a command that takes too long");
                let command = AdminCommand::Abort { sqid: link.queue_id, cid }.sqe(UNNUMBERED);
                if !self.admin.send(&*self.shared.function, &command, Purpose::Abort(link.queue_id), due) {
                    break;
                }
            }
        }
    }
}
