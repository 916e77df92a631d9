//! Structures that I/O command sets added: CNS 05h and 06h of the NVM command set (NVM, I/O Command Set
//! specific Identify data structures), and CNS 08h, which is the same for all (Base, I/O Command Set
//! Independent Identify Namespace).

use super::namespace_fields::{
    NamespaceAttributes, NamespaceSharing, NamespaceStatus, ReservationCapabilities,
};
use crate::bits::{get32, low8};
use crate::structure::{data_structure, packed};

packed! {
    /// Extended LBA Format (ELBAF).
    ExtendedLbaFormat: u32
}

impl ExtendedLbaFormat {
    /// Storage Tag Size (STS) in bits.
    #[must_use]
    pub const fn storage_tag_bits(self) -> u8 {
        low8(get32(self.0, 0, 7))
    }

    /// Protection Information Format (PIF): 0 is a guard of 16 bits, 1 of 32, 2 of 64.
    #[must_use]
    pub const fn protection_format(self) -> u8 {
        low8(get32(self.0, 7, 2))
    }
}

data_structure! {
    /// I/O Command Set specific Identify Namespace of the NVM command set, CNS 05h with CSI 00h.
    NvmNamespace, "NVM Command Set Identify Namespace", 4096 {
        /// Logical Block Storage Tag Mask (LBSTM).
        0 lbstm: u64,
        /// Protection Information Capabilities (PIC).
        8 pic: u8,
        /// Protection Information Format Attribute (PIFA).
        9 pifa: u8,
        /// Extended LBA formats, one for each LBA format.
        12 elbaf: [ExtendedLbaFormat; 64],
        /// Namespace Preferred Deallocate Granularity Large (NPDGL) in logical blocks.
        268 npdgl: u32,
        /// Namespace Preferred Read Granularity (NPRG) in logical blocks.
        272 nprg: u32,
        /// Namespace Preferred Read Alignment (NPRA) in logical blocks.
        276 npra: u32,
        /// Namespace Optimal Read Size (NORS) in logical blocks.
        280 nors: u32,
        /// Namespace Preferred Deallocate Alignment Large (NPDAL) in logical blocks.
        284 npdal: u32,
    }
}

data_structure! {
    /// I/O Command Set specific Identify Controller of the NVM command set, CNS 06h with CSI 00h. Sizes are
    /// powers of two of the smallest page (CAP.MPSMIN); 0 is no limit.
    NvmController, "NVM Command Set Identify Controller", 4096 {
        /// Verify Size Limit (VSL).
        0 vsl: u8,
        /// Write Zeroes Size Limit (WZSL).
        1 wzsl: u8,
        /// Write Uncorrectable Size Limit (WUSL).
        2 wusl: u8,
        /// Dataset Management Ranges Limit (DMRL): the most ranges of a command; 0 is no limit.
        3 dmrl: u8,
        /// Dataset Management Range Size Limit (DMRSL) in logical blocks; 0 is no limit.
        4 dmrsl: u32,
        /// Dataset Management Size Limit (DMSL) in logical blocks, over all ranges; 0 is no limit.
        8 dmsl: u64,
    }
}

data_structure! {
    /// I/O Command Set Independent Identify Namespace, CNS 08h.
    IndependentNamespace, "I/O Command Set Independent Identify Namespace", 4096 {
        /// Common Namespace Features (NSFEAT): not the layout of CNS 00h. Bit 3 is UIDREUSE, bit 4 RMEDIA
        /// (rotational media), bit 5 VWCNP (a volatile write cache is not present).
        0 nsfeat: u8,
        /// Multi-path and namespace sharing (NMIC).
        1 nmic: NamespaceSharing,
        /// Reservation Capabilities (RESCAP).
        2 rescap: ReservationCapabilities,
        /// Format Progress Indicator (FPI): bit 7 supported, bits 6:0 percentage that remains.
        3 fpi: u8,
        /// ANA Group Identifier (ANAGRPID).
        4 anagrpid: u32,
        /// Namespace Attributes (NSATTR).
        8 nsattr: NamespaceAttributes,
        /// NVM Set Identifier (NVMSETID).
        10 nvmsetid: u16,
        /// Endurance Group Identifier (ENDGID).
        12 endgid: u16,
        /// Namespace Status (NSTAT).
        14 nstat: NamespaceStatus,
    }
}
