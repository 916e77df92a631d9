//! From an address to an open VFIO device, with a reason for every way in which that fails.

use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use block::uri::PciAddress;
use vfio_bindings::bindings::vfio::{VFIO_API_VERSION, VFIO_GROUP_FLAGS_VIABLE, VFIO_TYPE1v2_IOMMU};

use super::domain::Domain;
use super::error::VfioError;
use super::ioctl;
use super::iova::{IovaSpace, allowed_ranges};
use super::sysfs::{SysfsFunction, VFIO_DRIVER};

/// Where the kernel shows what we need.
#[derive(Clone, Copy, Debug)]
pub(super) struct Places<'a> {
    pub(super) sysfs: &'a Path,
    pub(super) vfio: &'a Path,
}

impl Places<'static> {
    pub(super) fn usual() -> Self {
        Self { sysfs: Path::new("/sys"), vfio: Path::new("/dev/vfio") }
    }
}

/// An open device in an IOMMU domain of its own.
#[derive(Debug)]
pub(super) struct OpenDevice {
    pub(super) function: SysfsFunction,
    pub(super) device: File,
    pub(super) domain: Arc<Domain>,
}

/// Opens the device at `address`.
pub(super) fn open(places: Places<'_>, address: PciAddress) -> Result<OpenDevice, VfioError> {
    let function = SysfsFunction::new(places.sysfs, address);
    let group_number = check(&function)?;
    let group = open_file(address, &places.vfio.join(group_number.to_string()))?;
    check_group(&function, group_number, &group)?;
    let container = open_container(places, address)?;
    join(address, group_number, &group, &container)?;
    let info = ioctl::iommu_info(container.as_fd()).map_err(os(address, "ask the IOMMU for its ranges"))?;
    let space = IovaSpace::new(allowed_ranges(&info));
    let name = CString::new(address.to_string()).map_err(|error| os(address, "name it")(error.into()))?;
    let device = ioctl::device(group.as_fd(), &name).map_err(os(address, "open it through its group"))?;
    let domain = Domain::new(address.to_string(), container, group, space);
    Ok(OpenDevice { function, device: File::from(device), domain })
}

/// Whether the function can be taken as it is; returns its IOMMU group.
fn check(function: &SysfsFunction) -> Result<u32, VfioError> {
    let address = function.address();
    if !function.exists() {
        return Err(VfioError::Absent(address));
    }
    if !function.is_nvme() {
        return Err(VfioError::NotNvme(address));
    }
    let group = function.iommu_group().ok_or(VfioError::NoIommu(address))?;
    let driver = function.driver();
    if driver.as_deref() != Some(VFIO_DRIVER) {
        return Err(VfioError::Driver { address, driver });
    }
    Ok(group)
}

fn check_group(function: &SysfsFunction, group_number: u32, group: &OwnedFd) -> Result<(), VfioError> {
    let flags =
        ioctl::group_flags(group.as_fd()).map_err(os(function.address(), "ask for its group's state"))?;
    if flags & VFIO_GROUP_FLAGS_VIABLE != 0 {
        return Ok(());
    }
    let words = |(mate, driver)| format!("{mate} ({driver})");
    let others = function.group_obstacles().into_iter().map(words).collect::<Vec<_>>().join(", ");
    Err(VfioError::NotViable { group: group_number, others })
}

fn open_container(places: Places<'_>, address: PciAddress) -> Result<OwnedFd, VfioError> {
    let container = open_file(address, &places.vfio.join("vfio"))?;
    let version = ioctl::api_version(container.as_fd()).map_err(os(address, "ask VFIO for its version"))?;
    if u32::try_from(version) != Ok(VFIO_API_VERSION) {
        return Err(VfioError::Shape { address, reason: "the kernel's VFIO is of another version" });
    }
    let type1 = ioctl::has_extension(container.as_fd(), VFIO_TYPE1v2_IOMMU)
        .map_err(os(address, "ask VFIO for its kinds of IOMMU"))?;
    if !type1 {
        return Err(VfioError::Shape {
            address,
            reason: "the kernel's VFIO has no driver for this IOMMU: load it (`modprobe vfio_iommu_type1`)",
        });
    }
    Ok(container)
}

/// Puts the group into the container, and makes the container an IOMMU domain.
fn join(
    address: PciAddress,
    group_number: u32,
    group: &OwnedFd,
    container: &OwnedFd,
) -> Result<(), VfioError> {
    ioctl::set_container(group.as_fd(), container.as_fd())
        .map_err(os(address, "put its group into a container"))?;
    match ioctl::set_iommu(container.as_fd(), VFIO_TYPE1v2_IOMMU) {
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => {
            Err(VfioError::NoInterruptRemapping { group: group_number })
        }
        answer => answer.map_err(os(address, "make an IOMMU domain")),
    }
}

fn open_file(address: PciAddress, path: &Path) -> Result<OwnedFd, VfioError> {
    let file = OpenOptions::new().read(true).write(true).open(path);
    file.map(OwnedFd::from).map_err(|error| open_refusal(address, path, error))
}

fn open_refusal(address: PciAddress, path: &Path, error: io::Error) -> VfioError {
    let path = PathBuf::from(path).display().to_string();
    match error.raw_os_error() {
        Some(libc::EACCES | libc::EPERM) => VfioError::Permission { path },
        Some(libc::ENOENT | libc::ENODEV | libc::ENXIO) => VfioError::NoVfio { path },
        Some(libc::EBUSY) => VfioError::InUse { path },
        _ => VfioError::Os { address, action: "open its file in /dev/vfio", source: error },
    }
}

pub(super) fn os(address: PciAddress, action: &'static str) -> impl FnOnce(io::Error) -> VfioError {
    move |source| VfioError::Os { address, action, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    const ADDRESS: &str = "0000:81:00.0";

    /// A machine whose drive is in group 17 and bound to vfio-pci.
    struct Machine(tempfile::TempDir);

    impl Machine {
        fn new() -> Self {
            let machine = Self(tempfile::tempdir().unwrap());
            let root = machine.0.path();
            fs::create_dir_all(machine.function()).unwrap();
            fs::create_dir_all(root.join("dev")).unwrap();
            fs::create_dir_all(root.join("sys/kernel/iommu_groups/17/devices")).unwrap();
            fs::write(machine.function().join("class"), "0x010802\n").unwrap();
            symlink("../../../../kernel/iommu_groups/17", machine.function().join("iommu_group")).unwrap();
            symlink("../../drivers/vfio-pci", machine.function().join("driver")).unwrap();
            machine
        }

        fn function(&self) -> PathBuf {
            self.0.path().join("sys/bus/pci/devices").join(ADDRESS)
        }

        fn open(&self) -> String {
            let (sysfs, vfio) = (self.0.path().join("sys"), self.0.path().join("dev"));
            let places = Places { sysfs: &sysfs, vfio: &vfio };
            open(places, ADDRESS.parse().unwrap()).unwrap_err().to_string()
        }
    }

    #[test]
    fn an_absent_function_is_absent() {
        let machine = Machine::new();
        fs::remove_dir_all(machine.function()).unwrap();
        assert_eq!(machine.open(), "there is no PCI function 0000:81:00.0");
    }

    #[test]
    fn what_is_no_drive_is_not_taken() {
        let machine = Machine::new();
        fs::write(machine.function().join("class"), "0x020000\n").unwrap();
        assert_eq!(machine.open(), "PCI function 0000:81:00.0 is no NVMe controller");
    }

    #[test]
    fn without_an_iommu_its_lack_is_told_first() {
        let machine = Machine::new();
        fs::remove_file(machine.function().join("iommu_group")).unwrap();
        fs::remove_file(machine.function().join("driver")).unwrap();
        assert!(machine.open().starts_with("0000:81:00.0 is in no IOMMU group"), "{}", machine.open());
    }

    #[test]
    fn the_driver_that_has_it_is_named() {
        let machine = Machine::new();
        fs::remove_file(machine.function().join("driver")).unwrap();
        assert!(machine.open().starts_with("0000:81:00.0 is bound to no driver"));
        symlink("../../drivers/nvme", machine.function().join("driver")).unwrap();
        let said = machine.open();
        assert!(
            said.contains("the driver nvme") && said.contains("remora drives bind 0000:81:00.0"),
            "{said}"
        );
    }

    #[test]
    fn a_missing_group_file_asks_for_the_modules() {
        let machine = Machine::new();
        assert!(machine.open().contains("dev/17 does not exist: load"), "{}", machine.open());
    }

    #[test]
    fn what_is_no_group_is_refused_with_the_kernels_words() {
        let machine = Machine::new();
        fs::write(machine.0.path().join("dev/17"), "").unwrap();
        assert!(machine.open().contains("Inappropriate ioctl"), "{}", machine.open());
    }

    #[test]
    fn refusals_to_open_say_what_helps() {
        let said = |errno| {
            let error = io::Error::from_raw_os_error(errno);
            open_refusal(ADDRESS.parse().unwrap(), Path::new("/dev/vfio/17"), error).to_string()
        };
        assert!(said(libc::EACCES).contains("chown $USER /dev/vfio/17"), "{}", said(libc::EACCES));
        assert!(said(libc::EBUSY).starts_with("/dev/vfio/17 is in use"));
        assert!(said(libc::EIO).contains("0000:81:00.0: cannot open"));
    }
}
