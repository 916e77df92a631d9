//! Runs the product in QEMU guests, against things that we did not write: emulated drives behind an emulated IOMMU,
//! and the kernel's own drivers.

mod binaries;
mod capture;
mod clock;
mod cpio;
mod error;
mod guest;
mod image;
mod machine;
mod packages;
mod program;
mod scenario;
mod toolbox;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use error::{LabError, Result};
use guest::{LEFT, Lab, Pair, RIGHT};
use image::Image;
use machine::Machine;
use scenario::{ALL, Scenario, Set};

const USAGE: &str = "\
usage: cargo run -p lab -- COMMAND

  all              run every scenario but those that only explain figures
  smoke            run those that run at every change
  NAME...          run these
  list             list the scenarios
  shell COMMANDS [PROGRAM...]
                   run shell commands in a guest and print their output; these programs of the host are in its path
  pair LEFT RIGHT  run shell commands in two guests on one wire, in the left one, and a second later in the right one;
                   what passes on the wire is kept in lab/pair/wire.pcap of cargo's target directory

The words of lab/src/guest/lib.sh are at hand in the guest: give ADDRESS DRIVER, disk_of ADDRESS NSID, rxe DEVICE,
rxe_alone, ...";

/// For `shell`, behind which somebody sits who can interrupt it.
const SHELL_TIMEOUT: Duration = Duration::from_secs(1800);

/// What the left guest of a pair is given to get ready.
const HEAD_START_S: u32 = 1;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match command(&words) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("lab: {error}");
            ExitCode::from(2)
        }
    }
}

fn command(words: &[String]) -> Result<ExitCode> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        [] | ["help" | "--help" | "-h"] => println!("{USAGE}"),
        ["list"] => list(),
        ["shell", script, ref programs @ ..] => return shell(script, programs),
        ["pair", left, right] => return pair(left, right),
        ["all"] => return run(&select(|scenario| scenario.set != Set::OnDemand)),
        ["smoke"] => return run(&select(|scenario| scenario.set == Set::Smoke)),
        _ => {
            if let Some(name) = words.iter().find(|name| ALL.iter().all(|one| one.name != **name)) {
                return Err(LabError::Machine(format!("no scenario is called {name}\n\n{USAGE}")));
            }
            return run(&select(|scenario| words.contains(&scenario.name)));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn list() {
    for scenario in ALL {
        let mark = match scenario.set {
            Set::Smoke => "smoke",
            Set::All => "",
            Set::OnDemand => "by name",
        };
        println!("{:28} {mark:8} {}", scenario.name, scenario.about);
    }
}

fn select(is_wanted: impl Fn(&Scenario) -> bool) -> Vec<Scenario> {
    ALL.iter().copied().filter(is_wanted).collect()
}

fn run(scenarios: &[Scenario]) -> Result<ExitCode> {
    let binaries = binaries::build()?;
    let image = Image::ready()?;
    let tally = scenario::run_all(scenarios, &image, &binaries)?;
    println!("{} passed, {} failed", tally.passed, tally.failed);
    let is_good = tally.failed == 0 && tally.passed > 0;
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn shell(script: &str, programs: &[&str]) -> Result<ExitCode> {
    let mut binaries = binaries::build()?;
    binaries.programs.extend(programs.iter().map(PathBuf::from));
    let logs = binaries.target.join("lab").join("shell");
    let lab = Lab { image: Image::ready()?, binaries: binaries.programs, logs };
    let mut guest = lab.boot(&Machine::default())?;
    let task = guest.start(&format!("set +eu; {script}"))?;
    let outcome = guest.wait(task, SHELL_TIMEOUT)?;
    print!("{}", outcome.output);
    Ok(ExitCode::from(u8::try_from(outcome.status).unwrap_or(1)))
}

fn pair(left: &str, right: &str) -> Result<ExitCode> {
    let binaries = binaries::build()?;
    let logs = binaries.target.join("lab").join("pair");
    let lab = Lab { image: Image::ready()?, binaries: binaries.programs, logs };
    let mut pair = Pair::boot(&lab)?;
    let mut outcomes = Vec::new();
    pair.captured("wire", |pair| {
        let first = pair.left.start(&format!("set +eu; {left}"))?;
        let second = pair.right.start(&format!("set +eu; sleep {HEAD_START_S}; {right}"))?;
        outcomes.push(pair.right.wait(second, SHELL_TIMEOUT)?);
        outcomes.push(pair.left.wait(first, SHELL_TIMEOUT)?);
        Ok(())
    })?;
    for (side, outcome) in [RIGHT, LEFT].iter().zip(&outcomes) {
        println!("== {} ended with {}\n{}", side.name, outcome.status, outcome.output);
    }
    let is_good = outcomes.iter().all(|outcome| outcome.status == 0);
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
