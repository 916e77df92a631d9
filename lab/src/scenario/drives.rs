//! `remora drives` lists the drive, takes it from the kernel and gives it back, and refuses to take one that is in use.

use super::{SMOKE, Scenario};
use crate::error::{Result, ensure};
use crate::guest::{Guest, Lab};
use crate::machine::{DRIVE, Machine, NS_512};

pub const SCENARIO: Scenario = Scenario {
    name: "drives",
    set: SMOKE,
    about: "remora drives lists, binds and unbinds, refuses a mounted drive",
    story,
};

fn story(lab: &Lab) -> Result<()> {
    let mut guest = lab.boot(&Machine::default())?;
    guest.run(&format!("give {DRIVE} nvme; disk_of {DRIVE} {}", NS_512.nsid))?;
    let listed = guest.run("remora drives list")?;
    for word in [DRIVE, "QEMU NVMe Ctrl", "nvme"] {
        ensure(listed.contains(word), || format!("the list has no \"{word}\":\n{listed}"))?;
    }
    guest.run(&format!(
        "disk=$(disk_of {DRIVE} {})
         mke2fs $disk >/dev/null
         modprobe ext4; mkdir -p /tmp/mounted; mount -t ext4 $disk /tmp/mounted",
        NS_512.nsid
    ))?;
    guest.run_failing(&format!("remora drives bind {DRIVE}"))?.says(&["mounted"])?;
    has(&mut guest, "nvme")?;
    guest.run(&format!("umount /tmp/mounted; remora drives bind {DRIVE}"))?;
    has(&mut guest, "vfio-pci")?;

    guest.run(&format!("remora drives unbind {DRIVE}"))?;
    has(&mut guest, "nvme")
}

fn has(guest: &mut Guest, driver: &str) -> Result<()> {
    let now = guest.run(&format!("driver_of {DRIVE}"))?;
    ensure(now.trim() == driver, || format!("the drive is with {}, not with {driver}", now.trim()))
}
