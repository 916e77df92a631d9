//! Which memory was made known to a device that is made of software.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use dma::{AddressTable, AttachError, Attachment, DetachError, Region, RegionId, ScatterList};

use crate::error::InvalidRequest;

/// The regions that were attached to a software device. It has no addresses of its own: the table only says "known".
#[derive(Debug, Default)]
pub(crate) struct AttachedRegions {
    table: AddressTable,
    /// Held while a region is entered, so that two threads do not both enter it and have it detached twice.
    entering: Mutex<()>,
}

impl AttachedRegions {
    /// Enters a region that the CPU can reach.
    pub(crate) fn attach_cpu(self: &Arc<Self>, region: &Region, device: &str) -> Result<(), AttachError> {
        if region.memory().as_ptr().is_none() {
            return Err(AttachError::NotMappable { device: device.to_owned() });
        }
        self.attach(region);
        Ok(())
    }

    /// Enters a region, whatever it is made of.
    pub(crate) fn attach(self: &Arc<Self>, region: &Region) {
        let _entering = self.entering.lock().unwrap_or_else(PoisonError::into_inner);
        if self.table.get(region.id()).is_none() {
            let domain: Weak<Self> = Arc::downgrade(self);
            region.attached_to(domain);
            self.table.set(region.id(), 0);
        }
    }

    /// Refuses memory that was not attached.
    #[inline]
    pub(crate) fn check(&self, data: &ScatterList) -> Result<(), InvalidRequest> {
        let known = data.segments().iter().all(|segment| self.table.get(segment.region()).is_some());
        if known { Ok(()) } else { Err(InvalidRequest::NotAttached) }
    }
}

impl Attachment for AttachedRegions {
    fn detach(&self, region: RegionId) -> Result<(), DetachError> {
        // Requests in flight hold segments, and segments hold the region: nobody uses it any more.
        self.table.clear(region);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dma::{MemoryOptions, Pool, PoolOptions};

    #[test]
    fn a_region_is_known_from_attach_until_it_is_gone() {
        let memory = MemoryOptions { ordinary_pages: true, ..Default::default() };
        let pool = Pool::new(PoolOptions { chunk_bytes: 512, chunks: 1, memory }).unwrap();
        let attached = Arc::new(AttachedRegions::default());
        let data = ScatterList::from(pool.take().unwrap().into_segment());
        assert_eq!(attached.check(&data), Err(InvalidRequest::NotAttached));
        attached.attach_cpu(pool.region(), "test").unwrap();
        attached.attach_cpu(pool.region(), "test").unwrap();
        assert_eq!(attached.check(&data), Ok(()));
        let id = pool.region().id();
        drop((data, pool));
        assert_eq!(attached.table.get(id), None);
    }

    #[test]
    fn memory_of_another_device_is_refused_where_the_cpu_must_copy() {
        let descriptor = std::fs::File::open("/dev/null").unwrap().into();
        let foreign = dma::Memory::from_dma_buf(descriptor, 4096).unwrap();
        let region = Region::from_memory(foreign).unwrap();
        let attached = Arc::new(AttachedRegions::default());
        assert!(matches!(attached.attach_cpu(&region, "mem"), Err(AttachError::NotMappable { .. })));
        attached.attach(&region);
        assert_eq!(attached.table.get(region.id()), Some(0));
    }
}
