//! Which memory regions a device was given, read without a lock for every request.

use std::sync::{Arc, Weak};

use dma::{AddressTable, AttachError, Attachment, DetachError, Region, RegionId, ScatterList};
use rdma::Device;

/// What the table says of a region that the device knows.
const KNOWN: u64 = 0;

/// Which memory regions a device was given.
#[derive(Debug, Default)]
pub(crate) struct Regions {
    table: AddressTable,
}

impl Regions {
    /// Gives a region to the device.
    pub(crate) fn attach<D: Device>(
        self: &Arc<Self>,
        device: &D,
        region: &Region,
    ) -> Result<(), AttachError> {
        device.attach_memory(region)?;
        if self.table.get(region.id()).is_none() {
            self.table.set(region.id(), KNOWN);
            let me: Weak<dyn Attachment> = Arc::downgrade(&(Arc::clone(self) as Arc<dyn Attachment>));
            region.attached_to(me);
        }
        Ok(())
    }

    /// Whether all memory of a request is known.
    #[inline]
    pub(crate) fn know(&self, data: &ScatterList) -> bool {
        data.segments().iter().all(|segment| self.table.get(segment.region()).is_some())
    }
}

impl Attachment for Regions {
    fn detach(&self, region: RegionId) -> Result<(), DetachError> {
        self.table.clear(region);
        Ok(())
    }
}
