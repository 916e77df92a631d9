//! A device whose queues cut requests.

use std::sync::Arc;

use dma::{AttachError, NumaNode, Region};

use super::Split;
use crate::claim::ClaimTable;
use crate::device::{Abilities, BlockDevice, Extent, Identity};
use crate::error::{ExtentsError, OpenQueueError};
use crate::geometry::Geometry;
use crate::queue::{BlockQueue, QueueOptions};
use crate::request::BlockRange;

/// Another device, with requests of any size. It is the same device otherwise: name, identity and claims are shared.
pub struct SplitDevice {
    inner: Arc<dyn BlockDevice>,
}

impl SplitDevice {
    /// Wraps a device.
    #[must_use]
    pub fn new(inner: Arc<dyn BlockDevice>) -> Self {
        Self { inner }
    }
}

impl BlockDevice for SplitDevice {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn geometry(&self) -> Geometry {
        Split::<Box<dyn BlockQueue>>::lift(self.inner.geometry())
    }

    fn identity(&self) -> Identity {
        self.inner.identity()
    }

    fn abilities(&self) -> Abilities {
        self.inner.abilities()
    }

    fn numa_node(&self) -> Option<NumaNode> {
        self.inner.numa_node()
    }

    fn attach_memory(&self, region: &Region) -> Result<(), AttachError> {
        self.inner.attach_memory(region)
    }

    fn open_queue(&self, options: QueueOptions) -> Result<Box<dyn BlockQueue>, OpenQueueError> {
        let inner = self.inner.open_queue(options)?;
        Ok(Box::new(Split::new(inner, self.inner.geometry())))
    }

    fn claims(&self) -> &ClaimTable {
        self.inner.claims()
    }

    fn extents(&self, range: BlockRange) -> Result<Vec<Extent>, ExtentsError> {
        self.inner.extents(range)
    }
}
