//! One suite for every implementation of [`BlockDevice`].
//!
//! An implementation's tests contain, for each way in which it can be set up,
//!
//! ```ignore
//! block::conformance_tests!(mem_512, Subject::new(|| Arc::new(MemDevice::new(...))));
//! ```
//!
//! which makes a module of that name with a `#[test]` for each rule of the contract (see [`crate::BlockQueue`]). Every
//! test makes devices of its own. Data on a new device may be anything. Seeds are printed; the environment variable
//! `REMORA_SEED` sets another.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::cast_possible_truncation,
    clippy::missing_panics_doc,
    reason = "a test suite: its panics are its findings"
)]

mod data;
mod life;
mod pattern;
mod queues;
mod random;
mod refusals;
mod rig;

use std::sync::Arc;

pub use data::{
    compare_tells, discard_is_harmless, overlaps_are_old_or_new, read_your_writes, scatter_lists_are_whole,
    verify_reads, zeroes_are_zero,
};
pub use life::{
    abandoned_requests_give_their_memory_back, queues_outlive_handles, several_threads_at_once,
    sleeping_loses_no_wake_up,
};
pub use queues::{
    deadlines_are_kept, flush_and_fua_end_once, full_queues_hand_back, nothing_is_reported_without_cause,
    queue_depths_are_bounded,
};
pub use random::random_work_matches_a_model;
pub use refusals::{
    abilities_are_honest, boundaries_are_kept, data_is_as_long_as_the_range, geometry_is_sound,
    requests_beyond_the_limits_are_refused, unattached_memory_is_refused,
};

use crate::device::BlockDevice;

/// An implementation under test.
pub struct Subject {
    make: Box<dyn Fn() -> Arc<dyn BlockDevice> + Send + Sync>,
    keeps_data: bool,
    tears_overlaps: bool,
}

impl Subject {
    /// An implementation whose devices `make` makes, each of 256 blocks or more and with nobody else's requests.
    pub fn new(make: impl Fn() -> Arc<dyn BlockDevice> + Send + Sync + 'static) -> Self {
        Self { make: Box::new(make), keeps_data: true, tears_overlaps: false }
    }

    /// The same without checks of content, for devices that keep nothing.
    #[must_use]
    pub fn without_data(mut self) -> Self {
        self.keeps_data = false;
        self
    }

    /// The same for devices of which a read sees a block half written while the write is in flight.
    #[must_use]
    pub fn with_torn_overlaps(mut self) -> Self {
        self.tears_overlaps = true;
        self
    }
}

/// Makes a module of tests for a [`Subject`]: one for each rule.
#[macro_export]
macro_rules! conformance_tests {
    ($name:ident, $subject:expr) => {
        mod $name {
            #[allow(unused_imports, reason = "the subject's expression is the caller's")]
            use super::*;
            $crate::conformance_tests! { @each $subject;
                geometry_is_sound, boundaries_are_kept, data_is_as_long_as_the_range, abilities_are_honest,
                requests_beyond_the_limits_are_refused, unattached_memory_is_refused,
                read_your_writes, scatter_lists_are_whole, overlaps_are_old_or_new, zeroes_are_zero,
                discard_is_harmless, compare_tells, verify_reads,
                full_queues_hand_back, flush_and_fua_end_once, deadlines_are_kept, queue_depths_are_bounded,
                nothing_is_reported_without_cause,
                abandoned_requests_give_their_memory_back, queues_outlive_handles, several_threads_at_once,
                sleeping_loses_no_wake_up,
                random_work_matches_a_model
            }
        }
    };
    (@each $subject:expr; $($test:ident),*) => {
        $(
            #[test]
            fn $test() {
                $crate::conformance::$test(&$subject);
            }
        )*
    };
}

#[cfg(test)]
mod tests;
