//! An I/O queue that is connected: requests become commands here, and responses completions.
//!
//! A lane is one thread's at a time: the core's while it is connected, and again when nobody uses it; the thread's that opened a
//! queue in between. It changes hands by value.

use std::collections::VecDeque;

use block::{InvalidRequest, IoError, Op, Request, Timestamp, Wait};
use dma::{DmaBuf, ScatterList, Segment};
use nvme_spec::Nsid;
use nvme_spec::sqe::SQE_BYTES;
use nvmf::host::{
    Association, Completed, DataDirectionOfOp, Failure, HostIoQueue, IoCommand, IoQueueParameters,
    KeyedMemory, Placement, Prepared, Slot,
};
use rdma::{
    BindError, Completion, Data, Device, Endpoint, Message, Outcome, QueuePairId, Receive, RemoteKey, Rights,
    SendOp, SendWork,
};

use crate::port::{COMPLETIONS_PER_POLL, Port, PortEvent, inline, read_response};

/// The name of send work that needs no attention when it is done.
const NO_MEMORY: SendId = SendId(u64::MAX);

/// With fewer commands in flight than these a write travels in its capsule whenever it fits there, which spares a round trip. With
/// more only if the capsule is one packet: see [`Port::one_packet_bytes`].
const BUSY_MIN: usize = 4;

/// A request on its way.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) request: Request,
    /// How many associations were lost under it.
    pub(crate) losses: u8,
}

/// Names a SEND that carries a request's memory: the command's slot below a number that counts up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct SendId(u64);

impl SendId {
    const SLOT_BITS: u32 = u16::BITS;

    const fn new(number: u64, slot: Slot) -> Self {
        Self(number << Self::SLOT_BITS | slot.0 as u64)
    }

    const fn slot(self) -> usize {
        (self.0 & ((1 << Self::SLOT_BITS) - 1)) as usize
    }
}

/// A command without an answer, or with an answer before the end of its own sending.
#[derive(Debug)]
struct InFlight {
    pending: Pending,
    sent_at: Timestamp,
    /// The SEND that the memory is lent to, until it has ended.
    sending: Option<SendId>,
    /// Whether the request was given back without its memory, at its deadline.
    is_given_back: bool,
}

/// What became of a request that was to be sent.
pub(crate) enum Begun {
    /// It is on its way.
    Sent,
    /// There is no room now.
    NoRoom(Pending),
    /// It cannot be.
    Failed(Request, IoError),
}

/// What is left of a lane.
pub(crate) struct Ended<D: Device> {
    /// The port, without a queue pair.
    pub(crate) port: Port<D>,
    /// Whether the peer will confirm the end of the connection.
    pub(crate) awaits_peer: bool,
    /// Requests that the controller had answered.
    pub(crate) answered: VecDeque<block::Completion>,
    /// Requests that it had not.
    pub(crate) unanswered: Vec<Pending>,
}

/// An I/O queue that is connected.
pub(crate) struct Lane<D: Device> {
    port: Port<D>,
    queue_pair: QueuePairId,
    io: HostIoQueue,
    slots: Box<[Option<InFlight>]>,
    /// Commands with an answer whose sending has not ended: their memory may still be on its way out.
    answered: Vec<(InFlight, Result<(), IoError>)>,
    work: VecDeque<SendWork>,
    /// SENDs that carried memory.
    sends: u64,
    /// SENDs since one was signaled.
    unsignaled: u16,
    broken: Option<Failure>,
    /// Most bytes of data in a capsule while many commands are in flight.
    busy_capsule_bytes: u32,
}

impl<D: Device> Lane<D> {
    /// A lane on a port's connected queue pair.
    pub(crate) fn new(port: Port<D>, queue_pair: QueuePairId, parameters: IoQueueParameters) -> Self {
        let io = HostIoQueue::new(parameters);
        let depth = usize::from(io.depth());
        let entry_bytes = u32::try_from(SQE_BYTES).unwrap_or(u32::MAX);
        Self {
            busy_capsule_bytes: port.one_packet_bytes().saturating_sub(entry_bytes),
            port,
            queue_pair,
            slots: (0..depth).map(|_| None).collect(),
            io,
            answered: Vec::new(),
            work: VecDeque::with_capacity(depth),
            sends: 0,
            unsignaled: 0,
            broken: None,
        }
    }

    /// The association that it is part of.
    pub(crate) const fn association(&self) -> Association {
        self.io.parameters().association
    }

    /// What was agreed.
    pub(crate) const fn parameters(&self) -> &IoQueueParameters {
        self.io.parameters()
    }

    /// Commands that hold memory.
    #[inline]
    pub(crate) fn in_flight(&self) -> usize {
        self.io.in_flight() + self.answered.len()
    }

    /// Whether another command may be sent.
    #[inline]
    pub(crate) fn has_room(&self) -> bool {
        self.broken.is_none() && self.io.has_room()
    }

    /// Why it cannot go on.
    pub(crate) const fn broken(&self) -> Option<Failure> {
        self.broken
    }

    /// The port, for its descriptors and counters.
    pub(crate) const fn port(&self) -> &Port<D> {
        &self.port
    }

    /// Makes a command of a request. It leaves with [`Self::post`].
    pub(crate) fn begin(&mut self, pending: Pending, nsid: Nsid, now: Timestamp) -> Begun {
        if !self.has_room() {
            return Begun::NoRoom(pending);
        }
        let request = &pending.request;
        let command = IoCommand { nsid, op: request.op, range: request.range };
        let placed = match self.place(&command, &request.data) {
            Ok(placed) => placed,
            Err(Unplaced::Wait) => return Begun::NoRoom(pending),
            Err(Unplaced::Never(error)) => return Begun::Failed(pending.request, error.into()),
        };
        let prepared = self.io.prepare(&command, &placed.placement());
        match prepared {
            Ok(Some(prepared)) => {
                self.stage(placed, &prepared, pending, now);
                Begun::Sent
            }
            Ok(None) => {
                self.displace(&placed);
                Begun::NoRoom(pending)
            }
            Err(error) => {
                self.displace(&placed);
                Begun::Failed(pending.request, error)
            }
        }
    }

    /// Decides where a command's data goes, and lends the memory.
    fn place(&mut self, command: &IoCommand, data: &ScatterList) -> Result<Placed, Unplaced> {
        if let Some(own) = command.own_data()? {
            let segment = self.own(&own)?;
            return if self.io.fits_capsule(command, u32::try_from(own.len()).unwrap_or(u32::MAX)) {
                self.capsule(std::iter::once(&segment))
            } else {
                self.window(&segment, Rights::READ)
            };
        }
        let bytes = u32::try_from(data.bytes()).map_err(|_| InvalidRequest::TooLarge)?;
        if bytes == 0 {
            return Ok(Placed::None);
        }
        let is_worth_it = bytes <= self.busy_capsule_bytes || self.io.in_flight() < BUSY_MIN;
        if is_worth_it && self.io.fits_capsule(command, bytes) {
            return self.capsule(data.segments().iter());
        }
        let rights = match command.direction() {
            DataDirectionOfOp::FromController => Rights::WRITE,
            _ => Rights::READ,
        };
        match data.segments() {
            [segment] => self.window(segment, rights),
            // A command names one window: the wrapper that splits requests sees to that.
            _ => Err(InvalidRequest::Segments.into()),
        }
    }

    /// Memory of ours with these bytes.
    fn own(&self, bytes: &[u8]) -> Result<Segment, Unplaced> {
        let mut buffer = self.chunk()?;
        buffer.write(0, bytes).map_err(|_| InvalidRequest::DataLength)?;
        buffer.truncate(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        Ok(buffer.into_segment())
    }

    /// A capsule with data behind the entry, which is written when the command is known.
    fn capsule<'a>(&self, data: impl Iterator<Item = &'a Segment>) -> Result<Placed, Unplaced> {
        let entry = self.chunk()?;
        Ok(Placed::InCapsule { entry, data: data.cloned().collect() })
    }

    fn chunk(&self) -> Result<DmaBuf, Unplaced> {
        self.port.capsules.as_ref().and_then(dma::Pool::take).ok_or(Unplaced::Wait)
    }

    fn window(&mut self, segment: &Segment, rights: Rights) -> Result<Placed, Unplaced> {
        match self.port.endpoint.bind(self.queue_pair, segment, rights) {
            Ok(window) => Ok(Placed::Window(KeyedMemory {
                address: window.address,
                key: window.key.0,
                bytes: segment.bytes(),
                invalidate: true,
            })),
            Err(BindError::NotAttached) => Err(InvalidRequest::NotAttached.into()),
            Err(BindError::Empty) => Err(InvalidRequest::DataLength.into()),
            // The queue pair's end is told by its events; windows come back.
            Err(BindError::TooMany | BindError::QueuePair) => Err(Unplaced::Wait),
            Err(BindError::Device(_)) => {
                self.fail(Failure::ConnectionLost(self.io.parameters().queue));
                Err(Unplaced::Wait)
            }
        }
    }

    fn displace(&mut self, placed: &Placed) {
        if let Placed::Window(memory) = placed {
            self.port.endpoint.unbind(self.queue_pair, RemoteKey(memory.key));
        }
    }

    fn stage(&mut self, placed: Placed, prepared: &Prepared, pending: Pending, now: Timestamp) {
        let entry = prepared.sqe.to_bytes();
        let slot = prepared.slot;
        let (data, sending) = match placed {
            Placed::InCapsule { entry: mut chunk, data } => {
                // A chunk is larger than an entry.
                let written = chunk.write(0, &entry);
                debug_assert!(written.is_ok(), "an entry fits a chunk");
                chunk.truncate(u32::try_from(SQE_BYTES).unwrap_or(u32::MAX));
                let mut capsule = ScatterList::from(chunk.into_segment());
                data.into_segments().for_each(|segment| capsule.push(segment));
                self.sends += 1;
                (Data::Memory(capsule), Some(SendId::new(self.sends, slot)))
            }
            Placed::None | Placed::Window(_) => (inline(&entry), None),
        };
        // The user's memory must be known to be done with when the request is given back. Other sends are signaled now and
        // then, so that the send queue does not fill up.
        let signaled = sending.is_some() || self.unsignaled >= self.io.depth() / 2;
        self.unsignaled = if signaled { 0 } else { self.unsignaled + 1 };
        let id = sending.unwrap_or(NO_MEMORY).0;
        self.work.push_back(SendWork { id, op: SendOp::Send, data, signaled, fenced: false });
        let in_flight = InFlight { pending, sent_at: now, sending, is_given_back: false };
        self.slots[usize::from(slot.0)] = Some(in_flight);
    }

    /// Posts what was begun, as one batch.
    #[inline]
    pub(crate) fn post(&mut self) {
        if !self.work.is_empty() && self.port.endpoint.post_send(self.queue_pair, &mut self.work).is_err() {
            self.fail(Failure::ConnectionLost(self.io.parameters().queue));
        }
    }

    /// Sends, takes in what has come, and appends the requests that have ended. Returns whether anything happened.
    pub(crate) fn poll(&mut self, ended: &mut VecDeque<block::Completion>, now: Timestamp) -> bool {
        let mut completions = std::mem::take(&mut self.port.completions);
        let mut any = self.port.endpoint.poll(&mut completions, COMPLETIONS_PER_POLL, now);
        for completion in completions.drain(..) {
            self.take(completion, ended);
        }
        self.port.completions = completions;
        while let Some(event) = self.port.poll_connection() {
            any = true;
            if !matches!(event, PortEvent::Connected) {
                self.fail(Failure::ConnectionLost(self.io.parameters().queue));
            }
        }
        if !self.port.receives.is_empty() && self.port.post_receives().is_err() {
            self.fail(Failure::ConnectionLost(self.io.parameters().queue));
        }
        self.post();
        any
    }

    #[inline]
    fn take(&mut self, completion: Completion, ended: &mut VecDeque<block::Completion>) {
        match completion.outcome {
            Outcome::Received { result: Ok(message), buffer } => {
                self.take_response(message, &buffer, ended);
                self.port.receives.push_back(Receive { id: 0, buffer });
            }
            Outcome::Sent { result: Ok(()), .. } if completion.id != NO_MEMORY.0 => {
                self.sent(SendId(completion.id), ended);
            }
            // Failures are told by the connection's end.
            Outcome::Sent { .. } | Outcome::Received { .. } => {}
        }
    }

    #[inline]
    fn take_response(&mut self, message: Message, buffer: &DmaBuf, ended: &mut VecDeque<block::Completion>) {
        let queue = self.io.parameters().queue;
        let Some(cqe) = read_response(message.bytes, buffer) else {
            return self.fail(Failure::Protocol(queue));
        };
        let Ok(completed) = self.io.handle_response(&cqe, message.invalidated.map(|key| key.0)) else {
            return self.fail(Failure::Protocol(queue));
        };
        let Completed { slot, result, live_key } = completed;
        if let Some(key) = live_key {
            self.port.endpoint.unbind(self.queue_pair, RemoteKey(key));
        }
        self.answered(slot, result, ended);
    }

    #[inline]
    fn answered(&mut self, slot: Slot, result: Result<(), IoError>, ended: &mut VecDeque<block::Completion>) {
        match self.slots[usize::from(slot.0)].take() {
            // The controller has it all, or it could not have answered: the acknowledgement is on its way.
            Some(in_flight) if in_flight.sending.is_some() => self.answered.push((in_flight, result)),
            in_flight => give_back(in_flight, result, ended),
        }
    }

    fn sent(&mut self, id: SendId, ended: &mut VecDeque<block::Completion>) {
        let is_it = |in_flight: &InFlight| in_flight.sending == Some(id);
        if let Some(at) = self.answered.iter().position(|(in_flight, _)| is_it(in_flight)) {
            let (in_flight, result) = self.answered.swap_remove(at);
            give_back(Some(in_flight), result, ended);
        } else if let Some(Some(in_flight)) = self.slots.get_mut(id.slot())
            && is_it(in_flight)
        {
            in_flight.sending = None;
        }
    }

    fn fail(&mut self, failure: Failure) {
        self.broken.get_or_insert(failure);
    }

    /// Gives back, without their memory, requests whose deadline has passed. Returns when to look again: at the next deadline, or
    /// when the oldest command will have taken `patience_ns`; if one has, the lane has failed.
    pub(crate) fn judge(
        &mut self,
        now: Timestamp,
        patience_ns: u64,
        ended: &mut VecDeque<block::Completion>,
    ) -> Timestamp {
        let mut next = Timestamp::NEVER;
        let mut is_stalled = false;
        let answered = self.answered.iter_mut().map(|(in_flight, _)| in_flight);
        for in_flight in self.slots.iter_mut().flatten().chain(answered) {
            let stalls_at = in_flight.sent_at.after_ns(patience_ns);
            is_stalled |= stalls_at <= now;
            next = next.min(stalls_at);
            if in_flight.is_given_back {
                continue;
            }
            let request = &in_flight.pending.request;
            if request.deadline > now {
                next = next.min(request.deadline);
                continue;
            }
            in_flight.is_given_back = true;
            let Request { op, range, deadline, tag, mark, .. } = *request;
            let request = Request { op, range, data: ScatterList::default(), deadline, tag, mark };
            ended.push_back(block::Completion { request, result: Err(IoError::TimedOut) });
        }
        if is_stalled {
            self.fail(Failure::Stalled(self.io.parameters().queue));
        }
        next
    }

    /// Ends the lane: the controller touches none of its memory any more.
    pub(crate) fn end(mut self, now: Timestamp) -> Ended<D> {
        let awaits_peer = self.port.close(now);
        self.work.clear();
        let mut answered = VecDeque::new();
        for (in_flight, result) in self.answered.drain(..) {
            give_back(Some(in_flight), result, &mut answered);
        }
        let rest = self.slots.iter_mut().filter_map(Option::take);
        let rest = rest.filter(|in_flight| !in_flight.is_given_back);
        let unanswered = rest.map(|in_flight| in_flight.pending).collect();
        Ended { port: self.port, awaits_peer, answered, unanswered }
    }

    /// Gets ready for a sleep.
    pub(crate) fn prepare_wait(&mut self, now: Timestamp) -> Wait {
        if self.work.is_empty() { self.port.endpoint.prepare_wait(now) } else { Wait::Poll }
    }
}

#[inline]
fn give_back(
    in_flight: Option<InFlight>,
    result: Result<(), IoError>,
    ended: &mut VecDeque<block::Completion>,
) {
    // If its deadline has passed, only the memory was waited for.
    if let Some(InFlight { pending, is_given_back: false, .. }) = in_flight {
        ended.push_back(block::Completion { request: pending.request, result });
    }
}

/// Whether an operation may be sent again when nobody knows what became of it.
pub(crate) const fn may_repeat(op: Op) -> bool {
    !matches!(op, Op::Reservation(_))
}

/// Where a command's data is.
enum Placed {
    None,
    InCapsule { entry: DmaBuf, data: ScatterList },
    Window(KeyedMemory),
}

impl Placed {
    fn placement(&self) -> Placement {
        match self {
            Self::None => Placement::None,
            Self::InCapsule { data, .. } => {
                Placement::InCapsule { bytes: u32::try_from(data.bytes()).unwrap_or(u32::MAX) }
            }
            Self::Window(memory) => Placement::Memory(*memory),
        }
    }
}

/// Why a command's data has no place.
enum Unplaced {
    /// There will be one.
    Wait,
    /// There is none.
    Never(InvalidRequest),
}

impl From<InvalidRequest> for Unplaced {
    fn from(error: InvalidRequest) -> Self {
        Self::Never(error)
    }
}
