//! Identify, log pages, features, events.

use super::*;
use nvme_spec::StatusCode;

const INVALID_FIELD: Status = Status::permanent(StatusCode::INVALID_FIELD);

#[test]
fn identify_controller_has_what_linux_demands() {
    let mut rig = Rig::new();
    let key = rig.enabled();
    let data = rig.identify(key, 0x01, 0).unwrap();
    assert_eq!(&data[4..24], b"SN0001              ");
    assert_eq!(u16_at(&data, 78), 0x0102, "CNTLID as in Connect");
    assert_eq!(data[77], 8, "MDTS: 1 MiB");
    assert_eq!(u32_at(&data, 80), 0x0002_0100);
    assert_eq!(u32_at(&data, 92), 1 << 8, "OAES: namespace changes");
    assert_eq!(data[111], 1, "an I/O controller");
    assert_ne!(u16_at(&data, 320), 0, "KAS");
    assert_eq!((data[512], data[513]), (0x66, 0x44));
    assert_eq!(u16_at(&data, 514), 128, "MAXCMD");
    assert_eq!((u32_at(&data, 516), u32_at(&data, 540)), (1024, 1024), "NN, MNAN");
    assert_eq!(u16_at(&data, 520) & 0b1010_1101, 0b1000_1101, "ONCS");
    assert_eq!(u32_at(&data, 536), 1 << 20 | 1 << 2 | 1, "SGLS: keyed, and offsets into the capsule");
    assert_eq!(&data[768..768 + SUBSYSTEM.len()], SUBSYSTEM.as_bytes());
    assert_eq!((u32_at(&data, 1792), u32_at(&data, 1796)), (516, 1), "IOCCSZ: 8 KiB in the capsule; IORCSZ");
    assert_eq!((u16_at(&data, 1800), data[1802] & 1, data[1803]), (0, 0, 1), "ICDOFF, dynamic, MSDBD");
}

#[test]
fn tbkas_is_not_claimed_since_io_commands_do_not_touch_the_timer() {
    let mut rig = Rig::new();
    let key = rig.enabled();
    assert_eq!(u32_at(&rig.identify(key, 0x01, 0).unwrap(), 96) & 1 << 6, 0);
}

#[test]
fn nodes_that_serve_one_subsystem_say_so() {
    let mut rig = Rig::new();
    let key = rig.enabled();
    assert_eq!(rig.identify(key, 0x01, 0).unwrap()[76], 0b11, "CMIC: ports, controllers; no ANA");
    assert_eq!(rig.identify(key, 0x00, 1).unwrap()[30], 1, "NMIC: shared");
}

#[test]
fn a_volatile_cache_makes_hosts_send_flush_and_fua() {
    let mut rig = Rig::new();
    let key = rig.enabled();
    assert_eq!(rig.identify(key, 0x01, 0).unwrap()[525], 0b101, "VWC, and Flush names a namespace");
    assert_eq!(rig.identify(key, 0x08, 1).unwrap()[0] & 1 << 5, 0);
    let mut through = info(2);
    through.geometry.write_cache = WriteCache::Through;
    rig.target.add_namespace(&nqn(SUBSYSTEM), through).unwrap();
    assert_eq!(rig.identify(key, 0x08, 2).unwrap()[0] & 1 << 5, 1 << 5, "VWCNP");
}

#[test]
fn namespaces_are_identified() {
    let mut rig = Rig::new();
    let key = rig.enabled();
    let data = rig.identify(key, 0x00, 1).unwrap();
    assert_eq!((u64_at(&data, 0), u64_at(&data, 8), u64_at(&data, 16)), (1000, 1000, 1000));
    assert_eq!(u32_at(&data, 128), 12 << 16, "LBAF 0: 4 KiB, no metadata");
    assert_eq!(data[33], 0b1001, "DLFEAT");
    assert_eq!(rig.identify(key, 0x00, 2).unwrap(), [0; 4096], "an inactive one is zeroes");
    let invalid = Status::permanent(StatusCode::INVALID_NAMESPACE_OR_FORMAT);
    for nsid in [0, 1025, 0xffff_ffff] {
        assert_eq!(rig.identify(key, 0x00, nsid), Err(invalid));
    }
}

#[test]
fn cns_03h_answers_with_uuid_and_csi() {
    let mut rig = Rig::new();
    let key = rig.enabled();
    let data = rig.identify(key, 0x03, 1).unwrap();
    assert_eq!(data[..4], [3, 16, 0, 0]);
    assert_eq!((data[19], data[20..25].to_vec()), (1, vec![4, 1, 0, 0, 0]));
    assert!(data[25..].iter().all(|byte| *byte == 0));
    assert_eq!(rig.identify(key, 0x03, 2), Err(INVALID_FIELD));
}

#[test]
fn cns_08h_says_that_the_namespace_is_ready() {
    let mut rig = Rig::new();
    let key = rig.enabled();
    assert_eq!(rig.identify(key, 0x08, 1).unwrap()[14] & 1, 1);
}

#[test]
fn cns_06h_is_zeroes_where_nothing_is_claimed() {
    let mut rig = Rig::new();
    let key = rig.enabled();
    assert_eq!(rig.identify(key, 0x06, 0).unwrap(), [0; 4096]);
    assert_eq!(rig.identify(key, 0x05, 1).unwrap(), [0; 4096]);
    assert_eq!(u32_at(&rig.identify(key, 0x01, 0).unwrap(), 96) & 1 << 15, 0, "ELBAS is not claimed");
    assert_eq!(rig.identify(key, 0x1c, 0).unwrap()[..8], [1, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(rig.identify(key, 0x04, 0), Err(INVALID_FIELD));
}

#[test]
fn lists_begin_after_the_number_given() {
    let mut rig = Rig::new();
    rig.target.add_namespace(&nqn(SUBSYSTEM), info(1024)).unwrap();
    let key = rig.enabled();
    let list = |rig: &mut Rig, nsid| {
        rig.identify(key, 0x02, nsid).map(|data| [u32_at(&data, 0), u32_at(&data, 4), u32_at(&data, 8)])
    };
    assert_eq!(list(&mut rig, 0), Ok([1, 1024, 0]));
    assert_eq!(list(&mut rig, 1), Ok([1024, 0, 0]));
    let invalid = Status::permanent(StatusCode::INVALID_NAMESPACE_OR_FORMAT);
    assert_eq!((list(&mut rig, 0xffff_fffe), list(&mut rig, 0xffff_ffff)), (Err(invalid), Err(invalid)));
}

#[test]
fn responses_invalidate_the_commands_key_also_when_it_fails() {
    let mut rig = Rig::new();
    let key = rig.enabled();
    let good = rig.admin(key, entry(0x06, 0, keyed(4096), [1, 0, 0, 0, 0, 0]));
    assert_eq!(good.response.invalidate, Some(0x1122_3344));
    let short = rig.admin(key, entry(0x06, 0, keyed(4092), [1, 0, 0, 0, 0, 0]));
    assert_eq!(short.response.invalidate, Some(0x1122_3344));
    assert_eq!(short.response.cqe.status(), Status::permanent(StatusCode::DATA_SGL_LENGTH_INVALID));
    assert_eq!(short.response.cqe.cid().0, 0xf005, "the identifier comes back as it was");
}

#[test]
fn opcodes_that_are_not_for_fabrics_are_invalid() {
    let mut rig = Rig::new();
    let key = rig.enabled();
    let invalid = Status::permanent(StatusCode::INVALID_OPCODE);
    for opcode in [0x00, 0x01, 0x04, 0x05, 0x0d, 0x10, 0x7c, 0x80, 0xc1] {
        let status = rig.admin(key, no_data(opcode, [1, 1 << 16 | 1, 0, 0, 0, 0])).response.cqe.status();
        assert!(status == invalid || status.code() == StatusCode::INVALID_QUEUE_SIZE, "{opcode:#x}");
    }
    let fabrics = |kind| with_null_sgl(entry(0x7f, kind, [0; 16], [0; 6]));
    let mut status = |kind| rig.admin(key, fabrics(kind)).response.cqe.status();
    assert_eq!((status(0x05), status(0x06), status(0x33)), (invalid, invalid, invalid));
    assert_eq!(status(0x01), Status::permanent(StatusCode::COMMAND_SEQUENCE_ERROR));
    assert_eq!(status(0x08), Status::permanent(StatusCode::FABRICS_INVALID_QUEUE_TYPE));
}

#[test]
fn set_features_07h_returns_0_based_counts_in_both_halves() {
    let mut rig = Rig::new();
    let key = rig.enabled();
    let mut ask = |dw11| rig.admin(key, no_data(0x09, [0x07, dw11, 0, 0, 0, 0])).response.cqe;
    assert_eq!(ask(0x0003_0003).dw0(), 0x0003_0003, "four each");
    assert_eq!(ask(0x00ff_01ff).dw0(), 0x003f_003f, "64 at most");
    assert_eq!(ask(0xffff_0000).status(), INVALID_FIELD);
}

#[test]
fn the_host_identifier_is_connects() {
    let mut rig = Rig::new();
    let key = rig.enabled();
    let get = entry(0x0a, 0, keyed(16), [0x81, 1, 0, 0, 0, 0]);
    assert_eq!(data(rig.admin(key, get)), Ok(vec![0x5a; 16]));
    let AdminAction::Fetch(memory) = rig.act(key, entry(0x09, 0, keyed(16), [0x81, 1, 0, 0, 0, 0])) else {
        panic!("not fetched")
    };
    assert_eq!((memory.bytes, memory.key), (16, 0x1122_3344));
    let set = entry(0x09, 0, keyed(16), [0x81, 1, 0, 0, 0, 0]);
    let AdminAction::Respond(reply) = rig.target.resume_admin(rig.now, key, &set, &[1; 16]) else {
        panic!("not answered")
    };
    assert_eq!(reply.response.cqe.status(), Status::permanent(StatusCode::COMMAND_SEQUENCE_ERROR));
}

#[test]
fn host_behavior_support_is_data_of_512_bytes() {
    let mut rig = Rig::new();
    let key = rig.enabled();
    let set = entry(0x09, 0, keyed(512), [0x16, 0, 0, 0, 0, 0]);
    assert!(matches!(rig.act(key, set), AdminAction::Fetch(KeyedMemory { bytes: 512, .. })));
    let mut behavior = vec![0; 512];
    behavior[0] = 1;
    rig.target.resume_admin(rig.now, key, &set, &behavior);
    assert_eq!(data(rig.admin(key, entry(0x0a, 0, keyed(512), [0x16, 0, 0, 0, 0, 0]))), Ok(behavior));
}

#[test]
fn features_that_cannot_be_changed_saved_or_had_say_so() {
    let mut rig = Rig::new();
    let key = rig.enabled();
    let mut set = |dw10, dw11| rig.admin(key, no_data(0x09, [dw10, dw11, 0, 0, 0, 0])).response.cqe.status();
    assert_eq!(set(0x06, 0), Status::permanent(StatusCode::FEATURE_NOT_CHANGEABLE));
    assert_eq!(set(0x06, 1), Status::SUCCESS);
    assert_eq!(set(0x8000_0001, 0), Status::permanent(StatusCode::FEATURE_NOT_SAVEABLE));
    assert_eq!((set(0x02, 1), set(0x0d, 0), set(0xc0, 0)), (INVALID_FIELD, INVALID_FIELD, INVALID_FIELD));
    let supported = rig.admin(key, no_data(0x0a, [0x307, 0, 0, 0, 0, 0])).response.cqe.dw0();
    assert_eq!(supported, 0b100);
}

#[test]
fn a_namespace_change_is_told_once_and_reading_log_04h_clears_it() {
    let mut rig = Rig::new();
    let key = rig.enabled();
    rig.admin(key, no_data(0x09, [0x0b, 0x100, 0, 0, 0, 0]));
    assert_eq!(rig.act(key, no_data(0x0c, [0; 6])), AdminAction::Hold);
    let version = rig.target.version().load(std::sync::atomic::Ordering::Relaxed);
    rig.target.add_namespace(&nqn(SUBSYSTEM), info(7)).unwrap();
    let events = rig.events();
    let [Event::Response { controller, response }] = events[..] else { panic!("{events:?}") };
    assert_eq!((controller, response.cqe.dw0(), response.cqe.cid().0), (key, 0x0004_0002, 0xf005));
    assert_ne!(rig.target.version().load(std::sync::atomic::Ordering::Relaxed), version);
    assert_eq!(rig.act(key, no_data(0x0c, [0; 6])), AdminAction::Hold);
    rig.target.remove_namespace(&nqn(SUBSYSTEM), Nsid(1)).unwrap();
    assert_eq!(rig.events(), [], "masked until the page is read");
    let page = rig.log(key, 0x04, 4096, 0).unwrap();
    assert_eq!((u32_at(&page, 0), u32_at(&page, 4), u32_at(&page, 8)), (1, 7, 0));
    assert_eq!(u32_at(&rig.log(key, 0x04, 4096, 0).unwrap(), 0), 0);
    let mut grown = info(7).geometry;
    grown.blocks = 2000;
    rig.target.resize_namespace(&nqn(SUBSYSTEM), Nsid(7), grown).unwrap();
    assert_eq!(rig.events().len(), 1);
    assert_eq!(u64_at(&rig.identify(key, 0x00, 7).unwrap(), 0), 2000);
}

#[test]
fn namespaces_that_cannot_be_exported_are_refused() {
    let mut rig = Rig::new();
    let subsystem = nqn(SUBSYSTEM);
    let metadata = NamespaceInfo { metadata_bytes: 8, ..info(2) };
    let error = rig.target.add_namespace(&subsystem, metadata).unwrap_err();
    assert_eq!(
        error.to_string(),
        "namespace 2 has 8 bytes of metadata in each block: such namespaces are not exported"
    );
    for (bad, error) in [
        (info(0), NamespaceError::Nsid(Nsid(0))),
        (info(1025), NamespaceError::Nsid(Nsid(1025))),
        (info(1), NamespaceError::Exists(Nsid(1))),
        (NamespaceInfo { uuid: None, ..info(2) }, NamespaceError::Identity(Nsid(2))),
    ] {
        assert_eq!(rig.target.add_namespace(&subsystem, bad), Err(error));
    }
    let other = NamespaceInfo { uuid: Some(Uuid::from_u128(99)), ..info(1) };
    assert_eq!(rig.target.update_namespace(&subsystem, other), Err(NamespaceError::Replaced(Nsid(1))));
}

#[test]
fn log_pages_are_read_in_parts() {
    let mut rig = Rig::new();
    let key = rig.enabled();
    let effects = rig.log(key, 0x05, 4096, 0).unwrap();
    assert_eq!((u32_at(&effects, 4 * 0x06), u32_at(&effects, 4 * 0x80)), (1, 0));
    assert_eq!((u32_at(&effects, 1024 + 4), u32_at(&effects, 1024 + 8)), (0b11, 1));
    assert_eq!(rig.log(key, 0x05, 8, 1024).unwrap(), effects[1024..1032]);
    assert_eq!(rig.log(key, 0x02, 512, 0).unwrap()[3], 100);
    assert_eq!(rig.log(key, 0x03, 512, 0).unwrap()[0], 1);
    assert_eq!(rig.log(key, 0x01, 64, 0).unwrap(), [0; 64]);
    assert_eq!(u32_at(&rig.log(key, 0x00, 1024, 0).unwrap(), 20), 1);
    assert_eq!(rig.log(key, 0x02, 4, 516), Err(INVALID_FIELD), "behind the end");
    let missing = Status::permanent(StatusCode::INVALID_LOG_PAGE);
    assert_eq!((rig.log(key, 0x70, 4, 0), rig.log(key, 0x0c, 4, 0)), (Err(missing), Err(missing)));
    assert_eq!(rig.log(key, 0x05, (1 << 20) + 4, 0), Err(INVALID_FIELD), "more than MDTS");
}

#[test]
fn an_abort_aborts_nothing_and_says_so() {
    let mut rig = Rig::new();
    let key = rig.enabled();
    let cqe = rig.admin(key, no_data(0x08, [0x1234_0001, 0, 0, 0, 0, 0])).response.cqe;
    assert_eq!((cqe.status(), cqe.dw0()), (Status::SUCCESS, 1));
}

proptest::proptest! {
    #[test]
    fn any_admin_command_is_answered(
        entries in proptest::collection::vec(proptest::collection::vec(proptest::prelude::any::<u8>(), 64), 1..20),
        opcodes in proptest::collection::vec(0_u8..0x1a, 20),
    ) {
        let mut rig = Rig::new();
        let key = rig.enabled();
        for (mut bytes, opcode) in entries.into_iter().zip(opcodes) {
            // Half of them get past the first check.
            if opcode % 2 == 0 {
                bytes[0] = if opcode > 0x16 { 0x7f } else { opcode };
                bytes[1] = 0x40;
                bytes[39] = 0x40;
            }
            let sqe = Sqe::from_bytes(&bytes.try_into().unwrap());
            if let AdminAction::Fetch(memory) = rig.act(key, sqe) {
                let data = vec![0x55; memory.bytes as usize];
                let action = rig.target.resume_admin(rig.now, key, &sqe, &data);
                proptest::prop_assert!(matches!(action, AdminAction::Respond(_)));
            }
        }
    }

    #[test]
    fn any_connect_is_answered(
        entry in proptest::collection::vec(proptest::prelude::any::<u8>(), 64),
        data in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..1100),
        queue in 0_u16..3,
    ) {
        let mut rig = Rig::new();
        let mut bytes: [u8; 64] = entry.try_into().unwrap();
        rig.connect_with(bytes, &data, &Rig::arrival(queue, 0x0102));
        bytes[40..48].copy_from_slice(&[0, 0, queue.to_le_bytes()[0], 0, 31, 0, 0, 0]);
        let mut named = connect_data(0xffff, SUBSYSTEM, HOST);
        let changed = data.len().min(named.len());
        named[..changed].iter_mut().zip(&data).for_each(|(byte, noise)| *byte ^= noise & noise >> 1 & noise >> 2);
        rig.connect_with(bytes, &named, &Rig::arrival(queue, 0x0102));
    }
}
