//! A part of a device as a device.

mod queue;

use std::sync::Arc;

use dma::{AttachError, NumaNode, Region};
use nvme_spec::Lba;
use thiserror::Error;

use crate::claim::{Access, Claim, ClaimError, ClaimTable};
use crate::device::{Abilities, BlockDevice, Extent, Identity};
use crate::error::{ExtentsError, OpenQueueError};
use crate::geometry::{BlockSize, Geometry};
use crate::identity::derive;
use crate::queue::{BlockQueue, QueueOptions};
use crate::request::BlockRange;
use queue::SliceQueue;

/// Why there is no slice.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SliceError {
    /// Empty, or not inside the device.
    #[error("blocks {}+{} are no part of a device of {blocks} blocks", range.start, range.blocks)]
    Range {
        /// The blocks asked for.
        range: BlockRange,
        /// Blocks of the device.
        blocks: u64,
    },
    /// Somebody else uses some of the blocks.
    #[error(transparent)]
    Claim(#[from] ClaimError),
}

/// Some blocks of another device. It holds a claim on them, and has a table of claims of its own inside.
///
/// What the parent has for a whole namespace only (reservations) a slice has not. If the parent becomes shorter, or gets
/// another block size, so much of the slice as is left stays; events tell.
pub struct SliceDevice {
    name: String,
    parent: Arc<dyn BlockDevice>,
    view: View,
    claim: Claim,
    claims: ClaimTable,
}

/// Which part of the parent, and how it looks from inside.
#[derive(Clone, Copy, Debug)]
struct View {
    range: BlockRange,
    block_size: BlockSize,
}

impl SliceDevice {
    /// The blocks `range` of `parent`, for reading or for writing as well. The name is also the claim's owner.
    pub fn new(
        parent: Arc<dyn BlockDevice>,
        name: &str,
        range: BlockRange,
        access: Access,
    ) -> Result<Self, SliceError> {
        let Geometry { blocks, block_size, .. } = parent.geometry();
        if range.blocks == 0 || !range.fits(blocks) {
            return Err(SliceError::Range { range, blocks });
        }
        let claim = parent.claims().claim(range, access, name)?;
        let view = View { range, block_size };
        Ok(Self { name: name.to_owned(), parent, view, claim, claims: ClaimTable::default() })
    }
}

impl View {
    /// The slice's geometry in a parent of another.
    fn geometry(&self, parent: &Geometry) -> Geometry {
        let mut geometry = *parent;
        let left = parent.blocks.saturating_sub(self.range.start.0).min(self.range.blocks);
        geometry.blocks = if parent.block_size == self.block_size { left } else { 0 };
        geometry.block_size = self.block_size;
        // Both are counted from the parent's first block.
        if !self.begins_at_multiple_of(parent.limits.boundary_blocks) {
            geometry.limits.boundary_blocks = 0;
        }
        if !self.begins_at_multiple_of(parent.atomic_blocks) {
            geometry.atomic_blocks = 1;
        }
        geometry
    }

    fn begins_at_multiple_of(&self, blocks: u32) -> bool {
        blocks == 0 || self.range.start.0.is_multiple_of(u64::from(blocks))
    }

    /// What a parent that can do this can do through the slice.
    fn abilities(abilities: Abilities, access: Access) -> Abilities {
        let writing =
            Abilities::WRITE | Abilities::WRITE_ZEROES | Abilities::DISCARD | Abilities::DISCARD_ZEROES;
        let withheld = match access {
            Access::Read => writing | Abilities::RESERVATIONS,
            Access::ReadWrite => Abilities::RESERVATIONS,
        };
        abilities - withheld
    }
}

impl BlockDevice for SliceDevice {
    fn name(&self) -> &str {
        &self.name
    }

    fn geometry(&self) -> Geometry {
        self.view.geometry(&self.parent.geometry())
    }

    /// The parent's, with a UUID derived from the parent's and the range.
    fn identity(&self) -> Identity {
        let parent = self.parent.identity();
        let BlockRange { start, blocks } = self.view.range;
        let uuid = parent.uuid.map(|uuid| {
            derive(&[b"remora slice", uuid.as_bytes(), &start.0.to_be_bytes(), &blocks.to_be_bytes()])
        });
        Identity { uuid, nguid: None, eui64: None, ..parent }
    }

    fn abilities(&self) -> Abilities {
        View::abilities(self.parent.abilities(), self.claim.access())
    }

    fn numa_node(&self) -> Option<NumaNode> {
        self.parent.numa_node()
    }

    fn attach_memory(&self, region: &Region) -> Result<(), AttachError> {
        self.parent.attach_memory(region)
    }

    fn open_queue(&self, options: QueueOptions) -> Result<Box<dyn BlockQueue>, OpenQueueError> {
        let parent = self.parent.open_queue(options)?;
        Ok(Box::new(SliceQueue::new(parent, self.view, self.abilities(), self.geometry())))
    }

    fn claims(&self) -> &ClaimTable {
        &self.claims
    }

    fn extents(&self, range: BlockRange) -> Result<Vec<Extent>, ExtentsError> {
        if !range.fits(self.geometry().blocks) {
            return Err(ExtentsError::Range);
        }
        let start = self.view.range.start.0;
        let mut extents = self.parent.extents(BlockRange::new(Lba(start + range.start.0), range.blocks))?;
        for extent in &mut extents {
            extent.range.start.0 -= start;
        }
        Ok(extents)
    }
}

#[cfg(test)]
mod tests;
