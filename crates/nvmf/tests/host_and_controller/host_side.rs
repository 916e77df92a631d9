//! The initiator's part: connections, memory with keys, the queues' owner.

use std::collections::BTreeMap;

use block::IoError;
use nvme_spec::QueueId;
use nvmf::host::{
    Association, Failure, HostAction, HostController, HostEvent, HostIdentity, HostIoQueue, HostOptions,
    HostState, IoCommand, KeyedMemory, Outgoing, OutgoingData, Placement, Slot,
};
use nvmf::wire::ResponseCapsule;
use nvmf::wire::rdma::RejectStatus;
use sim::Dice;

use crate::workload::Piece;
use crate::world::{Arrival, ConnectionId, TargetEnd, World};

/// A queue, and what is in flight on it.
pub struct OwnedQueue {
    pub queue: HostIoQueue,
    pub in_flight: BTreeMap<Slot, (Piece, Option<u32>)>,
}

/// The queues of the live association.
#[derive(Default)]
pub struct IoOwner {
    pub association: Association,
    pub queues: BTreeMap<QueueId, OwnedQueue>,
    /// Whether commands may be sent.
    pub may_send: bool,
}

pub fn controller(dice: &mut Dice) -> HostController {
    let identity = HostIdentity::of_uuid(uuid::Uuid::from_u128(7));
    let mut options = HostOptions::io(identity, crate::target_side::name());
    options.io_queues = 1 + dice.below(3) as u16;
    options.io_entries = 2 + dice.below(30) as u16;
    options.without_flow_control = dice.happens(300_000);
    options.in_capsule = dice.happens(700_000);
    options.reconnect.retry_first = true;
    HostController::new(options).unwrap()
}

impl World {
    fn connection_of(&self, association: Association, queue: QueueId) -> Option<ConnectionId> {
        let is_it = |one: &crate::world::Connection| one.association == association && one.queue == queue;
        self.connections.iter().find(|(_, one)| is_it(one) && one.host_open).map(|(id, _)| *id)
    }

    pub fn give_key(&mut self, bytes: Vec<u8>) -> KeyedMemory {
        let key = self.next_key;
        self.next_key += 1;
        let length = bytes.len() as u32;
        self.memory.insert(key, bytes);
        KeyedMemory { address: 0x1000, key, bytes: length, invalidate: self.dice.happens(800_000) }
    }

    pub fn take_key(&mut self, key: u32) -> Vec<u8> {
        assert!(self.dead_keys.insert(key), "a key ends once");
        self.memory.remove(&key).unwrap()
    }

    pub fn drain_host(&mut self) {
        loop {
            while let Some(event) = self.host.poll_event() {
                self.event(event);
            }
            let Some(action) = self.host.poll_action() else { return };
            match action {
                HostAction::ConnectQueue { association, request } => self.connect(association, request),
                HostAction::Send { association, queue, command } => {
                    self.send_command(association, queue, &command);
                }
                HostAction::Disconnect { association } => self.disconnect(association),
            }
        }
    }

    fn send_command(&mut self, association: Association, queue: QueueId, command: &Outgoing) {
        let id = self.connection_of(association, queue).expect("sent on a connection that is there");
        let (sqe, in_capsule) = match &command.data {
            OutgoingData::None => (command.sqe, Vec::new()),
            OutgoingData::InCapsule(bytes) => (command.sqe, bytes.clone()),
            OutgoingData::ToController(_) | OutgoingData::FromController { .. } => {
                let bytes = match &command.data {
                    OutgoingData::ToController(bytes) => bytes.clone(),
                    _ => vec![0; command.memory_bytes()],
                };
                let memory = self.give_key(bytes);
                self.admin_keys.insert((id, command.cid()), memory.key);
                (command.with_memory(memory).unwrap(), Vec::new())
            }
        };
        let mut bytes = sqe.to_bytes().to_vec();
        bytes.extend(in_capsule);
        self.send(id, false, Arrival::Capsule(id, bytes));
    }

    pub fn accepted(&mut self, id: ConnectionId) {
        let Some(one) = self.connections.get(&id).filter(|one| one.host_open) else { return };
        self.host.handle_queue_connected(one.association, one.queue, self.now);
    }

    pub fn rejected(&mut self, id: ConnectionId, status: RejectStatus) {
        let Some(one) = self.connections.get(&id).filter(|one| one.host_open) else { return };
        self.host.handle_queue_refused(one.association, one.queue, Some(status), self.now);
    }

    pub fn gone_at_host(&mut self, id: ConnectionId) {
        let Some(one) = self.connections.get(&id).filter(|one| one.host_open) else { return };
        self.host.handle_queue_lost(one.association, one.queue, self.now);
    }

    pub fn response(&mut self, id: ConnectionId, response: &ResponseCapsule) {
        let Some(one) = self.connections.get(&id).filter(|one| one.host_open) else { return };
        let (association, queue) = (one.association, one.queue);
        let owned = self.owner.queues.get_mut(&queue).filter(|_| self.owner.association == association);
        if let Some(owned) = owned {
            let done =
                owned.queue.handle_response(&response.cqe, response.invalidate).expect("a right answer");
            let (piece, key) = owned.in_flight.remove(&done.slot).expect("in flight");
            assert_eq!(done.live_key.or(response.invalidate), key, "one of the two ends the key");
            let data = key.map(|key| self.take_key(key));
            self.finished(piece, done.result, data);
            return;
        }
        let key = self.admin_keys.remove(&(id, response.cqe.cid()));
        assert!(response.invalidate.is_none() || response.invalidate == key, "the right key");
        let data = key.map_or_else(Vec::new, |key| self.take_key(key));
        self.host.handle_response(association, queue, &response.cqe, &data, self.now);
    }

    /// Sends a piece of work on a queue; hands it back if there is no room.
    pub fn submit(&mut self, queue: QueueId, piece: Piece, command: &IoCommand, data: Vec<u8>) -> bool {
        let Some(owned) = self.owner.queues.get(&queue) else { return false };
        if !owned.queue.has_room() {
            return false;
        }
        let bytes = data.len() as u32;
        let (placement, key, in_capsule) = if bytes == 0 {
            (Placement::None, None, data)
        } else if owned.queue.fits_capsule(command, bytes) {
            self.count("in capsule");
            (Placement::InCapsule { bytes }, None, data)
        } else {
            let memory = self.give_key(data);
            (Placement::Memory(memory), Some(memory.key), Vec::new())
        };
        let owned = self.owner.queues.get_mut(&queue).unwrap();
        let prepared = owned.queue.prepare(command, &placement).unwrap().expect("there is room");
        assert!(owned.in_flight.insert(prepared.slot, (piece, key)).is_none(), "a slot has one command");
        let id = self.connection_of(self.owner.association, queue).unwrap();
        let mut capsule = prepared.sqe.to_bytes().to_vec();
        capsule.extend(in_capsule);
        self.send(id, false, Arrival::Capsule(id, capsule));
        true
    }

    fn event(&mut self, event: HostEvent) {
        match event {
            HostEvent::Live { association, incarnation, queues } => {
                self.count("live");
                assert!(incarnation > self.workload.incarnation, "each association is another incarnation");
                self.workload.incarnation = incarnation;
                assert!(self.owner.queues.is_empty(), "the former association has ended");
                let own = |parameters| OwnedQueue {
                    queue: HostIoQueue::new(parameters),
                    in_flight: BTreeMap::new(),
                };
                let queues = queues.into_iter().map(|parameters| (parameters.queue, own(parameters)));
                self.owner = IoOwner { association, queues: queues.collect(), may_send: true };
            }
            HostEvent::Lost { association, .. } => {
                self.count("lost");
                assert_eq!(association, self.owner.association);
                self.owner.may_send = false;
            }
            HostEvent::AttemptFailed { .. } => self.count("attempt failed"),
            HostEvent::NamespacesChanged(changes) => {
                assert!(!changes.is_empty());
                self.count("namespaces changed");
            }
            HostEvent::Dead(why) => assert_eq!(why, Failure::Shutdown, "nothing here is final"),
            HostEvent::Discovered(log) => self.discovered.push(log.unwrap()),
            other => panic!("{other:?}"),
        }
    }

    fn disconnect(&mut self, association: Association) {
        let ids: Vec<_> = self
            .connections
            .iter()
            .filter(|(_, one)| one.association == association)
            .map(|(id, _)| *id)
            .collect();
        // The target confirms the end (DREQ and DREP) before the host goes on. A host that came back without that could be ahead of
        // its own former writes: nothing tells a target a host that returned from one that has two associations.
        let mut confirmed = self.soon(20);
        for id in ids {
            let when = self.soon(300);
            confirmed = confirmed.max(when.after_ns(1));
            self.at(when, Arrival::GoneAtTarget(id));
        }
        self.at(confirmed, Arrival::Disconnected(association));
    }

    /// The queue pairs are gone and their keys with them: now commands end.
    pub fn disconnected(&mut self, association: Association) {
        for one in self.connections.values_mut().filter(|one| one.association == association) {
            one.host_open = false;
        }
        for key in std::mem::take(&mut self.admin_keys).into_values() {
            self.take_key(key);
        }
        for (_, mut owned) in std::mem::take(&mut self.owner.queues) {
            for done in owned.queue.end() {
                let (piece, key) = owned.in_flight.remove(&done.slot).expect("in flight");
                assert_eq!((done.result, done.live_key), (Err(IoError::Reset), key));
                let data = key.map(|key| self.take_key(key));
                self.finished(piece, done.result, data);
            }
            assert!(owned.in_flight.is_empty(), "every command ends");
        }
        assert!(self.memory.is_empty(), "every key ends");
        self.connections.retain(|_, one| one.host_open || !matches!(one.end, TargetEnd::None));
        self.host.handle_disconnected(association, self.now);
    }

    pub fn shut_down(&mut self) {
        self.owner.may_send = false;
        self.host.shutdown(self.now);
        self.drain_host();
    }

    pub fn check_nothing_is_left(&mut self) {
        assert_eq!(self.host.state(), HostState::Dead);
        assert_eq!(self.target.controllers().count(), 0, "the target keeps nothing");
        assert!(self.memory.is_empty() && self.admin_keys.is_empty() && self.held.is_empty());
    }
}
