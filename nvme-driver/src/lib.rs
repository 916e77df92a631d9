//! A userspace NVMe driver.
//!
//! The driver reaches hardware through one seam, [`PciFunction`]: registers, DMA mappings, interrupts, bus mastering.
//! VFIO implements it for real drives, the software SSD (crate `nvme-model`) for everybody without one.

pub mod pci;

pub use pci::{PciError, PciFunction};
