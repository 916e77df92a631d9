//! Verified random workloads on namespaces of 512 and of 4096 bytes: polled and with interrupts, with shadow doorbells
//! and without, on one queue and on four.
//!
//! That a run used what it was told to is seen from the other side: QEMU logs each queue that a driver creates, with or
//! without interrupts, and each shadow doorbell that it reads.

use super::drive::{self, VERIFY, count};
use super::{SMOKE, Scenario};
use crate::error::{Result, ensure};
use crate::guest::{Guest, Lab};
use crate::machine::{NS_512, NS_4096};

pub const SCENARIO: Scenario = Scenario {
    name: "verified-io",
    set: SMOKE,
    about: "512 and 4096 byte blocks, polled and interrupts, shadow doorbells on and off, 1 and 4 queues",
    story,
};

/// Bytes that each run reads and writes, about half of each, shared by its queues.
const BYTES: u64 = 4 << 20;

/// An event of QEMU's log: the controller has read the shadow doorbell of a submission queue.
const SHADOW_READ: &str = "pci_nvme_shadow_doorbell_sq";

struct Run {
    nsid: u32,
    poll: &'static str,
    shadow_doorbells: bool,
    queues: usize,
}

/// Each namespace with each way of waiting; doorbells and queues vary along.
const RUNS: &[Run] = &[
    Run { nsid: NS_512.nsid, poll: "always", shadow_doorbells: true, queues: 1 },
    Run { nsid: NS_512.nsid, poll: "interrupt", shadow_doorbells: false, queues: 4 },
    Run { nsid: NS_512.nsid, poll: "adaptive", shadow_doorbells: false, queues: 1 },
    Run { nsid: NS_4096.nsid, poll: "always", shadow_doorbells: false, queues: 4 },
    Run { nsid: NS_4096.nsid, poll: "interrupt", shadow_doorbells: true, queues: 1 },
    Run { nsid: NS_4096.nsid, poll: "adaptive", shadow_doorbells: true, queues: 4 },
];

fn story(lab: &Lab) -> Result<()> {
    let mut guest = drive::ready(lab)?;
    guest.qmp().trace(SHADOW_READ, true)?;
    RUNS.iter().try_for_each(|run| run_one(&mut guest, run))
}

fn run_one(guest: &mut Guest, run: &Run) -> Result<()> {
    let Run { nsid, poll, queues, .. } = run;
    let since = guest.qmp().traffic(*nsid)?;
    let log_before = guest.hardware_log().len();
    let shadow = u8::from(run.shadow_doorbells);
    let options =
        format!("--rw randrw --bs 4k --iodepth 16 --numjobs {queues} --size {BYTES} {VERIFY} --poll {poll}");
    let command = drive::bench(*nsid, &format!("?shadow_doorbells={shadow}"), &options);
    let output = guest.run(&command)?;
    ensure(output.contains(" 0 wrong"), || format!("nothing was verified:\n{output}"))?;
    drive::moved(guest, *nsid, since, BYTES / 4, BYTES / 4)?;

    let log = guest.hardware_log().split_off(log_before);
    used_as_told(run, &log)
}

/// What the controller saw of a run is what the run was to do.
fn used_as_told(run: &Run, log: &str) -> Result<()> {
    let Run { poll, queues, .. } = run;
    let created = count(log, "pci_nvme_create_cq");
    ensure(created == *queues, || format!("{created} queues were created, not {queues} ({poll})"))?;
    let with_interrupts = count(log, "ien=1");
    let expected = if *poll == "interrupt" { *queues } else { 0 };
    ensure(with_interrupts == expected, || {
        format!("{with_interrupts} of {queues} queues have interrupts, to {poll} belong {expected}")
    })?;
    // Queue 0 is the admin queue; a doorbell of 0 has not moved yet.
    let is_of_io = |line: &&str| !line.contains("sqid 0 ") && !line.ends_with("new_shadow_doorbell 0");
    let shadow_reads = log.lines().filter(|line| line.contains(SHADOW_READ)).filter(is_of_io).count();
    ensure((shadow_reads > 0) == run.shadow_doorbells, || {
        format!("{shadow_reads} shadow doorbells were read, shadow_doorbells={}", run.shadow_doorbells)
    })
}
