//! Who waits for the kernel when a queue is dropped with requests in flight.
//!
//! The kernel goes on writing into memory that a read named, whether or not anybody is interested. One thread of the
//! process keeps the engines of dropped queues until the kernel has answered everything, and ends when there are none.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::engine::Engine;
use crate::sleep::{Sleeper, Waker};
use crate::time::MonotonicClock;

/// Most dropped queues that are waited for. The memory of further ones is kept for ever.
const ENGINES_MAX: usize = 1024;

/// How often the thread looks, beside being woken by completions.
const LOOK_EVERY: Duration = Duration::from_secs(1);

struct Reaper {
    /// Adopted and not yet seen by the thread.
    arrived: Vec<Engine>,
    /// Engines in the house.
    count: usize,
    /// The thread's waker, while it runs.
    waker: Option<Waker>,
}

static REAPER: Mutex<Reaper> = Mutex::new(Reaper { arrived: Vec::new(), count: 0, waker: None });

fn reaper() -> MutexGuard<'static, Reaper> {
    // Its few fields are consistent between any two statements.
    REAPER.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Abandons an engine's jobs, and keeps it until the kernel is done with them.
pub(super) fn adopt(mut engine: Engine) {
    engine.abandon();
    let mut reaper = reaper();
    if engine.busy() == 0 || reaper.count >= ENGINES_MAX {
        return;
    }
    if reaper.waker.is_none() {
        reaper.waker = start_thread();
    }
    // Without a thread the engine's own drop keeps the memory and says so.
    if let Some(waker) = reaper.waker.clone() {
        reaper.arrived.push(engine);
        reaper.count += 1;
        waker.wake();
    }
}

fn start_thread() -> Option<Waker> {
    let sleeper = Sleeper::new().inspect_err(|error| tracing::error!("no reaper: {error}")).ok()?;
    let waker = sleeper.waker();
    let thread = std::thread::Builder::new().name("file-reaper".to_owned());
    thread.spawn(|| run(sleeper)).inspect_err(|error| tracing::error!("no reaper: {error}")).ok()?;
    Some(waker)
}

fn run(mut sleeper: Sleeper) {
    let clock = MonotonicClock::start();
    let mut engines: Vec<Engine> = Vec::new();
    while let Some(arrived) = next_arrivals(engines.len()) {
        for engine in arrived {
            // Without its descriptor it is looked at every LOOK_EVERY.
            let _ = sleeper.add(engine.descriptor());
            engines.push(engine);
        }
        engines.retain_mut(|engine| {
            engine.settle();
            engine.busy() != 0
        });
        let now = clock.now();
        if !engines.is_empty() && sleeper.sleep_until(now, now.after(LOOK_EVERY)).is_err() {
            tracing::error!("the reaper cannot sleep");
        }
    }
}

/// What arrived since the last call; `None` if there is nothing left to wait for, and the thread is to end.
fn next_arrivals(engines: usize) -> Option<Vec<Engine>> {
    let mut reaper = reaper();
    let arrived = std::mem::take(&mut reaper.arrived);
    reaper.count = engines + arrived.len();
    if reaper.count == 0 {
        reaper.waker = None;
        return None;
    }
    Some(arrived)
}
