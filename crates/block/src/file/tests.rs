use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::Duration;

use dma::{MemoryOptions, Pool, PoolOptions, ScatterList};
use nvme_spec::Lba;
use tempfile::TempDir;

use super::*;
use crate::device::ExtentKind;
use crate::error::IoError;
use crate::event::Event;
use crate::queue::{Completion, Wait, WakeMode};
use crate::request::{Op, Request};
use crate::sleep::Sleeper;
use crate::time::{MonotonicClock, Timestamp};

const OPTIONS: FileOptions =
    FileOptions { access: Access::ReadWrite, block_size: None, size: Some(1 << 20), direct: Some(false) };

struct Bench {
    folder: TempDir,
    clock: MonotonicClock,
}

impl Bench {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), clock: MonotonicClock::start() }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("disk")
    }

    fn open(&self, options: FileOptions) -> Result<FileDevice, OpenError> {
        FileDevice::open(&self.path(), "file:disk", options)
    }

    fn error(&self, options: FileOptions) -> String {
        self.open(options).map(|_| ()).unwrap_err().to_string()
    }

    /// Submits requests and sleeps until all have ended.
    fn run(
        &self,
        queue: &mut dyn BlockQueue,
        requests: impl IntoIterator<Item = Request>,
    ) -> Vec<Completion> {
        let mut sleeper = Sleeper::new().unwrap();
        let mut descriptors = Vec::new();
        queue.wake_descriptors(&mut descriptors);
        descriptors.iter().for_each(|descriptor| sleeper.add(*descriptor).unwrap());
        let mut requests: VecDeque<_> = requests.into_iter().collect();
        let mut completions = Vec::new();
        while !requests.is_empty() || queue.in_flight() > 0 {
            queue.submit(&mut requests, self.clock.now());
            if let Wait::Until(until) = queue.prepare_wait(self.clock.now()) {
                sleeper.sleep_until(self.clock.now(), until).unwrap();
            }
            queue.poll(&mut completions, self.clock.now());
        }
        completions
    }
}

fn queue(device: &FileDevice, depth: u32) -> Box<dyn BlockQueue> {
    device.open_queue(QueueOptions { depth, wake: WakeMode::Polled }).unwrap()
}

fn pool(device: &FileDevice, chunk_bytes: u32, chunks: u32) -> Pool {
    let memory = MemoryOptions { ordinary_pages: true, ..Default::default() };
    let pool = Pool::new(PoolOptions { chunk_bytes, chunks, memory }).unwrap();
    device.attach_memory(pool.region()).unwrap();
    pool
}

fn data(pool: &Pool, value: u8) -> ScatterList {
    let mut buffer = pool.take().unwrap();
    buffer.fill(0, buffer.bytes(), value).unwrap();
    buffer.into_segment().into()
}

fn range(start: u64, blocks: u64) -> BlockRange {
    BlockRange::new(Lba(start), blocks)
}

#[test]
fn a_file_is_made_extended_and_never_made_shorter() {
    let bench = Bench::new();
    assert_eq!(bench.error(FileOptions { size: None, ..OPTIONS }), "file:disk: not found");
    assert_eq!(bench.open(OPTIONS).unwrap().geometry().blocks, 2048);
    assert_eq!(bench.open(FileOptions { size: Some(2 << 20), ..OPTIONS }).unwrap().geometry().blocks, 4096);
    assert!(bench.error(OPTIONS).contains("files are not made shorter"));
    let as_found = FileOptions { size: None, block_size: Some(BlockSize::B4096), ..OPTIONS };
    assert_eq!(bench.open(as_found).unwrap().geometry().blocks, 512);
}

#[test]
fn one_writer_or_several_readers() {
    let bench = Bench::new();
    let read = FileOptions { access: Access::Read, size: None, ..OPTIONS };
    let writer = bench.open(OPTIONS).unwrap();
    assert!(matches!(bench.open(OPTIONS), Err(OpenError::InUse { .. })));
    assert!(matches!(bench.open(read), Err(OpenError::InUse { .. })));
    drop(writer);
    let readers = (bench.open(read).unwrap(), bench.open(read).unwrap());
    assert!(matches!(bench.open(OPTIONS), Err(OpenError::InUse { .. })));
    assert!(!readers.0.abilities().contains(Abilities::WRITE));
}

#[test]
fn what_is_no_disk_is_refused() {
    let bench = Bench::new();
    std::fs::create_dir(bench.path()).unwrap();
    assert_eq!(bench.error(OPTIONS), "file:disk: it is neither a file nor a block device");
    std::fs::remove_dir(bench.path()).unwrap();
    std::fs::write(bench.path(), b"short").unwrap();
    assert!(bench.error(FileOptions { size: None, ..OPTIONS }).contains("5 bytes are less than a block"));
}

#[test]
fn the_bytes_are_where_they_belong_in_the_file() {
    let bench = Bench::new();
    let device = bench.open(OPTIONS).unwrap();
    let pool = pool(&device, 512, 2);
    let list: ScatterList = [1, 2].into_iter().flat_map(|value| data(&pool, value).into_segments()).collect();
    let mut queue = queue(&device, 4);
    let done = bench.run(&mut *queue, [Request::new(Op::Write { fua: true }, range(3, 2), list)]);
    assert_eq!(done[0].result, Ok(()));
    let bytes = std::fs::read(bench.path()).unwrap();
    assert!(
        bytes[1536..2048].iter().all(|byte| *byte == 1) && bytes[2048..2560].iter().all(|byte| *byte == 2)
    );
    assert_eq!(bytes.iter().filter(|byte| **byte != 0).count(), 1024);
}

#[test]
fn a_file_that_became_shorter_gives_errors_and_then_its_new_size() {
    let bench = Bench::new();
    let device = bench.open(OPTIONS).unwrap();
    let pool = pool(&device, 4096, 2);
    let mut queue = queue(&device, 4);
    std::fs::File::options().write(true).open(bench.path()).unwrap().set_len(2048).unwrap();
    let read = |start| Request::new(Op::Read, range(start, 8), data(&pool, 0));
    let done = bench.run(&mut *queue, [read(0), read(1024)]);
    assert!(done.iter().all(|completion| completion.result == Err(IoError::Os { errno: 5 })));
    drop(done);
    let later = bench.clock.now().after(Duration::from_secs(2));
    queue.poll(&mut Vec::new(), later);
    assert!(matches!(queue.poll_event(), Some(Event::Resized(geometry)) if geometry.blocks == 4));
    assert_eq!(queue.poll_event(), None);
    std::fs::File::options().write(true).open(bench.path()).unwrap().set_len(4096).unwrap();
    assert_eq!(queue.poll_event(), None, "the size is looked at once a second");
    queue.poll(&mut Vec::new(), later.after(Duration::from_secs(1)));
    assert!(matches!(queue.poll_event(), Some(Event::Resized(geometry)) if geometry.blocks == 8));
}

#[test]
fn a_failed_flush_is_a_new_incarnation_for_every_queue() {
    let bench = Bench::new();
    let device = bench.open(OPTIONS).unwrap();
    let (mut first, mut second) = (queue(&device, 1), queue(&device, 1));
    device.shared.learned.lost_writes.store(1, std::sync::atomic::Ordering::Relaxed);
    for queue in [&mut first, &mut second] {
        assert!(matches!(queue.poll_event(), Some(Event::IncarnationChanged(_))));
        assert_eq!(queue.poll_event(), None);
    }
}

#[test]
fn a_device_that_is_gone_refuses_everything() {
    let bench = Bench::new();
    let device = bench.open(OPTIONS).unwrap();
    let mut queue = queue(&device, 1);
    device.shared.learned.gone.store(true, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(queue.poll_event(), Some(Event::Removed));
    assert_eq!(bench.run(&mut *queue, [Request::flush()])[0].result, Err(IoError::Gone));
}

#[test]
fn the_deepest_queue_can_be_made_and_no_deeper() {
    let bench = Bench::new();
    let device = bench.open(OPTIONS).unwrap();
    let mut deepest = queue(&device, engine::DEPTH_MAX);
    assert_eq!(bench.run(&mut *deepest, [Request::flush()])[0].result, Ok(()));
    let deeper = QueueOptions { depth: engine::DEPTH_MAX + 1, wake: WakeMode::Polled };
    assert!(matches!(device.open_queue(deeper), Err(OpenQueueError::Depth { .. })));
}

#[test]
fn extents_are_data_and_holes() {
    let bench = Bench::new();
    let device = bench.open(OPTIONS).unwrap();
    let pool = pool(&device, 65_536, 1);
    let mut queue = queue(&device, 1);
    bench.run(&mut *queue, [Request::new(Op::Write { fua: true }, range(256, 128), data(&pool, 1))]);
    let extent = |start, blocks, kind| Extent { range: range(start, blocks), kind };
    let found = device.extents(range(8, 2000)).unwrap();
    assert_eq!(
        found,
        [
            extent(8, 248, ExtentKind::Hole),
            extent(256, 128, ExtentKind::Data),
            extent(384, 1624, ExtentKind::Hole)
        ]
    );
    assert!(matches!(device.extents(range(2048, 1)), Err(ExtentsError::Range)));
}

/// Reads from a file system that is asked in a loop are finished by the kernel at some time: whoever drops the queue at
/// once sees all memory come back, and the file closed.
#[test]
fn a_dropped_queue_gives_back_its_memory_when_the_kernel_is_done() {
    let bench = Bench::new();
    let device = bench.open(FileOptions { size: Some(256 << 20), ..OPTIONS }).unwrap();
    let pool = pool(&device, 1 << 20, 64);
    for _ in 0..4 {
        let mut queue = queue(&device, 64);
        let mut requests: VecDeque<_> = (0..64)
            .map(|at| Request::new(Op::Write { fua: true }, range(at * 2048, 2048), data(&pool, 7)))
            .collect();
        queue.submit(&mut requests, bench.clock.now());
        drop(queue);
        let started = bench.clock.now();
        while pool.available() < 64 {
            assert!(
                bench.clock.now().since(started) < Duration::from_secs(30),
                "{} chunks",
                pool.available()
            );
            Sleeper::new().unwrap().sleep_until(Timestamp::default(), Timestamp::from_ns(1_000_000)).unwrap();
        }
    }
}

/// The deadline passes while the kernel writes: the request comes back at once without its memory, and the memory comes
/// back to its pool later.
#[test]
fn a_deadline_is_kept_though_the_kernel_is_slow() {
    let bench = Bench::new();
    let device = bench.open(FileOptions { size: Some(64 << 20), ..OPTIONS }).unwrap();
    let pool = pool(&device, 1 << 20, 32);
    let mut queue = queue(&device, 32);
    let deadline = Timestamp::from_ns(1_000);
    let write = |at| Request::new(Op::Write { fua: true }, range(at * 2048, 2048), data(&pool, 7));
    let mut requests: VecDeque<_> =
        (0..32).map(|at| write(at).with_deadline(deadline).with_tag(at)).collect();
    queue.submit(&mut requests, Timestamp::default());
    let mut completions = Vec::new();
    queue.poll(&mut completions, deadline);
    assert_eq!((completions.len(), queue.in_flight()), (32, 0));
    let mut tags: Vec<_> = completions.iter().map(|completion| completion.request.tag).collect();
    tags.sort_unstable();
    assert_eq!(tags, (0..32).collect::<Vec<_>>());
    let without = |c: &&Completion| c.result == Err(IoError::TimedOut) && c.request.data.bytes() == 0;
    let timed_out = completions.iter().filter(without).count();
    assert!(timed_out > 0, "the kernel wrote 32 MiB durably before the first look");
    drop(completions);
    // While the kernel is busy, the next one is not with it, or only just: it is answered in time too.
    let later = Timestamp::from_ns(2_000);
    queue.submit(&mut VecDeque::from([Request::flush().with_deadline(later)]), deadline);
    let mut completions = Vec::new();
    queue.poll(&mut completions, later);
    assert_eq!((completions.len(), queue.in_flight()), (1, 0));
    drop(completions);
    // The queue is of use though the kernel is busy, and gives the memory back as the kernel lets go.
    let flush = bench.run(&mut *queue, [Request::flush()]);
    assert_eq!(flush[0].result, Ok(()));
    while pool.available() < 32 {
        queue.poll(&mut Vec::new(), bench.clock.now());
        Sleeper::new().unwrap().sleep_until(Timestamp::default(), Timestamp::from_ns(1_000_000)).unwrap();
    }
}
