//! A host and a target of ours, joined by memory and virtual time: what one says, the other understands, also when connections are
//! lost, hosts fall silent and namespaces change. By seed; healed in the end, and then everything has to be right.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::cast_possible_truncation, missing_docs)]

use std::collections::BTreeMap;
use std::net::SocketAddr;

use block::{
    Abilities, BlockRange, BlockSize, Geometry, Lba, Limits as BlockLimits, Op, Timestamp, WriteCache,
};
use nvme_spec::{Nsid, QueueId};
use nvmf::controller::{
    AdminAction, Arrival, Connected, ControllerKey, Event, IoAction, IoQueue, Limits, NamespaceInfo,
    PendingAction, PendingQueue, Reply, SubsystemOptions, Target, Transfer, check_request,
};
use nvmf::host::{
    Association, HostAction, HostController, HostEvent, HostIdentity, HostIoQueue, HostOptions, HostState,
    IoCommand, IoQueueParameters, KeyedMemory, Outgoing, OutgoingData, Placement,
};
use nvmf::wire::rdma::RequestData;
use nvmf::wire::{CommandCapsule, Nqn, ResponseCapsule};
use uuid::Uuid;

const SUBSYSTEM: &str = "nqn.2024-05.com.example:drives";
const KEY: u32 = 0x5eed_0001;
const TURNS_MAX: usize = 10_000;

enum Side {
    Pending(PendingQueue),
    Admin(ControllerKey),
    Io(ControllerKey, Box<IoQueue>),
}

struct World {
    target: Target,
    host: HostController,
    sides: BTreeMap<(Association, QueueId), Side>,
    /// Connects that wait for a former association.
    held: Vec<(Association, QueueId, Outgoing)>,
    events: Vec<HostEvent>,
    queues: Vec<IoQueueParameters>,
    now: Timestamp,
    /// Controllers that the target gave up.
    dropped: usize,
}

fn nqn() -> Nqn {
    SUBSYSTEM.parse().unwrap()
}

fn namespace(nsid: u32) -> NamespaceInfo {
    NamespaceInfo {
        nsid: Nsid(nsid),
        geometry: Geometry {
            block_size: BlockSize::B4096,
            blocks: 1000,
            limits: BlockLimits::NONE,
            atomic_blocks: 1,
            write_cache: WriteCache::Volatile,
        },
        abilities: Abilities::WRITE | Abilities::WRITE_ZEROES | Abilities::DISCARD,
        metadata_bytes: 0,
        uuid: Some(Uuid::from_u128(u128::from(nsid))),
        nguid: None,
        eui64: None,
    }
}

fn address() -> SocketAddr {
    "192.0.2.1:4420".parse().unwrap()
}

impl World {
    fn new(change: impl FnOnce(&mut HostOptions)) -> Self {
        let mut target = Target::new(Limits::default()).unwrap();
        let mut subsystem = SubsystemOptions::new(nqn(), "SN");
        subsystem.allow_any_host = true;
        target.add_subsystem(subsystem).unwrap();
        target.add_namespace(&nqn(), namespace(1)).unwrap();
        target.set_listeners(vec![address()]);
        let mut options = HostOptions::io(HostIdentity::of_uuid(Uuid::from_u128(7)), nqn());
        options.io_queues = 2;
        change(&mut options);
        let mut host = HostController::new(options).unwrap();
        let now = Timestamp::from_ns(1_000_000_000);
        host.start(now);
        let (sides, held) = (BTreeMap::new(), Vec::new());
        Self { target, host, sides, held, events: Vec::new(), queues: Vec::new(), now, dropped: 0 }
    }

    fn find(&self, key: ControllerKey) -> Vec<(Association, QueueId)> {
        let is_its = |side: &Side| matches!(side, Side::Admin(other) | Side::Io(other, _) if *other == key);
        self.sides.iter().filter(|(_, side)| is_its(side)).map(|(name, _)| *name).collect()
    }

    /// A connection ends, and the target is told.
    fn close(&mut self, name: (Association, QueueId)) {
        if let Some(Side::Admin(key) | Side::Io(key, _)) = self.sides.remove(&name) {
            self.target.queue_gone(key, name.1);
        }
    }

    fn connect(&mut self, association: Association, request: RequestData) {
        let accepted = check_request(&request, self.target.limits()).unwrap();
        assert_eq!(accepted.controller_receives, request.host_sends + 1);
        let pending = Side::Pending(PendingQueue::new(request, self.now));
        assert!(self.sides.insert((association, request.queue), pending).is_none());
        self.host.handle_queue_connected(association, request.queue, self.now);
    }

    fn send(&mut self, association: Association, queue: QueueId, command: Outgoing) {
        let bytes = command.memory_bytes() as u32;
        let memory = KeyedMemory { address: 0x1000, key: KEY, bytes, invalidate: true };
        let sqe = if bytes == 0 { command.sqe } else { command.with_memory(memory).unwrap() };
        let (in_capsule, from_host): (&[u8], &[u8]) = match &command.data {
            OutgoingData::InCapsule(data) => (data, &[]),
            OutgoingData::ToController(data) => (&[], data),
            OutgoingData::None | OutgoingData::FromController { .. } => (&[], &[]),
        };
        let message = [&sqe.to_bytes()[..], in_capsule].concat();
        let capsule = CommandCapsule::read(&message).unwrap();
        let Some(side) = self.sides.get_mut(&(association, queue)) else { return };
        let action = match side {
            Side::Pending(pending) => {
                let data = match pending.handle_capsule(&capsule) {
                    PendingAction::Connect { offset, .. } => &capsule.data[offset..offset + 1024],
                    PendingAction::Fetch { memory, .. } => {
                        assert_eq!((memory.bytes, memory.key), (1024, KEY));
                        from_host
                    }
                    other => panic!("{other:?}"),
                };
                let arrival = Arrival { local: address(), peer: address(), request: pending.request() };
                let connected = self.target.connect(self.now, &sqe, data, &arrival);
                return self.connected((association, queue), connected, command);
            }
            Side::Admin(key) => {
                let key = *key;
                match self.target.handle_admin(self.now, key, &capsule) {
                    AdminAction::Fetch(_) => self.target.resume_admin(self.now, key, &sqe, from_host),
                    action => action,
                }
            }
            Side::Io(..) => panic!("the controller's host sends nothing else on an I/O queue"),
        };
        match action {
            AdminAction::Respond(Reply { data, response }) => {
                assert_eq!(response.invalidate, (bytes > 0).then_some(KEY), "exactly its key");
                let data = data.map_or_else(Vec::new, |(_, data)| data);
                self.host.handle_response(association, queue, &response.cqe, &data, self.now);
            }
            AdminAction::Hold => {}
            other => panic!("{other:?}"),
        }
    }

    fn connected(&mut self, name: (Association, QueueId), connected: Connected, command: Outgoing) {
        let response: ResponseCapsule = match connected {
            Connected::Admin { controller, response } => {
                self.sides.insert(name, Side::Admin(controller));
                response
            }
            Connected::Io { queue, response } => {
                self.sides.insert(name, Side::Io(queue.controller(), queue));
                response
            }
            Connected::Refused(response) => response,
            Connected::Busy => {
                if let Some(Side::Pending(pending)) = self.sides.get_mut(&name) {
                    pending.refused();
                }
                return self.held.push((name.0, name.1, command));
            }
        };
        self.host.handle_response(name.0, name.1, &response.cqe, &[], self.now);
    }

    fn act(&mut self, action: HostAction) {
        match action {
            HostAction::ConnectQueue { association, request } => self.connect(association, request),
            HostAction::Send { association, queue, command } => self.send(association, queue, command),
            HostAction::Disconnect { association } => {
                let names: Vec<_> = self.sides.keys().copied().filter(|name| name.0 == association).collect();
                names.into_iter().for_each(|name| self.close(name));
                self.host.handle_disconnected(association, self.now);
            }
        }
    }

    fn obey(&mut self, event: Event) {
        let closing = match event {
            Event::Response { controller, response } => {
                for (association, queue) in self.find(controller).into_iter().filter(|name| name.1.is_admin())
                {
                    self.host.handle_response(association, queue, &response.cqe, &[], self.now);
                }
                return;
            }
            Event::Gone { .. } => {
                for (association, queue, command) in std::mem::take(&mut self.held) {
                    self.send(association, queue, command);
                }
                return;
            }
            Event::CloseIoQueues { controller } => {
                self.find(controller).into_iter().filter(|name| !name.1.is_admin()).collect()
            }
            Event::DropController { controller, .. } => {
                self.dropped += 1;
                self.find(controller)
            }
        };
        for name in closing {
            self.close(name);
            self.host.handle_queue_lost(name.0, name.1, self.now);
        }
    }

    /// Everything that is to be done now.
    fn settle(&mut self) {
        for _ in 0..TURNS_MAX {
            if let Some(action) = self.host.poll_action() {
                self.act(action);
            } else if let Some(event) = self.target.poll_event() {
                self.obey(event);
            } else if let Some(event) = self.host.poll_event() {
                if let HostEvent::Live { queues, .. } = &event {
                    self.queues.clone_from(queues);
                }
                self.events.push(event);
            } else {
                return;
            }
        }
        panic!("they do not come to rest");
    }

    /// Lets time pass up to `until`, both sides being looked at whenever they ask for it.
    fn pass(&mut self, until: Timestamp) {
        for _ in 0..TURNS_MAX {
            self.settle();
            let next = self.host.next_timeout().min(self.target.next_timeout());
            if next > until {
                self.now = self.now.max(until);
                return;
            }
            self.now = self.now.max(next);
            self.host.handle_timeout(self.now);
            self.settle();
            self.target.handle_timeout(self.now);
        }
        panic!("time does not pass");
    }

    fn pass_ms(&mut self, ms: u64) {
        self.pass(self.now.after_ns(ms * 1_000_000));
    }

    /// The target's queue of the live association.
    fn io(&mut self, queue: QueueId) -> &mut IoQueue {
        let name = (self.host.association(), queue);
        match self.sides.get_mut(&name) {
            Some(Side::Io(_, queue)) => queue,
            _ => panic!("no such queue"),
        }
    }

    /// What must hold when nothing disturbs.
    fn check(&mut self) {
        assert_eq!(self.host.state(), HostState::Live);
        assert_eq!(self.target.controllers().count(), 1, "nothing of old is left");
        let status = self.target.controllers().next().unwrap();
        assert_eq!(status.io_queues, 2);
        let seen: Vec<Nsid> = self.host.namespaces().keys().copied().collect();
        let there: Vec<Nsid> = self.target.namespaces(status.key).iter().map(|info| info.nsid).collect();
        assert_eq!(seen, there);
    }
}

#[test]
fn a_host_attaches_works_and_goes() {
    let mut world = World::new(|_| {});
    world.pass_ms(1000);
    world.check();
    for parameters in world.queues.clone() {
        let mut queue = HostIoQueue::new(parameters);
        let memory = KeyedMemory { address: 0x2000, key: KEY, bytes: 8192, invalidate: true };
        for turn in 0..500 {
            let range = BlockRange::new(Lba(turn), 2);
            let (op, placement) = match turn % 4 {
                0 => (Op::Read, Placement::Memory(memory)),
                1 => (Op::Write { fua: true }, Placement::Memory(memory)),
                2 => (Op::Write { fua: false }, Placement::InCapsule { bytes: 8192 }),
                _ => (Op::WriteZeroes { fua: false, may_unmap: true }, Placement::None),
            };
            let command = IoCommand { nsid: Nsid(1), op, range };
            let prepared = queue.prepare(&command, &placement).unwrap().expect("room");
            let data = vec![0; if matches!(placement, Placement::InCapsule { .. }) { 8192 } else { 0 }];
            let message = [&prepared.sqe.to_bytes()[..], &data].concat();
            let IoAction::Execute(taken) = world.io(parameters.queue).handle_message(&message) else {
                panic!("refused")
            };
            assert_eq!((taken.op, taken.range), (op, range));
            assert!(data.is_empty() || taken.transfer == Transfer::InCapsule { offset: 0, bytes: 8192 });
            let response = world.io(parameters.queue).complete(taken.slot, Ok(()));
            let completed = queue.handle_response(&response.cqe, response.invalidate).unwrap();
            assert_eq!((completed.slot, completed.result, completed.live_key), (prepared.slot, Ok(()), None));
        }
    }
    world.host.shutdown(world.now);
    world.pass_ms(1000);
    assert_eq!((world.host.state(), world.target.controllers().count()), (HostState::Dead, 0));
}

#[test]
fn a_live_association_stays_for_an_hour_and_sees_namespaces_come_and_go() {
    let mut world = World::new(|_| {});
    for nsid in 2..20 {
        world.target.add_namespace(&nqn(), namespace(nsid)).unwrap();
        world.pass_ms(200_000);
        world.check();
        world.target.remove_namespace(&nqn(), Nsid(nsid - 1)).unwrap();
    }
    world.pass_ms(1000);
    world.check();
    let lives = world.events.iter().filter(|event| matches!(event, HostEvent::Live { .. })).count();
    assert_eq!(lives, 1, "no keep-alive was late");
}

#[test]
fn a_host_discovers_what_it_may_attach_to() {
    let mut world = World::new(|options| *options = HostOptions::discovery(options.host.clone()));
    world.pass_ms(1000);
    let found = |world: &World| {
        let logs = world.events.iter().filter_map(|event| match event {
            HostEvent::Discovered(log) => Some(log.as_ref().unwrap().entries.len()),
            _ => None,
        });
        logs.collect::<Vec<_>>()
    };
    assert_eq!(found(&world), [2]);
    world.target.remove_subsystem(&nqn()).unwrap();
    world.pass_ms(100_000);
    assert_eq!(found(&world), [2, 1], "told, and read again");
}

/// A generator of numbers (xorshift64*).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) % bound
    }
}

fn disturb(world: &mut World, random: &mut Random) {
    let names: Vec<_> = world.sides.keys().copied().collect();
    let nsid = 1 + random.below(4) as u32;
    match random.below(6) {
        // A connection is lost on both sides.
        0 | 1 if !names.is_empty() => {
            let name = names[random.below(names.len() as u64) as usize];
            world.close(name);
            world.host.handle_queue_lost(name.0, name.1, world.now);
        }
        // The host sleeps, and is late.
        2 => {
            world.now = world.now.after_ns(7_000_000_000);
            world.target.handle_timeout(world.now);
        }
        3 => world.host.reset(world.now),
        // Whether there is one already does not matter.
        4 => drop(world.target.add_namespace(&nqn(), namespace(nsid))),
        _ => drop(world.target.remove_namespace(&nqn(), Nsid(nsid))),
    }
}

#[test]
fn both_heal_after_any_disturbance() {
    let (mut lost, mut dropped) = (0, 0);
    for seed in 1_u64..=60 {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut world = World::new(|options| options.reconnect.retry_first = true);
        for _ in 0..40 {
            world.pass_ms(random.below(3000));
            disturb(&mut world, &mut random);
            // Some disturbances meet what is under way.
            for _ in 0..random.below(6) {
                if let Some(action) = world.host.poll_action() {
                    world.act(action);
                }
            }
        }
        world.pass_ms(60_000);
        assert_eq!(world.host.state(), HostState::Live, "seed {seed}");
        world.check();
        lost += world.events.iter().filter(|event| matches!(event, HostEvent::Lost { .. })).count();
        dropped += world.dropped;
    }
    assert!(lost > 100 && dropped > 100, "the disturbances did something: {lost} {dropped}");
}
