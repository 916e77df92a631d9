//! Tests of the reliable connection: packets as values go in, and what is pushed is looked at.
#![allow(clippy::cast_possible_truncation)]

mod channel;
mod hostile;
mod reading;
mod requester;
mod responder;
mod serving;
mod states;

use std::collections::VecDeque;

use block::Timestamp;
use dma::{DmaBuf, MemoryOptions, Pool, PoolOptions, ScatterList, Segment};

use super::{
    Context, Event, Flow, Outbox, Parameters, QueuePair, ReadBudget, ReceiveQueue, Turn, Window, Windows,
};
use crate::soft::link::PayloadRef;
use crate::soft::wire::{
    Aeth, Extension, Headers, NakCode, Opcode, Packet, Psn, Qpn, Reth, RnrTimer, Syndrome,
};
use crate::{
    Completion, Counters, Data, Handle, InlineData, Message, Outcome, PathMtu, QueuePairId, Receive,
    RemoteKey, RemoteMemory, Rights, SendOp, SendWork, Slots, WorkError,
};

const CHUNK_BYTES: u32 = 256 << 10;
const OUR_NUMBER: u32 = 0x11;
const PEER_NUMBER: u32 = 0x22;
const KEY: RemoteKey = RemoteKey(0x5eed);
const ADDRESS: u64 = 0x7f00_0000_1000;
const REMOTE: RemoteMemory = RemoteMemory { address: ADDRESS, key: KEY };
const OK: Result<Option<Message>, WorkError> = Ok(None);

fn qpn(number: u32) -> Qpn {
    Qpn::try_from(number).unwrap()
}

fn id() -> QueuePairId {
    let handle: Handle = Slots::new(1).insert(()).unwrap();
    handle.into()
}

fn us(microseconds: u64) -> Timestamp {
    Timestamp::from_ns(1_000_000_000 + microseconds * 1000)
}

fn pool(chunks: u32) -> Pool {
    let memory = MemoryOptions { ordinary_pages: true, ..Default::default() };
    Pool::new(PoolOptions { chunk_bytes: CHUNK_BYTES, chunks, memory }).unwrap()
}

/// Bytes that differ from their neighbours and from packet to packet.
fn pattern(bytes: u32, seed: u32) -> Vec<u8> {
    (0..bytes)
        .map(|at| (at.wrapping_mul(31) ^ (at >> 8).wrapping_mul(17) ^ seed.wrapping_mul(101)) as u8)
        .collect()
}

fn segment(pool: &Pool, data: &[u8]) -> Segment {
    let mut buffer = pool.take().unwrap();
    buffer.write(0, data).unwrap();
    buffer.truncate(data.len() as u32);
    buffer.into_segment()
}

fn bytes_of(segment: &Segment) -> Vec<u8> {
    let mut bytes = vec![0; segment.bytes() as usize];
    segment.read(0, &mut bytes).unwrap();
    bytes
}

fn list_bytes(list: &ScatterList) -> Vec<u8> {
    let mut bytes = vec![0; list.bytes() as usize];
    list.read(0, &mut bytes).unwrap();
    bytes
}

fn work(id: u64, op: SendOp, data: impl Into<ScatterList>) -> SendWork {
    SendWork { id, op, data: Data::Memory(data.into()), signaled: true, fenced: false }
}

fn inline(id: u64, op: SendOp, bytes: &[u8]) -> SendWork {
    SendWork { id, op, data: Data::Inline(InlineData::new(bytes).unwrap()), signaled: true, fenced: false }
}

/// The windows of a test's endpoint.
#[derive(Default)]
struct Table {
    bound: Vec<(RemoteKey, Qpn, Segment, u64, Rights)>,
}

impl Windows for Table {
    fn window(&self, key: RemoteKey, queue_pair: Qpn) -> Option<Window<'_>> {
        let found = self.bound.iter().find(|bound| bound.0 == key && bound.1 == queue_pair)?;
        Some(Window { segment: &found.2, address: found.3, rights: found.4 })
    }

    fn invalidate(&mut self, key: RemoteKey, queue_pair: Qpn) -> bool {
        let before = self.bound.len();
        self.bound.retain(|bound| bound.0 != key || bound.1 != queue_pair);
        self.bound.len() < before
    }
}

/// A packet that was pushed.
#[derive(Clone, Debug, PartialEq)]
struct Sent {
    headers: Headers,
    payload: Vec<u8>,
}

/// An outbox with room for so many more.
struct Tray {
    sent: Vec<Sent>,
    room: usize,
}

impl Outbox for Tray {
    fn has_room(&self) -> bool {
        self.room > 0
    }

    fn push(&mut self, headers: &Headers, payload: PayloadRef<'_>) {
        self.room = self.room.checked_sub(1).expect("there is room");
        let bytes = match payload {
            PayloadRef::Empty => Vec::new(),
            PayloadRef::Bytes(bytes) => bytes.to_vec(),
            PayloadRef::List { list, offset, bytes } => {
                list_bytes(&list.slice(offset, bytes.into()).unwrap())
            }
            PayloadRef::Segment { segment, offset, bytes } => {
                bytes_of(&segment.slice(offset, bytes).unwrap())
            }
        };
        assert_eq!(bytes.len() as u32, payload.bytes());
        self.sent.push(Sent { headers: *headers, payload: bytes });
    }
}

/// A queue pair with all that its endpoint lends it.
struct Side {
    queue_pair: QueuePair,
    windows: Table,
    shared: Option<ReceiveQueue>,
    flow: Flow,
    reads: ReadBudget,
    completions: Vec<Completion>,
    counters: Counters,
    turn: Turn,
}

impl Side {
    fn new(number: u32, receive_depth: Option<u32>) -> Self {
        Self {
            queue_pair: QueuePair::new(id(), qpn(number), 64, receive_depth),
            windows: Table::default(),
            shared: receive_depth.is_none().then(|| ReceiveQueue::new(64)),
            flow: Flow::default(),
            reads: ReadBudget::default(),
            completions: Vec::new(),
            counters: Counters::default(),
            turn: Turn::Idle,
        }
    }

    /// Ready to send, with those parameters.
    fn ready(parameters: &Parameters) -> Self {
        let mut side = Self::new(OUR_NUMBER, Some(64));
        side.queue_pair.connect(parameters);
        side.queue_pair.establish();
        side
    }

    fn split(&mut self) -> (&mut QueuePair, Context<'_, Table>) {
        let context = Context {
            windows: &mut self.windows,
            shared_receives: self.shared.as_mut(),
            flow: &mut self.flow,
            reads: &mut self.reads,
            completions: &mut self.completions,
            counters: &mut self.counters,
        };
        (&mut self.queue_pair, context)
    }

    fn bind(&mut self, key: RemoteKey, segment: Segment, rights: Rights) {
        let number = self.queue_pair.number();
        self.windows.bound.push((key, number, segment, ADDRESS, rights));
    }

    fn post(&mut self, works: impl IntoIterator<Item = SendWork>) {
        let mut works: VecDeque<_> = works.into_iter().collect();
        self.queue_pair.post_send(&mut works).unwrap();
        assert!(works.is_empty());
    }

    fn post_receive(&mut self, id: u64, buffer: DmaBuf) {
        let mut receives = VecDeque::from([Receive { id, buffer }]);
        match &mut self.shared {
            Some(shared) => shared.post(&mut receives),
            None => self.queue_pair.post_receive(&mut receives).unwrap(),
        }
        assert!(receives.is_empty());
    }

    fn feed(&mut self, now: Timestamp, headers: Headers, payload: &[u8]) -> Option<Event> {
        let (queue_pair, mut context) = self.split();
        queue_pair.handle_packet(now, &Packet { headers, payload }, &mut context)
    }

    fn transmit_some(&mut self, now: Timestamp, room: usize) -> Vec<Sent> {
        let mut tray = Tray { sent: Vec::new(), room };
        let (queue_pair, mut context) = self.split();
        let turn = queue_pair.transmit(now, &mut context, &mut tray);
        self.turn = turn;
        tray.sent
    }

    fn transmit(&mut self, now: Timestamp) -> Vec<Sent> {
        self.transmit_some(now, 10_000)
    }

    fn timeout(&mut self, now: Timestamp) -> Option<Event> {
        let (queue_pair, mut context) = self.split();
        queue_pair.handle_timeout(now, &mut context)
    }

    /// Identifiers and results of what has completed since.
    fn ended(&mut self) -> Vec<(u64, Result<Option<Message>, WorkError>)> {
        let ended = |completion: Completion| match completion.outcome {
            Outcome::Sent { result, .. } => (completion.id, result.map(|()| None)),
            Outcome::Received { result, .. } => (completion.id, result.map(Some)),
        };
        self.completions.drain(..).map(ended).collect()
    }
}

fn parameters() -> Parameters {
    Parameters {
        peer: qpn(PEER_NUMBER),
        send_psn: Psn::new(100),
        expected_psn: Psn::new(500),
        mtu: PathMtu::Bytes256,
        retries: 7,
        rnr_retries: 7,
        ack_timeout: 17,
        rnr_timer: RnrTimer::new(14),
        responder_resources: 2,
        initiator_depth: 2,
    }
}

/// A packet for us.
fn headers(opcode: Opcode, psn: u32, extension: Extension) -> Headers {
    let psn = Psn::new(psn);
    Headers { opcode, destination: qpn(OUR_NUMBER), psn, ack_request: false, solicited: false, extension }
}

fn asking(headers: Headers) -> Headers {
    Headers { ack_request: true, ..headers }
}

fn acknowledge(psn: u32, syndrome: Syndrome) -> Headers {
    headers(Opcode::Acknowledge, psn, Extension::Aeth(Aeth { syndrome, msn: 0 }))
}

fn ack(psn: u32) -> Headers {
    acknowledge(psn, Syndrome::Ack { credits: 31 })
}

fn nak(psn: u32, code: NakCode) -> Headers {
    acknowledge(psn, Syndrome::Nak(code))
}

fn reth(address: u64, bytes: u32) -> Extension {
    Extension::Reth(Reth { address, key: KEY.0, bytes })
}

/// Opcode and number of each packet.
fn summary(sent: &[Sent]) -> Vec<(Opcode, u32)> {
    sent.iter().map(|sent| (sent.headers.opcode, sent.headers.psn.value())).collect()
}

fn send(id: u64) -> SendWork {
    inline(id, SendOp::Send, b"x")
}

/// A READ of so many bytes from the beginning of the peer's window.
fn read(id: u64, bytes: u32) -> SendWork {
    work(id, SendOp::Read(REMOTE), segment(&pool(1), &vec![0; bytes as usize]))
}

fn numbers(sent: &[Sent]) -> Vec<u32> {
    sent.iter().map(|sent| sent.headers.psn.value()).collect()
}
