//! A controller: what there is of one association of a host.

use std::collections::BTreeSet;

use block::Timestamp;
use nvme_spec::{ControllerId, QueueId};

use super::connect::Arrival;
use super::events::{Events, Notice};
use super::features::Features;
use super::flow::{Flow, QueuePhase};
use super::gate::Gate;
use super::keep_alive::KeepAlive;
use super::limits::{DISCOVERY_IDLE_MAX, Limits};
use super::registers::{CcEffect, Registers};
use crate::wire::{AuthenticationRequirement, ConnectCommand, ConnectData, HostId, Nqn};

/// Names a controller of a target. Never given again, unlike a controller identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ControllerKey(pub(super) u64);

/// Why a controller's connections are to be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropReason {
    /// The host was not heard of for its keep-alive timeout.
    KeepAliveExpired,
    /// Its admin queue's connection is gone.
    AdminQueueLost,
    /// Its host may no longer attach, or its subsystem is no longer served.
    NotAllowed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Io,
    Discovery,
}

/// A controller.
#[derive(Debug)]
pub(super) struct Controller {
    pub(super) id: ControllerId,
    pub(super) kind: Kind,
    pub(super) subsystem: Nqn,
    pub(super) host: Nqn,
    pub(super) host_id: HostId,
    pub(super) arrival: Arrival,
    pub(super) authentication: AuthenticationRequirement,
    pub(super) flow: Flow,
    pub(super) registers: Registers,
    pub(super) gate: Gate,
    pub(super) keep_alive: KeepAlive,
    pub(super) features: Features,
    pub(super) events: Events,
    /// Queues whose connection is there, or something of them in flight.
    pub(super) io_queues: BTreeSet<QueueId>,
    /// Whether the admin queue's connection is there.
    pub(super) has_admin_queue: bool,
    /// Whether the daemon was told to close everything.
    pub(super) is_dropped: bool,
}

/// What the first phase of a queue is.
pub(super) fn first_phase(authentication: AuthenticationRequirement) -> QueuePhase {
    if authentication == AuthenticationRequirement::default() {
        QueuePhase::Live
    } else {
        QueuePhase::Authenticating
    }
}

impl Controller {
    pub(super) fn new(
        now: Timestamp,
        limits: &Limits,
        id: ControllerId,
        connect: (&ConnectCommand, ConnectData),
        arrival: Arrival,
        authentication: AuthenticationRequirement,
    ) -> Self {
        let (command, data) = connect;
        let (kind, notice, idle_max) = if data.subsystem.is_discovery() {
            (Kind::Discovery, Notice::Discovery, Some(DISCOVERY_IDLE_MAX))
        } else {
            (Kind::Io, Notice::Namespaces, None)
        };
        let without_flow_control = command.attributes.without_flow_control;
        Self {
            id,
            kind,
            subsystem: data.subsystem,
            host: data.host,
            host_id: data.host_id,
            arrival,
            authentication,
            flow: Flow::new(command.sq_size, without_flow_control, first_phase(authentication)),
            registers: Registers::new(limits),
            gate: Gate::default(),
            keep_alive: KeepAlive::new(now, command.keep_alive_ms, idle_max),
            features: Features::new(limits.io_queues),
            events: Events::new(notice),
            io_queues: BTreeSet::new(),
            has_admin_queue: true,
            is_dropped: false,
        }
    }

    /// Carries out what a write to CC asked for. Says whether the daemon has to close I/O queues.
    pub(super) fn apply(&mut self, effect: CcEffect, limits: &Limits) -> bool {
        match effect {
            CcEffect::None => false,
            CcEffect::Enabled => {
                self.gate.set(true);
                false
            }
            CcEffect::CloseIoQueues => {
                self.gate.set(false);
                let ended = self.events.reset();
                self.flow.forget(ended);
                self.features = Features::new(limits.io_queues);
                self.settle();
                !self.io_queues.is_empty()
            }
        }
    }

    /// Completes what waits for the last I/O queue.
    pub(super) fn settle(&mut self) {
        if self.io_queues.is_empty() {
            self.registers.io_queues_gone();
        }
    }

    /// Whether nothing of it is left.
    pub(super) fn is_gone(&self) -> bool {
        !self.has_admin_queue && self.io_queues.is_empty()
    }

    /// Whether it is on its way out, with something still in flight.
    pub(super) const fn is_draining(&self) -> bool {
        self.is_dropped || !self.has_admin_queue
    }
}
