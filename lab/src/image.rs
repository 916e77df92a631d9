//! The guest's kernel, its first program and its root file system, built once and kept in the cache.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cpio::Archive;
use crate::error::{Context, LabError, Result};
use crate::packages::Apt;
use crate::program::output_of;
use crate::toolbox::{self, Toolbox};

/// The kernel: older ones of Debian lack ublk and nvme-auth, its cloud flavour lacks rxe.
const KERNEL: &str = r"^linux-image-6\.12\.[0-9.]*\+deb[0-9]+-amd64-unsigned$";

/// What scenarios use in the guest. Its shell is dash: busybox's prefers its own modprobe, which knows no soft
/// dependencies, to the one in the path.
const GUEST_PACKAGES: &[&str] = &[
    "busybox-static",
    "dash",
    "e2fsprogs",
    "fio",
    "ibverbs-providers",
    "ibverbs-utils",
    "iproute2",
    "kmod",
    "nvme-cli",
    "pciutils",
    "perftest",
    "qemu-utils",
    "rdmacm-utils",
    "util-linux",
    "xfsprogs",
];

/// Modules without which the guest does not reach its root file system; what these need is found by itself.
const FIRST_MODULES: &[&str] = &["virtio_blk", "squashfs", "overlay", "9p", "9pnet_virtio"];

/// The guest's first program.
const INIT: &str = include_str!("guest/init.sh");

/// Where the guest's parts are.
#[derive(Clone, Debug)]
pub struct Image {
    directory: PathBuf,
}

impl Image {
    /// The image in the cache, built first where there is none yet for this list of parts.
    pub fn ready() -> Result<Self> {
        let cache = cache_directory()?;
        fs::create_dir_all(&cache).about("create", &cache)?;
        let _alone = lock(&cache)?;
        let image = Self { directory: cache.join(format!("image-{:016x}", key())) };
        if !image.directory.exists() {
            println!("building the guest in {}", image.directory.display());
            build(&cache, &image.directory)?;
        }
        Ok(image)
    }

    /// The kernel that QEMU loads.
    pub fn kernel(&self) -> PathBuf {
        self.directory.join("vmlinuz")
    }

    /// The kernel's initramfs.
    pub fn initramfs(&self) -> PathBuf {
        self.directory.join("initramfs.cpio")
    }

    /// The root file system.
    pub fn root(&self) -> PathBuf {
        self.directory.join("root.squashfs")
    }

    /// Programs for the host, QEMU among them.
    pub fn toolbox(&self) -> Toolbox {
        Toolbox::new(self.directory.join("tools"))
    }
}

/// Changes whenever the image would come out otherwise.
fn key() -> u64 {
    let mut hasher = DefaultHasher::new();
    (KERNEL, GUEST_PACKAGES, FIRST_MODULES, INIT, toolbox::PACKAGES).hash(&mut hasher);
    hasher.finish()
}

/// Outside the source tree, where the system's conventions put what can be fetched again.
fn cache_directory() -> Result<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache")));
    let base = base.ok_or_else(|| LabError::Machine("neither XDG_CACHE_HOME nor HOME is set".to_owned()))?;
    Ok(base.join("remora-lab"))
}

/// Two labs at once would build into the same place. Unlocks when dropped.
fn lock(cache: &Path) -> Result<File> {
    let path = cache.join("lock");
    let file = File::create(&path).about("create", &path)?;
    file.lock().about("lock", &path)?;
    Ok(file)
}

/// Builds beside the final place, so that a build that was interrupted is never taken for an image.
fn build(cache: &Path, place: &Path) -> Result<()> {
    let part = place.with_extension("part");
    if part.exists() {
        fs::remove_dir_all(&part).about("remove", &part)?;
    }
    let guest = part.join("guest");
    let tools = Toolbox::new(part.join("tools"));
    let apt = Apt::new(&cache.join("apt"))?;
    println!("fetching packages for the host and for the guest, and a kernel");
    apt.unpack(toolbox::PACKAGES, true, tools.root())?;
    apt.unpack(GUEST_PACKAGES, true, &guest)?;
    apt.unpack(&[&newest_kernel(&apt)?], false, &guest)?;

    let modules = Modules::indexed(&tools, &guest)?;
    let kernel = guest.join("boot").join(format!("vmlinuz-{}", modules.release));
    fs::rename(&kernel, part.join("vmlinuz")).about("move", &kernel)?;
    let initramfs = part.join("initramfs.cpio");
    fs::write(&initramfs, pack_initramfs(&guest, &modules)?).about("write", &initramfs)?;
    pack_root(&tools, &guest, &part.join("root.squashfs"))?;
    fs::remove_dir_all(&guest).about("remove", &guest)?;
    fs::rename(&part, place).about("move", &part)
}

fn newest_kernel(apt: &Apt) -> Result<String> {
    let mut names = apt.search(KERNEL)?;
    names.sort_by_key(|name| patch_level(name));
    names
        .pop()
        .ok_or_else(|| LabError::Machine(format!("apt's sources and their backports have no {KERNEL}")))
}

/// The third number of the kernel's version: 6.12.9 comes before 6.12.10.
fn patch_level(package: &str) -> u32 {
    let third = package.split('.').nth(2).unwrap_or_default();
    third.split(|c: char| !c.is_ascii_digit()).next().and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

/// The modules of the guest's kernel.
#[derive(Debug)]
struct Modules {
    release: String,
    directory: PathBuf,
    /// `modules.dep`: on each line a module, a colon, and what it needs, nearest first.
    needs: String,
}

impl Modules {
    fn indexed(tools: &Toolbox, guest: &Path) -> Result<Self> {
        let all = guest.join("usr/lib/modules");
        let mut releases = fs::read_dir(&all).about("read", &all)?;
        let release = releases
            .next()
            .and_then(|entry| entry.ok()?.file_name().into_string().ok())
            .ok_or_else(|| LabError::Machine("the kernel's package has no modules".to_owned()))?;
        output_of(tools.command("depmod", "usr/bin/kmod").arg("-b").arg(guest).arg(&release))?;
        let directory = all.join(&release);
        let index = directory.join("modules.dep");
        let needs = fs::read_to_string(&index).about("read", &index)?;
        Ok(Self { release, directory, needs })
    }

    /// The modules' files and those of all that they need, in an order in which they can be loaded.
    fn closure(&self, names: &[&str]) -> Result<Vec<&str>> {
        let mut order = Vec::new();
        for name in names {
            let line = self.needs.lines().find(|line| file_stem(line.split(':').next()) == *name);
            let line = line.ok_or_else(|| LabError::Machine(format!("the kernel has no module {name}")))?;
            let (module, needed) = line.split_once(':').unwrap_or((line, ""));
            for file in needed.split_whitespace().rev().chain([module]) {
                if !order.contains(&file) {
                    order.push(file);
                }
            }
        }
        Ok(order)
    }
}

fn file_stem(path: Option<&str>) -> &str {
    let name = path.unwrap_or_default().rsplit('/').next().unwrap_or_default();
    name.split('.').next().unwrap_or_default()
}

fn pack_initramfs(guest: &Path, modules: &Modules) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    for directory in ["bin", "dev", "proc", "modules", "lower", "upper", "root"] {
        archive.directory(directory);
    }
    archive.file("init", INIT.as_bytes());
    let busybox = guest.join("usr/bin/busybox");
    archive.file("bin/busybox", &fs::read(&busybox).about("read", &busybox)?);
    let mut order = String::new();
    for file in modules.closure(FIRST_MODULES)? {
        let name = file_stem(Some(file));
        let packed = modules.directory.join(file);
        // The busybox of the initramfs loads plain modules only; as a static program it runs here as well.
        let plain = output_of(Command::new(&busybox).args(["xzcat"]).arg(&packed))?;
        archive.file(&format!("modules/{name}"), &plain);
        order.push_str(&format!("{name} "));
    }
    archive.file("modules/order", order.as_bytes());
    Ok(archive.finish())
}

/// Not compressed: the guest's processor is an emulated one, the host's disk is not.
fn pack_root(tools: &Toolbox, guest: &Path, root: &Path) -> Result<()> {
    for mount_point in ["proc", "sys", "dev", "run", "tmp", "lab"] {
        let directory = guest.join(mount_point);
        fs::create_dir_all(&directory).about("create", &directory)?;
    }
    let mut pack = tools.command("mksquashfs", "usr/bin/mksquashfs");
    pack.arg(guest).arg(root).args(["-noI", "-noD", "-noF", "-noX", "-all-root", "-no-progress", "-quiet"]);
    output_of(pack.args([
        "-e",
        "usr/share/doc",
        "-e",
        "usr/share/man",
        "-e",
        "usr/share/locale",
        "-e",
        "boot",
    ]))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_with_more_digits_is_newer() {
        assert_eq!(patch_level("linux-image-6.12.9+deb12-amd64-unsigned"), 9);
        assert_eq!(patch_level("linux-image-6.12.95+deb12-amd64-unsigned"), 95);
        assert_eq!(patch_level("linux-image-6.12.105+deb13-amd64-unsigned"), 105);
    }

    #[test]
    fn what_a_module_needs_is_loaded_before_it() {
        let modules = Modules {
            release: String::new(),
            directory: PathBuf::new(),
            needs: "a/top.ko.xz: a/mid.ko.xz b/base.ko.xz\na/mid.ko.xz: b/base.ko.xz\nb/base.ko.xz:\n"
                .to_owned(),
        };
        assert_eq!(
            modules.closure(&["base", "top"]).unwrap(),
            ["b/base.ko.xz", "a/mid.ko.xz", "a/top.ko.xz"]
        );
        assert!(modules.closure(&["missing"]).is_err());
    }
}
