//! A device that keeps nothing, to measure everything around it.

use std::sync::Arc;

use dma::{AttachError, Region};

use crate::attached::AttachedRegions;
use crate::claim::{Access, ClaimTable};
use crate::device::{Abilities, BlockDevice, Identity};
use crate::error::{IoError, OpenQueueError};
use crate::geometry::{BlockSize, Geometry, Limits, WriteCache};
use crate::immediate::{Execute, ImmediateQueue};
use crate::queue::{BlockQueue, QueueOptions};
use crate::request::Request;

/// A device of any size that moves no bytes: writes are dropped, and reads leave the memory as it is.
///
/// It checks requests as every device does and completes them at the next poll. Memory that the CPU cannot reach is
/// welcome. It has no compare, which could only lie.
pub struct NullDevice {
    name: String,
    claims: ClaimTable,
    shared: Arc<Shared>,
}

struct Shared {
    geometry: Geometry,
    abilities: Abilities,
    attached: Arc<AttachedRegions>,
}

impl NullDevice {
    /// A device of `blocks` blocks, up to the largest legal number, 2^64 - 1.
    #[must_use]
    pub fn new(name: &str, block_size: BlockSize, blocks: u64, access: Access) -> Self {
        let geometry = Geometry {
            block_size,
            blocks,
            limits: Limits::NONE,
            atomic_blocks: 1,
            write_cache: WriteCache::Through,
        };
        let mut abilities = Abilities::VERIFY | Abilities::EXCLUSIVE;
        if access == Access::ReadWrite {
            abilities |= Abilities::WRITE | Abilities::WRITE_ZEROES | Abilities::DISCARD;
        }
        let shared = Shared { geometry, abilities, attached: Arc::default() };
        Self { name: name.to_owned(), claims: ClaimTable::default(), shared: Arc::new(shared) }
    }
}

impl BlockDevice for NullDevice {
    fn name(&self) -> &str {
        &self.name
    }

    fn geometry(&self) -> Geometry {
        self.shared.geometry
    }

    fn identity(&self) -> Identity {
        Identity { model: "Remora null".to_owned(), ..Identity::default() }
    }

    fn abilities(&self) -> Abilities {
        self.shared.abilities
    }

    fn attach_memory(&self, region: &Region) -> Result<(), AttachError> {
        self.shared.attached.attach(region);
        Ok(())
    }

    fn open_queue(&self, options: QueueOptions) -> Result<Box<dyn BlockQueue>, OpenQueueError> {
        Ok(Box::new(ImmediateQueue::open(Arc::clone(&self.shared), options)?))
    }

    fn claims(&self) -> &ClaimTable {
        &self.claims
    }
}

impl Execute for Shared {
    #[inline]
    fn execute(&self, request: &Request) -> Result<(), IoError> {
        request.check(&self.geometry)?;
        self.abilities.check(request.op)?;
        self.attached.check(&request.data)?;
        Ok(())
    }
}
