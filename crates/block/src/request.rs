//! One piece of work for a device.

use std::sync::atomic::{AtomicU32, Ordering};

use dma::ScatterList;
use nvme_spec::Lba;
use nvme_spec::command::{AcquireAction, PersistChange, RegisterAction, ReleaseAction};
use nvme_spec::reservation::ReservationType;

use crate::error::InvalidRequest;
use crate::geometry::Geometry;
use crate::time::Timestamp;

/// Blocks in a row, with a 64-bit count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct BlockRange {
    /// The first block.
    pub start: Lba,
    /// How many.
    pub blocks: u64,
}

impl BlockRange {
    /// `blocks` blocks from `start`.
    #[inline]
    #[must_use]
    pub const fn new(start: Lba, blocks: u64) -> Self {
        Self { start, blocks }
    }

    /// The block after the last; `None` beyond 64 bits.
    #[inline]
    #[must_use]
    pub const fn end(&self) -> Option<Lba> {
        self.start.checked_add(self.blocks)
    }

    /// Whether all blocks are below `blocks`.
    #[inline]
    #[must_use]
    pub fn fits(&self, blocks: u64) -> bool {
        self.end().is_some_and(|end| end.0 <= blocks)
    }

    /// Whether the ranges have a block in common.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        let ends = |range: &Self| u128::from(range.start.0) + u128::from(range.blocks);
        u128::from(self.start.0).max(u128::from(other.start.0)) < ends(self).min(ends(other))
    }
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// Fill the memory from the device.
    Read,
    /// Write the memory to the device; with `fua` it is durable when it completes.
    Write {
        /// Force unit access.
        fua: bool,
    },
    /// Make durable every write that completed, on any queue, before this was submitted. No range, no memory.
    Flush,
    /// Make the blocks read as zeroes; with `fua` durably.
    WriteZeroes {
        /// Force unit access.
        fua: bool,
        /// The device may give the space back.
        may_unmap: bool,
    },
    /// The content is no longer needed: a hint. What the blocks read as afterwards is the device's choice.
    Discard,
    /// Fail with a miscompare if the blocks differ from the memory.
    Compare,
    /// Let the device check that it can read the blocks. No memory.
    Verify,
    /// A reservation command. No range; the memory is the data structure that it carries or returns.
    Reservation(ReservationOp),
}

/// A reservation command (NVMe Base 8.1.22). Its memory is as `nvme_spec::reservation` lays it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReservationOp {
    /// Registers, replaces or removes this host's key; carries a `RegisterData`.
    Register {
        /// What to do.
        action: RegisterAction,
        /// Replace without a check of the current key.
        ignore_existing_key: bool,
        /// What is to become of the reservation at a power loss.
        persist: PersistChange,
    },
    /// Takes the reservation, from somebody else if need be; carries an `AcquireData`.
    Acquire {
        /// What to do.
        action: AcquireAction,
        /// The reservation to hold.
        rtype: ReservationType,
    },
    /// Gives the reservation up, or clears it and all registrations; carries the current key.
    Release {
        /// What to do.
        action: ReleaseAction,
        /// The reservation that is held; none for a clear.
        rtype: Option<ReservationType>,
    },
    /// Returns a `ReservationStatus` as long as the memory, which is a multiple of 4 bytes.
    Report {
        /// With host identifiers of 128 bits.
        extended: bool,
    },
}

impl Op {
    /// Whether it changes what is on the device.
    #[inline]
    #[must_use]
    pub const fn changes_data(self) -> bool {
        matches!(self, Self::Write { .. } | Self::WriteZeroes { .. } | Self::Discard)
    }

    /// Whether the request has a range of blocks.
    #[inline]
    #[must_use]
    pub const fn has_range(self) -> bool {
        !matches!(self, Self::Flush | Self::Reservation(_))
    }

    /// Whether the request has memory as long as its range.
    #[inline]
    #[must_use]
    pub const fn has_data(self) -> bool {
        matches!(self, Self::Read | Self::Write { .. } | Self::Compare)
    }
}

/// One piece of work, which owns its memory until it completes.
#[derive(Debug)]
pub struct Request {
    /// What to do.
    pub op: Op,
    /// Which blocks; empty where [`Op::has_range`] says so.
    pub range: BlockRange,
    /// The memory; empty where [`Op::has_data`] says so.
    pub data: ScatterList,
    /// When the submitter stops waiting: from then on the device sees to it that the request ends.
    pub deadline: Timestamp,
    /// The submitter's own mark, given back with the completion and not looked at.
    pub tag: u64,
    /// Whose piece it is. Like the tag it is given back and not looked at, but by the wrapper that made it.
    pub mark: PieceMark,
}

/// Tells a piece of a request from a request, and the pieces of one wrapper from those of another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PieceMark {
    /// The wrapper's number; 0 is for a request that nobody cut.
    maker: u32,
    index: u32,
}

/// What a wrapper that makes requests of its own (pieces, copies for several legs) marks them with, so that whatever it
/// did not make passes by untouched.
#[derive(Debug)]
pub struct PieceMarker(u32);

impl PieceMarker {
    /// A marker unlike every other of this process (of the last four billion).
    #[must_use]
    pub fn unique() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        Self(NEXT.fetch_add(1, Ordering::Relaxed).max(1))
    }

    /// The mark of the piece with this index, which the wrapper chooses.
    #[inline]
    #[must_use]
    pub fn mark(&self, index: u32) -> PieceMark {
        PieceMark { maker: self.0, index }
    }

    /// The index of a piece that this marker marked; `None` for any other request.
    #[inline]
    #[must_use]
    pub fn index_of(&self, request: &Request) -> Option<u32> {
        (request.mark.maker == self.0).then_some(request.mark.index)
    }
}

impl Request {
    /// A request without a deadline of its own (devices have one for every command).
    #[must_use]
    pub fn new(op: Op, range: BlockRange, data: ScatterList) -> Self {
        Self { op, range, data, deadline: Timestamp::NEVER, tag: 0, mark: PieceMark::default() }
    }

    /// A flush.
    #[must_use]
    pub fn flush() -> Self {
        Self::new(Op::Flush, BlockRange::default(), ScatterList::default())
    }

    /// The same with a mark.
    #[must_use]
    pub fn with_tag(mut self, tag: u64) -> Self {
        self.tag = tag;
        self
    }

    /// The same with a deadline.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Timestamp) -> Self {
        self.deadline = deadline;
        self
    }

    /// Checks range and data length against a geometry: what every device checks before it does anything.
    #[inline]
    pub fn check(&self, geometry: &Geometry) -> Result<(), InvalidRequest> {
        if !self.op.has_range() {
            return Ok(());
        }
        if self.range.blocks == 0 || !self.range.fits(geometry.blocks) {
            return Err(InvalidRequest::Range);
        }
        let wanted =
            if self.op.has_data() { geometry.block_size.bytes_of(self.range.blocks) } else { Some(0) };
        if wanted == Some(self.data.bytes()) { Ok(()) } else { Err(InvalidRequest::DataLength) }
    }

    /// Checks the number of blocks against the limits of a geometry.
    #[inline]
    pub fn check_size(&self, geometry: &Geometry) -> Result<(), InvalidRequest> {
        let blocks_max = match self.op {
            Op::WriteZeroes { .. } => geometry.limits.zeroes_blocks_max,
            Op::Discard => geometry.limits.discard_blocks_max,
            _ => u64::from(geometry.limits.transfer_blocks_max),
        };
        if self.range.blocks > blocks_max { Err(InvalidRequest::TooLarge) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::{BlockSize, Limits, WriteCache};

    fn geometry(blocks: u64) -> Geometry {
        Geometry {
            block_size: BlockSize::B512,
            blocks,
            limits: Limits { transfer_blocks_max: 8, discard_blocks_max: 16, ..Limits::NONE },
            atomic_blocks: 1,
            write_cache: WriteCache::Through,
        }
    }

    fn discard(start: u64, blocks: u64) -> Request {
        Request::new(Op::Discard, BlockRange::new(Lba(start), blocks), ScatterList::default())
    }

    #[test]
    fn a_range_must_be_inside_and_not_empty() {
        let largest = geometry(u64::MAX);
        assert_eq!(discard(u64::MAX - 1, 1).check(&largest), Ok(()));
        for (start, blocks) in [(0, 0), (u64::MAX, 1), (u64::MAX - 1, 2), (2, u64::MAX), (u64::MAX, u64::MAX)]
        {
            assert_eq!(discard(start, blocks).check(&largest), Err(InvalidRequest::Range));
        }
    }

    #[test]
    fn the_data_must_be_as_long_as_the_range() {
        let read = Request::new(Op::Read, BlockRange::new(Lba(0), 1), ScatterList::default());
        assert_eq!(read.check(&geometry(8)), Err(InvalidRequest::DataLength));
        assert_eq!(Request::flush().check(&geometry(8)), Ok(()));
    }

    #[test]
    fn each_kind_has_its_own_limit() {
        assert_eq!(discard(0, 16).check_size(&geometry(100)), Ok(()));
        assert_eq!(discard(0, 17).check_size(&geometry(100)), Err(InvalidRequest::TooLarge));
        let verify = Request::new(Op::Verify, BlockRange::new(Lba(0), 9), ScatterList::default());
        assert_eq!(verify.check_size(&geometry(100)), Err(InvalidRequest::TooLarge));
    }

    #[test]
    fn a_marker_knows_its_own_pieces_only() {
        let (one, other) = (PieceMarker::unique(), PieceMarker::unique());
        let mut piece = Request::flush();
        assert_eq!(one.index_of(&piece), None);
        piece.mark = one.mark(7);
        assert_eq!((one.index_of(&piece), other.index_of(&piece)), (Some(7), None));
    }

    #[test]
    fn overlap_counts_blocks_in_common() {
        let range = |start, blocks| BlockRange::new(Lba(start), blocks);
        assert!(range(0, 2).overlaps(&range(1, 1)) && range(5, u64::MAX).overlaps(&range(u64::MAX, 1)));
        assert!(!range(0, 2).overlaps(&range(2, 1)) && !range(1, 0).overlaps(&range(0, 4)));
    }
}
