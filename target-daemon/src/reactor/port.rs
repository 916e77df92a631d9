//! A reactor's end of an RDMA device: an endpoint of whatever provider, called through a few calls a turn.
//!
//! The provider is known at compile time inside; a reactor that serves several kinds at once calls through [`Port`], once or
//! twice a turn and not for each piece of work.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::sync::Arc;

use block::{Timestamp, Wait, Waker};
use crossbeam_queue::ArrayQueue;
use nvmf::wire::rdma::RejectStatus;
use rdma::{
    AnswerError, Completion, ConnectionError, ConnectionEvent, ConnectionParameters, Counters, CreateError,
    Device, DeviceLimits, Endpoint, ListenError, PeerOffer, PostError, PrivateData, QueuePairId,
    QueuePairOptions, Receive, Request, SendWork, SharedReceiveQueueId,
};

/// Requests to connect that wait to be answered by one endpoint.
const BACKLOG: u32 = 128;

/// Requests to connect that were passed on to one reactor and that it has not seen.
const PASSED_ON_MAX: usize = 128;

/// What happened to a port's connections.
#[derive(Debug)]
pub(crate) enum PortEvent {
    /// Somebody asks for a connection: [`Port::accept`], [`Port::reject`] or [`Port::pass_on`] comes next.
    Asked(PeerOffer),
    /// Somebody whom another reactor has passed on: [`Port::accept`] or [`Port::reject`].
    PassedOn(PeerOffer),
    /// A connection is made.
    Established(QueuePairId),
    /// A connection has ended.
    Closed(QueuePairId, ConnectionError),
}

/// See the module's words. What is named after a method of [`Endpoint`] is that.
pub(crate) trait Port: Send {
    fn address(&self) -> SocketAddr;
    fn limits(&self) -> DeviceLimits;
    fn create_shared_receive_queue(&mut self, depth: u32) -> Result<SharedReceiveQueueId, CreateError>;
    fn stop_listening(&mut self);
    fn next_event(&mut self) -> Option<PortEvent>;
    fn accept(
        &mut self,
        options: &QueuePairOptions,
        parameters: &ConnectionParameters,
        now: Timestamp,
    ) -> Result<QueuePairId, CreateError>;
    fn reject(&mut self, status: RejectStatus, now: Timestamp);
    /// Lets another reactor answer; rejects if that one has too many to answer.
    fn pass_on(&mut self, reactor: u16, now: Timestamp);
    fn destroy(&mut self, queue_pair: QueuePairId, now: Timestamp);
    fn post_send(&mut self, queue_pair: QueuePairId, work: &mut VecDeque<SendWork>) -> Result<(), PostError>;
    fn post_shared_receive(
        &mut self,
        queue: SharedReceiveQueueId,
        receives: &mut VecDeque<Receive>,
    ) -> Result<(), PostError>;
    fn poll(&mut self, completions: &mut Vec<Completion>, completions_max: usize, now: Timestamp) -> bool;
    fn wake_descriptors(&self, descriptors: &mut Vec<RawFd>);
    fn prepare_wait(&mut self, now: Timestamp) -> Wait;
    fn counters(&self) -> Counters;
    /// Says in the log what has happened to the device.
    fn report_device_events(&self);
}

/// What the reactors' ports of one device share.
pub(crate) struct Inboxes<R> {
    /// By reactor.
    passed_on: Vec<(ArrayQueue<R>, Waker)>,
}

impl<R> Inboxes<R> {
    pub(crate) fn new(wakers: impl IntoIterator<Item = Waker>) -> Self {
        let inbox = |waker| (ArrayQueue::new(PASSED_ON_MAX), waker);
        Self { passed_on: wakers.into_iter().map(inbox).collect() }
    }
}

/// A port of one kind.
pub(crate) struct DevicePort<D: Device> {
    device: D,
    endpoint: D::Endpoint,
    listeners: Vec<rdma::ListenerId>,
    inboxes: Arc<Inboxes<<D::Endpoint as Endpoint>::Request>>,
    reactor: u16,
    /// To be answered next.
    asked: Option<<D::Endpoint as Endpoint>::Request>,
}

impl<D: Device> DevicePort<D> {
    pub(crate) const fn new(
        device: D,
        endpoint: D::Endpoint,
        inboxes: Arc<Inboxes<<D::Endpoint as Endpoint>::Request>>,
        reactor: u16,
    ) -> Self {
        Self { device, endpoint, listeners: Vec::new(), inboxes, reactor, asked: None }
    }

    /// Lets hosts connect to a port of the device's address.
    pub(crate) fn listen(&mut self, port: u16) -> Result<(), ListenError> {
        self.listeners.push(self.endpoint.listen(port, BACKLOG)?);
        Ok(())
    }

    fn reject_request(
        &mut self,
        request: <D::Endpoint as Endpoint>::Request,
        status: RejectStatus,
        now: Timestamp,
    ) -> Result<(), AnswerError> {
        let data = PrivateData::new(&status.to_bytes()).unwrap_or_default();
        self.endpoint.reject(request, &data, now)
    }

    fn passed_on(&mut self) -> Option<PeerOffer> {
        let (inbox, _) = self.inboxes.passed_on.get(usize::from(self.reactor))?;
        let request = inbox.pop()?;
        let offer = *request.offer();
        self.asked = Some(request);
        Some(offer)
    }
}

impl<D: Device> Port for DevicePort<D> {
    fn address(&self) -> SocketAddr {
        SocketAddr::new(self.device.address(), 0)
    }

    fn limits(&self) -> DeviceLimits {
        self.device.info().limits
    }

    fn create_shared_receive_queue(&mut self, depth: u32) -> Result<SharedReceiveQueueId, CreateError> {
        self.endpoint.create_shared_receive_queue(depth)
    }

    fn stop_listening(&mut self) {
        for listener in self.listeners.drain(..) {
            self.endpoint.stop_listening(listener);
        }
    }

    fn next_event(&mut self) -> Option<PortEvent> {
        if let Some(offer) = self.passed_on() {
            return Some(PortEvent::PassedOn(offer));
        }
        Some(match self.endpoint.poll_connection()? {
            ConnectionEvent::Requested(request) => {
                let offer = *request.offer();
                self.asked = Some(request);
                PortEvent::Asked(offer)
            }
            ConnectionEvent::Established { queue_pair, .. } => PortEvent::Established(queue_pair),
            ConnectionEvent::Closed { queue_pair, error } => PortEvent::Closed(queue_pair, error),
        })
    }

    fn accept(
        &mut self,
        options: &QueuePairOptions,
        parameters: &ConnectionParameters,
        now: Timestamp,
    ) -> Result<QueuePairId, CreateError> {
        let request = self.asked.take().ok_or(CreateError::RequestGone)?;
        self.endpoint.accept(request, options, parameters, now).map_err(|(error, request)| {
            // Rejected if it still can be.
            let _ = self.reject_request(request, RejectStatus::NoResources, now);
            error
        })
    }

    fn reject(&mut self, status: RejectStatus, now: Timestamp) {
        if let Some(request) = self.asked.take() {
            // A peer that has given up in the meantime needs no answer.
            let _ = self.reject_request(request, status, now);
        }
    }

    fn pass_on(&mut self, reactor: u16, now: Timestamp) {
        let Some(request) = self.asked.take() else { return };
        let refused = match self.inboxes.passed_on.get(usize::from(reactor)) {
            Some((inbox, waker)) => inbox.push(request).map(|()| waker.wake()),
            None => Err(request),
        };
        if let Err(request) = refused {
            let _ = self.reject_request(request, RejectStatus::NoResources, now);
        }
    }

    fn destroy(&mut self, queue_pair: QueuePairId, now: Timestamp) {
        self.endpoint.destroy(queue_pair, now);
    }

    fn post_send(&mut self, queue_pair: QueuePairId, work: &mut VecDeque<SendWork>) -> Result<(), PostError> {
        self.endpoint.post_send(queue_pair, work)
    }

    fn post_shared_receive(
        &mut self,
        queue: SharedReceiveQueueId,
        receives: &mut VecDeque<Receive>,
    ) -> Result<(), PostError> {
        self.endpoint.post_shared_receive(queue, receives)
    }

    fn poll(&mut self, completions: &mut Vec<Completion>, completions_max: usize, now: Timestamp) -> bool {
        self.endpoint.poll(completions, completions_max, now)
    }

    fn wake_descriptors(&self, descriptors: &mut Vec<RawFd>) {
        self.endpoint.wake_descriptors(descriptors);
    }

    fn prepare_wait(&mut self, now: Timestamp) -> Wait {
        let has_asked = |(inbox, _): &(ArrayQueue<_>, Waker)| !inbox.is_empty();
        if self.inboxes.passed_on.get(usize::from(self.reactor)).is_some_and(has_asked) {
            return Wait::Poll;
        }
        self.endpoint.prepare_wait(now)
    }

    fn counters(&self) -> Counters {
        self.endpoint.counters()
    }

    fn report_device_events(&self) {
        while let Some(event) = self.device.poll_event() {
            tracing::warn!(device = self.device.info().name, address = %self.device.address(), ?event, "RDMA device");
        }
    }
}
