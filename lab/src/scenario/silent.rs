//! The drive falls silent: it takes no doorbell, reaches no memory and its registers read zero, as after a power
//! failure of its slot that nobody told the kernel of. Here its memory space and bus mastering are turned off in its
//! configuration. The driver aborts, resets, and gives the drive up after its bounded tries; the run ends by itself and
//! says that the device is gone. Once the drive answers again, it works.
//!
//! That registers read all ones, as behind a broken link, is beyond this machine: QEMU answers 0 for memory that is not
//! there.

use std::time::Duration;

use super::drive;
use super::{ALL_ONLY, Scenario};
use crate::error::{Result, ensure};
use crate::guest::Lab;
use crate::machine::{DRIVE, NS_512};

pub const SCENARIO: Scenario = Scenario {
    name: "silent",
    set: ALL_ONLY,
    about: "the drive stops answering in the middle of I/O: it is given up, and the run ends",
    story,
};

/// Abort, three resets, and what the controller says it may take for each (CAP.TO).
const PATIENCE: Duration = Duration::from_secs(120);

fn story(lab: &Lab) -> Result<()> {
    let nsid = NS_512.nsid;
    let mut guest = drive::ready(lab)?;
    let options =
        "--rw randrw --bs 4k --iodepth 8 --size 4m --runtime 300 --verify crc32c --continue-on-error io";
    let run = guest.start(&drive::bench(nsid, "?timeout_ms=1000", options))?;
    guest.await_written(nsid, 1)?;
    guest.run(&format!("setpci -s {DRIVE} COMMAND=0000:0006"))?;
    let outcome = guest.wait(run, PATIENCE)?;
    ensure(outcome.status == 1, || {
        outcome.unexpected("1 is to be told of a device that is gone").to_string()
    })?;
    outcome.says(&["the controller is given up", "the device is gone"])?;

    let since = guest.qmp().traffic(nsid)?;
    let again = "--rw randrw --bs 4k --iodepth 8 --size 2m --verify crc32c";
    guest.run(&drive::bench(nsid, "", again))?;
    drive::moved(&mut guest, nsid, since, 1 << 19, 1 << 19)
}
