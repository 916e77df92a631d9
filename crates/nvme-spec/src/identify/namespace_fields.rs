//! Fields of the Identify Namespace structures (NVM, Identify Namespace Data Structure, NVM Command Set).

use crate::bits::{get32, low8, low16, set32};
use crate::structure::{flags, packed};

flags! {
    /// Namespace Features (NSFEAT) of Identify Namespace.
    NamespaceFeatures: u8 {
        /// Thin Provisioning (THINP).
        THIN_PROVISIONING = 0;
        /// NAWUN, NAWUPF and NACWU are defined for this namespace (NSABP).
        ATOMIC_UNITS = 1;
        /// Deallocated or Unwritten Logical Block error (DAE).
        DEALLOCATED_ERROR = 2;
        /// A non-zero NGUID or EUI64 is never reused (UIDREUSE).
        IDENTIFIERS_NOT_REUSED = 3;
        /// NPWG, NPWA, NPDG, NPDA and NOWS are defined (OPTPERF, low bit).
        OPTIMAL_PERFORMANCE = 4;
        /// NPDGL and NPDAL of the NVM command set's namespace structure are defined (OPTPERF, high bit).
        OPTIMAL_PERFORMANCE_LARGE = 5;
    }
}

flags! {
    /// Namespace Multi-path I/O and Namespace Sharing Capabilities (NMIC).
    NamespaceSharing: u8 {
        /// Several controllers may have the namespace attached (SHRNS).
        SHARED = 0;
        /// The namespace is dispersed over several subsystems (DISNS).
        DISPERSED = 1;
    }
}

flags! {
    /// Reservation Capabilities (RESCAP).
    ReservationCapabilities: u8 {
        /// Persist Through Power Loss.
        PERSIST_THROUGH_POWER_LOSS = 0;
        /// Write Exclusive.
        WRITE_EXCLUSIVE = 1;
        /// Exclusive Access.
        EXCLUSIVE_ACCESS = 2;
        /// Write Exclusive - Registrants Only.
        WRITE_EXCLUSIVE_REGISTRANTS_ONLY = 3;
        /// Exclusive Access - Registrants Only.
        EXCLUSIVE_ACCESS_REGISTRANTS_ONLY = 4;
        /// Write Exclusive - All Registrants.
        WRITE_EXCLUSIVE_ALL_REGISTRANTS = 5;
        /// Exclusive Access - All Registrants.
        EXCLUSIVE_ACCESS_ALL_REGISTRANTS = 6;
        /// Ignore Existing Key as NVMe 1.3 and later define it.
        IEKEY_AS_1_3 = 7;
    }
}

flags! {
    /// Namespace Attributes (NSATTR).
    NamespaceAttributes: u8 {
        /// Currently Write Protected.
        WRITE_PROTECTED = 0;
    }
}

flags! {
    /// Namespace Status (NSTAT).
    NamespaceStatus: u8 {
        /// Namespace Ready (NRDY).
        READY = 0;
    }
}

packed! {
    /// Deallocate Logical Block Features (DLFEAT).
    DeallocateFeatures: u8
}

/// What a deallocated logical block reads as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ReadAfterDeallocate {
    /// Not reported.
    NotReported = 0,
    /// All bytes 00h.
    Zeroes = 1,
    /// All bytes FFh.
    Ones = 2,
}

impl DeallocateFeatures {
    /// What deallocated blocks read as, whether Write Zeroes can deallocate (WZDS).
    #[must_use]
    pub const fn new(reads_as: ReadAfterDeallocate, write_zeroes_deallocates: bool) -> Self {
        Self(reads_as as u8 | (write_zeroes_deallocates as u8) << 3)
    }

    /// What deallocated blocks read as; `None` is a reserved value.
    #[must_use]
    pub const fn reads_as(self) -> Option<ReadAfterDeallocate> {
        match self.0 & 0b111 {
            0 => Some(ReadAfterDeallocate::NotReported),
            1 => Some(ReadAfterDeallocate::Zeroes),
            2 => Some(ReadAfterDeallocate::Ones),
            _ => None,
        }
    }

    /// Write Zeroes Deallocation Support (WZDS).
    #[must_use]
    pub const fn write_zeroes_deallocates(self) -> bool {
        self.0 & 0b1000 != 0
    }
}

packed! {
    /// Formatted LBA Size (FLBAS).
    FormattedLba: u8
}

impl FormattedLba {
    /// LBA format `index` (0..=63), metadata at the end of the data (extended) or in a separate buffer.
    #[must_use]
    pub const fn new(index: u8, extended: bool) -> Self {
        Self(index & 0xF | (extended as u8) << 4 | (index >> 4 & 0b11) << 5)
    }

    /// Which of the LBA formats the namespace has, 0..=63: FIDXL in bits 3:0, FIDXU in bits 6:5.
    #[must_use]
    pub const fn index(self) -> u8 {
        self.0 & 0xF | (self.0 >> 5 & 0b11) << 4
    }

    /// Metadata is at the end of each logical block's data, not in a separate buffer.
    #[must_use]
    pub const fn is_extended(self) -> bool {
        self.0 & 0x10 != 0
    }
}

packed! {
    /// LBA Format (LBAF).
    LbaFormat: u32
}

impl LbaFormat {
    /// The least LBA data size, as a power of two: 512 bytes.
    pub const DATA_SHIFT_MIN: u8 = 9;

    /// A format with 2^`lbads` bytes of data and `ms` bytes of metadata per block.
    #[must_use]
    pub const fn new(lbads: u8, ms: u16) -> Self {
        Self(ms as u32 | (lbads as u32) << 16)
    }

    /// Metadata Size (MS) in bytes.
    #[must_use]
    pub const fn metadata_bytes(self) -> u16 {
        low16(self.0)
    }

    /// LBA Data Size (LBADS) as a power of two; 0 for a format that is not available.
    #[must_use]
    pub const fn lbads(self) -> u8 {
        low8(self.0 >> 16)
    }

    /// LBA data size in bytes, or `None` when the format is not available or says nonsense: below 512 bytes,
    /// or more than 31 bits can say.
    #[must_use]
    pub const fn data_bytes(self) -> Option<u32> {
        match self.lbads() {
            shift @ Self::DATA_SHIFT_MIN..=30 => Some(1 << shift),
            _ => None,
        }
    }

    /// Relative Performance (RP), 0 (best) to 3.
    #[must_use]
    pub const fn relative_performance(self) -> u8 {
        low8(get32(self.0, 24, 2))
    }

    /// With a relative performance, 0 (best) to 3.
    #[must_use]
    pub const fn with_relative_performance(self, rp: u8) -> Self {
        Self(set32(self.0, 24, 2, rp as u32))
    }
}
