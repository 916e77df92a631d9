use nvme_spec::identify::SglSupport;

use super::*;
use crate::host::HostIdentity;

/// A controller as ours must be: capsules of 8 KiB and an entry, keyed SGLs and offsets.
fn info() -> ControllerInfo {
    let identify = IdentifyController {
        cntlid: ControllerId(9),
        cntrltype: ControllerType::IO,
        kas: 1,
        mdts: 8,
        maxcmd: 256,
        ioccsz: 516,
        iorcsz: 1,
        // Bit 0 SGLs, bit 2 keyed, bit 20 offsets.
        sgls: SglSupport::from_raw(0x0010_0005),
        ..IdentifyController::default()
    };
    ControllerInfo {
        id: ControllerId(9),
        capabilities: Capabilities::default().with_mqes(127),
        version: Version::V2_1,
        identify,
        limits: NvmController::default(),
    }
}

fn refused(kind: ControllerKind, change: fn(&mut IdentifyController)) -> Unusable {
    let mut info = info();
    change(&mut info.identify);
    info.check(kind).unwrap_err()
}

#[test]
fn an_io_controllers_identify_is_checked() {
    use ControllerKind::Io;
    assert_eq!(info().check(Io), Ok(()));
    let other = Unusable::ControllerId { identified: ControllerId(8), connected: ControllerId(9) };
    assert_eq!(refused(Io, |i| i.cntlid = ControllerId(8)), other, "CNTLID as in Connect");
    assert_eq!(refused(Io, |i| i.kas = 0), Unusable::NoKeepAlive);
    assert_eq!(refused(Io, |i| i.ioccsz = 3), Unusable::Capsules { command: 3, response: 1 });
    assert_eq!(refused(Io, |i| i.iorcsz = 0), Unusable::Capsules { command: 516, response: 0 });
    assert_eq!(refused(Io, |i| i.maxcmd = 0), Unusable::NoCommands);
    let discovery = ControllerType::DISCOVERY;
    assert_eq!(refused(Io, |i| i.cntrltype = ControllerType::DISCOVERY), Unusable::Kind(discovery));
}

#[test]
fn a_discovery_controller_says_that_it_is_one() {
    use ControllerKind::Discovery;
    assert_eq!(refused(Discovery, |_| {}), Unusable::Kind(ControllerType::IO));
    let mut info = info();
    info.identify.cntrltype = ControllerType::DISCOVERY;
    (info.identify.kas, info.identify.ioccsz, info.identify.maxcmd) = (0, 0, 0);
    assert_eq!(info.check(Discovery), Ok(()), "it has no I/O queues");
    info.identify.cntrltype = ControllerType::NOT_REPORTED;
    assert_eq!(info.check(Discovery), Ok(()), "of before NVMe 1.4");
}

#[test]
fn sgls_bit_2_is_needed() {
    assert_eq!(
        refused(ControllerKind::Io, |i| i.sgls = SglSupport::from_raw(0x0010_0001)),
        Unusable::NoKeyedSgls
    );
}

#[test]
fn the_capsule_holds_ioccsz_times_16_less_64_if_sgls_bit_20_says_so() {
    let mut info = info();
    assert_eq!(info.in_capsule_bytes(), 8192);
    info.identify.ioccsz = u32::MAX;
    assert_eq!(info.in_capsule_bytes(), u32::MAX, "no overflow");
    info.identify.ioccsz = 4;
    assert_eq!(info.in_capsule_bytes(), 0);
    info.identify.ioccsz = 516;
    info.identify.icdoff = 1;
    assert_eq!(info.in_capsule_bytes(), 0, "data somewhere else than behind the entry");
    info.identify.icdoff = 0;
    info.identify.sgls = SglSupport::from_raw(0x5);
    assert_eq!(info.in_capsule_bytes(), 0);
}

#[test]
fn mqes_is_0_based_and_maxcmd_is_not() {
    let mut info = info();
    assert_eq!(info.io_entries(4096), 128);
    assert_eq!(info.io_entries(32), 32);
    info.identify.maxcmd = 100;
    assert_eq!(info.io_entries(4096), 100);
    info.capabilities = Capabilities::default().with_mqes(u16::MAX);
    info.identify.maxcmd = 1;
    assert_eq!(info.io_entries(4096), 2, "no queue has fewer");
}

#[test]
fn mdts_is_in_pages_of_4_kib_and_0_is_no_limit() {
    let mut info = info();
    assert_eq!(info.transfer_bytes(4 << 20), 1 << 20);
    assert_eq!(info.transfer_bytes(128 << 10), 128 << 10);
    info.identify.mdts = 0;
    assert_eq!(info.transfer_bytes(4 << 20), 4 << 20);
    info.identify.mdts = 255;
    assert_eq!(info.transfer_bytes(4 << 20), 4 << 20);
}

#[test]
fn a_queue_is_what_controller_and_host_agree_on() {
    let host = HostIdentity::of_uuid(uuid::Uuid::from_u128(1));
    let mut options = HostOptions::io(host, "nqn.2024-05.com.example:s".parse().unwrap());
    let parameters = IoQueueParameters::new(Association(3), QueueId(2), &info(), &options);
    assert_eq!((parameters.entries, parameters.depth()), (128, 127));
    assert_eq!((parameters.in_capsule_bytes, parameters.transfer_bytes_max), (8192, 1 << 20));
    options.in_capsule = false;
    let parameters = IoQueueParameters::new(Association(3), QueueId(2), &info(), &options);
    assert_eq!(parameters.in_capsule_bytes, 0);
}
