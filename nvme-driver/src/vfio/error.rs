//! Why a drive cannot be taken, and what helps.

use std::io;

use block::uri::PciAddress;
use thiserror::Error;

/// Why a drive cannot be taken, and what helps.
#[derive(Debug, Error)]
pub enum VfioError {
    /// There is nothing at this address.
    #[error("there is no PCI function {0}")]
    Absent(PciAddress),
    /// What is there is no NVMe controller.
    #[error("PCI function {0} is no NVMe controller")]
    NotNvme(PciAddress),
    /// No IOMMU keeps the drive away from memory that is not ours.
    #[error(
        "{0} is in no IOMMU group: this machine has no IOMMU, or it is off (enable VT-d or AMD-Vi in the firmware, and \
         start the kernel with intel_iommu=on where that is not the default)"
    )]
    NoIommu(PciAddress),
    /// Another driver has it, or none.
    #[error("{address} is bound to {}, not to vfio-pci: `remora drives bind {address}` changes that", driver_words(driver.as_deref()))]
    Driver {
        /// The drive.
        address: PciAddress,
        /// The driver that it is bound to.
        driver: Option<String>,
    },
    /// We may not open the group, or VFIO itself.
    #[error(
        "permission denied on {path}: run as root, or make this file ours (`chown $USER {path}`, or a udev rule)"
    )]
    Permission {
        /// The file in `/dev/vfio`.
        path: String,
    },
    /// The kernel's modules are not loaded.
    #[error("{path} does not exist: load the kernel's VFIO modules (`modprobe vfio-pci`)")]
    NoVfio {
        /// The file in `/dev/vfio`.
        path: String,
    },
    /// Somebody has the group open.
    #[error("{path} is in use: another process, or another drive of the same IOMMU group, has it open")]
    InUse {
        /// The file in `/dev/vfio`.
        path: String,
    },
    /// Other functions of the group are used by the kernel.
    #[error(
        "IOMMU group {group} cannot be taken while the kernel's drivers use other functions of it: {others}"
    )]
    NotViable {
        /// The group.
        group: u32,
        /// The functions, each with its driver.
        others: String,
    },
    /// The kernel keeps unsafe groups from userspace.
    #[error(
        "the kernel refuses IOMMU group {group} to userspace: the machine does not remap interrupts (enable that in the \
         firmware, or accept the risk with vfio_iommu_type1.allow_unsafe_interrupts=1)"
    )]
    NoInterruptRemapping {
        /// The group.
        group: u32,
    },
    /// The function is not shaped like an NVMe controller.
    #[error("{address}: {reason}")]
    Shape {
        /// The drive.
        address: PciAddress,
        /// What is missing.
        reason: &'static str,
    },
    /// The kernel refused.
    #[error("{address}: cannot {action}: {source}")]
    Os {
        /// The drive.
        address: PciAddress,
        /// What we tried.
        action: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
}

fn driver_words(driver: Option<&str>) -> String {
    driver.map_or_else(|| "no driver".to_owned(), |driver| format!("the driver {driver}"))
}
