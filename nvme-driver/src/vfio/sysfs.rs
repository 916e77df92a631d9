//! What sysfs tells of a PCI function (Documentation/ABI/testing/sysfs-bus-pci).

use std::fs;
use std::path::{Path, PathBuf};

use block::uri::PciAddress;
use dma::NumaNode;

/// The class code of an NVMe controller without its programming interface: mass storage, non-volatile memory (PCI Code
/// and ID Assignment 1.9).
pub const NVME_CLASS: u32 = 0x0108;

/// The driver that hands a function to userspace.
pub const VFIO_DRIVER: &str = "vfio-pci";

/// Drivers beside which a group can be taken: they do no DMA of their own (the kernel's vfio_pci and vfio make the same
/// exception).
const HARMLESS_DRIVERS: [&str; 3] = [VFIO_DRIVER, "pcieport", "pci-stub"];

/// A function's folder in sysfs. Nothing is kept: each question reads anew, since all of it changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SysfsFunction {
    address: PciAddress,
    folder: PathBuf,
}

impl SysfsFunction {
    /// The function at `address`; `sysfs` is `/sys`, or a copy of it.
    #[must_use]
    pub fn new(sysfs: &Path, address: PciAddress) -> Self {
        Self { address, folder: sysfs.join("bus/pci/devices").join(address.to_string()) }
    }

    /// All functions on the bus, in the order of their addresses; none if there is no PCI.
    #[must_use]
    pub fn all(sysfs: &Path) -> Vec<Self> {
        let mut addresses = addresses_in(&sysfs.join("bus/pci/devices"));
        addresses.sort_unstable();
        addresses.into_iter().map(|address| Self::new(sysfs, address)).collect()
    }

    /// Where it sits.
    #[must_use]
    pub fn address(&self) -> PciAddress {
        self.address
    }

    /// Its folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether it is on the bus.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.folder.exists()
    }

    /// An attribute's text, without the white space around it.
    #[must_use]
    pub fn text(&self, attribute: &str) -> Option<String> {
        fs::read_to_string(self.folder.join(attribute)).ok().map(|text| text.trim().to_owned())
    }

    /// An attribute that is a hexadecimal number, such as `vendor`.
    #[must_use]
    pub fn hex(&self, attribute: &str) -> Option<u32> {
        u32::from_str_radix(self.text(attribute)?.trim_start_matches("0x"), 16).ok()
    }

    /// Whether it is an NVMe controller, by its class.
    #[must_use]
    pub fn is_nvme(&self) -> bool {
        self.hex("class").is_some_and(|class| class >> 8 == NVME_CLASS)
    }

    /// The driver that it is bound to.
    #[must_use]
    pub fn driver(&self) -> Option<String> {
        self.link_name("driver")
    }

    /// The IOMMU group that it is in; `None` without an IOMMU.
    #[must_use]
    pub fn iommu_group(&self) -> Option<u32> {
        self.link_name("iommu_group")?.parse().ok()
    }

    /// The other functions of its IOMMU group that the kernel uses, each with its driver: they keep the group from us.
    #[must_use]
    pub fn group_obstacles(&self) -> Vec<(PciAddress, String)> {
        let mut mates = addresses_in(&self.folder.join("iommu_group/devices"));
        mates.retain(|mate| *mate != self.address);
        mates.sort_unstable();
        let driver_of = |mate: PciAddress| {
            let folder = self.folder.with_file_name(mate.to_string());
            Some((mate, Self { address: mate, folder }.driver()?))
        };
        let is_obstacle = |(_, driver): &(_, String)| !HARMLESS_DRIVERS.contains(&driver.as_str());
        mates.into_iter().filter_map(driver_of).filter(is_obstacle).collect()
    }

    /// The NUMA node that it is attached to, on machines with more than one.
    #[must_use]
    pub fn numa_node(&self) -> Option<NumaNode> {
        // -1 where there is none.
        self.text("numa_node")?.parse().ok().map(NumaNode)
    }

    fn link_name(&self, link: &str) -> Option<String> {
        let target = fs::read_link(self.folder.join(link)).ok()?;
        Some(target.file_name()?.to_str()?.to_owned())
    }
}

fn addresses_in(folder: &Path) -> Vec<PciAddress> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// A machine with an NVMe drive and a network card in one IOMMU group.
    fn machine() -> tempfile::TempDir {
        let sysfs = tempfile::tempdir().unwrap();
        let devices = sysfs.path().join("bus/pci/devices");
        let group = sysfs.path().join("kernel/iommu_groups/17/devices");
        for (address, class) in [("0000:81:00.0", "0x010802\n"), ("0000:01:00.0", "0x020000\n")] {
            fs::create_dir_all(devices.join(address)).unwrap();
            fs::create_dir_all(group.join(address)).unwrap();
            fs::write(devices.join(address).join("class"), class).unwrap();
            symlink(group.parent().unwrap(), devices.join(address).join("iommu_group")).unwrap();
        }
        fs::create_dir_all(sysfs.path().join("bus/pci/drivers/nvme")).unwrap();
        symlink("../../../drivers/nvme", devices.join("0000:81:00.0/driver")).unwrap();
        fs::write(devices.join("0000:81:00.0/numa_node"), "1\n").unwrap();
        fs::write(devices.join("0000:01:00.0/numa_node"), "-1\n").unwrap();
        sysfs
    }

    #[test]
    fn a_drive_is_described() {
        let sysfs = machine();
        let drive = SysfsFunction::new(sysfs.path(), "81:00.0".parse().unwrap());
        assert!(drive.exists() && drive.is_nvme());
        assert_eq!(drive.driver().as_deref(), Some("nvme"));
        assert_eq!(drive.iommu_group(), Some(17));
        assert_eq!(drive.numa_node(), Some(NumaNode(1)));
    }

    #[test]
    fn functions_that_the_kernel_uses_keep_a_group() {
        let sysfs = machine();
        let devices = sysfs.path().join("bus/pci/devices");
        let drive = SysfsFunction::new(sysfs.path(), "81:00.0".parse().unwrap());
        assert_eq!(drive.group_obstacles(), []);
        symlink("../../../drivers/pcieport", devices.join("0000:01:00.0/driver")).unwrap();
        assert_eq!(drive.group_obstacles(), []);
        fs::remove_file(devices.join("0000:01:00.0/driver")).unwrap();
        symlink("../../../drivers/mlx5_core", devices.join("0000:01:00.0/driver")).unwrap();
        assert_eq!(drive.group_obstacles(), [("0000:01:00.0".parse().unwrap(), "mlx5_core".to_owned())]);
    }

    #[test]
    fn what_is_not_there_is_not_told() {
        let sysfs = machine();
        let card = SysfsFunction::new(sysfs.path(), "01:00.0".parse().unwrap());
        assert!(!card.is_nvme());
        assert_eq!((card.driver(), card.numa_node()), (None, None));
        let absent = SysfsFunction::new(sysfs.path(), "02:00.0".parse().unwrap());
        assert!(!absent.exists() && absent.iommu_group().is_none());
        assert!(SysfsFunction::all(Path::new("/nowhere")).is_empty());
    }

    #[test]
    fn functions_come_in_the_order_of_their_addresses() {
        let sysfs = machine();
        let all: Vec<_> = SysfsFunction::all(sysfs.path()).iter().map(|f| f.address().to_string()).collect();
        assert_eq!(all, ["0000:01:00.0", "0000:81:00.0"]);
    }
}
