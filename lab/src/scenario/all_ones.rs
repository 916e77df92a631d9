//! The drive no longer answers: its registers read all ones and it reaches memory no more, as when it was pulled without
//! a word, its link broke or its power failed. Here its memory space and bus mastering are turned off in its
//! configuration. The run says that the device is gone and ends by itself; once the drive answers again, it works.

use std::time::Duration;

use super::drive;
use super::{SMOKE, Scenario};
use crate::error::{Result, ensure};
use crate::guest::Lab;
use crate::machine::{DRIVE, NS_512};

pub const SCENARIO: Scenario = Scenario {
    name: "all-ones",
    set: SMOKE,
    about: "registers read all ones in the middle of I/O: the run says that the drive is gone, and ends",
    story,
};

const PATIENCE: Duration = Duration::from_secs(60);

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
    outcome.says(&["the device is gone"])?;

    let since = guest.qmp().traffic(nsid)?;
    let again = "--rw randrw --bs 4k --iodepth 8 --size 2m --verify crc32c";
    guest.run(&drive::bench(nsid, "", again))?;
    drive::moved(&mut guest, nsid, since, 1 << 19, 1 << 19)
}
