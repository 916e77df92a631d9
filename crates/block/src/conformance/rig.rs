//! What drives a device in a test: a queue, memory, a clock, and patience with an end.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use dma::{MemoryOptions, Pool, PoolOptions, ScatterList, Segment};
use nvme_spec::Lba;

use super::Subject;
use super::pattern::{self, Dice};
use crate::device::BlockDevice;
use crate::error::IoError;
use crate::geometry::Geometry;
use crate::queue::{BlockQueue, Completion, QueueOptions, Wait, WakeMode};
use crate::request::{BlockRange, Op, Request};
use crate::sleep::Sleeper;
use crate::time::{MonotonicClock, Timestamp};

/// Bytes of a chunk of the test's memory: the largest data of a request.
pub(super) const CHUNK_BYTES: u32 = 65_536;

/// Chunks of the test's memory.
pub(super) const CHUNKS: u32 = 64;

/// Most segments of a request of the test: [`CHUNKS`] are enough for a dozen requests.
const SEGMENTS_MAX: u16 = 5;

/// How long a test waits for anything before it fails.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// A device with a queue of the calling thread.
pub(super) struct Rig {
    pub(super) device: Arc<dyn BlockDevice>,
    pub(super) queue: Box<dyn BlockQueue>,
    pub(super) pool: Pool,
    pub(super) clock: MonotonicClock,
    pub(super) keeps_data: bool,
}

impl Rig {
    pub(super) fn new(subject: &Subject, depth: u32) -> Self {
        Self::on((subject.make)(), subject.keeps_data, depth)
    }

    pub(super) fn on(device: Arc<dyn BlockDevice>, keeps_data: bool, depth: u32) -> Self {
        let queue = open_queue(&device, depth);
        let pool = pool();
        device.attach_memory(pool.region()).unwrap();
        Self { device, queue, pool, clock: MonotonicClock::start(), keeps_data }
    }

    /// Another queue on the same device.
    pub(super) fn beside(&self, depth: u32) -> Self {
        Self::on(Arc::clone(&self.device), self.keeps_data, depth)
    }

    pub(super) fn geometry(&self) -> Geometry {
        self.device.geometry()
    }

    pub(super) fn block_bytes(&self) -> usize {
        self.geometry().block_size.bytes() as usize
    }

    /// Most blocks that one request of the test has.
    pub(super) fn blocks_max(&self) -> u64 {
        let geometry = self.geometry();
        u64::from((CHUNK_BYTES >> geometry.block_size.shift()).min(geometry.limits.transfer_blocks_max))
    }

    pub(super) fn has(&self, op: Op) -> bool {
        self.device.abilities().check(op).is_ok()
    }

    /// Memory with these bytes, in one segment.
    pub(super) fn data(&self, bytes: &[u8]) -> ScatterList {
        self.segment(bytes).into()
    }

    pub(super) fn segment(&self, bytes: &[u8]) -> Segment {
        let mut buffer = self.pool.take().expect("the test holds too much memory");
        buffer.write(0, bytes).unwrap();
        buffer.truncate(u32::try_from(bytes.len()).unwrap());
        buffer.into_segment()
    }

    /// Memory with these bytes in as many segments as the dice and the device's limits say.
    pub(super) fn scattered(&self, bytes: &[u8], dice: &mut Dice) -> ScatterList {
        let limits = self.geometry().limits;
        let unit = u64::from(limits.seam_alignment.max(limits.segment_alignment));
        let segments_max = u64::from(limits.segments_max.min(SEGMENTS_MAX));
        let mut list = ScatterList::default();
        let mut rest = bytes;
        for left in (0..segments_max).rev() {
            let most = rest.len() as u64 / unit;
            let cut = if left == 0 || most == 0 {
                rest.len()
            } else {
                (1 + dice.below(most)) as usize * unit as usize
            };
            let (now, later) = rest.split_at(cut.min(rest.len()));
            list.push(self.segment(now));
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        list
    }

    /// Memory of the length that an operation on so many blocks wants.
    pub(super) fn data_for(&self, op: Op, blocks: u64) -> ScatterList {
        if op.has_data() {
            self.data(&vec![0; blocks as usize * self.block_bytes()])
        } else {
            ScatterList::default()
        }
    }

    /// Runs one request and says how it ended.
    pub(super) fn result(&mut self, op: Op, range: BlockRange, data: ScatterList) -> Result<(), IoError> {
        self.run([Request::new(op, range, data)]).remove(0).result
    }

    /// Runs one request on as much memory as it wants.
    pub(super) fn try_op(&mut self, op: Op, start: u64, blocks: u64) -> Result<(), IoError> {
        let data = self.data_for(op, blocks);
        self.result(op, BlockRange::new(Lba(start), blocks), data)
    }

    /// Writes blocks in a version.
    pub(super) fn write(&mut self, start: u64, blocks: u64, version: u64) {
        let data = self.data(&pattern::blocks(start, blocks, version, self.block_bytes()));
        let range = BlockRange::new(Lba(start), blocks);
        assert_eq!(self.result(Op::Write { fua: false }, range, data), Ok(()));
    }

    /// Reads blocks.
    pub(super) fn read(&mut self, start: u64, blocks: u64) -> Vec<u8> {
        let data = self.data(&vec![0xee; blocks as usize * self.block_bytes()]);
        let done = self.run([Request::new(Op::Read, BlockRange::new(Lba(start), blocks), data)]).remove(0);
        assert_eq!(done.result, Ok(()));
        bytes_of(&done.request.data)
    }

    /// Reads blocks, each of which must be in this version.
    pub(super) fn expect(&mut self, start: u64, blocks: u64, version: u64) {
        let found = self.read(start, blocks);
        if self.keeps_data {
            let wanted = pattern::blocks(start, blocks, version, self.block_bytes());
            assert!(found == wanted, "blocks {start}+{blocks} are not in version {version}");
        }
    }

    /// Submits requests and sleeps as the queue says until all have ended.
    pub(super) fn run(&mut self, requests: impl IntoIterator<Item = Request>) -> Vec<Completion> {
        let mut requests: VecDeque<_> = requests.into_iter().collect();
        let mut completions = Vec::new();
        let end = self.clock.now().after(PATIENCE);
        while !requests.is_empty() || self.queue.in_flight() > 0 {
            self.queue.submit(&mut requests, self.clock.now());
            self.wait(end);
            self.queue.poll(&mut completions, self.clock.now());
        }
        completions
    }

    /// Sleeps as the queue says.
    pub(super) fn wait(&mut self, end: Timestamp) {
        let now = self.clock.now();
        assert!(now < end, "{} requests have not ended in {PATIENCE:?}", self.queue.in_flight());
        if let Wait::Until(until) = self.queue.prepare_wait(now) {
            sleeper(&*self.queue).sleep_until(now, until.min(end)).unwrap();
        }
    }
}

pub(super) fn pool() -> Pool {
    let memory = MemoryOptions { ordinary_pages: true, ..Default::default() };
    Pool::new(PoolOptions { chunk_bytes: CHUNK_BYTES, chunks: CHUNKS, memory }).unwrap()
}

pub(super) fn open_queue(device: &Arc<dyn BlockDevice>, depth: u32) -> Box<dyn BlockQueue> {
    device.open_queue(QueueOptions { depth, wake: WakeMode::default() }).unwrap()
}

/// A sleeper on a queue's descriptors.
pub(super) fn sleeper(queue: &dyn BlockQueue) -> Sleeper {
    let mut sleeper = Sleeper::new().unwrap();
    let mut descriptors = Vec::new();
    queue.wake_descriptors(&mut descriptors);
    descriptors.into_iter().for_each(|descriptor| sleeper.add(descriptor).unwrap());
    sleeper
}

pub(super) fn bytes_of(data: &ScatterList) -> Vec<u8> {
    let mut bytes = vec![0; data.bytes() as usize];
    data.read(0, &mut bytes).unwrap();
    bytes
}
