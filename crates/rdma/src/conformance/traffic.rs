//! Work and its ends: posting, and waiting for what comes of it.

use std::collections::VecDeque;

use dma::{DmaBuf, Segment};

use super::pattern;
use super::rig::{Half, Rig};
use crate::error::PostError;
use crate::handle::SharedReceiveQueueId;
use crate::provider::{Device, Endpoint};
use crate::work::{
    Completion, Data, InlineData, Message, Outcome, Receive, RemoteKey, RemoteMemory, Rights, SendOp,
    SendWork, WorkError,
};

/// A window and what is behind it.
pub(super) struct Window {
    pub(super) segment: Segment,
    pub(super) memory: RemoteMemory,
}

impl Window {
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.segment.bytes() as usize];
        self.segment.read(0, &mut bytes).unwrap();
        bytes
    }

    /// The memory from `offset` on.
    pub(super) fn at(&self, offset: u64) -> RemoteMemory {
        RemoteMemory { address: self.memory.address.wrapping_add(offset), ..self.memory }
    }
}

/// Send work that has ended.
pub(super) struct Sent {
    pub(super) id: u64,
    pub(super) result: Result<(), WorkError>,
    pub(super) data: Data,
}

/// A receive that has ended.
pub(super) struct Received {
    pub(super) id: u64,
    pub(super) result: Result<Message, WorkError>,
    pub(super) buffer: DmaBuf,
}

/// The name of work that stands for all before it.
const CARRIED_OUT: u64 = u64::MAX - 1;

impl<D: Device> Rig<D> {
    /// Posts work as one batch, all of which must be taken.
    pub(super) fn post(&mut self, half: Half, work: impl IntoIterator<Item = SendWork>) {
        let mut work: VecDeque<_> = work.into_iter().collect();
        self.try_post(half, &mut work).unwrap();
        assert!(work.is_empty(), "{} pieces of work were not taken", work.len());
    }

    /// Posts what is taken, and writes it down.
    pub(super) fn try_post(&mut self, half: Half, work: &mut VecDeque<SendWork>) -> Result<(), PostError> {
        let before: Vec<_> = work.iter().map(|piece| (piece.id, piece.signaled)).collect();
        let side = self.side(half);
        let result = side.endpoint.post_send(half.queue_pair, work);
        let taken = before.len() - work.len();
        let left = work.iter().map(|piece| (piece.id, piece.signaled));
        assert!(left.eq(before[taken..].iter().copied()), "work is taken from the front");
        side.ledger.sends_posted(half.queue_pair, &before[..taken]);
        result
    }

    /// Posts a receive, which must be taken.
    pub(super) fn receive(&mut self, half: Half, id: u64, bytes: u32) {
        let buffer = self.side(half).buffer(bytes);
        let mut receives = VecDeque::from([Receive { id, buffer }]);
        self.try_receive(half, &mut receives).unwrap();
        assert!(receives.is_empty(), "a receive was not taken");
    }

    /// Posts what is taken, and writes it down.
    pub(super) fn try_receive(
        &mut self,
        half: Half,
        receives: &mut VecDeque<Receive>,
    ) -> Result<(), PostError> {
        let before: Vec<_> = receives.iter().map(|receive| receive.id).collect();
        let side = self.side(half);
        let result = side.endpoint.post_receive(half.queue_pair, receives);
        side.ledger.receives_posted(half.queue_pair, &before[..before.len() - receives.len()]);
        result
    }

    /// Posts a receive to a shared queue.
    pub(super) fn receive_shared(&mut self, at: usize, queue: SharedReceiveQueueId, id: u64, bytes: u32) {
        let side = &mut self.sides[at];
        let mut receives = VecDeque::from([Receive { id, buffer: side.buffer(bytes) }]);
        side.endpoint.post_shared_receive(queue, &mut receives).unwrap();
        assert!(receives.is_empty(), "a receive was not taken");
        side.ledger.shared_posted(queue, &[id]);
    }

    /// The next work of the send queue that reports.
    pub(super) fn sent(&mut self, half: Half) -> Sent {
        let done = self.wait("send work", |rig| {
            let is_send = |done: &Completion| matches!(done.outcome, Outcome::Sent { .. });
            rig.side(half).take_completion(half.queue_pair, is_send)
        });
        let Outcome::Sent { result, data } = done.outcome else { unreachable!("what was looked for") };
        Sent { id: done.id, result, data }
    }

    /// The next work of the send queue that reports, which is this one and has succeeded.
    pub(super) fn sent_well(&mut self, half: Half, id: u64) -> Data {
        let sent = self.sent(half);
        assert_eq!((sent.id, sent.result), (id, Ok(())));
        sent.data
    }

    /// The next receive that ends.
    pub(super) fn received(&mut self, half: Half) -> Received {
        let done = self.wait("a message", |rig| {
            let is_receive = |done: &Completion| matches!(done.outcome, Outcome::Received { .. });
            rig.side(half).take_completion(half.queue_pair, is_receive)
        });
        let Outcome::Received { result, buffer } = done.outcome else { unreachable!("what was looked for") };
        Received { id: done.id, result, buffer }
    }

    /// The next message: the receive's name, what is told of it, its bytes.
    pub(super) fn message(&mut self, half: Half) -> (u64, Message, Vec<u8>) {
        let Received { id, result, buffer } = self.received(half);
        let message = result.unwrap();
        let mut bytes = vec![0; message.bytes as usize];
        buffer.read(0, &mut bytes).unwrap();
        (id, message, bytes)
    }

    /// Whether anything ended on a queue pair that nobody has looked at.
    pub(super) fn has_completion(&mut self, half: Half) -> bool {
        self.side(half).completions.iter().any(|done| done.queue_pair == half.queue_pair)
    }

    /// A window on memory with the bytes of a number.
    pub(super) fn window(&mut self, half: Half, number: u64, bytes: usize, rights: Rights) -> Window {
        let side = self.side(half);
        let segment = side.segment(&pattern::bytes(number, bytes));
        let memory = side.endpoint.bind(half.queue_pair, &segment, rights).unwrap();
        if self.time.is_real() {
            self.carried_out(half);
        }
        Window { segment, memory }
    }

    /// Waits until what was posted before has been carried out. Tests tell the peer of a window past the connection, where no
    /// order holds it back until the window is bound.
    fn carried_out(&mut self, half: Half) {
        let nowhere = RemoteMemory { address: 0, key: RemoteKey(0) };
        let nothing = || Data::Inline(InlineData::new(&[]).unwrap());
        let mut work = VecDeque::from([write(CARRIED_OUT, nothing(), nowhere)]);
        self.wait("room in the send queue", |rig| {
            rig.try_post(half, &mut work).unwrap();
            work.is_empty().then_some(())
        });
        let done = self.wait("an empty write", |rig| {
            rig.side(half).take_completion(half.queue_pair, |done| done.id == CARRIED_OUT)
        });
        assert!(matches!(done.outcome, Outcome::Sent { result: Ok(()), .. }), "{done:?}");
    }
}

/// A SEND.
pub(super) fn send(id: u64, data: Data) -> SendWork {
    SendWork { id, op: SendOp::Send, data, signaled: true, fenced: false }
}

/// A SEND that unbinds a window of the peer.
pub(super) fn send_invalidate(id: u64, data: Data, key: RemoteKey) -> SendWork {
    SendWork { op: SendOp::SendInvalidate(key), ..send(id, data) }
}

/// An RDMA WRITE.
pub(super) fn write(id: u64, data: Data, to: RemoteMemory) -> SendWork {
    SendWork { op: SendOp::Write(to), ..send(id, data) }
}

/// An RDMA READ.
pub(super) fn read(id: u64, into: Data, from: RemoteMemory) -> SendWork {
    SendWork { op: SendOp::Read(from), ..send(id, into) }
}

/// The same work without a report of success.
pub(super) fn unsignaled(work: SendWork) -> SendWork {
    SendWork { signaled: false, ..work }
}

/// The same work behind all reads.
pub(super) fn fenced(work: SendWork) -> SendWork {
    SendWork { fenced: true, ..work }
}
