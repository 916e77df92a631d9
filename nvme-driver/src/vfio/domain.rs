//! An IOMMU domain: the memory that one drive can reach.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use dma::{AddressTable, AttachError, Attachment, DetachError, Region, RegionId};

use super::iova::{IovaRange, IovaSpace};
use super::{ioctl, memlock};

/// What regions are attached to: outlives the function for as long as a region is told to let go.
///
/// When it is dropped, the kernel unmaps what is left and only then unpins the pages.
#[derive(Debug)]
pub(super) struct Domain {
    /// The drive's name, for messages.
    name: String,
    container: OwnedFd,
    /// Kept open: closing it would take the device out of the container.
    _group: OwnedFd,
    addresses: AddressTable,
    mappings: Mutex<Mappings>,
}

#[derive(Debug)]
struct Mappings {
    space: IovaSpace,
    by_region: BTreeMap<RegionId, IovaRange>,
    /// The drive has gone: nothing is mapped any more.
    sealed: bool,
}

impl Domain {
    pub(super) fn new(name: String, container: OwnedFd, group: OwnedFd, space: IovaSpace) -> Arc<Self> {
        let mappings = Mutex::new(Mappings { space, by_region: BTreeMap::new(), sealed: false });
        Arc::new(Self { name, container, _group: group, addresses: AddressTable::default(), mappings })
    }

    pub(super) fn addresses(&self) -> &AddressTable {
        &self.addresses
    }

    /// Maps a region, all of it, unless it is mapped.
    pub(super) fn attach(self: &Arc<Self>, region: &Region) -> Result<(), AttachError> {
        let mut mappings = self.lock();
        if mappings.by_region.contains_key(&region.id()) {
            return Ok(());
        }
        if mappings.sealed {
            return Err(AttachError::Gone { device: self.name.clone() });
        }
        let memory = region.memory();
        let Some(cpu) = memory.as_ptr() else {
            return Err(AttachError::NotMappable { device: self.name.clone() });
        };
        let refused =
            |reason| AttachError::Refused { device: self.name.clone(), bytes: memory.bytes(), reason };
        let range = mappings.space.take(cpu.addr().get() as u64, memory.bytes() as u64);
        let range = range.ok_or_else(|| refused("the IOMMU has no addresses left for it".to_owned()))?;
        if let Err(error) = ioctl::map_dma(self.container.as_fd(), memory, cpu, range.first) {
            mappings.space.give_back(range);
            return Err(refused(map_refusal(&error, memory.bytes())));
        }
        mappings.by_region.insert(region.id(), range);
        self.addresses.set(region.id(), range.first);
        drop(mappings);
        let domain: Weak<Self> = Arc::downgrade(self);
        region.attached_to(domain);
        Ok(())
    }

    /// Unmaps everything, for a drive that does not answer: whatever it is doing, it reaches no memory after this.
    pub(super) fn seal(&self) -> io::Result<()> {
        let mut mappings = self.lock();
        mappings.sealed = true;
        while let Some((region, range)) =
            mappings.by_region.first_key_value().map(|(id, range)| (*id, *range))
        {
            self.unmap(&mut mappings, region, range)?;
        }
        Ok(())
    }

    fn unmap(&self, mappings: &mut Mappings, region: RegionId, range: IovaRange) -> io::Result<()> {
        let bytes = range.last - range.first + 1;
        let unmapped = ioctl::unmap_dma(self.container.as_fd(), range.first, bytes)?;
        if unmapped != bytes {
            return Err(io::Error::other(format!("{unmapped} of {bytes} bytes were unmapped")));
        }
        self.addresses.clear(region);
        mappings.by_region.remove(&region);
        mappings.space.give_back(range);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Mappings> {
        // The sections that hold it end a change of all three fields before anything can panic.
        self.mappings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn map_refusal(error: &io::Error, bytes: usize) -> String {
    match error.raw_os_error() {
        Some(libc::ENOMEM) => memlock::refusal(bytes),
        Some(libc::ENOSPC) => "the container has as many mappings as the kernel allows".to_owned(),
        _ => error.to_string(),
    }
}

impl Attachment for Domain {
    fn detach(&self, region: RegionId) -> Result<(), DetachError> {
        let mut mappings = self.lock();
        let Some(range) = mappings.by_region.get(&region).copied() else { return Ok(()) };
        self.unmap(&mut mappings, region, range).map_err(|error| {
            tracing::error!(drive = self.name, "memory cannot be unmapped from the IOMMU: {error}");
            DetachError
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::iova::allowed_ranges;
    use super::*;
    use dma::{Memory, MemoryOptions};
    use std::fs::File;

    /// A domain whose container is none: the kernel refuses everything.
    fn domain() -> Arc<Domain> {
        let file = || OwnedFd::from(File::open("/dev/null").unwrap());
        let space = IovaSpace::new(allowed_ranges(&[]));
        Domain::new("0000:81:00.0".to_owned(), file(), file(), space)
    }

    fn region() -> Region {
        Region::new(4096, MemoryOptions { ordinary_pages: true, ..Default::default() }).unwrap()
    }

    #[test]
    fn a_refused_region_is_not_attached() {
        let (domain, region) = (domain(), region());
        for _ in 0..2 {
            let said = domain.attach(&region).unwrap_err().to_string();
            assert!(said.contains("0000:81:00.0 cannot map 4096 bytes") && said.contains("ioctl"), "{said}");
        }
        assert_eq!(domain.addresses().get(region.id()), None);
        assert_eq!(domain.detach(region.id()), Ok(()), "nothing to detach");
        let whole = IovaRange::new(2 << 20, 1 << 20);
        assert_eq!(domain.lock().space.take(2 << 20, 1 << 20), whole, "its addresses are free again");
    }

    #[test]
    fn a_region_that_cannot_be_unmapped_is_kept_and_told() {
        let (domain, region) = (domain(), region());
        let range = domain.lock().space.take(1 << 20, 4096).unwrap();
        domain.lock().by_region.insert(region.id(), range);
        assert_eq!(domain.detach(region.id()), Err(DetachError));
        assert!(domain.seal().is_err());
        assert_ne!(domain.lock().space.take(1 << 20, 4096), Some(range), "nobody else gets its addresses");
    }

    #[test]
    fn a_sealed_domain_takes_nothing_more() {
        let domain = domain();
        domain.seal().unwrap();
        assert!(matches!(domain.attach(&region()), Err(AttachError::Gone { .. })));
    }

    #[test]
    fn memory_without_a_cpu_address_is_refused() {
        let descriptor = File::open("/dev/null").unwrap().into();
        let gpu = Region::from_memory(Memory::from_dma_buf(descriptor, 4096).unwrap()).unwrap();
        assert!(matches!(domain().attach(&gpu), Err(AttachError::NotMappable { .. })));
    }
}
