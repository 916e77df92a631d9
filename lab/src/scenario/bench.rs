//! How fast our driver is on the emulated drive, beside the kernel's and QEMU's own userspace driver, in one guest. The
//! figures are for ratios within one run: the processor is emulated, and shared with whatever else the host does.
//!
//! The drivers take turns, and each figure is the median of its runs, so that a busy moment of the host does not fall
//! on one of them alone.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;

use serde_json::Value;

use super::drive;
use super::{ALL_ONLY, Scenario};
use crate::error::{Context, LabError, Result, ensure};
use crate::guest::{Guest, Lab};
use crate::machine::{DRIVE, NS_512};

pub const SCENARIO: Scenario = Scenario {
    name: "bench",
    set: ALL_ONLY,
    about: "4 KiB random I/O: our driver, the kernel's and QEMU's, as a table",
    story,
};

/// Turns that each driver gets.
const ROUNDS: usize = 3;

const DEPTHS: [u32; 3] = [1, 16, 64];

/// What fio and our benchmark are told alike. Times in seconds.
const WORKLOAD: &str = "--bs=4k --ramp_time=1 --runtime=2 --time_based --output-format=json --size=64m";

/// I/O of a run of qemu-img, which knows counts only: a second or so.
const QEMU_COUNT: u32 = 15_000;

/// Bytes from one I/O of qemu-img to the next, for which it has no random order: never the next block, and all of them
/// before one comes again.
const QEMU_STEP: u32 = 4096 * 4099;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Driver {
    Polled,
    Adaptive,
    Kernel,
    Qemu,
}

impl Driver {
    const ALL: [Self; 4] = [Self::Polled, Self::Adaptive, Self::Kernel, Self::Qemu];

    fn name(self) -> &'static str {
        match self {
            Self::Polled => "remora, polling",
            Self::Adaptive => "remora, adaptive",
            Self::Kernel => "Linux nvme, fio io_uring",
            Self::Qemu => "qemu-img on nvme://",
        }
    }

    /// The kernel's driver that has the drive meanwhile.
    fn binding(self) -> &'static str {
        if self == Self::Kernel { "nvme" } else { "vfio-pci" }
    }

    fn command(self, is_write: bool, depth: u32) -> String {
        let nsid = NS_512.nsid;
        let rw = if is_write { "randwrite" } else { "randread" };
        let options = format!("--rw={rw} --iodepth={depth} {WORKLOAD}");
        match self {
            Self::Polled => drive::bench(nsid, "", &format!("{options} --poll always")),
            Self::Adaptive => drive::bench(nsid, "", &options),
            Self::Kernel => format!(
                "fio --name=fio --filename=$(disk_of {DRIVE} {nsid}) --ioengine=io_uring --direct=1 {options}"
            ),
            Self::Qemu => {
                let write = if is_write { "-w" } else { "" };
                format!(
                    "qemu-img bench -f raw -t writeback -c {QEMU_COUNT} -d {depth} -s 4096 -S {QEMU_STEP} \
                     {write} nvme://{DRIVE}/{nsid}"
                )
            }
        }
    }

    /// I/O a second, out of what the command has printed.
    fn iops(self, is_write: bool, output: &str) -> Option<f64> {
        if self == Self::Qemu {
            let seconds: f64 =
                output.split_once("completed in ")?.1.split_whitespace().next()?.parse().ok()?;
            return Some(f64::from(QEMU_COUNT) / seconds);
        }
        let report: Value = serde_json::from_str(output.get(output.find('{')?..)?).ok()?;
        report["jobs"][0][if is_write { "write" } else { "read" }]["iops"].as_f64()
    }
}

/// I/O a second of each run, by driver, reads before writes, and depth.
type Figures = BTreeMap<(Driver, bool, u32), Vec<f64>>;

fn story(lab: &Lab) -> Result<()> {
    let mut guest = drive::ready(lab)?;
    // Blocks that were never written are read without the backend's doing.
    guest.run(&drive::bench(NS_512.nsid, "", "--rw write --bs 128k --iodepth 4"))?;
    let mut figures = Figures::new();
    for _ in 0..ROUNDS {
        for driver in Driver::ALL {
            guest.run(&format!("give {DRIVE} {}", driver.binding()))?;
            for (is_write, depth) in cells() {
                let iops = measure(&mut guest, driver, is_write, depth)?;
                figures.entry((driver, is_write, depth)).or_default().push(iops);
            }
        }
    }
    let table = table(&mut figures);
    print!("{table}");
    let path = lab.logs.join("table.md");
    fs::write(&path, &table).about("write", &path)
}

fn cells() -> impl Iterator<Item = (bool, u32)> {
    [false, true].into_iter().flat_map(|is_write| DEPTHS.map(|depth| (is_write, depth)))
}

fn measure(guest: &mut Guest, driver: Driver, is_write: bool, depth: u32) -> Result<f64> {
    let since = guest.qmp().traffic(NS_512.nsid)?;
    let output = guest.run(&driver.command(is_write, depth))?;
    let iops = driver.iops(is_write, &output);
    let iops = iops.ok_or_else(|| LabError::Story(format!("{} gave no figure:\n{output}", driver.name())))?;
    // However slow the machine is, or the figure is of something else than this drive.
    let bytes = 16 * 4096;
    ensure(iops > 0.0, || format!("{} did nothing", driver.name()))?;
    let (read, written) = if is_write { (0, bytes) } else { (bytes, 0) };
    drive::moved(guest, NS_512.nsid, since, read, written)?;
    Ok(iops)
}

fn table(figures: &mut Figures) -> String {
    let mut text = String::from("\n| 4 KiB, thousands of I/O a second |");
    for (is_write, depth) in cells() {
        let _ = write!(text, " {} {depth} |", if is_write { "write" } else { "read" });
    }
    let _ = writeln!(text, "\n|---|{}", "---|".repeat(cells().count()));
    for driver in Driver::ALL {
        let _ = write!(text, "| {} |", driver.name());
        for (is_write, depth) in cells() {
            let runs = figures.entry((driver, is_write, depth)).or_default();
            let _ = write!(text, " {:.1} |", median(runs) / 1e3);
        }
        text.push('\n');
    }
    let _ = writeln!(text, "(medians of {ROUNDS} runs; qemu-img strides, the others are random)\n");
    text
}

fn median(runs: &mut [f64]) -> f64 {
    runs.sort_by(f64::total_cmp);
    runs.get(runs.len() / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_found_in_what_the_programs_print() {
        let fio =
            "fio: note\n{ \"jobs\": [ { \"read\": { \"iops\": 12.5 }, \"write\": { \"iops\": 0.0 } } ] }";
        assert_eq!(Driver::Kernel.iops(false, fio), Some(12.5));
        let qemu = "Sending 15000 read requests\nRun completed in 0.500 seconds.\n";
        assert_eq!(Driver::Qemu.iops(false, qemu), Some(30_000.0));
        assert_eq!(Driver::Qemu.iops(false, "no such thing"), None);
    }

    #[test]
    fn the_median_is_the_one_in_the_middle() {
        assert_eq!(median(&mut [3.0, 1.0, 100.0]).to_bits(), 3.0_f64.to_bits());
    }
}
