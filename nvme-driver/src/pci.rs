//! The seam to hardware: one PCI function with NVMe registers behind its BAR 0.

use std::os::fd::BorrowedFd;
use std::sync::Arc;

use dma::{AddressTable, AttachError, NumaNode, Region};
use thiserror::Error;

/// What a 32-bit register of a function that is no longer there reads as (PCI Express: an unsupported request).
pub const ALL_ONES: u32 = u32::MAX;

/// Why a function did not do what it was told.
#[derive(Debug, Error)]
pub enum PciError {
    /// The function has been removed from the bus: it can start no DMA any more.
    #[error("{function} is gone")]
    Gone {
        /// Its name.
        function: String,
    },
    /// It has no such ability.
    #[error("{function} cannot {ability}")]
    NotSupported {
        /// Its name.
        function: String,
        /// What was asked for.
        ability: &'static str,
    },
    /// The kernel, or the function, refused.
    #[error("{function}: cannot {action}: {reason}")]
    Refused {
        /// Its name.
        function: String,
        /// What was tried.
        action: &'static str,
        /// The refusal's own words.
        reason: String,
    },
}

/// One PCI function. Everything may be called from any thread.
///
/// The addresses that a driver writes into commands come from [`Self::addresses`]: a region's first byte is at that
/// IOVA, and the whole region follows contiguously. A function reaches nothing that is not attached, and nothing at all
/// while it is no bus master.
pub trait PciFunction: Send + Sync + 'static {
    /// A name for messages: the address of a real one, such as `0000:01:00.0`.
    fn name(&self) -> &str;

    /// The NUMA node that it is attached to.
    fn numa_node(&self) -> Option<NumaNode>;

    /// Bytes of the register space (BAR 0).
    fn register_bytes(&self) -> u32;

    /// Reads a 32-bit register; all ones if the function is gone. `offset` is a multiple of 4 inside the registers.
    ///
    /// Memory accesses that follow are not moved before it.
    fn read32(&self, offset: u32) -> u32;

    /// Reads a 64-bit register, as two halves where the hardware wants that; all ones if the function is gone.
    fn read64(&self, offset: u32) -> u64;

    /// Writes a 32-bit register. Memory accesses that precede it are visible to the device first.
    fn write32(&self, offset: u32, value: u32);

    /// Writes a 64-bit register, low half first where it takes two.
    fn write64(&self, offset: u32, value: u64);

    /// Lets the function reach a region. Again is no error. Ends when the region ends (see [`dma::Attachment`]).
    fn attach(&self, region: &Region) -> Result<(), AttachError>;

    /// The IOVA of each attached region.
    fn addresses(&self) -> &AddressTable;

    /// Lets the function start DMA, or keeps it from doing so. When this returns from switching off, every DMA that had
    /// been started has ended and no new one starts.
    fn set_bus_master(&self, enabled: bool) -> Result<(), PciError>;

    /// Number of MSI-X vectors that it has.
    fn interrupt_vectors_max(&self) -> u16;

    /// Enables MSI-X: vector `n` writes 1 to the n-th descriptor, an eventfd. Replaces what was set before; an empty
    /// slice disables. To be done before CC.EN is set: some controllers drop the interrupts of earlier queues.
    fn set_interrupts(&self, descriptors: &[BorrowedFd<'_>]) -> Result<(), PciError>;

    /// Resets the function (FLR). Afterwards its registers are as after power-on and no DMA of before can happen.
    fn reset(&self) -> Result<(), PciError>;
}

impl<F: PciFunction> PciFunction for Arc<F> {
    fn name(&self) -> &str {
        (**self).name()
    }

    fn numa_node(&self) -> Option<NumaNode> {
        (**self).numa_node()
    }

    fn register_bytes(&self) -> u32 {
        (**self).register_bytes()
    }

    fn read32(&self, offset: u32) -> u32 {
        (**self).read32(offset)
    }

    fn read64(&self, offset: u32) -> u64 {
        (**self).read64(offset)
    }

    fn write32(&self, offset: u32, value: u32) {
        (**self).write32(offset, value);
    }

    fn write64(&self, offset: u32, value: u64) {
        (**self).write64(offset, value);
    }

    fn attach(&self, region: &Region) -> Result<(), AttachError> {
        (**self).attach(region)
    }

    fn addresses(&self) -> &AddressTable {
        (**self).addresses()
    }

    fn set_bus_master(&self, enabled: bool) -> Result<(), PciError> {
        (**self).set_bus_master(enabled)
    }

    fn interrupt_vectors_max(&self) -> u16 {
        (**self).interrupt_vectors_max()
    }

    fn set_interrupts(&self, descriptors: &[BorrowedFd<'_>]) -> Result<(), PciError> {
        (**self).set_interrupts(descriptors)
    }

    fn reset(&self) -> Result<(), PciError> {
        (**self).reset()
    }
}
