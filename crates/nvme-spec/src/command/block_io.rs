//! Commands on a range of logical blocks: Read, Write, Compare, Write Zeroes, Verify and Write Uncorrectable
//! (NVM, NVM Command Set Commands). They share a layout, of which some use less.

use super::opcode::NvmOpcode;
use crate::bits::{get32, high16, high32, join16, join32, low8, low16, low32};
use crate::ids::{CommandId, Nsid};
use crate::lba::{BlockCount, Lba, LbaRange};
use crate::sqe::Sqe;

bitflags::bitflags! {
    /// Bits 31:24 of command dword 12.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct IoControl: u8 {
        /// Storage Tag Check (STC).
        const STORAGE_TAG_CHECK = 1 << 0;
        /// Deallocate (DEAC): Write Zeroes should deallocate.
        const DEALLOCATE = 1 << 1;
        /// Protection Information Check (PRCHK): the reference tag.
        const CHECK_REFERENCE_TAG = 1 << 2;
        /// Protection Information Check (PRCHK): the application tag.
        const CHECK_APPLICATION_TAG = 1 << 3;
        /// Protection Information Check (PRCHK): the guard.
        const CHECK_GUARD = 1 << 4;
        /// Protection Information Action (PRACT): the controller inserts or strips protection information.
        const PROTECTION_ACTION = 1 << 5;
        /// Force Unit Access (FUA): the data is on the medium before the command completes.
        const FORCE_UNIT_ACCESS = 1 << 6;
        /// Limited Retry (LR).
        const LIMITED_RETRY = 1 << 7;
    }
}

/// The tags of protection information with a 16-bit guard and no storage tag (NVM, Protection Information
/// Formats).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ProtectionTags {
    /// Initial (write) or Expected Initial (read) Logical Block Reference Tag.
    pub reference: u32,
    /// Logical Block Application Tag, or the expected one (LBAT, ELBAT).
    pub application: u16,
    /// Which bits of the application tag are compared (LBATM, ELBATM).
    pub application_mask: u16,
}

/// The parameters of a command on logical blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BlockIo {
    /// The namespace.
    pub nsid: Nsid,
    /// The first logical block and how many there are; not yet known to exist.
    pub range: LbaRange,
    /// FUA, LR, protection information and the like.
    pub control: IoControl,
    /// Directive Type (DTYPE) of a write, 4 bits; 0 is none.
    pub directive_type: u8,
    /// Directive Specific (DSPEC) of a write.
    pub directive_specific: u16,
    /// Dataset Management (DSM): hints about how the data is used.
    pub dataset: u8,
    /// Reference and application tags.
    pub tags: ProtectionTags,
}

impl BlockIo {
    /// A command on these blocks, everything else being zero.
    #[must_use]
    #[inline]
    pub const fn new(nsid: Nsid, slba: Lba, blocks: BlockCount) -> Self {
        Self {
            nsid,
            range: LbaRange::new(slba, blocks),
            control: IoControl::empty(),
            directive_type: 0,
            directive_specific: 0,
            dataset: 0,
            tags: ProtectionTags { reference: 0, application: 0, application_mask: 0 },
        }
    }

    /// With these control bits.
    #[must_use]
    #[inline]
    pub const fn with_control(mut self, control: IoControl) -> Self {
        self.control = control;
        self
    }

    /// The entry of this command under the opcode of a block command; the data pointer is left empty.
    ///
    /// A driver's hot path: [`super::NvmCommand::sqe`] does the same for a value whose kind is known at run
    /// time only.
    #[must_use]
    #[inline]
    pub const fn sqe(&self, opcode: NvmOpcode, cid: CommandId) -> Sqe {
        let directive_type = (self.directive_type as u32 & 0xF) << 20;
        let control = (self.control.bits() as u32) << 24;
        Sqe::new(opcode.raw(), cid, self.nsid)
            .with_cdw10(low32(self.range.slba.0))
            .with_cdw11(high32(self.range.slba.0))
            .with_cdw12(self.range.blocks.zero_based() as u32 | directive_type | control)
            .with_cdw13(join16(self.dataset as u16, self.directive_specific))
            .with_cdw14(self.tags.reference)
            .with_cdw15(join16(self.tags.application, self.tags.application_mask))
    }

    /// Reads the parameters; every bit pattern is one.
    pub(super) const fn from_sqe(sqe: &Sqe) -> Self {
        let cdw12 = sqe.cdw12();
        Self {
            nsid: sqe.nsid(),
            range: LbaRange::new(
                Lba(join32(sqe.cdw10(), sqe.cdw11())),
                BlockCount::from_zero_based(low16(cdw12)),
            ),
            control: IoControl::from_bits_retain(low8(cdw12 >> 24)),
            directive_type: low8(get32(cdw12, 20, 4)),
            directive_specific: high16(sqe.cdw13()),
            dataset: low8(sqe.cdw13()),
            tags: ProtectionTags {
                reference: sqe.cdw14(),
                application: low16(sqe.cdw15()),
                application_mask: high16(sqe.cdw15()),
            },
        }
    }
}
