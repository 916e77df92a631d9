//! Where the time of an I/O goes: what each of QEMU's threads runs, waits for a processor, and sleeps, for one I/O of our
//! driver and of the kernel's. The numbers are the scheduler's, so that nothing is slowed down by being watched.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::time::Duration;

use super::drive;
use super::{ON_DEMAND, Scenario};
use crate::clock::{Deadline, Stopwatch};
use crate::error::{Context, LabError, Result, ensure};
use crate::guest::{Guest, Lab};
use crate::machine::{DRIVE, NS_512};

pub const SCENARIO: Scenario = Scenario {
    name: "profile",
    set: ON_DEMAND,
    about: "4 KiB random reads: what QEMU's threads do for one I/O, as a table",
    story,
};

const DEPTHS: [u32; 3] = [1, 16, 64];

/// From a workload's start to the window that is looked at.
const SETTLE: Duration = Duration::from_millis(2500);

/// The window.
const WINDOW: Duration = Duration::from_secs(1);

/// A workload's time, which ends well after the window.
const WORKLOAD: &str = "--rw=randread --bs=4k --runtime=6 --time_based --size=64m";

/// For a workload to end.
const END_TIMEOUT: Duration = Duration::from_secs(60);

/// Nanoseconds of one of QEMU's threads, or a difference of them.
#[derive(Clone, Copy, Debug, Default)]
struct Spent {
    running_ns: u64,
    queueing_ns: u64,
    sleeps: u64,
}

/// QEMU's threads by what they do.
#[derive(Clone, Copy, Debug, Default)]
struct Threads {
    /// The main loop: the drive's model.
    main: Spent,
    /// The guest's processors.
    processors: Spent,
    /// The pool that reads the drive's file, and the rest.
    others: Spent,
}

fn story(lab: &Lab) -> Result<()> {
    let mut guest = drive::ready(lab)?;
    guest.run(&drive::bench(NS_512.nsid, "", "--rw write --bs 128k --iodepth 4"))?;
    let mut table = String::from(HEADER);
    for (name, driver) in [("remora, polling", "vfio-pci"), ("Linux nvme, fio io_uring", "nvme")] {
        guest.run(&format!("give {DRIVE} {driver}"))?;
        for depth in DEPTHS {
            let line = watch(&mut guest, driver, depth)?;
            let _ = writeln!(table, "| {name} | {depth} | {line} |");
        }
    }
    print!("{table}");
    let path = lab.logs.join("table.md");
    fs::write(&path, &table).about("write", &path)
}

const HEADER: &str = "
| microseconds for one I/O | depth | in all | main loop: runs, queues, sleeps | processors: run, queue, sleeps \
| file: runs |
|---|---|---|---|---|---|
";

fn watch(guest: &mut Guest, driver: &str, depth: u32) -> Result<String> {
    let nsid = NS_512.nsid;
    let command = if driver == "nvme" {
        format!(
            "fio --name=fio --filename=$(disk_of {DRIVE} {nsid}) --ioengine=io_uring --direct=1 --iodepth={depth} {WORKLOAD}"
        )
    } else {
        drive::bench(nsid, "", &format!("--iodepth={depth} {WORKLOAD} --poll always"))
    };
    let task = guest.start(&command)?;
    pause(SETTLE);
    let (ios, threads, elapsed) = look(guest, nsid)?;
    let outcome = guest.wait(task, END_TIMEOUT)?;
    ensure(outcome.status == 0, || format!("the workload failed:\n{}", outcome.output))?;
    ensure(ios > 0, || "nothing was read in the window".to_owned())?;
    let us = |ns: u64| ns as f64 / 1e3 / ios as f64;
    let each = |spent: Spent| {
        let sleeps = spent.sleeps as f64 / ios as f64;
        format!("{:.1}, {:.1}, {sleeps:.2} x", us(spent.running_ns), us(spent.queueing_ns))
    };
    let in_all = elapsed.as_secs_f64() * 1e6 / ios as f64;
    let file = us(threads.others.running_ns);
    Ok(format!("{in_all:.1} | {} | {} | {file:.1}", each(threads.main), each(threads.processors)))
}

/// I/O and what was spent on them in a window from now on.
fn look(guest: &mut Guest, nsid: u32) -> Result<(u64, Threads, Duration)> {
    let bytes = guest.qmp().traffic(nsid)?.bytes_read;
    let before = threads(guest.qemu_id())?;
    let stopwatch = Stopwatch::start();
    pause(WINDOW);
    let after = threads(guest.qemu_id())?;
    let elapsed = stopwatch.elapsed();
    let ios = (guest.qmp().traffic(nsid)?.bytes_read - bytes) / 4096;
    let spent = Threads {
        main: after.main.since(before.main),
        processors: after.processors.since(before.processors),
        others: after.others.since(before.others),
    };
    Ok((ios, spent, elapsed))
}

fn pause(time: Duration) {
    let deadline = Deadline::after(time);
    while deadline.pause() {}
}

fn threads(qemu: u32) -> Result<Threads> {
    let directory = Path::new("/proc").join(qemu.to_string()).join("task");
    let mut threads = Threads::default();
    for entry in fs::read_dir(&directory).about("read", &directory)? {
        let path = entry.about("read", &directory)?.path();
        // A thread of the pool may have ended since.
        let Ok(name) = fs::read_to_string(path.join("comm")) else { continue };
        let Some(spent) = Spent::of(&path) else { continue };
        let is_main = path.file_name().is_some_and(|id| *id == *qemu.to_string());
        let of = if is_main {
            &mut threads.main
        } else if name.starts_with("CPU ") {
            &mut threads.processors
        } else {
            &mut threads.others
        };
        of.add(spent);
    }
    if threads.processors.running_ns == 0 {
        return Err(LabError::Story("QEMU names no thread as a processor of the guest".to_owned()));
    }
    Ok(threads)
}

impl Spent {
    fn of(thread: &Path) -> Option<Self> {
        let times = fs::read_to_string(thread.join("schedstat")).ok()?;
        let mut times = times.split_whitespace().map(|number| number.parse().ok());
        let status = fs::read_to_string(thread.join("status")).ok()?;
        let sleeps = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
        Some(Self {
            running_ns: times.next()??,
            queueing_ns: times.next()??,
            sleeps: sleeps.trim().parse().ok()?,
        })
    }

    fn add(&mut self, other: Self) {
        self.running_ns += other.running_ns;
        self.queueing_ns += other.queueing_ns;
        self.sleeps += other.sleeps;
    }

    /// Saturating: a thread that has ended takes its numbers with it.
    fn since(self, before: Self) -> Self {
        Self {
            running_ns: self.running_ns.saturating_sub(before.running_ns),
            queueing_ns: self.queueing_ns.saturating_sub(before.queueing_ns),
            sleeps: self.sleeps.saturating_sub(before.sleeps),
        }
    }
}
