//! One thread's part of a device: a completion queue, an event channel, and the queue pairs on them.

mod answers;
mod completions;
mod connection;
mod connections;
mod post;
mod request;
mod shared;
mod windows;

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;

use block::{MonotonicClock, Timestamp, Wait};
use dma::Segment;
use rdma_sys::ibv_wc;

use self::connection::Connection;
use self::request::Listener;
pub use self::request::VerbsRequest;
use self::shared::SharedQueue;
use self::windows::Windows;
use super::device::VerbsDevice;
use super::manager::EventChannel;
use super::objects::CompletionQueue;
use super::queue_pair::{ReceiveBatch, SendBatch, empty_completion};
use crate::connection::{ConnectionEvent, ConnectionParameters, PrivateData, QueuePairOptions};
use crate::counters::Counters;
use crate::device::EndpointOptions;
use crate::error::{AnswerError, BindError, CreateError, ListenError, PostError};
use crate::handle::{Handle, ListenerId, QueuePairId, SharedReceiveQueueId, Slots};
use crate::provider::Endpoint;
use crate::work::{Completion, Receive, RemoteKey, RemoteMemory, Rights, SendWork};

/// Most listeners of an endpoint.
const LISTENERS_MAX: u32 = 64;

/// Most shared receive queues of an endpoint.
const SHARED_QUEUES_MAX: u32 = 64;

/// Completions that are taken from the hardware with one call.
const COMPLETIONS_AT_ONCE: usize = 32;

/// Entries that the send queue of a queue pair has for each piece of the user's work: the work, the binding of a window for it,
/// and its unbinding.
const ENTRIES_PER_WORK: u32 = 3;

/// Entries that a send queue has besides.
const ENTRIES_MORE: u32 = 4;

/// One thread's part of a device. Dropped from top to bottom: what uses something before what it uses.
pub struct VerbsEndpoint {
    connections: Slots<Connection>,
    events: VecDeque<ConnectionEvent<VerbsRequest>>,
    listeners: Slots<Listener>,
    shared: Slots<SharedQueue>,
    windows: Windows,
    /// Queue pairs by their number on the wire.
    numbers: HashMap<u32, Handle>,
    /// Requests that are accepted at the next poll.
    accepts: Vec<Handle>,
    /// Those that are being made, for their deadlines.
    connecting: Vec<Handle>,
    /// Ends of which the peers are told a little later.
    goodbyes: Vec<(Handle, Timestamp)>,
    /// Completions that came while something else was waited for.
    pending: VecDeque<Completion>,
    budget: Budget,
    completed: Vec<ibv_wc>,
    sends: SendBatch,
    receives: ReceiveBatch,
    watch: Watch,
    counters: Counters,
    device_descriptors: [OwnedFd; 2],
    completions: Arc<CompletionQueue>,
    channel: Arc<EventChannel>,
    device: VerbsDevice,
}

/// When to look where.
struct Watch {
    /// The completion queue was armed, and its event not taken yet.
    is_armed: bool,
    /// The time, as the user last told it.
    now: Timestamp,
    /// When the event channel was last looked at, and polls since.
    looked: Timestamp,
    polls: u32,
    /// For the few waits inside of calls.
    clock: MonotonicClock,
}

/// What queues take of the completion queue, so that it never overflows.
struct Budget {
    queue_pairs_max: u32,
    /// In entries of the users' queues.
    used: u32,
    max: u32,
    /// In entries of the hardware's queues.
    hardware_used: u32,
    hardware_max: u32,
}

impl Budget {
    fn room(&self) -> u32 {
        self.max.saturating_sub(self.used)
    }

    fn hardware_room(&self) -> u32 {
        self.hardware_max.saturating_sub(self.hardware_used)
    }

    fn take(&mut self, entries: u32, hardware: u32) {
        self.used = self.used.saturating_add(entries);
        self.hardware_used = self.hardware_used.saturating_add(hardware);
    }

    fn give_back(&mut self, entries: u32, hardware: u32) {
        self.used = self.used.saturating_sub(entries);
        self.hardware_used = self.hardware_used.saturating_sub(hardware);
    }
}

/// Checks that a number is between 1 and its most.
fn within(what: &'static str, asked: u64, limit: u64) -> Result<(), CreateError> {
    if (1..=limit).contains(&asked) { Ok(()) } else { Err(CreateError::Unfit { what, asked, limit }) }
}

impl VerbsEndpoint {
    pub(super) fn new(device: &VerbsDevice, options: &EndpointOptions) -> Result<Self, CreateError> {
        let inner = &device.inner;
        let limits = crate::provider::Device::info(device).limits;
        let entries_max = limits.completions_max;
        let EndpointOptions { queue_pairs_max, completions_max } = *options;
        within("queue pairs", queue_pairs_max.into(), limits.queue_pairs_max.into())?;
        within("completions", completions_max.into(), entries_max.into())?;
        let entries = completions_max
            .saturating_mul(ENTRIES_PER_WORK)
            .saturating_add(queue_pairs_max.saturating_mul(ENTRIES_MORE))
            .min(entries_max);
        let system = |what| move |source| CreateError::System { what, source };
        let completions =
            CompletionQueue::new(&inner.context, entries).map_err(system("make a completion queue"))?;
        let channel = EventChannel::new(inner.context.libraries).map_err(system("make an event channel"))?;
        Ok(Self {
            connections: Slots::new(queue_pairs_max),
            events: VecDeque::new(),
            listeners: Slots::new(LISTENERS_MAX),
            shared: Slots::new(SHARED_QUEUES_MAX),
            windows: Windows::new(&inner.attributes),
            numbers: HashMap::new(),
            accepts: Vec::new(),
            connecting: Vec::new(),
            goodbyes: Vec::new(),
            pending: VecDeque::new(),
            budget: Budget {
                queue_pairs_max,
                used: 0,
                max: completions_max,
                hardware_used: 0,
                hardware_max: entries,
            },
            completed: (0..COMPLETIONS_AT_ONCE).map(|_| empty_completion()).collect(),
            sends: SendBatch::new(),
            receives: ReceiveBatch::new(),
            watch: Watch {
                is_armed: false,
                now: Timestamp::default(),
                looked: Timestamp::default(),
                polls: 0,
                clock: MonotonicClock::start(),
            },
            counters: Counters::default(),
            device_descriptors: inner.descriptors().map_err(system("watch the device"))?,
            completions,
            channel,
            device: device.clone(),
        })
    }
}

impl Endpoint for VerbsEndpoint {
    type Request = VerbsRequest;

    fn listen(&mut self, port: u16, backlog: u32) -> Result<ListenerId, ListenError> {
        self.start_listening(port, backlog)
    }

    fn stop_listening(&mut self, listener: ListenerId) {
        self.events.retain(
            |event| !matches!(event, ConnectionEvent::Requested(request) if request.is_from(listener)),
        );
        self.listeners.remove(listener.into());
    }

    fn connect(
        &mut self,
        to: SocketAddr,
        options: &QueuePairOptions,
        parameters: &ConnectionParameters,
        now: Timestamp,
    ) -> Result<QueuePairId, CreateError> {
        self.begin_to_connect(to, options, parameters, now)
    }

    fn accept(
        &mut self,
        request: VerbsRequest,
        options: &QueuePairOptions,
        parameters: &ConnectionParameters,
        now: Timestamp,
    ) -> Result<QueuePairId, (CreateError, VerbsRequest)> {
        self.begin_to_accept(request, options, parameters, now)
    }

    fn reject(
        &mut self,
        request: VerbsRequest,
        private_data: &PrivateData,
        _now: Timestamp,
    ) -> Result<(), AnswerError> {
        request.refuse(private_data)
    }

    fn disconnect(&mut self, queue_pair: QueuePairId, _now: Timestamp) {
        self.close(queue_pair.into(), crate::ConnectionError::Disconnected);
    }

    fn destroy(&mut self, queue_pair: QueuePairId, _now: Timestamp) {
        self.take_away(queue_pair.into());
    }

    fn create_shared_receive_queue(&mut self, depth: u32) -> Result<SharedReceiveQueueId, CreateError> {
        self.make_shared(depth)
    }

    fn destroy_shared_receive_queue(&mut self, queue: SharedReceiveQueueId) -> Result<(), AnswerError> {
        let handle = queue.into();
        match self.shared.get(handle) {
            None => return Err(AnswerError::Gone),
            Some(queue) if queue.users > 0 => return Err(AnswerError::InUse),
            Some(queue) => self.budget.give_back(queue.depth, queue.depth),
        }
        self.shared.remove(handle);
        Ok(())
    }

    fn bind(
        &mut self,
        queue_pair: QueuePairId,
        segment: &Segment,
        rights: Rights,
    ) -> Result<RemoteMemory, BindError> {
        self.bind_window(queue_pair.into(), segment, rights)
    }

    fn unbind(&mut self, queue_pair: QueuePairId, key: RemoteKey) {
        self.unbind_window(queue_pair.into(), key.0);
    }

    fn post_send(&mut self, queue_pair: QueuePairId, work: &mut VecDeque<SendWork>) -> Result<(), PostError> {
        self.post_work(queue_pair.into(), work)
    }

    fn post_receive(
        &mut self,
        queue_pair: QueuePairId,
        receives: &mut VecDeque<Receive>,
    ) -> Result<(), PostError> {
        self.post_own_receives(queue_pair.into(), receives)
    }

    fn post_shared_receive(
        &mut self,
        queue: SharedReceiveQueueId,
        receives: &mut VecDeque<Receive>,
    ) -> Result<(), PostError> {
        self.post_shared_receives(queue.into(), receives)
    }

    fn poll(&mut self, completions: &mut Vec<Completion>, completions_max: usize, now: Timestamp) -> bool {
        self.look_everywhere(completions, completions_max, now)
    }

    fn poll_connection(&mut self) -> Option<ConnectionEvent<VerbsRequest>> {
        self.events.pop_front()
    }

    fn wake_descriptors(&self, descriptors: &mut Vec<RawFd>) {
        descriptors.extend([self.completions.descriptor(), self.channel.descriptor()]);
        descriptors.extend(self.device_descriptors.iter().map(AsRawFd::as_raw_fd));
    }

    fn prepare_wait(&mut self, now: Timestamp) -> Wait {
        self.get_ready_to_sleep(now)
    }

    fn counters(&self) -> Counters {
        self.counters
    }
}
