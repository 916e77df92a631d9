//! What a machine lacks is said in words that help: a drive that the kernel still has, a user who may not open it, too
//! little memory that may be locked, and no IOMMU. Once the user has what is missing, it works.

use super::drive;
use super::{SMOKE, Scenario};
use crate::error::Result;
use crate::guest::Lab;
use crate::machine::{DRIVE, Machine, NS_512};

pub const SCENARIO: Scenario = Scenario {
    name: "what-is-missing",
    set: SMOKE,
    about: "the kernel has the drive, no permission, too little memlock, no IOMMU: each said clearly",
    story,
};

/// An ordinary user.
const SOMEBODY: &str = "setpriv --reuid 1000 --regid 1000 --clear-groups --inh-caps=-all";

fn story(lab: &Lab) -> Result<()> {
    let bench = drive::bench(NS_512.nsid, "", "--rw read --size 1m");
    let mut guest = lab.boot(&Machine::default())?;
    guest.run(&format!("give {DRIVE} nvme"))?;
    guest.run_failing(&bench)?.says(&["bound to the driver nvme", &format!("remora drives bind {DRIVE}")])?;

    guest.run(&format!("give {DRIVE} vfio-pci"))?;
    guest.run_failing(&format!("{SOMEBODY} {bench}"))?.says(&["permission denied", "/dev/vfio/", "chown"])?;

    let group = format!("$(basename $(readlink /sys/bus/pci/devices/{DRIVE}/iommu_group))");
    guest.run(&format!("chown somebody /dev/vfio/{group}"))?;
    guest.run_failing(&format!("ulimit -l 64; {SOMEBODY} {bench}"))?.says(&[
        "the limit is 65536",
        "memlock",
        "ulimit -l",
    ])?;

    let since = guest.qmp().traffic(NS_512.nsid)?;
    guest.run(&format!("ulimit -l 65536; {SOMEBODY} {bench}"))?;
    drive::moved(&mut guest, NS_512.nsid, since, 1 << 20, 0)?;
    drop(guest);

    let mut guest = lab.boot(&Machine::default().without_iommu())?;
    guest.run("modprobe vfio-pci")?;
    guest.run_failing(&bench)?.says(&["no IOMMU group", "intel_iommu=on"])
}
