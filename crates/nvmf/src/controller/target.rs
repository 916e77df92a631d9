//! The target: subsystems, their controllers, and what the daemon has to do for them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use block::{Geometry, Timestamp};
use nvme_spec::{ControllerId, Nsid, QueueId, Sqe};

use super::admin::AdminAction;
use super::association::{Controller, ControllerKey, DropReason, Kind};
use super::context::{Context, Domain};
use super::flow::Violation;
use super::limits::{LISTENERS_MAX, Limits, LimitsError, SUBSYSTEMS_MAX};
use super::namespace::{NamespaceError, NamespaceInfo, NamespaceMap};
use super::registers::ControllerPhase;
use super::subsystem::{CONTROLLER_IDS, Subsystem, SubsystemError, SubsystemOptions};
use crate::wire::{CommandCapsule, ConnectData, Nqn, ResponseCapsule};

/// What the daemon has to do, besides what an action says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Send a response on the controller's admin queue: something happened.
    Response {
        /// Whose.
        controller: ControllerKey,
        /// What.
        response: ResponseCapsule,
    },
    /// Close the controller's I/O queues, and tell of each by [`Target::queue_gone`]: it is being reset or shut down, which
    /// CSTS does not call complete before.
    CloseIoQueues {
        /// Whose.
        controller: ControllerKey,
    },
    /// Close all connections of the controller, and tell of each by [`Target::queue_gone`].
    DropController {
        /// Whose.
        controller: ControllerKey,
        /// Why.
        reason: DropReason,
    },
    /// Nothing of the controller is left. Connects that were held may be tried again.
    Gone {
        /// Which.
        controller: ControllerKey,
    },
}

/// Subsystems, controllers, discovery. See the module's words.
#[derive(Debug)]
pub struct Target {
    pub(super) domain: Domain,
    pub(super) controllers: BTreeMap<ControllerKey, Controller>,
    next_key: u64,
    next_id: u16,
    events: VecDeque<Event>,
    version: Arc<AtomicU64>,
}

impl Target {
    /// A target that serves nothing yet.
    pub fn new(limits: Limits) -> Result<Self, LimitsError> {
        limits.check()?;
        let domain =
            Domain { limits, subsystems: BTreeMap::new(), listeners: Vec::new(), discovery_generation: 1 };
        Ok(Self {
            domain,
            controllers: BTreeMap::new(),
            next_key: 1,
            next_id: *CONTROLLER_IDS.start(),
            events: VecDeque::new(),
            version: Arc::new(AtomicU64::new(1)),
        })
    }

    /// What it grants.
    #[must_use]
    pub const fn limits(&self) -> &Limits {
        &self.domain.limits
    }

    /// Counts changes of namespaces: a thread with I/O queues that sees another value than before asks for
    /// [`Target::namespaces`] of each.
    #[must_use]
    pub fn version(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.version)
    }

    /// Serves a subsystem.
    pub fn add_subsystem(&mut self, options: SubsystemOptions) -> Result<(), SubsystemError> {
        let nqn = options.nqn.clone();
        if nqn.is_discovery() || self.domain.subsystems.contains_key(&nqn) {
            return Err(SubsystemError::Exists);
        }
        if self.domain.subsystems.len() >= SUBSYSTEMS_MAX {
            return Err(SubsystemError::TooMany);
        }
        self.domain.subsystems.insert(nqn, Subsystem::new(options)?);
        self.discovery_changed();
        Ok(())
    }

    /// Serves a subsystem no longer: its controllers are dropped.
    pub fn remove_subsystem(&mut self, nqn: &Nqn) -> Result<(), SubsystemError> {
        self.domain.subsystems.remove(nqn).ok_or(SubsystemError::Missing)?;
        self.drop_where(|controller| controller.subsystem == *nqn, DropReason::NotAllowed);
        self.discovery_changed();
        Ok(())
    }

    /// Changes who may attach to a subsystem; a host that is attached and may no longer is dropped.
    pub fn set_hosts(
        &mut self,
        nqn: &Nqn,
        allow_any_host: bool,
        hosts: BTreeSet<Nqn>,
    ) -> Result<(), SubsystemError> {
        if hosts.len() > super::limits::HOSTS_MAX {
            return Err(SubsystemError::TooManyHosts);
        }
        let subsystem = self.domain.subsystems.get_mut(nqn).ok_or(SubsystemError::Missing)?;
        subsystem.options.allow_any_host = allow_any_host;
        subsystem.options.hosts.clone_from(&hosts);
        let is_shut_out = |controller: &Controller| {
            controller.subsystem == *nqn && !allow_any_host && !hosts.contains(&controller.host)
        };
        self.drop_where(is_shut_out, DropReason::NotAllowed);
        self.discovery_changed();
        Ok(())
    }

    /// Says where hosts can connect to: what discovery tells. A wildcard stands for the address at which a host arrived. Those
    /// beyond [`LISTENERS_MAX`] are not told.
    pub fn set_listeners(&mut self, mut listeners: Vec<SocketAddr>) {
        listeners.truncate(LISTENERS_MAX);
        if listeners != self.domain.listeners {
            self.domain.listeners = listeners;
            self.discovery_changed();
        }
    }

    /// Whether [`Self::add_namespace`] would take it.
    pub fn check_namespace(&self, nqn: &Nqn, info: &NamespaceInfo) -> Result<(), NamespaceError> {
        info.check()?;
        let subsystem = self.domain.subsystems.get(nqn).ok_or(NamespaceError::NoSubsystem)?;
        if subsystem.namespaces.get(info.nsid).is_some() {
            return Err(NamespaceError::Exists(info.nsid));
        }
        Ok(())
    }

    /// Exports a namespace; hosts that are attached are told.
    pub fn add_namespace(&mut self, nqn: &Nqn, info: NamespaceInfo) -> Result<(), NamespaceError> {
        self.check_namespace(nqn, &info)?;
        let subsystem = self.subsystem_mut(nqn)?;
        subsystem.namespaces = subsystem.namespaces.with(info);
        self.namespace_changed(nqn, info.nsid);
        Ok(())
    }

    /// A namespace has another size or other abilities; hosts are told.
    pub fn update_namespace(&mut self, nqn: &Nqn, info: NamespaceInfo) -> Result<(), NamespaceError> {
        info.check()?;
        let subsystem = self.subsystem_mut(nqn)?;
        let old = *subsystem.namespaces.get(info.nsid).ok_or(NamespaceError::Missing(info.nsid))?;
        if !old.is_same_device(&info) {
            return Err(NamespaceError::Replaced(info.nsid));
        }
        if old != info {
            subsystem.namespaces = subsystem.namespaces.with(info);
            self.namespace_changed(nqn, info.nsid);
        }
        Ok(())
    }

    /// A namespace has another size; hosts are told.
    pub fn resize_namespace(
        &mut self,
        nqn: &Nqn,
        nsid: Nsid,
        geometry: Geometry,
    ) -> Result<(), NamespaceError> {
        let subsystem = self.subsystem_mut(nqn)?;
        let old = *subsystem.namespaces.get(nsid).ok_or(NamespaceError::Missing(nsid))?;
        self.update_namespace(nqn, NamespaceInfo { geometry, ..old })
    }

    /// Exports a namespace no longer; hosts are told.
    pub fn remove_namespace(&mut self, nqn: &Nqn, nsid: Nsid) -> Result<(), NamespaceError> {
        let subsystem = self.subsystem_mut(nqn)?;
        subsystem.namespaces.get(nsid).ok_or(NamespaceError::Missing(nsid))?;
        subsystem.namespaces = subsystem.namespaces.without(nsid);
        self.namespace_changed(nqn, nsid);
        Ok(())
    }

    /// The namespaces that a controller's I/O queues serve now.
    #[must_use]
    pub fn namespaces(&self, key: ControllerKey) -> Arc<NamespaceMap> {
        self.controllers
            .get(&key)
            .map_or_else(Arc::default, |controller| self.domain.namespaces(&controller.subsystem))
    }

    /// Takes a command of an admin queue.
    pub fn handle_admin(
        &mut self,
        now: Timestamp,
        key: ControllerKey,
        capsule: &CommandCapsule<'_>,
    ) -> AdminAction {
        self.with_admin(now, key, |controller, context| controller.handle(context, capsule))
    }

    /// Goes on with an admin command whose data has been read from the host's memory.
    pub fn resume_admin(
        &mut self,
        now: Timestamp,
        key: ControllerKey,
        sqe: &Sqe,
        data: &[u8],
    ) -> AdminAction {
        self.with_admin(now, key, |controller, context| controller.resume(context, sqe, data))
    }

    fn with_admin(
        &mut self,
        now: Timestamp,
        key: ControllerKey,
        carry_out: impl FnOnce(&mut Controller, Context<'_>) -> (AdminAction, bool),
    ) -> AdminAction {
        let context = Context { domain: &self.domain, now };
        let Some(controller) = self.controllers.get_mut(&key) else {
            return AdminAction::Fatal(Violation::Disconnected);
        };
        let (action, closes_io_queues) = carry_out(controller, context);
        if closes_io_queues {
            self.events.push_back(Event::CloseIoQueues { controller: key });
        }
        self.poll_notices(key);
        action
    }

    /// The host of an admin queue is who it says. I/O queues are told by themselves.
    pub fn authenticated(&mut self, key: ControllerKey) {
        if let Some(controller) = self.controllers.get_mut(&key) {
            controller.flow.authenticated();
        }
    }

    /// What the daemon has to do, the oldest first. To be asked for after every call that changes something.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When [`Target::handle_timeout`] has something to do; `Timestamp::NEVER` if never.
    #[must_use]
    pub fn next_timeout(&self) -> Timestamp {
        let waiting = self.controllers.values().filter(|controller| !controller.is_draining());
        waiting.map(|controller| controller.keep_alive.deadline()).min().unwrap_or(Timestamp::NEVER)
    }

    /// Drops controllers whose hosts were not heard of. After a pause of the daemon's own, commands that wait are to be handled
    /// first.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        self.drop_where(|controller| controller.keep_alive.deadline() <= now, DropReason::KeepAliveExpired);
    }

    /// A queue's connection is gone, and no command of it is in flight: no device and no memory is touched for it any more.
    pub fn queue_gone(&mut self, key: ControllerKey, queue: QueueId) {
        let Some(controller) = self.controllers.get_mut(&key) else { return };
        if queue.is_admin() {
            controller.has_admin_queue = false;
        } else {
            controller.io_queues.remove(&queue);
            controller.settle();
        }
        if controller.is_gone() {
            self.controllers.remove(&key);
            self.events.push_back(Event::Gone { controller: key });
        } else if queue.is_admin() {
            self.drop_where(|controller| !controller.has_admin_queue, DropReason::AdminQueueLost);
        }
    }

    /// The controllers that there are: who they are for, how they are.
    pub fn controllers(&self) -> impl Iterator<Item = ControllerStatus<'_>> {
        self.controllers.iter().map(|(key, controller)| ControllerStatus {
            key: *key,
            id: controller.id,
            subsystem: &controller.subsystem,
            host: &controller.host,
            peer: controller.arrival.peer,
            phase: controller.registers.phase(),
            io_queues: controller.io_queues.len(),
            is_discovery: controller.kind == Kind::Discovery,
        })
    }

    pub(super) fn add_controller(&mut self, controller: Controller) -> ControllerKey {
        let key = ControllerKey(self.next_key);
        self.next_key += 1;
        self.controllers.insert(key, controller);
        key
    }

    /// A controller identifier that no controller of the subsystem has; not the one that was given last.
    pub(super) fn free_id(&mut self, data: &ConnectData) -> Option<ControllerId> {
        if self.controllers.len() >= usize::from(self.domain.limits.controllers) {
            return None;
        }
        let subsystem = self.domain.subsystems.get(&data.subsystem);
        let range = subsystem.map_or(CONTROLLER_IDS, |subsystem| subsystem.options.controller_ids.clone());
        let others = self.controllers.values().filter(|other| other.subsystem == data.subsystem);
        let taken: BTreeSet<u16> = others.map(|other| other.id.0).collect();
        let next = self.next_id;
        let in_turn = range.clone().filter(|id| *id >= next).chain(range.filter(|id| *id < next));
        let id = in_turn.into_iter().find(|id| !taken.contains(id))?;
        self.next_id = id.wrapping_add(1);
        Some(ControllerId(id))
    }

    fn subsystem_mut(&mut self, nqn: &Nqn) -> Result<&mut Subsystem, NamespaceError> {
        self.domain.subsystems.get_mut(nqn).ok_or(NamespaceError::NoSubsystem)
    }

    fn namespace_changed(&mut self, nqn: &Nqn, nsid: Nsid) {
        self.version.fetch_add(1, Ordering::Release);
        self.notify(|controller| {
            if controller.subsystem == *nqn {
                controller.events.namespace_changed(nsid);
            }
        });
    }

    fn discovery_changed(&mut self) {
        self.domain.discovery_generation += 1;
        self.notify(|controller| {
            if controller.kind == Kind::Discovery {
                controller.events.happened();
            }
        });
    }

    fn notify(&mut self, tell: impl Fn(&mut Controller)) {
        self.controllers.values_mut().for_each(tell);
        let keys: Vec<ControllerKey> = self.controllers.keys().copied().collect();
        keys.into_iter().for_each(|key| self.poll_notices(key));
    }

    fn poll_notices(&mut self, key: ControllerKey) {
        let Some(controller) = self.controllers.get_mut(&key) else { return };
        if let Some(response) = controller.poll_notice() {
            self.events.push_back(Event::Response { controller: key, response });
        }
    }

    /// Drops controllers, each once.
    fn drop_where(&mut self, is_meant: impl Fn(&Controller) -> bool, reason: DropReason) {
        for (key, controller) in &mut self.controllers {
            if !controller.is_dropped && is_meant(controller) {
                controller.is_dropped = true;
                controller.registers.fail();
                controller.gate.set(false);
                self.events.push_back(Event::DropController { controller: *key, reason });
            }
        }
    }
}

/// What can be told of a controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ControllerStatus<'a> {
    /// Its name here.
    pub key: ControllerKey,
    /// CNTLID.
    pub id: ControllerId,
    /// What the host attached to.
    pub subsystem: &'a Nqn,
    /// The host.
    pub host: &'a Nqn,
    /// Where the host is.
    pub peer: SocketAddr,
    /// Where it is in its life.
    pub phase: ControllerPhase,
    /// I/O queues that are connected or being drained.
    pub io_queues: usize,
    /// Whether it is for discovery.
    pub is_discovery: bool,
}
