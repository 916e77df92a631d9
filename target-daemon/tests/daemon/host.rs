//! A host that is attached, and writes and reads for as long as it is let.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use block::{
    BlockDevice, BlockQueue, BlockRange, Completion, Event, IoError, Lba, MonotonicClock, Op, OpenOptions,
    QueueOptions, Request, WakeMode,
};
use dma::{MemoryOptions, Pool, PoolOptions};

use crate::rig::eventually;

/// Bytes of one write.
const BYTES: u32 = 4096;

/// How long nothing happens when nothing happens any more.
const STILL: Duration = Duration::from_millis(300);

/// Its name.
pub(crate) const HOST: &str = "nqn.2014-08.org.nvmexpress:uuid:6b9f0b52-7d63-4b0f-9d5b-0c1c8a4a9a01";

/// See the module's words.
pub(crate) struct Host {
    device: Arc<dyn BlockDevice>,
    rounds: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Seen>>,
}

/// What it has seen.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) errors: Vec<IoError>,
    pub(crate) events: Vec<Event>,
}

impl Host {
    /// Attaches to a namespace, and begins.
    pub(crate) fn attach(address: &str, nqn: &str, nsid: u32) -> Self {
        let uri = format!("rdma://{address}/{nqn}?ns={nsid}&hostnqn={HOST}");
        let device = target_daemon::devices::openers().open_text(&uri, &OpenOptions::READ_WRITE).unwrap();
        let (rounds, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let work = Work { device: Arc::clone(&device), rounds: Arc::clone(&rounds), stop: Arc::clone(&stop) };
        let thread = Some(thread::spawn(move || work.run()));
        let host = Self { device, rounds, stop, thread };
        host.goes_on();
        host
    }

    /// Waits until it has written and read some more.
    pub(crate) fn goes_on(&self) {
        let before = self.rounds.load(Ordering::Relaxed);
        eventually("the host's I/O goes on", || self.rounds.load(Ordering::Relaxed) > before + 3);
    }

    /// Whether it neither writes nor reads for a while.
    pub(crate) fn stands_still(&self) -> bool {
        let before = self.rounds.load(Ordering::Relaxed);
        thread::sleep(STILL);
        self.rounds.load(Ordering::Relaxed) == before
    }

    /// The device as it knows it.
    pub(crate) fn blocks(&self) -> u64 {
        self.device.geometry().blocks
    }

    /// Stops, and says what it has seen.
    pub(crate) fn leave(mut self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap()
    }

    /// Waits until its I/O has failed, and says what it has seen.
    pub(crate) fn fails(mut self) -> Seen {
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

struct Work {
    device: Arc<dyn BlockDevice>,
    rounds: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

impl Work {
    /// Until it is stopped, or fails.
    fn run(self) -> Seen {
        let memory = MemoryOptions { ordinary_pages: true, ..Default::default() };
        let pool = Pool::new(PoolOptions { chunk_bytes: BYTES, chunks: 2, memory }).unwrap();
        self.device.attach_memory(pool.region()).unwrap();
        let mut queue = self.device.open_queue(QueueOptions { depth: 4, wake: WakeMode::Polled }).unwrap();
        let mut seen = Seen::default();
        while !self.stop.load(Ordering::Relaxed) && seen.errors.is_empty() {
            let round = self.rounds.load(Ordering::Relaxed);
            if let Err(error) = write_and_read(&mut *queue, &pool, round) {
                seen.errors.push(error);
            }
            while let Some(event) = queue.poll_event() {
                seen.events.push(event);
            }
            self.rounds.fetch_add(1, Ordering::Relaxed);
        }
        seen
    }
}

fn write_and_read(queue: &mut dyn BlockQueue, pool: &Pool, round: u64) -> Result<(), IoError> {
    let byte = round.to_le_bytes()[0];
    let range = BlockRange::new(Lba(round % 8 * 8), 8);
    let mut buffer = pool.take().unwrap();
    buffer.fill(0, BYTES, byte).unwrap();
    carry_out(queue, Request::new(Op::Write { fua: false }, range, buffer.into_segment().into()))?;
    let mut buffer = pool.take().unwrap();
    buffer.fill(0, BYTES, !byte).unwrap();
    let request = carry_out(queue, Request::new(Op::Read, range, buffer.into_segment().into()))?;
    let mut read = [0; 4096];
    request.data.read(0, &mut read).unwrap();
    assert!(read.iter().all(|other| *other == byte), "what was written is read back");
    Ok(())
}

fn carry_out(queue: &mut dyn BlockQueue, request: Request) -> Result<Request, IoError> {
    let clock = MonotonicClock::start();
    let mut requests = VecDeque::from([request]);
    let mut completions: Vec<Completion> = Vec::new();
    while completions.is_empty() {
        queue.submit(&mut requests, clock.now());
        queue.poll(&mut completions, clock.now());
        thread::yield_now();
    }
    let Completion { request, result } = completions.remove(0);
    result.map(|()| request)
}
