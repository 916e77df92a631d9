//! Connections without sockets and threads: what they do with memory, and every event in every state.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use block::{Access, BlockSize, IoError, NullDevice};
use nvme_spec::{CommandId, Cqe, Status};
use rdma::{Data, SendOp, SendWork, Slots};

use super::*;
use crate::reactor::buffers::Class;
use crate::reactor::testing::{Manual, arrival, buffer, connect, core, entry};

const READ: u8 = 2;
const WRITE: u8 = 1;

struct Rig {
    device: Arc<Manual>,
    core: Core,
    receives: Receives,
    names: Slots<()>,
}

fn blocks(count: u32) -> [u32; 6] {
    [0, 0, count - 1, 0, 0, 0]
}

impl Rig {
    fn new() -> Self {
        let device = Manual::new(NullDevice::new("null:test", BlockSize::B4096, 1 << 20, Access::ReadWrite));
        let core = core(&device);
        Self { device, core, receives: Receives::detached(), names: Slots::new(64) }
    }

    fn connection(&mut self, queue: u16, controller: u16) -> Connection {
        let handle = self.names.insert(()).unwrap();
        let id = ConnectionId { port: 0, handle };
        Connection::new(id, QueuePairId::from(handle), arrival(queue, controller), &self.core)
    }

    fn message(&mut self, connection: &mut Connection, bytes: &[u8]) -> Result<(), End> {
        let message =
            Message { kind: ReceiveKind::Io, buffer: buffer(&self.core, bytes), bytes: bytes.len() as u32 };
        connection.handle_message(&mut self.core, &mut self.receives, message)
    }

    /// An admin queue, enabled, and its controller's identifier.
    fn admin(&mut self) -> (Connection, u16) {
        let mut admin = self.connection(0, 0);
        self.message(&mut admin, &connect(0, 0xffff)).unwrap();
        let Stage::Admin(_) = &admin.stage else { panic!("{:?}", admin.stage) };
        let id = sends(&mut admin)[0][0];
        let mut enable = entry(0x7f, 0, 0, [0, 0x14, 0x0046_0001, 0, 0, 0]);
        enable[39] = 0x40;
        self.message(&mut admin, &enable).unwrap();
        assert_eq!(status(&sends(&mut admin)[0]), 0);
        (admin, u16::from(id))
    }

    /// An I/O queue with its admin queue.
    fn io(&mut self) -> (Connection, Connection) {
        let (admin, controller) = self.admin();
        let mut io = self.connection(1, controller);
        self.message(&mut io, &connect(1, controller)).unwrap();
        assert!(io.is_io());
        assert_eq!(status(&sends(&mut io)[0]), 0);
        io.out.finished();
        (admin, io)
    }

    /// What the device has done goes where it belongs.
    fn run_device(&mut self, connection: &mut Connection) {
        let mut done = Vec::new();
        self.core.devices.poll(&mut done, self.core.now);
        for completion in done {
            let tag = Tag::unpack(completion.request.tag);
            connection.handle_device(&mut self.core, tag, completion);
        }
    }

    fn is_all_memory_back(&self) -> bool {
        let (all, free) = self.core.buffers.data_bytes();
        all == free && self.core.reads.bytes() == 0 && self.core.waiting() == 0
    }
}

fn batch(connection: &mut Connection) -> VecDeque<SendWork> {
    std::mem::take(connection.out.batch())
}

/// The responses among what is to be sent.
fn sends(connection: &mut Connection) -> Vec<Vec<u8>> {
    let inline = |work: SendWork| match work.data {
        Data::Inline(data) => Some(data.bytes().to_vec()),
        Data::Memory(_) => None,
    };
    batch(connection).into_iter().filter_map(inline).collect()
}

fn status(response: &[u8]) -> u16 {
    u16::from_le_bytes([response[14], response[15]]) >> 1 & 0x7ff
}

/// The target has forgotten the queue: it can be connected again.
fn is_told_gone(rig: &mut Rig, controller: u16) -> bool {
    let mut again = rig.connection(1, controller);
    rig.message(&mut again, &connect(1, controller)).unwrap();
    let is_free = again.is_io();
    again.lost(&mut rig.core);
    is_free
}

#[test]
fn a_read_goes_device_then_data_then_response() {
    let mut rig = Rig::new();
    let (_admin, mut io) = rig.io();
    rig.message(&mut io, &entry(READ, 1, 4096, blocks(1))).unwrap();
    rig.run_device(&mut io);
    assert!(io.out.is_empty(), "the device has it");
    rig.device.complete(Ok(()));
    rig.run_device(&mut io);
    let work = batch(&mut io);
    assert!(matches!(work[0].op, SendOp::Write(remote) if remote.key.0 == 0x1122_3344));
    assert!(matches!(work[1].op, SendOp::SendInvalidate(key) if key.0 == 0x1122_3344));
    assert!(!rig.is_all_memory_back(), "the RDMA device reads it");
    drop(work);
    assert!(rig.is_all_memory_back());
}

#[test]
fn a_write_goes_host_then_device_then_response() {
    let mut rig = Rig::new();
    let (_admin, mut io) = rig.io();
    rig.message(&mut io, &entry(WRITE, 1, 1 << 20, blocks(256))).unwrap();
    let mut work = batch(&mut io);
    let read = work.pop_front().unwrap();
    assert!(matches!(read.op, SendOp::Read(_)) && work.is_empty());
    assert_eq!(rig.core.reads.bytes(), 1 << 20);
    let (WorkId::Read(slot), Data::Memory(data)) = (WorkId::unpack(read.id), read.data) else { panic!() };
    assert_eq!(data.bytes(), 1 << 20);
    io.handle_read(&mut rig.core, slot, data).unwrap();
    assert_eq!(rig.core.reads.bytes(), 0);
    rig.run_device(&mut io);
    rig.device.complete(Err(IoError::Os { errno: 5 }));
    rig.run_device(&mut io);
    assert_eq!(status(&sends(&mut io)[0]), 0x280, "Write Fault");
    assert!(rig.is_all_memory_back());
}

#[test]
fn reading_from_hosts_is_bounded_and_what_waits_goes_on_in_order() {
    let mut rig = Rig::new();
    let (_admin, mut io) = rig.io();
    for _ in 0..3 {
        rig.message(&mut io, &entry(WRITE, 1, 1 << 20, blocks(256))).unwrap();
    }
    let mut work = batch(&mut io);
    assert_eq!((work.len(), rig.core.waiting()), (1, 2), "one fills the bound");
    rig.message(&mut io, &entry(WRITE, 1, 16384, blocks(4))).unwrap();
    assert_eq!(batch(&mut io).len(), 0, "nobody goes before those that wait");
    rig.message(&mut io, &entry(WRITE, 1, 4096, blocks(1))).unwrap();
    assert_eq!(batch(&mut io).len(), 1, "but small ones, which have a bound of their own");
    let read = work.pop_front().unwrap();
    let (WorkId::Read(slot), Data::Memory(data)) = (WorkId::unpack(read.id), read.data) else { panic!() };
    assert!(rig.core.next_granted().is_none());
    io.handle_read(&mut rig.core, slot, data).unwrap();
    let (ticket, _data) = rig.core.next_granted().unwrap();
    assert_eq!((ticket.need.class, ticket.slot), (Class::Large, 1), "in order");
    assert!(rig.core.next_granted().is_none());
}

#[test]
fn a_large_command_is_not_overtaken_for_ever_by_small_ones() {
    let mut rig = Rig::new();
    let (_admin, mut io) = rig.io();
    // Reads go on while writes wait for their bound, and 28 large chunks are 3.5 MiB.
    rig.message(&mut io, &entry(WRITE, 1, 1 << 20, blocks(256))).unwrap();
    rig.message(&mut io, &entry(READ, 1, 1 << 20, blocks(256))).unwrap();
    rig.message(&mut io, &entry(READ, 1, 1 << 20, blocks(256))).unwrap();
    rig.run_device(&mut io);
    assert_eq!((rig.device.held(), rig.core.waiting()), (2, 0));
    rig.message(&mut io, &entry(READ, 1, 1 << 20, blocks(256))).unwrap();
    assert_eq!(rig.core.waiting(), 1, "four chunks are left");
    rig.message(&mut io, &entry(READ, 1, 16384, blocks(4))).unwrap();
    assert_eq!(rig.core.waiting(), 2, "one would do, and it waits behind the one that needs eight");
    assert!(rig.core.next_granted().is_none());
    rig.device.complete(Ok(()));
    rig.run_device(&mut io);
    drop(batch(&mut io));
    let slots: Vec<u16> =
        std::iter::from_fn(|| rig.core.next_granted()).map(|(ticket, _data)| ticket.slot).collect();
    assert_eq!(slots.len(), 2);
    assert!(rig.core.waiting() == 0 && slots[0] != slots[1]);
}

#[test]
fn a_lost_connection_is_there_until_its_devices_are_done() {
    let mut rig = Rig::new();
    let (_admin, mut io) = rig.io();
    // One in the device, one on its way from the host, one in a capsule.
    rig.message(&mut io, &entry(READ, 1, 4096, blocks(1))).unwrap();
    rig.message(&mut io, &entry(WRITE, 1, 1 << 20, blocks(256))).unwrap();
    let mut capsule = entry(WRITE, 1, 0, blocks(1));
    capsule[32..36].copy_from_slice(&4096_u32.to_le_bytes());
    capsule[39] = 0x01;
    capsule.extend([7; 4096]);
    rig.message(&mut io, &capsule).unwrap();
    rig.run_device(&mut io);
    assert_eq!(rig.device.held(), 2);
    // And one that waits.
    rig.message(&mut io, &entry(WRITE, 1, 1 << 20, blocks(256))).unwrap();
    assert_eq!(rig.core.waiting(), 1);
    io.lost(&mut rig.core);
    assert_eq!((rig.core.waiting(), rig.core.reads.bytes()), (0, 0));
    assert!(!io.is_gone() && !io.is_open());
    assert!(!is_told_gone(&mut rig, 1), "two are in the device");
    assert!(!rig.is_all_memory_back());
    rig.device.complete(Ok(()));
    rig.run_device(&mut io);
    assert!(!io.is_gone(), "the one in the capsule");
    rig.device.complete(Ok(()));
    rig.run_device(&mut io);
    assert!(io.is_gone() && rig.is_all_memory_back());
    assert!(is_told_gone(&mut rig, 1));
}

#[test]
fn what_a_device_never_answers_ends_when_the_device_is_taken_away() {
    let mut rig = Rig::new();
    let (_admin, mut io) = rig.io();
    rig.message(&mut io, &entry(READ, 1, 4096, blocks(1))).unwrap();
    rig.message(&mut io, &entry(WRITE, 1, 1 << 20, blocks(256))).unwrap();
    let mut work = batch(&mut io);
    rig.run_device(&mut io);
    let slot = ExportSlot(0);
    drop(rig.core.devices.remove(slot));
    assert!(rig.core.forget_export(slot).is_empty());
    io.abandon_export(&mut rig.core, slot);
    assert_eq!(status(&sends(&mut io)[0]), 0x082, "Namespace Not Ready");
    // What was on its way from the host ends when it is there, and touches no other device that has got the number.
    let other = Manual::new(NullDevice::new("null:other", BlockSize::B4096, 1 << 20, Access::ReadWrite));
    rig.core.devices.insert(slot, crate::reactor::devices::DeviceQueue::open(&*other).unwrap());
    let read = work.pop_front().unwrap();
    let (WorkId::Read(name), Data::Memory(data)) = (WorkId::unpack(read.id), read.data) else { panic!() };
    io.handle_read(&mut rig.core, name, data).unwrap();
    assert_eq!(status(&sends(&mut io)[0]), 0x082);
    rig.run_device(&mut io);
    assert_eq!(other.held(), 0);
}

#[test]
fn a_connect_that_is_held_is_answered_busy_in_the_end() {
    let mut rig = Rig::new();
    let (mut admin, mut io) = rig.io();
    rig.message(&mut io, &entry(READ, 1, 4096, blocks(1))).unwrap();
    admin.lost(&mut rig.core);
    io.lost(&mut rig.core);
    let mut next = rig.connection(0, 0);
    rig.message(&mut next, &connect(0, 0xffff)).unwrap();
    assert!(next.is_joining() && next.out.is_empty(), "held");
    assert!(!next.expire(rig.core.now.after(Duration::from_millis(4999))));
    assert!(next.out.is_empty());
    assert!(!next.expire(rig.core.now.after(Duration::from_secs(5))));
    assert_eq!(status(&sends(&mut next)[0]), 0x181, "Controller Busy");
    rig.message(&mut next, &connect(0, 0xffff)).unwrap();
    rig.run_device(&mut io);
    rig.device.complete(Ok(()));
    rig.run_device(&mut io);
    assert!(io.is_gone());
    next.retry_held(&mut rig.core);
    assert!(!next.is_joining());
}

/// A connection in some state, and what else lives with it.
fn in_state(rig: &mut Rig, state: usize) -> (Connection, Vec<Connection>) {
    let fetching = {
        let mut capsule = entry(0x7f, 1, 1024, [0, 31, 0, 0, 0, 0]);
        capsule[39] = 0x40;
        capsule
    };
    match state {
        0 => (rig.connection(0, 0), vec![]),
        1 => {
            let mut connection = rig.connection(0, 0);
            rig.message(&mut connection, &fetching).unwrap();
            (connection, vec![])
        }
        2 => (rig.admin().0, vec![]),
        3..7 => {
            let (admin, mut io) = rig.io();
            let capsules = [
                None,
                Some(entry(READ, 1, 4096, blocks(1))),
                Some(entry(WRITE, 1, 4096, blocks(1))),
                Some(entry(READ, 1, 1 << 20, blocks(256))),
            ];
            if let Some(capsule) = &capsules[state - 3] {
                (0..5).for_each(|_| rig.message(&mut io, capsule).unwrap());
            }
            (io, vec![admin])
        }
        7 => {
            let (admin, mut io) = rig.io();
            rig.message(&mut io, &entry(READ, 1, 4096, blocks(1))).unwrap();
            io.lost(&mut rig.core);
            (io, vec![admin])
        }
        _ => {
            let mut connection = rig.connection(0, 0);
            connection.lost(&mut rig.core);
            (connection, vec![])
        }
    }
}

const STATES: usize = 9;

const EVENTS: usize = 12;

/// Something happens. What comes of it is looked at by what is left behind, so results are not.
fn happen(rig: &mut Rig, connection: &mut Connection, event: usize) {
    let _ = match event {
        0 => rig.message(connection, &entry(READ, 1, 4096, blocks(1))),
        1 => rig.message(connection, &[0; 3]),
        2 => rig.message(connection, &connect(0, 0xffff)),
        3 => {
            let need = rig.core.buffers.need(1024);
            let data = rig.core.buffers.take(need).unwrap();
            connection.handle_read(&mut rig.core, 0, data)
        }
        4 => connection.handle_sent(&mut rig.core, WorkId::Response),
        5 => connection.handle_sent(&mut rig.core, WorkId::LastResponse),
        _ => {
            happen_outside(rig, connection, event);
            Ok(())
        }
    };
}

/// The same, for what does not come from the host.
fn happen_outside(rig: &mut Rig, connection: &mut Connection, event: usize) {
    match event {
        6 => {
            rig.run_device(connection);
            while rig.device.held() > 0 {
                rig.device.complete(Err(IoError::Reset));
            }
            rig.run_device(connection);
        }
        7 => {
            drop(rig.core.devices.remove(ExportSlot(0)));
            rig.core.forget_export(ExportSlot(0));
            connection.abandon_export(&mut rig.core, ExportSlot(0));
        }
        8 => connection.refresh(|key| rig.core.hub.view(key)),
        9 => connection.retry_held(&mut rig.core),
        10 => {
            connection.expire(rig.core.now.after(Duration::from_secs(60)));
        }
        _ => {
            let cqe = Cqe::new(QueueId(0), 0, CommandId(1), Status::SUCCESS);
            connection.respond(&ResponseCapsule { cqe, invalidate: None });
            let _ = connection.pump(&mut rig.core);
        }
    }
}

#[test]
fn every_event_in_every_state_leaves_nothing_behind() {
    for state in 0..STATES {
        for event in 0..EVENTS {
            let mut rig = Rig::new();
            let (mut connection, others) = in_state(&mut rig, state);
            let was_open = connection.is_open();
            happen(&mut rig, &mut connection, event);
            assert!(was_open || !connection.is_open(), "state {state}, event {event}: it lives again");
            connection.lost(&mut rig.core);
            rig.run_device(&mut connection);
            while rig.device.held() > 0 {
                rig.device.complete(Ok(()));
            }
            rig.run_device(&mut connection);
            others.into_iter().for_each(|mut other| other.lost(&mut rig.core));
            assert!(connection.is_gone(), "state {state}, event {event}");
            assert!(rig.is_all_memory_back(), "state {state}, event {event}");
            assert_eq!(rig.core.shares.in_all(), (0, 0), "state {state}, event {event}");
            assert_eq!(rig.core.hub.status().controllers, [], "state {state}, event {event}");
        }
    }
}
