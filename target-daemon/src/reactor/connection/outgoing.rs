//! What a connection is to send: RDMA work in its order, by the turn.

use std::collections::VecDeque;

use crate::reactor::buffers::Need;
use dma::ScatterList;
use nvmf::controller::KeyedMemory;
use nvmf::wire::ResponseCapsule;
use rdma::{Data, InlineData, RemoteKey, RemoteMemory, SendOp, SendWork};

/// What a piece of work was, told by its name when it completes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::reactor) enum WorkId {
    /// A response.
    Response,
    /// The response after which the connection is closed.
    LastResponse,
    /// Data for the host's memory.
    Write,
    /// Data from the host's memory, for the command in this slot.
    Read(u16),
}

const SLOT_SHIFT: u32 = 8;

impl WorkId {
    const fn pack(self) -> u64 {
        match self {
            Self::Response => 0,
            Self::LastResponse => 1,
            Self::Write => 2,
            Self::Read(slot) => 3 | (slot as u64) << SLOT_SHIFT,
        }
    }

    #[allow(clippy::cast_possible_truncation, reason = "as it was packed")]
    pub(in crate::reactor) const fn unpack(id: u64) -> Self {
        match id & 0xff {
            0 => Self::Response,
            1 => Self::LastResponse,
            2 => Self::Write,
            _ => Self::Read((id >> SLOT_SHIFT) as u16),
        }
    }
}

/// See the module's words. In a turn everything else goes before the responses: so the WRITEs of many commands travel together,
/// and the responses, all of one size, as well. A response never overtakes its data, which was queued before it.
#[derive(Debug, Default)]
pub(in crate::reactor) struct Outgoing {
    /// In the order of posting.
    work: VecDeque<SendWork>,
    /// To be put behind it at the end of the turn.
    responses: VecDeque<SendWork>,
    /// What each response that is queued or posted and has not completed lets go of, in order: chunks of the data that goes
    /// before it.
    unfinished: VecDeque<Option<Need>>,
    /// Responses that have completed: moves while the host takes them.
    finished: u64,
}

impl Outgoing {
    pub(in crate::reactor) fn with_capacity(entries: u16) -> Self {
        let entries = usize::from(entries);
        Self {
            work: VecDeque::with_capacity(2 * entries),
            responses: VecDeque::with_capacity(entries),
            unfinished: VecDeque::with_capacity(entries),
            finished: 0,
        }
    }

    #[inline]
    pub(in crate::reactor) fn is_empty(&self) -> bool {
        self.work.is_empty() && self.responses.is_empty()
    }

    /// Everything, in the order of posting. What is not taken out stays for the next time.
    #[inline]
    pub(in crate::reactor) fn batch(&mut self) -> &mut VecDeque<SendWork> {
        self.work.append(&mut self.responses);
        &mut self.work
    }

    /// Whether all responses have reached the host.
    pub(in crate::reactor) fn is_finished(&self) -> bool {
        self.unfinished.is_empty()
    }

    /// Responses that have not reached the host.
    #[inline]
    pub(in crate::reactor) fn unfinished(&self) -> usize {
        self.unfinished.len()
    }

    /// Counts responses that have reached the host.
    pub(in crate::reactor) const fn progress(&self) -> u64 {
        self.finished
    }

    /// A response has completed: what the host no longer holds with it.
    #[inline]
    pub(in crate::reactor) fn finished(&mut self) -> Option<Need> {
        self.finished = self.finished.wrapping_add(1);
        self.unfinished.pop_front().flatten()
    }

    /// Nothing will complete any more: what the host no longer holds.
    pub(in crate::reactor) fn give_up(&mut self) -> impl Iterator<Item = Need> {
        std::mem::take(self).unfinished.into_iter().flatten()
    }

    /// A response. Its completion lets go of the data that went before it.
    #[inline]
    pub(in crate::reactor) fn respond(&mut self, response: &ResponseCapsule) {
        self.push_response(response, WorkId::Response, None);
    }

    /// The response behind data in so many chunks.
    #[inline]
    pub(in crate::reactor) fn respond_behind(&mut self, response: &ResponseCapsule, held: Option<Need>) {
        self.push_response(response, WorkId::Response, held);
    }

    /// The response after which the connection is closed.
    pub(in crate::reactor) fn respond_last(&mut self, response: &ResponseCapsule) {
        self.push_response(response, WorkId::LastResponse, None);
    }

    #[inline]
    fn push_response(&mut self, response: &ResponseCapsule, id: WorkId, held: Option<Need>) {
        let Some(inline) = InlineData::new(&response.to_bytes()) else { unreachable!("16 bytes fit") };
        let op = response.invalidate.map_or(SendOp::Send, |key| SendOp::SendInvalidate(RemoteKey(key)));
        self.unfinished.push_back(held);
        self.responses.push_back(SendWork {
            id: id.pack(),
            op,
            data: Data::Inline(inline),
            signaled: true,
            fenced: false,
        });
    }

    /// Data for the host's memory, before the response that is queued next.
    #[inline]
    pub(in crate::reactor) fn write(&mut self, memory: KeyedMemory, data: ScatterList, signaled: bool) {
        let op = SendOp::Write(remote(memory, 0));
        let id = WorkId::Write.pack();
        self.work.push_back(SendWork { id, op, data: Data::Memory(data), signaled, fenced: false });
    }

    /// A part of the data for the host's memory.
    pub(in crate::reactor) fn write_part(&mut self, memory: KeyedMemory, offset: u64, data: ScatterList) {
        let op = SendOp::Write(remote(memory, offset));
        let id = WorkId::Write.pack();
        self.work.push_back(SendWork { id, op, data: Data::Memory(data), signaled: true, fenced: false });
    }

    /// Asks for data from the host's memory.
    #[inline]
    pub(in crate::reactor) fn read(&mut self, memory: KeyedMemory, data: ScatterList, slot: u16) {
        let op = SendOp::Read(remote(memory, 0));
        let id = WorkId::Read(slot).pack();
        self.work.push_back(SendWork { id, op, data: Data::Memory(data), signaled: true, fenced: false });
    }
}

/// Where in the host's memory. What it says may be anything: the host's RDMA device checks.
#[inline]
const fn remote(memory: KeyedMemory, offset: u64) -> RemoteMemory {
    RemoteMemory { address: memory.address.wrapping_add(offset), key: RemoteKey(memory.key) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reactor::buffers::Class;
    use nvme_spec::{CommandId, Cqe, QueueId, Status};

    fn response(cid: u16, invalidate: Option<u32>) -> ResponseCapsule {
        ResponseCapsule { cqe: Cqe::new(QueueId(0), 1, CommandId(cid), Status::SUCCESS), invalidate }
    }

    #[test]
    fn responses_go_after_all_data_of_their_turn() {
        let memory = KeyedMemory { address: 0x1000, bytes: 0, key: 7, invalidate: true };
        let mut outgoing = Outgoing::default();
        for cid in 0..3 {
            outgoing.write(memory, ScatterList::default(), false);
            let held = Need { class: Class::Small, chunks: 1, bytes: 512 + u32::from(cid) };
            outgoing.respond_behind(&response(cid, Some(7)), Some(held));
        }
        outgoing.read(memory, ScatterList::default(), 0x1234);
        let remote = RemoteMemory { address: 0x1000, key: RemoteKey(7) };
        let ops: Vec<SendOp> = outgoing.batch().iter().map(|work| work.op).collect();
        let (write, send) = (SendOp::Write(remote), SendOp::SendInvalidate(RemoteKey(7)));
        assert_eq!(ops, [write, write, write, SendOp::Read(remote), send, send, send]);
        assert_eq!(WorkId::unpack(outgoing.batch()[3].id), WorkId::Read(0x1234));
        let held: Vec<u32> = (0..3).map(|_| outgoing.finished().unwrap().bytes).collect();
        assert_eq!(held, [512, 513, 514], "in the order of the responses");
        assert!(outgoing.is_finished());
    }

    #[test]
    fn without_a_key_it_is_a_plain_send() {
        let mut outgoing = Outgoing::default();
        outgoing.respond_last(&response(0xbeef, None));
        let work = &outgoing.batch()[0];
        assert_eq!((work.op, WorkId::unpack(work.id)), (SendOp::Send, WorkId::LastResponse));
        let Data::Inline(data) = work.data else { panic!("not inline") };
        assert_eq!(data.bytes(), [0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0xef, 0xbe, 0, 0]);
    }
}
