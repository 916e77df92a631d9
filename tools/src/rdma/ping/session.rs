//! What a server knows of its client, and what it does next.

use std::net::SocketAddr;

use block::Timestamp;
use dma::{DmaBuf, Pool, ScatterList};
use rdma::{Completion, Data, Device, InlineData, Message, Outcome, QueuePairId, Receive, SendOp, SendWork};

use super::BYTES_MAX;
use super::message::{Advertisement, GO_AHEAD, MESSAGE_BYTES};
use crate::rdma::error::RdmaError;
use crate::rdma::reactor::Reactor;

/// Buffers for data that a session needs: one at a time, and the last session's may still be flushing.
pub(super) const DATA_CHUNKS: u32 = 2;

/// The name of work that moves data; messages have [`MESSAGE`].
const DATA: u64 = 1;
/// The name of a message.
const MESSAGE: u64 = 0;

/// Where a ping is.
///
/// ```text
///            SEND: where to read                  READ done: SEND go ahead
///   Idle --------------------------> Reading ------------------------------> Read
///    ^                                                                        |
///    |  WRITE done: SEND go ahead                       SEND: where to write  |
///    +------------------------------ Writing <--------------------------------+
/// ```
///
/// A message in `Reading` or `Writing` is a fault of the client.
#[derive(Debug)]
enum State {
    Idle,
    Reading,
    /// The data as it was read.
    Read(ScatterList),
    Writing,
}

/// One client.
pub(super) struct Session {
    /// The connection.
    pub queue_pair: QueuePairId,
    /// The client.
    pub peer: SocketAddr,
    /// Pings that were served.
    pub pings: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// When the client was last heard.
    pub heard_at: Timestamp,
    /// What has gone wrong, before the connection's end is told.
    pub problem: Option<String>,
    state: State,
}

impl Session {
    pub(super) fn new(queue_pair: QueuePairId, peer: SocketAddr, now: Timestamp) -> Self {
        Self { queue_pair, peer, pings: 0, bytes: 0, heard_at: now, problem: None, state: State::Idle }
    }

    /// Work has ended. Returns a ping's data when it has been read.
    pub(super) fn handle<D: Device>(
        &mut self,
        done: Completion,
        pool: &Pool,
        reactor: &mut Reactor<D>,
        now: Timestamp,
    ) -> Result<Option<ScatterList>, RdmaError> {
        match done.outcome {
            Outcome::Sent { result: Err(error), .. } | Outcome::Received { result: Err(error), .. } => {
                if error != rdma::WorkError::Flushed {
                    self.problem.get_or_insert(error.to_string());
                }
                Ok(None)
            }
            Outcome::Sent { result: Ok(()), .. } if done.id == MESSAGE => Ok(None),
            Outcome::Sent { result: Ok(()), data } => self.moved(data, reactor),
            Outcome::Received { result: Ok(message), buffer } => {
                self.heard_at = now;
                let asked = self.parse(message, &buffer)?;
                reactor.post_receive(self.queue_pair, Receive { id: 0, buffer })?;
                self.asked(asked, pool, reactor)?;
                Ok(None)
            }
        }
    }

    fn parse(&self, message: Message, buffer: &DmaBuf) -> Result<Advertisement, RdmaError> {
        let mut bytes = [0; MESSAGE_BYTES as usize];
        if message.bytes != MESSAGE_BYTES {
            let length = message.bytes;
            return self.protocol(format!(
                "a message of {length} bytes, where rping's protocol has {MESSAGE_BYTES}"
            ));
        }
        buffer.read(0, &mut bytes)?;
        let asked = Advertisement::from_bytes(bytes);
        if asked.bytes > BYTES_MAX {
            let bytes = asked.bytes;
            return self
                .protocol(format!("a ping of {bytes} bytes was asked for, and {BYTES_MAX} is the most"));
        }
        Ok(asked)
    }

    /// The client has told of memory.
    fn asked<D: Device>(
        &mut self,
        asked: Advertisement,
        pool: &Pool,
        reactor: &mut Reactor<D>,
    ) -> Result<(), RdmaError> {
        let (op, data, next) = match std::mem::replace(&mut self.state, State::Idle) {
            State::Idle => {
                let mut buffer = pool.take().ok_or(RdmaError::NoBuffer)?;
                buffer.truncate(asked.bytes);
                (SendOp::Read(asked.memory), buffer.into_segment().into(), State::Reading)
            }
            State::Read(data) => {
                let bytes = data.bytes().min(u64::from(asked.bytes));
                let data = data.slice(0, bytes).unwrap_or(data);
                (SendOp::Write(asked.memory), data, State::Writing)
            }
            State::Reading | State::Writing => {
                return self.protocol("a message before the answer to the last one".to_owned());
            }
        };
        let work = SendWork { id: DATA, op, data: Data::Memory(data), signaled: true, fenced: false };
        reactor.post(self.queue_pair, work)?;
        self.state = next;
        Ok(())
    }

    /// A READ or WRITE is done: the client may go on.
    fn moved<D: Device>(
        &mut self,
        data: Data,
        reactor: &mut Reactor<D>,
    ) -> Result<Option<ScatterList>, RdmaError> {
        let mut shown = None;
        self.state = match (&self.state, data) {
            (State::Reading, Data::Memory(list)) => {
                shown = Some(list.clone());
                State::Read(list)
            }
            (_, data) => {
                self.pings += 1;
                self.bytes += data.bytes();
                State::Idle
            }
        };
        let data = InlineData::new(&GO_AHEAD).ok_or(RdmaError::NoBuffer)?;
        let data = Data::Inline(data);
        let work = SendWork { id: MESSAGE, op: SendOp::Send, data, signaled: true, fenced: false };
        reactor.post(self.queue_pair, work)?;
        Ok(shown)
    }

    fn protocol<T>(&self, problem: String) -> Result<T, RdmaError> {
        Err(RdmaError::Protocol { peer: self.peer, problem })
    }
}
