//! A queue pair on an endpoint, with memory for capsules: what carries one queue's connection.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use block::Timestamp;
use dma::{DmaBuf, MemoryOptions, Pool, PoolOptions, Segment};
use nvme_spec::cqe::CQE_BYTES;
use nvme_spec::sqe::SQE_BYTES;
use nvme_spec::{CommandId, Cqe};
use nvmf::host::{KeyedMemory, Outgoing, OutgoingData};
use nvmf::wire::rdma::{RejectStatus, RequestData};
use rdma::{
    Completion, ConnectionError, ConnectionEvent, ConnectionParameters, Data, Device, Endpoint,
    EndpointOptions, InlineData, Outcome, PrivateData, QueuePairId, QueuePairOptions, Receive, ReceiveSource,
    RemoteKey, Rights, SendOp, SendWork,
};

use crate::error::ConnectError;

/// Bytes of a chunk for a capsule: a command with the data of a Dataset Management, or a response.
pub(crate) const CAPSULE_BYTES: u32 = 128;
/// Completions asked for at once.
pub(crate) const COMPLETIONS_PER_POLL: usize = 256;
/// Queue pairs of an endpoint at once: the one that is used, and some that are being taken down.
const QUEUE_PAIRS_MAX: u32 = 4;
/// Entries of the admin queue.
const ADMIN_ENTRIES: u16 = 32;
/// The provider whose packets cost us system calls.
const SOFT: &str = "soft";
/// READs of the controller that we serve at once; cut to what the device can do.
const READS_SERVED: u8 = 64;

/// What happened to a port's connection.
#[derive(Debug)]
pub(crate) enum PortEvent {
    /// It is made.
    Connected,
    /// It was not made.
    Refused(Option<RejectStatus>, ConnectionError),
    /// It has ended, or failed.
    Lost,
    /// A response came, with what the controller wrote.
    Response(Cqe, Vec<u8>),
}

/// What a command in flight has lent to the controller.
#[derive(Debug)]
struct Lent {
    cid: CommandId,
    key: RemoteKey,
    segment: Segment,
    is_answer: bool,
}

/// Why a command could not be sent: its connection is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unsendable;

/// A queue pair on an endpoint, with memory for capsules.
pub(crate) struct Port<D: Device> {
    device: Arc<D>,
    pub(crate) endpoint: D::Endpoint,
    queue_pair: Option<QueuePairId>,
    is_connected: bool,
    pub(crate) capsules: Option<Pool>,
    pub(crate) receives: VecDeque<Receive>,
    pub(crate) completions: Vec<Completion>,
    work: VecDeque<SendWork>,
    lent: Vec<Lent>,
}

impl<D: Device> Port<D> {
    /// A port for queues of at most so many entries.
    pub(crate) fn new(device: &Arc<D>, entries_max: u16) -> Result<Self, ConnectError> {
        let options = EndpointOptions {
            queue_pairs_max: QUEUE_PAIRS_MAX,
            completions_max: 4 * (u32::from(entries_max.max(ADMIN_ENTRIES)) + 1),
        };
        Ok(Self {
            device: Arc::clone(device),
            endpoint: device.endpoint(&options)?,
            queue_pair: None,
            is_connected: false,
            capsules: None,
            receives: VecDeque::new(),
            completions: Vec::with_capacity(COMPLETIONS_PER_POLL),
            work: VecDeque::new(),
            lent: Vec::new(),
        })
    }

    /// Begins to connect a queue, with its receives posted. The port has no queue pair.
    pub(crate) fn connect(
        &mut self,
        peer: SocketAddr,
        request: &RequestData,
        now: Timestamp,
    ) -> Result<(), ConnectError> {
        let receives = u32::from(request.host_receives);
        let sends = u32::from(request.host_sends) + 1;
        let memory = MemoryOptions { ordinary_pages: true, ..MemoryOptions::default() };
        let shape = PoolOptions { chunk_bytes: CAPSULE_BYTES, chunks: receives + 2 * sends, memory };
        let capsules = Pool::new(shape)?;
        self.device.attach_memory(capsules.region())?;
        let options = QueuePairOptions { send_depth: 2 * sends, receives: ReceiveSource::Own(receives) };
        let parameters = ConnectionParameters {
            responder_resources: READS_SERVED,
            // We read nothing of the controller's.
            initiator_depth: 0,
            private_data: PrivateData::new(&request.to_bytes()).unwrap_or_default(),
            ..ConnectionParameters::default()
        };
        let queue_pair = self.endpoint.connect(peer, &options, &parameters, now)?;
        self.queue_pair = Some(queue_pair);
        self.receives.clear();
        let buffers = (0..receives).filter_map(|_| capsules.take());
        self.receives.extend(buffers.map(|buffer| Receive { id: 0, buffer }));
        self.capsules = Some(capsules);
        self.post_receives().map_err(|_| rdma::CreateError::Gone("the queue pair").into())
    }

    /// Bytes of a message that goes well with many others. On the soft provider those of one packet: packets of one size leave
    /// in one batch, which the short second packet of a longer message would cut. Hardware does not care.
    pub(crate) fn one_packet_bytes(&self) -> u32 {
        let info = self.device.info();
        if info.provider == SOFT { info.mtu.bytes() } else { u32::MAX }
    }

    /// The queue pair that is connected or connecting.
    #[inline]
    pub(crate) const fn queue_pair(&self) -> Option<QueuePairId> {
        self.queue_pair
    }

    /// Takes the queue pair away and tells the peer: from now on it touches none of our memory. Returns whether the peer will
    /// confirm that.
    pub(crate) fn close(&mut self, now: Timestamp) -> bool {
        if let Some(queue_pair) = self.queue_pair.take() {
            self.endpoint.destroy(queue_pair, now);
        }
        self.receives.clear();
        self.completions.clear();
        self.work.clear();
        self.lent.clear();
        self.capsules = None;
        std::mem::take(&mut self.is_connected)
    }

    /// Lets the peer's messages come again.
    pub(crate) fn post_receives(&mut self) -> Result<(), Unsendable> {
        let Some(queue_pair) = self.queue_pair else { return Err(Unsendable) };
        self.endpoint.post_receive(queue_pair, &mut self.receives).map_err(|_| Unsendable)
    }

    /// Notes what happened to the connection, if it is news of the present queue pair.
    pub(crate) fn poll_connection(&mut self) -> Option<PortEvent> {
        while let Some(event) = self.endpoint.poll_connection() {
            match event {
                ConnectionEvent::Established { queue_pair, .. } if Some(queue_pair) == self.queue_pair => {
                    self.is_connected = true;
                    return Some(PortEvent::Connected);
                }
                ConnectionEvent::Closed { queue_pair, error } if Some(queue_pair) == self.queue_pair => {
                    let was_connected = std::mem::take(&mut self.is_connected);
                    return Some(if was_connected { PortEvent::Lost } else { refused(error) });
                }
                _ => {}
            }
        }
        None
    }

    /// Polls a queue whose commands are sent by [`Self::send`]. Returns whether anything happened.
    pub(crate) fn poll(&mut self, events: &mut Vec<PortEvent>, now: Timestamp) -> bool {
        let mut completions = std::mem::take(&mut self.completions);
        let mut any = self.endpoint.poll(&mut completions, COMPLETIONS_PER_POLL, now);
        for completion in completions.drain(..) {
            if let Outcome::Received { result: Ok(message), buffer } = completion.outcome {
                events.push(self.take_response(message.bytes, message.invalidated, &buffer));
                self.receives.push_back(Receive { id: 0, buffer });
            }
        }
        self.completions = completions;
        while let Some(event) = self.poll_connection() {
            any = true;
            events.push(event);
        }
        if !self.receives.is_empty() && self.queue_pair.is_some() && self.post_receives().is_err() {
            events.push(PortEvent::Lost);
        }
        any
    }

    fn take_response(&mut self, bytes: u32, invalidated: Option<RemoteKey>, buffer: &DmaBuf) -> PortEvent {
        let Some(cqe) = read_response(bytes, buffer) else { return PortEvent::Lost };
        let lent = self.lent.iter().position(|lent| lent.cid == cqe.cid());
        let lent = lent.map(|at| self.lent.swap_remove(at));
        if invalidated.is_some() && invalidated != lent.as_ref().map(|lent| lent.key) {
            return PortEvent::Lost;
        }
        let Some(Lent { key, segment, is_answer, .. }) = lent else {
            return PortEvent::Response(cqe, Vec::new());
        };
        if let (None, Some(queue_pair)) = (invalidated, self.queue_pair) {
            self.endpoint.unbind(queue_pair, key);
        }
        let mut data = vec![0; if is_answer { segment.bytes() as usize } else { 0 }];
        // The length is the segment's own.
        let read = segment.read(0, &mut data);
        debug_assert!(read.is_ok(), "a segment is as long as it is");
        PortEvent::Response(cqe, data)
    }

    /// Sends a command of the controller's own.
    pub(crate) fn send(&mut self, command: &Outgoing) -> Result<(), Unsendable> {
        let queue_pair = self.queue_pair.ok_or(Unsendable)?;
        let data = match &command.data {
            OutgoingData::None => inline(&command.sqe.to_bytes()),
            OutgoingData::InCapsule(bytes) => {
                let mut capsule = command.sqe.to_bytes().to_vec();
                capsule.extend_from_slice(bytes);
                Data::Memory(self.memory(capsule.len(), &capsule)?.into())
            }
            OutgoingData::ToController(bytes) => {
                let segment = self.memory(bytes.len(), bytes)?;
                self.lend(queue_pair, command, segment, Rights::READ)?
            }
            OutgoingData::FromController { bytes } => {
                let segment = self.memory(*bytes as usize, &[])?;
                self.lend(queue_pair, command, segment, Rights::WRITE)?
            }
        };
        self.work.push_back(SendWork { id: 0, op: SendOp::Send, data, signaled: true, fenced: false });
        self.endpoint.post_send(queue_pair, &mut self.work).map_err(|_| Unsendable)?;
        if self.work.is_empty() { Ok(()) } else { Err(Unsendable) }
    }

    fn lend(
        &mut self,
        queue_pair: QueuePairId,
        command: &Outgoing,
        segment: Segment,
        rights: Rights,
    ) -> Result<Data, Unsendable> {
        let window = self.endpoint.bind(queue_pair, &segment, rights).map_err(|_| Unsendable)?;
        let memory = KeyedMemory {
            address: window.address,
            key: window.key.0,
            bytes: segment.bytes(),
            invalidate: true,
        };
        let sqe = command.with_memory(memory).ok_or(Unsendable)?;
        let is_answer = rights.contains(Rights::WRITE);
        self.lent.push(Lent { cid: command.cid(), key: window.key, segment, is_answer });
        Ok(inline(&sqe.to_bytes()))
    }

    /// Memory of a command that is not I/O: rare, so each gets its own.
    fn memory(&self, bytes: usize, content: &[u8]) -> Result<Segment, Unsendable> {
        let chunk_bytes = u32::try_from(bytes).map_err(|_| Unsendable)?;
        let memory = MemoryOptions { ordinary_pages: true, ..MemoryOptions::default() };
        let pool = Pool::new(PoolOptions { chunk_bytes, chunks: 1, memory }).map_err(|_| Unsendable)?;
        self.device.attach_memory(pool.region()).map_err(|_| Unsendable)?;
        let mut buffer = pool.take().ok_or(Unsendable)?;
        buffer.fill(0, chunk_bytes, 0).map_err(|_| Unsendable)?;
        buffer.write(0, content).map_err(|_| Unsendable)?;
        Ok(buffer.into_segment())
    }
}

/// A command without data behind it.
#[inline]
pub(crate) fn inline(entry: &[u8; SQE_BYTES]) -> Data {
    let Some(data) = InlineData::new(entry) else {
        unreachable!("an entry is as long as inline data may be")
    };
    Data::Inline(data)
}

/// The completion in a message; `None` if it is too short to be one.
#[inline]
pub(crate) fn read_response(bytes: u32, buffer: &DmaBuf) -> Option<Cqe> {
    let mut entry = [0; CQE_BYTES];
    let is_long_enough = bytes as usize >= CQE_BYTES;
    is_long_enough.then(|| buffer.read(0, &mut entry).ok()).flatten()?;
    Some(Cqe::from_bytes(entry))
}

fn refused(error: ConnectionError) -> PortEvent {
    let status = match &error {
        ConnectionError::Refused(private_data) => RejectStatus::read(private_data.bytes()),
        _ => None,
    };
    PortEvent::Refused(status, error)
}
