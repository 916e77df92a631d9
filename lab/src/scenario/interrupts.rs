//! Interrupts reach a process that waits for them, by MSI-X through VFIO; a process that polls has none on its queues;
//! and waiting for interrupts leaves the processor to others.

use std::time::Duration;

use super::drive;
use super::{SMOKE, Scenario};
use crate::error::{LabError, Result, ensure};
use crate::guest::{Guest, Lab};
use crate::machine::{DRIVE, NS_4096};

pub const SCENARIO: Scenario = Scenario {
    name: "interrupts",
    set: SMOKE,
    about: "MSI-X wakes who sleeps, polled queues have none, an idle run costs no processor time",
    story,
};

const PATIENCE: Duration = Duration::from_secs(60);

/// I/O a second of the paced run: few, so that it sleeps nearly all the time.
const PACE: u32 = 20;

/// Hundredths of a second of processor time that the paced run may use in its [`PACED_S`] seconds, most of which are
/// its start: an emulated processor needs long to bring a drive up. Spinning would use more than 100 a second.
const TICKS_MAX: u64 = 200;

const PACED_S: u32 = 10;

fn story(lab: &Lab) -> Result<()> {
    let mut guest = drive::ready(lab)?;
    let by_interrupts = while_it_runs(&mut guest, "--poll interrupt")?;
    ensure(by_interrupts > 10, || format!("{by_interrupts} interrupts came in a second of I/O"))?;
    let by_polling = while_it_runs(&mut guest, "--poll always")?;
    ensure(by_polling == 0, || format!("{by_polling} interrupts came for a queue that is polled"))?;

    let options =
        format!("--rw randread --bs 4k --iodepth 1 --runtime {PACED_S} --rate-iops {PACE} --poll adaptive");
    let bench = drive::bench(NS_4096.nsid, "", &options);
    // The fields of times(2) for children: user and system time of what this shell has waited for.
    let used = guest
        .run(&format!("{bench} >/dev/null; read stat </proc/$$/stat; echo $stat | cut -d ' ' -f 16,17"))?;
    let ticks: u64 = used.split_whitespace().filter_map(|field| field.parse::<u64>().ok()).sum();
    ensure(0 < ticks && ticks <= TICKS_MAX, || {
        format!("{PACED_S} s at {PACE} I/O a second used {ticks} hundredths of a second of processor time")
    })
}

/// Interrupts of the drive during a second in the midst of a run.
fn while_it_runs(guest: &mut Guest, how: &str) -> Result<u64> {
    let since = guest.qmp().traffic(NS_4096.nsid)?;
    let options = format!("--rw randwrite --bs 4k --iodepth 4 --size 4m --runtime 4 {how}");
    let run = guest.start(&drive::bench(NS_4096.nsid, "", &options))?;
    guest.await_written(NS_4096.nsid, since.bytes_written + 4096)?;
    let counted = guest.run(&format!("interrupts {DRIVE}; sleep 1; interrupts {DRIVE}"))?;
    let outcome = guest.wait(run, PATIENCE)?;
    ensure(outcome.status == 0, || outcome.unexpected("it must succeed").to_string())?;
    let counts: Vec<u64> = counted.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    match counts[..] {
        [before, after] => Ok(after - before),
        _ => Err(LabError::Story(format!("/proc/interrupts cannot be read: {counted}"))),
    }
}
