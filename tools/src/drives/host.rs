//! The machine: where its files are, and what can be done to it.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use block::uri::PciAddress;
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};
use nvme_driver::vfio::SysfsFunction;

/// What changes the machine, or claims a part of it.
pub(super) trait Kernel {
    /// Writes to a file of sysfs.
    fn write(&self, path: &Path, text: &str) -> io::Result<()>;

    /// Opens a block device for this process alone; `EBUSY` if somebody has a claim on it.
    fn claim(&self, path: &Path) -> io::Result<File>;

    /// Opens and closes a VFIO group; `EBUSY` if a process has it open.
    fn try_group(&self, path: &Path) -> io::Result<()>;

    /// Bytes that this process may lock in memory without a capability; `None` is no limit.
    fn memlock_bytes(&self) -> Option<u64>;

    /// Loads a module. The error is what modprobe says.
    fn load_module(&self, name: &str) -> Result<(), String>;
}

/// The kernel that runs us.
#[derive(Debug)]
pub(super) struct ThisKernel;

impl Kernel for ThisKernel {
    fn write(&self, path: &Path, text: &str) -> io::Result<()> {
        fs::write(path, text)
    }

    fn claim(&self, path: &Path) -> io::Result<File> {
        // For a block device O_EXCL without O_CREAT is a claim (open(2)); mounts, swap, md and dm hold one.
        OpenOptions::new().read(true).custom_flags(nix::libc::O_EXCL).open(path)
    }

    fn try_group(&self, path: &Path) -> io::Result<()> {
        OpenOptions::new().read(true).write(true).open(path).map(|_| ())
    }

    fn memlock_bytes(&self) -> Option<u64> {
        let (soft, _) = getrlimit(Resource::RLIMIT_MEMLOCK).ok()?;
        (soft != RLIM_INFINITY).then_some(soft)
    }

    fn load_module(&self, name: &str) -> Result<(), String> {
        let output = Command::new("modprobe").arg(name).output().map_err(|error| error.to_string())?;
        if output.status.success() {
            return Ok(());
        }
        Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
    }
}

/// The machine that drives are in.
#[derive(Debug)]
pub(super) struct Host<K> {
    /// `/sys`
    pub(super) sysfs: PathBuf,
    /// `/proc`
    pub(super) proc: PathBuf,
    /// `/dev`
    pub(super) dev: PathBuf,
    pub(super) kernel: K,
}

impl Host<ThisKernel> {
    /// The one that we run on.
    pub(super) fn this() -> Self {
        Self::below(Path::new("/"), ThisKernel)
    }
}

impl<K: Kernel> Host<K> {
    /// The one whose files are below `root`.
    pub(super) fn below(root: &Path, kernel: K) -> Self {
        Self { sysfs: root.join("sys"), proc: root.join("proc"), dev: root.join("dev"), kernel }
    }

    pub(super) fn function(&self, address: PciAddress) -> SysfsFunction {
        SysfsFunction::new(&self.sysfs, address)
    }

    /// The file of a VFIO group.
    pub(super) fn group_file(&self, group: u32) -> PathBuf {
        self.dev.join("vfio").join(group.to_string())
    }

    /// The namespaces of a drive that the kernel drives, as names of block devices.
    pub(super) fn disks(&self, function: &SysfsFunction) -> Vec<String> {
        let mut disks: Vec<_> = self
            .controller_folder(function)
            .iter()
            .flat_map(|folder| names_in(folder))
            .filter_map(|name| disk_of(&name))
            .filter(|disk| self.disk_folder(disk).exists())
            .collect();
        disks.sort_unstable();
        disks.dedup();
        disks
    }

    /// The kernel's folder of the controller, if its NVMe driver has it.
    pub(super) fn controller_folder(&self, function: &SysfsFunction) -> Option<PathBuf> {
        let folder = function.folder().join("nvme");
        names_in(&folder).into_iter().next().map(|name| folder.join(name))
    }

    /// A block device's folder.
    pub(super) fn disk_folder(&self, disk: &str) -> PathBuf {
        self.sysfs.join("block").join(disk)
    }

    /// A disk and its partitions, each with its folder.
    pub(super) fn disk_and_partitions(&self, disk: &str) -> Vec<(String, PathBuf)> {
        let folder = self.disk_folder(disk);
        let mut parts: Vec<_> = names_in(&folder)
            .into_iter()
            .filter(|name| folder.join(name).join("partition").exists())
            .map(|name| (name.clone(), folder.join(name)))
            .collect();
        parts.sort_unstable();
        parts.insert(0, (disk.to_owned(), folder));
        parts
    }
}

/// The disk that a controller's folder tells of: `nvme0n1` itself, or the one that `nvme0c1n1`, a path to a disk of
/// several paths, belongs to.
fn disk_of(name: &str) -> Option<String> {
    let rest = name.strip_prefix("nvme")?;
    let (path, namespace) = rest.split_once('n')?;
    let (instance, controller) = path.split_once('c').unwrap_or((path, "0"));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let numbers = is_number(instance) && is_number(controller) && is_number(namespace);
    numbers.then(|| format!("nvme{instance}n{namespace}"))
}

/// The names in a folder; none if it is not there.
pub(super) fn names_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_are_told_from_other_names() {
        assert_eq!(disk_of("nvme0n1").as_deref(), Some("nvme0n1"));
        assert_eq!(disk_of("nvme12c3n45").as_deref(), Some("nvme12n45"));
        for other in ["nvme0", "nvme0n1p1", "ng0n1", "hwmon3", "nvmen1", "nvme0cn1", "nvme0n"] {
            assert_eq!(disk_of(other), None, "{other}");
        }
    }
}
