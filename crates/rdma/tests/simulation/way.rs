//! One direction of a connection: what was posted, and what must come of it.

use std::collections::VecDeque;

use dma::Segment;
use rdma::{
    Completion, Data, Endpoint, Message, Outcome, PostError, Receive, RemoteKey, RemoteMemory, Rights,
    SendOp, SendWork, WorkError,
};
use sim::{Dice, Once};

use crate::peer::{Half, Peer, pattern};

const SLOTS: usize = 4;
const SLOT_BYTES: usize = 2048;
const SOURCE_BYTES: usize = 6000;
const SOURCE_NUMBER: u64 = 77;
pub const MESSAGE_BYTES_MAX: usize = 3000;
/// Work of a send queue of the scenario.
pub const SEND_DEPTH: u32 = 16;
/// Receives of a receive queue of the scenario.
pub const RECEIVE_DEPTH: u32 = 8;
const DOOMED_MAX: usize = 2;

/// A message under way.
struct Sent {
    id: u64,
    length: usize,
    invalidates: Option<RemoteKey>,
    /// The slots' versions when it was posted: what was written before it.
    versions: [u64; SLOTS],
}

enum Posted {
    Message,
    Write,
    Read {
        offset: usize,
    },
    /// What must be refused.
    Misuse,
}

/// From one half to the other.
pub struct Way {
    pub from: Half,
    pub to: Half,
    next_id: u64,
    work: Once<u64, (Posted, bool)>,
    receives: Once<u64, ()>,
    under_way: VecDeque<Sent>,
    last_received: Option<u64>,
    /// The last message whose success was told.
    last_acknowledged: Option<u64>,
    target: Option<(Segment, RemoteMemory)>,
    source: Option<RemoteMemory>,
    doomed: Vec<RemoteKey>,
    /// What the target must hold at last.
    wanted: Vec<u8>,
    versions: [u64; SLOTS],
    last_ended: Option<u64>,
    pub send_error: Option<WorkError>,
    pub receive_error: Option<WorkError>,
    /// Whether wrong work was posted, on purpose.
    pub is_misused: bool,
}

impl Way {
    pub fn new(from: Half, to: Half) -> Self {
        Self {
            from,
            to,
            next_id: 1,
            work: Once::default(),
            receives: Once::default(),
            under_way: VecDeque::new(),
            last_received: None,
            last_acknowledged: None,
            target: None,
            source: None,
            doomed: Vec::new(),
            wanted: vec![0; SLOTS * SLOT_BYTES],
            versions: [0; SLOTS],
            last_ended: None,
            send_error: None,
            receive_error: None,
            is_misused: false,
        }
    }

    /// Opens windows on the receiving side, as far as they are not.
    pub fn open_windows(&mut self, to: &mut Peer) {
        let queue_pair = self.to.1;
        if self.target.is_none() {
            let segment = to.segment(&self.wanted);
            let bound = to.endpoint.bind(queue_pair, &segment, Rights::WRITE);
            self.target = bound.ok().map(|memory| (segment, memory));
        }
        if self.source.is_none() {
            let segment = to.segment(&pattern(SOURCE_NUMBER, SOURCE_BYTES));
            self.source = to.endpoint.bind(queue_pair, &segment, Rights::READ).ok();
        }
        while self.doomed.len() < DOOMED_MAX {
            let segment = to.segment(&[0; 16]);
            let Ok(memory) = to.endpoint.bind(queue_pair, &segment, Rights::READ) else { return };
            self.doomed.push(memory.key);
        }
    }

    pub fn receives_posted(&self) -> usize {
        self.receives.len()
    }

    pub fn work_left(&self) -> usize {
        self.work.len()
    }

    /// Whether all work has ended that reports its end: success that is not signaled is told by later work only.
    pub fn has_ended(&self) -> bool {
        self.work.open().all(|(_, (_, signaled))| !signaled)
    }

    /// Posts a receive.
    pub fn post_receive(&mut self, to: &mut Peer, bytes: usize) {
        let id = self.next_id;
        self.next_id += 1;
        let mut buffer = to.pool.take().expect("memory: the scenario bounds what it posts");
        buffer.truncate(bytes as u32);
        let mut receives = VecDeque::from([Receive { id, buffer }]);
        to.endpoint.post_receive(self.to.1, &mut receives).unwrap();
        if receives.is_empty() {
            self.receives.begin(id, ());
        }
    }

    /// Posts a piece of work of any kind, if there is room.
    pub fn post(&mut self, from: &mut Peer, dice: &mut Dice) {
        let id = self.next_id;
        self.next_id += 1;
        let (op, data, posted) = match dice.below(4) {
            0 => self.write(from, dice, id),
            1 => self.read(from, dice),
            _ => self.message(from, dice, id),
        };
        let signaled = matches!(posted, Posted::Read { .. }) || dice.below(3) > 0;
        self.submit(from, SendWork { id, op, data, signaled, fenced: dice.below(6) == 0 }, posted);
    }

    /// Before the connection is made work is refused, and stays where it is; after its end it flushes.
    pub fn post_too_early(&mut self, from: &mut Peer) {
        let id = self.next_id;
        self.next_id += 1;
        let data = from.data(&[0; 4], 0);
        let mut queue =
            VecDeque::from([SendWork { id, op: SendOp::Send, data, signaled: true, fenced: false }]);
        match from.endpoint.post_send(self.from.1, &mut queue) {
            Err(PostError::NotConnected) => assert_eq!(queue.len(), 1),
            Ok(()) if queue.is_empty() => self.work.begin(id, (Posted::Misuse, true)),
            Ok(()) => {}
            other => panic!("{other:?}"),
        }
    }

    fn submit(&mut self, from: &mut Peer, work: SendWork, posted: Posted) {
        let (id, signaled) = (work.id, work.signaled);
        let mut queue = VecDeque::from([work]);
        let result = from.endpoint.post_send(self.from.1, &mut queue);
        if result.is_err() || !queue.is_empty() {
            // No room: as if it had never been; the model was changed for this piece only.
            self.take_back(id);
            return;
        }
        self.work.begin(id, (posted, signaled));
    }

    fn take_back(&mut self, id: u64) {
        if self.under_way.back().is_some_and(|last| last.id == id) {
            self.under_way.pop_back();
        }
    }

    fn write(&mut self, from: &Peer, dice: &mut Dice, id: u64) -> (SendOp, Data, Posted) {
        let slot = dice.index(SLOTS);
        let bytes = pattern(id, 8 + dice.index(SLOT_BYTES - 8));
        let start = slot * SLOT_BYTES;
        // Whether it finds room is certain: the caller has asked.
        self.wanted[start..start + bytes.len()].copy_from_slice(&bytes);
        self.versions[slot] = id;
        let memory =
            self.target.as_ref().map_or(RemoteMemory { address: 0, key: RemoteKey(0) }, |target| target.1);
        let place = RemoteMemory { address: memory.address.wrapping_add(start as u64), ..memory };
        (SendOp::Write(place), from.data(&bytes, dice.number()), Posted::Write)
    }

    fn read(&self, from: &Peer, dice: &mut Dice) -> (SendOp, Data, Posted) {
        let offset = dice.index(SOURCE_BYTES);
        let length = 1 + dice.index(SOURCE_BYTES - offset);
        let memory = self.source.unwrap_or(RemoteMemory { address: 0, key: RemoteKey(0) });
        let place = RemoteMemory { address: memory.address.wrapping_add(offset as u64), ..memory };
        let data = from.data(&vec![0xee; length], dice.number() | 2);
        (SendOp::Read(place), data, Posted::Read { offset })
    }

    fn message(&mut self, from: &Peer, dice: &mut Dice, id: u64) -> (SendOp, Data, Posted) {
        let longest = dice.choose(&[9, 65, MESSAGE_BYTES_MAX as u64]);
        let length = dice.below(longest) as usize;
        let invalidates = if dice.below(5) == 0 { self.doomed.pop() } else { None };
        self.under_way.push_back(Sent { id, length, invalidates, versions: self.versions });
        let op = invalidates.map_or(SendOp::Send, SendOp::SendInvalidate);
        (op, from.data(&pattern(id, length), dice.number()), Posted::Message)
    }

    /// Whether a piece of work is taken for certain.
    pub fn has_room(&self) -> bool {
        self.work.len() < SEND_DEPTH as usize
    }

    /// The receiving side has crashed, and its memory is gone.
    pub fn forget_windows(&mut self) {
        self.target = None;
    }

    /// Does what a peer must refuse.
    pub fn misuse(&mut self, from: &mut Peer, dice: &mut Dice) {
        let (Some(target), Some(source)) = (self.target.as_ref().map(|target| target.1), self.source) else {
            return;
        };
        let id = self.next_id;
        self.next_id += 1;
        self.is_misused = true;
        let data = from.data(&pattern(id, 600), 2);
        let beyond = |memory: RemoteMemory, by: usize| RemoteMemory {
            address: memory.address.wrapping_add(by as u64),
            ..memory
        };
        let op = match dice.below(6) {
            0 => SendOp::Write(RemoteMemory { key: RemoteKey(target.key.0 ^ 0x55), ..target }),
            1 => SendOp::Write(beyond(target, SLOTS * SLOT_BYTES - 599)),
            2 => SendOp::Write(source),
            3 => SendOp::Read(beyond(source, SOURCE_BYTES - 599)),
            4 => SendOp::Read(target),
            _ => SendOp::SendInvalidate(RemoteKey(source.key.0 ^ 0x55)),
        };
        self.submit(from, SendWork { id, op, data, signaled: true, fenced: false }, Posted::Misuse);
    }

    /// Work of the sending side has ended.
    pub fn sent(&mut self, done: Completion) {
        let Outcome::Sent { result, data } = done.outcome else { unreachable!("send work") };
        assert!(self.last_ended < Some(done.id), "work {} ended out of order", done.id);
        assert!(result.is_err() || self.send_error.is_none(), "work {} succeeded after a failure", done.id);
        self.skip_silent(done.id);
        self.last_ended = Some(done.id);
        let (posted, _) = self.work.end(&done.id);
        match (result, posted) {
            (Err(WorkError::Flushed), _) => {
                self.send_error.get_or_insert(WorkError::Flushed);
            }
            (Err(error), _) => {
                let is_first = matches!(self.send_error, None | Some(WorkError::Flushed));
                assert!(is_first, "work {}: {error} after {:?}", done.id, self.send_error);
                self.send_error = Some(error);
            }
            (Ok(()), Posted::Message) => self.last_acknowledged = Some(done.id),
            (Ok(()), Posted::Write) => {}
            (Ok(()), Posted::Misuse) => panic!("work {} should have been refused", done.id),
            (Ok(()), Posted::Read { offset }) => {
                let Data::Memory(list) = data else { unreachable!("reads have memory") };
                let mut bytes = vec![0; list.bytes() as usize];
                list.read(0, &mut bytes).unwrap();
                assert!(
                    bytes == pattern(SOURCE_NUMBER, SOURCE_BYTES)[offset..offset + bytes.len()],
                    "read {}",
                    done.id
                );
            }
        }
    }

    /// What is not signaled counts as done when later work completes; after a failure everything reports.
    fn skip_silent(&mut self, id: u64) {
        let skipped: Vec<_> = self
            .work
            .open()
            .map(|(id, (_, signaled))| (*id, *signaled))
            .take_while(|(open, _)| *open < id)
            .collect();
        for (open, signaled) in skipped {
            assert!(!signaled && self.send_error.is_none(), "work {open} ended without a word before {id}");
            self.work.end(&open);
        }
    }

    /// A receive of the other side has ended.
    pub fn received(&mut self, done: Completion) {
        let Outcome::Received { result, buffer } = done.outcome else { unreachable!("a receive") };
        self.receives.end(&done.id);
        match result {
            Err(error) => {
                assert!(
                    self.receive_error.is_none() || error == WorkError::Flushed,
                    "a second cause: {error}"
                );
                self.receive_error.get_or_insert(error);
            }
            Ok(message) => {
                assert!(self.receive_error.is_none(), "a message after a failure");
                let mut bytes = vec![0; message.bytes as usize];
                buffer.read(0, &mut bytes).unwrap();
                self.check(message, &bytes);
            }
        }
    }

    fn check(&mut self, message: Message, bytes: &[u8]) {
        let sent = self.under_way.pop_front().expect("a message that nobody sent, or sent once");
        assert_eq!(
            (bytes.len(), message.invalidated),
            (sent.length, sent.invalidates),
            "message {}",
            sent.id
        );
        assert!(bytes == pattern(sent.id, sent.length), "message {} is another, or torn", sent.id);
        self.last_received = Some(sent.id);
        let Some((target, _)) = &self.target else { return };
        for (slot, version) in sent.versions.into_iter().enumerate().filter(|(_, version)| *version > 0) {
            let mut found = [0; 8];
            target.read((slot * SLOT_BYTES) as u32, &mut found).unwrap();
            let found = u64::from_le_bytes(found);
            assert!(found >= version, "message {} came before write {version}: {found}", sent.id);
        }
    }

    /// At the end: what was told to have succeeded has. `is_whole`: nothing failed, so everything has.
    pub fn judge(&self, is_whole: bool, receiver_lives: bool) {
        if receiver_lives {
            assert!(
                self.last_acknowledged <= self.last_received,
                "message {:?} was acknowledged, and {:?} is the last that was received",
                self.last_acknowledged,
                self.last_received
            );
        }
        if is_whole {
            assert!(self.under_way.is_empty(), "{} messages are missing", self.under_way.len());
            // What is silent to the end was done all the same, for a message behind it was received.
            let Some((target, _)) = &self.target else { return };
            let mut found = vec![0; self.wanted.len()];
            target.read(0, &mut found).unwrap();
            assert!(found == self.wanted, "what was written differs from the model");
        }
    }

    /// Posts a last message that reports, behind everything.
    pub fn post_last(&mut self, from: &mut Peer) {
        let id = self.next_id;
        self.next_id += 1;
        self.under_way.push_back(Sent { id, length: 64, invalidates: None, versions: self.versions });
        let data = from.data(&pattern(id, 64), 2);
        self.submit(
            from,
            SendWork { id, op: SendOp::Send, data, signaled: true, fenced: false },
            Posted::Message,
        );
    }
}
