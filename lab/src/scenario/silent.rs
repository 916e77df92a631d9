//! The drive falls silent in the middle of a run: it takes no doorbell, reaches no memory and its registers read zero, as
//! after a reset that nobody told the kernel of. Here its memory space and bus mastering are turned off in its
//! configuration. The driver notices, turns both on again and resets the controller; commands that were lost fail, once
//! each, and the run goes on. No block is wrong. The driver takes a CSTS of zero for a controller that is disabled, and
//! finds out by an admin command that times out that it never was: the run is long enough for that and a second reset.
//!
//! The driver used to write the command register back with the memory space off, as it had found it: the kernel then
//! takes the registers away from us, and the next access to them killed the process with SIGBUS.
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
    about: "the drive stops answering in the middle of I/O: it is brought up again, and the run goes on",
    story,
};

/// Timeouts, an abort, a reset, and the rest of the run.
const PATIENCE: Duration = Duration::from_secs(120);

fn story(lab: &Lab) -> Result<()> {
    let nsid = NS_512.nsid;
    let mut guest = drive::ready(lab)?;
    let options =
        "--rw randrw --bs 4k --iodepth 8 --size 4m --runtime 50 --verify crc32c --continue-on-error io";
    let run = guest.start(&drive::bench(nsid, "?timeout_ms=1000", options))?;
    guest.await_written(nsid, 1)?;
    guest.run(&format!("setpci -s {DRIVE} COMMAND=0000:0006"))?;
    let since = guest.qmp().traffic(nsid)?;
    let outcome = guest.wait(run, PATIENCE)?;
    ensure(outcome.status <= 1, || outcome.unexpected("it must come to its end").to_string())?;
    outcome.says(&["the device began anew (incarnation 2)", "judged, 0 wrong"])?;
    drive::moved(&mut guest, nsid, since, 1 << 19, 1 << 19)
}
