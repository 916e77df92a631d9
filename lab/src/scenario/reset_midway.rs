//! Somebody resets the controller in the middle of a run, by the function's reset in sysfs. The commands that it forgot
//! end with a timeout, once each; the driver brings the controller up again, makes its queues anew, and the run goes on
//! to its end. No block is wrong: what was acknowledged is there, what failed may be or not.

use std::time::Duration;

use super::drive::{self, VERIFY, count};
use super::{SMOKE, Scenario};
use crate::error::{Result, ensure};
use crate::guest::Lab;
use crate::machine::{DRIVE, NS_512};

pub const SCENARIO: Scenario = Scenario {
    name: "reset-midway",
    set: SMOKE,
    about: "the controller is reset in the middle of verified I/O, which goes on",
    story,
};

const PATIENCE: Duration = Duration::from_secs(120);

fn story(lab: &Lab) -> Result<()> {
    let nsid = NS_512.nsid;
    let mut guest = drive::ready(lab)?;
    let options =
        format!("--rw randrw --bs 4k --iodepth 8 --size 4m --runtime 8 {VERIFY} --continue-on-error io");
    let run = guest.start(&drive::bench(nsid, "?timeout_ms=1000", &options))?;
    guest.await_written(nsid, 1)?;
    let enabled = |log: &str| count(log, "pci_nvme_mmio_start_success");
    let enabled_before = enabled(&guest.hardware_log());
    let since = guest.qmp().traffic(nsid)?;
    guest.run(&format!("sleep 1; echo 1 >/sys/bus/pci/devices/{DRIVE}/reset"))?;
    let outcome = guest.wait(run, PATIENCE)?;

    let enabled_since = enabled(&guest.hardware_log()) - enabled_before;
    ensure(enabled_since == 1, || {
        format!("the controller was enabled {enabled_since} times after the reset")
    })?;
    outcome.says(&["the device began anew (incarnation 2)", "judged, 0 wrong"])?;
    drive::moved(&mut guest, nsid, since, 1 << 20, 1 << 20)
}
