//! A machine in a temporary folder, with a kernel that does what the real one does when sysfs is written.

use std::cell::{Cell, RefCell};
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use block::uri::PciAddress;
use tempfile::TempDir;

use super::host::{Host, Kernel};

/// The machine's drive: `nvme0` with `nvme0n1`, which has two partitions, and `nvme0n2`.
pub(super) const DRIVE: PciAddress = match PciAddress::new(0, 0x81, 0, 0) {
    Ok(address) => address,
    Err(_) => unreachable!(),
};

/// Another function, which is no drive.
pub(super) const MATE: PciAddress = match PciAddress::new(0, 0x81, 0, 1) {
    Ok(address) => address,
    Err(_) => unreachable!(),
};

/// What sysfs would do.
#[derive(Debug)]
pub(super) struct FakeKernel {
    sysfs: PathBuf,
    claimed: RefCell<Vec<String>>,
    busy: RefCell<Vec<String>>,
    loaded: RefCell<Vec<String>>,
    refusing: RefCell<Vec<String>>,
    written: Cell<usize>,
    may_write: Cell<bool>,
    has_modules: Cell<bool>,
    memlock_bytes: Cell<Option<u64>>,
}

impl FakeKernel {
    fn function(&self) -> PathBuf {
        self.sysfs.join("bus/pci/devices").join(DRIVE.to_string())
    }

    fn answer(&self, path: &Path) -> io::Result<()> {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        self.claimed.borrow_mut().push(name.clone());
        if self.busy.borrow().contains(&name) { Err(ErrorKind::ResourceBusy.into()) } else { Ok(()) }
    }

    fn set_driver(&self, driver: Option<&str>) {
        let link = self.function().join("driver");
        let _ = fs::remove_file(&link);
        if let Some(driver) = driver {
            fs::create_dir_all(self.sysfs.join("bus/pci/drivers").join(driver)).unwrap();
            symlink(Path::new("../../drivers").join(driver), link).unwrap();
        }
        let _ = fs::remove_dir_all(self.function().join("nvme"));
        if driver == Some("nvme") {
            for namespace in ["nvme0n1", "nvme0n2", "hwmon2"] {
                fs::create_dir_all(self.function().join("nvme/nvme0").join(namespace)).unwrap();
            }
            fs::write(self.function().join("nvme/nvme0/model"), "ACME 9000           \n").unwrap();
            fs::write(self.function().join("nvme/nvme0/serial"), "S3R1AL\n").unwrap();
        }
    }

    /// The driver that may have the function, among those that are there and do not refuse it.
    fn probe(&self) {
        let wanted = fs::read_to_string(self.function().join("driver_override")).unwrap_or_default();
        let driver = if wanted.trim().is_empty() { "nvme" } else { wanted.trim() };
        let is_there = self.sysfs.join("bus/pci/drivers").join(driver).exists();
        if is_there && !self.refusing.borrow().iter().any(|other| other == driver) {
            self.set_driver(Some(driver));
        }
    }
}

impl Kernel for FakeKernel {
    fn write(&self, path: &Path, text: &str) -> io::Result<()> {
        self.written.set(self.written.get() + 1);
        if !self.may_write.get() {
            return Err(ErrorKind::PermissionDenied.into());
        }
        match path.file_name().unwrap().to_str().unwrap() {
            "unbind" => {
                assert_eq!((text, path.parent().unwrap().exists()), (DRIVE.to_string().as_str(), true));
                self.set_driver(None);
            }
            "drivers_probe" => self.probe(),
            "driver_override" => fs::write(path, text.trim())?,
            other => panic!("nobody writes {other}"),
        }
        Ok(())
    }

    fn claim(&self, path: &Path) -> io::Result<File> {
        self.answer(path)?;
        tempfile::tempfile()
    }

    fn try_group(&self, path: &Path) -> io::Result<()> {
        self.answer(path)
    }

    fn memlock_bytes(&self) -> Option<u64> {
        self.memlock_bytes.get()
    }

    fn load_module(&self, name: &str) -> Result<(), String> {
        if !self.has_modules.get() {
            return Err("Module not found".to_owned());
        }
        self.loaded.borrow_mut().push(name.to_owned());
        fs::create_dir_all(self.sysfs.join("bus/pci/drivers").join(name)).unwrap();
        Ok(())
    }
}

/// The machine.
pub(super) struct Machine {
    root: TempDir,
    pub(super) host: Host<FakeKernel>,
}

impl Machine {
    /// With an idle drive that the kernel drives.
    pub(super) fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let kernel = FakeKernel {
            sysfs: root.path().join("sys"),
            claimed: RefCell::default(),
            busy: RefCell::default(),
            loaded: RefCell::default(),
            refusing: RefCell::default(),
            written: Cell::new(0),
            may_write: Cell::new(true),
            has_modules: Cell::new(true),
            memlock_bytes: Cell::new(Some(8 << 20)),
        };
        let machine = Self { host: Host::below(root.path(), kernel), root };
        for (path, text) in FILES {
            machine.put(path, text);
        }
        machine.put("sys/kernel/iommu_groups/17/devices/0000:81:00.0/class", "0x010802\n");
        let group = machine.host.sysfs.join("kernel/iommu_groups/17");
        symlink(group, machine.host.kernel.function().join("iommu_group")).unwrap();
        fs::create_dir_all(machine.host.sysfs.join("bus/pci/drivers/vfio-pci")).unwrap();
        machine.set_driver("nvme");
        machine
    }

    /// With a drive that vfio-pci has.
    pub(super) fn with_vfio() -> Self {
        let machine = Self::new();
        machine.set_driver("vfio-pci");
        machine
    }

    /// A file of the machine.
    pub(super) fn put(&self, path: &str, text: &str) {
        let path = self.root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// A network card in the drive's IOMMU group.
    pub(super) fn add_group_mate(&self, driver: &str) {
        self.put("sys/bus/pci/devices/0000:81:00.1/class", "0x020000\n");
        self.put("sys/kernel/iommu_groups/17/devices/0000:81:00.1/class", "0x020000\n");
        let link = self.host.sysfs.join("bus/pci/devices/0000:81:00.1/driver");
        symlink(Path::new("../../drivers").join(driver), link).unwrap();
    }

    pub(super) fn remove_iommu(&self) {
        fs::remove_file(self.host.kernel.function().join("iommu_group")).unwrap();
    }

    pub(super) fn remove_driver(&self, driver: &str) {
        fs::remove_dir_all(self.host.sysfs.join("bus/pci/drivers").join(driver)).unwrap();
    }

    /// The controller's folder names paths of disks, as with native multipath.
    pub(super) fn rename_to_paths(&self) {
        let folder = self.host.kernel.function().join("nvme/nvme0");
        fs::rename(folder.join("nvme0n1"), folder.join("nvme0c0n1")).unwrap();
        fs::rename(folder.join("nvme0n2"), folder.join("nvme0c0n2")).unwrap();
    }

    /// From now on somebody has this file.
    pub(super) fn make_busy(&self, name: &str) {
        self.host.kernel.busy.borrow_mut().push(name.to_owned());
    }

    pub(super) fn let_refuse(&self, driver: &str) {
        self.host.kernel.refusing.borrow_mut().push(driver.to_owned());
    }

    pub(super) fn lift_memlock(&self) {
        self.host.kernel.memlock_bytes.set(None);
    }

    pub(super) fn forbid_writing(&self) {
        self.host.kernel.may_write.set(false);
    }

    pub(super) fn forbid_modules(&self) {
        self.host.kernel.has_modules.set(false);
    }

    pub(super) fn set_driver(&self, driver: &str) {
        self.host.kernel.set_driver(Some(driver));
    }

    pub(super) fn driver(&self) -> Option<String> {
        self.host.function(DRIVE).driver()
    }

    pub(super) fn driver_override(&self) -> String {
        fs::read_to_string(self.host.kernel.function().join("driver_override")).unwrap_or_default()
    }

    /// How often sysfs was written.
    pub(super) fn written(&self) -> usize {
        self.host.kernel.written.get()
    }

    /// Files that were asked for, in order.
    pub(super) fn claimed(&self) -> Vec<String> {
        self.host.kernel.claimed.borrow().clone()
    }

    pub(super) fn loaded(&self) -> Vec<String> {
        self.host.kernel.loaded.borrow().clone()
    }
}

const FILES: &[(&str, &str)] = &[
    ("sys/bus/pci/devices/0000:00:1f.0/class", "0x060100\n"),
    ("sys/bus/pci/devices/0000:81:00.0/class", "0x010802\n"),
    ("sys/bus/pci/devices/0000:81:00.0/vendor", "0x1b36\n"),
    ("sys/bus/pci/devices/0000:81:00.0/device", "0x0010\n"),
    ("sys/bus/pci/devices/0000:81:00.0/numa_node", "1\n"),
    ("sys/block/nvme0n1/dev", "259:0\n"),
    ("sys/block/nvme0n1/size", "2048\n"),
    ("sys/block/nvme0n1/nvme0n1p1/dev", "259:1\n"),
    ("sys/block/nvme0n1/nvme0n1p1/partition", "1\n"),
    ("sys/block/nvme0n1/nvme0n1p2/dev", "259:2\n"),
    ("sys/block/nvme0n1/nvme0n1p2/partition", "2\n"),
    ("sys/block/nvme0n2/dev", "259:3\n"),
    ("sys/block/nvme0n2/size", "4096\n"),
    ("proc/self/mountinfo", "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n"),
    ("proc/swaps", "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"),
];
