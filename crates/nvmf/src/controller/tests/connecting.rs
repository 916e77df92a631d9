//! Who is let in.

use super::*;
use nvme_spec::{Cqe, StatusCode};

fn refusal(rig: &mut Rig, entry: [u8; 64], data: &[u8], arrival: &Arrival) -> Cqe {
    match rig.connect_with(entry, data, arrival) {
        Connected::Refused(response) => response.cqe,
        other => panic!("{other:?}"),
    }
}

fn admin_refusal(entry: [u8; 64], data: &[u8]) -> Cqe {
    refusal(&mut Rig::new(), entry, data, &Rig::arrival(0, 0))
}

const INVALID: Status = Status::permanent(StatusCode::FABRICS_CONNECT_INVALID_PARAMETERS);

#[test]
fn the_results_low_16_bits_are_the_cntlid_and_nothing_asks_for_authentication() {
    let mut rig = Rig::new();
    let data = connect_data(0xffff, SUBSYSTEM, HOST);
    let mut entry = connect_entry(0, 31, 0, 5000);
    entry[24..40].copy_from_slice(&keyed(1024));
    let Connected::Admin { response, .. } = rig.connect_with(entry, &data, &Rig::arrival(0, 0)) else {
        panic!("not connected")
    };
    assert_eq!(response.invalidate, Some(0x1122_3344), "the Connect's own key");
    assert_eq!(response.to_bytes(), [0x02, 0x01, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0xef, 0xbe, 0, 0]);
}

#[test]
fn cattr_bit_2_disables_flow_control_and_sqhd_is_ffff() {
    let mut rig = Rig::new();
    let data = connect_data(0xffff, SUBSYSTEM, HOST);
    let connected = rig.connect_with(connect_entry(0, 31, 4, 5000), &data, &Rig::arrival(0, 0));
    let Connected::Admin { response, controller } = connected else { panic!("not connected") };
    assert_eq!(response.cqe.sqhd(), 0xffff);
    assert_eq!(rig.admin(controller, no_data(0x18, [0; 6])).response.cqe.sqhd(), 0xffff);
}

#[test]
fn an_admin_connect_names_controller_ffff() {
    let cqe = admin_refusal(connect_entry(0, 31, 0, 0), &connect_data(0x0102, SUBSYSTEM, HOST));
    assert_eq!((cqe.status(), cqe.dw0()), (INVALID, 0x1_0010), "IATTR 1, the offset of CNTLID");
}

#[test]
fn sqsize_is_0_based_0_is_invalid_and_above_mqes_too() {
    let data = connect_data(0xffff, SUBSYSTEM, HOST);
    let cqe = admin_refusal(connect_entry(0, 0, 0, 0), &data);
    assert_eq!((cqe.status(), cqe.dw0()), (INVALID, 44));
    let mut rig = Rig::new();
    rig.enabled();
    let data = connect_data(0x0102, SUBSYSTEM, HOST);
    let mut arrival = Rig::arrival(1, 0x0102);
    arrival.request.host_sends = 500;
    let cqe = refusal(&mut rig, connect_entry(1, 128, 0, 0), &data, &arrival);
    assert_eq!((cqe.status(), cqe.dw0()), (INVALID, 44));
    let mut more_than_receives = Rig::arrival(1, 0x0102);
    more_than_receives.request.host_sends = 15;
    let cqe = refusal(&mut rig, connect_entry(1, 16, 0, 0), &data, &more_than_receives);
    assert_eq!((cqe.status(), cqe.dw0()), (INVALID, 44));
    let connected = rig.connect_with(connect_entry(1, 127, 0, 0), &data, &arrival);
    let Connected::Io { queue, .. } = connected else { panic!("{connected:?}") };
    assert_eq!(queue.entries(), 128);
}

#[test]
fn names_that_are_unknown_or_none_are_told_by_their_place() {
    let other = "nqn.2024-05.com.example:other";
    let cqe = admin_refusal(connect_entry(0, 31, 0, 0), &connect_data(0xffff, other, HOST));
    assert_eq!((cqe.status(), cqe.dw0()), (INVALID, 0x1_0100));
    let cqe = admin_refusal(connect_entry(0, 31, 0, 0), &connect_data(0xffff, SUBSYSTEM, ""));
    assert_eq!((cqe.status(), cqe.dw0()), (INVALID, 0x1_0200));
    let cqe = admin_refusal(connect_entry(0, 31, 0, 0), &[0; 512]);
    assert_eq!(cqe.status(), Status::permanent(StatusCode::DATA_SGL_LENGTH_INVALID));
    let mut entry = connect_entry(0, 31, 0, 0);
    entry[40] = 1;
    let cqe = admin_refusal(entry, &connect_data(0xffff, SUBSYSTEM, HOST));
    assert_eq!(cqe.status(), Status::permanent(StatusCode::FABRICS_INCOMPATIBLE_FORMAT));
}

#[test]
fn a_host_that_is_not_listed_is_refused_unless_any_may() {
    let stranger = "nqn.2024-05.com.example:stranger";
    let data = connect_data(0xffff, SUBSYSTEM, stranger);
    let cqe = admin_refusal(connect_entry(0, 31, 0, 0), &data);
    assert_eq!(cqe.status(), Status::permanent(StatusCode::FABRICS_CONNECT_INVALID_HOST));
    let mut rig = Rig::new();
    rig.target.set_hosts(&nqn(SUBSYSTEM), true, std::collections::BTreeSet::new()).unwrap();
    let connected = rig.connect_with(connect_entry(0, 31, 0, 0), &data, &Rig::arrival(0, 0));
    assert!(matches!(connected, Connected::Admin { .. }));
}

#[test]
fn do_not_retry_is_never_set_for_a_passing_state() {
    let mut rig = Rig::new();
    let data = connect_data(0x0102, SUBSYSTEM, HOST);
    let entry = connect_entry(1, 31, 0, 0);
    let cqe = refusal(&mut rig, entry, &data, &Rig::arrival(1, 0x0102));
    let passing = Status::new(StatusCode::FABRICS_CONNECT_INVALID_PARAMETERS);
    assert_eq!((cqe.status(), cqe.dw0()), (passing, 0x1_0010), "the controller has gone");
    rig.connect_to(SUBSYSTEM);
    let cqe = refusal(&mut rig, entry, &data, &Rig::arrival(1, 0x0102));
    assert_eq!(cqe.status(), Status::new(StatusCode::COMMAND_SEQUENCE_ERROR), "not enabled yet");
    assert_eq!(Target::busy(&Sqe::from_bytes(&entry)).cqe.status().raw(), 0x181, "Controller Busy");
    for _ in 0..3 {
        rig.connect_to(SUBSYSTEM);
    }
    let data = connect_data(0xffff, SUBSYSTEM, HOST);
    let cqe = refusal(&mut rig, connect_entry(0, 31, 0, 0), &data, &Rig::arrival(0, 0));
    assert_eq!(cqe.status().raw(), 0x181, "all controller identifiers of the range are given out");
}

#[test]
fn an_io_queue_belongs_to_the_controllers_host_and_is_connected_once() {
    let mut rig = Rig::new();
    rig.io_queue();
    let sequence = Status::new(StatusCode::COMMAND_SEQUENCE_ERROR);
    let data = connect_data(0x0102, SUBSYSTEM, HOST);
    let arrival = Rig::arrival(1, 0x0102);
    assert_eq!(refusal(&mut rig, connect_entry(1, 31, 0, 0), &data, &arrival).status(), sequence);
    let stranger = connect_data(0x0102, SUBSYSTEM, "nqn.2024-05.com.example:stranger");
    let cqe = refusal(&mut rig, connect_entry(2, 31, 0, 0), &stranger, &Rig::arrival(2, 0x0102));
    assert_eq!(cqe.dw0(), 0x1_0200);
    let mut other_id = data.clone();
    other_id[0] = 1;
    let cqe = refusal(&mut rig, connect_entry(2, 31, 0, 0), &other_id, &Rig::arrival(2, 0x0102));
    assert_eq!(cqe.dw0(), 0x1_0000);
    let cqe = refusal(&mut rig, connect_entry(3, 31, 0, 0), &data, &Rig::arrival(2, 0x0102));
    assert_eq!((cqe.status(), cqe.dw0()), (INVALID, 42), "not what the connection was asked for by");
}

#[test]
fn connected_and_not_yet_authenticated_is_a_state_from_the_start() {
    let mut rig = Rig::new();
    let secret = "nqn.2024-05.com.example:secret";
    let mut options = SubsystemOptions::new(nqn(secret), "SN0002");
    options.allow_any_host = true;
    options.authentication.transaction = true;
    rig.target.add_subsystem(options).unwrap();
    let key = rig.connect_to(secret);
    let required = Status::permanent(StatusCode::FABRICS_AUTHENTICATION_REQUIRED);
    assert_eq!(rig.get(key, CSTS, 0).1, required);
    rig.target.authenticated(key);
    assert_eq!(rig.get(key, CSTS, 0).1, Status::SUCCESS);
}

#[test]
fn an_io_queues_private_data_of_older_hosts_names_no_controller() {
    let mut rig = Rig::new();
    rig.enabled();
    let data = connect_data(0x0102, SUBSYSTEM, HOST);
    let connected = rig.connect_with(connect_entry(1, 31, 0, 0), &data, &Rig::arrival(1, 0));
    assert!(matches!(connected, Connected::Io { .. }), "{connected:?}");
}
