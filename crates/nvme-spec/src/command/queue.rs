//! Create I/O queues (Base, Memory-Based Transport Admin Commands).

use super::opcode::AdminOpcode;
use crate::bits::{get32, high16, join16, low16};
use crate::ids::{CommandId, Nsid, QueueId};
use crate::sqe::Sqe;
use crate::status::{Status, StatusCode};

/// The size of an I/O queue in entries: 2..=65536, 0-based on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueSize(u16);

impl QueueSize {
    /// `entries` entries, or `None` outside 2..=65536.
    #[must_use]
    pub const fn new(entries: u32) -> Option<Self> {
        match entries {
            2..=0x1_0000 => Some(Self(low16(entries - 1))),
            _ => None,
        }
    }

    /// From the wire's 0-based value; `None` for 0, since a queue has at least two entries.
    #[must_use]
    pub const fn from_zero_based(qsize: u16) -> Option<Self> {
        if qsize == 0 { None } else { Some(Self(qsize)) }
    }

    /// The wire's 0-based value.
    #[must_use]
    pub const fn zero_based(self) -> u16 {
        self.0
    }

    /// In entries, 2..=65536.
    #[must_use]
    pub const fn entries(self) -> u32 {
        self.0 as u32 + 1
    }
}

/// Queue Priority (QPRIO); counts with weighted round robin arbitration only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum QueuePriority {
    /// Urgent.
    #[default]
    Urgent = 0,
    /// High.
    High = 1,
    /// Medium.
    Medium = 2,
    /// Low.
    Low = 3,
}

/// Create I/O Submission Queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CreateIoSq {
    /// The new queue.
    pub qid: QueueId,
    /// Its size.
    pub size: QueueSize,
    /// PRP1: the queue's address if it is contiguous, otherwise that of a PRP list.
    pub prp1: u64,
    /// Physically Contiguous (PC).
    pub contiguous: bool,
    /// Its priority.
    pub priority: QueuePriority,
    /// The completion queue that its completions go to.
    pub cqid: QueueId,
    /// NVM Set Identifier (NVMSETID), or 0.
    pub nvmsetid: u16,
}

impl CreateIoSq {
    pub(super) const fn sqe(&self, cid: CommandId) -> Sqe {
        let flags = self.contiguous as u16 | (self.priority as u16) << 1;
        Sqe::new(AdminOpcode::CreateIoSq.raw(), cid, Nsid::NONE)
            .with_prps(self.prp1, 0)
            .with_cdw10(join16(self.qid.0, self.size.0))
            .with_cdw11(join16(flags, self.cqid.0))
            .with_cdw12(self.nvmsetid as u32)
    }

    pub(super) fn from_sqe(sqe: &Sqe) -> Result<Self, Status> {
        let priority = match get32(sqe.cdw11(), 1, 2) {
            0 => QueuePriority::Urgent,
            1 => QueuePriority::High,
            2 => QueuePriority::Medium,
            _ => QueuePriority::Low,
        };
        Ok(Self {
            qid: QueueId(low16(sqe.cdw10())),
            size: size_of_sqe(sqe)?,
            prp1: sqe.prp1(),
            contiguous: get32(sqe.cdw11(), 0, 1) != 0,
            priority,
            cqid: QueueId(high16(sqe.cdw11())),
            nvmsetid: low16(sqe.cdw12()),
        })
    }
}

/// Create I/O Completion Queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CreateIoCq {
    /// The new queue.
    pub qid: QueueId,
    /// Its size.
    pub size: QueueSize,
    /// PRP1: the queue's address if it is contiguous, otherwise that of a PRP list.
    pub prp1: u64,
    /// Physically Contiguous (PC).
    pub contiguous: bool,
    /// Interrupt Vector (IV) if interrupts are enabled (IEN), `None` for a polled queue.
    pub interrupt_vector: Option<u16>,
}

impl CreateIoCq {
    pub(super) const fn sqe(&self, cid: CommandId) -> Sqe {
        let (ien, iv) = match self.interrupt_vector {
            Some(vector) => (1, vector),
            None => (0, 0),
        };
        Sqe::new(AdminOpcode::CreateIoCq.raw(), cid, Nsid::NONE)
            .with_prps(self.prp1, 0)
            .with_cdw10(join16(self.qid.0, self.size.0))
            .with_cdw11(join16(self.contiguous as u16 | ien << 1, iv))
    }

    pub(super) fn from_sqe(sqe: &Sqe) -> Result<Self, Status> {
        let ien = get32(sqe.cdw11(), 1, 1) != 0;
        Ok(Self {
            qid: QueueId(low16(sqe.cdw10())),
            size: size_of_sqe(sqe)?,
            prp1: sqe.prp1(),
            contiguous: get32(sqe.cdw11(), 0, 1) != 0,
            interrupt_vector: ien.then_some(high16(sqe.cdw11())),
        })
    }
}

fn size_of_sqe(sqe: &Sqe) -> Result<QueueSize, Status> {
    QueueSize::from_zero_based(high16(sqe.cdw10())).ok_or(Status::permanent(StatusCode::INVALID_QUEUE_SIZE))
}
