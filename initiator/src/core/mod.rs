//! The core of a remote controller: one thread that owns the admin queue, and every I/O queue that nobody uses.
//!
//! [`Core::turn`] polls everything once; what the protocol wants done is done by [`Core::carry_out`], and what happened is told
//! by [`Core::tell`]. Only [`Core::run`] waits.

mod ending;
mod lanes;
mod telling;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use block::{Sleeper, Timestamp, Wait};
use nvme_spec::QueueId;
use nvmf::host::{AdminTicket, Association, Failure, HostAction, HostController, HostState, Namespace};
use nvmf::wire::rdma::RequestData;
use rdma::{Device, Endpoint};

use self::ending::Ending;
use self::lanes::Lanes;
use crate::desk::Known;
use crate::error::ConnectError;
use crate::handle::Plan;
use crate::namespace::Opened;
use crate::port::{Port, PortEvent};
use crate::shared::{AdminReply, Message, Shared};

/// Messages that are taken in one turn.
const MESSAGES_PER_TURN: usize = 64;
/// Longest sleep, so that a lost wake-up costs no more.
const SLEEP_NS_MAX: u64 = 1_000_000_000;

/// The core of a remote controller.
pub(crate) struct Core<D: Device> {
    shared: Arc<Shared<D>>,
    device: Arc<D>,
    peer: SocketAddr,
    /// The namespace that queues are for.
    opened: Option<Opened>,
    /// What it was when it was opened.
    first: Option<Namespace>,
    /// How long a command may take.
    io_timeout: Duration,
    /// What queues are told.
    known: Known,
    protocol: HostController,
    admin: Port<D>,
    lanes: Lanes<D>,
    ending: Option<Ending>,
    /// Admin commands of others.
    replies: HashMap<AdminTicket, SyncSender<AdminReply>>,
    /// Whether the end was asked for.
    is_stopping: bool,
    events: Vec<PortEvent>,
    sleeper: Sleeper,
}

impl<D: Device> Core<D> {
    pub(crate) fn new(
        (device, shared): (Arc<D>, Arc<Shared<D>>),
        admin: Port<D>,
        plan: Plan,
        sleeper: Sleeper,
    ) -> Result<Self, ConnectError> {
        let Plan { peer, host, opened, io_timeout } = plan;
        let entries_max = host.io_entries;
        let mut core = Self {
            shared,
            device,
            peer,
            opened,
            first: None,
            io_timeout,
            known: Known::nothing(),
            protocol: HostController::new(host)?,
            admin,
            lanes: Lanes::new(entries_max),
            ending: None,
            replies: HashMap::new(),
            is_stopping: false,
            events: Vec::new(),
            sleeper,
        };
        core.watch_admin()?;
        Ok(core)
    }

    fn watch_admin(&mut self) -> Result<(), ConnectError> {
        let mut descriptors = Vec::new();
        self.admin.endpoint.wake_descriptors(&mut descriptors);
        descriptors.into_iter().try_for_each(|descriptor| self.sleeper.add(descriptor))?;
        Ok(())
    }

    /// Until the controller is given up, or left.
    pub(crate) fn run(mut self) {
        let now = self.shared.clock.now();
        self.protocol.start(now);
        self.settle(now);
        while !self.is_done() {
            let now = self.shared.clock.now();
            if !self.turn(now) {
                self.sleep();
            }
        }
    }

    /// A controller that was given up stays until nobody needs it: queues still come back.
    fn is_done(&self) -> bool {
        self.is_stopping && self.protocol.state() == HostState::Dead
    }

    /// Polls everything once. Returns whether anything happened.
    fn turn(&mut self, now: Timestamp) -> bool {
        let mut any = self.take_mail(now);
        any |= self.poll_admin(now);
        any |= self.poll_lanes(now);
        // With everything told that has arrived: our own sleep does not count against the controller.
        if self.protocol.next_timeout() <= now {
            self.protocol.handle_timeout(now);
            any = true;
        }
        any |= self.check_ending(now);
        self.stop_when_idle(now);
        self.settle(now);
        any
    }

    fn take_mail(&mut self, now: Timestamp) -> bool {
        for taken in 0..MESSAGES_PER_TURN {
            let Some(message) = self.shared.next_message() else { return taken > 0 };
            match message {
                Message::Opened(desk) => self.opened(desk),
                Message::Closed { desk, lane } => self.closed(desk, lane, now),
                Message::Ended { desk, port, awaits_peer } => self.lane_ended(desk, *port, awaits_peer),
                Message::Failed { association, failure } => self.protocol.fail(association, failure, now),
                Message::Admin { sqe, data, reply } => match self.protocol.admin(sqe, data, now) {
                    Some(ticket) => {
                        self.replies.insert(ticket, reply);
                    }
                    // Whoever asked may have gone.
                    None => drop(reply.send(None)),
                },
                Message::Shutdown => self.is_stopping = true,
            }
            self.settle(now);
        }
        true
    }

    /// Shuts down when that was asked for and no command of a queue that was dropped is in flight.
    fn stop_when_idle(&mut self, now: Timestamp) {
        if self.is_stopping && !self.lanes.has_work() {
            self.protocol.shutdown(now);
        }
    }

    fn poll_admin(&mut self, now: Timestamp) -> bool {
        let mut events = std::mem::take(&mut self.events);
        let any = self.admin.poll(&mut events, now);
        let association = self.protocol.association();
        for event in events.drain(..) {
            self.queue_event(association, QueueId::ADMIN, event, now);
        }
        self.events = events;
        any
    }

    /// Tells the protocol what happened to a queue that the core drives.
    fn queue_event(&mut self, association: Association, queue: QueueId, event: PortEvent, now: Timestamp) {
        match event {
            PortEvent::Connected => self.protocol.handle_queue_connected(association, queue, now),
            PortEvent::Refused(status, error) => {
                tracing::debug!(peer = %self.peer, %queue, %error, "no connection");
                self.shared.with_view(|view| view.connection = Some(error));
                self.protocol.handle_queue_refused(association, queue, status, now);
            }
            PortEvent::Lost => self.protocol.handle_queue_lost(association, queue, now),
            PortEvent::Response(cqe, data) => {
                self.protocol.handle_response(association, queue, &cqe, &data, now);
            }
        }
        self.settle(now);
    }

    /// Does what the protocol wants and tells what happened, until there is nothing more.
    fn settle(&mut self, now: Timestamp) {
        loop {
            if let Some(action) = self.protocol.poll_action() {
                self.carry_out(action, now);
            } else if let Some(event) = self.protocol.poll_event() {
                self.tell(event, now);
            } else {
                return;
            }
        }
    }

    fn carry_out(&mut self, action: HostAction, now: Timestamp) {
        match action {
            HostAction::ConnectQueue { association, request } => self.connect(association, &request, now),
            HostAction::Send { association, queue, command } => {
                let sent = match self.port_mut(queue) {
                    Some(port) => port.send(&command),
                    None => Err(crate::port::Unsendable),
                };
                if sent.is_err() {
                    self.protocol.fail(association, Failure::ConnectionLost(queue), now);
                }
            }
            HostAction::Disconnect { association } => self.begin_ending(association, now),
        }
    }

    fn connect(&mut self, association: Association, request: &RequestData, now: Timestamp) {
        let peer = self.peer;
        let connected = if request.queue.is_admin() {
            self.admin.connect(peer, request, now)
        } else {
            self.connect_lane(request, now)
        };
        if let Err(error) = connected {
            tracing::warn!(%peer, queue = %request.queue, %error, "a connection cannot be tried");
            self.protocol.handle_queue_refused(association, request.queue, None, now);
        }
    }

    fn port_mut(&mut self, queue: QueueId) -> Option<&mut Port<D>> {
        if queue.is_admin() { Some(&mut self.admin) } else { self.lanes.connecting(queue) }
    }

    fn sleep(&mut self) {
        let now = self.shared.clock.now();
        let until = self.protocol.next_timeout().min(self.ending_due()).min(now.after_ns(SLEEP_NS_MAX));
        let wait = self.admin.endpoint.prepare_wait(now).and(self.lanes.prepare_wait(now));
        match wait {
            Wait::Until(at) if !self.shared.has_mail() => {
                if let Err(error) = self.sleeper.sleep_until(now, at.min(until)) {
                    tracing::error!(%error, "the thread of a remote controller cannot sleep");
                    std::thread::yield_now();
                }
            }
            _ => std::thread::yield_now(),
        }
    }
}
