//! A domain's map from region to the address (or key) that its device knows the region by.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::region::{REGIONS_MAX, RegionId};

/// No address: neither an IOVA (below 2^57 everywhere) nor a 32-bit key.
const ABSENT: u64 = u64::MAX;

/// One entry for each region number. Read by I/O paths without a lock; written by whoever maps and unmaps.
#[derive(Debug)]
pub struct AddressTable {
    entries: Box<[AtomicU64]>,
}

impl Default for AddressTable {
    fn default() -> Self {
        Self { entries: (0..REGIONS_MAX).map(|_| AtomicU64::new(ABSENT)).collect() }
    }
}

impl AddressTable {
    /// What the region's first byte is for the device; `None` if the region is not mapped.
    #[inline]
    #[must_use]
    pub fn get(&self, region: RegionId) -> Option<u64> {
        let address = self.entries[region.index()].load(Ordering::Acquire);
        if address == ABSENT { None } else { Some(address) }
    }

    /// Enters a mapping that exists from now on.
    pub fn set(&self, region: RegionId, address: u64) {
        assert_ne!(address, ABSENT, "no device address is all ones");
        self.entries[region.index()].store(address, Ordering::Release);
    }

    /// Takes a mapping out. Returns what it was.
    pub fn clear(&self, region: RegionId) -> Option<u64> {
        let address = self.entries[region.index()].swap(ABSENT, Ordering::AcqRel);
        if address == ABSENT { None } else { Some(address) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MemoryOptions, Region};

    #[test]
    fn knows_what_was_entered_until_it_is_cleared() {
        let table = AddressTable::default();
        let region = Region::new(1, MemoryOptions { ordinary_pages: true, ..Default::default() }).unwrap();
        assert_eq!(table.get(region.id()), None);
        table.set(region.id(), 0);
        assert_eq!(table.get(region.id()), Some(0));
        assert_eq!(table.clear(region.id()), Some(0));
        assert_eq!((table.get(region.id()), table.clear(region.id())), (None, None));
    }
}
