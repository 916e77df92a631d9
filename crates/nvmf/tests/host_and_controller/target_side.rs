//! The daemon's part: connections, the host's memory, a device that takes its time.

use std::collections::BTreeMap;
use std::time::Duration;

use block::{Abilities, BlockSize, Geometry, Limits as BlockLimits, Op, Timestamp, WriteCache};
use nvme_spec::{Nsid, QueueId, Sqe};
use nvmf::controller::{
    AdminAction, Arrival as ArrivalOf, Connected, ControllerKey, DropReason, Event, IoAction, IoCommand,
    KeyedMemory, Limits, NamespaceInfo, PendingAction, PendingQueue, Slot, SubsystemOptions, Target,
    Transfer, check_request, limits,
};
use nvmf::wire::rdma::RejectStatus;
use nvmf::wire::{CommandCapsule, Nqn, ResponseCapsule};

use crate::workload::{BLOCK_BYTES, BLOCKS};
use crate::world::{Arrival, ConnectionId, TargetEnd, World};

pub const SUBSYSTEM: &str = "nqn.2024-05.com.example:joint";

/// What is on the namespaces' media: a stamp for each block.
pub type Storage = BTreeMap<(Nsid, u64), u64>;

/// A write that the device holds: its blocks and their stamps.
pub type Write = Vec<((Nsid, u64), u64)>;

/// A Connect that waits for a former association to end.
pub struct HeldConnect {
    id: ConnectionId,
    sqe: Sqe,
    data: Vec<u8>,
    until: Timestamp,
}

pub fn name() -> Nqn {
    SUBSYSTEM.parse().unwrap()
}

pub fn namespace(nsid: u32, blocks: u64) -> NamespaceInfo {
    NamespaceInfo {
        nsid: Nsid(nsid),
        geometry: Geometry {
            block_size: BlockSize::B512,
            blocks,
            limits: BlockLimits::NONE,
            atomic_blocks: 1,
            write_cache: WriteCache::Volatile,
        },
        abilities: Abilities::WRITE | Abilities::WRITE_ZEROES | Abilities::DISCARD,
        metadata_bytes: 0,
        uuid: Some(uuid::Uuid::from_u128(u128::from(nsid))),
        nguid: None,
        eui64: None,
    }
}

pub fn target() -> Target {
    let mut target = Target::new(Limits::default()).unwrap();
    let options = SubsystemOptions { allow_any_host: true, ..SubsystemOptions::new(name(), "joint") };
    target.add_subsystem(options).unwrap();
    target.add_namespace(&name(), namespace(1, BLOCKS)).unwrap();
    target
}

impl World {
    pub fn requested(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(&id).filter(|one| one.host_open) else { return };
        let granted = check_request(&connection.request, self.target.limits());
        if self.now < self.rejecting_until {
            return self.send(id, true, Arrival::Rejected(id, RejectStatus::NoResources));
        }
        match granted {
            Ok(_) => {
                connection.end = TargetEnd::Pending(PendingQueue::new(connection.request, self.now));
                connection.target_open = true;
                self.send(id, true, Arrival::Accepted(id));
            }
            Err(status) => self.send(id, true, Arrival::Rejected(id, status)),
        }
    }

    fn respond(&mut self, id: ConnectionId, response: ResponseCapsule) {
        self.send(id, true, Arrival::Response(id, response));
    }

    /// Reads the host's memory; nothing if the key is no longer valid.
    fn fetch(&self, memory: KeyedMemory) -> Option<Vec<u8>> {
        let bytes = self.memory.get(&memory.key)?;
        assert_eq!(bytes.len(), memory.bytes as usize, "the descriptor says how much there is");
        Some(bytes.clone())
    }

    /// Writes the host's memory; whether the key was valid.
    fn store(&mut self, memory: KeyedMemory, data: &[u8]) -> bool {
        let Some(bytes) = self.memory.get_mut(&memory.key) else { return false };
        bytes.copy_from_slice(data);
        true
    }

    pub fn capsule(&mut self, id: ConnectionId, bytes: &[u8]) {
        let Some(connection) = self.connections.get_mut(&id).filter(|one| one.target_open) else { return };
        let capsule = CommandCapsule::read(bytes).unwrap();
        match &mut connection.end {
            TargetEnd::None => {}
            TargetEnd::Pending(pending) => match pending.handle_capsule(&capsule) {
                PendingAction::Connect { sqe, offset } => {
                    self.connect_command(id, sqe, capsule.data[offset..offset + 1024].to_vec());
                }
                PendingAction::Fetch { sqe, memory } => match self.fetch(memory) {
                    Some(data) => self.connect_command(id, sqe, data),
                    None => self.close_at_target(id),
                },
                PendingAction::Respond(response) => self.respond(id, response),
                PendingAction::Fatal => self.close_at_target(id),
            },
            TargetEnd::Admin(key) => {
                let key = *key;
                let action = self.target.handle_admin(self.now, key, &capsule);
                self.admin_action(id, key, &capsule, action);
            }
            TargetEnd::Io(queue) => {
                let action = queue.handle_command(&capsule);
                self.io_action(id, capsule.data, action);
            }
        }
    }

    fn connect_command(&mut self, id: ConnectionId, sqe: Sqe, data: Vec<u8>) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let address = "10.0.0.1:4420".parse().unwrap();
        let arrival = ArrivalOf { local: address, peer: address, request: connection.request };
        let response = match self.target.connect(self.now, &sqe, &data, &arrival) {
            Connected::Admin { controller, response } => {
                connection.end = TargetEnd::Admin(controller);
                response
            }
            Connected::Io { queue, response } => {
                connection.end = TargetEnd::Io(queue);
                response
            }
            Connected::Refused(response) => {
                if let TargetEnd::Pending(pending) = &mut connection.end {
                    pending.refused();
                }
                response
            }
            Connected::Busy => {
                self.count("held connect");
                let until = self.now.after(limits::CONNECT_HOLD_MAX);
                self.held.push(HeldConnect { id, sqe, data, until });
                return;
            }
        };
        self.respond(id, response);
    }

    fn admin_action(
        &mut self,
        id: ConnectionId,
        key: ControllerKey,
        capsule: &CommandCapsule<'_>,
        action: AdminAction,
    ) {
        match action {
            AdminAction::Respond(reply) => {
                let is_stored = reply.data.is_none_or(|(memory, data)| self.store(memory, &data));
                if is_stored { self.respond(id, reply.response) } else { self.close_at_target(id) }
            }
            AdminAction::Fetch(memory) => match self.fetch(memory) {
                Some(data) => {
                    let action = self.target.resume_admin(self.now, key, &capsule.sqe, &data);
                    self.admin_action(id, key, capsule, action);
                }
                None => self.close_at_target(id),
            },
            AdminAction::Hold => {}
            AdminAction::Fatal(violation) => panic!("our host broke the protocol: {violation:?}"),
        }
    }

    fn io_action(&mut self, id: ConnectionId, in_capsule: &[u8], action: IoAction) {
        match action {
            IoAction::Respond(response) => self.respond(id, response),
            IoAction::RespondAndClose(response) => {
                self.respond(id, response);
                self.close_at_target(id);
            }
            IoAction::Fatal(violation) => panic!("our host broke the protocol: {violation:?}"),
            IoAction::Execute(command) => self.execute(id, in_capsule, command),
        }
    }

    fn execute(&mut self, id: ConnectionId, in_capsule: &[u8], command: IoCommand) {
        let data = match command.transfer {
            Transfer::InCapsule { offset, bytes } => Some(in_capsule[offset..offset + bytes].to_vec()),
            Transfer::FromHost(memory) => self.fetch(memory),
            Transfer::None | Transfer::ToHost(_) => Some(Vec::new()),
        };
        let Some(data) = data else {
            // The host's memory is gone: it has ended the association.
            if let Some(TargetEnd::Io(queue)) = self.connections.get_mut(&id).map(|one| &mut one.end) {
                queue.complete_transfer_failed(command.slot);
            }
            return self.close_at_target(id);
        };
        let blocks = command.range.start.0..command.range.start.0 + command.range.blocks;
        let write = match command.op {
            Op::Write { .. } => Some(
                blocks
                    .zip(data.chunks(BLOCK_BYTES))
                    .map(|(lba, block)| ((command.nsid, lba), stamp(block)))
                    .collect(),
            ),
            Op::WriteZeroes { .. } => Some(blocks.map(|lba| ((command.nsid, lba), 0)).collect()),
            Op::Read => {
                let stamps = blocks.map(|lba| self.storage.get(&(command.nsid, lba)).copied().unwrap_or(0));
                let data: Vec<u8> = stamps.flat_map(block).collect();
                if let Transfer::ToHost(memory) = command.transfer {
                    self.store(memory, &data);
                }
                None
            }
            _ => None,
        };
        // Mostly fast, and sometimes seconds: longer than a host waits before it comes back.
        let slow = self.troubled && self.dice.happens(20_000);
        let delay = if slow { 8_000_000 } else { 500 };
        let when = self.now.after(Duration::from_micros(1 + self.dice.below(delay)));
        self.at(when, Arrival::DeviceDone(id, command.slot, write));
    }

    pub fn device_done(&mut self, id: ConnectionId, slot: Slot, write: Option<Write>) {
        // The device does not know whether anybody waits.
        self.storage.extend(write.unwrap_or_default());
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let TargetEnd::Io(queue) = &mut connection.end else { return };
        let response = queue.complete(slot, Ok(()));
        if connection.target_open {
            self.respond(id, response);
        } else {
            self.settle(id);
        }
    }

    pub fn close_at_target(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if connection.target_open {
            connection.target_open = false;
            let when = self.soon(5);
            self.at(when, Arrival::GoneAtHost(id));
        }
        self.held.retain(|held| held.id != id);
        self.settle(id);
    }

    /// The target is told of a queue when nothing of it is in flight.
    fn settle(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let gone = match &connection.end {
            TargetEnd::Admin(key) => Some((*key, QueueId::ADMIN)),
            TargetEnd::Io(queue) if queue.in_flight() == 0 => Some((queue.controller(), queue.id())),
            TargetEnd::Io(_) => return,
            TargetEnd::None | TargetEnd::Pending(_) => None,
        };
        connection.end = TargetEnd::None;
        if let Some((key, queue)) = gone {
            self.target.queue_gone(key, queue);
        }
    }

    /// The connections of a controller.
    fn connections_of(&self, key: ControllerKey, with_admin: bool) -> Vec<ConnectionId> {
        let is_its = |end: &TargetEnd| match end {
            TargetEnd::Admin(admin) => with_admin && *admin == key,
            TargetEnd::Io(queue) => queue.controller() == key,
            TargetEnd::None | TargetEnd::Pending(_) => false,
        };
        self.connections.iter().filter(|(_, one)| is_its(&one.end)).map(|(id, _)| *id).collect()
    }

    pub fn drain_target(&mut self) {
        while let Some(event) = self.target.poll_event() {
            match event {
                Event::Response { controller, response } => {
                    let is_admin =
                        |end: &TargetEnd| matches!(end, TargetEnd::Admin(key) if *key == controller);
                    let id = self.connections.iter().find(|(_, one)| is_admin(&one.end)).map(|(id, _)| *id);
                    if let Some(id) = id {
                        self.respond(id, response);
                    }
                }
                Event::CloseIoQueues { controller } => {
                    self.connections_of(controller, false)
                        .into_iter()
                        .for_each(|id| self.close_at_target(id));
                }
                Event::DropController { controller, reason } => {
                    if reason == DropReason::KeepAliveExpired {
                        self.count("keep-alive expired");
                    }
                    self.connections_of(controller, true).into_iter().for_each(|id| self.close_at_target(id));
                }
                Event::Gone { .. } => {
                    for held in std::mem::take(&mut self.held) {
                        self.connect_command(held.id, held.sqe, held.data);
                    }
                }
            }
        }
    }

    pub fn next_hold(&self) -> Timestamp {
        self.held.iter().map(|held| held.until).min().unwrap_or(Timestamp::NEVER)
    }

    pub fn expire_holds(&mut self) {
        let (expired, held) =
            std::mem::take(&mut self.held).into_iter().partition(|held| held.until <= self.now);
        self.held = held;
        let expired: Vec<HeldConnect> = expired;
        for held in expired {
            if let Some(TargetEnd::Pending(pending)) =
                self.connections.get_mut(&held.id).map(|one| &mut one.end)
            {
                pending.refused();
            }
            self.respond(held.id, Target::busy(&held.sqe));
        }
    }

    /// Every connection breaks, as when the process is started anew; what the device holds it carries out first.
    pub fn restart_target(&mut self) {
        self.count("target restarted");
        let ids: Vec<_> = self.connections.keys().copied().collect();
        ids.into_iter().for_each(|id| self.close_at_target(id));
    }

    pub fn change_namespaces(&mut self) {
        let nsid = 2 + self.dice.below(3) as u32;
        let blocks = 8 * (1 + self.dice.below(100));
        let there = self.target.add_namespace(&name(), namespace(nsid, blocks)).is_err();
        if there && self.dice.happens(500_000) {
            self.target.remove_namespace(&name(), Nsid(nsid)).unwrap();
        } else if there {
            self.target.update_namespace(&name(), namespace(nsid, blocks)).unwrap();
        }
        for connection in self.connections.values_mut() {
            if let TargetEnd::Io(queue) = &mut connection.end {
                queue.set_namespaces(self.target.namespaces(queue.controller()));
            }
        }
    }
}

/// A block's stamp: its first eight bytes.
pub fn stamp(block: &[u8]) -> u64 {
    u64::from_le_bytes(block[..8].try_into().unwrap())
}

/// A block with this stamp.
pub fn block(stamp: u64) -> Vec<u8> {
    let mut bytes = vec![0; BLOCK_BYTES];
    bytes[..8].copy_from_slice(&stamp.to_le_bytes());
    bytes
}
