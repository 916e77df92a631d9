//! Identify Namespace, CNS 00h (NVM, Identify Namespace Data Structure).

use super::namespace_fields::{
    DeallocateFeatures, FormattedLba, LbaFormat, NamespaceAttributes, NamespaceFeatures, NamespaceSharing,
    ReservationCapabilities,
};
use crate::protection::ProtectionSettings;
use crate::structure::data_structure;

data_structure! {
    /// Identify Namespace, CNS 00h. The fields have the specification's acronyms. An inactive namespace is
    /// all zeroes.
    IdentifyNamespace, "Identify Namespace", 4096 {
        /// Namespace Size (NSZE) in logical blocks.
        0 nsze: u64,
        /// Namespace Capacity (NCAP): how many logical blocks can be allocated.
        8 ncap: u64,
        /// Namespace Utilization (NUSE): how many logical blocks are allocated.
        16 nuse: u64,
        /// Namespace Features (NSFEAT).
        24 nsfeat: NamespaceFeatures,
        /// Number of LBA Formats (NLBAF), 0-based.
        25 nlbaf: u8,
        /// Formatted LBA Size (FLBAS).
        26 flbas: FormattedLba,
        /// Metadata Capabilities (MC): bit 0 extended, bit 1 separate buffer.
        27 mc: u8,
        /// End-to-end Data Protection Capabilities (DPC): bits 2:0 types 1 to 3, bit 3 first, bit 4 last.
        28 dpc: u8,
        /// End-to-end Data Protection Type Settings (DPS).
        29 dps: ProtectionSettings,
        /// Multi-path and namespace sharing (NMIC).
        30 nmic: NamespaceSharing,
        /// Reservation Capabilities (RESCAP).
        31 rescap: ReservationCapabilities,
        /// Format Progress Indicator (FPI): bit 7 supported, bits 6:0 percentage that remains.
        32 fpi: u8,
        /// Deallocate Logical Block Features (DLFEAT).
        33 dlfeat: DeallocateFeatures,
        /// Namespace Atomic Write Unit Normal (NAWUN), 0-based logical blocks.
        34 nawun: u16,
        /// Namespace Atomic Write Unit Power Fail (NAWUPF), 0-based logical blocks.
        36 nawupf: u16,
        /// Namespace Atomic Compare and Write Unit (NACWU), 0-based logical blocks.
        38 nacwu: u16,
        /// Namespace Atomic Boundary Size Normal (NABSN), 0-based logical blocks; 0 is no boundary.
        40 nabsn: u16,
        /// Namespace Atomic Boundary Offset (NABO): the first boundary's logical block.
        42 nabo: u16,
        /// Namespace Atomic Boundary Size Power Fail (NABSPF), 0-based logical blocks; 0 is no boundary.
        44 nabspf: u16,
        /// Namespace Optimal I/O Boundary (NOIOB) in logical blocks; 0 is none.
        46 noiob: u16,
        /// NVM Capacity (NVMCAP) in bytes.
        48 nvmcap_bytes: u128,
        /// Namespace Preferred Write Granularity (NPWG), 0-based logical blocks.
        64 npwg: u16,
        /// Namespace Preferred Write Alignment (NPWA), 0-based logical blocks.
        66 npwa: u16,
        /// Namespace Preferred Deallocate Granularity (NPDG), 0-based logical blocks.
        68 npdg: u16,
        /// Namespace Preferred Deallocate Alignment (NPDA), 0-based logical blocks.
        70 npda: u16,
        /// Namespace Optimal Write Size (NOWS), 0-based logical blocks.
        72 nows: u16,
        /// Maximum Single Source Range Length (MSSRL) of Copy in logical blocks.
        74 mssrl: u16,
        /// Maximum Copy Length (MCL) in logical blocks.
        76 mcl: u32,
        /// Maximum Source Range Count (MSRC) of Copy, 0-based.
        80 msrc: u8,
        /// Number of Unique Attribute LBA Formats (NULBAF).
        82 nulbaf: u8,
        /// ANA Group Identifier (ANAGRPID).
        92 anagrpid: u32,
        /// Namespace Attributes (NSATTR).
        99 nsattr: NamespaceAttributes,
        /// NVM Set Identifier (NVMSETID).
        100 nvmsetid: u16,
        /// Endurance Group Identifier (ENDGID).
        102 endgid: u16,
        /// Namespace Globally Unique Identifier (NGUID), most significant byte first; zero is none.
        104 nguid: [u8; 16],
        /// IEEE Extended Unique Identifier (EUI64), most significant byte first; zero is none.
        120 eui64: [u8; 8],
        /// LBA formats, of which `nlbaf` + 1 count (and `nulbaf` more).
        128 lbaf: [LbaFormat; 64],
    }
}

impl IdentifyNamespace {
    /// The LBA format that the namespace has now.
    #[must_use]
    pub fn format(&self) -> LbaFormat {
        self.lbaf[usize::from(self.flbas.index())]
    }

    /// Whether the namespace is active: an inactive one is all zeroes.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.nsze != 0
    }

    /// The NGUID, if there is one.
    #[must_use]
    pub fn nguid(&self) -> Option<[u8; 16]> {
        (self.nguid != [0; 16]).then_some(self.nguid)
    }

    /// The EUI64, if there is one.
    #[must_use]
    pub fn eui64(&self) -> Option<[u8; 8]> {
        (self.eui64 != [0; 8]).then_some(self.eui64)
    }
}
