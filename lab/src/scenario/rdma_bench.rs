//! What the provider `verbs` costs: `remora rdma perf` beside perftest, both by libibverbs on the same soft RoCE device, in one
//! guest. The figures are for ratios within one run: the processor is emulated, and shared with whatever else the host does.
//!
//! The programs take turns, and each figure is the median of its runs.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::time::Duration;

use serde_json::Value;

use super::{ALL_ONLY, Scenario};
use crate::binaries;
use crate::error::{Context, LabError, Result, ensure};
use crate::guest::{Guest, LEFT, Lab, RIGHT};
use crate::machine::Machine;

pub const SCENARIO: Scenario = Scenario {
    name: "rdma-bench",
    set: ALL_ONLY,
    about: "verbs on soft RoCE: remora rdma perf and perftest, as a table",
    story,
};

/// Turns that each program gets.
const ROUNDS: usize = 3;

/// For one run, of a second or two.
const PATIENCE: Duration = Duration::from_secs(120);

const MIB: f64 = 1024.0 * 1024.0;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Cell {
    SendBandwidth,
    WriteBandwidth,
    ReadBandwidth,
    ReadLatency,
}

impl Cell {
    const ALL: [Self; 4] =
        [Self::SendBandwidth, Self::WriteBandwidth, Self::ReadBandwidth, Self::ReadLatency];

    fn name(self) -> &'static str {
        match self {
            Self::SendBandwidth => "SEND of 64 KiB, MiB/s",
            Self::WriteBandwidth => "WRITE of 64 KiB, MiB/s",
            Self::ReadBandwidth => "READ of 64 KiB, MiB/s",
            Self::ReadLatency => "READ of 4 KiB, us",
        }
    }

    fn op(self) -> &'static str {
        match self {
            Self::SendBandwidth => "send",
            Self::WriteBandwidth => "write",
            Self::ReadBandwidth | Self::ReadLatency => "read",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Program {
    Remora,
    Perftest,
}

impl Program {
    const ALL: [Self; 2] = [Self::Remora, Self::Perftest];

    fn name(self) -> &'static str {
        match self {
            Self::Remora => "remora rdma perf, verbs",
            Self::Perftest => "perftest",
        }
    }

    /// Its server and its client. Both poll all the time, as perftest does by itself.
    fn commands(self, cell: Cell) -> (String, String) {
        let (address, op) = (LEFT.ipv4, cell.op());
        match (self, cell) {
            (Self::Remora, _) => {
                let base = "remora rdma perf --provider verbs --poll always";
                let what = match cell {
                    Cell::ReadLatency => "--size 4k --latency",
                    _ => "--size 64k --depth 32",
                };
                let run = "--runtime 2 --output-format json";
                let client = format!("{base} {address} --local {} --op {op} {what} {run}", RIGHT.ipv4);
                (format!("{base} --listen {address}"), client)
            }
            (Self::Perftest, Cell::ReadLatency) => both("ib_read_lat -d rxe0 -s 4096 -n 1000", address),
            (Self::Perftest, _) => {
                both(&format!("ib_{op}_bw -d rxe0 -s 65536 -n 500 -t 32 --cq-mod 1"), address)
            }
        }
    }

    /// The figure, out of what the client has printed.
    fn figure(self, cell: Cell, output: &str) -> Option<f64> {
        if self == Self::Perftest {
            // Bytes, iterations, and then peak and average, or least, most and typical.
            let row = output.lines().skip_while(|line| !line.trim_start().starts_with("#bytes")).nth(1)?;
            let column = if cell == Cell::ReadLatency { 4 } else { 3 };
            return row.split_whitespace().nth(column)?.parse().ok();
        }
        let report: Value = serde_json::from_str(output.get(output.find('{')?..)?).ok()?;
        if report["provider"] != "verbs" || report["device"] != "rxe0" {
            return None;
        }
        match cell {
            Cell::ReadLatency => Some(report["latency_ns"]["p50"].as_f64()? / 1e3),
            _ => Some(report["bytes_per_s"].as_f64()? / MIB),
        }
    }
}

fn both(command: &str, address: &str) -> (String, String) {
    (command.to_owned(), format!("{command} {address}"))
}

/// The figures of each run.
type Figures = BTreeMap<(Program, Cell), Vec<f64>>;

fn story(lab: &Lab) -> Result<()> {
    let binaries = binaries::build_with(&["remora-tools/verbs"])?;
    let lab = Lab { binaries: binaries.programs, ..lab.clone() };
    let mut guest = lab.boot(&Machine::default())?;
    // Our client wants an address of its own.
    guest.run(&format!("rxe_alone; ip address add {}/24 dev dummy0", RIGHT.ipv4))?;
    let mut figures = Figures::new();
    for _ in 0..ROUNDS {
        for cell in Cell::ALL {
            for program in Program::ALL {
                let figure = measure(&mut guest, program, cell)?;
                figures.entry((program, cell)).or_default().push(figure);
            }
        }
    }
    let table = table(&mut figures);
    print!("{table}");
    let path = lab.logs.join("table.md");
    fs::write(&path, &table).about("write", &path)
}

fn measure(guest: &mut Guest, program: Program, cell: Cell) -> Result<f64> {
    let (server, client) = program.commands(cell);
    let server = guest.start(&format!("exec {server}"))?;
    guest.run("listening 18515")?;
    let output = guest.run_within(&client, PATIENCE)?;
    if program == Program::Remora {
        guest.run("kill -INT $(pidof remora)")?;
    }
    let ended = guest.wait(server, PATIENCE)?;
    ensure(ended.status == 0, || ended.unexpected("it must succeed").to_string())?;
    let figure = program.figure(cell, &output);
    figure.ok_or_else(|| LabError::Story(format!("{} gave no figure:\n{output}", program.name())))
}

fn table(figures: &mut Figures) -> String {
    let mut text = String::from("\n| |");
    for cell in Cell::ALL {
        let _ = write!(text, " {} |", cell.name());
    }
    let _ = writeln!(text, "\n|---|{}", "---|".repeat(Cell::ALL.len()));
    for program in Program::ALL {
        let _ = write!(text, "| {} |", program.name());
        for cell in Cell::ALL {
            let runs = figures.entry((program, cell)).or_default();
            runs.sort_by(f64::total_cmp);
            let _ = write!(text, " {:.1} |", runs.get(runs.len() / 2).copied().unwrap_or(0.0));
        }
        text.push('\n');
    }
    let _ = writeln!(text, "(medians of {ROUNDS} runs)\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_found_in_what_the_programs_print() {
        let bandwidth = " #bytes     #iterations    BW peak[MB/sec]    BW average[MB/sec]   MsgRate[Mpps]\n \
                         131072     208              0.00               12.84  \t\t   0.000103\n---\n";
        assert_eq!(Program::Perftest.figure(Cell::WriteBandwidth, bandwidth), Some(12.84));
        let latency = " #bytes #iterations    t_min[usec]    t_max[usec]  t_typical[usec]    t_avg[usec]\n \
                       4096    500          336.15         103755.37      7978.79  \t       9853.53\n";
        assert_eq!(Program::Perftest.figure(Cell::ReadLatency, latency), Some(7978.79));
        let ours = "note\n{ \"provider\": \"verbs\", \"device\": \"rxe0\", \"bytes_per_s\": 2097152.0, \
                    \"latency_ns\": { \"p50\": 1500 } }";
        assert_eq!(Program::Remora.figure(Cell::SendBandwidth, ours), Some(2.0));
        assert_eq!(Program::Remora.figure(Cell::ReadLatency, ours), Some(1.5));
        assert_eq!(Program::Remora.figure(Cell::ReadLatency, &ours.replace("verbs", "soft")), None);
    }
}
