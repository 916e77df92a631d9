//! The drive falls silent in the middle of a run: it takes no doorbell, reaches no memory and its registers read zero, as
//! after a reset that nobody told the kernel of. Here its memory space and bus mastering are turned off in its
//! configuration. The driver notices, turns both on again and resets the controller, once; commands that were lost fail,
//! once each, and the run goes on. No block is wrong.
//!
//! The driver used to write the command register back with the memory space off, as it had found it: the kernel then
//! takes the registers away from us, and the next access to them killed the process with SIGBUS. Later it took a CSTS of
//! zero for a controller that is disabled, and waited half a minute for an Identify until a second reset. And this story
//! once told of a block torn by the reset; it was QEMU's, see [`drive::VERIFY`].
//!
//! That registers read all ones, as behind a broken link, is beyond this machine: QEMU answers 0 for memory that is not
//! there.

use std::time::Duration;

use super::drive::{self, VERIFY, count};
use super::{SMOKE, Scenario};
use crate::error::{Result, ensure};
use crate::guest::Lab;
use crate::machine::{DRIVE, NS_512};

pub const SCENARIO: Scenario = Scenario {
    name: "silent",
    set: SMOKE,
    about: "the drive stops answering in the middle of I/O: it is brought up again, and the run goes on",
    story,
};

/// Timeouts, a reset, and the rest of the run.
const PATIENCE: Duration = Duration::from_secs(120);

fn story(lab: &Lab) -> Result<()> {
    let nsid = NS_512.nsid;
    let mut guest = drive::ready(lab)?;
    let options =
        format!("--rw randrw --bs 4k --iodepth 8 --size 4m --runtime 20 {VERIFY} --continue-on-error io");
    let run = guest.start(&drive::bench(nsid, "?timeout_ms=1000", &options))?;
    guest.await_written(nsid, 1)?;
    let enabled = |log: &str| count(log, "pci_nvme_mmio_start_success");
    let enabled_before = enabled(&guest.hardware_log());
    guest.run(&format!("setpci -s {DRIVE} COMMAND=0000:0006"))?;
    let since = guest.qmp().traffic(nsid)?;
    let outcome = guest.wait(run, PATIENCE)?;
    // The first error is told last, or one that ended the run before its time in its place.
    let told = outcome.output.trim_end().lines().last().unwrap_or_default();
    ensure(told.ends_with("before it answered") || told.ends_with("timed out"), || {
        outcome.unexpected("it must come to its end, with errors of I/O").to_string()
    })?;
    let enabled_since = enabled(&guest.hardware_log()) - enabled_before;
    ensure(enabled_since == 1, || format!("the controller was enabled {enabled_since} times, not once"))?;
    outcome.says(&["the device began anew (incarnation 2)", "judged, 0 wrong"])?;
    drive::moved(&mut guest, nsid, since, 1 << 19, 1 << 19)
}
