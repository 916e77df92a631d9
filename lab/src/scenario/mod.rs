//! The scenarios, and what runs them.

mod bench;
mod boots;
mod drive;
mod drives;
mod handover;
mod hot_unplug;
mod identify;
mod interrupts;
mod killed;
mod linux_host;
mod namespaces_change;
mod nvmf_kernels;
mod nvmf_linux_host;
mod nvmf_linux_host_verbs;
mod nvmf_linux_target;
mod our_target;
mod profile;
mod rdma_bench;
mod rdma_kernels;
mod rdma_soft_kernel;
mod rdma_verbs;
mod reset_midway;
mod silent;
mod stall;
mod unfit_namespaces;
mod verified_io;
mod what_is_missing;

use std::fs;
use std::path::Path;

use crate::binaries::Binaries;
use crate::clock::Stopwatch;
use crate::error::{Context, Result};
use crate::guest::Lab;
use crate::image::Image;

/// A story about the product in a guest.
#[derive(Clone, Copy)]
pub struct Scenario {
    /// Its name on the command line.
    pub name: &'static str,
    /// When it runs, unless it is asked for.
    pub set: Set,
    /// What it shows, in a line.
    pub about: &'static str,
    /// The story. It fails when something goes another way.
    pub story: fn(&Lab) -> Result<()>,
}

/// When a scenario runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Set {
    /// At every change, and with all.
    Smoke,
    /// With all.
    All,
    /// When asked for by name: it shows something, and holds nobody to it.
    OnDemand,
}

/// For scenarios that run at every change.
const SMOKE: Set = Set::Smoke;

/// For scenarios that take long.
const ALL_ONLY: Set = Set::All;

/// For scenarios that explain figures.
const ON_DEMAND: Set = Set::OnDemand;

/// All scenarios, in the order in which they run.
pub const ALL: &[Scenario] = &[
    boots::SCENARIO,
    what_is_missing::SCENARIO,
    drives::SCENARIO,
    identify::SCENARIO,
    unfit_namespaces::SCENARIO,
    verified_io::SCENARIO,
    interrupts::SCENARIO,
    handover::SCENARIO,
    reset_midway::SCENARIO,
    hot_unplug::SCENARIO,
    killed::SCENARIO,
    stall::SCENARIO,
    silent::SCENARIO,
    namespaces_change::SCENARIO,
    rdma_kernels::SCENARIO,
    rdma_soft_kernel::SCENARIO,
    rdma_verbs::SCENARIO,
    nvmf_kernels::SCENARIO,
    nvmf_linux_host::SCENARIO,
    nvmf_linux_host::LONG,
    nvmf_linux_target::SCENARIO,
    bench::SCENARIO,
    // Last: the programs that these build take the place of the others.
    nvmf_linux_host_verbs::SCENARIO,
    rdma_bench::SCENARIO,
    profile::SCENARIO,
];

/// How many scenarios ended which way.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Went as they must.
    pub passed: usize,
    /// Did not.
    pub failed: usize,
}

/// Runs scenarios one after the other and prints a line for each.
pub fn run_all(scenarios: &[Scenario], image: &Image, binaries: &Binaries) -> Result<Tally> {
    let mut tally = Tally::default();
    for scenario in scenarios {
        let logs = binaries.target.join("lab").join(scenario.name);
        forget(&logs)?;
        let lab = Lab { image: image.clone(), binaries: binaries.programs.clone(), logs };
        let watch = Stopwatch::start();
        let result = (scenario.story)(&lab);
        let seconds = watch.elapsed().as_secs_f64();
        match result {
            Ok(()) => {
                tally.passed += 1;
                println!("ok     {:28} {seconds:6.1} s  {}", scenario.name, scenario.about);
            }
            Err(error) => {
                tally.failed += 1;
                println!("FAILED {:28} {seconds:6.1} s  {error}", scenario.name);
                println!("       logs: {}", lab.logs.display());
            }
        }
    }
    Ok(tally)
}

/// Logs of an earlier run would be taken for this one's.
fn forget(logs: &Path) -> Result<()> {
    if logs.exists() { fs::remove_dir_all(logs).about("remove", logs) } else { Ok(()) }
}
