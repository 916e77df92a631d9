//! One suite for every provider of the seam.
//!
//! A provider's tests contain, for each way in which it can be set up,
//!
//! ```ignore
//! rdma::conformance_tests!(soft_ipv4, Subject::new(...));
//! ```
//!
//! which makes a module of that name with a `#[test]` for each rule of the contract (see [`crate::Endpoint`]). A program
//! runs the same rules with [`run_all`], where there is no test harness. Every test makes endpoints of its own; the devices
//! may be shared. Seeds are printed; the environment variable `REMORA_SEED` sets another.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::cast_possible_truncation,
    clippy::missing_panics_doc,
    reason = "a test suite: its panics are its findings"
)]

mod batches;
mod connecting;
mod endings;
mod invalidation;
mod ledger;
mod many;
mod messages;
mod pattern;
mod random;
mod receiving;
mod refusals;
mod remote;
mod rig;
mod side;
mod summary;
mod threads;
mod time;
mod traffic;
mod violations;

pub use batches::{
    a_full_send_queue_hands_back, batches_keep_their_order, completions_come_in_order_of_posting,
    unsignaled_work_lets_go_of_its_memory,
};
pub use connecting::{
    a_port_has_one_listener, a_request_can_be_accepted_by_another_endpoint, backlogs_are_bounded,
    depths_are_negotiated, failed_accepts_hand_the_request_back, nobody_listens, private_data_is_bounded,
    private_data_travels_both_ways, queue_pairs_are_bounded, receives_may_be_posted_before_the_connection,
    rejections_carry_data, requests_that_are_dropped_are_rejected, stopped_listeners_reject,
    the_offer_tells_the_truth,
};
pub use endings::{
    destroyed_queue_pairs_are_silent, destroying_with_work_in_flight_gives_memory_back,
    disconnecting_flushes_everything_once, names_are_not_used_again,
    queue_pairs_can_be_destroyed_in_every_state, simultaneous_disconnects_end_once,
    work_after_the_end_flushes,
};
pub use invalidation::{
    a_window_ends_with_its_queue_pair, an_invalidated_window_is_unbound,
    invalidating_what_is_not_bound_ends_the_connection, unbound_windows_are_closed,
};
pub use many::{connections_come_and_go, many_queue_pairs_at_once, one_failure_leaves_the_others_alone};
pub use messages::{
    copies_are_counted, inline_data_is_copied_at_once, messages_of_all_sizes_arrive, odd_scatter_lists_arrive,
};
pub use random::random_work_matches_a_model;
pub use receiving::{
    a_send_waits_for_a_receive, receiver_not_ready_retries_end, shared_receive_queues_are_shared,
    shared_receive_queues_go_last, too_long_messages_end_the_connection,
};
pub use refusals::{
    depths_are_bounded, limits_are_sound, memory_that_is_not_attached_is_refused, unfit_work_is_refused,
    what_is_gone_is_gone, work_before_the_connection_is_refused,
};
pub use remote::{
    a_fence_waits_for_reads, a_send_behind_a_write_finds_the_data, empty_transfers_are_done,
    reads_beyond_the_depth_wait, reads_of_all_sizes_return_the_data, writes_of_all_sizes_arrive,
    writes_stay_inside,
};
pub use summary::{Failure, Summary, check, run_all};
pub use threads::{endpoints_of_several_threads, idle_endpoints_let_sleep, sleeping_loses_no_wake_up};
pub use time::{RealTime, Time};
pub use violations::{
    access_beyond_the_window_is_refused, access_by_another_queue_pair_is_refused,
    access_without_a_key_is_refused, access_without_the_right_is_refused,
};

use crate::provider::Device;

/// Endpoints that a test makes of each of its devices at most.
pub const ENDPOINTS_MAX: u16 = 4;

/// A provider under test.
pub trait Subject: Sync {
    /// Its devices.
    type Device: Device;

    /// Two devices that reach each other, for one test. They may be handles of one device, and other tests may use them
    /// at the same time: a test makes at most [`ENDPOINTS_MAX`] endpoints of each, and listens on ports of its own.
    fn setting(&self) -> Setting<Self::Device>;

    /// Rules that the provider cannot keep, each with the reason.
    fn exempt(&self) -> &[(&'static str, &'static str)] {
        &[]
    }
}

/// What a test works with.
pub struct Setting<D> {
    /// The device that connects.
    pub client: D,
    /// The device that listens.
    pub server: D,
    /// How time passes.
    pub time: Box<dyn Time>,
}

/// Makes a module of tests for a [`Subject`]: one for each rule.
#[macro_export]
macro_rules! conformance_tests {
    ($name:ident, $subject:expr) => {
        mod $name {
            #[allow(unused_imports, reason = "the subject's expression is the caller's")]
            use super::*;
            $crate::conformance_tests! { @rules @test $subject }
        }
    };
    (@rules @$what:ident $($context:tt)*) => {
        $crate::conformance_tests! { @$what $($context)*;
            limits_are_sound, depths_are_bounded, unfit_work_is_refused, memory_that_is_not_attached_is_refused,
            work_before_the_connection_is_refused, what_is_gone_is_gone,
            private_data_travels_both_ways, private_data_is_bounded, the_offer_tells_the_truth, depths_are_negotiated,
            receives_may_be_posted_before_the_connection, rejections_carry_data,
            requests_that_are_dropped_are_rejected, stopped_listeners_reject, nobody_listens, a_port_has_one_listener,
            backlogs_are_bounded, a_request_can_be_accepted_by_another_endpoint,
            failed_accepts_hand_the_request_back, queue_pairs_are_bounded,
            messages_of_all_sizes_arrive, inline_data_is_copied_at_once, odd_scatter_lists_arrive, copies_are_counted,
            shared_receive_queues_are_shared, shared_receive_queues_go_last, a_send_waits_for_a_receive,
            receiver_not_ready_retries_end, too_long_messages_end_the_connection,
            writes_of_all_sizes_arrive, writes_stay_inside, a_send_behind_a_write_finds_the_data,
            reads_of_all_sizes_return_the_data, reads_beyond_the_depth_wait, a_fence_waits_for_reads,
            empty_transfers_are_done,
            an_invalidated_window_is_unbound, unbound_windows_are_closed, a_window_ends_with_its_queue_pair,
            invalidating_what_is_not_bound_ends_the_connection,
            access_without_a_key_is_refused, access_beyond_the_window_is_refused, access_without_the_right_is_refused,
            access_by_another_queue_pair_is_refused,
            batches_keep_their_order, completions_come_in_order_of_posting, unsignaled_work_lets_go_of_its_memory,
            a_full_send_queue_hands_back,
            disconnecting_flushes_everything_once, simultaneous_disconnects_end_once, work_after_the_end_flushes,
            destroying_with_work_in_flight_gives_memory_back, destroyed_queue_pairs_are_silent,
            queue_pairs_can_be_destroyed_in_every_state, names_are_not_used_again,
            many_queue_pairs_at_once, one_failure_leaves_the_others_alone, connections_come_and_go,
            endpoints_of_several_threads, sleeping_loses_no_wake_up, idle_endpoints_let_sleep,
            random_work_matches_a_model
        }
    };
    (@test $subject:expr; $($rule:ident),*) => {
        $(
            #[test]
            fn $rule() {
                $crate::conformance::check(stringify!($rule), &$subject, $crate::conformance::$rule);
            }
        )*
    };
    (@list $subject:ident; $($rule:ident),*) => {
        [$((stringify!($rule), $crate::conformance::$rule::<$subject> as fn(&$subject))),*]
    };
}
