//! Capsules of a host that is attached: every one is answered once, or ends the connection.
#![no_main]

use block::{Abilities, BlockSize, Geometry, Limits as BlockLimits, Op, Timestamp, WriteCache};
use libfuzzer_sys::fuzz_target;
use nvme_spec::{CommandId, ControllerId, Nsid, QueueId};
use nvmf::controller::{
    AdminAction, Arrival, Connected, ControllerKey, IoAction, IoQueue, Limits, NamespaceInfo,
    SubsystemOptions, Target,
};
use nvmf::wire::rdma::RequestData;
use nvmf::wire::{
    CommandCapsule, ConnectAttributes, ConnectCommand, ConnectData, HostId, Nqn, PropertyOffset, PropertySet,
};

const CONTROLLER: ControllerId = ControllerId(1);

fn nqn() -> Nqn {
    "nqn.2024-05.com.example:s".parse().expect("a name")
}

fn connect(target: &mut Target, queue: QueueId, controller: ControllerId) -> Connected {
    let command = ConnectCommand {
        record_format: 0,
        queue,
        sq_size: 31,
        attributes: ConnectAttributes::default(),
        keep_alive_ms: 0,
    };
    let data = ConnectData { host_id: HostId([1; 16]), controller, subsystem: nqn(), host: nqn() };
    let request = RequestData { queue, host_receives: 32, host_sends: 31, controller };
    let address = ([192, 0, 2, 1], 4420).into();
    let arrival = Arrival { local: address, peer: address, request };
    target.connect(Timestamp::default(), &command.to_sqe(CommandId(0)), &data.to_bytes(), &arrival)
}

fn namespace() -> NamespaceInfo {
    NamespaceInfo {
        nsid: Nsid(1),
        geometry: Geometry {
            block_size: BlockSize::B512,
            blocks: 4096,
            limits: BlockLimits::NONE,
            atomic_blocks: 1,
            write_cache: WriteCache::Volatile,
        },
        abilities: Abilities::all(),
        metadata_bytes: 0,
        uuid: None,
        nguid: Some([7; 16]),
        eui64: None,
    }
}

fn attached() -> (Target, ControllerKey, Box<IoQueue>) {
    let mut target = Target::new(Limits::default()).expect("limits");
    let mut options = SubsystemOptions::new(nqn(), "S");
    options.allow_any_host = true;
    target.add_subsystem(options).expect("a subsystem");
    target.add_namespace(&nqn(), namespace()).expect("a namespace");
    let Connected::Admin { controller, .. } = connect(&mut target, QueueId::ADMIN, ControllerId::DYNAMIC)
    else {
        panic!("no admin queue")
    };
    let enable = PropertySet { offset: PropertyOffset::Configuration, value: 0x0046_0001 };
    let nothing =
        nvme_spec::sgl::SglDescriptor::from_bytes([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x40]);
    let sqe = enable.to_sqe(CommandId(1)).with_sgl(nothing);
    target.handle_admin(Timestamp::default(), controller, &CommandCapsule { sqe, data: &[] });
    let Connected::Io { queue, .. } = connect(&mut target, QueueId(1), CONTROLLER) else {
        panic!("no I/O queue")
    };
    (target, controller, queue)
}

fn handle_io(queue: &mut IoQueue, message: &[u8]) {
    let before = queue.in_flight();
    match queue.handle_message(message) {
        IoAction::Execute(command) => {
            assert!(!command.op.has_range() || command.range.fits(4096));
            let is_open = command.op != Op::Discard
                || queue.discard_ranges(command.slot, message, &mut Vec::new()).is_ok();
            if is_open {
                queue.complete(command.slot, Ok(()));
            }
        }
        IoAction::Respond(_) | IoAction::RespondAndClose(_) | IoAction::Fatal(_) => {}
    }
    assert_eq!(queue.in_flight(), before);
}

fuzz_target!(|messages: Vec<(bool, Vec<u8>)>| {
    let (mut target, controller, mut queue) = attached();
    let now = Timestamp::default();
    for (is_io, message) in messages {
        if is_io {
            handle_io(&mut queue, &message);
        } else if let Ok(capsule) = CommandCapsule::read(&message) {
            if let AdminAction::Fetch(memory) = target.handle_admin(now, controller, &capsule) {
                let data = vec![0; memory.bytes as usize];
                target.resume_admin(now, controller, &capsule.sqe, &data);
            }
        }
        while target.poll_event().is_some() {}
    }
});
