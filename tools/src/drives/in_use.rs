//! Who would lose a drive that is taken from the kernel's driver.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::Path;

use nvme_driver::vfio::SysfsFunction;

use super::host::{Host, Kernel, names_in};

/// Claims on all of a drive's disks and partitions: while they are held, nobody mounts one.
#[derive(Debug)]
pub(super) struct Claims(#[allow(dead_code, reason = "held, not used")] Vec<File>);

/// Claims a drive that nobody uses. Otherwise says who does.
pub(super) fn claim<K: Kernel>(host: &Host<K>, function: &SysfsFunction) -> Result<Claims, String> {
    let mut claims = Vec::new();
    for disk in host.disks(function) {
        let parts = host.disk_and_partitions(&disk);
        let mut users = parts.iter().filter_map(|(name, folder)| known_user(host, name, folder));
        if let Some(user) = users.next() {
            return Err(user);
        }
        // Claims on the partitions exclude one on the disk, even our own, and the other way round.
        let to_claim = if parts.len() > 1 { &parts[1..] } else { &parts[..] };
        for (name, _) in to_claim {
            match host.kernel.claim(&host.dev.join(name)) {
                Ok(file) => claims.push(file),
                Err(error) if error.kind() == ErrorKind::ResourceBusy => {
                    return Err(format!("somebody has {name} open exclusively"));
                }
                // No file, no medium, no permission: nothing that says that somebody uses it.
                Err(_) => {}
            }
        }
    }
    Ok(Claims(claims))
}

/// The user of a disk or partition, where it can be told.
fn known_user<K: Kernel>(host: &Host<K>, name: &str, folder: &Path) -> Option<String> {
    let holder = names_in(&folder.join("holders")).into_iter().min();
    holder
        .map(|holder| format!("{} is built on {name}", stacked_name(host, &holder)))
        .or_else(|| mount_point(host, name, folder).map(|place| format!("{name} is mounted on {place}")))
        .or_else(|| is_swap(host, name).then(|| format!("{name} is swap space")))
}

/// A stacked device's own name, such as a logical volume's, beside the kernel's.
fn stacked_name<K: Kernel>(host: &Host<K>, disk: &str) -> String {
    match fs::read_to_string(host.disk_folder(disk).join("dm/name")) {
        Ok(name) => format!("{disk} ({})", name.trim()),
        Err(_) => disk.to_owned(),
    }
}

/// Where it is mounted, by its number, or by its name for file systems that have numbers of their own (btrfs).
fn mount_point<K: Kernel>(host: &Host<K>, name: &str, folder: &Path) -> Option<String> {
    let number = fs::read_to_string(folder.join("dev")).unwrap_or_default();
    let mounts = fs::read_to_string(host.proc.join("self/mountinfo")).unwrap_or_default();
    mounts.lines().find_map(|line| {
        // proc(5): ID, parent, major:minor, root, mount point, options, optional fields, "-", type, source, ...
        let (mount, source) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(2);
        let is_number = fields.next()? == number.trim();
        let place = fields.nth(1)?;
        let is_name = source.split(' ').nth(1) == Some(&format!("/dev/{name}"));
        (is_number || is_name).then(|| place.to_owned())
    })
}

fn is_swap<K: Kernel>(host: &Host<K>, name: &str) -> bool {
    let swaps = fs::read_to_string(host.proc.join("swaps")).unwrap_or_default();
    let mut files = swaps.lines().skip(1).filter_map(|line| line.split_whitespace().next());
    files.any(|file| file == format!("/dev/{name}"))
}

#[cfg(test)]
mod tests {
    use super::super::test_machine::{DRIVE, Machine};

    fn user(machine: &Machine) -> Option<String> {
        let function = machine.host.function(DRIVE);
        super::claim(&machine.host, &function).err()
    }

    #[test]
    fn an_idle_drive_has_no_user() {
        let machine = Machine::new();
        assert_eq!(user(&machine), None);
        assert_eq!(machine.claimed(), ["nvme0n1p1", "nvme0n1p2", "nvme0n2"]);
    }

    #[test]
    fn mounts_are_found_by_number_and_by_name() {
        let machine = Machine::new();
        machine
            .put("proc/self/mountinfo", "36 35 259:2 / /srv/data rw,noatime shared:1 - ext4 /dev/root rw\n");
        assert_eq!(user(&machine).as_deref(), Some("nvme0n1p2 is mounted on /srv/data"));
        machine.put("proc/self/mountinfo", "36 35 0:45 /@ / rw - btrfs /dev/nvme0n2 rw\n");
        assert_eq!(user(&machine).as_deref(), Some("nvme0n2 is mounted on /"));
        machine.put("proc/self/mountinfo", "36 35 259:9 / /boot rw - vfat /dev/nvme1n1 rw\nnonsense\n");
        assert_eq!(user(&machine), None);
    }

    #[test]
    fn swap_is_found() {
        let machine = Machine::new();
        let head = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n";
        machine.put("proc/swaps", &format!("{head}/dev/nvme0n1p1   partition\t524284\t0\t-2\n"));
        assert_eq!(user(&machine).as_deref(), Some("nvme0n1p1 is swap space"));
        machine.put("proc/swaps", &format!("{head}/swap file\t1\t0\t-2\n"));
        assert_eq!(user(&machine), None);
    }

    #[test]
    fn what_is_built_on_it_is_named() {
        let machine = Machine::new();
        machine.put("sys/block/nvme0n1/nvme0n1p2/holders/dm-3/x", "");
        machine.put("sys/block/dm-3/dm/name", "vg0-home\n");
        assert_eq!(user(&machine).as_deref(), Some("dm-3 (vg0-home) is built on nvme0n1p2"));
        let machine = Machine::new();
        machine.put("sys/block/nvme0n2/holders/md127/x", "");
        assert_eq!(user(&machine).as_deref(), Some("md127 is built on nvme0n2"));
    }

    #[test]
    fn an_exclusive_opener_is_found_without_a_name() {
        let machine = Machine::new();
        machine.make_busy("nvme0n2");
        assert_eq!(user(&machine).as_deref(), Some("somebody has nvme0n2 open exclusively"));
    }

    #[test]
    fn a_path_leads_to_the_disk_that_it_belongs_to() {
        let machine = Machine::new();
        machine.rename_to_paths();
        machine.put("proc/self/mountinfo", "36 35 259:2 / /data rw - ext4 /dev/nvme0n1p2 rw\n");
        assert_eq!(user(&machine).as_deref(), Some("nvme0n1p2 is mounted on /data"));
    }
}
