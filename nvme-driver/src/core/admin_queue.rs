//! The admin queue: few commands, each with a purpose and a due time.

use block::Timestamp;
use dma::{AccessError, AddressTable, Segment};
use nvme_spec::registers::{AdminQueueAttributes, DoorbellStride};
use nvme_spec::{CommandId, Cqe, QueueId, Sqe};

use crate::pci::PciFunction;
use crate::ring::{CompletionRing, SubmissionRing};
use crate::slots::Slots;

/// Most admin commands in flight: one job, the event requests and the aborts, with room to spare.
const DEPTH: u16 = 32;

/// What an admin command is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The current job.
    Job,
    /// An asynchronous event request: it may take for ever.
    Event,
    /// An abort of a command of this queue.
    Abort(QueueId),
}

#[derive(Debug)]
struct Pending {
    purpose: Purpose,
    opcode: u8,
    due: Timestamp,
}

/// What came of looking for a completion.
#[derive(Debug)]
pub(super) enum Answer {
    /// A command was answered.
    Of(Purpose, Cqe),
    /// A completion answers no command.
    Stray(CommandId),
}

/// The admin queue pair.
#[derive(Debug)]
pub(super) struct AdminQueue {
    sq: SubmissionRing,
    cq: CompletionRing,
    pending: Slots<Pending>,
}

impl AdminQueue {
    pub(super) fn new(sq: Segment, cq: Segment, stride: DoorbellStride) -> Result<Self, AccessError> {
        let sq = SubmissionRing::new(sq, QueueId::ADMIN, stride, None)?;
        let cq = CompletionRing::new(cq, QueueId::ADMIN, stride, None)?;
        assert!(
            sq.entries() > u32::from(DEPTH) && cq.entries() > u32::from(DEPTH),
            "rings are longer than the depth"
        );
        Ok(Self { sq, cq, pending: Slots::new(DEPTH) })
    }

    /// The register values that name the queue: AQA, ASQ, ACQ.
    pub(super) fn registers(&self, addresses: &AddressTable) -> Option<(AdminQueueAttributes, u64, u64)> {
        let entries = |ring: u32| u16::try_from(ring).ok();
        let attributes = AdminQueueAttributes::new(entries(self.sq.entries())?, entries(self.cq.entries())?)?;
        Some((attributes, self.sq.iova(addresses)?, self.cq.iova(addresses)?))
    }

    /// Forgets everything, for a controller that begins anew.
    pub(super) fn clear(&mut self) {
        self.pending.release_all();
        self.sq.clear();
        self.cq.clear();
    }

    /// Sends a command; `false` if the queue is full.
    pub(super) fn send<F: PciFunction>(
        &mut self,
        function: &F,
        command: &Sqe,
        purpose: Purpose,
        due: Timestamp,
    ) -> bool {
        let Some((_, cid)) = self.pending.next_free() else { return false };
        self.pending.occupy(Pending { purpose, opcode: command.opcode(), due });
        self.sq.push(&command.with_cid(cid));
        self.sq.ring(function);
        true
    }

    /// The next answer.
    pub(super) fn poll<F: PciFunction>(&mut self, function: &F) -> Option<Answer> {
        let entry = self.cq.pop()?;
        self.cq.ring(function);
        let of_this_queue = entry.sqid().is_admin();
        match if of_this_queue { self.pending.release(entry.cid()) } else { None } {
            Some(pending) => Some(Answer::Of(pending.purpose, entry)),
            None => Some(Answer::Stray(entry.cid())),
        }
    }

    /// Event requests in flight.
    pub(super) fn events(&mut self) -> usize {
        self.pending.commands().filter(|(_, pending)| pending.purpose == Purpose::Event).count()
    }

    /// Aborts in flight.
    pub(super) fn aborts(&mut self) -> usize {
        self.pending.commands().filter(|(_, pending)| matches!(pending.purpose, Purpose::Abort(_))).count()
    }

    /// When the first command is due, and its opcode.
    pub(super) fn first_due(&mut self) -> Option<(Timestamp, u8)> {
        self.pending.commands().map(|(_, pending)| (pending.due, pending.opcode)).min()
    }
}
