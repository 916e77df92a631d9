//! The seam: what an NVMe-oF target and host need of RDMA, and no more.
//!
//! A [`Provider`] names a kind of RDMA and opens devices. A [`Device`] is shared by threads: memory is attached to it. An
//! [`Endpoint`] belongs to one thread: completions, queue pairs, listeners. Programs are generic over the provider, so
//! that nothing on the I/O path is dispatched at run time or locked.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::RawFd;

use block::{Timestamp, Wait};
use dma::{AttachError, Region, Segment};

use crate::connection::{ConnectionEvent, ConnectionParameters, PeerOffer, PrivateData, QueuePairOptions};
use crate::device::{DeviceEvent, DeviceInfo, DeviceOptions, EndpointOptions};
use crate::error::{AnswerError, BindError, CreateError, DevicesError, ListenError, OpenError, PostError};
use crate::handle::{ListenerId, QueuePairId, SharedReceiveQueueId};
use crate::work::{Completion, Receive, RemoteKey, RemoteMemory, Rights, SendWork};

/// A kind of RDMA.
pub trait Provider: Clone + Send + Sync + 'static {
    /// Its devices.
    type Device: Device;

    /// The provider's name: `soft` or `verbs`.
    fn name(&self) -> &'static str;

    /// The devices and addresses that there are.
    fn devices(&self) -> Result<Vec<DeviceInfo>, DevicesError>;

    /// Opens the device that an address of this machine belongs to, for use at that address.
    fn open(&self, address: IpAddr, options: &DeviceOptions) -> Result<Self::Device, OpenError>;
}

/// An opened device, used at one address. Handles of one device share everything.
pub trait Device: Clone + Send + Sync + 'static {
    /// One thread's part of it.
    type Endpoint: Endpoint;

    /// What it is and can do.
    fn info(&self) -> &DeviceInfo;

    /// The address that it was opened at.
    fn address(&self) -> IpAddr;

    /// Makes memory known to the device. Once for a region, before the first work that uses it; again is no error.
    fn attach_memory(&self, region: &Region) -> Result<(), AttachError>;

    /// Makes an endpoint for one thread.
    fn endpoint(&self, options: &EndpointOptions) -> Result<Self::Endpoint, CreateError>;

    /// The next thing that happened to the device. Each event is told once, to one of those who ask.
    fn poll_event(&self) -> Option<DeviceEvent>;
}

/// A request to connect, answered by value.
pub trait Request: Send {
    /// What the peer told.
    fn offer(&self) -> &PeerOffer;
}

/// One thread's part of a device. Nothing here blocks, but for the making of endpoints and queue pairs.
///
/// The contract, held by the conformance suite:
/// - Work that was taken completes exactly once, with its memory. Signaled work reports success; work that is not signaled
///   reports failure only, and its memory is let go when later work of the queue pair completes.
/// - Completions of one queue pair's send queue come in the order of posting, and so do those of its own receive queue.
/// - A message is received whole and once, in the order of posting; when the SEND behind an RDMA WRITE has been received, so
///   has the WRITE's data.
/// - A peer touches memory only through a bound window, inside its bounds, within its rights, on its queue pair.
/// - When a connection ends, for whatever reason, both queues flush: every piece of work left completes with
///   [`crate::WorkError::Flushed`] (the one that caused it with its cause), and one [`ConnectionEvent::Closed`] is told.
///   Work that is posted later, until the queue pair is destroyed, flushes as well.
/// - Destroying a queue pair drops its remaining work without completions. Its memory goes back when neither the device nor
///   the peer can touch it; completions of it that were not yet polled are not given any more.
pub trait Endpoint: Send {
    /// A connection that a peer asks for.
    type Request: Request;

    /// Listens on a port of the device's address. At most `backlog` requests wait to be answered; others are dropped, and
    /// their senders ask again.
    fn listen(&mut self, port: u16, backlog: u32) -> Result<ListenerId, ListenError>;

    /// No longer listens. Requests that wait are rejected.
    fn stop_listening(&mut self, listener: ListenerId);

    /// Makes a queue pair and begins to connect it; its receives may be posted at once.
    fn connect(
        &mut self,
        to: SocketAddr,
        options: &QueuePairOptions,
        parameters: &ConnectionParameters,
        now: Timestamp,
    ) -> Result<QueuePairId, CreateError>;

    /// Makes a queue pair for a request and begins to accept it; its receives may be posted at once, and no message can
    /// arrive before this endpoint is polled again. Hands the request back if that fails.
    fn accept(
        &mut self,
        request: Self::Request,
        options: &QueuePairOptions,
        parameters: &ConnectionParameters,
        now: Timestamp,
    ) -> Result<QueuePairId, (CreateError, Self::Request)>;

    /// Refuses a request, with at most [`crate::REJECT_PRIVATE_BYTES_MAX`] bytes of private data.
    fn reject(
        &mut self,
        request: Self::Request,
        private_data: &PrivateData,
        now: Timestamp,
    ) -> Result<(), AnswerError>;

    /// Ends a connection: the peer is told, work flushes, [`ConnectionEvent::Closed`] follows.
    fn disconnect(&mut self, queue_pair: QueuePairId, now: Timestamp);

    /// Takes a queue pair away, in whatever state.
    fn destroy(&mut self, queue_pair: QueuePairId, now: Timestamp);

    /// Makes a receive queue that queue pairs can share.
    fn create_shared_receive_queue(&mut self, depth: u32) -> Result<SharedReceiveQueueId, CreateError>;

    /// Takes a shared receive queue away; its receives are dropped. It must have no queue pair left.
    fn destroy_shared_receive_queue(&mut self, queue: SharedReceiveQueueId) -> Result<(), AnswerError>;

    /// Lets the peer of a queue pair reach a segment, until the window is unbound, invalidated by the peer, or the queue
    /// pair gone. In order with the work of the queue pair: work posted later finds it bound. The segment stays with the
    /// window.
    fn bind(
        &mut self,
        queue_pair: QueuePairId,
        segment: &Segment,
        rights: Rights,
    ) -> Result<RemoteMemory, BindError>;

    /// Takes a window away. When this returns the peer can no longer reach the memory. A key that is not bound (any more) is no
    /// error: the peer may have invalidated it.
    fn unbind(&mut self, queue_pair: QueuePairId, key: RemoteKey);

    /// Takes work from the front for as long as there is room, and posts it as one batch; leaves the rest in place.
    fn post_send(&mut self, queue_pair: QueuePairId, work: &mut VecDeque<SendWork>) -> Result<(), PostError>;

    /// Takes receives from the front for as long as there is room in the queue pair's own receive queue.
    fn post_receive(
        &mut self,
        queue_pair: QueuePairId,
        receives: &mut VecDeque<Receive>,
    ) -> Result<(), PostError>;

    /// Takes receives from the front for as long as there is room in the shared receive queue.
    fn post_shared_receive(
        &mut self,
        queue: SharedReceiveQueueId,
        receives: &mut VecDeque<Receive>,
    ) -> Result<(), PostError>;

    /// Sends what was posted, takes in what has arrived, and appends what has completed, about `completions_max` at most.
    /// Returns whether anything at all happened, so that a loop knows when it may rest.
    fn poll(&mut self, completions: &mut Vec<Completion>, completions_max: usize, now: Timestamp) -> bool;

    /// The next thing that happened to a connection; [`Self::poll`] finds them.
    fn poll_connection(&mut self) -> Option<ConnectionEvent<Self::Request>>;

    /// Adds the descriptors to sleep on (readable means: poll). They stay the same for the endpoint's life.
    fn wake_descriptors(&self, descriptors: &mut Vec<RawFd>);

    /// Gets ready for a sleep, looks once more, and says whether to sleep and for how long at most.
    fn prepare_wait(&mut self, now: Timestamp) -> Wait;

    /// What was counted since the endpoint was made.
    fn counters(&self) -> crate::Counters;
}
