//! What is shared between the threads that use a device.

use bitflags::bitflags;
use dma::{AttachError, NumaNode, Region};
use uuid::Uuid;

use crate::claim::ClaimTable;
use crate::error::{ExtentsError, IoError, OpenQueueError};
use crate::geometry::Geometry;
use crate::queue::{BlockQueue, QueueOptions};
use crate::request::{BlockRange, Op};

bitflags! {
    /// What a device can do beyond reading and flushing.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Abilities: u32 {
        /// It takes writes.
        const WRITE = 1 << 0;
        /// It takes write zeroes.
        const WRITE_ZEROES = 1 << 1;
        /// It takes discards.
        const DISCARD = 1 << 2;
        /// Discarded blocks read as zeroes.
        const DISCARD_ZEROES = 1 << 3;
        /// It takes compares.
        const COMPARE = 1 << 4;
        /// It takes verifies.
        const VERIFY = 1 << 5;
        /// It takes reservation commands.
        const RESERVATIONS = 1 << 6;
        /// It can tell which blocks hold data.
        const EXTENTS = 1 << 7;
        /// No other process can have it open while we have.
        const EXCLUSIVE = 1 << 8;
    }
}

impl Abilities {
    /// Whether an operation is among them: what every device checks before it does anything.
    #[inline]
    pub fn check(self, op: Op) -> Result<(), IoError> {
        let needed = match op {
            Op::Read | Op::Flush => return Ok(()),
            Op::Write { .. } => Self::WRITE,
            Op::WriteZeroes { .. } => Self::WRITE_ZEROES,
            Op::Discard => Self::DISCARD,
            Op::Compare => Self::COMPARE,
            Op::Verify => Self::VERIFY,
            Op::Reservation(_) => Self::RESERVATIONS,
        };
        if self.contains(needed) {
            Ok(())
        } else if op.changes_data() && !self.contains(Self::WRITE) {
            Err(IoError::ReadOnly)
        } else {
            Err(IoError::NotSupported)
        }
    }
}

/// Who a device is. The same after every restart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Maker's name of the model.
    pub model: String,
    /// Serial number.
    pub serial: String,
    /// Firmware revision.
    pub firmware: String,
    /// The namespace's UUID.
    pub uuid: Option<Uuid>,
    /// The namespace's globally unique identifier.
    pub nguid: Option<[u8; 16]>,
    /// The namespace's IEEE extended unique identifier.
    pub eui64: Option<[u8; 8]>,
}

/// What an extent holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExtentKind {
    /// Data.
    Data,
    /// Nothing: reads as zeroes and takes no space.
    Hole,
}

/// Blocks in a row of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Which blocks.
    pub range: BlockRange,
    /// What they hold.
    pub kind: ExtentKind,
}

/// A block device. Dropping the last handle, queues included, shuts it down in order.
pub trait BlockDevice: Send + Sync {
    /// The URI that it was opened by, or as good a name.
    fn name(&self) -> &str;

    /// The newest shape.
    fn geometry(&self) -> Geometry;

    /// Who it is.
    fn identity(&self) -> Identity;

    /// What it can do.
    fn abilities(&self) -> Abilities;

    /// The NUMA node that it is attached to, if it has one.
    fn numa_node(&self) -> Option<NumaNode> {
        None
    }

    /// Makes memory known to the device. Once for a region, before the first request that uses it; again is no error.
    fn attach_memory(&self, region: &Region) -> Result<(), AttachError>;

    /// Makes a queue for the calling thread.
    fn open_queue(&self, options: QueueOptions) -> Result<Box<dyn BlockQueue>, OpenQueueError>;

    /// Who has the right to write which blocks.
    fn claims(&self) -> &ClaimTable;

    /// Which blocks of a range hold data: extents in order that cover a first part of the range, at most
    /// [`Extent::COUNT_MAX`] of them. May ask the kernel, so not for a reactor's hot path.
    fn extents(&self, range: BlockRange) -> Result<Vec<Extent>, ExtentsError> {
        let _ = range;
        Err(ExtentsError::NotSupported)
    }
}

impl Extent {
    /// Most extents of one answer.
    pub const COUNT_MAX: usize = 1024;
}
