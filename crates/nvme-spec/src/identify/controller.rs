//! Identify Controller, CNS 01h (Base, Identify Controller Data Structure).

use super::controller_flags::{
    AdminCommands, AnaCapabilities, ControllerAttributes, ControllerType, FormatAttributes, FusedOperations,
    LogAttributes, MultiPath, NvmCommands, SglSupport, VolatileWriteCache,
};
use crate::async_event::AsyncEvents;
use crate::ids::ControllerId;
use crate::prp::PageSize;
use crate::registers::Version;
use crate::structure::{data_structure, integer_newtype_field, packed};
use crate::text::Text;

integer_newtype_field!(Version, u32, Version::from_raw, Version::raw);

packed! {
    /// Sizes of queue entries (SQES, CQES), as powers of two.
    QueueEntrySizes: u8
}

impl QueueEntrySizes {
    /// Required and greatest size as powers of two, 4 bits each.
    #[must_use]
    pub const fn new(required: u8, greatest: u8) -> Self {
        Self((required & 0xF) | greatest << 4)
    }

    /// The size that must be used unless a greater one is, as a power of two.
    #[must_use]
    pub const fn required(self) -> u8 {
        self.0 & 0xF
    }

    /// The greatest size, as a power of two.
    #[must_use]
    pub const fn greatest(self) -> u8 {
        self.0 >> 4
    }
}

data_structure! {
    /// Power State Descriptor (PSD), Base, Power State Descriptor Data Structure.
    PowerState, "Power State Descriptor", 32 {
        /// Maximum Power (MP), in units that bit 0 of `flags` says: 0.01 W if clear, 0.0001 W if set.
        0 maximum_power: u16,
        /// Max Power Scale (bit 0) and Non-Operational State (bit 1).
        3 flags: u8,
        /// Entry Latency (ENLAT) in microseconds.
        4 entry_latency_us: u32,
        /// Exit Latency (EXLAT) in microseconds.
        8 exit_latency_us: u32,
        /// Relative Read Throughput (RRT); less is better.
        12 rrt: u8,
        /// Relative Read Latency (RRL); less is better.
        13 rrl: u8,
        /// Relative Write Throughput (RWT); less is better.
        14 rwt: u8,
        /// Relative Write Latency (RWL); less is better.
        15 rwl: u8,
        /// Idle Power (IDLP), in units that `idle_power_scale` says.
        16 idlp: u16,
        /// Idle Power Scale (IPS), bits 7:6.
        18 idle_power_scale: u8,
        /// Active Power (ACTP), in units that `active_power_scale` says.
        20 actp: u16,
        /// Active Power Workload, bits 2:0, and Active Power Scale, bits 7:6.
        22 active_power_scale: u8,
    }
}

/// What a power of a power state is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum PowerScale {
    /// Not reported.
    NotReported = 0,
    /// 0.0001 W.
    TenThousandths = 1,
    /// 0.01 W.
    Hundredths = 2,
    /// Reserved.
    Reserved = 3,
}

impl PowerScale {
    const fn from_high_bits(byte: u8) -> Self {
        match byte >> 6 {
            0 => Self::NotReported,
            1 => Self::TenThousandths,
            2 => Self::Hundredths,
            _ => Self::Reserved,
        }
    }
}

impl PowerState {
    /// What `maximum_power` is counted in.
    #[must_use]
    pub const fn maximum_power_unit(&self) -> PowerScale {
        if self.flags & 1 == 0 { PowerScale::Hundredths } else { PowerScale::TenThousandths }
    }

    /// Non-Operational State (NOPS): no I/O command is processed in it.
    #[must_use]
    pub const fn is_non_operational(&self) -> bool {
        self.flags & 2 != 0
    }

    /// What `idlp` is counted in.
    #[must_use]
    pub const fn idle_power_unit(&self) -> PowerScale {
        PowerScale::from_high_bits(self.idle_power_scale)
    }

    /// What `actp` is counted in.
    #[must_use]
    pub const fn active_power_unit(&self) -> PowerScale {
        PowerScale::from_high_bits(self.active_power_scale)
    }

    /// Active Power Workload (APW): which workload `actp` was measured with; 0 is none.
    #[must_use]
    pub const fn active_power_workload(&self) -> u8 {
        self.active_power_scale & 0b111
    }
}

data_structure! {
    /// Identify Controller, CNS 01h. The fields have the specification's acronyms.
    IdentifyController, "Identify Controller", 4096 {
        /// PCI Vendor ID (VID).
        0 vid: u16,
        /// PCI Subsystem Vendor ID (SSVID).
        2 ssvid: u16,
        /// Serial Number (SN).
        4 sn: Text<20>,
        /// Model Number (MN).
        24 mn: Text<40>,
        /// Firmware Revision (FR).
        64 fr: Text<8>,
        /// Recommended Arbitration Burst (RAB), as a power of two of commands.
        72 rab: u8,
        /// IEEE OUI Identifier (IEEE), least significant byte first.
        73 ieee: [u8; 3],
        /// Multi-path and namespace sharing (CMIC).
        76 cmic: MultiPath,
        /// Maximum Data Transfer Size (MDTS), see [`IdentifyController::max_transfer_bytes`].
        77 mdts: u8,
        /// Controller ID (CNTLID).
        78 cntlid: ControllerId,
        /// Version (VER).
        80 ver: Version,
        /// RTD3 Resume Latency (RTD3R) in microseconds.
        84 rtd3r_us: u32,
        /// RTD3 Entry Latency (RTD3E) in microseconds: how long an orderly shutdown should be given.
        88 rtd3e_us: u32,
        /// Optional Asynchronous Events Supported (OAES).
        92 oaes: AsyncEvents,
        /// Controller Attributes (CTRATT).
        96 ctratt: ControllerAttributes,
        /// Read Recovery Levels Supported (RRLS).
        100 rrls: u16,
        /// Controller Type (CNTRLTYPE).
        111 cntrltype: ControllerType,
        /// FRU Globally Unique Identifier (FGUID).
        112 fguid: [u8; 16],
        /// Command Retry Delay Times 1 to 3 (CRDT), in units of 100 ms.
        128 crdt: [u16; 3],
        /// Optional Admin Command Support (OACS).
        256 oacs: AdminCommands,
        /// Abort Command Limit (ACL), 0-based.
        258 acl: u8,
        /// Asynchronous Event Request Limit (AERL), 0-based.
        259 aerl: u8,
        /// Firmware Updates (FRMW): bit 0 slot 1 read-only, bits 3:1 slots, bit 4 activation without reset.
        260 frmw: u8,
        /// Log Page Attributes (LPA).
        261 lpa: LogAttributes,
        /// Error Log Page Entries (ELPE), 0-based.
        262 elpe: u8,
        /// Number of Power States Support (NPSS), 0-based.
        263 npss: u8,
        /// Admin Vendor Specific Command Configuration (AVSCC).
        264 avscc: u8,
        /// Autonomous Power State Transition Attributes (APSTA).
        265 apsta: u8,
        /// Warning Composite Temperature Threshold (WCTEMP) in kelvins.
        266 wctemp: u16,
        /// Critical Composite Temperature Threshold (CCTEMP) in kelvins.
        268 cctemp: u16,
        /// Maximum Time for Firmware Activation (MTFA), in units of 100 ms.
        270 mtfa: u16,
        /// Host Memory Buffer Preferred Size (HMPRE), in units of 4 KiB.
        272 hmpre: u32,
        /// Host Memory Buffer Minimum Size (HMMIN), in units of 4 KiB.
        276 hmmin: u32,
        /// Total NVM Capacity (TNVMCAP) in bytes.
        280 tnvmcap_bytes: u128,
        /// Unallocated NVM Capacity (UNVMCAP) in bytes.
        296 unvmcap_bytes: u128,
        /// Replay Protected Memory Block Support (RPMBS).
        312 rpmbs: u32,
        /// Extended Device Self-test Time (EDSTT) in minutes.
        316 edstt_min: u16,
        /// Device Self-test Options (DSTO).
        318 dsto: u8,
        /// Firmware Update Granularity (FWUG), in units of 4 KiB.
        319 fwug: u8,
        /// Keep Alive Support (KAS): the timer's granularity in units of 100 ms; 0 is no Keep Alive.
        320 kas: u16,
        /// Host Controlled Thermal Management Attributes (HCTMA).
        322 hctma: u16,
        /// Minimum Thermal Management Temperature (MNTMT) in kelvins.
        324 mntmt: u16,
        /// Maximum Thermal Management Temperature (MXTMT) in kelvins.
        326 mxtmt: u16,
        /// Sanitize Capabilities (SANICAP).
        328 sanicap: u32,
        /// Host Memory Buffer Minimum Descriptor Entry Size (HMMINDS), in units of 4 KiB.
        332 hmminds: u32,
        /// Host Memory Maximum Descriptors Entries (HMMAXD).
        336 hmmaxd: u16,
        /// NVM Set Identifier Maximum (NSETIDMAX).
        338 nsetidmax: u16,
        /// Endurance Group Identifier Maximum (ENDGIDMAX).
        340 endgidmax: u16,
        /// ANA Transition Time (ANATT) in seconds.
        342 anatt_s: u8,
        /// Asymmetric Namespace Access Capabilities (ANACAP).
        343 anacap: AnaCapabilities,
        /// ANA Group Identifier Maximum (ANAGRPMAX).
        344 anagrpmax: u32,
        /// Number of ANA Group Identifiers (NANAGRPID).
        348 nanagrpid: u32,
        /// Persistent Event Log Size (PELS), in units of 64 KiB.
        352 pels: u32,
        /// Domain Identifier.
        356 domainid: u16,
        /// Submission Queue Entry Size (SQES).
        512 sqes: QueueEntrySizes,
        /// Completion Queue Entry Size (CQES).
        513 cqes: QueueEntrySizes,
        /// Maximum Outstanding Commands (MAXCMD) of a queue; 0 is not reported.
        514 maxcmd: u16,
        /// Number of Namespaces (NN): the greatest NSID, unless `mnan` says more.
        516 nn: u32,
        /// Optional NVM Command Support (ONCS).
        520 oncs: NvmCommands,
        /// Fused Operation Support (FUSES).
        522 fuses: FusedOperations,
        /// Format NVM Attributes (FNA).
        524 fna: FormatAttributes,
        /// Volatile Write Cache (VWC).
        525 vwc: VolatileWriteCache,
        /// Atomic Write Unit Normal (AWUN), 0-based logical blocks.
        526 awun: u16,
        /// Atomic Write Unit Power Fail (AWUPF), 0-based logical blocks.
        528 awupf: u16,
        /// I/O Command Set Vendor Specific Command Configuration (ICSVSCC, before: NVSCC).
        530 icsvscc: u8,
        /// Namespace Write Protection Capabilities (NWPC).
        531 nwpc: u8,
        /// Atomic Compare and Write Unit (ACWU), 0-based logical blocks.
        532 acwu: u16,
        /// Copy Descriptor Formats Supported (CDFS, before: OCFS).
        534 cdfs: u16,
        /// SGL Support (SGLS).
        536 sgls: SglSupport,
        /// Maximum Number of Allowed Namespaces (MNAN); 0 is no limit below `nn`.
        540 mnan: u32,
        /// NVM Subsystem NVMe Qualified Name (SUBNQN).
        768 subnqn: Text<256>,
        /// I/O Queue Command Capsule Supported Size (IOCCSZ), in units of 16 bytes; fabrics only.
        1792 ioccsz: u32,
        /// I/O Queue Response Capsule Supported Size (IORCSZ), in units of 16 bytes; fabrics only.
        1796 iorcsz: u32,
        /// In Capsule Data Offset (ICDOFF), in units of 16 bytes past the entry; fabrics only.
        1800 icdoff: u16,
        /// Fabrics Controller Attributes (FCATT): bit 0 set is the static controller model.
        1802 fcatt: u8,
        /// Maximum SGL Data Block Descriptors (MSDBD) in a capsule; 0 is no limit; fabrics only.
        1803 msdbd: u8,
        /// Optional Fabrics Commands Support (OFCS): bit 0 is Disconnect.
        1804 ofcs: u16,
        /// Discovery Controller Type (DCTYPE).
        1806 dctype: u8,
        /// Power state descriptors, of which `npss` + 1 count.
        2048 psd: [PowerState; 32],
    }
}

impl IdentifyController {
    /// The most bytes that one command can transfer: 2^MDTS smallest pages (CAP.MPSMIN). `None` is no limit;
    /// so is a limit that 64 bits cannot say.
    #[must_use]
    pub fn max_transfer_bytes(&self, mpsmin: PageSize) -> Option<u64> {
        if self.mdts == 0 { None } else { mpsmin.bytes().checked_mul(1_u64.checked_shl(self.mdts.into())?) }
    }

    /// The Command Retry Delay that a status's CRD (0..=3) names, in milliseconds.
    #[must_use]
    pub fn retry_delay_ms(&self, crd: u8) -> u32 {
        let index = usize::from(crd).checked_sub(1);
        index.and_then(|index| self.crdt.get(index)).map_or(0, |&delay| u32::from(delay) * 100)
    }

    /// How many Abort commands may be outstanding, 1..=256.
    #[must_use]
    pub fn aborts_max(&self) -> u16 {
        u16::from(self.acl) + 1
    }

    /// How many Asynchronous Event Requests may be outstanding, 1..=256.
    #[must_use]
    pub fn async_events_max(&self) -> u16 {
        u16::from(self.aerl) + 1
    }

    /// How many entries the Error Information log has, 1..=256.
    #[must_use]
    pub fn error_log_entries(&self) -> u16 {
        u16::from(self.elpe) + 1
    }
}
