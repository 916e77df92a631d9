//! An administrator changes the drive's namespaces by its second controller while we use the first: one is attached and
//! can be used at once, one is detached under a running workload, and one is formatted to other blocks while our process
//! is stopped, so that it finds both changes when it goes on.
//!
//! QEMU's namespaces cannot change their size in any other way: its controller takes no notice of a resized backend.

use std::time::Duration;

use super::drive::{self, VERIFY};
use super::{ALL_ONLY, Scenario};
use crate::error::{Result, ensure};
use crate::guest::{Guest, Lab, Outcome, Task};
use crate::machine::{DRIVE, Machine, NS_512, NS_4096, NS_DETACHED, SECOND};

pub const SCENARIO: Scenario = Scenario {
    name: "namespaces-change",
    set: ALL_ONLY,
    about: "namespaces are attached, detached and formatted under us, from another controller",
    story,
};

const PATIENCE: Duration = Duration::from_secs(60);

fn story(lab: &Lab) -> Result<()> {
    let mut guest = drive::taken(lab, &Machine::default().with_second_controller(), DRIVE)?;
    guest.run(&format!("give {SECOND} nvme; while [ ! -c /dev/nvme0 ]; do usleep 100000; done"))?;

    // Attached: not there before, there after.
    let nsid = NS_DETACHED.nsid;
    let options = format!("--rw randrw --bs 4k --iodepth 8 --size 2m {VERIFY}");
    guest.run_failing(&drive::bench(nsid, "", &options))?.says(&["there is no namespace 5"])?;
    guest.run(&format!("nvme attach-ns /dev/nvme0 --namespace-id {nsid} --controllers 0"))?;
    guest.run(&drive::bench(nsid, "", &options))?;
    drive::moved(&mut guest, nsid, crate::guest::Traffic::default(), 1 << 19, 1 << 19)?;

    // Detached during I/O.
    let run = running(&mut guest, NS_4096.nsid)?;
    guest.run(&format!("nvme detach-ns /dev/nvme0 --namespace-id {} --controllers 0", NS_4096.nsid))?;
    ends(&mut guest, run)?.says(&["the device is gone"])?;

    // Formatted during I/O, behind our back.
    let nsid = NS_512.nsid;
    let run = running(&mut guest, nsid)?;
    guest.run(&format!(
        "kill -STOP $(pidof remora)
         nvme detach-ns /dev/nvme0 --namespace-id {nsid} --controllers 0
         nvme format /dev/nvme0 --namespace-id {nsid} --lbaf 4 --force
         nvme attach-ns /dev/nvme0 --namespace-id {nsid} --controllers 0
         kill -CONT $(pidof remora)"
    ))?;
    ends(&mut guest, run)?.says(&["the device was resized or formatted"])?;
    guest.run(&drive::bench(nsid, "", &options))?;
    // The format that it has now, in the words of a tool that is not ours.
    let format = guest
        .run(&format!("nvme id-ns /dev/nvme0 --namespace-id {nsid} --human-readable | grep 'in use'"))?;
    ensure(format.contains("4096 bytes"), || format!("the namespace was not formatted: {format}"))
}

/// A workload that would go on for long.
fn running(guest: &mut Guest, nsid: u32) -> Result<Task> {
    let since = guest.qmp().traffic(nsid)?;
    let options =
        format!("--rw randrw --bs 4k --iodepth 8 --size 4m --runtime 300 {VERIFY} --continue-on-error io");
    let run = guest.start(&drive::bench(nsid, "", &options))?;
    guest.await_written(nsid, since.bytes_written + 1)?;
    Ok(run)
}

fn ends(guest: &mut Guest, run: Task) -> Result<Outcome> {
    let outcome = guest.wait(run, PATIENCE)?;
    ensure(outcome.status == 1, || {
        outcome.unexpected("1 is to be told of a device that changed").to_string()
    })?;
    Ok(outcome)
}
