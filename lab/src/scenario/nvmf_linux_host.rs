//! Linux's NVMe/RDMA host on our target, which has no RDMA device: it speaks RoCEv2 from userspace, in a guest of its own.
//! Nothing is asked of it that Linux's own target does not do (nvmf-kernels); besides, it is killed under load, and comes again.

use super::linux_host::{self, AFTER_A_LOSS, AFTER_A_RESET, DISCOVERY, EACH_KIND, Remote};
use super::our_target::{LASTING, OurTarget};
use super::{ALL_ONLY, SMOKE, Scenario};
use crate::capture;
use crate::error::Result;
use crate::guest::{LEFT, Lab, Pair, Task};

pub const SCENARIO: Scenario = Scenario {
    name: "nvmf-linux-host",
    set: SMOKE,
    about: "Linux's NVMe/RDMA host on our target in userspace: all commands, the target killed under load; judged",
    story,
};

pub const LONG: Scenario = Scenario {
    name: "nvmf-linux-host-long",
    set: ALL_ONLY,
    about: "Linux's NVMe/RDMA host on our target in userspace: file systems, and a hundred connects",
    story: long_story,
};

const REMOTE: Remote = Remote { nqn: "nqn.2024-01.lab:remora", address: LEFT.ipv4, bytes: 384 << 20 };

const TARGET: OurTarget =
    OurTarget { remote: REMOTE, options: "--provider soft --namespace 'soft-nvme:/tmp/drive?size=64MiB'" };

const CONNECTS: u32 = 100;

fn story(lab: &Lab) -> Result<()> {
    let (mut pair, target) = ready(lab)?;
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

    REMOTE.keeps_its_data(&mut pair.right, 1)?;
    REMOTE.survives_a_reset(&mut pair.right, LASTING)?;
    linux_host::is_content(&mut pair.right, AFTER_A_RESET)?;

    let target = TARGET.is_killed_under_load(&mut pair, target)?;
    REMOTE.is_disconnected(&mut pair.right)?;
    linux_host::is_content(&mut pair.right, AFTER_A_LOSS)?;
    TARGET.ends(&mut pair.left, target)
}

fn long_story(lab: &Lab) -> Result<()> {
    let (mut pair, target) = ready(lab)?;
    REMOTE.is_connected(&mut pair.right)?;
    REMOTE.holds_file_systems(&mut pair.right)?;
    REMOTE.is_disconnected(&mut pair.right)?;
    TARGET.forgets_hosts(&mut pair, CONNECTS)?;
    linux_host::is_content(&mut pair.right, AFTER_A_RESET)?;
    TARGET.ends(&mut pair.left, target)
}

/// Our target on the left, Linux's host on the right, not yet connected.
fn ready(lab: &Lab) -> Result<(Pair, Task)> {
    let mut pair = Pair::boot_with(lab, [|machine| machine, linux_host::hardware])?;
    let target = TARGET.starts(&mut pair.left)?;
    pair.right.run("linux_host")?;
    Ok((pair, target))
}
