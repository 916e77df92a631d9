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
mod shared;
mod state;
mod timers;
mod windows;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::{Arc, TryLockError};

use block::{Sleeper, Timestamp, Wait};
use dma::{RegionId, Segment};
use rand::Rng;

use self::connections::Told;
use self::incoming::{News, Place};
use self::numbers::Numbers;
use self::state::{Commons, SharedReceives, State};
use crate::soft::cm::{CmEvent, CmOptions, ConnectionManager, Shard};
use crate::soft::link::Link;
use crate::soft::rc::ReceiveQueue;
use crate::soft::wire::mad::Guid;
use crate::{
    AnswerError, BindError, Completion, ConnectionError, ConnectionEvent, ConnectionParameters, Counters,
    CreateError, Data, DeviceLimits, Endpoint, EndpointOptions, Handle, ListenError, ListenerId, PostError,
    PrivateData, QueuePairId, QueuePairOptions, Receive, ReceiveSource, RemoteKey, RemoteMemory, Rights,
    SendWork, SharedReceiveQueueId, Slots,
};

pub use connections::SoftRequest;
use shared::Attached;
pub use shared::Links;
pub(crate) use shared::{LISTENERS_MAX, Shared};

/// What an endpoint of this kind can do.
pub(crate) const LIMITS: DeviceLimits = DeviceLimits {
    queue_pairs_max: numbers::QUEUE_PAIRS_MAX,
    send_depth_max: 16 << 10,
    receive_depth_max: 16 << 10,
    shared_receive_depth_max: 64 << 10,
    segments_max: 1024,
    responder_resources_max: 128,
    initiator_depth_max: 128,
    message_bytes_max: 1 << 30,
};

/// Most shared receive queues of an endpoint.
const SHARED_RECEIVE_QUEUES_MAX: u32 = 256;
/// Most connections that have ended and whose names rest: so many can end in half a second.
const TIMEWAIT_MAX: u32 = 16 << 10;
/// Most batches of packets that are taken in before the user sees what has completed.
const BATCHES_PER_POLL: usize = 4;
/// For how many turns the connection manager waits until all packets have been taken in.
const TURNS_PUT_OFF_MAX: u32 = 8;
/// How often a busy endpoint looks after the connection manager's link; a sleeping one is woken by it.
const MANAGEMENT_INTERVAL_NS: u64 = 50_000;

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
        let mut random = shared.random();
        let number = u8::try_from(shard).ok().and_then(|number| Shard::try_from(number).ok());
        let cm_options = CmOptions {
            address: shared.address,
            guid: Guid(shared.info.guid),
            shard: number.unwrap_or(Shard::FIRST),
            mtu: shared.info.mtu,
            // Those in timewait besides.
            connections_max: options.queue_pairs_max + TIMEWAIT_MAX,
        };
        let bell = bell(&*shared)?;
        let manager = ConnectionManager::new(cm_options, shared.random());
        let shard_byte = u8::try_from(shard).unwrap_or_default();
        let state = State {
            numbers: Numbers::new(shard_byte, options.queue_pairs_max, random.next_u32()),
            queue_pairs: Slots::new(options.queue_pairs_max),
            commons: Commons {
                windows: windows::WindowTable::default(),
                shared_receives: Slots::new(SHARED_RECEIVE_QUEUES_MAX),
                flows: flows::Flows::default(),
                reads: crate::soft::rc::ReadBudget::default(),
                counters: Counters::default(),
            },
            timers: timers::Timers::default(),
            ready: VecDeque::new(),
            blocked: Vec::new(),
            has_opened: false,
            manager,
            random,
        };
        Ok(Self {
            shared,
            shard,
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

    fn send(&mut self, completions: &mut Vec<Completion>, now: Timestamp) -> bool {
        let did_anything = self.state.transmit(&mut self.link, completions, &mut self.news, now);
        self.handle_news(completions, now);
        did_anything
    }

    fn receive(&mut self, completions: &mut Vec<Completion>, now: Timestamp) -> usize {
        let place = Place { shared: &*self.shared, shard: self.shard };
        let (state, news) = (&mut self.state, &mut self.news);
        let count = self.link.receive(|arrived| {
            news.extend(place.handle_packet(arrived, state, completions, now));
        });
        self.handle_news(completions, now);
        count
    }

    /// Looks after the connection manager's link, unless another endpoint is just doing that.
    fn receive_management(&mut self, now: Timestamp) {
        if now < self.next_management {
            return;
        }
        self.next_management = now.after_ns(MANAGEMENT_INTERVAL_NS);
        let mut link = match self.shared.management.try_lock() {
            Ok(link) => link,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        let place = Place { shared: &*self.shared, shard: self.shard };
        let state = &mut self.state;
        link.receive(|arrived| place.handle_management(arrived, state, now));
    }

    /// Carries what packets and timeouts have brought to the connections.
    fn handle_news(&mut self, completions: &mut Vec<Completion>, now: Timestamp) {
        while let Some(news) = self.news.pop() {
            self.events.extend(self.state.handle_news(news, completions, now));
        }
    }

    /// Does what the connection manager says, and tells the user. Whether there was anything.
    ///
    /// What a peer sent before it disconnected counts, and it may still be in the socket when the message of the connection
    /// manager has overtaken it on another: so the socket is emptied first, unless it never is.
    fn handle_events(&mut self, is_drained: bool, completions: &mut Vec<Completion>) -> bool {
        if !is_drained && self.turns_put_off < TURNS_PUT_OFF_MAX {
            self.turns_put_off += 1;
            return false;
        }
        self.turns_put_off = 0;
        let before = self.events.len();
        while let Some(event) = self.state.manager.poll_event() {
            match event {
                CmEvent::Requested(incoming) => {
                    let port = incoming.local().port();
                    let listener = self.listeners.iter_mut().find(|(_, listened)| **listened == port);
                    // A request for a listener that has just gone is dropped, and thereby rejected.
                    let request = listener.map(|(handle, _)| SoftRequest::new(handle.into(), incoming));
                    self.events.extend(request.map(ConnectionEvent::Requested));
                }
                event => self.events.extend(self.state.handle_event(event, completions)),
            }
        }
        self.events.len() != before
    }

    /// Sends what is still owed to peers, acknowledgements above all: a connection is about to end on this side.
    fn settle(&mut self, now: Timestamp) {
        let mut completions = std::mem::take(&mut self.waiting);
        self.send(&mut completions, now);
        self.waiting = completions;
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
        self.now = now;
        let before = completions.len();
        let given = completions_max.min(self.waiting.len());
        completions.extend(self.waiting.drain(..given));
        let mut did_anything = self.send(completions, now);
        self.receive_management(now);
        let mut is_drained = false;
        for _ in 0..BATCHES_PER_POLL {
            if is_drained || completions.len() - before >= completions_max {
                break;
            }
            is_drained = self.receive(completions, now) == 0;
            did_anything |= !is_drained;
        }
        did_anything |= self.state.run_timers(completions, &mut self.news, now);
        self.handle_news(completions, now);
        did_anything |= self.handle_events(is_drained, completions);
        if did_anything && completions.len() == before {
            self.send(completions, now);
        }
        did_anything || completions.len() != before
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
            packets_received: link.packets_received,
            system_calls: link.system_calls,
            bytes_copied: counted.bytes_copied + link.bytes_copied,
            dropped_icrc: link.dropped_icrc,
            dropped_malformed: counted.dropped_malformed + link.dropped_malformed,
            dropped_requests: self.state.manager.counters().overflowed,
            ..counted
        }
    }
}

/// Peers are told that their connections have ended, as far as one message does; their own retries do the rest.
impl<K: Links> Drop for SoftEndpoint<K> {
    fn drop(&mut self) {
        let queue_pairs: Vec<_> = self.state.queue_pairs.iter_mut().map(|(handle, _)| handle).collect();
        for handle in queue_pairs {
            self.destroy(handle.into(), self.now);
        }
        let now = self.now;
        self.send(&mut Vec::new(), now);
        for (_, port) in self.listeners.iter_mut() {
            self.shared.remove_listener(*port, self.shard);
        }
    }
}

fn check_work(work: &SendWork, attached: &Attached) -> Result<(), PostError> {
    let Data::Memory(list) = &work.data else { return Ok(()) };
    if list.segments().len() > LIMITS.segments_max as usize {
        return Err(PostError::Unfit("more segments than the device can gather"));
    }
    list.segments().iter().try_for_each(|segment| check_region(segment.region(), attached))
}

fn check_receive(receive: &Receive, attached: &Attached) -> Result<(), PostError> {
    check_region(receive.buffer.region(), attached)
}

fn check_region(region: RegionId, attached: &Attached) -> Result<(), PostError> {
    let unfit = PostError::Unfit("memory that is not attached to the device");
    if attached.knows(region) { Ok(()) } else { Err(unfit) }
}

/// Posts from the front up to the first piece that is unfit; when that one is at the front, says why.
fn post_fit<T>(
    pieces: &mut VecDeque<T>,
    check: impl Fn(&T) -> Result<(), PostError>,
    post: impl FnOnce(&mut VecDeque<T>) -> Result<(), PostError>,
) -> Result<(), PostError> {
    let unfit = pieces.iter().enumerate().find_map(|(index, piece)| Some((index, check(piece).err()?)));
    match unfit {
        None => post(pieces),
        Some((0, error)) => Err(error),
        Some((first, _)) => {
            let mut rest = pieces.split_off(first);
            let posted = post(pieces);
            pieces.append(&mut rest);
            posted
        }
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
