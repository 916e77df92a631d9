//! What becomes of I/O when the association is lost, and of the association after that.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod small_target;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use block::{
    BlockDevice, BlockQueue, BlockRange, Completion, Event, IoError, Lba, MonotonicClock, Op, OpenOptions,
    Openers, QueueOptions, Request, Scheme, Sleeper, Timestamp, Wait, WakeMode,
};
use dma::{MemoryOptions, Pool, PoolOptions, ScatterList};
use initiator::open_rdma;
use small_target::{SmallTarget, info_of, open_device, subsystem};

const BLOCK_BYTES: u32 = 4096;
const PATIENCE: Duration = Duration::from_secs(30);

fn openers() -> Openers {
    let mut openers = Openers::default();
    openers.register(Scheme::Rdma, Box::new(open_rdma));
    openers
}

fn open(uri: &str) -> Arc<dyn BlockDevice> {
    openers().open_text(uri, &OpenOptions::READ_WRITE).unwrap()
}

fn refusal(uri: &str) -> String {
    match openers().open_text(uri, &OpenOptions::READ_WRITE) {
        Ok(_) => panic!("{uri} was opened"),
        Err(error) => error.to_string(),
    }
}

/// A queue, memory, and what came of it.
struct Rig {
    queue: Box<dyn BlockQueue>,
    pool: Pool,
    clock: MonotonicClock,
    sleeper: Sleeper,
    events: Vec<Event>,
}

impl Rig {
    fn new(device: &Arc<dyn BlockDevice>, depth: u32) -> Self {
        let memory = MemoryOptions { ordinary_pages: true, ..MemoryOptions::default() };
        let pool = Pool::new(PoolOptions { chunk_bytes: BLOCK_BYTES, chunks: depth * 2, memory }).unwrap();
        device.attach_memory(pool.region()).unwrap();
        let queue = device.open_queue(QueueOptions { depth, wake: WakeMode::Polled }).unwrap();
        let mut sleeper = Sleeper::new().unwrap();
        let mut descriptors = Vec::new();
        queue.wake_descriptors(&mut descriptors);
        descriptors.into_iter().for_each(|descriptor| sleeper.add(descriptor).unwrap());
        Self { queue, pool, clock: MonotonicClock::start(), sleeper, events: Vec::new() }
    }

    fn data(&self, value: u8) -> ScatterList {
        let mut buffer = self.pool.take().unwrap();
        buffer.fill(0, BLOCK_BYTES, value).unwrap();
        buffer.into_segment().into()
    }

    fn write(&self, block: u64, value: u8) -> Request {
        let range = BlockRange::new(Lba(block), 1);
        Request::new(Op::Write { fua: false }, range, self.data(value)).with_tag(block)
    }

    fn read(&self, block: u64) -> Request {
        Request::new(Op::Read, BlockRange::new(Lba(block), 1), self.data(0xee)).with_tag(block)
    }

    fn submit(&mut self, requests: impl IntoIterator<Item = Request>) {
        let mut requests: VecDeque<_> = requests.into_iter().collect();
        self.queue.submit(&mut requests, self.clock.now());
        assert!(requests.is_empty(), "there is room");
    }

    /// Waits as a reactor does, until so many have ended or the time has passed.
    fn wait(&mut self, count: usize, patience: Duration) -> Vec<Completion> {
        let mut done = Vec::new();
        let end = self.clock.now().after(patience);
        while done.len() < count && self.clock.now() < end {
            self.queue.poll(&mut done, self.clock.now());
            while let Some(event) = self.queue.poll_event() {
                self.events.push(event);
            }
            if done.len() < count {
                self.rest(end);
            }
        }
        done
    }

    fn rest(&mut self, end: Timestamp) {
        let now = self.clock.now();
        match self.queue.prepare_wait(now) {
            Wait::Poll => std::thread::yield_now(),
            Wait::Until(at) => self.sleeper.sleep_until(now, at.min(end)).unwrap(),
        }
    }

    fn all(&mut self, count: usize) -> Vec<Completion> {
        let done = self.wait(count, PATIENCE);
        assert_eq!(done.len(), count, "all requests end");
        done
    }

    fn result(&mut self, request: Request) -> Result<(), IoError> {
        self.submit([request]);
        self.all(1).remove(0).result
    }

    /// What a block holds: one value throughout.
    fn value(&mut self, block: u64) -> u8 {
        self.submit([self.read(block)]);
        let done = self.all(1).remove(0);
        assert_eq!(done.result, Ok(()));
        let mut bytes = [0; BLOCK_BYTES as usize];
        done.request.data.read(0, &mut bytes).unwrap();
        assert!(bytes.iter().all(|byte| *byte == bytes[0]));
        bytes[0]
    }

    fn saw(&self, is_it: impl Fn(&Event) -> bool) -> bool {
        self.events.iter().any(is_it)
    }
}

fn began_anew(event: &Event) -> bool {
    matches!(event, Event::IncarnationChanged(_))
}

#[test]
fn io_is_held_while_the_target_is_away_and_goes_on_when_it_is_back() {
    let target = SmallTarget::start("127.95.0.1", &open_device("mem:4MiB?bs=4096"));
    let device = open(&target.uri("&keep_alive_ms=1000"));
    let mut rig = Rig::new(&device, 32);
    assert_eq!(rig.result(rig.write(0, 7)), Ok(()));
    target.faults.silent_io.store(true, Ordering::Release);
    let requests: Vec<_> = (1..9).map(|block| rig.write(block, 9)).collect();
    rig.submit(requests);
    assert!(rig.wait(1, Duration::from_millis(200)).is_empty(), "nobody answers");
    let (address, backing) = target.stop();
    let requests: Vec<_> = (9..17).map(|block| rig.write(block, 9)).collect();
    rig.submit(requests);
    assert!(rig.wait(1, Duration::from_millis(500)).is_empty(), "held");
    let target = SmallTarget::start(&address, &backing);
    for done in rig.all(16) {
        assert_eq!((done.result, done.request.data.bytes()), (Ok(()), BLOCK_BYTES.into()));
    }
    assert!(rig.saw(began_anew));
    assert_eq!((rig.value(0), rig.value(1), rig.value(16)), (7, 9, 9));
    assert_eq!(target.seen.associations.load(Ordering::Relaxed), 1);
}

#[test]
fn io_fails_at_once_when_the_opener_wants_that() {
    let target = SmallTarget::start("127.95.0.2", &open_device("mem:4MiB?bs=4096"));
    let device = open(&target.uri("&fail_fast=1"));
    let mut rig = Rig::new(&device, 32);
    assert_eq!(rig.result(rig.write(0, 7)), Ok(()));
    target.faults.silent_io.store(true, Ordering::Release);
    rig.submit([rig.write(1, 9), rig.read(2)]);
    assert!(rig.wait(1, Duration::from_millis(50)).is_empty());
    let (address, backing) = target.stop();
    for done in rig.all(2) {
        assert_eq!((done.result, done.request.data.bytes()), (Err(IoError::Reset), BLOCK_BYTES.into()));
    }
    assert_eq!(rig.result(rig.read(0)), Err(IoError::Reset));
    let _target = SmallTarget::start(&address, &backing);
    let end = rig.clock.now().after(PATIENCE);
    while rig.result(rig.read(0)).is_err() {
        assert!(rig.clock.now() < end, "it comes back");
        assert!(rig.wait(1, Duration::from_millis(20)).is_empty());
    }
    assert_eq!(rig.value(0), 7);
    assert!(rig.saw(began_anew));
}

#[test]
fn a_controller_that_stays_away_is_given_up() {
    let target = SmallTarget::start("127.95.0.3", &open_device("mem:4MiB?bs=4096"));
    let device = open(&target.uri("&ctrl_loss_timeout_s=1"));
    let mut rig = Rig::new(&device, 8);
    assert_eq!(rig.result(rig.write(0, 7)), Ok(()));
    drop(target.stop());
    rig.submit([rig.write(1, 9)]);
    let begin = rig.clock.now();
    assert_eq!(rig.all(1).remove(0).result, Err(IoError::Gone));
    assert!(rig.clock.now().since(begin) < Duration::from_secs(10));
    assert_eq!(rig.result(rig.read(0)), Err(IoError::Gone));
    assert!(rig.saw(|event| *event == Event::Removed));
    assert!(device.open_queue(QueueOptions { depth: 1, wake: WakeMode::Polled }).is_err());
}

#[test]
fn deadlines_are_kept_while_the_target_is_silent_and_memory_stays_until_it_cannot_be_touched() {
    let target = SmallTarget::start("127.95.0.4", &open_device("mem:4MiB?bs=4096"));
    let device = open(&target.uri("&in_capsule=0&timeout_ms=60000"));
    let mut rig = Rig::new(&device, 8);
    target.faults.silent_io.store(true, Ordering::Release);
    let chunks = rig.pool.available();
    let deadline = rig.clock.now().after(Duration::from_millis(100));
    rig.submit([rig.write(1, 9).with_deadline(deadline), rig.read(2).with_deadline(deadline)]);
    for done in rig.all(2) {
        assert_eq!((done.result, done.request.data.bytes()), (Err(IoError::TimedOut), 0));
    }
    assert!(rig.clock.now() >= deadline);
    assert_eq!(rig.pool.available(), chunks - 2, "the target may still touch it");
    assert_eq!(rig.queue.in_flight(), 0);
    target.faults.drop_io.store(true, Ordering::Release);
    while target.seen.associations.load(Ordering::Relaxed) < 2 {
        assert!(rig.wait(1, Duration::from_millis(20)).is_empty());
    }
    target.faults.silent_io.store(false, Ordering::Release);
    assert_eq!(rig.result(rig.write(3, 5)), Ok(()), "a new association");
    assert_eq!(rig.pool.available(), chunks, "the memory is back");
}

#[test]
fn a_command_that_takes_too_long_ends_the_association_and_is_sent_again() {
    let target = SmallTarget::start("127.95.0.5", &open_device("mem:4MiB?bs=4096"));
    let device = open(&target.uri("&timeout_ms=300"));
    let mut rig = Rig::new(&device, 8);
    target.faults.silent_io.store(true, Ordering::Release);
    rig.submit([rig.write(1, 9)]);
    let end = rig.clock.now().after(PATIENCE);
    while target.seen.associations.load(Ordering::Relaxed) < 2 {
        assert!(rig.clock.now() < end, "it is made anew");
        assert!(rig.wait(1, Duration::from_millis(20)).is_empty());
    }
    target.faults.silent_io.store(false, Ordering::Release);
    assert_eq!(rig.all(1).remove(0).result, Ok(()));
    assert_eq!(rig.value(1), 9);
}

#[test]
fn a_command_under_which_every_association_is_lost_ends() {
    let target = SmallTarget::start("127.95.0.6", &open_device("mem:4MiB?bs=4096"));
    let device = open(&target.uri("&timeout_ms=100"));
    let mut rig = Rig::new(&device, 8);
    target.faults.silent_io.store(true, Ordering::Release);
    assert_eq!(rig.result(rig.write(1, 9)), Err(IoError::Reset));
    assert_eq!(target.seen.associations.load(Ordering::Relaxed), 6);
}

#[test]
fn a_target_that_breaks_the_protocol_is_left_and_tried_again() {
    let target = SmallTarget::start("127.95.0.7", &open_device("mem:4MiB?bs=4096"));
    let device = open(&target.uri(""));
    let mut rig = Rig::new(&device, 8);
    target.faults.repeat_response.store(true, Ordering::Release);
    assert_eq!(rig.result(rig.write(1, 9)), Ok(()));
    assert_eq!(rig.value(1), 9);
    let end = rig.clock.now().after(PATIENCE);
    while target.seen.associations.load(Ordering::Relaxed) < 2 {
        assert!(rig.clock.now() < end, "it is left");
        assert_eq!(rig.value(1), 9);
    }
}

#[test]
fn keys_are_taken_back_where_the_target_does_not() {
    let target = SmallTarget::start("127.95.0.8", &open_device("mem:4MiB?bs=4096"));
    let device = open(&target.uri("&in_capsule=0"));
    let mut rig = Rig::new(&device, 8);
    target.faults.no_invalidation.store(true, Ordering::Release);
    let chunks = rig.pool.available();
    for round in 0..20 {
        assert_eq!(rig.result(rig.write(1, round)), Ok(()));
        assert_eq!(rig.value(1), round);
    }
    assert_eq!(rig.pool.available(), chunks);
    assert_eq!(target.seen.in_capsule.load(Ordering::Relaxed), 0);
}

#[test]
fn small_writes_travel_in_the_capsule() {
    let target = SmallTarget::start("127.95.0.9", &open_device("mem:4MiB?bs=4096"));
    let device = open(&target.uri(""));
    let mut rig = Rig::new(&device, 8);
    let chunks = rig.pool.available();
    for round in 0..20 {
        assert_eq!(rig.result(rig.write(1, round)), Ok(()));
    }
    assert_eq!(rig.pool.available(), chunks, "memory is back with the completion");
    assert_eq!(target.seen.in_capsule.load(Ordering::Relaxed), 20);
    assert_eq!(rig.value(1), 19);
    let requests: Vec<_> = (0..8).map(|block| rig.write(block, 7)).collect();
    rig.submit(requests);
    assert!(rig.all(8).iter().all(|done| done.result.is_ok()));
    assert_eq!(
        target.seen.in_capsule.load(Ordering::Relaxed),
        24,
        "of many those that need two packets do not"
    );
}

#[test]
fn a_namespace_changes_its_size_and_goes_under_load() {
    let backing = open_device("mem:4MiB?bs=4096");
    let target = SmallTarget::start("127.95.0.10", &backing);
    let device = open(&target.uri(""));
    let mut rig = Rig::new(&device, 8);
    assert_eq!(rig.value(1), 0);
    let mut info = info_of(1, &*backing);
    info.geometry.blocks = 512;
    target.change(move |target| target.update_namespace(&subsystem(), info).unwrap());
    let end = rig.clock.now().after(PATIENCE);
    while device.geometry().blocks != 512 || !rig.saw(|event| matches!(event, Event::Resized(_))) {
        assert!(rig.clock.now() < end, "the new size is told");
        assert_eq!(rig.value(1), 0);
    }
    assert!(rig.result(rig.read(512)).is_err());
    target.change(|target| target.remove_namespace(&subsystem(), nvme_spec::Nsid(1)).unwrap());
    while !rig.saw(|event| *event == Event::Removed) {
        assert!(rig.clock.now() < end, "the removal is told");
        assert!(rig.result(rig.read(1)).is_ok() || rig.queue.in_flight() == 0);
    }
    assert_eq!(rig.result(rig.read(1)), Err(IoError::Gone));
    assert!(!rig.saw(began_anew), "the association has stayed");
}

#[test]
fn queues_of_several_threads_all_come_back() {
    let target = SmallTarget::start("127.95.0.11", &open_device("mem:4MiB?bs=4096"));
    let device = open(&target.uri("&queues=4"));
    let (seen, everybody) = (AtomicU64::new(0), 4);
    std::thread::scope(|scope| {
        for thread in 0..everybody {
            let (device, faults, seen) = (Arc::clone(&device), Arc::clone(&target.faults), &seen);
            scope.spawn(move || {
                let mut rig = Rig::new(&device, 16);
                let (mut round, mut has_told) = (0u8, false);
                let end = rig.clock.now().after(2 * PATIENCE);
                while seen.load(Ordering::Acquire) < everybody {
                    assert!(rig.clock.now() < end, "every queue loses its association and gets another");
                    round = round.wrapping_add(1);
                    if thread == 0 && round % 32 == 10 {
                        faults.drop_io.store(true, Ordering::Release);
                    }
                    let block = thread * 256 + u64::from(round);
                    assert_eq!(rig.result(rig.write(block, round)), Ok(()));
                    assert_eq!(rig.value(block), round);
                    if !has_told && rig.saw(began_anew) {
                        has_told = true;
                        seen.fetch_add(1, Ordering::AcqRel);
                    }
                }
            });
        }
    });
    let none = device.open_queue(QueueOptions { depth: 1, wake: WakeMode::Polled });
    assert!(none.is_ok(), "queues that were closed are free again");
}

#[test]
fn a_thread_that_does_not_poll_delays_nobody() {
    let target = SmallTarget::start("127.95.0.12", &open_device("mem:4MiB?bs=4096"));
    let device = open(&target.uri("&queues=2"));
    let (mut idle, mut busy) = (Rig::new(&device, 8), Rig::new(&device, 8));
    assert_eq!((idle.value(1), busy.value(1)), (0, 0));
    target.faults.drop_io.store(true, Ordering::Release);
    let begin = busy.clock.now();
    let end = begin.after(PATIENCE);
    while !busy.saw(began_anew) {
        assert!(busy.clock.now() < end, "one comes back without the other");
        assert_eq!(busy.value(1), 0);
    }
    assert_eq!(idle.value(1), 0, "and the other when it looks");
    assert!(idle.saw(began_anew));
}

#[test]
fn a_namespace_that_was_opened_for_reading_is_not_changed() {
    let target = SmallTarget::start("127.95.0.15", &open_device("mem:4MiB?bs=4096"));
    let device = openers().open_text(&target.uri("&depth=1"), &OpenOptions::READ).unwrap();
    let mut rig = Rig::new(&device, 8);
    assert_eq!(rig.value(1), 0);
    let commands = target.seen.commands.load(Ordering::Relaxed);
    assert_eq!(rig.result(rig.write(1, 9)), Err(IoError::ReadOnly));
    for op in [Op::Discard, Op::WriteZeroes { fua: false, may_unmap: true }] {
        let request = Request::new(op, BlockRange::new(Lba(1), 1), ScatterList::default());
        assert_eq!(rig.result(request), Err(IoError::ReadOnly));
    }
    assert_eq!(target.seen.commands.load(Ordering::Relaxed), commands);
}

#[test]
fn what_cannot_be_attached_is_told_at_once_and_in_words() {
    let target = SmallTarget::start("127.95.0.13", &open_device("mem:4MiB?bs=4096"));
    let uri = target.uri("");
    let wrong = refusal(&uri.replace("example:small", "example:other"));
    assert!(wrong.contains("Connect Invalid Parameters"), "{wrong}");
    let missing = refusal(&target.uri("&ns=7"));
    assert!(missing.ends_with("not found"), "{missing}");
    let nobody = refusal(&uri.replace("127.95.0.13", "127.95.0.99"));
    assert!(nobody.contains("127.95.0.99:4420"), "{nobody}");
    let name = refusal(&uri.replace("127.95.0.13", "no-such-host.invalid"));
    assert!(name.contains("no-such-host.invalid has no address"), "{name}");
    target.change(|target| target.set_hosts(&subsystem(), false, std::collections::BTreeSet::new()).unwrap());
    let end = MonotonicClock::start();
    let refused = loop {
        match openers().open_text(&uri, &OpenOptions::READ_WRITE) {
            Err(error) => break error.to_string(),
            Ok(_) => assert!(end.now() < Timestamp::default().after(PATIENCE)),
        }
    };
    assert!(refused.contains("Connect Invalid Host"), "{refused}");
}

#[test]
fn a_target_that_says_nothing_is_given_up() {
    let target = SmallTarget::start("127.95.0.14", &open_device("mem:4MiB?bs=4096"));
    target.faults.silent.store(true, Ordering::Release);
    let clock = MonotonicClock::start();
    let silent = refusal(&target.uri("&ctrl_loss_timeout_s=1"));
    assert!(silent.contains("in time") || silent.contains("within the time"), "{silent}");
    assert!(clock.now() < Timestamp::default().after(Duration::from_secs(10)));
}
