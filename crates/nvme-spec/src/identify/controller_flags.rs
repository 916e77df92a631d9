//! Fields of Identify Controller that are bits (Base, Identify Controller Data Structure).

use crate::bits::low8;
use crate::structure::{flags, packed};

flags! {
    /// Controller Multi-Path I/O and Namespace Sharing Capabilities (CMIC).
    MultiPath: u8 {
        /// The NVM subsystem has more than one port.
        PORTS = 0;
        /// The NVM subsystem has more than one controller.
        CONTROLLERS = 1;
        /// The controller is an SR-IOV virtual function.
        VIRTUAL_FUNCTION = 2;
        /// Asymmetric namespace access reporting.
        ANA_REPORTING = 3;
    }
}

flags! {
    /// Controller Attributes (CTRATT).
    ControllerAttributes: u32 {
        /// Host identifiers of 128 bits.
        HOST_IDENTIFIER_128 = 0;
        /// Non-Operational Power State Permissive Mode.
        NON_OPERATIONAL_POWER_STATE = 1;
        /// NVM sets.
        NVM_SETS = 2;
        /// Read recovery levels.
        READ_RECOVERY_LEVELS = 3;
        /// Endurance groups.
        ENDURANCE_GROUPS = 4;
        /// Predictable latency mode.
        PREDICTABLE_LATENCY = 5;
        /// Traffic Based Keep Alive.
        TRAFFIC_BASED_KEEP_ALIVE = 6;
        /// Namespace granularity.
        NAMESPACE_GRANULARITY = 7;
        /// Submission queue associations.
        SQ_ASSOCIATIONS = 8;
        /// UUID list.
        UUID_LIST = 9;
        /// The NVM subsystem has multiple domains.
        MULTI_DOMAIN = 10;
        /// Extended LBA formats: protection information of 32 and 64 bits.
        EXTENDED_LBA_FORMATS = 15;
        /// MDTS and size limits exclude metadata.
        METADATA_EXCLUDED = 16;
    }
}

flags! {
    /// Optional Admin Command Support (OACS).
    AdminCommands: u16 {
        /// Security Send and Security Receive.
        SECURITY = 0;
        /// Format NVM.
        FORMAT_NVM = 1;
        /// Firmware Commit and Firmware Image Download.
        FIRMWARE = 2;
        /// Namespace Management and Attachment.
        NAMESPACE_MANAGEMENT = 3;
        /// Device Self-test.
        DEVICE_SELF_TEST = 4;
        /// Directives.
        DIRECTIVES = 5;
        /// NVMe-MI Send and Receive.
        NVME_MI = 6;
        /// Virtualization Management.
        VIRTUALIZATION_MANAGEMENT = 7;
        /// Doorbell Buffer Config.
        DOORBELL_BUFFER_CONFIG = 8;
        /// Get LBA Status.
        GET_LBA_STATUS = 9;
        /// Lockdown.
        LOCKDOWN = 10;
    }
}

flags! {
    /// Log Page Attributes (LPA).
    LogAttributes: u8 {
        /// SMART / Health Information per namespace.
        SMART_PER_NAMESPACE = 0;
        /// Commands Supported and Effects.
        COMMANDS_SUPPORTED = 1;
        /// Get Log Page with 32-bit NUMD and with LPO.
        EXTENDED_DATA = 2;
        /// Telemetry logs and notices.
        TELEMETRY = 3;
        /// Persistent event log.
        PERSISTENT_EVENTS = 4;
    }
}

flags! {
    /// Asymmetric Namespace Access Capabilities (ANACAP).
    AnaCapabilities: u8 {
        /// The controller can report ANA Optimized.
        OPTIMIZED = 0;
        /// The controller can report ANA Non-Optimized.
        NON_OPTIMIZED = 1;
        /// The controller can report ANA Inaccessible.
        INACCESSIBLE = 2;
        /// The controller can report ANA Persistent Loss.
        PERSISTENT_LOSS = 3;
        /// The controller can report ANA Change.
        CHANGE = 4;
        /// A namespace's ANAGRPID does not change while it is attached.
        GROUP_FIXED = 6;
        /// A non-zero ANAGRPID is allowed in Namespace Management.
        GROUP_SELECTABLE = 7;
    }
}

flags! {
    /// Optional NVM Command Support (ONCS).
    NvmCommands: u16 {
        /// Compare.
        COMPARE = 0;
        /// Write Uncorrectable.
        WRITE_UNCORRECTABLE = 1;
        /// Dataset Management.
        DATASET_MANAGEMENT = 2;
        /// Write Zeroes.
        WRITE_ZEROES = 3;
        /// Save in Set Features and Select in Get Features.
        SAVE_AND_SELECT = 4;
        /// Reservations.
        RESERVATIONS = 5;
        /// Timestamp feature.
        TIMESTAMP = 6;
        /// Verify.
        VERIFY = 7;
        /// Copy.
        COPY = 8;
    }
}

flags! {
    /// Fused Operation Support (FUSES).
    FusedOperations: u16 {
        /// Compare and Write.
        COMPARE_AND_WRITE = 0;
    }
}

flags! {
    /// Format NVM Attributes (FNA).
    FormatAttributes: u8 {
        /// A format applies to all namespaces.
        FORMAT_ALL = 0;
        /// A secure erase applies to all namespaces.
        ERASE_ALL = 1;
        /// Cryptographic erase.
        CRYPTOGRAPHIC_ERASE = 2;
    }
}

packed! {
    /// Controller Type (CNTRLTYPE).
    ControllerType: u8
}

impl ControllerType {
    /// Not reported: a controller of before NVMe 1.4.
    pub const NOT_REPORTED: Self = Self(0);
    /// I/O controller.
    pub const IO: Self = Self(1);
    /// Discovery controller.
    pub const DISCOVERY: Self = Self(2);
    /// Administrative controller.
    pub const ADMINISTRATIVE: Self = Self(3);
}

packed! {
    /// Volatile Write Cache (VWC).
    VolatileWriteCache: u8
}

impl VolatileWriteCache {
    /// No volatile write cache.
    pub const ABSENT: Self = Self(0);
    /// A volatile write cache, and Flush takes no broadcast NSID.
    pub const PRESENT: Self = Self(0b101);
    /// A volatile write cache, and Flush with the broadcast NSID flushes all namespaces.
    pub const PRESENT_FLUSH_ALL: Self = Self(0b111);

    /// Whether there is a volatile write cache (VWCP), so that a completed write may be lost with power.
    #[must_use]
    pub const fn is_present(self) -> bool {
        self.0 & 1 != 0
    }

    /// Flush Behavior (FB): whether Flush takes the broadcast NSID; `None` when the controller does not say.
    #[must_use]
    pub const fn flushes_all(self) -> Option<bool> {
        match self.0 >> 1 & 0b11 {
            0b10 => Some(false),
            0b11 => Some(true),
            _ => None,
        }
    }
}

packed! {
    /// SGL Support (SGLS).
    SglSupport: u32
}

/// How SGL data blocks have to be aligned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SglAlignment {
    /// Any address and length.
    Byte,
    /// Addresses and lengths are multiples of 4.
    Dword,
}

impl SglSupport {
    const BASE: u32 = 0b11;
    const KEYED: u32 = 1 << 2;
    const BIT_BUCKET: u32 = 1 << 16;
    const OFFSET: u32 = 1 << 20;
    const TRANSPORT: u32 = 1 << 21;

    /// SGLs with this alignment.
    #[must_use]
    pub const fn new(alignment: SglAlignment) -> Self {
        match alignment {
            SglAlignment::Byte => Self(1),
            SglAlignment::Dword => Self(2),
        }
    }

    /// Whether and how SGLs are supported; `None` for no support and for the reserved value.
    #[must_use]
    pub const fn alignment(self) -> Option<SglAlignment> {
        match self.0 & Self::BASE {
            1 => Some(SglAlignment::Byte),
            2 => Some(SglAlignment::Dword),
            _ => None,
        }
    }

    /// Keyed SGL Data Block descriptors.
    #[must_use]
    pub const fn keyed(self) -> bool {
        self.0 & Self::KEYED != 0
    }

    /// SGL Bit Bucket descriptors.
    #[must_use]
    pub const fn bit_bucket(self) -> bool {
        self.0 & Self::BIT_BUCKET != 0
    }

    /// The address of a descriptor can be an offset into the capsule.
    #[must_use]
    pub const fn offset(self) -> bool {
        self.0 & Self::OFFSET != 0
    }

    /// Transport SGL Data Block descriptors.
    #[must_use]
    pub const fn transport(self) -> bool {
        self.0 & Self::TRANSPORT != 0
    }

    /// SGL Descriptor Threshold (SDT): the recommended most descriptors of one command; 0 is no
    /// recommendation.
    #[must_use]
    pub const fn descriptor_threshold(self) -> u8 {
        low8(self.0 >> 8)
    }

    /// With keyed descriptors and offsets into the capsule, as RDMA needs them.
    #[must_use]
    pub const fn with_keyed_and_offset(self) -> Self {
        Self(self.0 | Self::KEYED | Self::OFFSET)
    }

    /// With bit bucket descriptors.
    #[must_use]
    pub const fn with_bit_bucket(self) -> Self {
        Self(self.0 | Self::BIT_BUCKET)
    }
}
