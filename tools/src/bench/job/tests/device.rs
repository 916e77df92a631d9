//! A device that carries out requests late and out of order, and lies when told to. Everything follows from a seed.

use std::collections::VecDeque;
use std::os::fd::RawFd;
use std::sync::{Arc, Mutex};

use block::{
    Abilities, BlockDevice, BlockQueue, BlockSize, ClaimTable, Completion, Event, Geometry, Identity,
    Incarnation, IoError, Limits, Op, OpenQueueError, QueueOptions, Request, Timestamp, Wait, WriteCache,
};
use dma::{AttachError, Region, ScatterList};

use crate::bench::rng::SplitMix64;

const BLOCK: usize = 512;

/// What the device does to some writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// Acknowledges it without doing it.
    Lose,
    /// Does the first half of each block only.
    Tear,
    /// Lets a read that ends while a write of the same blocks is in flight find the second half of each done already.
    Mix,
    /// Does it one block further on.
    Misplace,
    /// Writes zeroes instead.
    Zero,
    /// Fails it, having done it or not.
    Fail,
    /// Gives it back as timed out without its memory, and does it later.
    Zombie,
    /// Is reset before it: what is in flight fails, and of what no flush covered only a part is left.
    Reset,
    /// Is reset likewise, and loses what a flush covered.
    Forget,
    /// Is gone.
    Remove,
}

/// See the module.
pub struct TestDevice {
    blocks: u64,
    /// The fault strikes at each multiple of this number of writes.
    every: u64,
    fault: Fault,
    state: Arc<Mutex<State>>,
    claims: ClaimTable,
}

struct State {
    rng: SplitMix64,
    /// What reads see.
    media: Vec<u8>,
    /// What is left of it after a power cut, at the least.
    durable: Vec<u8>,
    /// For each block, the number of the write that each of the two is of.
    media_writes: Vec<u64>,
    durable_writes: Vec<u64>,
    writes: u64,
    incarnation: u64,
    removed: bool,
    /// Timed out and not yet done: where and what.
    zombies: Vec<(usize, Vec<u8>)>,
}

impl TestDevice {
    /// A device whose fault strikes at every `every`-th write.
    pub fn new(blocks: u64, fault: Fault, every: u64, seed: u64) -> Self {
        let media = vec![0xee; usize::try_from(blocks).unwrap() * BLOCK];
        let state = State {
            rng: SplitMix64::new(seed),
            durable: media.clone(),
            media,
            media_writes: vec![0; usize::try_from(blocks).unwrap()],
            durable_writes: vec![0; usize::try_from(blocks).unwrap()],
            writes: 0,
            incarnation: 0,
            removed: false,
            zombies: Vec::new(),
        };
        Self { blocks, every, fault, state: Arc::new(Mutex::new(state)), claims: ClaimTable::default() }
    }

    /// How many writes have come.
    pub fn writes(&self) -> u64 {
        self.state.lock().unwrap().writes
    }
}

impl BlockDevice for TestDevice {
    fn name(&self) -> &str {
        "test"
    }

    fn geometry(&self) -> Geometry {
        Geometry {
            block_size: BlockSize::B512,
            blocks: self.blocks,
            limits: Limits::NONE,
            atomic_blocks: 1,
            write_cache: WriteCache::Volatile,
        }
    }

    fn identity(&self) -> Identity {
        Identity::default()
    }

    fn abilities(&self) -> Abilities {
        Abilities::WRITE
    }

    fn attach_memory(&self, _region: &Region) -> Result<(), AttachError> {
        Ok(())
    }

    fn open_queue(&self, options: QueueOptions) -> Result<Box<dyn BlockQueue>, OpenQueueError> {
        Ok(Box::new(TestQueue {
            state: Arc::clone(&self.state),
            fault: self.fault,
            every: self.every,
            depth: options.depth as usize,
            in_flight: Vec::new(),
            seen: 0,
            told_removed: false,
        }))
    }

    fn claims(&self) -> &ClaimTable {
        &self.claims
    }
}

struct TestQueue {
    state: Arc<Mutex<State>>,
    fault: Fault,
    every: u64,
    depth: usize,
    in_flight: Vec<InFlight>,
    /// The incarnation that was told.
    seen: u64,
    told_removed: bool,
}

struct InFlight {
    request: Request,
    /// The device's content when a flush was submitted.
    covered: (Vec<u8>, Vec<u64>),
    incarnation: u64,
}

impl BlockQueue for TestQueue {
    fn submit(&mut self, requests: &mut VecDeque<Request>, _now: Timestamp) {
        let state = self.state.lock().unwrap();
        while self.in_flight.len() < self.depth {
            let Some(request) = requests.pop_front() else { return };
            let covered = match request.op {
                Op::Flush => (state.media.clone(), state.media_writes.clone()),
                _ => Default::default(),
            };
            self.in_flight.push(InFlight { request, covered, incarnation: state.incarnation });
        }
    }

    fn poll(&mut self, completions: &mut Vec<Completion>, _now: Timestamp) {
        let mut state = self.state.lock().unwrap();
        state.wake_zombies();
        // Any of those in flight may end now, in any order.
        while !self.in_flight.is_empty() && state.rng.below(3) > 0 {
            let which = state.rng.below(self.in_flight.len() as u64);
            let ended = self.in_flight.swap_remove(usize::try_from(which).unwrap());
            let completion = state.end(ended, self.fault, self.every);
            if self.fault == Fault::Mix && completion.request.op == Op::Read {
                self.mix(&completion.request);
            }
            completions.push(completion);
        }
    }

    fn poll_event(&mut self) -> Option<Event> {
        let state = self.state.lock().unwrap();
        if state.removed && !self.told_removed {
            self.told_removed = true;
            return Some(Event::Removed);
        }
        let news = state.incarnation != self.seen;
        self.seen = state.incarnation;
        news.then_some(Event::IncarnationChanged(Incarnation(self.seen)))
    }

    fn depth(&self) -> usize {
        self.depth
    }

    fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    fn wake_descriptors(&self, _descriptors: &mut Vec<RawFd>) {}

    fn prepare_wait(&mut self, _now: Timestamp) -> Wait {
        if self.in_flight.is_empty() { Wait::Until(Timestamp::NEVER) } else { Wait::Poll }
    }
}

impl TestQueue {
    /// Overwrites the second half of each block that was read by what a write in flight brings.
    fn mix(&self, read: &Request) {
        let is_on_the_same =
            |one: &&InFlight| matches!(one.request.op, Op::Write { .. }) && one.request.range == read.range;
        let Some(write) = self.in_flight.iter().find(is_on_the_same) else { return };
        let mut half = [0; BLOCK / 2];
        for at in (BLOCK / 2..usize::try_from(read.data.bytes()).unwrap()).step_by(BLOCK) {
            write.request.data.read(at as u64, &mut half).unwrap();
            read.data.device_write(at as u64, &half).unwrap();
        }
    }
}

impl State {
    fn end(&mut self, ended: InFlight, fault: Fault, every: u64) -> Completion {
        let InFlight { mut request, covered, incarnation } = ended;
        let write = matches!(request.op, Op::Write { .. });
        self.writes += u64::from(write);
        let strikes = write && self.writes.is_multiple_of(every);
        if strikes && matches!(fault, Fault::Reset | Fault::Forget) {
            self.reset(fault == Fault::Forget);
        }
        self.removed |= strikes && fault == Fault::Remove;
        let result = if self.removed {
            Err(IoError::Gone)
        } else if incarnation != self.incarnation {
            Err(IoError::Reset)
        } else {
            self.carry_out(&mut request, &covered, if strikes { fault } else { Fault::None })
        };
        Completion { request, result }
    }

    fn carry_out(
        &mut self,
        request: &mut Request,
        covered: &(Vec<u8>, Vec<u64>),
        fault: Fault,
    ) -> Result<(), IoError> {
        let at = usize::try_from(request.range.start.0).unwrap() * BLOCK;
        match request.op {
            Op::Read => {
                let bytes = usize::try_from(request.data.bytes()).unwrap();
                request.data.device_write(0, &self.media[at..at + bytes]).unwrap();
                Ok(())
            }
            Op::Write { fua } => {
                let mut bytes = vec![0; usize::try_from(request.data.bytes()).unwrap()];
                request.data.read(0, &mut bytes).unwrap();
                let result = self.write(at, bytes.clone(), fault);
                if fault == Fault::Zombie {
                    request.data = ScatterList::default();
                }
                if fua {
                    let blocks = at / BLOCK..(at + bytes.len()) / BLOCK;
                    let (media, writes) = (self.media.clone(), self.media_writes.clone());
                    blocks.for_each(|block| self.make_durable(block, &media, &writes));
                }
                result
            }
            Op::Flush => {
                (0..covered.1.len()).for_each(|block| self.make_durable(block, &covered.0, &covered.1));
                Ok(())
            }
            _ => Err(IoError::NotSupported),
        }
    }

    /// A flush that was overtaken by a later one takes nothing back.
    fn make_durable(&mut self, block: usize, media: &[u8], writes: &[u64]) {
        if writes[block] > self.durable_writes[block] {
            let bytes = block * BLOCK..(block + 1) * BLOCK;
            self.durable[bytes.clone()].copy_from_slice(&media[bytes]);
            self.durable_writes[block] = writes[block];
        }
    }

    fn store(&mut self, at: usize, bytes: &[u8]) {
        self.media[at..at + bytes.len()].copy_from_slice(bytes);
        self.media_writes[at / BLOCK..(at + bytes.len()) / BLOCK].fill(self.writes);
    }

    fn write(&mut self, at: usize, mut bytes: Vec<u8>, fault: Fault) -> Result<(), IoError> {
        let end = at + bytes.len();
        match fault {
            Fault::Lose => return Ok(()),
            Fault::Tear => {
                for (new, old) in bytes.chunks_mut(BLOCK).zip(self.media[at..end].chunks(BLOCK)) {
                    new[BLOCK / 2..].copy_from_slice(&old[BLOCK / 2..]);
                }
            }
            Fault::Misplace => {
                let at = (at + BLOCK) % (self.media.len() - bytes.len() + BLOCK);
                self.store(at, &bytes);
                return Ok(());
            }
            Fault::Zero => bytes.fill(0),
            Fault::Fail if self.rng.below(2) == 0 => return Err(IoError::Os { errno: 5 }),
            Fault::Zombie => {
                self.zombies.push((at, bytes));
                return Err(IoError::TimedOut);
            }
            _ => {}
        }
        self.store(at, &bytes);
        if fault == Fault::Fail { Err(IoError::Os { errno: 5 }) } else { Ok(()) }
    }

    /// Each block of the media keeps what it has, or falls back to what is durable. (A cache that kept every version
    /// could bring any of them back; the history allows that, and its own tests show it.)
    fn reset(&mut self, forget: bool) {
        self.incarnation += 1;
        self.zombies.clear();
        for (new, old) in self.media.chunks_mut(BLOCK).zip(self.durable.chunks(BLOCK)) {
            if forget {
                new.fill(0xee);
            } else if self.rng.below(2) == 0 {
                new.copy_from_slice(old);
            }
        }
        self.durable.clone_from(&self.media);
        self.durable_writes.clone_from(&self.media_writes);
    }

    fn wake_zombies(&mut self) {
        if !self.zombies.is_empty() && self.rng.below(20) == 0 {
            let (at, bytes) = self.zombies.swap_remove(0);
            self.store(at, &bytes);
        }
    }
}
