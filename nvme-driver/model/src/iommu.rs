//! The controller's only way to host memory: IOVAs, bounds, bus mastering.

use std::sync::Arc;

use dma::{Memory, REGIONS_MAX, RegionId};

/// Every region has a window of this many bits of IOVA of its own, so a lookup is a shift.
const WINDOW_BITS: u32 = 37;

/// Where a region begins in its window. Below it and above the region is guard: an access there is a DMA fault. It is
/// page aligned and no more, so that a driver which counts on more alignment than the seam promises is found out.
const WINDOW_GUARD_BYTES: u64 = 0x5000;

/// The most bytes that a region can have, so that a guard stays above it as well.
pub(crate) const REGION_BYTES_MAX: u64 = (1 << WINDOW_BITS) - 2 * WINDOW_GUARD_BYTES;

/// DMA faults that are kept with their addresses; all are counted.
const FAULTS_KEPT_MAX: usize = 64;

/// An access that did not reach memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DmaFault {
    /// The first byte, as the host wrote it.
    pub iova: u64,
    /// Number of bytes.
    pub bytes: u64,
    /// The controller wanted to write.
    pub write: bool,
    /// The function was no bus master, or gone: the address may have been right.
    pub bus_master_off: bool,
}

/// The map from IOVA to memory, and the books of every access.
#[derive(Debug)]
pub(crate) struct Iommu {
    windows: Box<[Option<Arc<Memory>>]>,
    enabled: bool,
    /// Accesses that reached memory.
    accesses: u64,
    fault_count: u64,
    faults: Vec<DmaFault>,
}

impl Default for Iommu {
    fn default() -> Self {
        let windows = (0..REGIONS_MAX).map(|_| None).collect();
        Self { windows, enabled: false, accesses: 0, fault_count: 0, faults: Vec::new() }
    }
}

impl Iommu {
    /// Maps a region. Returns its IOVA; `None` if it is too large for a window.
    pub(crate) fn map(&mut self, region: RegionId, memory: &Arc<Memory>) -> Option<u64> {
        if memory.bytes() as u64 > REGION_BYTES_MAX {
            return None;
        }
        self.windows[region.index()] = Some(Arc::clone(memory));
        Some(((region.index() as u64 + 1) << WINDOW_BITS) + WINDOW_GUARD_BYTES)
    }

    /// Takes a region out of reach.
    pub(crate) fn unmap(&mut self, region: RegionId) {
        self.windows[region.index()] = None;
    }

    /// Bus mastering on or off.
    pub(crate) fn enable(&mut self, enabled: bool) {
        self.enabled = enabled;
    }

    pub(crate) fn accesses(&self) -> u64 {
        self.accesses
    }

    pub(crate) fn fault_count(&self) -> u64 {
        self.fault_count
    }

    pub(crate) fn faults(&self) -> &[DmaFault] {
        &self.faults
    }

    /// Whether the controller can reach these bytes. A refusal is a fault and is booked.
    #[inline]
    pub(crate) fn check(&mut self, iova: u64, bytes: u64, write: bool) -> Result<(), DmaFault> {
        self.translate(iova, bytes, write).map(|_| ())
    }

    /// Copies bytes from host memory.
    #[inline]
    pub(crate) fn read(&mut self, iova: u64, into: &mut [u8]) -> Result<(), DmaFault> {
        let (window, offset) = self.translate(iova, into.len() as u64, false)?;
        let done = self.windows[window].as_ref().map(|memory| memory.read(offset, into));
        self.settle(done, iova, into.len() as u64, false)
    }

    /// Copies bytes to host memory.
    #[inline]
    pub(crate) fn write(&mut self, iova: u64, from: &[u8]) -> Result<(), DmaFault> {
        let (window, offset) = self.translate(iova, from.len() as u64, true)?;
        let done = self.windows[window].as_ref().map(|memory| memory.write(offset, from));
        self.settle(done, iova, from.len() as u64, true)
    }

    /// Loads a little-endian dword; later accesses are not moved before it.
    #[inline]
    pub(crate) fn load_u32(&mut self, iova: u64) -> Result<u32, DmaFault> {
        let (window, offset) = self.translate(iova, 4, false)?;
        let mut value = 0;
        let loaded = self.windows[window].as_ref().map(|memory| memory.load_u32(offset));
        let done = loaded.map(|answer| answer.map(|raw| value = u32::from_le(raw)));
        self.settle(done, iova, 4, false).map(|()| value)
    }

    /// Stores a little-endian dword; earlier accesses are not moved after it.
    #[inline]
    pub(crate) fn store_u32(&mut self, iova: u64, value: u32) -> Result<(), DmaFault> {
        let (window, offset) = self.translate(iova, 4, true)?;
        let done = self.windows[window].as_ref().map(|memory| memory.store_u32(offset, value.to_le()));
        self.settle(done, iova, 4, true)
    }

    #[inline]
    fn translate(&mut self, iova: u64, bytes: u64, write: bool) -> Result<(usize, u64), DmaFault> {
        let window = usize::try_from(iova >> WINDOW_BITS).unwrap_or(usize::MAX).wrapping_sub(1);
        let in_window = iova & ((1 << WINDOW_BITS) - 1);
        let memory = self.windows.get(window).and_then(Option::as_ref);
        match (memory, in_window.checked_sub(WINDOW_GUARD_BYTES)) {
            (Some(memory), Some(offset))
                if self.enabled
                    && offset.checked_add(bytes).is_some_and(|end| end <= memory.bytes() as u64) =>
            {
                Ok((window, offset))
            }
            _ => Err(self.fault(iova, bytes, write)),
        }
    }

    #[inline]
    fn settle(
        &mut self,
        done: Option<Result<(), dma::AccessError>>,
        iova: u64,
        bytes: u64,
        write: bool,
    ) -> Result<(), DmaFault> {
        if let Some(Ok(())) = done {
            self.accesses += 1;
            Ok(())
        } else {
            Err(self.fault(iova, bytes, write))
        }
    }

    #[cold]
    fn fault(&mut self, iova: u64, bytes: u64, write: bool) -> DmaFault {
        let fault = DmaFault { iova, bytes, write, bus_master_off: !self.enabled };
        self.fault_count += 1;
        if self.faults.len() < FAULTS_KEPT_MAX {
            self.faults.push(fault);
        }
        fault
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dma::{MemoryOptions, Region};

    fn region() -> Region {
        Region::new(8192, MemoryOptions { ordinary_pages: true, ..Default::default() }).unwrap()
    }

    #[test]
    fn reaches_a_mapped_region_and_nothing_beside_it() {
        let (mut iommu, region) = (Iommu::default(), region());
        let iova = iommu.map(region.id(), region.memory()).unwrap();
        iommu.enable(true);
        assert_eq!(iova % 4096, 0);
        iommu.write(iova + 8191, &[7]).unwrap();
        let mut byte = [0];
        region.memory().read(8191, &mut byte).unwrap();
        assert_eq!(byte, [7]);
        assert!(iommu.write(iova + 8191, &[1, 2]).is_err());
        assert!(iommu.read(iova - 1, &mut byte).is_err());
        assert!(iommu.check(iova, u64::MAX, false).is_err());
        for nowhere in [0, 4096, u64::MAX, 1 << 60] {
            assert!(iommu.check(nowhere, 1, false).is_err(), "{nowhere:#x}");
        }
        assert_eq!((iommu.accesses(), iommu.fault_count()), (1, 7));
    }

    #[test]
    fn dwords_are_little_endian_and_aligned() {
        let (mut iommu, region) = (Iommu::default(), region());
        let iova = iommu.map(region.id(), region.memory()).unwrap();
        iommu.enable(true);
        region.memory().write(4, &[1, 2, 3, 4]).unwrap();
        assert_eq!(iommu.load_u32(iova + 4), Ok(0x0403_0201));
        iommu.store_u32(iova + 8, 0x0807_0605).unwrap();
        let mut bytes = [0; 4];
        region.memory().read(8, &mut bytes).unwrap();
        assert_eq!(bytes, [5, 6, 7, 8]);
        assert!(iommu.load_u32(iova + 2).is_err());
    }

    #[test]
    fn no_bus_master_no_access() {
        let (mut iommu, region) = (Iommu::default(), region());
        let iova = iommu.map(region.id(), region.memory()).unwrap();
        let fault = iommu.write(iova, &[1]).unwrap_err();
        assert!(fault.bus_master_off && fault.write);
        iommu.enable(true);
        iommu.unmap(region.id());
        assert!(!iommu.write(iova, &[1]).unwrap_err().bus_master_off);
        assert_eq!(iommu.faults().len(), 2);
    }

    #[test]
    fn memory_without_a_cpu_pointer_is_a_fault_and_no_panic() {
        let descriptor = std::fs::File::open("/dev/null").unwrap().into();
        let memory = Arc::new(Memory::from_dma_buf(descriptor, 4096).unwrap());
        let (mut iommu, region) = (Iommu::default(), region());
        let iova = iommu.map(region.id(), &memory).unwrap();
        iommu.enable(true);
        assert!(iommu.read(iova, &mut [0; 4]).is_err());
    }
}
