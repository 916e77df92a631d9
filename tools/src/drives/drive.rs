//! What is known of a drive.

use std::fs;
use std::io::ErrorKind;

use nvme_driver::vfio::{SysfsFunction, VFIO_DRIVER};
use serde::Serialize;

use super::host::{Host, Kernel};
use super::in_use;

/// What `/sys/block/DISK/size` counts in, whatever the disk's block size is.
const SECTOR_BYTES: u64 = 512;

/// Whether a drive can be opened as `nvme:`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "takeable", content = "reason", rename_all = "kebab-case")]
pub(crate) enum Takeable {
    /// It is with vfio-pci, and nobody has it.
    Yes,
    /// `remora drives bind` first.
    AfterBind,
    /// No, and why.
    No(String),
}

/// A PCIe NVMe drive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Drive {
    /// The PCI address.
    pub(super) address: String,
    /// What it says of itself, while the kernel drives it.
    pub(super) model: Option<String>,
    /// The same.
    pub(super) serial: Option<String>,
    /// Vendor and device number, as lspci -n writes them.
    pub(super) pci_id: String,
    /// All namespaces together, while the kernel drives it.
    pub(super) size_bytes: Option<u64>,
    /// The kernel's disks.
    pub(super) disks: Vec<String>,
    pub(super) driver: Option<String>,
    pub(super) numa_node: Option<u32>,
    pub(super) iommu_group: Option<u32>,
    #[serde(flatten)]
    pub(super) takeable: Takeable,
}

/// The NVMe drives on the PCI bus.
pub(super) fn all<K: Kernel>(host: &Host<K>) -> Vec<Drive> {
    let functions = SysfsFunction::all(&host.sysfs);
    functions.iter().filter(|function| function.is_nvme()).map(|function| describe(host, function)).collect()
}

fn describe<K: Kernel>(host: &Host<K>, function: &SysfsFunction) -> Drive {
    let controller = host.controller_folder(function);
    let told = |attribute: &str| {
        let text = fs::read_to_string(controller.as_ref()?.join(attribute)).ok()?;
        Some(text.trim().to_owned())
    };
    let disks = host.disks(function);
    let sizes = disks.iter().map(|disk| disk_bytes(host, disk));
    Drive {
        address: function.address().to_string(),
        model: told("model"),
        serial: told("serial"),
        pci_id: pci_id(function),
        size_bytes: sizes.reduce(|sum, bytes| sum?.checked_add(bytes?)).flatten(),
        driver: function.driver(),
        numa_node: function.numa_node().map(|node| node.0),
        iommu_group: function.iommu_group(),
        takeable: takeable(host, function),
        disks,
    }
}

fn pci_id(function: &SysfsFunction) -> String {
    let number = |attribute| function.hex(attribute).map_or_else(|| "?".to_owned(), |id| format!("{id:04x}"));
    format!("{}:{}", number("vendor"), number("device"))
}

fn disk_bytes<K: Kernel>(host: &Host<K>, disk: &str) -> Option<u64> {
    let sectors = fs::read_to_string(host.disk_folder(disk).join("size")).ok()?;
    sectors.trim().parse::<u64>().ok()?.checked_mul(SECTOR_BYTES)
}

fn takeable<K: Kernel>(host: &Host<K>, function: &SysfsFunction) -> Takeable {
    let Some(group) = function.iommu_group() else {
        return Takeable::No("no IOMMU".to_owned());
    };
    if let Some((mate, driver)) = function.group_obstacles().into_iter().next() {
        return Takeable::No(format!("shares IOMMU group {group} with {mate} ({driver})"));
    }
    if function.driver().as_deref() == Some(VFIO_DRIVER) {
        return with_vfio(host, group);
    }
    match in_use::claim(host, function) {
        Ok(_) => Takeable::AfterBind,
        Err(user) => Takeable::No(user),
    }
}

fn with_vfio<K: Kernel>(host: &Host<K>, group: u32) -> Takeable {
    let file = host.group_file(group);
    match host.kernel.try_group(&file) {
        Ok(()) => Takeable::Yes,
        Err(error) => Takeable::No(match error.kind() {
            ErrorKind::ResourceBusy => "a process drives it".to_owned(),
            ErrorKind::PermissionDenied => format!("no permission on {}", file.display()),
            _ => format!("{}: {error}", file.display()),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_machine::Machine;
    use super::*;

    fn drive(machine: &Machine) -> Drive {
        let drives = all(&machine.host);
        assert_eq!(drives.len(), 1, "the machine has one drive, and other functions");
        drives[0].clone()
    }

    fn no(reason: &str) -> Takeable {
        Takeable::No(reason.to_owned())
    }

    #[test]
    fn a_drive_with_the_kernel_is_described() {
        let drive = drive(&Machine::new());
        assert_eq!(drive.address, "0000:81:00.0");
        assert_eq!((drive.model.as_deref(), drive.serial.as_deref()), (Some("ACME 9000"), Some("S3R1AL")));
        assert_eq!(drive.pci_id, "1b36:0010");
        // 2048 and 4096 sectors of 512 bytes.
        assert_eq!(drive.size_bytes, Some(3 << 20));
        assert_eq!(drive.disks, ["nvme0n1", "nvme0n2"]);
        assert_eq!(
            (drive.driver.as_deref(), drive.numa_node, drive.iommu_group),
            (Some("nvme"), Some(1), Some(17))
        );
        assert_eq!(drive.takeable, Takeable::AfterBind);
    }

    #[test]
    fn a_drive_with_vfio_has_no_model() {
        let machine = Machine::with_vfio();
        let drive = drive(&machine);
        assert_eq!((drive.model, drive.size_bytes, drive.takeable), (None, None, Takeable::Yes));
    }

    #[test]
    fn reasons_against_are_told() {
        let machine = Machine::new();
        machine.put("proc/self/mountinfo", "36 35 259:2 / / rw - ext4 /dev/nvme0n1p2 rw\n");
        assert_eq!(drive(&machine).takeable, no("nvme0n1p2 is mounted on /"));
        machine.add_group_mate("mlx5_core");
        let shared = no("shares IOMMU group 17 with 0000:81:00.1 (mlx5_core)");
        assert_eq!(drive(&machine).takeable, shared);
        machine.remove_iommu();
        assert_eq!(drive(&machine).takeable, no("no IOMMU"));
    }

    #[test]
    fn a_group_that_a_process_has_open_is_not_free() {
        let machine = Machine::with_vfio();
        machine.make_busy("17");
        assert_eq!(drive(&machine).takeable, no("a process drives it"));
    }
}
