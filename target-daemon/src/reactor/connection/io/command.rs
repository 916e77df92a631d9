//! A command that was taken and not answered.

use block::{BlockRange, IoError, Op, Timestamp};
use dma::Segment;
use nvmf::controller::{KeyedMemory, Slot, Transfer};

use crate::hub::ExportSlot;
use crate::reactor::buffers::Need;

/// What a device request carries: whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::reactor) struct Tag {
    pub(in crate::reactor) port: u16,
    /// The connection's slot. It is not given to another while a device works for it.
    pub(in crate::reactor) connection: u32,
    pub(in crate::reactor) command: u16,
}

impl Tag {
    #[inline]
    pub(super) const fn pack(self) -> u64 {
        (self.port as u64) << 48 | (self.connection as u64) << 16 | self.command as u64
    }

    #[inline]
    #[allow(clippy::cast_possible_truncation, reason = "as it was packed")]
    pub(in crate::reactor) const fn unpack(tag: u64) -> Self {
        Self { port: (tag >> 48) as u16, connection: (tag >> 16) as u32, command: tag as u16 }
    }
}

/// Where a command is.
///
/// ```text
///           no data, or data in the capsule where the device can have it
///         +--------------------------------------------------------------+
///         |                                                              v
///  Free --+--> Waiting --- memory, read or copied data ------------> InDevice --+
///   ^             |                                                      ^      |
///   |             +-- memory, write --> Reading --- data has come -------+      |
///   |                                      |                                    |
///   +--------- connection lost ------------+------------ answered --------------+
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// No command has this slot.
    Free,
    /// It waits for memory.
    Waiting,
    /// Its data is on the way from the host's memory.
    Reading,
    /// A device works on it; so many requests are not back.
    InDevice { requests: u16 },
}

/// A command that was taken and not answered.
#[derive(Debug)]
pub(super) struct Command {
    pub(super) step: Step,
    /// The target's name for it.
    pub(super) slot: Option<Slot>,
    pub(super) op: Op,
    pub(super) range: BlockRange,
    pub(super) export: ExportSlot,
    pub(super) transfer: Transfer,
    pub(super) bytes: u32,
    /// Chunks of the data buffers that count as the device's.
    pub(super) held: Option<Need>,
    /// The capsule's data, while it waits to be copied; or only that a receive is lent to it.
    pub(super) capsule: Capsule,
    pub(super) started: Timestamp,
    pub(super) result: Result<(), IoError>,
}

#[derive(Debug)]
pub(super) enum Capsule {
    No,
    /// The data is to be copied.
    ToCopy(Segment),
    /// The device has it.
    Lent,
}

impl Command {
    pub(super) const FREE: Self = Self {
        step: Step::Free,
        slot: None,
        op: Op::Flush,
        range: BlockRange { start: block::Lba(0), blocks: 0 },
        export: ExportSlot(0),
        transfer: Transfer::None,
        bytes: 0,
        held: None,
        capsule: Capsule::No,
        started: Timestamp::NEVER,
        result: Ok(()),
    };
}

/// Bytes of a command's data.
pub(super) const fn bytes_of(transfer: Transfer) -> u32 {
    match transfer {
        Transfer::None => 0,
        #[allow(clippy::cast_possible_truncation, reason = "at most what the capsule has: 32 bits")]
        Transfer::InCapsule { bytes, .. } => bytes as u32,
        Transfer::FromHost(KeyedMemory { bytes, .. }) | Transfer::ToHost(KeyedMemory { bytes, .. }) => bytes,
    }
}

#[inline]
#[allow(clippy::cast_possible_truncation, reason = "a queue has at most 4096 entries")]
pub(super) const fn slot_number(index: usize) -> u16 {
    index as u16
}
