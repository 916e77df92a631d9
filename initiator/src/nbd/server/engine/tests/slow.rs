//! A device of memory whose requests take turns: each poll carries out some, in an order of a seed's choice.

use std::collections::VecDeque;
use std::os::fd::RawFd;
use std::sync::{Arc, Mutex};

use block::{
    Abilities, Access, BlockDevice, BlockQueue, BlockSize, ClaimTable, Completion, Event, Extent,
    ExtentsError, Geometry, Identity, Incarnation, IoError, MemDevice, Op, OpenQueueError, QueueOptions,
    Request, Timestamp, Wait, WriteCache,
};
use dma::{AttachError, Region};

/// What a test does to the device, and sees of it.
#[derive(Default)]
pub struct Knobs {
    /// Nothing ends while this is set.
    pub held: bool,
    /// Reported at the next poll.
    pub events: Vec<Event>,
    /// Requests of this kind fail.
    pub fails: Option<fn(&Op) -> bool>,
    /// What was asked of the device, in order.
    pub seen: Vec<Op>,
}

pub struct SlowDevice {
    inner: Arc<MemDevice>,
    without: Abilities,
    pub knobs: Arc<Mutex<Knobs>>,
    seed: u64,
}

impl SlowDevice {
    pub fn new(block_size: BlockSize, bytes: u64, without: Abilities, seed: u64) -> Self {
        let inner = MemDevice::new("slow", block_size, bytes, Access::ReadWrite).unwrap();
        Self { inner: Arc::new(inner), without, knobs: Arc::default(), seed }
    }
}

pub fn began_anew(times: u64) -> Event {
    Event::IncarnationChanged(Incarnation(times))
}

impl BlockDevice for SlowDevice {
    fn name(&self) -> &str {
        "slow"
    }

    fn geometry(&self) -> Geometry {
        Geometry { write_cache: WriteCache::Volatile, ..self.inner.geometry() }
    }

    fn identity(&self) -> Identity {
        self.inner.identity()
    }

    fn abilities(&self) -> Abilities {
        self.inner.abilities() - self.without
    }

    fn attach_memory(&self, region: &Region) -> Result<(), AttachError> {
        self.inner.attach_memory(region)
    }

    fn open_queue(&self, options: QueueOptions) -> Result<Box<dyn BlockQueue>, OpenQueueError> {
        Ok(Box::new(SlowQueue {
            inner: self.inner.open_queue(options)?,
            waiting: Vec::new(),
            depth: options.depth as usize,
            knobs: Arc::clone(&self.knobs),
            random: self.seed | 1,
        }))
    }

    fn claims(&self) -> &ClaimTable {
        self.inner.claims()
    }

    fn extents(&self, range: block::BlockRange) -> Result<Vec<Extent>, ExtentsError> {
        self.inner.extents(range)
    }
}

struct SlowQueue {
    inner: Box<dyn BlockQueue>,
    waiting: Vec<Request>,
    depth: usize,
    knobs: Arc<Mutex<Knobs>>,
    random: u64,
}

impl SlowQueue {
    /// xorshift64: an order that a seed repeats.
    fn below(&mut self, limit: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        usize::try_from(self.random % limit as u64).unwrap()
    }
}

impl BlockQueue for SlowQueue {
    fn submit(&mut self, requests: &mut VecDeque<Request>, _now: Timestamp) {
        let mut knobs = self.knobs.lock().unwrap();
        while self.waiting.len() < self.depth
            && let Some(request) = requests.pop_front()
        {
            knobs.seen.push(request.op);
            self.waiting.push(request);
        }
    }

    fn poll(&mut self, completions: &mut Vec<Completion>, now: Timestamp) {
        let (held, fails) = {
            let knobs = self.knobs.lock().unwrap();
            (knobs.held, knobs.fails)
        };
        if held || self.waiting.is_empty() {
            return;
        }
        for _ in 0..=self.below(3) {
            if self.waiting.is_empty() {
                break;
            }
            let at = self.below(self.waiting.len());
            let request = self.waiting.swap_remove(at);
            if fails.is_some_and(|fails| fails(&request.op)) {
                completions.push(Completion { request, result: Err(IoError::Os { errno: 5 }) });
                continue;
            }
            self.inner.submit(&mut VecDeque::from([request]), now);
            self.inner.poll(completions, now);
        }
    }

    fn poll_event(&mut self) -> Option<Event> {
        self.knobs.lock().unwrap().events.pop()
    }

    fn depth(&self) -> usize {
        self.depth
    }

    fn in_flight(&self) -> usize {
        self.waiting.len()
    }

    fn wake_descriptors(&self, _descriptors: &mut Vec<RawFd>) {}

    fn prepare_wait(&mut self, _now: Timestamp) -> Wait {
        if self.waiting.is_empty() { Wait::Until(Timestamp::NEVER) } else { Wait::Poll }
    }
}
