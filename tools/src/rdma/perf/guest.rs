//! What a server knows of one client's connection.

use std::net::SocketAddr;

use block::Timestamp;
use dma::{DmaBuf, Segment};
use rdma::{
    Completion, Counters, Data, Device, Endpoint, InlineData, Outcome, QueuePairId, Receive, RemoteKey,
    RemoteMemory, Rights, SendOp, SendWork,
};

use super::Op;
use super::handshake::{Grant, Load};
use super::measured::{counted_since, processor_percent};
use crate::bench::usage::{Usage, thread_usage};
use crate::rdma::error::RdmaError;
use crate::rdma::reactor::{Failure, Reactor};

/// The name of a grant's work; echoes have that of their receive.
const GRANT: u64 = u64::MAX;

/// A grant is for this part of all receives, so that grants are few and the client never waits for one.
const GRANTS_PER_ROUND: u32 = 4;

/// One client's connection.
pub(super) struct Guest {
    queue_pair: QueuePairId,
    peer: SocketAddr,
    load: Load,
    /// What the client may WRITE or READ.
    window: Option<Segment>,
    /// Receives that were posted again and not told of.
    regained: u32,
    messages: u64,
    failure: Failure,
    start: Timestamp,
    usage: Usage,
    counters: Counters,
}

impl Guest {
    pub(super) fn new<D: Device>(
        queue_pair: QueuePairId,
        peer: SocketAddr,
        load: Load,
        window: Option<Segment>,
        reactor: &Reactor<D>,
    ) -> Self {
        Self {
            queue_pair,
            peer,
            load,
            window,
            regained: 0,
            messages: 0,
            failure: Failure::default(),
            start: reactor.now(),
            usage: thread_usage(),
            counters: reactor.endpoint.counters(),
        }
    }

    /// The connection is made: tells the client where to go.
    pub(super) fn established<D: Device>(&mut self, reactor: &mut Reactor<D>) -> Result<(), RdmaError> {
        let rights = if self.load.op == Op::Write { Rights::WRITE } else { Rights::READ };
        let nowhere = RemoteMemory { address: 0, key: RemoteKey(0) };
        let memory = match &self.window {
            Some(segment) => reactor.endpoint.bind(self.queue_pair, segment, rights)?,
            None => nowhere,
        };
        self.grant(Grant { memory, sends: self.load.receives() }, reactor)
    }

    fn grant<D: Device>(&self, grant: Grant, reactor: &mut Reactor<D>) -> Result<(), RdmaError> {
        let data = Data::Inline(InlineData::new(&grant.to_bytes()).ok_or(RdmaError::NoBuffer)?);
        let work = SendWork { id: GRANT, op: SendOp::Send, data, signaled: true, fenced: false };
        reactor.post(self.queue_pair, work)
    }

    /// Work has ended.
    #[inline]
    pub(super) fn handle<D: Device>(
        &mut self,
        done: Completion,
        reactor: &mut Reactor<D>,
    ) -> Result<(), RdmaError> {
        match done.outcome {
            Outcome::Sent { result: Err(error), .. } | Outcome::Received { result: Err(error), .. } => {
                self.failure.note(error);
                Ok(())
            }
            Outcome::Sent { result: Ok(()), data } => self.sent(done.id, data, reactor),
            Outcome::Received { result: Ok(message), buffer } => {
                self.messages += 1;
                if self.load.op == Op::Echo && message.bytes == self.load.bytes {
                    let data = Data::Memory(buffer.into_segment().into());
                    let work =
                        SendWork { id: done.id, op: SendOp::Send, data, signaled: true, fenced: false };
                    return reactor.post(self.queue_pair, work);
                }
                reactor.post_receive(self.queue_pair, Receive { id: done.id, buffer })?;
                self.regained(reactor)
            }
        }
    }

    /// An echo's memory becomes a receive again.
    fn sent<D: Device>(&mut self, id: u64, data: Data, reactor: &mut Reactor<D>) -> Result<(), RdmaError> {
        let Data::Memory(list) = data else { return Ok(()) };
        let buffer = list.into_single().ok().and_then(|segment| DmaBuf::from_segment(segment).ok());
        reactor.post_receive(self.queue_pair, Receive { id, buffer: buffer.ok_or(RdmaError::NoBuffer)? })
    }

    fn regained<D: Device>(&mut self, reactor: &mut Reactor<D>) -> Result<(), RdmaError> {
        self.regained += 1;
        if self.load.op != Op::Send || self.regained < self.load.receives().div_ceil(GRANTS_PER_ROUND) {
            return Ok(());
        }
        let memory = RemoteMemory { address: 0, key: RemoteKey(0) };
        let sends = std::mem::take(&mut self.regained);
        self.grant(Grant { memory, sends }, reactor)
    }

    /// What became of it, in one line.
    pub(super) fn farewell<D: Device>(&self, end: rdma::ConnectionError, reactor: &Reactor<D>) -> String {
        let elapsed_ns = reactor.now().ns_since(self.start);
        let (user, system) = processor_percent(thread_usage().since(self.usage), elapsed_ns);
        let counters = counted_since(reactor.endpoint.counters(), self.counters);
        let end =
            self.failure.check(self.peer).err().map_or_else(|| end.to_string(), |error| error.to_string());
        let Load { op, bytes, depth } = self.load;
        let seconds = elapsed_ns as f64 / 1e9;
        format!(
            "{}: {op} of {bytes} bytes, depth {depth}, for {seconds:.1} s, {} messages received; meanwhile processor {:.1} %, \
             {} packets received, {} sent, {} resent, {} bytes copied; {end}",
            self.peer,
            self.messages,
            user + system,
            counters.packets_received,
            counters.packets_sent,
            counters.packets_resent,
            counters.bytes_copied,
        )
    }
}
