//! From Connect to the end: properties, reset, shutdown, keep-alive, lost connections.

use super::*;
use nvme_spec::StatusCode;
use std::time::Duration;

#[test]
fn linux_enables_a_controller() {
    let mut rig = Rig::new();
    let key = rig.connect_to(SUBSYSTEM);
    let (cap, status) = rig.get(key, CAP.0, CAP.1);
    assert_eq!((status, cap & 0xffff, cap >> 24 & 0xff), (Status::SUCCESS, 127, 60));
    assert_eq!(rig.get(key, 0x08, 0).0, 0x0002_0100);
    assert_eq!(rig.set(key, CC, 0x0046_0000), Status::SUCCESS, "the first write is no reset");
    assert_eq!((rig.csts(key), rig.events()), (0, vec![]));
    assert_eq!(rig.get(key, 0x68, 0).0, 60);
    assert_eq!(rig.set(key, CC, ENABLED), Status::SUCCESS);
    assert_eq!(rig.csts(key), 1);
}

#[test]
fn properties_have_their_sizes_and_others_are_none() {
    let mut rig = Rig::new();
    let key = rig.connect_to(SUBSYSTEM);
    let invalid = Status::permanent(StatusCode::INVALID_FIELD);
    for (offset, attributes) in [(0x00, 0), (0x14, 1), (0x10, 0), (0x14, 2), (0x20, 0)] {
        assert_eq!(rig.get(key, offset, attributes).1, invalid, "{offset:#x}");
    }
    assert_eq!(rig.set(key, CSTS, 0), invalid);
    assert_eq!(rig.set(key, 0x20, 0x4e56_4d65), invalid);
}

#[test]
fn admin_commands_wait_for_enable() {
    let mut rig = Rig::new();
    let key = rig.connect_to(SUBSYSTEM);
    assert_eq!(rig.identify(key, 1, 0), Err(Status::new(StatusCode::COMMAND_SEQUENCE_ERROR)));
    rig.set(key, CC, ENABLED);
    assert!(rig.identify(key, 1, 0).is_ok());
}

#[test]
fn a_reset_is_complete_when_nothing_of_the_io_queues_is_left() {
    let mut rig = Rig::new();
    let (key, mut queue) = rig.io_queue();
    assert_eq!(rig.set(key, CC, 0x0046_0000), Status::SUCCESS);
    assert_eq!(rig.events(), [Event::CloseIoQueues { controller: key }]);
    assert_eq!(rig.csts(key), 1, "commands may still reach a device");
    let flush = with_null_sgl(entry(0x00, 1, [0; 16], [0; 6]));
    let IoAction::Respond(refused) = queue.handle_command(&CommandCapsule { sqe: flush, data: &[] }) else {
        panic!("carried out")
    };
    assert_eq!(refused.cqe.status(), Status::new(StatusCode::COMMAND_SEQUENCE_ERROR));
    rig.target.queue_gone(key, QueueId(1));
    assert_eq!((rig.csts(key), rig.events()), (0, vec![]));
    assert_eq!(rig.set(key, CC, ENABLED), Status::SUCCESS);
    assert_eq!(rig.csts(key), 1);
}

#[test]
fn a_shutdown_is_complete_when_nothing_of_the_io_queues_is_left() {
    let mut rig = Rig::new();
    let (key, _queue) = rig.io_queue();
    rig.set(key, CC, ENABLED | 1 << 14);
    assert_eq!(rig.csts(key), 0b0101);
    rig.target.queue_gone(key, QueueId(1));
    assert_eq!(rig.csts(key), 0b1001);
}

#[test]
fn a_host_that_is_not_heard_of_for_kato_is_dropped() {
    let mut rig = Rig::new();
    let (key, _queue) = rig.io_queue();
    let deadline = rig.now.after(Duration::from_millis(5000));
    assert_eq!(rig.target.next_timeout(), deadline, "KATO is in milliseconds");
    rig.now = rig.now.after(Duration::from_secs(3));
    assert_eq!(rig.admin(key, no_data(0x18, [0; 6])).response.cqe.status(), Status::SUCCESS);
    rig.target.handle_timeout(deadline);
    assert_eq!(rig.events(), [], "the keep-alive came");
    let later = rig.now.after(Duration::from_secs(5));
    rig.target.handle_timeout(later);
    let reason = DropReason::KeepAliveExpired;
    assert_eq!(rig.events(), [Event::DropController { controller: key, reason }]);
    assert_eq!(rig.csts(key), 0b10, "CSTS.CFS");
    assert_eq!(rig.target.next_timeout(), Timestamp::NEVER);
    rig.target.handle_timeout(later);
    assert_eq!(rig.events(), [], "once");
    rig.target.queue_gone(key, QueueId(0));
    assert_eq!(rig.events(), []);
    rig.target.queue_gone(key, QueueId(1));
    assert_eq!(rig.events(), [Event::Gone { controller: key }]);
}

#[test]
fn kato_0_is_no_keep_alive_and_feature_0fh_changes_it() {
    let mut rig = Rig::new();
    let key = rig.enabled();
    rig.admin(key, no_data(0x09, [0x0f, 0, 0, 0, 0, 0]));
    assert_eq!(rig.target.next_timeout(), Timestamp::NEVER);
    rig.admin(key, no_data(0x09, [0x0f, 10_000, 0, 0, 0, 0]));
    assert_eq!(rig.target.next_timeout(), rig.now.after(Duration::from_secs(10)));
    let reply = rig.admin(key, no_data(0x0a, [0x0f, 0, 0, 0, 0, 0]));
    assert_eq!(reply.response.cqe.dw0(), 10_000);
}

#[test]
fn an_old_association_is_drained_before_the_same_hosts_new_one_is_admitted() {
    let mut rig = Rig::new();
    let (old, _queue) = rig.io_queue();
    rig.target.queue_gone(old, QueueId(0));
    let reason = DropReason::AdminQueueLost;
    assert_eq!(rig.events(), [Event::DropController { controller: old, reason }]);
    let data = connect_data(0xffff, SUBSYSTEM, HOST);
    let entry = connect_entry(0, 31, 0, 5000);
    let connected = rig.connect_with(entry, &data, &Rig::arrival(0, 0));
    assert!(matches!(connected, Connected::Busy), "a write of the old one may be in flight");
    let mut other = data.clone();
    other[0] = 1;
    let connected = rig.connect_with(entry, &other, &Rig::arrival(0, 0));
    assert!(matches!(connected, Connected::Admin { .. }), "another host is not in the way");
    rig.target.queue_gone(old, QueueId(1));
    assert_eq!(rig.events(), [Event::Gone { controller: old }]);
    let new = rig.connect_to(SUBSYSTEM);
    assert_ne!(new, old);
}

#[test]
fn a_host_that_may_no_longer_attach_is_dropped() {
    let mut rig = Rig::new();
    let key = rig.enabled();
    rig.target.set_hosts(&nqn(SUBSYSTEM), false, std::collections::BTreeSet::new()).unwrap();
    let reason = DropReason::NotAllowed;
    assert_eq!(rig.events(), [Event::DropController { controller: key, reason }]);
}

#[test]
fn thousands_of_connects_leave_nothing() {
    let mut rig = Rig::new();
    for _ in 0..2000 {
        let key = rig.connect_to(SUBSYSTEM);
        rig.target.queue_gone(key, QueueId(0));
        assert_eq!(rig.events(), [Event::Gone { controller: key }]);
    }
    assert_eq!(rig.target.controllers().count(), 0);
    assert_eq!(rig.target.next_timeout(), Timestamp::NEVER);
}

#[test]
fn more_admin_commands_than_the_queue_holds_end_it() {
    let mut rig = Rig::new();
    let key = rig.connect_to(SUBSYSTEM);
    rig.set(key, CC, ENABLED);
    let behavior = entry(0x09, 0, keyed(512), [0x16, 0, 0, 0, 0, 0]);
    for _ in 0..32 {
        assert!(matches!(rig.act(key, behavior), AdminAction::Fetch(_)));
    }
    assert_eq!(rig.act(key, behavior), AdminAction::Fatal(Violation::QueueOverrun));
}
