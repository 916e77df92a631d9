//! The lab itself works: a guest boots, our programs run in it, and the NVMe drive behind an IOMMU can be given to
//! VFIO and back to the kernel, which then reads what is really on the disk.

use super::{SMOKE, Scenario};
use crate::error::{Result, ensure};
use crate::guest::Lab;
use crate::machine::{DRIVE, Machine, NS_512};

pub const SCENARIO: Scenario = Scenario {
    name: "boots",
    set: SMOKE,
    about: "a guest boots, and moves its drive between the kernel and VFIO",
    story,
};

fn story(lab: &Lab) -> Result<()> {
    let mut guest = lab.boot(&Machine::default())?;
    guest.run("remora --version")?;

    let group = guest.run(&format!(
        "give {DRIVE} vfio-pci
         group=$(basename $(readlink /sys/bus/pci/devices/{DRIVE}/iommu_group))
         [ -c /dev/vfio/$group ]
         ls /sys/kernel/iommu_groups/$group/devices"
    ))?;
    ensure(group.trim() == DRIVE, || format!("the drive shares its IOMMU group: {group}"))?;

    let text = "written by the kernel";
    guest.run(&format!(
        "give {DRIVE} nvme
         disk=$(disk_of {DRIVE} {nsid})
         printf '%s' '{text}' | dd of=$disk bs=512 conv=sync,fsync 2>/dev/null
         echo 1 >/proc/sys/vm/drop_caches",
        nsid = NS_512.nsid
    ))?;
    let traffic = guest.qmp().traffic(NS_512.nsid)?;
    ensure(traffic.bytes_written >= 512, || format!("QEMU saw no write: {traffic:?}"))?;
    let status = guest.run_failing("exit 7")?.status;
    ensure(status == 7, || format!("a script's status 7 came out as {status}"))
}
