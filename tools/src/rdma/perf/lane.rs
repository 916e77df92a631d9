//! One connection of a client: its operations, idle and under way.

use std::collections::VecDeque;
use std::net::SocketAddr;

use block::Timestamp;
use dma::{DmaBuf, Pool};
use rdma::{
    Completion, ConnectionParameters, Data, Device, Endpoint, Outcome, QueuePairId, QueuePairOptions,
    Receive, ReceiveSource, RemoteMemory, SendOp, SendWork,
};

use super::Op;
use super::handshake::{GRANT_BYTES, Grant, Load};
use super::measured::Measured;
use crate::bench::stop::Stop;
use crate::rdma::error::RdmaError;
use crate::rdma::reactor::{Failure, Reactor};

/// Receives for grants: no more than five are ever under way, since each but the first is for a quarter of all SENDs.
const GRANT_RECEIVES: u32 = 8;

/// What the memory is filled with.
const FILLING: u8 = 0x5a;

/// Receives that a client posts.
pub(super) fn receives(load: Load) -> u32 {
    GRANT_RECEIVES + if load.op == Op::Echo { load.depth } else { 0 }
}

/// Bytes of a client's receive.
pub(super) fn receive_bytes(load: Load) -> u32 {
    if load.op == Op::Echo { load.bytes.max(GRANT_BYTES) } else { GRANT_BYTES }
}

/// One connection.
pub(super) struct Lane {
    /// Its queue pair.
    pub queue_pair: QueuePairId,
    peer: SocketAddr,
    load: Load,
    /// The server's memory, when it has told.
    remote: Option<RemoteMemory>,
    /// SENDs that the server has receives for.
    sends: u64,
    /// Operations that could be posted: their names and memory.
    idle: VecDeque<(u64, Data)>,
    batch: VecDeque<SendWork>,
    /// When each operation was posted, by its name.
    posted_at: Box<[Timestamp]>,
    under_way: u32,
    failure: Failure,
}

impl Lane {
    /// Connects; the server's grant comes later.
    pub(super) fn connect<D: Device>(
        reactor: &mut Reactor<D>,
        peer: SocketAddr,
        load: Load,
        (data, messages): (&Pool, &Pool),
        stop: &Stop,
    ) -> Result<Self, RdmaError> {
        let receive = |id| Some(Receive { id: u64::from(id), buffer: messages.take()? });
        let buffers: Option<VecDeque<_>> = (0..receives(load)).map(receive).collect();
        let idle = operations(data.take().ok_or(RdmaError::NoBuffer)?, load)?;
        let reads = u8::try_from(load.depth).unwrap_or(u8::MAX);
        let parameters = ConnectionParameters {
            responder_resources: 1,
            initiator_depth: reads.min(reactor.device.info().limits.initiator_depth_max),
            private_data: load.to_private_data(),
            ..Default::default()
        };
        let queue = QueuePairOptions { send_depth: load.depth, receives: ReceiveSource::Own(receives(load)) };
        let buffers = buffers.ok_or(RdmaError::NoBuffer)?;
        let (queue_pair, _) = reactor.connect(peer, &queue, &parameters, buffers, stop)?;
        Ok(Self {
            queue_pair,
            peer,
            load,
            remote: None,
            sends: 0,
            batch: VecDeque::with_capacity(idle.len()),
            posted_at: vec![Timestamp::default(); idle.len()].into(),
            idle,
            under_way: 0,
            failure: Failure::default(),
        })
    }

    /// Whether the server has said that it is ready.
    pub(super) fn is_ready(&self) -> bool {
        self.remote.is_some()
    }

    /// Operations under way.
    pub(super) fn under_way(&self) -> u32 {
        self.under_way
    }

    /// Posts as many operations as depth, server and `most` allow, as one batch. Returns how many.
    #[inline]
    pub(super) fn post<D: Device>(
        &mut self,
        reactor: &mut Reactor<D>,
        most: u64,
        now: Timestamp,
    ) -> Result<u64, RdmaError> {
        let Some(remote) = self.remote else { return Ok(0) };
        let room = u64::from(self.load.depth - self.under_way).min(most).min(self.sends);
        while (self.batch.len() as u64) < room {
            let Some((id, data)) = self.idle.pop_front() else { break };
            let op = self.op(id, remote);
            self.batch.push_back(SendWork { id, op, data, signaled: true, fenced: false });
        }
        if self.batch.is_empty() {
            return Ok(0);
        }
        self.batch.iter().for_each(|work| self.posted_at[slot(work.id)] = now);
        let wanted = self.batch.len();
        reactor.endpoint.post_send(self.queue_pair, &mut self.batch)?;
        let posted = wanted - self.batch.len();
        // What was not taken goes back to where it was.
        while let Some(work) = self.batch.pop_back() {
            self.idle.push_front((work.id, work.data));
        }
        // No more than the depth.
        self.under_way += u32::try_from(posted).unwrap_or(u32::MAX);
        if self.load.op == Op::Send {
            self.sends -= posted as u64;
        }
        Ok(posted as u64)
    }

    /// Where an operation goes: each place of the depth has its own part of the server's memory.
    fn op(&self, id: u64, remote: RemoteMemory) -> SendOp {
        let address = remote.address.wrapping_add(id * u64::from(self.load.bytes));
        match self.load.op {
            Op::Send | Op::Echo => SendOp::Send,
            Op::Write => SendOp::Write(RemoteMemory { address, ..remote }),
            Op::Read => SendOp::Read(RemoteMemory { address, ..remote }),
        }
    }

    /// Work has ended. Returns whether an operation has.
    #[inline]
    pub(super) fn handle<D: Device>(
        &mut self,
        done: Completion,
        reactor: &mut Reactor<D>,
        now: Timestamp,
        measured: &mut Measured,
    ) -> Result<bool, RdmaError> {
        match done.outcome {
            Outcome::Sent { result: Err(error), .. } | Outcome::Received { result: Err(error), .. } => {
                self.failure.note(error);
                self.failure.check(self.peer)?;
                Ok(false)
            }
            Outcome::Sent { result: Ok(()), data } => {
                self.idle.push_back((done.id, data));
                if self.load.op == Op::Echo {
                    return Ok(false);
                }
                self.ended(slot(done.id), now, measured);
                Ok(true)
            }
            Outcome::Received { result: Ok(message), buffer } => {
                let is_echo = self.is_ready() && self.load.op == Op::Echo;
                if is_echo {
                    self.check_length(message.bytes, self.load.bytes)?;
                    self.ended(0, now, measured);
                } else {
                    self.check_length(message.bytes, GRANT_BYTES)?;
                    self.granted(&buffer)?;
                }
                reactor.post_receive(self.queue_pair, Receive { id: done.id, buffer })?;
                Ok(is_echo)
            }
        }
    }

    fn ended(&mut self, slot: usize, now: Timestamp, measured: &mut Measured) {
        self.under_way -= 1;
        measured.operations += 1;
        measured.bytes += u64::from(self.load.bytes);
        measured.latency.record(now.ns_since(self.posted_at[slot]), 1);
    }

    fn granted(&mut self, buffer: &DmaBuf) -> Result<(), RdmaError> {
        let mut bytes = [0; GRANT_BYTES as usize];
        buffer.read(0, &mut bytes)?;
        let grant = Grant::from_bytes(bytes);
        self.remote.get_or_insert(grant.memory);
        self.sends = if self.load.op == Op::Send { self.sends + u64::from(grant.sends) } else { u64::MAX };
        Ok(())
    }

    fn check_length(&self, bytes: u32, expected: u32) -> Result<(), RdmaError> {
        if bytes == expected {
            return Ok(());
        }
        let problem = format!("a message of {bytes} bytes, where {expected} were due");
        Err(RdmaError::Protocol { peer: self.peer, problem })
    }

    /// The connection has ended.
    pub(super) fn closed(&self, error: rdma::ConnectionError) -> RdmaError {
        self.failure.or_closed(self.peer, error)
    }
}

/// One chunk cut into the memory of as many operations as may be under way.
fn operations(mut chunk: DmaBuf, load: Load) -> Result<VecDeque<(u64, Data)>, RdmaError> {
    let bytes = chunk.bytes();
    chunk.fill(0, bytes, FILLING)?;
    let whole = chunk.into_segment();
    let part = |number: u32| {
        let segment = whole.slice(number * load.bytes, load.bytes)?;
        Some((u64::from(number), Data::Memory(segment.into())))
    };
    (0..load.depth).map(part).collect::<Option<_>>().ok_or(RdmaError::NoBuffer)
}

fn slot(id: u64) -> usize {
    usize::try_from(id).unwrap_or(usize::MAX)
}
