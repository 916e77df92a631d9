//! `remora bench`: measures a block device, and verifies what it returns.
//!
//! - [`options`], [`units`]: the command line; [`plan`]: fitted to the device.
//! - [`workload`], [`shuffle`], [`rng`], [`pace`]: what is to be done, and when.
//! - [`verify`]: what each block may hold.
//! - [`job`]: one thread and its queue.
//! - [`statistics`], [`usage`], [`report`], [`progress`]: what came of it.
//! - [`runner`]: all jobs together; [`stop`]: how they end.

pub mod job;
pub mod options;
pub mod pace;
pub mod plan;
pub mod progress;
pub mod report;
pub mod rng;
pub mod runner;
pub mod shuffle;
pub mod statistics;
pub mod stop;
pub mod units;
pub mod usage;
pub mod verify;
pub mod workload;

#[cfg(test)]
mod test_support;

use std::process::ExitCode;

pub use options::BenchOptions;
pub use runner::{BenchError, Outcome, Verified, run};

/// Runs the command and tells how it went.
#[must_use]
pub fn command(options: &BenchOptions) -> ExitCode {
    match runner::open_and_run(options) {
        Ok(outcome) => ExitCode::from(outcome.exit_code),
        Err(error) => {
            tell(&error);
            ExitCode::from(error.exit_code())
        }
    }
}

#[allow(clippy::print_stderr, reason = "the one place where the command's errors are told")]
fn tell(error: &BenchError) {
    eprintln!("remora: {error}");
}
