//! What reactors are told, and when hosts count as silent.

use std::time::Duration;

use block::Sleeper;
use nvme_spec::sqe::SQE_BYTES;
use nvmf::controller::{Arrival, SubsystemOptions};
use nvmf::wire::rdma::RequestData;
use rdma::{Handle, Slots};

use super::*;

const SUBSYSTEM: &str = "nqn.2024-05.com.example:drives";
const HOST: &str = "nqn.2014-08.org.example:host";

/// A hub of two reactors with one subsystem.
fn hub() -> Hub {
    let wakers = [(); 2].map(|()| Sleeper::new().unwrap().waker());
    let hub = Hub::new(Limits::default(), MonotonicClock::start(), wakers).unwrap();
    let options = SubsystemOptions::new(SUBSYSTEM.parse().unwrap(), "SN1");
    hub.add_subsystem(SubsystemOptions { allow_any_host: true, ..options }).unwrap();
    hub
}

/// The place of a connection on a reactor.
fn place(reactor: u16, number: usize) -> Place {
    let mut slots = Slots::new(8);
    let handles: Vec<Handle> = (0..=number).map(|_| slots.insert(()).unwrap()).collect();
    Place { reactor, connection: ConnectionId { port: 0, handle: handles[number] } }
}

fn command(bytes: &[(usize, u8)]) -> Sqe {
    let mut entry = [0; SQE_BYTES];
    entry[1] = 0x40;
    entry[39] = 0x40;
    bytes.iter().for_each(|(at, byte)| entry[*at] = *byte);
    Sqe::from_bytes(&entry)
}

/// Connects queue `queue` at a place; KATO is 500 ms.
fn connect(hub: &Hub, queue: u8, controller: u16, place: Place, now: Timestamp) -> Joined {
    let sqe = command(&[(0, 0x7f), (4, 1), (42, queue), (44, 31), (48, 0xf4), (49, 1)]);
    let mut data = vec![0; 1024];
    data[16..18].copy_from_slice(&controller.to_le_bytes());
    data[256..256 + SUBSYSTEM.len()].copy_from_slice(SUBSYSTEM.as_bytes());
    data[512..512 + HOST.len()].copy_from_slice(HOST.as_bytes());
    let request = RequestData {
        queue: QueueId(queue.into()),
        host_receives: 32,
        host_sends: 31,
        controller: nvme_spec::ControllerId(controller),
    };
    let address = "192.0.2.1:4420".parse().unwrap();
    hub.connect(now, &sqe, &data, &Arrival { local: address, peer: address, request }, place)
}

/// An enabled controller with its admin queue on reactor 0 and an I/O queue on reactor 1.
fn attached(hub: &Hub, now: Timestamp) -> ControllerKey {
    let Joined::Admin { key, response } = connect(hub, 0, 0xffff, place(0, 0), now) else { panic!() };
    let enable = command(&[(0, 0x7f), (44, 0x14), (48, 1), (50, 0x46)]);
    hub.handle_admin(now, key, &CommandCapsule { sqe: enable, data: &[] });
    let id = response.cqe.dw0() as u16;
    assert!(matches!(connect(hub, 1, id, place(1, 1), now), Joined::Io { .. }));
    key
}

/// The connections that a reactor is told to close.
fn closes(hub: &Hub, reactor: usize) -> Vec<ConnectionId> {
    let close = |message| match message {
        Message::Close { connection, .. } => Some(connection),
        _ => None,
    };
    hub.mailboxes[reactor].take().into_iter().filter_map(close).collect()
}

#[test]
fn a_host_is_silent_only_if_every_reactor_has_looked_since() {
    let hub = hub();
    let now = hub.clock().now();
    attached(&hub, now);
    let later = now.after(Duration::from_millis(500));
    hub.gauges[0].look(later);
    hub.gauges[1].look(now);
    hub.judge_keep_alives();
    assert!(
        hub.mailboxes.iter().all(Mailbox::is_empty),
        "reactor 1 may have a keep-alive that it has not seen"
    );
    hub.gauges[1].look(later);
    hub.judge_keep_alives();
    assert_eq!(closes(&hub, 0), [place(0, 0).connection]);
    assert_eq!(closes(&hub, 1), [place(1, 1).connection]);
}

#[test]
fn the_loss_of_an_admin_queue_closes_the_others_and_gone_is_told_to_all() {
    let hub = hub();
    let now = hub.clock().now();
    let key = attached(&hub, now);
    hub.queue_gone(key, QueueId::ADMIN);
    assert_eq!((closes(&hub, 0), closes(&hub, 1)), (vec![], vec![place(1, 1).connection]));
    assert!(matches!(connect(&hub, 0, 0xffff, place(0, 2), now), Joined::Busy));
    hub.queue_gone(key, QueueId(1));
    for mailbox in &hub.mailboxes {
        assert!(matches!(mailbox.take()[..], [Message::RetryHeld]));
    }
    assert!(matches!(connect(&hub, 0, 0xffff, place(0, 2), now), Joined::Admin { .. }));
    assert_eq!(hub.status().hosts.len(), 1, "the host is remembered");
}

#[test]
fn a_reset_closes_io_queues_only() {
    let hub = hub();
    let now = hub.clock().now();
    let key = attached(&hub, now);
    let disable = command(&[(0, 0x7f), (44, 0x14), (50, 0x46)]);
    hub.handle_admin(now, key, &CommandCapsule { sqe: disable, data: &[] });
    assert_eq!((closes(&hub, 0), closes(&hub, 1)), (vec![], vec![place(1, 1).connection]));
}
