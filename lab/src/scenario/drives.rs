//! `remora drives` lists the drive, takes it from the kernel and gives it back, and refuses to take one that is in use;
//! `remora id-ctrl` says what nvme-cli says.

use super::{SMOKE, Scenario};
use crate::error::{Result, ensure};
use crate::guest::{Guest, Lab};
use crate::machine::{DRIVE, Machine, NS_512};

pub const SCENARIO: Scenario = Scenario {
    name: "drives",
    set: SMOKE,
    about: "remora drives lists, binds and unbinds, refuses a mounted drive; id-ctrl as nvme-cli's",
    story,
};

fn story(lab: &Lab) -> Result<()> {
    let mut guest = lab.boot(&Machine::default())?;
    guest.run(&format!("hugepages 16; give {DRIVE} nvme; disk_of {DRIVE} {}", NS_512.nsid))?;
    let listed = guest.run("remora drives list")?;
    for word in [DRIVE, "QEMU NVMe Ctrl", "nvme"] {
        ensure(listed.contains(word), || format!("the list has no \"{word}\":\n{listed}"))?;
    }
    let by_nvme_cli = guest.run("nvme id-ctrl /dev/nvme0")?;

    guest.run(&format!(
        "disk=$(disk_of {DRIVE} {})
         mke2fs $disk >/dev/null
         mkdir -p /tmp/mounted; mount $disk /tmp/mounted",
        NS_512.nsid
    ))?;
    guest.run_failing(&format!("remora drives bind {DRIVE}"))?.says(&["mounted"])?;
    has(&mut guest, "nvme")?;
    guest.run(&format!("umount /tmp/mounted; remora drives bind {DRIVE}"))?;
    has(&mut guest, "vfio-pci")?;

    let by_us = guest.run(&format!("remora id-ctrl nvme:{DRIVE}"))?;
    same_fields(&by_nvme_cli, &by_us)?;
    guest.run(&format!("remora drives unbind {DRIVE}"))?;
    has(&mut guest, "nvme")
}

fn has(guest: &mut Guest, driver: &str) -> Result<()> {
    let now = guest.run(&format!("driver_of {DRIVE}"))?;
    ensure(now.trim() == driver, || format!("the drive is with {}, not with {driver}", now.trim()))
}

/// Every field of nvme-cli's is ours, with the same value.
fn same_fields(theirs: &str, ours: &str) -> Result<()> {
    let fields = |text: &str| -> Vec<(String, String)> {
        let pairs = text.lines().filter_map(|line| line.split_once(':'));
        pairs.map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned())).collect()
    };
    let ours = fields(ours);
    let theirs = fields(theirs);
    ensure(theirs.len() > 50, || format!("nvme-cli printed {} fields only", theirs.len()))?;
    match theirs.iter().find(|field| !ours.contains(field)) {
        None => Ok(()),
        Some((name, value)) => {
            let instead = ours.iter().find(|(ours, _)| ours == name);
            ensure(false, || format!("nvme-cli says {name} : {value}, and we say {instead:?}"))
        }
    }
}
