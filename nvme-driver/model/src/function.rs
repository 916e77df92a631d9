//! The software SSD as a PCI function.

use std::os::fd::BorrowedFd;
use std::sync::{Arc, Weak};

use dma::{AddressTable, AttachError, Attachment, DetachError, NumaNode, Region, RegionId};
use nvme_driver::{PciError, PciFunction};
use nvme_spec::registers::{ALL_ONES_32, DOORBELLS_OFFSET};

use crate::iommu::REGION_BYTES_MAX;
use crate::ssd::{Ssd, Wake};

/// What regions are attached to: outlives the function for as long as a region is told to let go.
pub(crate) struct Domain {
    ssd: Arc<Ssd>,
    addresses: AddressTable,
}

impl Attachment for Domain {
    fn detach(&self, region: RegionId) -> Result<(), DetachError> {
        self.addresses.clear(region);
        self.ssd.lock().iommu.unmap(region);
        Ok(())
    }
}

/// The one implementation of [`PciFunction`] for the model, however it is driven.
pub(crate) struct Function<W> {
    domain: Arc<Domain>,
    pub(crate) wake: W,
}

impl<W: Wake> Function<W> {
    pub(crate) fn new(ssd: Arc<Ssd>, wake: W) -> Self {
        Self { domain: Arc::new(Domain { ssd, addresses: AddressTable::default() }), wake }
    }

    pub(crate) fn ssd(&self) -> &Arc<Ssd> {
        &self.domain.ssd
    }

    fn write_register(&self, offset: u32, value: u32) {
        self.ssd().lock().write_register(offset, value);
        self.wake.wake();
    }

    fn refused(&self, action: &'static str, reason: impl ToString) -> PciError {
        PciError::Refused { function: self.ssd().name().to_owned(), action, reason: reason.to_string() }
    }

    fn gone(&self) -> PciError {
        PciError::Gone { function: self.ssd().name().to_owned() }
    }
}

impl<W: Wake + 'static> PciFunction for Function<W> {
    fn name(&self) -> &str {
        self.ssd().name()
    }

    fn numa_node(&self) -> Option<NumaNode> {
        None
    }

    fn register_bytes(&self) -> u32 {
        self.ssd().register_bytes()
    }

    fn read32(&self, offset: u32) -> u32 {
        if offset < DOORBELLS_OFFSET {
            return self.ssd().lock().read_register(offset);
        }
        // What a doorbell reads as is vendor specific (PCIe 3.1.2); gone is gone.
        if self.ssd().lock().is_removed() { ALL_ONES_32 } else { 0 }
    }

    fn read64(&self, offset: u32) -> u64 {
        u64::from(self.read32(offset)) | u64::from(self.read32(offset + 4)) << 32
    }

    #[inline]
    fn write32(&self, offset: u32, value: u32) {
        if offset < DOORBELLS_OFFSET {
            return self.write_register(offset, value);
        }
        self.ssd().doorbells().ring(offset, value);
        self.wake.wake();
    }

    fn write64(&self, offset: u32, value: u64) {
        let [a, b, c, d, e, f, g, h] = value.to_le_bytes();
        self.write32(offset, u32::from_le_bytes([a, b, c, d]));
        self.write32(offset + 4, u32::from_le_bytes([e, f, g, h]));
    }

    fn attach(&self, region: &Region) -> Result<(), AttachError> {
        let device = || self.ssd().name().to_owned();
        if self.domain.addresses.get(region.id()).is_some() {
            return Ok(());
        }
        if region.memory().as_ptr().is_none() {
            return Err(AttachError::NotMappable { device: device() });
        }
        let Some(iova) = self.ssd().lock().iommu.map(region.id(), region.memory()) else {
            return Err(AttachError::Refused {
                device: device(),
                bytes: region.memory().bytes(),
                reason: format!("a region has at most {REGION_BYTES_MAX} bytes"),
            });
        };
        self.domain.addresses.set(region.id(), iova);
        let domain: Weak<Domain> = Arc::downgrade(&self.domain);
        region.attached_to(domain);
        Ok(())
    }

    fn addresses(&self) -> &AddressTable {
        &self.domain.addresses
    }

    fn set_bus_master(&self, enabled: bool) -> Result<(), PciError> {
        // Every DMA happens under the lock, so none is under way now.
        let mut controller = self.ssd().lock();
        if controller.is_removed() {
            return Err(self.gone());
        }
        controller.iommu.enable(enabled);
        drop(controller);
        self.wake.wake();
        Ok(())
    }

    fn interrupt_vectors_max(&self) -> u16 {
        self.ssd().vectors()
    }

    fn set_interrupts(&self, descriptors: &[BorrowedFd<'_>]) -> Result<(), PciError> {
        let mut controller = self.ssd().lock();
        if controller.is_removed() {
            return Err(self.gone());
        }
        if descriptors.len() > usize::from(self.ssd().vectors()) {
            return Err(self.refused("enable MSI-X", format!("there are {} vectors", self.ssd().vectors())));
        }
        controller.interrupts.set(descriptors).map_err(|error| self.refused("enable MSI-X", error))
    }

    fn reset(&self) -> Result<(), PciError> {
        let mut controller = self.ssd().lock();
        if controller.is_removed() {
            return Err(self.gone());
        }
        // A function level reset clears the command register too, and with it bus mastering.
        controller.iommu.enable(false);
        controller.power_on();
        drop(controller);
        self.wake.wake();
        Ok(())
    }
}

/// Implements the seam for a model by its inner function.
macro_rules! delegate_to_function {
    ($name:ty) => {
        impl PciFunction for $name {
            fn name(&self) -> &str {
                self.function.name()
            }

            fn numa_node(&self) -> Option<NumaNode> {
                self.function.numa_node()
            }

            fn register_bytes(&self) -> u32 {
                self.function.register_bytes()
            }

            fn read32(&self, offset: u32) -> u32 {
                self.function.read32(offset)
            }

            fn read64(&self, offset: u32) -> u64 {
                self.function.read64(offset)
            }

            #[inline]
            fn write32(&self, offset: u32, value: u32) {
                self.function.write32(offset, value);
            }

            fn write64(&self, offset: u32, value: u64) {
                self.function.write64(offset, value);
            }

            fn attach(&self, region: &Region) -> Result<(), AttachError> {
                self.function.attach(region)
            }

            fn addresses(&self) -> &AddressTable {
                self.function.addresses()
            }

            fn set_bus_master(&self, enabled: bool) -> Result<(), PciError> {
                self.function.set_bus_master(enabled)
            }

            fn interrupt_vectors_max(&self) -> u16 {
                self.function.interrupt_vectors_max()
            }

            fn set_interrupts(&self, descriptors: &[BorrowedFd<'_>]) -> Result<(), PciError> {
                self.function.set_interrupts(descriptors)
            }

            fn reset(&self) -> Result<(), PciError> {
                self.function.reset()
            }
        }
    };
}
pub(crate) use delegate_to_function;
