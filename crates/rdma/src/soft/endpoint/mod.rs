//! One thread's part of a soft device: it joins the reliable connection, the connection manager and a link.
//!
//! In a turn, [`Endpoint::poll`] first sends and then takes in. So the acknowledgement of what came in during one turn leaves
//! with the answer that the user posted upon it, in one batch of the next turn; only a turn that gives the user nothing to
//! do sends at its end as well.

mod connections;
mod flows;
mod incoming;
mod numbers;
mod outgoing;
mod posting;
mod shared;
mod state;
mod timers;
mod turn;
mod windows;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;

use block::{Sleeper, Timestamp, Wait};
use dma::Segment;

use self::connections::Told;
use self::incoming::News;
use self::posting::{check_receive, check_work, post_fit};
use self::state::{SHARED_RECEIVE_QUEUES_MAX, SharedReceives, State};
use crate::soft::cm::{CmOptions, ConnectionManager};
use crate::soft::link::Link;
use crate::soft::rc::ReceiveQueue;
use crate::soft::wire::mad::Guid;
use crate::{
    AnswerError, BindError, Completion, ConnectionError, ConnectionEvent, ConnectionParameters, Counters,
    CreateError, DeviceLimits, Endpoint, EndpointOptions, Handle, ListenError, ListenerId, PostError,
    PrivateData, QueuePairId, QueuePairOptions, Receive, ReceiveSource, RemoteKey, RemoteMemory, Rights,
    SendWork, SharedReceiveQueueId, Slots,
};

pub use connections::SoftRequest;
pub use shared::Links;
pub(crate) use shared::{LISTENERS_MAX, Shared};

/// What an endpoint of this kind can do.
pub(crate) const LIMITS: DeviceLimits = DeviceLimits {
    queue_pairs_max: numbers::QUEUE_PAIRS_MAX,
    // Each is kept until it is polled, and the queues have their own bounds.
    completions_max: u32::MAX,
    send_depth_max: 16 << 10,
    receive_depth_max: 16 << 10,
    shared_receive_depth_max: 64 << 10,
    segments_max: 1024,
    responder_resources_max: 128,
    initiator_depth_max: 128,
    message_bytes_max: 1 << 30,
};

/// Most connections that have ended and whose names rest: so many can end in half a second.
const TIMEWAIT_MAX: u32 = 16 << 10;

/// One thread's part of a soft device.
pub struct SoftEndpoint<K: Links> {
    shared: Arc<Shared<K>>,
    shard: u16,
    link: K::Link,
    state: State,
    listeners: Slots<u16>,
    events: VecDeque<Told>,
    /// Completions that came about outside of [`Endpoint::poll`].
    waiting: Vec<Completion>,
    news: Vec<News>,
    next_management: Timestamp,
    /// Turns for which what the connection manager says was put off.
    turns_put_off: u32,
    /// The newest time that was told.
    now: Timestamp,
    /// Wakes for the connection manager's link. Its descriptor is this endpoint's own, as one sleeper may be given those of
    /// several endpoints of a device.
    bell: Sleeper,
}

impl<K: Links> SoftEndpoint<K> {
    pub(crate) fn new(shared: Arc<Shared<K>>, options: &EndpointOptions) -> Result<Self, CreateError> {
        fits("queue_pairs_max", options.queue_pairs_max, LIMITS.queue_pairs_max)?;
        let system = |error: crate::OpenError| CreateError::System {
            what: "the endpoint's link",
            source: std::io::Error::other(error),
        };
        let limit = u64::from(shared.links.shards()) - 1;
        let (shard, link) =
            shared.claim().map_err(system)?.ok_or(CreateError::TooMany { what: "endpoints", limit })?;
        let bell = bell(&*shared)?;
        let manager = ConnectionManager::new(
            CmOptions {
                address: shared.address,
                guid: Guid(shared.info.guid),
                shard,
                mtu: shared.info.mtu,
                // Those in timewait besides.
                connections_max: options.queue_pairs_max + TIMEWAIT_MAX,
            },
            shared.random(),
        );
        let state = State::new(shard, options.queue_pairs_max, manager, shared.random());
        Ok(Self {
            shard: u16::from(shard.number()),
            shared,
            link,
            state,
            listeners: Slots::new(LISTENERS_MAX),
            events: VecDeque::new(),
            waiting: Vec::new(),
            news: Vec::new(),
            next_management: Timestamp::default(),
            turns_put_off: 0,
            now: Timestamp::default(),
            bell,
        })
    }

    fn check_options(&self, options: &QueuePairOptions) -> Result<(), CreateError> {
        fits("send_depth", options.send_depth, LIMITS.send_depth_max)?;
        if let ReceiveSource::Own(depth) = options.receives {
            fits("receive_depth", depth, LIMITS.receive_depth_max)?;
        }
        Ok(())
    }
}

impl<K: Links> Endpoint for SoftEndpoint<K> {
    type Request = SoftRequest;

    fn listen(&mut self, port: u16, backlog: u32) -> Result<ListenerId, ListenError> {
        self.shared.enter_listener(port, self.shard)?;
        let entered = self.state.manager.listen(port, backlog).is_ok();
        match self.listeners.insert(port) {
            Ok(handle) if entered => Ok(handle.into()),
            _ => {
                self.shared.remove_listener(port, self.shard);
                Err(ListenError::TooMany(LISTENERS_MAX))
            }
        }
    }

    fn stop_listening(&mut self, listener: ListenerId) {
        if let Some(port) = self.listeners.remove(listener.into()) {
            self.shared.remove_listener(port, self.shard);
            self.state.manager.stop(self.now, port);
            self.events.retain(
                |event| !matches!(event, ConnectionEvent::Requested(request) if crate::Request::offer(request).listener == listener),
            );
        }
    }

    fn connect(
        &mut self,
        to: SocketAddr,
        options: &QueuePairOptions,
        parameters: &ConnectionParameters,
        now: Timestamp,
    ) -> Result<QueuePairId, CreateError> {
        self.check_options(options)?;
        self.state.connect(to, options, parameters, now)
    }

    fn accept(
        &mut self,
        request: SoftRequest,
        options: &QueuePairOptions,
        parameters: &ConnectionParameters,
        now: Timestamp,
    ) -> Result<QueuePairId, (CreateError, SoftRequest)> {
        match self.check_options(options) {
            Ok(()) => self.state.accept(request, options, parameters, now),
            Err(error) => Err((error, request)),
        }
    }

    fn reject(
        &mut self,
        request: SoftRequest,
        private_data: &PrivateData,
        now: Timestamp,
    ) -> Result<(), AnswerError> {
        self.state.manager.reject(now, request.into_incoming(), private_data)
    }

    fn disconnect(&mut self, queue_pair: QueuePairId, now: Timestamp) {
        let Some(entry) = self.state.queue_pairs.get(queue_pair.into()) else { return };
        let number = entry.queue_pair.number();
        self.settle(now);
        let told = self.state.close(queue_pair.into(), ConnectionError::Disconnected, &mut self.waiting);
        self.events.extend(told);
        self.state.manager.disconnect(now, number);
    }

    fn destroy(&mut self, queue_pair: QueuePairId, now: Timestamp) {
        let handle: Handle = queue_pair.into();
        let Some(entry) = self.state.queue_pairs.get(handle) else { return };
        let number = entry.queue_pair.number();
        self.settle(now);
        self.state.manager.disconnect(now, number);
        self.state.remove(handle);
        self.waiting.retain(|completion| completion.queue_pair != queue_pair);
        self.events.retain(|event| !is_about(event, queue_pair));
    }

    fn create_shared_receive_queue(&mut self, depth: u32) -> Result<SharedReceiveQueueId, CreateError> {
        fits("the depth of a shared receive queue", depth, LIMITS.shared_receive_depth_max)?;
        let queue = SharedReceives { queue: ReceiveQueue::new(depth), users: 0 };
        let limit = u64::from(SHARED_RECEIVE_QUEUES_MAX);
        let too_many = CreateError::TooMany { what: "shared receive queues", limit };
        let inserted = self.state.commons.shared_receives.insert(queue);
        inserted.map(SharedReceiveQueueId::from).map_err(|_| too_many)
    }

    fn destroy_shared_receive_queue(&mut self, queue: SharedReceiveQueueId) -> Result<(), AnswerError> {
        let queues = &mut self.state.commons.shared_receives;
        match queues.get(queue.into()) {
            None => Err(AnswerError::Gone),
            Some(shared) if shared.users > 0 => Err(AnswerError::InUse),
            Some(_) => {
                queues.remove(queue.into());
                Ok(())
            }
        }
    }

    fn bind(
        &mut self,
        queue_pair: QueuePairId,
        segment: &Segment,
        rights: Rights,
    ) -> Result<RemoteMemory, BindError> {
        let entry = self.state.queue_pairs.get(queue_pair.into()).ok_or(BindError::QueuePair)?;
        if entry.stage() == state::Stage::Closed {
            return Err(BindError::QueuePair);
        }
        if !self.shared.attached.knows(segment.region()) {
            return Err(BindError::NotAttached);
        }
        let number = entry.queue_pair.number();
        self.state.commons.windows.bind(number, segment, rights, &mut self.state.random)
    }

    fn unbind(&mut self, queue_pair: QueuePairId, key: RemoteKey) {
        if let Some(entry) = self.state.queue_pairs.get(queue_pair.into()) {
            self.state.commons.windows.unbind(key, entry.queue_pair.number());
        }
    }

    fn post_send(&mut self, queue_pair: QueuePairId, work: &mut VecDeque<SendWork>) -> Result<(), PostError> {
        let handle = queue_pair.into();
        let entry = self.state.queue_pairs.get_mut(handle).ok_or(PostError::Gone)?;
        let attached = &self.shared.attached;
        let posted =
            post_fit(work, |work| check_work(work, attached), |work| entry.queue_pair.post_send(work));
        self.state.schedule(handle);
        posted
    }

    fn post_receive(
        &mut self,
        queue_pair: QueuePairId,
        receives: &mut VecDeque<Receive>,
    ) -> Result<(), PostError> {
        let handle = queue_pair.into();
        let entry = self.state.queue_pairs.get_mut(handle).ok_or(PostError::Gone)?;
        let attached = &self.shared.attached;
        let posted = post_fit(
            receives,
            |receive| check_receive(receive, attached),
            |receives| entry.queue_pair.post_receive(receives),
        );
        self.state.schedule(handle);
        posted
    }

    fn post_shared_receive(
        &mut self,
        queue: SharedReceiveQueueId,
        receives: &mut VecDeque<Receive>,
    ) -> Result<(), PostError> {
        let shared = self.state.commons.shared_receives.get_mut(queue.into()).ok_or(PostError::Gone)?;
        let attached = &self.shared.attached;
        post_fit(
            receives,
            |receive| check_receive(receive, attached),
            |receives| {
                shared.queue.post(receives);
                Ok(())
            },
        )
    }

    fn poll(&mut self, completions: &mut Vec<Completion>, completions_max: usize, now: Timestamp) -> bool {
        self.turn(completions, completions_max, now)
    }

    fn poll_connection(&mut self) -> Option<ConnectionEvent<SoftRequest>> {
        self.events.pop_front()
    }

    fn wake_descriptors(&self, descriptors: &mut Vec<RawFd>) {
        self.link.wake_descriptors(descriptors);
        descriptors.push(self.bell.as_raw_fd());
    }

    fn prepare_wait(&mut self, now: Timestamp) -> Wait {
        // Whoever has slept looks after the connection manager first: it may be what woke him.
        self.next_management = now;
        let has_more = self.turns_put_off > 0
            || !self.state.manager.is_quiet()
            || !self.events.is_empty()
            || !self.waiting.is_empty()
            || !self.state.ready.is_empty()
            || (self.state.has_opened && !self.state.blocked.is_empty());
        if has_more {
            return Wait::Poll;
        }
        let manager = self.state.manager.next_timeout().unwrap_or(Timestamp::NEVER);
        Wait::Until(self.state.timers.next().min(manager))
    }

    fn counters(&self) -> Counters {
        let link = self.link.counters();
        let counted = self.state.commons.counters;
        Counters {
            packets_sent: link.packets_sent,
            packets_received: counted.packets_received + link.packets_received,
            system_calls: counted.system_calls + link.system_calls,
            bytes_copied: counted.bytes_copied + link.bytes_copied,
            dropped_icrc: counted.dropped_icrc + link.dropped_icrc,
            dropped_malformed: counted.dropped_malformed + link.dropped_malformed,
            dropped_requests: self.state.manager.counters().overflowed,
            ..counted
        }
    }
}

/// Peers are told that their connections have ended and that their requests are rejected, as far as one message does; their
/// own retries do the rest.
impl<K: Links> Drop for SoftEndpoint<K> {
    fn drop(&mut self) {
        let listeners: Vec<_> = self.listeners.iter_mut().map(|(handle, _)| handle).collect();
        listeners.into_iter().for_each(|listener| self.stop_listening(listener.into()));
        let queue_pairs: Vec<_> = self.state.queue_pairs.iter_mut().map(|(handle, _)| handle).collect();
        for handle in queue_pairs {
            self.destroy(handle.into(), self.now);
        }
        let now = self.now;
        self.send(&mut Vec::new(), now);
    }
}

fn fits(what: &'static str, asked: u32, limit: u32) -> Result<(), CreateError> {
    if (1..=limit).contains(&asked) {
        Ok(())
    } else {
        Err(CreateError::Unfit { what, asked: u64::from(asked), limit: u64::from(limit) })
    }
}

fn bell<K: Links>(shared: &Shared<K>) -> Result<Sleeper, CreateError> {
    let system = |error| CreateError::System {
        what: "waiting for the connection manager",
        source: std::io::Error::other(error),
    };
    let mut bell = Sleeper::new().map_err(system)?;
    let mut descriptors = Vec::new();
    shared::lock(&shared.management).wake_descriptors(&mut descriptors);
    descriptors.into_iter().try_for_each(|descriptor| bell.add(descriptor)).map_err(system)?;
    Ok(bell)
}

fn is_about(event: &Told, queue_pair: QueuePairId) -> bool {
    match event {
        ConnectionEvent::Requested(_) => false,
        ConnectionEvent::Established { queue_pair: about, .. }
        | ConnectionEvent::Closed { queue_pair: about, .. } => *about == queue_pair,
    }
}
