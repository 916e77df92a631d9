//! Queue pairs and the connection manager: what one says, the other does, and the user is told.

use std::net::SocketAddr;

use block::Timestamp;

use super::LIMITS;
use super::incoming::News;
use super::state::{Entry, Stage, State};
use crate::soft::cm::{Agreed, CmEvent, ConnectError, IncomingRequest, LocalQueuePair};
use crate::soft::link::Path;
use crate::soft::rc::{Event, Failure, Parameters, QueuePair};
use crate::soft::wire::mad::RejectReason;
use crate::soft::wire::{Qpn, RnrTimer};
use crate::{
    Agreement, Completion, ConnectionError, ConnectionEvent, ConnectionParameters, CreateError, Handle,
    ListenerId, PeerOffer, PrivateData, QueuePairId, QueuePairOptions, ReceiveSource, Request,
};

/// How long a peer is told to wait when no receive is posted here: 0.64 ms (InfiniBand Architecture volume 1, table 45).
const RNR_TIMER: RnrTimer = RnrTimer::new(12);

/// A peer's request to connect to a soft device.
#[derive(Debug)]
pub struct SoftRequest {
    offer: Box<PeerOffer>,
    incoming: IncomingRequest,
}

impl Request for SoftRequest {
    fn offer(&self) -> &PeerOffer {
        &self.offer
    }
}

impl SoftRequest {
    pub(super) fn new(listener: ListenerId, incoming: IncomingRequest) -> Self {
        let offer = PeerOffer {
            listener,
            peer: incoming.peer(),
            local: incoming.local(),
            initiator_depth: incoming.initiator_depth(),
            responder_resources: incoming.responder_resources(),
            private_data: *incoming.private_data(),
        };
        Self { offer: Box::new(offer), incoming }
    }

    pub(super) fn into_incoming(self) -> IncomingRequest {
        self.incoming
    }
}

/// What is told of connections, apart from requests.
pub(super) type Told = ConnectionEvent<SoftRequest>;

impl State {
    /// Begins a connection with a queue pair of its own.
    pub(super) fn connect(
        &mut self,
        to: SocketAddr,
        options: &QueuePairOptions,
        parameters: &ConnectionParameters,
        now: Timestamp,
    ) -> Result<QueuePairId, CreateError> {
        let handle = self.create(to, options, Stage::Connecting)?;
        let local = self.local(handle, options);
        if let Err(error) = self.manager.connect(now, to, local, &within_limits(parameters)) {
            self.remove(handle);
            return Err(create_error(error));
        }
        Ok(handle.into())
    }

    /// Accepts a connection with a queue pair of its own, which is ready to receive from now on.
    pub(super) fn accept(
        &mut self,
        request: SoftRequest,
        options: &QueuePairOptions,
        parameters: &ConnectionParameters,
        now: Timestamp,
    ) -> Result<QueuePairId, (CreateError, SoftRequest)> {
        let handle = match self.create(request.offer.peer, options, Stage::Accepting) {
            Ok(handle) => handle,
            Err(error) => return Err((error, request)),
        };
        let local = self.local(handle, options);
        let SoftRequest { offer, incoming } = request;
        match self.manager.accept(now, incoming, local, &within_limits(parameters)) {
            Ok(agreed) => {
                if let Some(entry) = self.queue_pairs.get_mut(handle) {
                    entry.queue_pair.connect(&agreed_parameters(&agreed));
                }
                Ok(handle.into())
            }
            Err((error, incoming)) => {
                self.remove(handle);
                Err((create_error(error), SoftRequest { offer, incoming }))
            }
        }
    }

    fn create(
        &mut self,
        peer: SocketAddr,
        options: &QueuePairOptions,
        stage: Stage,
    ) -> Result<Handle, CreateError> {
        let (depth, shared) = match options.receives {
            ReceiveSource::Own(depth) => (Some(depth), None),
            ReceiveSource::Shared(id) => {
                let gone = CreateError::Gone("the shared receive queue");
                self.commons.shared_receives.get_mut(id.into()).ok_or(gone)?.users += 1;
                (None, Some(id))
            }
        };
        let flow = self.commons.flows.join(peer.ip());
        let numbers = self.numbers;
        let path = Path { peer: peer.ip() };
        let made = self.queue_pairs.insert_with(|handle| {
            let number = numbers.number(handle.slot(), handle.generation());
            let queue_pair = QueuePair::new(handle.into(), number, options.send_depth, depth);
            Entry::new(queue_pair, path, flow, shared, stage)
        });
        made.ok_or_else(|| {
            self.leave(flow, shared);
            CreateError::TooMany { what: "queue pairs", limit: self.queue_pairs.len() as u64 }
        })
    }

    fn local(&mut self, handle: Handle, options: &QueuePairOptions) -> LocalQueuePair {
        let number = self.queue_pairs.get(handle).map(|entry| entry.queue_pair.number());
        LocalQueuePair {
            qpn: number.unwrap_or(Qpn::CONNECTION_MANAGER),
            shared_receives: matches!(options.receives, ReceiveSource::Shared(_)),
        }
    }

    /// Takes a queue pair out of all tables. What it had taken goes back; its windows are closed.
    pub(super) fn remove(&mut self, handle: Handle) {
        let Some(mut entry) = self.queue_pairs.remove(handle) else { return };
        let commons = &mut self.commons;
        entry.queue_pair.release(commons.flows.at(entry.flow), &mut commons.reads);
        commons.windows.unbind_all(entry.queue_pair.number());
        self.leave(entry.flow, entry.receives);
        self.has_opened = true;
    }

    fn leave(&mut self, flow: usize, shared: Option<crate::SharedReceiveQueueId>) {
        self.commons.flows.leave(flow);
        if let Some(shared) = shared.and_then(|id| self.commons.shared_receives.get_mut(id.into())) {
            shared.users -= 1;
        }
    }

    /// Ends a connection on this side: the queue pair flushes. Returns what the user is told, once.
    pub(super) fn close(
        &mut self,
        handle: Handle,
        error: ConnectionError,
        completions: &mut Vec<Completion>,
    ) -> Option<Told> {
        let entry = self.queue_pairs.get_mut(handle)?;
        let is_news = entry.close();
        let mut context = self.commons.lend(entry.flow, entry.receives, completions);
        entry.queue_pair.fail(Failure::Closed, &mut context);
        self.has_opened = true;
        is_news.then_some(ConnectionEvent::Closed { queue_pair: handle.into(), error })
    }

    /// What became of a packet or a timeout, for the connection.
    pub(super) fn handle_news(
        &mut self,
        news: News,
        completions: &mut Vec<Completion>,
        now: Timestamp,
    ) -> Option<Told> {
        match news.event {
            Event::Established => {
                self.manager.established_by_data(news.queue_pair);
                None
            }
            Event::Failed(_) => {
                let handle = self.find(news.queue_pair)?.queue_pair.id().into();
                let told = self.close(handle, ConnectionError::QueuePair, completions);
                self.manager.disconnect(now, news.queue_pair);
                told
            }
        }
    }

    /// Does what the connection manager says. Requests are the endpoint's, who knows the listeners.
    pub(super) fn handle_event(&mut self, event: CmEvent, completions: &mut Vec<Completion>) -> Option<Told> {
        match event {
            CmEvent::Requested(_) | CmEvent::TimewaitOver { .. } => None,
            CmEvent::Established { qpn, agreed, private_data } => {
                self.handle_established(qpn, &agreed, private_data)
            }
            CmEvent::Rejected { qpn, reason, private_data } => {
                let error = match reason {
                    RejectReason::Consumer => ConnectionError::Refused(private_data),
                    RejectReason::NoService => ConnectionError::NoListener,
                    RejectReason::Timeout => ConnectionError::TimedOut,
                    other => ConnectionError::Rejected(other.into()),
                };
                self.close_number(qpn, error, completions)
            }
            CmEvent::Disconnected { qpn } => {
                self.close_number(qpn, ConnectionError::Disconnected, completions)
            }
            CmEvent::TimedOut { qpn } => self.close_number(qpn, ConnectionError::TimedOut, completions),
        }
    }

    fn close_number(
        &mut self,
        number: Qpn,
        error: ConnectionError,
        completions: &mut Vec<Completion>,
    ) -> Option<Told> {
        let handle = self.find(number)?.queue_pair.id().into();
        self.close(handle, error, completions)
    }

    fn handle_established(
        &mut self,
        number: Qpn,
        agreed: &Agreed,
        private_data: PrivateData,
    ) -> Option<Told> {
        let entry = self.find(number)?;
        if entry.stage() == Stage::Connecting {
            entry.queue_pair.connect(&agreed_parameters(agreed));
        }
        if !entry.establish() {
            return None;
        }
        entry.queue_pair.establish();
        let agreement = Agreement {
            responder_resources: agreed.responder_resources,
            initiator_depth: agreed.initiator_depth,
            private_data,
        };
        Some(ConnectionEvent::Established { queue_pair: entry.queue_pair.id(), agreement })
    }
}

fn within_limits(parameters: &ConnectionParameters) -> ConnectionParameters {
    ConnectionParameters {
        responder_resources: parameters.responder_resources.min(LIMITS.responder_resources_max),
        initiator_depth: parameters.initiator_depth.min(LIMITS.initiator_depth_max),
        ..*parameters
    }
}

fn agreed_parameters(agreed: &Agreed) -> Parameters {
    Parameters {
        peer: agreed.remote_qpn,
        send_psn: agreed.send_psn,
        expected_psn: agreed.receive_psn,
        mtu: agreed.mtu,
        retries: agreed.retries,
        rnr_retries: agreed.rnr_retries,
        ack_timeout: agreed.ack_timeout.exponent(),
        rnr_timer: RNR_TIMER,
        responder_resources: agreed.responder_resources,
        initiator_depth: agreed.initiator_depth,
    }
}

fn create_error(error: ConnectError) -> CreateError {
    match error {
        ConnectError::TooMany(limit) => CreateError::TooMany { what: "connections", limit: u64::from(limit) },
        ConnectError::QueuePair(_) => CreateError::TooMany { what: "queue pairs in timewait", limit: 0 },
        ConnectError::Address(address) => CreateError::Address(address),
        ConnectError::PrivateData { asked, limit } => CreateError::PrivateData { asked, limit },
        ConnectError::RequestGone => CreateError::RequestGone,
    }
}
