//! A device of memory.

mod store;

use std::sync::Arc;

use dma::{AttachError, Region};
use nvme_spec::Lba;
use thiserror::Error;

use crate::attached::AttachedRegions;
use crate::claim::{Access, ClaimTable};
use crate::device::{Abilities, BlockDevice, Extent, ExtentKind, Identity};
use crate::error::{ExtentsError, IoError, OpenQueueError};
use crate::geometry::{BlockSize, Geometry, Limits, WriteCache};
use crate::immediate::{Execute, ImmediateQueue};
use crate::queue::{BlockQueue, QueueOptions};
use crate::request::{BlockRange, Op, Request};
use store::SparseStore;

pub use store::STORE_BYTES_MAX;

/// A size that no memory device has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "a memory device of {bytes} bytes: whole blocks of {block_bytes} bytes, at least one, up to {STORE_BYTES_MAX} bytes"
)]
pub struct MemSizeError {
    /// Bytes asked for.
    pub bytes: u64,
    /// Bytes of a block.
    pub block_bytes: u32,
}

/// A device of memory: zeroes at first, gone with its last handle. It takes memory when a part is written for the first
/// time, so that a large device with little data is small.
///
/// Every acknowledged write is as durable as the device itself, so a flush has nothing to do. Concurrent requests to the
/// same 64 KiB exclude each other for the length of a copy: a block is always wholly old or wholly new.
pub struct MemDevice {
    name: String,
    claims: ClaimTable,
    shared: Arc<Shared>,
}

struct Shared {
    geometry: Geometry,
    abilities: Abilities,
    attached: Arc<AttachedRegions>,
    store: SparseStore,
}

impl MemDevice {
    /// A device of `bytes` bytes, in whole blocks.
    pub fn new(name: &str, block_size: BlockSize, bytes: u64, access: Access) -> Result<Self, MemSizeError> {
        let wrong = MemSizeError { bytes, block_bytes: block_size.bytes() };
        let blocks = block_size.blocks_in(bytes).filter(|blocks| *blocks != 0).ok_or(wrong)?;
        let geometry = Geometry {
            block_size,
            blocks,
            limits: Limits::NONE,
            atomic_blocks: 1,
            write_cache: WriteCache::Through,
        };
        let mut abilities =
            Abilities::COMPARE | Abilities::VERIFY | Abilities::EXTENTS | Abilities::EXCLUSIVE;
        if access == Access::ReadWrite {
            abilities |= Abilities::WRITE | Abilities::WRITE_ZEROES;
            abilities |= Abilities::DISCARD | Abilities::DISCARD_ZEROES;
        }
        let store = SparseStore::new(bytes).ok_or(wrong)?;
        let shared = Shared { geometry, abilities, attached: Arc::default(), store };
        Ok(Self { name: name.to_owned(), claims: ClaimTable::default(), shared: Arc::new(shared) })
    }
}

impl BlockDevice for MemDevice {
    fn name(&self) -> &str {
        &self.name
    }

    fn geometry(&self) -> Geometry {
        self.shared.geometry
    }

    fn identity(&self) -> Identity {
        Identity { model: "Remora memory".to_owned(), ..Identity::default() }
    }

    fn abilities(&self) -> Abilities {
        self.shared.abilities
    }

    fn attach_memory(&self, region: &Region) -> Result<(), AttachError> {
        self.shared.attached.attach_cpu(region, &self.name)
    }

    fn open_queue(&self, options: QueueOptions) -> Result<Box<dyn BlockQueue>, OpenQueueError> {
        Ok(Box::new(ImmediateQueue::open(Arc::clone(&self.shared), options)?))
    }

    fn claims(&self) -> &ClaimTable {
        &self.claims
    }

    fn extents(&self, range: BlockRange) -> Result<Vec<Extent>, ExtentsError> {
        if !range.fits(self.shared.geometry.blocks) {
            return Err(ExtentsError::Range);
        }
        let (start, bytes) = self.shared.bytes_of(range);
        let shift = self.shared.geometry.block_size.shift();
        let extent = |(at, length, kind): (u64, u64, ExtentKind)| Extent {
            range: BlockRange::new(Lba(at >> shift), length >> shift),
            kind,
        };
        Ok(self.shared.store.extents(start, bytes, Extent::COUNT_MAX).into_iter().map(extent).collect())
    }
}

impl Shared {
    /// First byte and number of bytes of a range that is inside the device.
    fn bytes_of(&self, range: BlockRange) -> (u64, u64) {
        let shift = self.geometry.block_size.shift();
        (range.start.0 << shift, range.blocks << shift)
    }
}

impl Execute for Shared {
    fn execute(&self, request: &Request) -> Result<(), IoError> {
        request.check(&self.geometry)?;
        self.abilities.check(request.op)?;
        self.attached.check(&request.data)?;
        let (start, bytes) = self.bytes_of(request.range);
        match request.op {
            Op::Read => self.store.read(start, bytes, &request.data),
            Op::Write { .. } => self.store.write(start, bytes, &request.data),
            Op::WriteZeroes { .. } | Op::Discard => {
                self.store.zero(start, bytes);
                Ok(())
            }
            Op::Compare => self.store.compare(start, bytes, &request.data),
            Op::Flush | Op::Verify => Ok(()),
            Op::Reservation(_) => Err(IoError::NotSupported),
        }
    }
}
