//! Why a drive was not moved.

use std::io;
use std::path::PathBuf;

use block::uri::PciAddress;
use thiserror::Error;

/// Why a drive was not moved, with what helps.
#[derive(Debug, Error)]
pub(super) enum DrivesError {
    /// There is nothing at this address.
    #[error("there is no PCI function {0} (`remora drives list` shows the drives)")]
    Absent(PciAddress),
    /// What is there is no drive.
    #[error("PCI function {0} is no NVMe drive (`remora drives list` shows the drives)")]
    NotNvme(PciAddress),
    /// No IOMMU keeps the drive away from memory that is not ours.
    #[error(
        "{0} is in no IOMMU group: this machine has no IOMMU, or it is off. Enable VT-d or AMD-Vi in the firmware, and \
         start the kernel with intel_iommu=on where that is not the default"
    )]
    NoIommu(PciAddress),
    /// Other functions of the group are used by the kernel.
    #[error(
        "{address} cannot be taken without all of IOMMU group {group}, and the kernel uses other functions of it: {others}"
    )]
    SharedGroup {
        /// The drive.
        address: PciAddress,
        /// The group.
        group: u32,
        /// The functions, each with its driver.
        others: String,
    },
    /// Somebody would lose data.
    #[error("{address} is in use: {by}")]
    InUse {
        /// The drive.
        address: PciAddress,
        /// By whom.
        by: String,
    },
    /// It is not ours to give back.
    #[error("{address} is bound to {driver}, not to vfio-pci: there is nothing to give back")]
    NotOurs {
        /// The drive.
        address: PciAddress,
        /// What it is bound to.
        driver: String,
    },
    /// The kernel has no such driver.
    #[error("the kernel has no driver {driver}, and `modprobe {driver}` did not help: {reason}")]
    NoDriver {
        /// The driver.
        driver: &'static str,
        /// What modprobe said.
        reason: String,
    },
    /// The driver would not have the drive.
    #[error(
        "{address} was offered to {driver}, which did not take it (the kernel's log may say why); it is bound to {now} now"
    )]
    NotTaken {
        /// The drive.
        address: PciAddress,
        /// The driver.
        driver: &'static str,
        /// What it is bound to.
        now: String,
    },
    /// We may not.
    #[error("permission denied on {}: moving drives needs root", path.display())]
    Permission {
        /// The file.
        path: PathBuf,
    },
    /// The kernel refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The answer cannot be written out.
    #[error("the output cannot be written: {source}")]
    Output {
        /// The kernel's answer.
        source: io::Error,
    },
}

impl DrivesError {
    /// A refused access to a file.
    pub(super) fn at(path: PathBuf, source: io::Error) -> Self {
        if source.kind() == io::ErrorKind::PermissionDenied {
            Self::Permission { path }
        } else {
            Self::Io { path, source }
        }
    }
}
