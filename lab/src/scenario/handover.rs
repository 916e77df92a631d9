//! A drive changes hands: what our driver wrote is read by the kernel's after the drive was unbound from VFIO, and what
//! was written through the kernel's driver is read by ours. The history of the one run judges the blocks of the other.

use super::drive;
use super::{SMOKE, Scenario};
use crate::error::Result;
use crate::guest::{Guest, Lab};
use crate::machine::{DRIVE, NS_512, NS_4096};

pub const SCENARIO: Scenario = Scenario {
    name: "handover",
    set: SMOKE,
    about: "what we wrote is read by the kernel's driver, and the other way round",
    story,
};

const BYTES: u64 = 4 << 20;

fn story(lab: &Lab) -> Result<()> {
    let mut guest = drive::ready(lab)?;
    for nsid in [NS_512.nsid, NS_4096.nsid] {
        let since = guest.qmp().traffic(nsid)?;
        guest.run(&drive::bench(nsid, "", &writing("ours", nsid)))?;
        drive::moved(&mut guest, nsid, since, 0, BYTES)?;
    }

    guest.run(&format!("give {DRIVE} nvme"))?;
    for nsid in [NS_512.nsid, NS_4096.nsid] {
        let since = guest.qmp().traffic(nsid)?;
        by_the_kernel(&mut guest, nsid, &reading("ours", nsid))?;
        by_the_kernel(&mut guest, nsid, &writing("theirs", nsid))?;
        drive::moved(&mut guest, nsid, since, BYTES, BYTES)?;
    }

    guest.run(&format!("give {DRIVE} vfio-pci"))?;
    for nsid in [NS_512.nsid, NS_4096.nsid] {
        let since = guest.qmp().traffic(nsid)?;
        guest.run(&drive::bench(nsid, "", &reading("theirs", nsid)))?;
        drive::moved(&mut guest, nsid, since, BYTES, 0)?;
        // The history would find it if what is read were not what the other wrote.
        guest.run_failing(&drive::bench(nsid, "", &reading("ours", nsid)))?.says(&["wrong blocks"])?;
    }
    Ok(())
}

fn by_the_kernel(guest: &mut Guest, nsid: u32, options: &str) -> Result<()> {
    guest.run(&format!("remora bench \"file:$(disk_of {DRIVE} {nsid})\" {options}")).map(drop)
}

/// Options that write with another sequence for each author, and keep the history.
fn writing(author: &str, nsid: u32) -> String {
    let seed = author.len();
    format!(
        "--rw randwrite --bs 4k --iodepth 16 --size {BYTES} --randseed {seed} \
         --verify crc32c --do-verify 0 --verify-state-save /tmp/{author}{nsid}"
    )
}

/// Options that judge what is read by an earlier run's history.
fn reading(author: &str, nsid: u32) -> String {
    format!(
        "--rw read --bs 64k --iodepth 4 --size {BYTES} --verify crc32c --verify-state-load /tmp/{author}{nsid}"
    )
}
