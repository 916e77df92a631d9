//! The drive's backend stalls, for longer than commands may take. Each command ends with a timeout after an abort or a
//! reset, or with the reset that an older one made necessary; the run ends by itself, and once the backend has recovered
//! the drive is as good as before. Which of a queue's commands is told of first is no part of the story.

use std::time::Duration;

use super::drive::{self, VERIFY};
use super::{ALL_ONLY, Scenario};
use crate::error::{Result, ensure};
use crate::guest::Lab;
use crate::machine::NS_4096;

pub const SCENARIO: Scenario = Scenario {
    name: "stall",
    set: ALL_ONLY,
    about: "a backend that stalls: commands time out, the run ends, the drive recovers",
    story,
};

/// One I/O a second is what the monitor can throttle to; with 16 in flight the last waits far longer than this.
const TIMEOUT_MS: u64 = 1500;

/// From the stall to the run's end: timeout, abort, reset, and an emulated processor that is shared with others.
const END: Duration = Duration::from_secs(120);

fn story(lab: &Lab) -> Result<()> {
    let nsid = NS_4096.nsid;
    let mut guest = drive::ready(lab)?;
    let options = format!("--rw randrw --bs 4k --iodepth 16 --size 8m --runtime 300 {VERIFY} --do-verify 0");
    let query = format!("?timeout_ms={TIMEOUT_MS}");
    let since = guest.qmp().traffic(nsid)?;
    let run = guest.start(&drive::bench(nsid, &query, &options))?;
    guest.await_written(nsid, since.bytes_written + 1)?;
    guest.qmp().throttle(nsid, 1)?;
    let outcome = guest.wait(run, END)?;
    ensure(outcome.status == 1, || outcome.unexpected("1 is to be told of failed I/O").to_string())?;
    outcome.says(&["takes too long"])?;
    let told = outcome.output.trim_end();
    ensure(told.ends_with("timed out") || told.ends_with("the device was reset before it answered"), || {
        outcome.unexpected("a command is to have timed out").to_string()
    })?;

    guest.qmp().throttle(nsid, 0)?;
    let since = guest.qmp().traffic(nsid)?;
    let again = format!("--rw randrw --bs 4k --iodepth 16 --size 2m {VERIFY}");
    guest.run(&drive::bench(nsid, "", &again))?;
    drive::moved(&mut guest, nsid, since, 1 << 19, 1 << 19)
}
