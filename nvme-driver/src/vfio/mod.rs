//! Real drives, through the kernel's VFIO (Documentation/driver-api/vfio.rst).
//!
//! - [`VfioFunction`] is the seam's implementation: `open` finds the way to it, `registers` holds its mapping,
//!   `domain` what memory it reaches, `config_space` its command register, `removal` the kernel's wish to have it back.
//! - [`open_nvme`] opens `nvme:` devices, [`open_nvme_controller`] the controller of one.
//! - [`SysfsFunction`] says what sysfs tells of a function.
//!
//! Each function has an IOMMU group, a container and so an IOMMU domain of its own: memory is mapped for each drive
//! separately, and a drive reaches only what it was given.

mod config_space;
mod domain;
mod error;
mod function;
mod ioctl;
mod iova;
mod memlock;
mod open;
mod opener;
mod registers;
mod removal;
mod sysfs;

pub use error::VfioError;
pub use function::VfioFunction;
pub use opener::{open_nvme, open_nvme_controller};
pub use sysfs::{NVME_CLASS, SysfsFunction, VFIO_DRIVER};
