//! A PCI function through VFIO.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, PoisonError};

use block::uri::PciAddress;
use dma::{AddressTable, AttachError, NumaNode, Region};
use vfio_bindings::bindings::vfio::{
    VFIO_DEVICE_FLAGS_PCI, VFIO_DEVICE_FLAGS_RESET, VFIO_PCI_BAR0_REGION_INDEX, VFIO_PCI_CONFIG_REGION_INDEX,
    VFIO_PCI_MSIX_IRQ_INDEX, VFIO_REGION_INFO_FLAG_MMAP,
};

use super::config_space::{CommandChange, ConfigSpace};
use super::domain::Domain;
use super::error::VfioError;
use super::ioctl;
use super::open::{OpenDevice, Places, open, os};
use super::registers::Registers;
use super::removal::RemovalRequest;
use crate::pci::{ALL_ONES, PciError, PciFunction};

/// A PCIe NVMe controller that is bound to vfio-pci. Whoever has one has the drive alone.
///
/// When it is dropped, the kernel switches bus mastering off, resets the function and unmaps its memory, in this order.
#[derive(Debug)]
pub struct VfioFunction {
    name: String,
    numa_node: Option<NumaNode>,
    registers: Registers,
    config: ConfigSpace,
    can_reset: bool,
    vectors: u16,
    /// Whether MSI-X is on.
    interrupts: Mutex<bool>,
    removal: RemovalRequest,
    // The mapping above ends before the device is closed, and the device before its IOMMU domain.
    device: File,
    domain: Arc<Domain>,
}

impl VfioFunction {
    /// Takes the drive at `address`.
    ///
    /// # Errors
    /// [`VfioError`], with what helps against it.
    pub fn open(address: PciAddress) -> Result<Self, VfioError> {
        let OpenDevice { function, device, domain } = open(Places::usual(), address)?;
        let shape = |reason| VfioError::Shape { address, reason };
        let fd = device.as_fd();
        let flags = ioctl::device_flags(fd).map_err(os(address, "ask for its abilities"))?;
        if flags & VFIO_DEVICE_FLAGS_PCI == 0 {
            return Err(shape("it is no PCI device to VFIO"));
        }
        let bar0 =
            ioctl::region(fd, VFIO_PCI_BAR0_REGION_INDEX).map_err(os(address, "ask for its registers"))?;
        if bar0.size == 0 || bar0.flags & VFIO_REGION_INFO_FLAG_MMAP == 0 {
            return Err(shape("its registers (BAR 0) cannot be mapped"));
        }
        let registers =
            Registers::map(fd, bar0.offset, bar0.size).map_err(os(address, "map its registers"))?;
        let config = ioctl::region(fd, VFIO_PCI_CONFIG_REGION_INDEX)
            .map_err(os(address, "ask for its configuration space"))?;
        let vectors =
            ioctl::irq_count(fd, VFIO_PCI_MSIX_IRQ_INDEX).map_err(os(address, "ask for its interrupts"))?;
        let removal =
            RemovalRequest::listen(fd).map_err(os(address, "listen to requests for its removal"))?;
        Ok(Self {
            name: address.to_string(),
            numa_node: function.numa_node(),
            registers,
            config: ConfigSpace { offset: config.offset },
            can_reset: flags & VFIO_DEVICE_FLAGS_RESET != 0,
            vectors: u16::try_from(vectors).unwrap_or(u16::MAX),
            interrupts: Mutex::new(false),
            removal,
            device,
            domain,
        })
    }

    fn refused(&self, action: &'static str, reason: &impl ToString) -> PciError {
        PciError::Refused { function: self.name.clone(), action, reason: reason.to_string() }
    }

    /// The function does not answer. Whether it is gone or only deaf cannot be known here: the kernel keeps a removed
    /// function on its bus until we let go of it. So it is cut off from memory, and is gone from then on.
    fn cut_off(&self) -> PciError {
        match self.domain.seal() {
            Ok(()) => PciError::Gone { function: self.name.clone() },
            Err(error) => self.refused("keep a silent function from memory", &error),
        }
    }

    fn switch_interrupts(&self, is_on: &mut bool, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let device = self.device.as_fd();
        if *is_on {
            // Their number cannot change while they are on, and after a reset the kernel's idea of them is stale.
            ioctl::disable_irqs(device, VFIO_PCI_MSIX_IRQ_INDEX)?;
            *is_on = false;
        }
        if !descriptors.is_empty() {
            ioctl::enable_irqs(device, VFIO_PCI_MSIX_IRQ_INDEX, descriptors)?;
            *is_on = true;
        }
        Ok(())
    }
}

impl PciFunction for VfioFunction {
    fn name(&self) -> &str {
        &self.name
    }

    fn numa_node(&self) -> Option<NumaNode> {
        self.numa_node
    }

    fn register_bytes(&self) -> u32 {
        self.registers.bytes()
    }

    /// All ones also when the kernel has asked for the function: it is to be treated as gone, before it is.
    fn read32(&self, offset: u32) -> u32 {
        if self.removal.is_asked() { ALL_ONES } else { self.registers.read(offset) }
    }

    /// As two halves: not every controller, and not every bridge, takes 64-bit accesses.
    fn read64(&self, offset: u32) -> u64 {
        u64::from(self.read32(offset)) | u64::from(self.read32(offset + 4)) << 32
    }

    #[inline]
    fn write32(&self, offset: u32, value: u32) {
        self.registers.write(offset, value);
    }

    fn write64(&self, offset: u32, value: u64) {
        let [a, b, c, d, e, f, g, h] = value.to_le_bytes();
        self.write32(offset, u32::from_le_bytes([a, b, c, d]));
        self.write32(offset + 4, u32::from_le_bytes([e, f, g, h]));
    }

    fn attach(&self, region: &Region) -> Result<(), AttachError> {
        self.domain.attach(region)
    }

    fn addresses(&self) -> &AddressTable {
        self.domain.addresses()
    }

    fn set_bus_master(&self, enabled: bool) -> Result<(), PciError> {
        let action = if enabled { "enable bus mastering" } else { "disable bus mastering" };
        match self.config.set_bus_master(&self.device, enabled) {
            Ok(CommandChange::Done) => Ok(()),
            Ok(CommandChange::Ignored) => Err(self.refused(action, &"its command register keeps its value")),
            Ok(CommandChange::NoAnswer) => Err(self.cut_off()),
            Err(error) => Err(self.refused(action, &error)),
        }
    }

    fn interrupt_vectors_max(&self) -> u16 {
        self.vectors
    }

    fn set_interrupts(&self, descriptors: &[BorrowedFd<'_>]) -> Result<(), PciError> {
        // A poisoned lock still says what the last request to the kernel did.
        let mut is_on = self.interrupts.lock().unwrap_or_else(PoisonError::into_inner);
        self.switch_interrupts(&mut is_on, descriptors)
            .map_err(|error| self.refused("set MSI-X interrupts", &error))
    }

    fn reset(&self) -> Result<(), PciError> {
        if !self.can_reset {
            return Err(PciError::NotSupported { function: self.name.clone(), ability: "be reset" });
        }
        // The kernel restores the command register as it finds it: bus mastering is to be off afterwards.
        self.set_bus_master(false)?;
        ioctl::reset(self.device.as_fd()).map_err(|error| self.refused("reset it", &error))
    }
}
