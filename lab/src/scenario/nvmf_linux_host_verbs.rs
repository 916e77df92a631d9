//! Linux's NVMe/RDMA host on our target, which has an RDMA device here, the kernel's soft RoCE by libibverbs and librdmacm, and a
//! drive behind an IOMMU that it drives itself. The drive outlives the target, which is killed under load.

use super::linux_host::{self, AFTER_A_LOSS, DISCOVERY, EACH_KIND, Remote};
use super::our_target::{LASTING, OurTarget};
use super::{ALL_ONLY, Scenario, drive};
use crate::binaries;
use crate::capture;
use crate::error::Result;
use crate::guest::{LEFT, Lab, Pair};
use crate::machine::{DRIVE, Machine, NS_512};

pub const SCENARIO: Scenario = Scenario {
    name: "nvmf-linux-host-verbs",
    set: ALL_ONLY,
    about: "Linux's NVMe/RDMA host on our target by libibverbs, with memory and a drive over VFIO; killed under load; judged",
    story,
};

const REMOTE: Remote = Remote { nqn: "nqn.2024-01.lab:verbs", address: LEFT.ipv4, bytes: 384 << 20 };

const TARGET: OurTarget =
    OurTarget { remote: REMOTE, options: "--provider verbs --namespace nvme:0000:00:10.0/1" };

const CONNECTS: u32 = 30;

/// Bytes that the host's verified workloads read from the drive and write to it at least.
const MOVED: u64 = 16 << 20;

fn story(lab: &Lab) -> Result<()> {
    let lab = Lab { binaries: binaries::build_with(&["verbs"])?.programs, ..lab.clone() };
    let mut pair = Pair::boot_with(&lab, [Machine::with_drive, linux_host::hardware])?;
    pair.left.run(&format!("rxe eth0; hugepages 64; give {DRIVE} vfio-pci"))?;
    let target = TARGET.starts(&mut pair.left)?;
    pair.right.run("linux_host")?;

    let file = pair.captured("discovery", |pair| REMOTE.is_discovered(&mut pair.right))?;
    capture::judge(&lab.image, &file)?.at_least(&DISCOVERY)?;
    let file = pair.captured("each-kind", |pair| {
        REMOTE.is_connected(&mut pair.right)?;
        REMOTE.is_identified(&mut pair.right)?;
        REMOTE.does_a_little_of_each(&mut pair.right)
    })?;
    let tally = capture::judge(&lab.image, &file)?;
    tally.at_least(&EACH_KIND)?;
    tally.refused_only(&[])?;
    // The kernel's queue pairs: those of the target, since nothing else here talks RDMA.
    pair.left
        .run("rdma resource show qp; [ $(rdma resource show qp | grep -c 'type RC state RTS') -ge 5 ]")?;

    let since = pair.left.qmp().traffic(NS_512.nsid)?;
    REMOTE.keeps_its_data(&mut pair.right, LASTING)?;
    drive::moved(&mut pair.left, NS_512.nsid, since, MOVED, MOVED)?;
    REMOTE.keeps_its_data(&mut pair.right, 1)?;
    REMOTE.holds_file_systems(&mut pair.right)?;
    REMOTE.survives_a_reset(&mut pair.right, LASTING)?;

    let target = TARGET.is_killed_under_load(&mut pair, target)?;
    REMOTE.is_disconnected(&mut pair.right)?;
    TARGET.forgets_hosts(&mut pair, CONNECTS)?;
    linux_host::is_content(&mut pair.right, AFTER_A_LOSS)?;
    TARGET.ends(&mut pair.left, target)
}
