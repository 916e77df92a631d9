//! What Linux's host and its target put on the wire is what we take it for.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test")]

use nvme_spec::command::{
    AdminCommand, BlockIo, Cns, CommandSetId, DatasetManagement, FeatureId, GetLogPage, Identify, LogPageId,
    NvmCommand, RangeCount, SetFeatures,
};
use nvme_spec::identify::IdentifyController;
use nvme_spec::registers::{CommandSetSelected, ControllerConfiguration};
use nvme_spec::sgl::{KeyedLength, Sgl};
use nvme_spec::{BlockCount, CommandId, ControllerId, Cqe, Lba, Nsid, QueueId, Status};
use nvmf::wire::rdma::{AcceptData, RequestData};
use nvmf::wire::{
    CommandCapsule, ConnectAttributes, ConnectCommand, ConnectData, ConnectResponse, PropertyGet,
    PropertyOffset, PropertySet,
};

const CAPTURE: &str = include_str!("captures/linux-6.12.txt");

const HOST: &str = "nqn.2014-08.org.nvmexpress:uuid:4c616220-0000-4000-8000-000000000001";
const SUBSYSTEM: &str = "nqn.2024-01.lab:nvmet";

/// The bytes of a message.
fn message(name: &str) -> Vec<u8> {
    let line = CAPTURE.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    let mut bytes = Vec::new();
    for word in line.unwrap().split_whitespace() {
        match word.strip_prefix("0*") {
            Some(count) => bytes.resize(bytes.len() + count.parse::<usize>().unwrap(), 0),
            None => bytes.extend((0..word.len()).step_by(2).map(|at| byte(&word[at..at + 2]))),
        }
    }
    bytes
}

fn byte(digits: &str) -> u8 {
    u8::from_str_radix(digits, 16).unwrap()
}

/// A capsule's command, its descriptor, and how many bytes came with it.
fn command(name: &str) -> (nvme_spec::Sqe, Sgl, usize) {
    let bytes = message(name);
    let capsule = CommandCapsule::read(&bytes).unwrap();
    (capsule.sqe, Sgl::try_from(capsule.sqe.sgl1()).unwrap(), capsule.data.len())
}

fn completion(name: &str) -> Cqe {
    let cqe = Cqe::from_bytes(message(name).try_into().unwrap());
    assert_eq!(cqe.status(), Status::SUCCESS, "{name}");
    cqe
}

const fn keyed(address: u64, length: u32, key: u32) -> Sgl {
    let length = KeyedLength::new(length).unwrap();
    Sgl::KeyedDataBlock { address, length, key, invalidate: true }
}

/// What Linux's host sends with a command that has no data.
const NO_DATA: Sgl =
    Sgl::KeyedDataBlock { address: 0, length: KeyedLength::new(0).unwrap(), key: 0, invalidate: false };

#[test]
fn connections_are_asked_for_and_accepted() {
    let admin = RequestData::read(&message("request of the admin queue")).unwrap();
    let (queue, controller) = (QueueId(0), ControllerId(0));
    assert_eq!(admin, RequestData { queue, host_receives: 32, host_sends: 31, controller });
    let io = RequestData::read(&message("request of I/O queue 1")).unwrap();
    let (queue, controller) = (QueueId(1), ControllerId(1));
    assert_eq!(io, RequestData { queue, host_receives: 128, host_sends: 127, controller });
    assert_eq!(AcceptData::read(&message("accepted")), Some(AcceptData { controller_receives: 32 }));
}

#[test]
fn the_admin_queue_connects_with_data_by_key() {
    let (sqe, sgl, in_capsule) = command("Connect of the admin queue");
    assert_eq!((sgl, in_capsule), (keyed(0xffff_8880_05a9_7c00, 1024, 0x2468), 0));
    let attributes = ConnectAttributes::default();
    let expected =
        ConnectCommand { record_format: 0, queue: QueueId(0), sq_size: 31, attributes, keep_alive_ms: 5000 };
    assert_eq!(ConnectCommand::from_sqe(&sqe), expected);
    assert_data(&message("data of that Connect"), ControllerId(0xffff));
    let connected = ConnectResponse::connected(completion("connected").dw0());
    let controller = ControllerId(1);
    assert_eq!(connected, ConnectResponse::Connected { controller, authentication: Default::default() });
}

#[test]
fn an_io_queue_connects_with_data_in_the_capsule_and_without_flow_control() {
    let bytes = message("Connect of I/O queue 1");
    let capsule = CommandCapsule::read(&bytes).unwrap();
    let sgl = Sgl::try_from(capsule.sqe.sgl1());
    assert_eq!(sgl, Ok(Sgl::InCapsule { offset: 0, length: 1024 }));
    let connect = ConnectCommand::from_sqe(&capsule.sqe);
    assert_eq!((connect.queue, connect.sq_size, connect.keep_alive_ms), (QueueId(1), 127, 0));
    assert_data(capsule.data, ControllerId(1));
}

fn assert_data(bytes: &[u8], controller: ControllerId) {
    let data = ConnectData::read(bytes).unwrap();
    assert_eq!(data.controller, controller);
    assert_eq!((data.host.as_str(), data.subsystem.as_str()), (HOST, SUBSYSTEM));
    assert_eq!(data.host_id.0[..4], *b"Lab ");
}

#[test]
fn properties_are_read_and_cc_is_written_twice() {
    for (name, offset) in [
        ("Property Get CAP", PropertyOffset::Capabilities),
        ("Property Get CSTS", PropertyOffset::Status),
        ("Property Get VS", PropertyOffset::Version),
    ] {
        assert_eq!(PropertyGet::from_sqe(&command(name).0), Ok(PropertyGet { offset }));
    }
    for (name, enabled) in [("Property Set CC, not enabled", false), ("Property Set CC, enabled", true)] {
        let (sqe, sgl, _) = command(name);
        let set = PropertySet::from_sqe(&sqe).unwrap();
        let cc = ControllerConfiguration::from_raw(set.value as u32);
        assert_eq!((set.offset, cc.en()), (PropertyOffset::Configuration, enabled));
        assert_eq!((cc.iosqes(), cc.iocqes(), cc.css()), (6, 4, Some(CommandSetSelected::All)));
        assert_eq!(sgl, NO_DATA);
    }
    assert_eq!(completion("CAP").result64(), 0x0820_0f00_007f);
    assert_eq!(completion("CC set").result64(), 0);
    assert_eq!(completion("CSTS").dw0(), 1);
    assert_eq!(completion("VS").dw0(), 0x0001_0300);
}

#[test]
fn admin_commands() {
    let identify = Identify::new(Cns::CONTROLLER, Nsid::NONE);
    assert_admin("Identify Controller", AdminCommand::Identify(identify));
    let queues = SetFeatures::value(FeatureId::NUMBER_OF_QUEUES, 0x0003_0003);
    assert_admin("Set Features, number of queues", AdminCommand::SetFeatures(queues));
    assert_eq!(completion("queues").dw0(), 0x007f_007f);
    let events = SetFeatures::value(FeatureId::ASYNC_EVENT_CONFIGURATION, 0x900);
    assert_admin("Set Features, events", AdminCommand::SetFeatures(events));
    assert_admin("Asynchronous Event Request", AdminCommand::AsyncEventRequest);
    let AdminCommand::GetLogPage(GetLogPage { lid, length, csi, .. }) = admin("Get Log Page of effects")
    else {
        panic!("another command");
    };
    assert_eq!((lid, length.bytes(), csi), (LogPageId(5), 4096, CommandSetId::NVM.0));
}

fn admin(name: &str) -> AdminCommand {
    AdminCommand::try_from(&command(name).0).unwrap()
}

fn assert_admin(name: &str, expected: AdminCommand) {
    assert_eq!(admin(name), expected);
}

#[test]
fn linux_as_a_controller_says_what_it_can() {
    let bytes = message("the controller");
    let controller = IdentifyController::from_bytes(&bytes).unwrap();
    assert_eq!(
        (controller.ioccsz, controller.iorcsz, controller.icdoff, controller.maxcmd),
        (260, 1, 0, 128)
    );
    assert_eq!((controller.kas, controller.nn, controller.cntlid), (10, 1024, ControllerId(1)));
}

#[test]
fn io_commands() {
    let blocks = |slba, count| BlockIo::new(Nsid(1), Lba(slba), BlockCount::new(count).unwrap());
    let in_capsule = Sgl::InCapsule { offset: 0, length: 512 };
    assert_io("Write in the capsule", NvmCommand::Write(blocks(0, 1)), in_capsule, 512);
    let by_key = keyed(0xffff_8880_07f1_b000, 65536, 0x44b2);
    assert_io("Write by key", NvmCommand::Write(blocks(0, 128)), by_key, 0);
    let by_key = keyed(0xffff_8880_07ef_1000, 65536, 0x1_4499);
    assert_io("Read", NvmCommand::Read(blocks(0, 128)), by_key, 0);
    assert_io("Flush", NvmCommand::Flush(Nsid(1)), NO_DATA, 0);
    assert_io("Write Zeroes", NvmCommand::WriteZeroes(blocks(128, 128)), NO_DATA, 0);
    let one = DatasetManagement::deallocate(Nsid(1), RangeCount::new(1).unwrap());
    let page = Sgl::InCapsule { offset: 0, length: 4096 };
    assert_io("Dataset Management", NvmCommand::DatasetManagement(one), page, 4096);
    let written = completion("written");
    assert_eq!((written.cid(), written.sqid(), written.sqhd()), (CommandId(0x41), QueueId(1), 2));
}

fn assert_io(name: &str, expected: NvmCommand, sgl: Sgl, in_capsule: usize) {
    let (sqe, descriptor, data) = command(name);
    assert_eq!(NvmCommand::try_from(&sqe), Ok(expected));
    assert_eq!((descriptor, data), (sgl, in_capsule), "{name}");
}
