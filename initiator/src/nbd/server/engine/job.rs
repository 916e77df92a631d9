//! One command on its way through the device.

use block::{BlockRange, Lba};
use dma::ScatterList;

use super::buffers::BufferList;
use super::cover::Cover;
use super::durability::Mark;
use crate::nbd::command::{Command, Refusal, Span};
use crate::nbd::server::clients::ClientKey;
use crate::nbd::wire::ExtentFlags;

/// A command, and whose it is.
#[derive(Clone, Copy, Debug)]
pub(in crate::nbd::server) struct Order {
    /// The client; nobody's is the server's own.
    pub(in crate::nbd::server) client: Option<ClientKey>,
    /// The client's mark.
    pub(in crate::nbd::server) cookie: u64,
    /// What to do.
    pub(in crate::nbd::server) command: Command,
}

/// The memory that a command needs. All of it is taken before it begins, so that no two wait for each other's.
#[derive(Debug, Default)]
pub(in crate::nbd::server) struct Reserved {
    /// The blocks that the command touches; for a write, its data goes [`Self::lead`] bytes behind the start.
    pub(in crate::nbd::server) data: BufferList,
    /// Bytes before the data.
    pub(in crate::nbd::server) lead: u32,
    /// The first and the last block, if they are covered in part.
    pub(super) edges: [BufferList; 2],
}

/// What a command ended with.
#[derive(Debug)]
pub(in crate::nbd::server) enum Answer {
    /// Done.
    Done,
    /// What was read.
    Data(ScatterList),
    /// What the first part of the bytes holds.
    Extents(Vec<(u32, ExtentFlags)>),
    /// Not done, or not as a whole.
    Refused(Refusal),
}

/// A command that has ended.
#[derive(Debug)]
pub(in crate::nbd::server) struct Finished {
    /// The command.
    pub(in crate::nbd::server) order: Order,
    /// How.
    pub(in crate::nbd::server) answer: Answer,
}

/// Where a job is.
///
/// ```text
///   READ, FLUSH, BLOCK_STATUS ───────────────────────────────┐
///                                                            ▼
///   WRITE, TRIM, WRITE_ZEROES ─► Waiting ─► [Edges ─►] ─► Body ─► [Sealing ─►] (finished)
/// ```
///
/// Waiting: others use its blocks. Edges: blocks that are changed in part are read. Body: the device works. Sealing: a
/// trim that is to be durable is flushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Waiting,
    Edges,
    Body,
    Sealing,
}

/// Which of a job's requests one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Body,
    FirstEdge,
    LastEdge,
}

impl Part {
    /// The request's mark: the job's number, and this.
    #[inline]
    pub(super) fn tag(self, job: u32) -> u64 {
        let part: u64 = match self {
            Self::Body => 0,
            Self::FirstEdge => 1,
            Self::LastEdge => 2,
        };
        part << u32::BITS | u64::from(job)
    }

    /// What a mark says.
    #[inline]
    pub(super) fn of_tag(tag: u64) -> (u32, Self) {
        let part = match tag >> u32::BITS {
            0 => Self::Body,
            1 => Self::FirstEdge,
            _ => Self::LastEdge,
        };
        // The lower half.
        (u32::try_from(tag & u64::from(u32::MAX)).unwrap_or(u32::MAX), part)
    }

    /// The place among the edges.
    pub(super) fn edge(self) -> Option<usize> {
        match self {
            Self::Body => None,
            Self::FirstEdge => Some(0),
            Self::LastEdge => Some(1),
        }
    }

    pub(super) const EDGES: [Self; 2] = [Self::FirstEdge, Self::LastEdge];
}

/// A command, and how far it is.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) order: Order,
    pub(super) cover: Cover,
    pub(super) stage: Stage,
    /// Requests in the device.
    pub(super) outstanding: u32,
    /// The first error.
    pub(super) failure: Option<Refusal>,
    pub(super) data: BufferList,
    pub(super) edges: [BufferList; 2],
    /// What was read, or found out.
    pub(super) answer: Option<Answer>,
    /// Zeroes that are written for a device that cannot zero: the next block.
    pub(super) next_zero: Lba,
    /// What the flush covers.
    pub(super) mark: Mark,
}

impl Job {
    pub(super) fn new(order: Order, cover: Cover, reserved: Reserved) -> Self {
        Self {
            order,
            cover,
            stage: Stage::Waiting,
            outstanding: 0,
            failure: None,
            data: reserved.data,
            edges: reserved.edges,
            answer: None,
            next_zero: cover.inner().start,
            mark: Mark::default(),
        }
    }

    /// The blocks of an inner zeroing that nothing has been done about.
    pub(super) fn zeroes_left(&self) -> BlockRange {
        let inner = self.cover.inner();
        let done = self.next_zero.0 - inner.start.0;
        BlockRange::new(self.next_zero, inner.blocks - done)
    }
}

/// The bytes of a command; none where it has no range.
pub(super) fn span_of(command: &Command) -> Span {
    match *command {
        Command::Read(span)
        | Command::Write { span, .. }
        | Command::Trim { span, .. }
        | Command::WriteZeroes { span, .. }
        | Command::BlockStatus { span, .. } => span,
        Command::Flush | Command::Disconnect => Span { offset: 0, bytes: 0 },
    }
}

/// Whether a command changes data, and whether it promises that this is durable.
pub(super) fn change_of(command: &Command) -> Option<bool> {
    match *command {
        Command::Write { fua, .. } | Command::Trim { fua, .. } | Command::WriteZeroes { fua, .. } => {
            Some(fua)
        }
        Command::Read(_) | Command::Flush | Command::BlockStatus { .. } | Command::Disconnect => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_says_which_request_of_which_job() {
        for part in [Part::Body, Part::FirstEdge, Part::LastEdge] {
            for job in [0, 7, u32::MAX] {
                assert_eq!(Part::of_tag(part.tag(job)), (job, part));
            }
        }
    }
}
