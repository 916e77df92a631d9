//! The loop that waits, and calls the core.

use std::os::fd::AsFd;

use block::{MonotonicClock, Timestamp};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::time::Timespec;

use crate::core::Core;
use crate::pci::PciFunction;
use crate::shared::Shared;

/// Longest sleep, for a core that waits for nothing.
const SLEEP_MAX_NS: u64 = 60_000_000_000;

/// Steps the core until `done`, sleeping on its mailbox and on the admin queue's interrupt in between.
pub(crate) fn run_until<F: PciFunction>(
    shared: &Shared<F>,
    core: &mut Core<F>,
    clock: &MonotonicClock,
    done: impl Fn(&Shared<F>, &Core<F>) -> bool,
) {
    loop {
        shared.core_wake.consume();
        if let Some(vector) = shared.vectors.first() {
            vector.consume();
        }
        let next = core.step(clock.now());
        if done(shared, core) {
            return;
        }
        sleep_until(shared, next, clock.now());
    }
}

fn sleep_until<F: PciFunction>(shared: &Shared<F>, next: Timestamp, now: Timestamp) {
    let sleep_ns = next.ns_since(now).min(SLEEP_MAX_NS);
    let timeout = Timespec {
        tv_sec: i64::try_from(sleep_ns / 1_000_000_000).unwrap_or(0),
        tv_nsec: i64::try_from(sleep_ns % 1_000_000_000).unwrap_or(0),
    };
    let wakes = std::iter::once(&shared.core_wake).chain(shared.vectors.first());
    let mut descriptors: Vec<_> =
        wakes.map(|wake| PollFd::from_borrowed_fd(wake.as_fd(), PollFlags::IN)).collect();
    // A wait that was interrupted is a short one: the core is stepped again, and says how long to wait.
    let _ = poll(&mut descriptors, Some(&timeout));
}
