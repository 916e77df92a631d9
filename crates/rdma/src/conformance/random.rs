//! Work by chance against a model.

use super::Subject;
use super::pattern::{self, Dice, assert_same};
use super::rig::{Half, Rig, Setup};
use super::side::bytes_of;
use super::traffic::{Window, fenced, read, send, send_invalidate, unsignaled, write};
use crate::provider::Device;
use crate::work::{Completion, Data, InlineData, Outcome, RemoteKey, Rights};

const STEPS: u64 = 1500;

/// Bytes of the window that is written.
const TARGET_BYTES: usize = 8192;
/// Bytes of the window that is read.
const SOURCE_BYTES: usize = 6000;
/// Longest message.
const MESSAGE_BYTES_MAX: u64 = 5000;
/// Receives posted ahead.
const RECEIVES: u64 = 16;
/// Most work in flight one way.
const WORK_MAX: usize = 24;
/// Windows that wait to be invalidated.
const DOOMED_MAX: usize = 4;

/// One direction of the traffic.
struct Way {
    from: Half,
    to: Half,
    target: Window,
    source: Window,
    /// What the target must hold when everything posted so far is done.
    wanted: Vec<u8>,
    doomed: Vec<RemoteKey>,
    next_id: u64,
    /// Messages under way: number, length, and the key that each invalidates.
    messages: std::collections::VecDeque<(u64, usize, Option<RemoteKey>)>,
    /// Reads under way: id, offset.
    reads: std::collections::BTreeMap<u64, usize>,
    /// Unsignaled work posted since the last signaled piece.
    silent: usize,
    receives: u64,
}

impl Way {
    fn new<D: Device>(rig: &mut Rig<D>, from: Half, to: Half) -> Self {
        let target = rig.window(to, 1, TARGET_BYTES, Rights::WRITE);
        let source = rig.window(to, 2, SOURCE_BYTES, Rights::READ);
        Self {
            from,
            to,
            target,
            source,
            wanted: pattern::bytes(1, TARGET_BYTES),
            doomed: Vec::new(),
            next_id: 0,
            messages: Default::default(),
            reads: Default::default(),
            silent: 0,
            receives: 0,
        }
    }

    fn step<D: Device>(&mut self, rig: &mut Rig<D>, dice: &mut Dice) {
        while self.receives < RECEIVES {
            rig.receive(self.to, self.receives_name(), MESSAGE_BYTES_MAX as u32);
            self.receives += 1;
        }
        if self.doomed.len() < DOOMED_MAX {
            // The window holds the memory; the test needs only the key.
            self.doomed.push(rig.window(self.to, 3, 16, Rights::READ).memory.key);
        }
        if self.left(rig) < WORK_MAX {
            self.post(rig, dice);
        }
    }

    fn receives_name(&self) -> u64 {
        7000 + self.receives
    }

    fn post<D: Device>(&mut self, rig: &mut Rig<D>, dice: &mut Dice) {
        let id = self.next_id;
        self.next_id += 1;
        let mut work = match dice.below(4) {
            0 => self.write(rig, dice, id),
            1 => self.read(rig, dice, id),
            _ => self.send(rig, dice, id),
        };
        if dice.below(8) == 0 {
            work = fenced(work);
        }
        // Reads always report: what they brought is to be seen.
        if dice.below(3) == 0 && !self.reads.contains_key(&id) && self.silent < WORK_MAX / 2 {
            self.silent += 1;
            work = unsignaled(work);
        } else {
            self.silent = 0;
        }
        rig.post(self.from, [work]);
    }

    fn data<D: Device>(&self, rig: &mut Rig<D>, dice: &mut Dice, bytes: &[u8]) -> Data {
        match dice.below(4) {
            0 if bytes.len() <= crate::INLINE_BYTES_MAX => Data::Inline(InlineData::new(bytes).unwrap()),
            1 => Data::Memory(rig.side(self.from).scattered(bytes, &[1 + dice.below(1500) as usize])),
            _ => rig.side(self.from).data(bytes),
        }
    }

    fn write<D: Device>(&mut self, rig: &mut Rig<D>, dice: &mut Dice, id: u64) -> crate::SendWork {
        let offset = dice.below(TARGET_BYTES as u64) as usize;
        let length = 1 + dice.below((TARGET_BYTES - offset) as u64) as usize;
        let bytes = pattern::bytes(id, length);
        self.wanted[offset..offset + length].copy_from_slice(&bytes);
        write(id, self.data(rig, dice, &bytes), self.target.at(offset as u64))
    }

    fn read<D: Device>(&mut self, rig: &mut Rig<D>, dice: &mut Dice, id: u64) -> crate::SendWork {
        let offset = dice.below(SOURCE_BYTES as u64) as usize;
        let length = 1 + dice.below((SOURCE_BYTES - offset) as u64) as usize;
        self.reads.insert(id, offset);
        let cuts = [1 + dice.below(2000) as usize];
        let list = rig.side(self.from).scattered(&vec![0xee; length], &cuts);
        read(id, Data::Memory(list), self.source.at(offset as u64))
    }

    fn send<D: Device>(&mut self, rig: &mut Rig<D>, dice: &mut Dice, id: u64) -> crate::SendWork {
        let longest = if dice.below(2) == 0 { 65 } else { MESSAGE_BYTES_MAX + 1 };
        let length = dice.below(longest) as usize;
        let data = self.data(rig, dice, &pattern::bytes(id, length));
        let key = if dice.below(6) == 0 { self.doomed.pop() } else { None };
        self.messages.push_back((id, length, key));
        match key {
            Some(key) => send_invalidate(id, data, key),
            None => send(id, data),
        }
    }

    fn sent(&mut self, id: u64, data: &Data) {
        if let Some(offset) = self.reads.remove(&id) {
            let bytes = bytes_of(data);
            assert_same(
                &bytes,
                &pattern::bytes(2, SOURCE_BYTES)[offset..offset + bytes.len()],
                "what was read",
            );
        }
    }

    fn received(&mut self, done: &Completion) {
        let Outcome::Received { result, buffer } = &done.outcome else { unreachable!("a receive") };
        let message = result.as_ref().unwrap();
        let (number, length, key) = self.messages.pop_front().expect("a message that nobody sent");
        assert_eq!((message.bytes as usize, message.invalidated), (length, key));
        let mut bytes = vec![0; length];
        buffer.read(0, &mut bytes).unwrap();
        assert_same(&bytes, &pattern::bytes(number, length), "a message");
        self.receives -= 1;
    }

    /// Looks at everything that has ended.
    fn look<D: Device>(&mut self, rig: &mut Rig<D>) {
        while let Some(done) = rig.side(self.from).take_completion(self.from.queue_pair, is_send) {
            let Outcome::Sent { result, data } = &done.outcome else { unreachable!("send work") };
            assert_eq!(*result, Ok(()), "work {}", done.id);
            self.sent(done.id, data);
        }
        while let Some(done) = rig.side(self.to).take_completion(self.to.queue_pair, |done| !is_send(done)) {
            self.received(&done);
        }
    }

    /// Work that has not ended.
    fn left<D: Device>(&self, rig: &mut Rig<D>) -> usize {
        rig.side(self.from).ledger.left(self.from.queue_pair).0
    }
}

fn is_send(done: &Completion) -> bool {
    matches!(done.outcome, Outcome::Sent { .. })
}

/// Both ways at once, work of every kind in every size: every byte is where the model says, and everything ends once.
pub fn random_work_matches_a_model<S: Subject>(subject: &S) {
    let mut dice = Dice::new(20_260_101);
    let mut rig = Rig::new(subject);
    let link = rig.pair(&Setup::default());
    let mut ways = link.both_ways().map(|(from, to)| Way::new(&mut rig, from, to));
    for _ in 0..STEPS {
        let way = dice.below(2) as usize;
        ways[way].step(&mut rig, &mut dice);
        if dice.below(3) == 0 {
            let end = rig.now();
            rig.turn(end);
        }
        ways.iter_mut().for_each(|way| way.look(&mut rig));
        if ways[way].left(&mut rig) >= WORK_MAX / 2 {
            let end = rig.now().after_ns(1_000_000);
            rig.turn(end);
        }
    }
    for way in &mut ways {
        // A last message that reports, behind everything.
        rig.receive(way.to, 1, MESSAGE_BYTES_MAX as u32);
        way.receives += 1;
        way.messages.push_back((u64::MAX, 100, None));
        let data = rig.side(way.from).numbered(u64::MAX, 100);
        rig.post(way.from, [send(u64::MAX, data)]);
    }
    rig.wait("everything to end", |rig| {
        ways.iter_mut().for_each(|way| way.look(rig));
        ways.iter().all(|way| way.left(rig) == 0 && way.messages.is_empty()).then_some(())
    });
    for way in &ways {
        assert!(way.reads.is_empty(), "reads that never ended: {:?}", way.reads);
        assert_same(&way.target.bytes(), &way.wanted, "what was written");
    }
    drop(ways);
    rig.finish();
}
