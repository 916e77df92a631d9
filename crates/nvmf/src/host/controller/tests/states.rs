//! Every state with every event.

use super::*;
use HostState as S;

const STATES: [S; 13] = [
    S::Idle,
    S::ConnectingAdmin,
    S::ReadingProperties,
    S::Enabling,
    S::Identifying,
    S::SettingFeatures,
    S::Scanning,
    S::ConnectingIo,
    S::Live,
    S::ShuttingDown,
    S::Disconnecting,
    S::Waiting,
    S::Dead,
];

/// The state after an event.
fn after(state: S, event: impl FnOnce(&mut Bench)) -> S {
    let mut bench = Bench::until(state);
    event(&mut bench);
    bench.host.state()
}

/// What ends every association and touches nothing else.
fn ends(event: impl Fn(&mut Bench)) {
    for state in STATES {
        let expected = if state.has_association() { S::Disconnecting } else { state };
        assert_eq!(after(state, &event), expected, "{state:?}");
    }
}

#[test]
fn losses_refusals_and_resets_end_an_association_and_nothing_else() {
    ends(|bench| bench.host.reset(bench.now));
    ends(|bench| bench.host.handle_queue_lost(bench.host.association(), ADMIN, bench.now));
    ends(|bench| bench.host.handle_queue_lost(bench.host.association(), QueueId(2), bench.now));
    ends(|bench| bench.host.handle_queue_refused(bench.host.association(), QueueId(1), None, bench.now));
    ends(|bench| bench.host.fail(bench.host.association(), Failure::Stalled(QueueId(1)), bench.now));
    let stray = Cqe::new(QueueId(0), 0, nvme_spec::CommandId(0xfff), Status::SUCCESS);
    ends(|bench| bench.host.handle_response(bench.host.association(), ADMIN, &stray, &[], bench.now));
    ends(|bench| {
        bench.host.handle_response(bench.host.association(), QueueId(7), &stray, &[], bench.now);
    });
}

#[test]
fn what_comes_late_from_an_earlier_association_counts_for_nothing() {
    let old = Association(0);
    let cqe = Cqe::new(QueueId(0), 0, nvme_spec::CommandId(0), Status::SUCCESS);
    for state in STATES {
        if state == S::Idle {
            continue;
        }
        let same = after(state, |bench| {
            bench.host.handle_queue_lost(old, ADMIN, bench.now);
            bench.host.handle_queue_refused(old, ADMIN, None, bench.now);
            bench.host.handle_queue_connected(old, ADMIN, bench.now);
            bench.host.handle_response(old, ADMIN, &cqe, &[], bench.now);
            bench.host.handle_disconnected(old, bench.now);
            bench.host.fail(old, Failure::Reset, bench.now);
        });
        assert_eq!(same, state);
    }
}

#[test]
fn start_begins_once() {
    for state in STATES {
        let expected = if state == S::Idle { S::ConnectingAdmin } else { state };
        assert_eq!(after(state, |bench| bench.host.start(bench.now)), expected);
    }
}

#[test]
fn shutdown_ends_every_state() {
    for state in STATES {
        let expected = match state {
            S::Idle | S::Waiting | S::Dead => S::Dead,
            S::Live | S::ShuttingDown => S::ShuttingDown,
            _ => S::Disconnecting,
        };
        let after_shutdown = after(state, |bench| bench.host.shutdown(bench.now));
        assert_eq!(after_shutdown, expected, "{state:?}");
        let dead = after(state, |bench| {
            bench.host.shutdown(bench.now);
            bench.run();
            // The shutdown's end is not told: it is not waited for for ever.
            bench.pass(6 * SECOND);
        });
        assert_eq!(dead, S::Dead, "{state:?}");
    }
}

#[test]
fn only_a_disconnect_that_was_asked_for_counts() {
    for state in STATES {
        let expected = if state == S::Disconnecting { S::Waiting } else { state };
        let association =
            |bench: &mut Bench| bench.host.handle_disconnected(bench.host.association(), bench.now);
        assert_eq!(after(state, association), expected, "{state:?}");
    }
}

#[test]
fn silence_ends_every_association() {
    for state in STATES.into_iter().filter(|state| state.has_association()) {
        let mut bench = Bench::until(state);
        bench.script.silent = true;
        bench.unreachable = true;
        while bench.turn() {}
        for _ in 0..10_000 {
            if !bench.host.state().has_association() {
                break;
            }
            bench.now = bench.host.next_timeout();
            assert!(bench.now < Timestamp::from_ns(100_000_000_000), "{state:?} waits for ever");
            bench.host.handle_timeout(bench.now);
            // Nothing is carried out but sending.
            while let Some(action) = bench.host.poll_action() {
                if matches!(action, HostAction::Disconnect { .. }) {
                    break;
                }
            }
        }
        assert_eq!(bench.host.state(), S::Disconnecting, "{state:?}");
    }
}

#[test]
fn a_timeout_before_its_time_does_nothing() {
    for state in STATES {
        assert_eq!(after(state, |bench| bench.host.handle_timeout(bench.now)), state);
    }
}
