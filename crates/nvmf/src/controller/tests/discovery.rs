//! The discovery subsystem.

use super::*;
use nvme_spec::StatusCode;

/// A discovery controller of a target that listens everywhere.
fn discovering() -> (Rig, ControllerKey) {
    let mut rig = Rig::new();
    rig.target.set_listeners(vec!["0.0.0.0:4420".parse().unwrap(), "[2001:db8::7]:4421".parse().unwrap()]);
    let key = rig.connect_to(DISCOVERY);
    assert_eq!(rig.set(key, CC, ENABLED), Status::SUCCESS);
    (rig, key)
}

fn text(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).unwrap().trim_end_matches(['\0', ' '])
}

#[test]
fn a_discovery_controller_says_cntrltype_2() {
    let (mut rig, key) = discovering();
    let data = rig.identify(key, 0x01, 0).unwrap();
    assert_eq!((data[111], u32_at(&data, 516)), (2, 0));
    assert_eq!(u32_at(&data, 92), 1 << 31, "OAES: discovery changes");
    assert_eq!(text(&data[768..1024]), DISCOVERY);
    assert_ne!((u16_at(&data, 320), u32_at(&data, 1792), u16_at(&data, 514)), (0, 0, 0));
    let invalid = Status::permanent(StatusCode::INVALID_FIELD);
    assert_eq!((rig.identify(key, 0x00, 1), rig.identify(key, 0x02, 0)), (Err(invalid), Err(invalid)));
}

#[test]
fn keep_alive_works_on_discovery_controllers_too() {
    let (mut rig, key) = discovering();
    assert_eq!(rig.admin(key, no_data(0x18, [0; 6])).response.cqe.status(), Status::SUCCESS);
    rig.admin(key, no_data(0x09, [0x0f, 0, 0, 0, 0, 0]));
    let idle = rig.now.after(limits::DISCOVERY_IDLE_MAX);
    assert_eq!(rig.target.next_timeout(), idle, "a host without keep-alive stays for a while only");
}

#[test]
fn the_log_is_read_as_libnvme_reads_it() {
    let (mut rig, key) = discovering();
    let header = rig.log(key, 0x70, 20, 0).unwrap();
    let (genctr, numrec) = (u64_at(&header, 0), u64_at(&header, 8));
    assert_eq!((numrec, u16_at(&header, 16)), (3, 0));
    let entries = rig.log(key, 0x70, 3072, 1024).unwrap();
    assert_eq!(rig.log(key, 0x70, 4096, 0).unwrap()[1024..], entries);
    assert_eq!(u64_at(&rig.log(key, 0x70, 20, 0).unwrap(), 0), genctr, "nothing changed");
    rig.target.add_subsystem(SubsystemOptions::new(nqn("nqn.2024-05.com.example:x"), "X")).unwrap();
    let again = rig.log(key, 0x70, 20, 0).unwrap();
    assert_ne!(u64_at(&again, 0), genctr);
    assert_eq!(u64_at(&again, 8), numrec, "this host may not attach to the new one");
}

#[test]
fn entries_have_a_real_address_and_the_discovery_subsystem_is_first() {
    let (mut rig, key) = discovering();
    let entries = rig.log(key, 0x70, 3072, 1024).unwrap();
    let (first, second, third) = (&entries[..1024], &entries[1024..2048], &entries[2048..]);
    assert_eq!((first[0], first[1], first[2]), (1, 1, 3), "RDMA, IPv4, this discovery subsystem");
    assert_eq!((text(&first[256..512]), text(&first[512..768])), (DISCOVERY, "192.0.2.1"));
    assert_eq!((second[1], second[2], third[1], third[2]), (1, 2, 2, 2));
    for entry in [first, second, third] {
        assert_eq!((u16_at(entry, 6), u16_at(entry, 8)), (0xffff, 32), "CNTLID, ASQSZ");
        assert_eq!(entry[768..771], [1, 1, 1], "reliable connected, RDMA_CM");
    }
    assert_eq!((text(&second[256..512]), text(&second[512..768])), (SUBSYSTEM, "192.0.2.1"));
    assert_eq!((text(&third[512..768]), text(&third[32..64])), ("2001:db8::7", "4421"));
}

#[test]
fn changes_are_told() {
    let (mut rig, key) = discovering();
    rig.admin(key, no_data(0x09, [0x0b, 1 << 31, 0, 0, 0, 0]));
    assert_eq!(rig.act(key, no_data(0x0c, [0; 6])), AdminAction::Hold);
    rig.target.remove_subsystem(&nqn(SUBSYSTEM)).unwrap();
    let events = rig.events();
    let [Event::Response { response, .. }] = events[..] else { panic!("{events:?}") };
    assert_eq!(response.cqe.dw0(), 0x0070_f002);
    assert_eq!(u64_at(&rig.log(key, 0x70, 20, 0).unwrap(), 8), 1);
}

#[test]
fn there_are_no_io_queues() {
    let (mut rig, _) = discovering();
    let connect = connect_data(0x0001, DISCOVERY, HOST);
    let id = rig.target.controllers().next().unwrap().id.0;
    let mut data = connect;
    data[16..18].copy_from_slice(&id.to_le_bytes());
    let connected = rig.connect_with(connect_entry(1, 31, 0, 0), &data, &Rig::arrival(1, id));
    let Connected::Refused(response) = connected else { panic!("{connected:?}") };
    assert_eq!(response.cqe.dw0(), 42);
}
