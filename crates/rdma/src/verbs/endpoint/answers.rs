//! Listening, connecting and accepting: what the user asks for.

use std::net::SocketAddr;

use block::Timestamp;

use super::connection::{Connection, State, Work};
use super::request::{Listener, VerbsRequest};
use super::shared::SharedQueue;
use super::{ENTRIES_MORE, ENTRIES_PER_WORK, LISTENERS_MAX, SHARED_QUEUES_MAX, VerbsEndpoint, within};
use crate::connection::{
    Agreement, ConnectionEvent, ConnectionParameters, PrivateData, QueuePairOptions, REPLY_PRIVATE_BYTES_MAX,
    REQUEST_PRIVATE_BYTES_MAX, ReceiveSource,
};
use crate::error::{CreateError, ListenError};
use crate::handle::{Handle, ListenerId, QueuePairId, SharedReceiveQueueId};
use crate::provider::{Device, Request};
use crate::verbs::manager::Id;
use crate::verbs::objects::SharedReceives;
use crate::verbs::queue_pair::{Depths, QueuePair};

/// Time that connecting may take in all. The kernel alone would go on for more than a minute.
const CONNECT_MAX_NS: u64 = 15_000_000_000;

/// Most requests that the kernel keeps for us before we take them; it refuses others.
const KERNEL_BACKLOG: u32 = 1024;

/// A queue pair's depths: what the user asked for, and what the hardware is asked for.
struct Sizes {
    sends: u32,
    hardware_sends: u32,
    receives: u32,
    shared: Option<Handle>,
}

impl VerbsEndpoint {
    pub(super) fn start_listening(&mut self, port: u16, backlog: u32) -> Result<ListenerId, ListenError> {
        if self.listeners.len() >= LISTENERS_MAX as usize {
            return Err(ListenError::TooMany(LISTENERS_MAX));
        }
        let refused = |error: std::io::Error| match error.raw_os_error() {
            Some(libc::EADDRINUSE) => ListenError::PortTaken(port),
            _ => ListenError::System(error),
        };
        let address = SocketAddr::new(self.device.address(), port);
        let mut id = Id::bound(&self.channel, address).map_err(refused)?;
        id.listen(KERNEL_BACKLOG).map_err(refused)?;
        let listener = Listener::new(id, port, backlog);
        let Ok(handle) = self.listeners.insert(listener) else {
            return Err(ListenError::TooMany(LISTENERS_MAX));
        };
        if let Some(listener) = self.listeners.get_mut(handle) {
            listener.id.note(handle);
        }
        Ok(handle.into())
    }

    pub(super) fn begin_to_connect(
        &mut self,
        to: SocketAddr,
        options: &QueuePairOptions,
        parameters: &ConnectionParameters,
        now: Timestamp,
    ) -> Result<QueuePairId, CreateError> {
        let local = self.device.address();
        if to.is_ipv4() != local.is_ipv4()
            || to.ip().is_unspecified()
            || to.ip().is_multicast()
            || to.port() == 0
        {
            return Err(CreateError::Address(to.ip()));
        }
        fits(&parameters.private_data, REQUEST_PRIVATE_BYTES_MAX)?;
        let sizes = self.sizes(options)?;
        let system = |what| move |source| CreateError::System { what, source };
        let id = Id::bound(&self.channel, SocketAddr::new(local, 0))
            .map_err(system("bind to the device's address"))?;
        let work = self.make_queue_pair(id, &sizes).map_err(|(error, _)| error)?;
        let handle = self.insert(work, sizes, State::Resolving, self.cut(parameters), now)?;
        if let Some(connection) = self.connections.get_mut(handle) {
            let resolved = connection.work.queue_pair.id.resolve_address(to.ip(), to.port());
            if resolved.is_err() {
                self.close(handle, crate::ConnectionError::Unreachable);
            }
        }
        Ok(handle.into())
    }

    #[allow(clippy::result_large_err, reason = "the request is handed back by value, as the seam says")]
    pub(super) fn begin_to_accept(
        &mut self,
        mut request: VerbsRequest,
        options: &QueuePairOptions,
        parameters: &ConnectionParameters,
        now: Timestamp,
    ) -> Result<QueuePairId, (CreateError, VerbsRequest)> {
        let checked =
            fits(&parameters.private_data, REPLY_PRIVATE_BYTES_MAX).and_then(|()| self.sizes(options));
        let sizes = match checked {
            Ok(sizes) => sizes,
            Err(error) => return Err((error, request)),
        };
        let Some(mut id) = request.take_id() else { return Err((CreateError::RequestGone, request)) };
        if id.device() != self.device.inner.context.pointer.as_ptr() || id.migrate(&self.channel).is_err() {
            request.put_back(id);
            return Err((CreateError::RequestGone, request));
        }
        let offer = *request.offer();
        let mut parameters = self.cut(parameters);
        parameters.responder_resources = parameters.responder_resources.min(offer.responder_resources);
        parameters.initiator_depth = parameters.initiator_depth.min(offer.initiator_depth);
        let work = match self.make_queue_pair(id, &sizes) {
            Ok(work) => work,
            Err((error, id)) => {
                request.put_back(id);
                return Err((gone_or(error), request));
            }
        };
        match self.insert(work, sizes, State::Accepted, parameters, now) {
            Ok(handle) => {
                self.accepts.push(handle);
                Ok(handle.into())
            }
            Err(error) => Err((error, request)),
        }
    }

    /// What is offered, cut to what the device can do.
    fn cut(&self, parameters: &ConnectionParameters) -> ConnectionParameters {
        let limits = self.device.info().limits;
        ConnectionParameters {
            responder_resources: parameters.responder_resources.min(limits.responder_resources_max),
            initiator_depth: parameters.initiator_depth.min(limits.initiator_depth_max),
            ..*parameters
        }
    }

    fn sizes(&self, options: &QueuePairOptions) -> Result<Sizes, CreateError> {
        let limits = self.device.info().limits;
        let sends = options.send_depth;
        within("send depth", sends.into(), limits.send_depth_max.into())?;
        let (receives, shared) = match options.receives {
            ReceiveSource::Own(depth) => {
                within("receive depth", depth.into(), limits.receive_depth_max.into())?;
                (depth, None)
            }
            ReceiveSource::Shared(queue) => {
                let handle = queue.into();
                self.shared.get(handle).ok_or(CreateError::Gone("the shared receive queue"))?;
                (0, Some(handle))
            }
        };
        let too_many = |what, limit: u32| CreateError::TooMany { what, limit: limit.into() };
        if sends.saturating_add(receives) > self.budget.room() {
            return Err(too_many("completions that can wait", self.budget.max));
        }
        if self.connections.len() >= self.budget.queue_pairs_max as usize {
            return Err(too_many("queue pairs", self.budget.queue_pairs_max));
        }
        let hardware_max = u32::try_from(self.device.inner.attributes.max_qp_wr).unwrap_or(0);
        let hardware_sends = sends
            .saturating_mul(ENTRIES_PER_WORK)
            .saturating_add(ENTRIES_MORE)
            .min(hardware_max)
            .min(self.budget.hardware_room().saturating_sub(receives));
        if hardware_sends < sends.saturating_add(ENTRIES_MORE) {
            return Err(too_many("completions of the device", self.budget.hardware_max));
        }
        Ok(Sizes { sends, hardware_sends, receives, shared })
    }

    fn make_queue_pair(&mut self, id: Id, sizes: &Sizes) -> Result<Work, (CreateError, Id)> {
        let depths = Depths {
            sends: sizes.hardware_sends,
            receives: sizes.receives,
            segments: self.device.info().limits.segments_max,
        };
        let shared = sizes.shared.and_then(|handle| self.shared.get(handle)).map(|queue| &queue.queue);
        let domain = &self.device.inner.domain;
        let queue_pair = QueuePair::new(id, domain, &self.completions, shared, &depths)
            .map_err(|(source, id)| (CreateError::System { what: "make a queue pair", source }, id))?;
        Ok(Work::new(
            queue_pair,
            sizes.sends,
            sizes.hardware_sends,
            sizes.receives,
            self.device.inner.quirks(),
        ))
    }

    fn insert(
        &mut self,
        work: Work,
        sizes: Sizes,
        state: State,
        parameters: ConnectionParameters,
        now: Timestamp,
    ) -> Result<Handle, CreateError> {
        let number = work.queue_pair.number();
        let agreement = Agreement {
            responder_resources: parameters.responder_resources,
            initiator_depth: parameters.initiator_depth,
            private_data: PrivateData::default(),
        };
        let connection = Connection {
            windows: Default::default(),
            work,
            state,
            was_made: false,
            agreement,
            parameters,
            deadline: now.after_ns(CONNECT_MAX_NS),
            shared: sizes.shared,
        };
        let limit = self.budget.queue_pairs_max.into();
        let handle = self
            .connections
            .insert(connection)
            .map_err(|_| CreateError::TooMany { what: "queue pairs", limit })?;
        if let Some(connection) = self.connections.get_mut(handle) {
            connection.work.queue_pair.id.note(handle);
        }
        if let Some(queue) = sizes.shared.and_then(|queue| self.shared.get_mut(queue)) {
            queue.users += 1;
        }
        self.budget.take(sizes.sends + sizes.receives, sizes.hardware_sends + sizes.receives);
        self.numbers.insert(number, handle);
        self.connecting.push(handle);
        Ok(handle)
    }

    /// Takes a queue pair away from the device, and then its memory.
    pub(super) fn take_away(&mut self, handle: Handle) {
        self.end_quietly(handle);
        let Some(mut connection) = self.connections.remove(handle) else { return };
        self.connecting.retain(|one| *one != handle);
        self.accepts.retain(|one| *one != handle);
        self.goodbyes.retain(|(one, _)| *one != handle);
        // Bound windows end before the queue pair, to which they belong.
        self.windows.ended(connection.windows.len());
        connection.windows.clear();
        self.gather(usize::MAX);
        self.numbers.remove(&connection.work.queue_pair.number());
        let work = &mut connection.work;
        work.queue_pair.destroy();
        self.budget.give_back(work.send_depth + work.receive_depth, work.entries);
        if let Some(queue) = connection.shared.and_then(|queue| self.shared.get_mut(queue)) {
            queue.users = queue.users.saturating_sub(1);
        }
        drop(connection);
        // Some drivers leave completions of a queue pair that is gone.
        self.gather(usize::MAX);
        let id = QueuePairId::from(handle);
        self.pending.retain(|completion| completion.queue_pair != id);
        self.events.retain(|event| !is_of(event, id));
    }

    pub(super) fn make_shared(&mut self, depth: u32) -> Result<SharedReceiveQueueId, CreateError> {
        let limits = self.device.info().limits;
        within("shared receives", depth.into(), limits.shared_receive_depth_max.into())?;
        if self.shared.len() >= SHARED_QUEUES_MAX as usize {
            return Err(CreateError::TooMany {
                what: "shared receive queues",
                limit: SHARED_QUEUES_MAX.into(),
            });
        }
        if depth > self.budget.room() || depth > self.budget.hardware_room() {
            let limit = self.budget.max.into();
            return Err(CreateError::TooMany { what: "completions that can wait", limit });
        }
        let queue = SharedReceives::new(&self.device.inner.domain, depth)
            .map_err(|source| CreateError::System { what: "make a shared receive queue", source })?;
        let too_many =
            |_| CreateError::TooMany { what: "shared receive queues", limit: SHARED_QUEUES_MAX.into() };
        let handle = self.shared.insert(SharedQueue::new(queue, depth)).map_err(too_many)?;
        self.budget.take(depth, depth);
        Ok(handle.into())
    }
}

fn is_of<R>(event: &ConnectionEvent<R>, id: QueuePairId) -> bool {
    match event {
        ConnectionEvent::Requested(_) => false,
        ConnectionEvent::Established { queue_pair, .. } | ConnectionEvent::Closed { queue_pair, .. } => {
            *queue_pair == id
        }
    }
}

/// The kernel knows no queue pair state for a connection whose peer has withdrawn, and calls the wish for one invalid.
fn gone_or(error: CreateError) -> CreateError {
    match error {
        CreateError::System { source, .. } if source.raw_os_error() == Some(libc::EINVAL) => {
            CreateError::RequestGone
        }
        other => other,
    }
}

fn fits(private_data: &PrivateData, limit: usize) -> Result<(), CreateError> {
    let asked = private_data.bytes().len();
    if asked <= limit { Ok(()) } else { Err(CreateError::PrivateData { asked, limit }) }
}
