//! The model on its own thread: it wakes, sleeps, and ends.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::cast_possible_truncation)]

use std::sync::Arc;
use std::time::Duration;

use block::{MonotonicClock, Timestamp};
use dma::{MemoryOptions, Region};
use nvme_driver::PciFunction;
use nvme_model::{Action, ControllerOptions, MemoryMedia, NamespaceOptions, SoftSsd};
use nvme_spec::Nsid;

/// How long a test waits for anything.
const WAIT: Duration = Duration::from_secs(20);

/// Offsets in the region: admin queues, I/O queues, data, shadow doorbells, event indices.
const ASQ: u64 = 0x0000;
const ACQ: u64 = 0x1000;
const SQ: u64 = 0x2000;
const CQ: u64 = 0x4000;
const DATA: u64 = 0x5000;
const SHADOW: u64 = 0x6000;
const EVENT_INDEX: u64 = 0x7000;

struct Host {
    ssd: SoftSsd,
    region: Region,
    iova: u64,
    clock: MonotonicClock,
    admin: (u32, u32),
    io: (u32, u32),
    /// Doorbells go to memory, and are rung only if the controller asks.
    shadow: bool,
    rung: u32,
}

fn put(sqe: &mut [u8; 64], at: usize, value: u64, bytes: usize) {
    sqe[at..at + bytes].copy_from_slice(&value.to_le_bytes()[..bytes]);
}

impl Host {
    fn new(options: ControllerOptions) -> Self {
        let ssd = SoftSsd::start(options).unwrap();
        ssd.ssd().add_namespace(Nsid(1), NamespaceOptions::default(), MemoryMedia::new(512, 1024)).unwrap();
        let memory = MemoryOptions { ordinary_pages: true, ..Default::default() };
        let region = Region::new(1 << 16, memory).unwrap();
        ssd.attach(&region).unwrap();
        ssd.set_bus_master(true).unwrap();
        let iova = ssd.addresses().get(region.id()).unwrap();
        let clock = MonotonicClock::start();
        let mut host = Self { ssd, region, iova, clock, admin: (0, 0), io: (0, 0), shadow: false, rung: 0 };
        host.enable();
        host
    }

    fn until(&self, mut done: impl FnMut() -> bool) {
        let end = self.clock.now().after(WAIT);
        while !done() {
            assert!(self.clock.now() < end, "nothing happened in {WAIT:?}");
            std::thread::yield_now();
        }
    }

    fn enable(&mut self) {
        self.ssd.write32(0x24, 7 | 7 << 16);
        self.ssd.write64(0x28, self.iova + ASQ);
        self.ssd.write64(0x30, self.iova + ACQ);
        self.ssd.write32(0x14, 0x0046_0001);
        self.until(|| self.ssd.read32(0x1C) == 1);
        let mut create = [0; 64];
        create[0] = 5;
        put(&mut create, 24, self.iova + CQ, 8);
        put(&mut create, 40, 1 | 15 << 16 | 1 << 32, 8);
        self.admin(create);
        create[0] = 1;
        put(&mut create, 24, self.iova + SQ, 8);
        put(&mut create, 40, 1 | 15 << 16 | 1 << 32 | 1 << 48, 8);
        self.admin(create);
    }

    fn admin(&mut self, sqe: [u8; 64]) {
        let (tail, head) = self.admin;
        self.region.memory().write(ASQ + u64::from(tail) * 64, &sqe).unwrap();
        self.admin.0 = (tail + 1) % 8;
        self.ssd.write32(0x1000, self.admin.0);
        let phase = u32::from((head / 8).is_multiple_of(2));
        let at = ACQ + u64::from(head % 8) * 16 + 12;
        self.until(|| self.region.memory().load_u32(at).unwrap() >> 16 & 1 == phase);
        assert_eq!(self.region.memory().load_u32(at).unwrap() >> 17, 0);
        self.admin.1 = head + 1;
        self.ssd.write32(0x1004, self.admin.1 % 8);
    }

    fn submit_read(&mut self) {
        let tail = self.io.0;
        let mut read = [0; 64];
        read[0] = 2;
        put(&mut read, 4, 1, 4);
        put(&mut read, 24, self.iova + DATA, 8);
        self.region.memory().write(SQ + u64::from(tail) * 64, &read).unwrap();
        self.io.0 = (tail + 1) % 16;
        self.doorbell(8, tail, self.io.0);
    }

    /// PCIe and Base B.5: store the shadow, then ring if the event index was passed.
    fn doorbell(&mut self, offset: u32, old: u32, new: u32) {
        if self.shadow {
            let memory = self.region.memory();
            memory.store_u32(SHADOW + u64::from(offset), new).unwrap();
            std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
            let index = memory.load_u32(EVENT_INDEX + u64::from(offset)).unwrap() as u16;
            if (new as u16).wrapping_sub(index).wrapping_sub(1) >= (new as u16).wrapping_sub(old as u16) {
                return;
            }
        }
        self.rung += 1;
        self.ssd.write32(0x1000 + offset, new);
    }

    fn read(&mut self) {
        self.submit_read();
        let head = self.io.1;
        let at = CQ + u64::from(head % 16) * 16 + 12;
        let phase = u32::from((head / 16).is_multiple_of(2));
        self.until(|| self.region.memory().load_u32(at).unwrap() >> 16 & 1 == phase);
        self.io.1 = head + 1;
        self.doorbell(12, head % 16, (head + 1) % 16);
    }

    /// Nanoseconds of CPU that the model's thread has used.
    fn cpu_ns(&self) -> u64 {
        for task in std::fs::read_dir("/proc/self/task").unwrap() {
            let path = task.unwrap().path();
            if std::fs::read_to_string(path.join("comm")).is_ok_and(|name| name.trim() == self.thread_name())
            {
                let text = std::fs::read_to_string(path.join("schedstat")).unwrap();
                return text.split(' ').next().unwrap().parse().unwrap();
            }
        }
        panic!("the model has a thread");
    }

    fn thread_name(&self) -> &'static str {
        "soft-nvme"
    }

    fn pass(&self, time: Duration) {
        let end: Timestamp = self.clock.now().after(time);
        while self.clock.now() < end {
            std::thread::park_timeout(time);
        }
    }
}

/// One test, so that no other test's model is taken for ours by its thread's name.
#[test]
fn it_wakes_for_every_command_and_sleeps_between() {
    for shadow in [false, true] {
        let mut host = Host::new(ControllerOptions::default());
        if shadow {
            let mut config = [0; 64];
            config[0] = 0x7C;
            put(&mut config, 24, host.iova + SHADOW, 8);
            put(&mut config, 32, host.iova + EVENT_INDEX, 8);
            host.admin(config);
            host.shadow = true;
        }
        host.rung = 0;
        for pause_us in [0, 1, 5, 20, 25, 30, 40, 60, 100, 300].repeat(30) {
            host.pass(Duration::from_micros(pause_us));
            host.read();
        }
        // Without shadow doorbells every read rings twice; with them only what finds the controller asleep rings.
        assert_eq!(host.rung == 600, !shadow, "{}", host.rung);
        host.pass(Duration::from_millis(20));
        let before = host.cpu_ns();
        host.pass(Duration::from_millis(300));
        let used_ns = host.cpu_ns() - before;
        assert_eq!(used_ns, 0, "an idle model does not run at all");
        host.read();
    }
    fatal_is_idle();
    events_wake();
    timers_and_ends();
}

/// An event that no doorbell announces wakes the thread all the same.
fn events_wake() {
    let mut host = Host::new(ControllerOptions::default());
    let mut ask = [0; 64];
    ask[0] = 9;
    put(&mut ask, 40, 0xB | 0x100 << 32, 8);
    host.admin(ask);
    let mut request = [0; 64];
    request[0] = 0x0C;
    let (tail, head) = host.admin;
    host.region.memory().write(ASQ + u64::from(tail) * 64, &request).unwrap();
    host.ssd.write32(0x1000, (tail + 1) % 8);
    host.pass(Duration::from_millis(5));
    let media = MemoryMedia::new(512, 8);
    host.ssd.ssd().add_namespace(Nsid(2), NamespaceOptions::default(), media).unwrap();
    let at = ACQ + u64::from(head % 8) * 16;
    let phase = u32::from((head / 8).is_multiple_of(2));
    host.until(|| host.region.memory().load_u32(at + 12).unwrap() >> 16 & 1 == phase);
    assert_eq!(host.region.memory().load_u32(at).unwrap(), 2 | 4 << 16);
}

/// A configuration that cannot run is no reason to spin.
fn fatal_is_idle() {
    let host = Host::new(ControllerOptions::default());
    host.ssd.write32(0x14, 0);
    host.until(|| host.ssd.read32(0x1C) == 0);
    host.ssd.write32(0x14, 0x0046_0011);
    host.until(|| host.ssd.read32(0x1C) == 2);
    host.pass(Duration::from_millis(20));
    let before = host.cpu_ns();
    host.pass(Duration::from_millis(100));
    assert_eq!(host.cpu_ns(), before);
}

fn timers_and_ends() {
    let mut host = Host::new(ControllerOptions { latency_ns: 3_000_000, ..ControllerOptions::default() });
    let start = host.clock.now();
    host.read();
    assert!(
        host.clock.now().since(start) >= Duration::from_millis(3),
        "it sleeps no shorter than a command takes"
    );

    let ssd = Arc::downgrade(host.ssd.ssd());
    host.ssd.act(Action::Remove);
    assert_eq!((host.ssd.read32(0x1C), host.ssd.read64(0)), (u32::MAX, u64::MAX));
    let Host { ssd: device, region, .. } = host;
    drop(device);
    drop(region);
    assert!(ssd.upgrade().is_none(), "the thread has ended and let go of everything");
}
