use std::time::Duration;

use nvme_spec::{Nsid, Status, StatusCode};

use super::*;
use crate::host::{NamespaceChange, NamespaceError, OutgoingData, Unusable};
use crate::wire::ConnectField;

mod bench;
mod live;
mod states;

use bench::{ADMIN, Bench, what};

const SECOND: Duration = Duration::from_secs(1);

/// The only failure that the events tell of an attempt.
fn failure(bench: &mut Bench) -> Failure {
    let events = bench.events();
    let found = events.iter().find_map(|event| match event {
        HostEvent::AttemptFailed { why, .. } | HostEvent::Dead(why) => Some(*why),
        _ => None,
    });
    found.unwrap_or_else(|| panic!("no failure in {events:?}"))
}

#[test]
fn the_way_to_a_live_association_is_that_of_linux() {
    let mut bench = Bench::live();
    let sent: Vec<_> = bench.sent.iter().map(|sent| (sent.queue.0, what(&sent.sqe))).collect();
    let expected = [
        (0, (0x7f, 0x01)),   // Connect
        (0, (0x7f, 0x0004)), // CAP
        (0, (0x7f, 0x1400)), // CC without EN
        (0, (0x7f, 0x0004)), // CAP again
        (0, (0x7f, 0x6804)), // CRTO, since CAP.CRMS says so
        (0, (0x7f, 0x1400)), // CC with EN
        (0, (0x7f, 0x1c04)), // CSTS
        (0, (0x7f, 0x0804)), // VS
        (0, (0x06, 0x01)),   // Identify Controller
        (0, (0x06, 0x06)),   // of the NVM command set
        (0, (0x09, 0x0b)),   // events
        (0, (0x0c, 0)),      // an event request
        (0, (0x09, 0x07)),   // number of queues
        (0, (0x06, 0x02)),   // namespaces
        (0, (0x06, 0x00)),
        (0, (0x06, 0x08)),
        (0, (0x06, 0x03)),
        (1, (0x7f, 0x01)),
        (2, (0x7f, 0x01)),
    ];
    assert_eq!(sent, expected);
    let HostEvent::Live { incarnation, queues, .. } = &bench.events()[0] else { panic!("not live") };
    assert_eq!(*incarnation, Incarnation(1));
    assert_eq!(queues.iter().map(|queue| queue.queue.0).collect::<Vec<_>>(), [1, 2]);
    assert_eq!((queues[0].entries, queues[0].head, queues[0].in_capsule_bytes), (128, Some(1), 8192));
}

#[test]
fn the_admin_queues_request_is_32_receives_and_31_sends_counted_from_0() {
    let bench = Bench::live();
    let bytes = bench.requests[0].to_bytes();
    assert_eq!(bytes[..10], [0, 0, 0, 0, 32, 0, 31, 0, 0, 0]);
    // QID, HRQSIZE counted from 1, HSQSIZE from 0, CNTLID.
    assert_eq!(bench.requests[1].to_bytes()[..10], [0, 0, 1, 0, 128, 0, 127, 0, 9, 0]);
}

#[test]
fn the_admin_connect_has_1024_bytes_by_keyed_sgl_and_cntlid_ffff() {
    let bench = Bench::live();
    let connect = &bench.sent[0];
    let OutgoingData::ToController(data) = &connect.data else { panic!("{:?}", connect.data) };
    assert_eq!((data.len(), &data[16..18]), (1024, &[0xff, 0xff][..]));
    let bytes = connect.sqe.to_bytes();
    // RECFMT, QID, SQSIZE (0-based), CATTR, KATO in milliseconds.
    assert_eq!(bytes[40..52], [0, 0, 0, 0, 31, 0, 0, 0, 0x88, 0x13, 0, 0]);
    let memory = crate::host::KeyedMemory { address: 0x10, key: 0x0102_0304, bytes: 1024, invalidate: false };
    let command = crate::host::Outgoing { sqe: connect.sqe, data: connect.data.clone() };
    let bytes = command.with_memory(memory).unwrap().to_bytes();
    assert_eq!(
        (bytes[1], &bytes[24..40]),
        (0x40, &[0x10, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 4, 3, 2, 1, 0x40][..])
    );
}

#[test]
fn an_io_queues_connect_goes_in_the_capsule_where_it_fits() {
    let mut bench = Bench::live();
    let connect = |bench: &Bench| {
        let sent = bench.sent.iter().rfind(|sent| sent.queue == QueueId(2)).unwrap();
        (sent.data.clone(), sent.sqe.to_bytes())
    };
    let (data, bytes) = connect(&bench);
    let OutgoingData::InCapsule(data) = data else { panic!("{data:?}") };
    assert_eq!((data.len(), &data[16..18]), (1024, &[9, 0][..]), "the controller's identifier");
    assert_eq!(bytes[24..40], [0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 1]);
    assert_eq!(bytes[40..52], [0, 0, 2, 0, 127, 0, 0, 0, 0, 0, 0, 0]);
    bench.script.identify.ioccsz = 4;
    bench.host.reset(bench.now);
    bench.run();
    bench.pass(SECOND);
    assert!(matches!(connect(&bench).0, OutgoingData::ToController(data) if data.len() == 1024));
}

#[test]
fn cattr_bit_2_asks_for_no_flow_control_and_sqhd_ffff_grants_it() {
    let mut bench = Bench::with(|options| options.without_flow_control = true);
    bench.script.head = 0xffff;
    bench.start();
    let connect = bench.sent.last().unwrap().sqe.to_bytes();
    assert_eq!(connect[46], 0b100);
    let HostEvent::Live { queues, .. } = &bench.events()[0] else { panic!("not live") };
    assert_eq!(queues[1].head, None);
}

#[test]
fn cc_is_written_twice_and_cap_read_with_attrib_1() {
    let bench = Bench::live();
    let writes: Vec<_> = bench.sent_of((0x7f, 0x1400)).iter().map(|sent| sent.sqe.to_bytes()).collect();
    // IOCQES 4, IOSQES 6, MPS 0, CSS 0, and then EN.
    assert_eq!((writes[0][40], &writes[0][48..52]), (0, &[0, 0, 0x46, 0][..]));
    assert_eq!(writes[1][48..52], [1, 0, 0x46, 0]);
    let reads: Vec<_> = bench.sent_of((0x7f, 0x0004)).iter().map(|sent| sent.sqe.to_bytes()).collect();
    assert_eq!((reads.len(), reads[0][40], reads[1][40]), (2, 1, 1));
    assert_eq!(bench.sent_of((0x7f, 0x1c04))[0].sqe.to_bytes()[40], 0);
}

#[test]
fn crto_is_read_only_if_cap_crms_says_so() {
    let mut bench = Bench::new();
    bench.script.cap = 0x0000_0020_0400_007f;
    bench.start();
    assert_eq!(bench.host.state(), HostState::Live);
    assert!(bench.sent_of((0x7f, 0x6804)).is_empty());
}

#[test]
fn with_cap_css_bit_6_all_command_sets_are_chosen_and_cns_03_must_tell_one() {
    let mut bench = Bench::new();
    bench.script.cap |= 1 << 43;
    bench.start();
    assert_eq!(bench.sent_of((0x7f, 0x1400))[0].sqe.to_bytes()[48], 6 << 4);
    assert!(bench.host.namespaces()[&Nsid(1)].is_ok());
    let mut bench = Bench::new();
    bench.script.cap |= 1 << 43;
    bench.script.csi = false;
    bench.start();
    assert_eq!(bench.host.namespaces()[&Nsid(1)], Err(NamespaceError::NoCommandSet));
}

#[test]
fn csts_is_looked_at_until_it_is_ready() {
    let mut bench = Bench::new();
    bench.script.looks = 5;
    bench.start();
    assert_eq!(bench.host.state(), HostState::Enabling);
    bench.pass(SECOND);
    assert_eq!(bench.host.state(), HostState::Live);
    let looks = bench.sent_of((0x7f, 0x1c04));
    assert_eq!(looks.len(), 6);
    assert_eq!(looks[1].at.since(looks[0].at), Duration::from_millis(100));
}

#[test]
fn readiness_is_waited_for_as_long_as_cap_to_and_crto_say() {
    let waited = |cap| {
        let mut bench = Bench::new();
        (bench.script.cap, bench.script.looks) = (cap, u32::MAX);
        bench.start();
        let begin = bench.now;
        while bench.host.state() == HostState::Enabling {
            bench.pass(Duration::from_millis(100));
        }
        assert_eq!(failure(&mut bench), Failure::Silent("CSTS.RDY"));
        bench.now.since(begin)
    };
    assert_eq!(waited(0x0000_0020_0400_007f), 2 * SECOND, "CAP.TO");
    assert_eq!(waited(0x0800_0020_0400_007f), 8 * SECOND, "CRTO");
    assert_eq!(waited(0x0000_0020_0000_007f), SECOND, "CAP.TO of 0 is not believed");
}

#[test]
fn a_fatal_controller_is_tried_again() {
    let mut bench = Bench::new();
    bench.script.csts = 2;
    bench.start();
    assert_eq!(failure(&mut bench), Failure::Fatal);
    bench.script.csts = 1;
    bench.pass(SECOND);
    assert_eq!(bench.host.state(), HostState::Live);
}

#[test]
fn queue_counts_are_0_based_in_both_halves() {
    let queues = |granted: u32| {
        let mut bench = Bench::with(|options| options.io_queues = 4);
        bench.script.queues = granted;
        bench.start();
        assert_eq!(bench.sent_of((0x09, 0x07))[0].sqe.cdw11(), 0x0003_0003);
        let HostEvent::Live { queues, .. } = &bench.events()[0] else { panic!("not live") };
        queues.len()
    };
    assert_eq!(queues(0x0003_0003), 4);
    assert_eq!(queues(0x0000_0003), 1, "one completion queue");
    assert_eq!(queues(0x0003_0001), 2, "two submission queues");
    assert_eq!(queues(0x00ff_00ff), 4, "more than asked for");
}

#[test]
fn events_are_configured_only_if_oaes_has_them() {
    let mut bench = Bench::live();
    assert_eq!(bench.sent_of((0x09, 0x0b))[0].sqe.cdw11(), 0x100);
    let mut silent = Bench::new();
    silent.script.identify.oaes = nvme_spec::async_event::AsyncEvents::empty();
    silent.start();
    assert_eq!(silent.host.state(), HostState::Live);
    assert!(silent.sent_of((0x09, 0x0b)).is_empty());
    bench.run();
    assert_eq!(bench.sent_of((0x0c, 0)).len(), 1, "one event request outstanding");
}

#[test]
fn a_status_with_dnr_is_terminal_and_one_without_is_not() {
    let connect = StatusCode::FABRICS_CONNECT_INVALID_HOST;
    let mut bench = Bench::new();
    bench.script.refused.push((0x7f, 0x01, Status::permanent(connect)));
    bench.start();
    assert_eq!(bench.host.state(), HostState::Dead);
    let expected = Failure::Connect { queue: ADMIN, status: Status::permanent(connect), field: None };
    assert_eq!(failure(&mut bench), expected);
    assert_eq!(bench.host.next_timeout(), Timestamp::NEVER);
    let mut bench = Bench::new();
    bench.script.refused.push((0x7f, 0x01, StatusCode::FABRICS_CONTROLLER_BUSY.into()));
    bench.start();
    assert_eq!(bench.host.state(), HostState::Waiting);
    bench.pass(30 * SECOND);
    bench.script.refused.clear();
    bench.pass(10 * SECOND);
    assert_eq!(bench.host.state(), HostState::Live);
}

#[test]
fn an_invalid_parameter_is_told_by_its_name() {
    let status = Status::from(StatusCode::FABRICS_CONNECT_INVALID_PARAMETERS);
    let mut bench = Bench::new();
    bench.host.start(bench.now);
    bench.turn();
    let Some(HostAction::Send { association, command, .. }) = bench.host.poll_action() else { panic!() };
    // IATTR 1: in the data, at byte 16.
    let cqe = Cqe::new(QueueId(0), 0, command.cid(), status).with_dw0(0x0001_0010);
    bench.host.handle_response(association, ADMIN, &cqe, &[], bench.now);
    let field = Some(ConnectField::ControllerId);
    assert_eq!(failure(&mut bench), Failure::Connect { queue: ADMIN, status, field });
}

#[test]
fn the_upper_bits_of_connects_result_ask_for_authentication_which_we_have_not() {
    let mut bench = Bench::new();
    bench.script.connect = 0x0002_0009;
    bench.start();
    assert_eq!(bench.host.state(), HostState::Dead);
    assert_eq!(failure(&mut bench), Failure::Unusable(Unusable::Authentication));
}

#[test]
fn a_controller_that_is_of_no_use_is_told_why() {
    let mut bench = Bench::new();
    bench.script.identify.sgls = nvme_spec::identify::SglSupport::from_raw(0x0010_0001);
    bench.start();
    assert_eq!(failure(&mut bench), Failure::Unusable(Unusable::NoKeyedSgls));
    let mut bench = Bench::new();
    // MPSMIN 1: pages of 8 KiB.
    bench.script.cap |= 1 << 48;
    bench.start();
    assert_eq!(failure(&mut bench), Failure::Unusable(Unusable::PageSize { bytes: 8192 }));
}

#[test]
fn what_is_optional_may_be_refused() {
    let refusal = Status::permanent(StatusCode::INVALID_FIELD);
    let mut bench = Bench::new();
    for command in [(0x06, 0x06), (0x09, 0x0b), (0x06, 0x08)] {
        bench.script.refused.push((command.0, command.1, refusal));
    }
    bench.start();
    assert_eq!(bench.host.state(), HostState::Live);
    assert!(bench.host.namespaces()[&Nsid(1)].is_ok(), "a refused CNS 08h falls back");
}

#[test]
fn nstat_bit_0_says_whether_a_namespace_is_ready() {
    let mut bench = Bench::new();
    bench.script.not_ready.push(1);
    bench.start();
    assert_eq!(bench.host.namespaces()[&Nsid(1)], Err(NamespaceError::NotReady));
}

#[test]
fn cns_03_is_asked_from_version_1_3_on_and_cns_08_from_2_0_on() {
    for (version, ids, independent) in [(0x0001_0200, 0, 0), (0x0001_0300, 1, 0), (0x0002_0000, 1, 1)] {
        let mut bench = Bench::new();
        bench.script.version = version;
        bench.start();
        assert_eq!(bench.sent_of((0x06, 0x03)).len(), ids, "{version:#x}");
        assert_eq!(bench.sent_of((0x06, 0x08)).len(), independent, "{version:#x}");
        assert!(bench.host.namespaces()[&Nsid(1)].is_ok());
    }
}
