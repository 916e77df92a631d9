//! Runs a scenario with many seeds; one that fails says how to see it again.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// The environment variable that names the one seed to run.
pub const SEED_VARIABLE: &str = "REMORA_SEED";

/// The environment variable that says how many seeds to run.
pub const SEEDS_VARIABLE: &str = "REMORA_SEEDS";

/// Runs `scenario` with the seeds from 0 to below `count` (or what [`SEEDS_VARIABLE`] says), on all cores, and gives each
/// result to `merge`, in no particular order. [`SEED_VARIABLE`] replays one. Returns how many were run.
///
/// # Panics
/// If the scenario does; the seed is printed.
pub fn run_seeds<T: Send>(
    count: u64,
    scenario: impl Fn(u64) -> T + Sync,
    merge: impl FnMut(T) + Send,
) -> u64 {
    if let Some(seed) = number(SEED_VARIABLE) {
        let mut merge = merge;
        merge(run(seed, &scenario));
        return 1;
    }
    let count = number(SEEDS_VARIABLE).unwrap_or(count);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let (next, merge) = (AtomicU64::new(0), Mutex::new(merge));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let stop = StopAll(&next);
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= count {
                        break;
                    }
                    let result = run(seed, &scenario);
                    (merge.lock().unwrap_or_else(PoisonError::into_inner))(result);
                }
                std::mem::forget(stop);
            });
        }
    });
    count
}

/// When one thread has failed the others need not go on.
struct StopAll<'a>(&'a AtomicU64);

impl Drop for StopAll<'_> {
    fn drop(&mut self) {
        // Far from the end, so that the others' additions do not come round to 0.
        self.0.store(u64::MAX / 2, Ordering::Relaxed);
    }
}

fn run<T>(seed: u64, scenario: &impl Fn(u64) -> T) -> T {
    let say = SayOnPanic(seed);
    let result = scenario(seed);
    std::mem::forget(say);
    result
}

/// Dropped only while a scenario unwinds.
struct SayOnPanic(u64);

impl Drop for SayOnPanic {
    fn drop(&mut self) {
        eprintln!("the scenario failed; {SEED_VARIABLE}={} replays it", self.0);
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_seed_runs_once() {
        if number(SEED_VARIABLE).is_some() || number(SEEDS_VARIABLE).is_some() {
            return;
        }
        let mut seen = Vec::new();
        assert_eq!(run_seeds(100, |seed| seed, |seed| seen.push(seed)), 100);
        seen.sort_unstable();
        assert_eq!(seen, (0..100).collect::<Vec<_>>());
    }

    #[test]
    #[should_panic(expected = "a scoped thread panicked")]
    fn a_failure_fails_the_run() {
        if number(SEED_VARIABLE).is_some() || number(SEEDS_VARIABLE).is_some() {
            panic!("a scoped thread panicked");
        }
        run_seeds(100, |seed| assert_ne!(seed, 50), |()| {});
    }
}
