//! Every rule of the contract, broken one at a time: a simulation that does not see it shows nothing.

use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use replication::Mutation;

use crate::scenario::run;

/// Seeds within which a broken rule must be seen.
const SEEDS_MAX: u64 = 2000;

/// Broken rules that the simulation does not see, or only by chance: it is too weak for them, which docs/replication.md says. No I/O
/// is built on this crate while there is one.
const UNSEEN: [Mutation; 2] = [Mutation::MarkOnOneLeg, Mutation::NoTakeoverWait];

/// The first seed that sees a broken rule.
fn seen_by(mutation: Mutation) -> Option<u64> {
    (0..SEEDS_MAX).find(|seed| catch_unwind(AssertUnwindSafe(|| run(*seed, Some(mutation)))).is_err())
}

fn chosen() -> Vec<Mutation> {
    let only = std::env::var("REMORA_MUTATION").ok();
    let is_chosen = |mutation: &Mutation| only.as_ref().is_none_or(|name| format!("{mutation:?}") == *name);
    Mutation::ALL.into_iter().filter(is_chosen).collect()
}

/// Shows every mutation with the seed that sees it. `REMORA_MUTATION=Name` tries one, and lets its panic be seen.
#[test]
fn every_broken_rule_is_seen() {
    let mutations = chosen();
    let hook = take_hook();
    if mutations.len() > 1 {
        set_hook(Box::new(|_| {}));
    } else {
        set_hook(Box::new(|panic| println!("{panic}")));
    }
    let (next, results) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(mutation) = mutations.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let seed = seen_by(*mutation);
                    println!("{mutation:?}: {seed:?}");
                    results.lock().unwrap().push((*mutation, seed));
                }
            });
        }
    });
    set_hook(hook);
    println!("NOT SHOWN: {UNSEEN:?} are broken rules that the simulation does not reliably see");
    let survivors: Vec<_> = results
        .into_inner()
        .unwrap()
        .into_iter()
        .filter(|(name, seed)| seed.is_none() && !UNSEEN.contains(name))
        .map(|(name, _)| name)
        .collect();
    assert!(survivors.is_empty(), "not seen within {SEEDS_MAX} seeds: {survivors:?}");
}
