//! The shape of a software SSD: what it has, what it promises, how long it takes.

use nvme_spec::registers::{DoorbellStride, Version};
use uuid::Uuid;

use crate::data_pointer::SglSupport;

/// The most I/O queue pairs of a model.
pub const IO_QUEUE_PAIRS_MAX: u16 = 127;

/// The most blocks of a write that can be promised to survive a power failure whole or not at all: as many of 4096 bytes as
/// are handed to the medium at once.
pub const ATOMIC_BLOCKS_MAX: u16 = 256;

/// What a controller is like. The defaults are those of an ordinary data centre drive.
#[derive(Clone, Debug)]
pub struct ControllerOptions {
    /// A name for messages.
    pub name: String,
    /// Serial number, at most 20 ASCII characters.
    pub serial: String,
    /// Model number, at most 40 ASCII characters.
    pub model: String,
    /// NVMe Qualified Name of the subsystem.
    pub subnqn: String,
    /// Version (VS).
    pub version: Version,
    /// Entries that an I/O queue can have (CAP.MQES + 1): 2 to 65536.
    pub queue_entries_max: u32,
    /// CAP.DSTRD.
    pub doorbell_stride: DoorbellStride,
    /// I/O queue pairs, at most [`IO_QUEUE_PAIRS_MAX`].
    pub io_queue_pairs: u16,
    /// CAP.TO in units of 500 ms. CRTO says the same.
    pub timeout_500ms: u8,
    /// From CC.EN = 1 to CSTS.RDY = 1, in nanoseconds.
    pub enable_ns: u64,
    /// From CC.EN = 0 to CSTS.RDY = 0, in nanoseconds. Commands in flight still complete in this time.
    pub disable_ns: u64,
    /// From CC.SHN to CSTS.SHST = 10b, in nanoseconds.
    pub shutdown_ns: u64,
    /// How long an I/O command takes, in nanoseconds; 0 completes it as soon as it is fetched.
    pub latency_ns: u64,
    /// Largest data transfer as a power of two in units of 4 KiB (MDTS); 0 is no limit.
    pub mdts: u8,
    /// SGLs, if the controller knows them.
    pub sgl: Option<SglSupport>,
    /// The Doorbell Buffer Config command (shadow doorbells).
    pub doorbell_buffer: bool,
    /// There is a volatile write cache. Whether it is in use is a feature, which begins enabled.
    pub volatile_write_cache: bool,
    /// Write atomicity in normal operation in logical blocks (AWUN + 1).
    pub atomic_write_blocks: u16,
    /// Write atomicity at a power failure in logical blocks (AWUPF + 1), at most [`ATOMIC_BLOCKS_MAX`]. The medium must
    /// keep the promise: see [`crate::RecordingMedia::new`].
    pub atomic_write_power_fail_blocks: u16,
    /// Asynchronous Event Requests that may be outstanding (AERL + 1).
    pub async_events_max: u8,
    /// Abort commands that may be outstanding (ACL + 1).
    pub aborts_max: u8,
    /// The greatest namespace identifier (NN).
    pub namespaces_max: u32,
    /// Write Uncorrectable is offered.
    pub write_uncorrectable: bool,
}

impl Default for ControllerOptions {
    fn default() -> Self {
        Self {
            name: "soft-nvme".into(),
            serial: "REMORA0000000001".into(),
            model: "Remora Software SSD".into(),
            subnqn: "nqn.2014-08.org.nvmexpress:uuid:5a4ba9a1-45f4-4bd6-b9a5-6d1c25f8e5a1".into(),
            version: Version::V2_0,
            queue_entries_max: 1024,
            doorbell_stride: DoorbellStride::from_raw(0),
            io_queue_pairs: 64,
            timeout_500ms: 10,
            enable_ns: 0,
            disable_ns: 0,
            shutdown_ns: 0,
            latency_ns: 0,
            mdts: 5,
            sgl: Some(SglSupport { dword_aligned: true, bit_bucket: true }),
            doorbell_buffer: true,
            volatile_write_cache: true,
            atomic_write_blocks: 1,
            atomic_write_power_fail_blocks: 1,
            async_events_max: 4,
            aborts_max: 4,
            namespaces_max: 32,
            write_uncorrectable: true,
        }
    }
}

/// What a namespace is like, besides its medium, which says its size and block size.
#[derive(Clone, Debug)]
pub struct NamespaceOptions {
    /// UUID, for the identification descriptors.
    pub uuid: Uuid,
    /// Namespace Globally Unique Identifier.
    pub nguid: [u8; 16],
    /// IEEE Extended Unique Identifier; zero if there is none.
    pub eui64: [u8; 8],
    /// Optimal I/O boundary in logical blocks (NOIOB); 0 is none.
    pub optimal_boundary_blocks: u16,
    /// Metadata bytes of a block that the format has. I/O to such a namespace is refused: the model stores none.
    pub metadata_bytes: u16,
    /// Write atomicity at a power failure of this namespace (NAWUPF + 1), if it differs from the controller's.
    pub atomic_write_power_fail_blocks: Option<u16>,
}

impl Default for NamespaceOptions {
    fn default() -> Self {
        let uuid = Uuid::from_u128(0x9c1d_77a5_9b6f_4f57_8d0d_0d5c_3f5c_2a10);
        Self {
            uuid,
            nguid: *uuid.as_bytes(),
            eui64: [0; 8],
            optimal_boundary_blocks: 0,
            metadata_bytes: 0,
            atomic_write_power_fail_blocks: None,
        }
    }
}
