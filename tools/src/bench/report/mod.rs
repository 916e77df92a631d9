//! What a run has measured, for people and for programs.

mod calendar;
mod json;
pub mod numbers;
mod text;

use std::time::Duration;

pub use calendar::ctime;
pub use json::json;
pub use text::text;

use super::options::BenchOptions;
use super::plan::Plan;
use super::statistics::Statistics;
use super::usage::Usage;

/// A finished run.
pub struct Run<'a> {
    /// The command line.
    pub options: &'a BenchOptions,
    /// The options, fitted to the device.
    pub plan: &'a Plan,
    /// All jobs' numbers together.
    pub statistics: &'a Statistics,
    /// What all jobs' threads used together.
    pub usage: Usage,
    /// The first error: its number and words.
    pub error: Option<(i32, String)>,
    /// What was verified, if anything.
    pub verified: Option<Verified>,
    /// From the start of the jobs to their end.
    pub elapsed: Duration,
    /// Milliseconds since 1970 at the end.
    pub unix_ms: u64,
}

/// How verification went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Blocks whose content was judged.
    pub blocks: u64,
    /// Blocks that were wrong.
    pub wrong_blocks: u64,
}

impl Run<'_> {
    /// A share of the measured time of all jobs, in percent.
    fn percent_of_runtime(&self, time: Duration) -> f64 {
        let runtime_ns = self.statistics.job_runtime_ns.max(1);
        time.as_nanos() as f64 * 100.0 / runtime_ns as f64
    }
}

/// A share in percent; 0 of nothing.
fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 * 100.0 / whole as f64 }
}

/// How many a second; 0 in no time.
fn per_second(count: u64, during_ns: u64) -> f64 {
    if during_ns == 0 { 0.0 } else { count as f64 * 1e9 / during_ns as f64 }
}

#[cfg(test)]
pub(crate) mod tests_support;
