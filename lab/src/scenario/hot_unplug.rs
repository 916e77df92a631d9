//! The drive is pulled out of its slot during I/O. The run ends by itself and says that the device is gone; our process
//! lets go of the drive, so that the removal gets to its end.

use std::time::Duration;

use super::drive::{self, VERIFY};
use super::{SMOKE, Scenario};
use crate::clock::Deadline;
use crate::error::{LabError, Result, ensure};
use crate::guest::Lab;
use crate::machine::{DRIVE_ID, DRIVE_IN_SLOT, Machine, NS_512};

pub const SCENARIO: Scenario = Scenario {
    name: "hot-unplug",
    set: SMOKE,
    about: "the drive is pulled during I/O: the run says so and ends, the slot is free",
    story,
};

/// The guest's slot waits 5 s after its button was pressed, in case it is pressed again.
const REMOVAL: Duration = Duration::from_secs(60);

fn story(lab: &Lab) -> Result<()> {
    let nsid = NS_512.nsid;
    let mut guest = drive::taken(lab, &Machine::default().with_hotplug(), DRIVE_IN_SLOT)?;
    let options = format!("--rw randrw --bs 4k --iodepth 8 --size 4m --runtime 300 {VERIFY}");
    let run = guest.start(&drive::bench_at(DRIVE_IN_SLOT, nsid, "", &options))?;
    guest.await_written(nsid, 1)?;
    guest.qmp().unplug(DRIVE_ID)?;
    let outcome = guest.wait(run, REMOVAL)?;
    ensure(outcome.status == 1, || {
        outcome.unexpected("1 is to be told of a device that is gone").to_string()
    })?;
    outcome.says(&["the device is gone"])?;
    ensure(!outcome.output.contains("panicked"), || outcome.unexpected("without a panic").to_string())?;

    let deadline = Deadline::after(REMOVAL);
    while guest.qmp().is_plugged(DRIVE_ID)? {
        if !deadline.pause() {
            return Err(LabError::Late { what: "the drive to leave its slot".to_owned(), waited: REMOVAL });
        }
    }
    guest.run(&format!("[ ! -e /sys/bus/pci/devices/{DRIVE_IN_SLOT} ]")).map(drop)
}
