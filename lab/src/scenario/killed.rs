//! Our process is killed in the middle of I/O and cleans nothing up. The kernel stops the drive before it frees the
//! memory, so that the next process, and the kernel's own driver, take the drive at once and find it sound.

use std::time::Duration;

use super::drive::{self, VERIFY};
use super::{ALL_ONLY, Scenario};
use crate::error::{Result, ensure};
use crate::guest::Lab;
use crate::machine::{DRIVE, NS_4096};

pub const SCENARIO: Scenario = Scenario {
    name: "killed",
    set: ALL_ONLY,
    about: "kill -9 in the middle of I/O: the next process and the kernel take the drive at once",
    story,
};

const PATIENCE: Duration = Duration::from_secs(30);

/// How often: a kill falls on another moment each time.
const ROUNDS: u32 = 5;

/// What a shell tells of a child that SIGKILL ended.
const KILLED: i32 = 137;

fn story(lab: &Lab) -> Result<()> {
    let nsid = NS_4096.nsid;
    let mut guest = drive::ready(lab)?;
    for _ in 0..ROUNDS {
        let since = guest.qmp().traffic(nsid)?;
        let options = format!("--rw randrw --bs 4k --iodepth 16 --size 4m --runtime 300 {VERIFY}");
        let run = guest.start(&drive::bench(nsid, "", &options))?;
        guest.await_written(nsid, since.bytes_written + 4096)?;
        guest.run("kill -KILL $(pidof remora)")?;
        let outcome = guest.wait(run, PATIENCE)?;
        ensure(outcome.status == KILLED, || outcome.unexpected("it must be killed").to_string())?;
    }
    let again = format!("--rw randrw --bs 4k --iodepth 16 --size 2m {VERIFY}");
    guest.run(&drive::bench(nsid, "", &again))?;
    guest.run(&format!(
        "give {DRIVE} nvme
         remora bench \"file:$(disk_of {DRIVE} {nsid})\" {again}"
    ))?;
    let complaints = guest.run("dmesg | grep -E 'DMAR.*fault|nvme.*(timeout|reset)' || true")?;
    ensure(complaints.is_empty(), || format!("the kernel complains:\n{complaints}"))
}
