//! The mirror in a world that goes wrong by a seed: writers die between any two steps, legs lose power, freeze, vanish and
//! return, links are cut, labels are torn, two writers meet. Users see nothing that they must not see; and once nothing goes
//! wrong any more all legs are in sync and the same.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::cast_possible_truncation,
    clippy::print_stdout,
    missing_docs,
    reason = "a test"
)]

mod client;
mod coverage;
mod device;
mod faults;
mod model;
mod mutations;
mod scenario;
mod world;

use sim::{Coverage, run_seeds};

use scenario::run;

/// Seeds of every test run; `REMORA_SEEDS` says another number.
const SEEDS: u64 = 2000;

/// Every event meets every state in which it can happen, but for those named in `coverage.rs`.
#[test]
fn seeds() {
    let mut coverage = Coverage::default();
    let seeds = run_seeds(SEEDS, |seed| run(seed, None), |seen| coverage.merge(&seen));
    println!("{seeds} seeds; events by states:\n{}", coverage::table(&coverage));
    if seeds >= SEEDS {
        let missing = coverage::missing(&coverage);
        assert!(missing.is_empty(), "these never happened: {missing:?}");
    }
}
