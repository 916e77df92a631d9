//! Time, messages and faults.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use block::Timestamp;
use nvme_spec::{CommandId, QueueId};
use nvmf::controller::{ControllerKey, IoQueue, PendingQueue, Slot, Target};
use nvmf::host::discovery::DiscoveryLog;
use nvmf::host::{Association, HostController};
use nvmf::wire::ResponseCapsule;
use nvmf::wire::rdma::{RejectStatus, RequestData};
use sim::Dice;

use crate::host_side::IoOwner;
use crate::target_side::{HeldConnect, Storage, Write};
use crate::workload::Workload;

/// A connection, for ever: never given again.
pub type ConnectionId = u64;

/// What the target has at its end of a connection.
#[derive(Debug)]
pub enum TargetEnd {
    /// Nothing yet, or no more.
    None,
    Pending(PendingQueue),
    Admin(ControllerKey),
    Io(Box<IoQueue>),
}

#[derive(Debug)]
pub struct Connection {
    pub association: Association,
    pub queue: QueueId,
    pub request: RequestData,
    pub end: TargetEnd,
    pub host_open: bool,
    pub target_open: bool,
    /// Messages keep their order: when the last one arrives, at the target and at the host.
    arrivals: [Timestamp; 2],
}

/// What happens at a moment.
#[derive(Debug)]
pub enum Arrival {
    Request(ConnectionId),
    Accepted(ConnectionId),
    Rejected(ConnectionId, RejectStatus),
    Capsule(ConnectionId, Vec<u8>),
    Response(ConnectionId, ResponseCapsule),
    /// The target learns that the connection is gone.
    GoneAtTarget(ConnectionId),
    /// The host does.
    GoneAtHost(ConnectionId),
    /// All of an association is gone at the host.
    Disconnected(Association),
    DeviceDone(ConnectionId, Slot, Option<Write>),
    Fault,
    Work,
}

pub struct World {
    pub now: Timestamp,
    pub dice: Dice,
    pub host: HostController,
    pub owner: IoOwner,
    pub target: Target,
    pub storage: Storage,
    pub held: Vec<HeldConnect>,
    pub workload: Workload,
    pub connections: BTreeMap<ConnectionId, Connection>,
    /// The host's memory that the target can reach, by key.
    pub memory: BTreeMap<u32, Vec<u8>>,
    pub admin_keys: BTreeMap<(ConnectionId, CommandId), u32>,
    pub counts: BTreeMap<&'static str, u64>,
    /// What a host of a discovery controller has read.
    pub discovered: Vec<DiscoveryLog>,
    /// Keys that were given back: nothing may reach them.
    pub dead_keys: BTreeSet<u32>,
    pub next_key: u32,
    next_connection: ConnectionId,
    next_arrival: u64,
    arrivals: BTreeMap<(Timestamp, u64), Arrival>,
    /// No message arrives before.
    held_until: Timestamp,
    pub troubled: bool,
    pub rejecting_until: Timestamp,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        Self {
            now: Timestamp::from_ns(1_000_000_000),
            host: crate::host_side::controller(&mut dice),
            owner: IoOwner::default(),
            target: crate::target_side::target(),
            storage: Storage::default(),
            held: Vec::new(),
            workload: Workload::default(),
            connections: BTreeMap::new(),
            memory: BTreeMap::new(),
            admin_keys: BTreeMap::new(),
            counts: BTreeMap::new(),
            discovered: Vec::new(),
            dead_keys: BTreeSet::new(),
            next_key: 1,
            next_connection: 0,
            next_arrival: 0,
            arrivals: BTreeMap::new(),
            held_until: Timestamp::default(),
            troubled: true,
            rejecting_until: Timestamp::default(),
            dice,
        }
    }

    pub fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_insert(0) += 1;
    }

    pub fn start(&mut self) {
        self.host.start(self.now);
        self.after(Duration::from_secs(2), Arrival::Fault);
        self.after(Duration::from_millis(10), Arrival::Work);
        self.drain_host();
    }

    pub fn heal(&mut self) {
        self.troubled = false;
        self.held_until = self.now;
        self.rejecting_until = self.now;
    }

    pub fn at(&mut self, when: Timestamp, arrival: Arrival) {
        self.next_arrival += 1;
        self.arrivals.insert((when, self.next_arrival), arrival);
    }

    pub fn after(&mut self, delay: Duration, arrival: Arrival) {
        self.at(self.now.after(delay), arrival);
    }

    /// A moment within so many milliseconds.
    pub fn soon(&mut self, milliseconds: u64) -> Timestamp {
        self.now.after(Duration::from_micros(1 + self.dice.below(milliseconds * 1000)))
    }

    pub fn connect(&mut self, association: Association, request: RequestData) {
        self.next_connection += 1;
        let id = self.next_connection;
        let connection = Connection {
            association,
            queue: request.queue,
            request,
            end: TargetEnd::None,
            host_open: true,
            target_open: false,
            arrivals: [self.now; 2],
        };
        self.connections.insert(id, connection);
        let when = self.soon(2).max(self.held_until);
        self.at(when, Arrival::Request(id));
    }

    /// Sends a message: in order, and not before messages are let through.
    pub fn send(&mut self, id: ConnectionId, to_host: bool, message: Arrival) {
        let when = self.soon(2).max(self.held_until);
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let last = &mut connection.arrivals[usize::from(to_host)];
        *last = when.max(last.after_ns(1));
        let when = *last;
        self.at(when, message);
    }

    /// Lets time pass.
    pub fn run_for(&mut self, duration: Duration) {
        let end = self.now.after(duration);
        loop {
            let arrival = self.arrivals.first_key_value().map_or(Timestamp::NEVER, |((when, _), _)| *when);
            let timers = self.host.next_timeout().min(self.target.next_timeout());
            let next = arrival.min(timers).min(self.next_hold());
            if next > end {
                self.now = end;
                return;
            }
            self.now = self.now.max(next);
            while let Some(entry) = self.arrivals.first_entry().filter(|entry| entry.key().0 <= self.now) {
                let arrival = entry.remove();
                self.arrive(arrival);
                self.drain_target();
                self.drain_host();
            }
            self.host.handle_timeout(self.now);
            self.target.handle_timeout(self.now);
            self.expire_holds();
            self.drain_target();
            self.drain_host();
        }
    }

    fn arrive(&mut self, arrival: Arrival) {
        match arrival {
            Arrival::Request(id) => self.requested(id),
            Arrival::Capsule(id, bytes) => self.capsule(id, &bytes),
            Arrival::GoneAtTarget(id) => self.close_at_target(id),
            Arrival::DeviceDone(id, slot, write) => self.device_done(id, slot, write),
            Arrival::Accepted(id) => self.accepted(id),
            Arrival::Rejected(id, status) => self.rejected(id, status),
            Arrival::Response(id, response) => self.response(id, &response),
            Arrival::GoneAtHost(id) => self.gone_at_host(id),
            Arrival::Disconnected(association) => self.disconnected(association),
            Arrival::Fault => self.fault(),
            Arrival::Work => self.work(),
        }
    }

    fn fault(&mut self) {
        if !self.troubled {
            return;
        }
        match self.dice.below(8) {
            0 | 1 => self.break_a_connection(),
            2 => {
                self.count("rejected");
                self.rejecting_until = self.now.after(Duration::from_secs(1 + self.dice.below(3)));
                self.break_a_connection();
            }
            3 => {
                self.count("held back");
                self.held_until = self.now.after(Duration::from_secs(1 + self.dice.below(12)));
            }
            4 => {
                self.count("reset");
                self.host.reset(self.now);
            }
            5 => self.restart_target(),
            _ => self.change_namespaces(),
        }
        let pause = Duration::from_millis(500 + self.dice.below(6000));
        self.after(pause, Arrival::Fault);
    }

    /// Both ends learn of it, each in its time.
    fn break_a_connection(&mut self) {
        let open = |connection: &Connection| connection.host_open && connection.target_open;
        let ids: Vec<_> = self.connections.iter().filter(|(_, one)| open(one)).map(|(id, _)| *id).collect();
        if ids.is_empty() {
            return;
        }
        self.count("connection broken");
        let id = self.dice.choose(&ids);
        for gone in [Arrival::GoneAtHost(id), Arrival::GoneAtTarget(id)] {
            let when = self.soon(800);
            self.at(when, gone);
        }
    }
}
