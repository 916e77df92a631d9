//! Dataset Management (NVM, Dataset Management command).

use super::opcode::NvmOpcode;
use crate::bits::low8;
use crate::ids::{CommandId, Nsid};
use crate::lba::Lba;
use crate::sqe::Sqe;
use crate::structure::data_structure;

bitflags::bitflags! {
    /// Attributes, command dword 11.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct DsmAttributes: u8 {
        /// Integral Dataset for Read (IDR).
        const INTEGRAL_READ = 1 << 0;
        /// Integral Dataset for Write (IDW).
        const INTEGRAL_WRITE = 1 << 1;
        /// Deallocate (AD).
        const DEALLOCATE = 1 << 2;
    }
}

/// How many ranges a Dataset Management command has: 1..=256, 0-based on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RangeCount(u8);

impl RangeCount {
    /// The most ranges that one command can have.
    pub const MAX: Self = Self(u8::MAX);

    /// `ranges` ranges, or `None` outside 1..=256.
    #[must_use]
    pub const fn new(ranges: u16) -> Option<Self> {
        match ranges {
            1..=256 => Some(Self(low8(ranges as u32 - 1))),
            _ => None,
        }
    }

    /// From the wire's 0-based value.
    #[must_use]
    pub const fn from_zero_based(nr: u8) -> Self {
        Self(nr)
    }

    /// The number of ranges, 1..=256.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0 as u16 + 1
    }

    /// The size of the command's data in bytes, 16..=4096.
    #[must_use]
    pub const fn bytes(self) -> usize {
        self.get() as usize * DsmRange::BYTES
    }
}

/// Dataset Management: says how ranges of blocks are used, or that they are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DatasetManagement {
    /// The namespace.
    pub nsid: Nsid,
    /// How many ranges the data has.
    pub ranges: RangeCount,
    /// What is said of them.
    pub attributes: DsmAttributes,
}

impl DatasetManagement {
    /// Deallocate (trim) so many ranges.
    #[must_use]
    pub const fn deallocate(nsid: Nsid, ranges: RangeCount) -> Self {
        Self { nsid, ranges, attributes: DsmAttributes::DEALLOCATE }
    }

    /// The entry of this command; the data pointer is left empty.
    #[must_use]
    pub const fn sqe(&self, cid: CommandId) -> Sqe {
        Sqe::new(NvmOpcode::DatasetManagement.raw(), cid, self.nsid)
            .with_cdw10(self.ranges.0 as u32)
            .with_cdw11(self.attributes.bits() as u32)
    }

    pub(super) const fn from_sqe(sqe: &Sqe) -> Self {
        Self {
            nsid: sqe.nsid(),
            ranges: RangeCount::from_zero_based(low8(sqe.cdw10())),
            attributes: DsmAttributes::from_bits_truncate(low8(sqe.cdw11())),
        }
    }
}

data_structure! {
    /// One range of the command's data.
    #[derive(Copy)]
    DsmRange, "Dataset Management Range", 16 {
        /// Context Attributes: hints.
        0 context_attributes: u32,
        /// Length in logical blocks, not 0-based; 0 is an empty range.
        4 blocks: u32,
        /// The first logical block (SLBA).
        8 slba: Lba,
    }
}

impl DsmRange {
    /// The address after the last block, or `None` when that is beyond 2^64 - 1.
    #[must_use]
    pub const fn end(&self) -> Option<Lba> {
        self.slba.checked_add(self.blocks as u64)
    }
}
