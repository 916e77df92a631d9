//! Linux's NVMe/RDMA host and Linux's target, and nothing of ours: what scenarios ask of either side of ours, the kernel's does.
//! The captures are also what `crates/nvmf`'s decoders are tested with.

use super::linux_host::{self, AFTER_A_RESET, DISCOVERY, EACH_KIND, Remote};
use super::{ALL_ONLY, Scenario};
use crate::capture;
use crate::error::Result;
use crate::guest::{LEFT, Lab, Pair};

pub const SCENARIO: Scenario = Scenario {
    name: "nvmf-kernels",
    set: ALL_ONLY,
    about: "Linux's NVMe/RDMA host on Linux's target, both on soft RoCE; captures are judged",
    story,
};

const REMOTE: Remote = Remote { nqn: "nqn.2024-01.lab:nvmet", address: LEFT.ipv4, bytes: 384 << 20 };

const CONNECTS: u32 = 10;

fn story(lab: &Lab) -> Result<()> {
    let mut pair = Pair::boot_with(lab, [|machine| machine, linux_host::hardware])?;
    let Remote { nqn, address, bytes } = REMOTE;
    pair.left.run(&format!(
        "nvmet_up; memory_disk nullb0 {}; nvmet_namespace {nqn} 1 /dev/nullb0; nvmet_listens {address} {nqn}",
        bytes >> 20
    ))?;
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
    tally.at_least(&[("NVMeOF Data Request for Write", 2), ("NVMeOF Data for Write", 32)])?;
    tally.refused_only(&[])?;
    REMOTE.keeps_its_data(&mut pair.right, 1)?;
    REMOTE.holds_file_systems(&mut pair.right)?;
    REMOTE.survives_a_reset(&mut pair.right, 1)?;
    REMOTE.is_disconnected(&mut pair.right)?;
    REMOTE.comes_and_goes(&mut pair.right, CONNECTS)?;
    for guest in [&mut pair.left, &mut pair.right] {
        linux_host::is_content(guest, AFTER_A_RESET)?;
    }
    Ok(())
}
