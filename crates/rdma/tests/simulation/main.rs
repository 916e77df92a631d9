//! Whole soft endpoints on a simulated network, in virtual time.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::cast_possible_truncation, reason = "tests")]

mod link;
mod node;
mod peer;
mod scenario;
mod stories;
mod suite;
mod way;

/// Seeds of an ordinary test run. Many: `REMORA_SEEDS=10000 cargo test --release -p rdma --test simulation seeds`.
const SEEDS: u64 = 300;

#[test]
fn seeds() {
    let mut counts = (0, 0);
    sim::run_seeds(SEEDS, scenario::run, |(lived, ended)| {
        counts.0 += lived;
        counts.1 += ended;
    });
    println!("{} connections lived, {} ended", counts.0, counts.1);
}
