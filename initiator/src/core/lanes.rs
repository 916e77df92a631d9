//! I/O queues from the core's side: being connected, idle, lent to a queue's thread, or left behind by one.

use std::collections::VecDeque;
use std::sync::Arc;

use block::{Sleeper, Timestamp, Wait};
use nvme_spec::QueueId;
use nvmf::host::{Association, Failure, IoQueueParameters};
use nvmf::wire::rdma::RequestData;
use rdma::{Device, Endpoint};

use super::Core;
use crate::desk::{Desk, LinkState};
use crate::error::ConnectError;
use crate::lane::Lane;
use crate::port::Port;

/// I/O queues from the core's side.
pub(super) struct Lanes<D: Device> {
    /// On their way, with their queue.
    pub(super) connecting: Vec<(QueueId, Port<D>)>,
    /// Connected, and nobody's. Some have commands of a queue that was dropped in flight, until then.
    pub(super) idle: Vec<(Box<Lane<D>>, Timestamp)>,
    /// Desks of open queues, and the association of the lane that was lent to each.
    pub(super) desks: Vec<(Arc<Desk<D>>, Option<Association>)>,
    /// Lanes of queues that were closed before the core had them back.
    pub(super) spare: Vec<Port<D>>,
    /// Lanes of the association.
    count: usize,
    entries_max: u16,
}

impl<D: Device> Lanes<D> {
    pub(super) const fn new(entries_max: u16) -> Self {
        Self {
            connecting: Vec::new(),
            idle: Vec::new(),
            desks: Vec::new(),
            spare: Vec::new(),
            count: 0,
            entries_max,
        }
    }

    /// The port of a queue that is on its way.
    pub(super) fn connecting(&mut self, queue: QueueId) -> Option<&mut Port<D>> {
        self.connecting.iter_mut().find(|(id, _)| *id == queue).map(|(_, port)| port)
    }

    /// Whether commands of dropped queues are in flight.
    pub(super) fn has_work(&self) -> bool {
        self.idle.iter().any(|(lane, _)| lane.in_flight() > 0)
    }

    /// Lanes that queues' threads have.
    pub(super) fn lent(&self) -> usize {
        self.desks.iter().filter(|(_, lent)| lent.is_some()).count()
    }

    pub(super) fn prepare_wait(&mut self, now: Timestamp) -> Wait {
        let connecting = self.connecting.iter_mut().map(|(_, port)| port).chain(&mut self.spare);
        let ports = connecting.map(|port| port.endpoint.prepare_wait(now));
        let lanes = self.idle.iter_mut().map(|(lane, due)| lane.prepare_wait(now).and(Wait::Until(*due)));
        ports.chain(lanes).fold(Wait::Until(Timestamp::NEVER), Wait::and)
    }

    /// Packets that the endpoints here have received.
    pub(super) fn packets_received(&self) -> u64 {
        let ports = self.connecting.iter().map(|(_, port)| port).chain(&self.spare);
        let ports = ports.chain(self.idle.iter().map(|(lane, _)| lane.port()));
        ports.map(|port| port.endpoint.counters().packets_received).sum()
    }
}

/// Begins or ends to sleep on an endpoint's descriptors.
fn watch<E: Endpoint>(sleeper: &mut Sleeper, endpoint: &E, is_ours: bool) {
    let mut descriptors = Vec::new();
    endpoint.wake_descriptors(&mut descriptors);
    for descriptor in descriptors {
        let done = if is_ours { sleeper.add(descriptor) } else { sleeper.remove(descriptor) };
        if let Err(error) = done {
            tracing::warn!(%error, "an endpoint's descriptor");
        }
    }
}

impl<D: Device> Core<D> {
    /// Begins to connect an I/O queue, on a port that was used before if there is one.
    pub(super) fn connect_lane(&mut self, request: &RequestData, now: Timestamp) -> Result<(), ConnectError> {
        let mut port = match self.lanes.spare.pop() {
            Some(port) => port,
            None => {
                let port = Port::new(&self.device, self.lanes.entries_max)?;
                watch(&mut self.sleeper, &port.endpoint, true);
                port
            }
        };
        let connected = port.connect(self.peer, request, now);
        self.lanes.connecting.push((request.queue, port));
        connected
    }

    /// Polls what is not lent.
    pub(super) fn poll_lanes(&mut self, now: Timestamp) -> bool {
        let mut any = self.poll_connecting(now) | self.poll_idle(now);
        let mut events = std::mem::take(&mut self.events);
        for port in &mut self.lanes.spare {
            // What happens here belongs to connections that have ended.
            any |= port.poll(&mut events, now);
        }
        events.clear();
        self.events = events;
        any
    }

    fn poll_connecting(&mut self, now: Timestamp) -> bool {
        let (mut any, mut happened) = (false, Vec::new());
        let mut events = std::mem::take(&mut self.events);
        for (queue, port) in &mut self.lanes.connecting {
            any |= port.poll(&mut events, now);
            happened.extend(events.drain(..).map(|event| (*queue, event)));
        }
        self.events = events;
        let association = self.protocol.association();
        for (queue, event) in happened {
            self.queue_event(association, queue, event, now);
        }
        any
    }

    fn poll_idle(&mut self, now: Timestamp) -> bool {
        let (mut any, mut is_free, mut failed) = (false, false, None);
        let mut ended = VecDeque::new();
        for (lane, due) in &mut self.lanes.idle {
            any |= lane.poll(&mut ended, now);
            // Nobody waits for them: their memory goes back.
            ended.clear();
            let stalled = lane.in_flight() > 0 && *due <= now;
            let why = lane.broken().or_else(|| stalled.then(|| Failure::Stalled(lane.parameters().queue)));
            failed = failed.or(why.map(|why| (lane.association(), why)));
            if lane.in_flight() == 0 {
                is_free |= std::mem::replace(due, Timestamp::NEVER) != Timestamp::NEVER;
            }
        }
        if is_free {
            self.lend_lanes();
        }
        if let Some((association, failure)) = failed {
            self.protocol.fail(association, failure, now);
        }
        any
    }

    /// The association is live: every port becomes a lane.
    pub(super) fn make_lanes(&mut self, queues: &[IoQueueParameters]) {
        self.lanes.count = queues.len();
        for parameters in queues {
            let at = self.lanes.connecting.iter().position(|(queue, _)| *queue == parameters.queue);
            let Some(at) = at else { continue };
            let (_, port) = self.lanes.connecting.swap_remove(at);
            match port.queue_pair() {
                Some(queue_pair) => {
                    let lane = Lane::new(port, queue_pair, *parameters);
                    self.lanes.idle.push((Box::new(lane), Timestamp::NEVER));
                }
                None => self.lanes.spare.push(port),
            }
        }
    }

    /// Gives a lane to every open queue that has none, as far as there are some.
    pub(super) fn lend_lanes(&mut self) {
        let Self { lanes, sleeper, protocol, .. } = self;
        if self.known.link != LinkState::Up {
            return;
        }
        let association = protocol.association();
        // The controller may have granted fewer than before.
        let are_enough = lanes.desks.len() <= lanes.count;
        for (desk, lent) in lanes.desks.iter_mut().filter(|(_, lent)| lent.is_none()) {
            let free = lanes.idle.iter().position(|(lane, _)| lane.in_flight() == 0);
            let lane = free.map(|at| lanes.idle.swap_remove(at).0);
            if let Some(lane) = &lane {
                watch(sleeper, &lane.port().endpoint, false);
                *lent = Some(association);
            }
            desk.leave(|paper| {
                paper.known.link = if lane.is_some() || are_enough { LinkState::Up } else { LinkState::Left };
                paper.lane = lane;
            });
        }
    }

    /// A queue was opened.
    pub(super) fn opened(&mut self, desk: Arc<Desk<D>>) {
        let known = self.known;
        desk.leave(|paper| paper.known = known);
        self.lanes.desks.push((desk, None));
        self.lend_lanes();
    }

    /// A queue was closed. Its lane waits for the next one, when its commands have ended.
    pub(super) fn closed(&mut self, number: u64, lane: Option<Box<Lane<D>>>, now: Timestamp) {
        self.lanes.desks.retain(|(desk, _)| desk.number != number);
        let Some(lane) = lane else { return };
        watch(&mut self.sleeper, &lane.port().endpoint, true);
        let is_live = self.ending.is_none() && lane.association() == self.protocol.association();
        if is_live {
            let due = if lane.in_flight() > 0 { now.after(self.io_timeout) } else { Timestamp::NEVER };
            self.lanes.idle.push((lane, due));
        } else {
            let packets = lane.port().endpoint.counters().packets_received;
            let ended = lane.end(now);
            self.note_ended(packets, ended.awaits_peer);
            self.lanes.spare.push(ended.port);
        }
        // One that was left without a lane may have this one.
        self.lend_lanes();
    }

    /// A lane that was lent has ended.
    pub(super) fn lane_ended(&mut self, number: u64, port: Port<D>, awaits_peer: bool) {
        watch(&mut self.sleeper, &port.endpoint, true);
        self.note_ended(port.endpoint.counters().packets_received, awaits_peer);
        self.lanes.spare.push(port);
        if let Some((_, lent)) = self.lanes.desks.iter_mut().find(|(desk, _)| desk.number == number) {
            *lent = None;
        }
        // It may have come too late for the association's end.
        self.lend_lanes();
    }
}
