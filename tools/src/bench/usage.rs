//! What a thread has used of the machine.

use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;

/// Processor time, context switches, page faults.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Processor time in the program.
    pub user: Duration,
    /// Processor time in the kernel.
    pub system: Duration,
    /// Context switches of both kinds.
    pub context_switches: i64,
    /// Page faults that read from a disk.
    pub major_faults: i64,
    /// Page faults that did not.
    pub minor_faults: i64,
}

impl Usage {
    /// What was used after `earlier`.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self {
            user: self.user.saturating_sub(earlier.user),
            system: self.system.saturating_sub(earlier.system),
            context_switches: self.context_switches - earlier.context_switches,
            major_faults: self.major_faults - earlier.major_faults,
            minor_faults: self.minor_faults - earlier.minor_faults,
        }
    }

    /// Adds another thread's.
    pub fn add(&mut self, other: Self) {
        self.user += other.user;
        self.system += other.system;
        self.context_switches += other.context_switches;
        self.major_faults += other.major_faults;
        self.minor_faults += other.minor_faults;
    }
}

/// What the calling thread has used; nothing if the kernel does not tell.
#[must_use]
pub fn thread_usage() -> Usage {
    let Ok(usage) = getrusage(UsageWho::RUSAGE_THREAD) else { return Usage::default() };
    Usage {
        user: duration(usage.user_time()),
        system: duration(usage.system_time()),
        context_switches: usage.voluntary_context_switches() + usage.involuntary_context_switches(),
        major_faults: usage.major_page_faults(),
        minor_faults: usage.minor_page_faults(),
    }
}

fn duration(time: TimeVal) -> Duration {
    Duration::from_secs(time.tv_sec().unsigned_abs()) + Duration::from_micros(time.tv_usec().unsigned_abs())
}
