//! A controller, a software SSD and a clock, all stepped by hand: nothing happens that a test did not ask for.
#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use block::{BlockQueue, BlockRange, Completion, Event, Lba, Op, QueueOptions, Request, Timestamp, WakeMode};
use dma::{DmaBuf, MemoryOptions, Pool, PoolOptions, ScatterList};
use nvme_driver::{DriverOptions, IoQueue, SteppedController};
use nvme_model::{ControllerOptions, Media, MemoryMedia, NamespaceOptions, Ssd, SteppedSsd};
use nvme_spec::Nsid;

pub const NSID: Nsid = Nsid(1);
pub const BLOCKS: u64 = 4096;
pub const BLOCK_BYTES: u32 = 512;
/// Chunks of the rig's pool; a test that leaks one fails.
pub const CHUNKS: u32 = 64;
pub const CHUNK_BYTES: u32 = 16 * 1024;

pub type Queue = IoQueue<Arc<SteppedSsd>>;

pub struct Rig {
    pub ssd: Arc<SteppedSsd>,
    pub controller: SteppedController<Arc<SteppedSsd>>,
    pub queue: Option<Queue>,
    pub pool: Pool,
    pub now: Timestamp,
    pub requests: VecDeque<Request>,
    pub completions: Vec<Completion>,
    pub events: Vec<Event>,
}

/// The generator of Steele, Lea and Flood's "Fast splittable pseudorandom number generators".
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub fn one_in(&mut self, chances: u64) -> bool {
        self.below(chances) == 0
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[usize::try_from(self.below(from.len() as u64)).unwrap()]
    }
}

pub fn driver_options() -> DriverOptions {
    DriverOptions {
        io_queues: 4,
        command_timeout: Duration::from_secs(10),
        abort_timeout: Duration::from_secs(2),
        admin_timeout: Duration::from_secs(10),
        ..DriverOptions::default()
    }
}

impl Rig {
    /// A rig whose controller has not been stepped yet.
    pub fn cold(model: ControllerOptions, driver: DriverOptions) -> Self {
        Self::cold_on(MemoryMedia::new(BLOCK_BYTES, BLOCKS), model, driver)
    }

    pub fn cold_on(media: impl Media + 'static, model: ControllerOptions, driver: DriverOptions) -> Self {
        // A failing test shows what the driver said.
        let _ = tracing_subscriber::fmt().with_test_writer().without_time().try_init();
        let ssd = Arc::new(SteppedSsd::new(model));
        ssd.ssd().add_namespace(NSID, NamespaceOptions::default(), media).unwrap();
        let now = Timestamp::from_ns(1_000_000_000);
        let controller = SteppedController::begin(Arc::clone(&ssd), driver, now).unwrap();
        let memory = MemoryOptions { ordinary_pages: true, ..MemoryOptions::default() };
        let pool = Pool::new(PoolOptions { chunk_bytes: CHUNK_BYTES, chunks: CHUNKS, memory }).unwrap();
        nvme_driver::PciFunction::attach(&ssd, pool.region()).unwrap();
        Self {
            ssd,
            controller,
            queue: None,
            pool,
            now,
            requests: VecDeque::new(),
            completions: Vec::new(),
            events: Vec::new(),
        }
    }

    /// A rig with a live controller and a queue that can be used.
    pub fn live() -> Self {
        Self::live_with(ControllerOptions::default(), driver_options())
    }

    pub fn live_with(model: ControllerOptions, driver: DriverOptions) -> Self {
        let mut rig = Self::cold(model, driver);
        rig.come_up();
        rig
    }

    pub fn come_up(&mut self) {
        self.run_until("live", |rig| rig.controller.state() == "live");
        self.open_queue(WakeMode::Polled);
    }

    pub fn open_queue(&mut self, wake: WakeMode) {
        let queue = self.controller.begin_queue(NSID, QueueOptions { depth: 32, wake }).unwrap();
        self.queue = Some(queue);
        self.run_until("attached", |rig| rig.queue.as_mut().unwrap().attachment().unwrap());
    }

    pub fn ssd(&self) -> &Ssd {
        self.ssd.ssd()
    }

    /// Lets everybody work at this moment: device, core, queue.
    pub fn work(&mut self) {
        self.ssd.run(self.now, 1000);
        self.controller.step(self.now);
        self.poll();
        self.ssd.run(self.now, 1000);
    }

    pub fn poll(&mut self) {
        let Some(queue) = &mut self.queue else { return };
        queue.submit(&mut self.requests, self.now);
        queue.poll(&mut self.completions, self.now);
        self.events.extend(std::iter::from_fn(|| queue.poll_event()));
    }

    pub fn advance(&mut self, by: Duration) {
        self.now = self.now.after(by);
    }

    /// Works and lets time pass until it is so; fails if it is not within ten virtual minutes.
    pub fn run_until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        let end = self.now.after(Duration::from_secs(600));
        // Small steps first: what happens at once shall not cost virtual time that another timeout counts.
        let mut step = Duration::from_micros(1);
        while self.now < end {
            self.work();
            if done(self) {
                return;
            }
            self.advance(step);
            step = (step * 2).min(Duration::from_millis(100));
        }
        panic!(
            "not {what} in ten minutes; the controller is {}: {:?}",
            self.controller.state(),
            self.controller.epitaph()
        );
    }

    pub fn run_for(&mut self, time: Duration) {
        let end = self.now.after(time);
        while self.now < end {
            self.work();
            self.advance(Duration::from_millis(50).min(time / 4));
        }
        self.work();
    }

    pub fn buffer(&self, blocks: u32, byte: u8) -> DmaBuf {
        let mut buffer = self.pool.take().expect("a chunk is free");
        buffer.truncate(blocks * BLOCK_BYTES);
        buffer.fill(0, blocks * BLOCK_BYTES, byte).unwrap();
        buffer
    }

    pub fn request(&self, op: Op, start: u64, blocks: u32, byte: u8) -> Request {
        let data = if op.has_data() {
            self.buffer(blocks, byte).into_segment().into()
        } else {
            ScatterList::default()
        };
        let range = if op.has_range() {
            BlockRange::new(Lba(start), u64::from(blocks))
        } else {
            BlockRange::default()
        };
        Request::new(op, range, data)
    }

    pub fn submit(&mut self, request: Request) {
        self.requests.push_back(request);
        self.poll();
    }

    /// Runs one request to its end.
    pub fn execute(&mut self, request: Request) -> Completion {
        self.submit(request);
        self.run_until("completed", |rig| !rig.completions.is_empty());
        assert_eq!(self.completions.len(), 1, "one request, one completion");
        self.completions.pop().unwrap()
    }

    /// Writes and reads back: whatever happened before, the device works now.
    pub fn check_works(&mut self, byte: u8) {
        let write = self.request(Op::Write { fua: false }, 100, 8, byte);
        assert_eq!(self.execute(write).result, Ok(()));
        let read = self.request(Op::Read, 100, 8, !byte);
        let completion = self.execute(read);
        assert_eq!(completion.result, Ok(()));
        let mut bytes = vec![0; (8 * BLOCK_BYTES) as usize];
        completion.request.data.read(0, &mut bytes).unwrap();
        assert!(bytes.iter().all(|found| *found == byte), "what was written is read");
    }

    /// The driver told the device nothing wrong, and the device touched nothing that it was not given.
    pub fn check_sane(&self) {
        let stats = self.ssd().stats();
        assert_eq!(
            stats.invalid_doorbells, 0,
            "doorbells of queues that do not exist, or with impossible values"
        );
        // A controller that was given up while it worked finds out that it is no bus master any more.
        let mut faults = self.ssd().dma_faults();
        faults.retain(|fault| !fault.bus_master_off || self.controller.state() != "over");
        assert_eq!(faults, [], "accesses to memory that is not mapped");
    }

    /// Waits for the controller to be live or over and opens a queue, at the second try if the first is refused.
    pub fn try_to_come_up(&mut self) -> bool {
        for _ in 0..2 {
            self.run_until("decided", |rig| matches!(rig.controller.state(), "live" | "over"));
            if self.controller.state() == "over" {
                return false;
            }
            let options = QueueOptions { depth: 32, wake: WakeMode::Polled };
            let Ok(queue) = self.controller.begin_queue(NSID, options) else { continue };
            self.queue = Some(queue);
            let mut answer = Ok(false);
            self.run_until("decided", |rig| {
                answer = rig.queue.as_mut().unwrap().attachment();
                !matches!(answer, Ok(false))
            });
            if answer.is_ok() {
                return true;
            }
            self.queue = None;
            self.run_for(Duration::from_secs(1));
        }
        false
    }

    /// All memory has come back.
    pub fn check_no_leak(&self) {
        assert_eq!(self.pool.available(), CHUNKS as usize, "all chunks are back in the pool");
    }
}
