//! A controller that can be neither disabled nor reset: it is given up, and its buffers are freed only if DMA is
//! impossible.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod rig;

use std::collections::VecDeque;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use block::{BlockQueue, BlockRange, IoError, Lba, Op, QueueOptions, Request, Timestamp, WakeMode};
use dma::{AddressTable, AttachError, MemoryOptions, NumaNode, Pool, PoolOptions, Region};
use nvme_driver::{PciError, PciFunction, SteppedController};
use nvme_model::{
    CommandFault, Fault, FaultRule, LifeFault, MemoryMedia, Moment, NamespaceOptions, Queues, SteppedSsd,
};

/// A software SSD in a slot whose function reset does not work, and maybe whose bus mastering cannot be switched off.
struct Stubborn {
    ssd: SteppedSsd,
    keeps_mastering: AtomicBool,
}

impl Stubborn {
    fn refused(&self, action: &'static str) -> PciError {
        PciError::Refused {
            function: self.name().to_owned(),
            action,
            reason: "it does not listen".to_owned(),
        }
    }
}

impl PciFunction for Stubborn {
    fn name(&self) -> &str {
        self.ssd.name()
    }
    fn numa_node(&self) -> Option<NumaNode> {
        None
    }
    fn register_bytes(&self) -> u32 {
        self.ssd.register_bytes()
    }
    fn read32(&self, offset: u32) -> u32 {
        self.ssd.read32(offset)
    }
    fn read64(&self, offset: u32) -> u64 {
        self.ssd.read64(offset)
    }
    fn write32(&self, offset: u32, value: u32) {
        self.ssd.write32(offset, value);
    }
    fn write64(&self, offset: u32, value: u64) {
        self.ssd.write64(offset, value);
    }
    fn attach(&self, region: &Region) -> Result<(), AttachError> {
        self.ssd.attach(region)
    }
    fn addresses(&self) -> &AddressTable {
        self.ssd.addresses()
    }
    fn set_bus_master(&self, enabled: bool) -> Result<(), PciError> {
        if !enabled && self.keeps_mastering.load(Ordering::Relaxed) {
            return Err(self.refused("switch bus mastering off"));
        }
        self.ssd.set_bus_master(enabled)
    }
    fn interrupt_vectors_max(&self) -> u16 {
        self.ssd.interrupt_vectors_max()
    }
    fn set_interrupts(&self, descriptors: &[BorrowedFd<'_>]) -> Result<(), PciError> {
        self.ssd.set_interrupts(descriptors)
    }
    fn reset(&self) -> Result<(), PciError> {
        Err(self.refused("reset the function"))
    }
}

/// What is left when the controller has been given up with two reads in flight, one of them past its deadline.
struct Wreck {
    results: Vec<(u64, Result<(), IoError>, u64)>,
    chunks_back: usize,
    unreachable: bool,
    epitaph: String,
}

const DATA_BYTES: u32 = 4096;

fn wreck(keeps_mastering: bool) -> Wreck {
    let ssd = SteppedSsd::new(nvme_model::ControllerOptions::default());
    let media = MemoryMedia::new(512, 64);
    ssd.ssd().add_namespace(rig::NSID, NamespaceOptions::default(), media).unwrap();
    let function = Arc::new(Stubborn { ssd, keeps_mastering: AtomicBool::new(keeps_mastering) });
    let memory = MemoryOptions { ordinary_pages: true, ..MemoryOptions::default() };
    let pool = Pool::new(PoolOptions { chunk_bytes: DATA_BYTES, chunks: 2, memory }).unwrap();
    function.attach(pool.region()).unwrap();
    let mut now = Timestamp::from_ns(1);
    let mut controller = SteppedController::begin(Arc::clone(&function), rig::driver_options(), now).unwrap();
    let mut turn = |controller: &mut SteppedController<Arc<Stubborn>>| {
        now = now.after(Duration::from_millis(50));
        function.ssd.run(now, 1000);
        controller.step(now);
        now
    };
    while controller.state() != "live" {
        turn(&mut controller);
    }
    let mut queue =
        controller.begin_queue(rig::NSID, QueueOptions { depth: 4, wake: WakeMode::Polled }).unwrap();
    while !queue.attachment().unwrap() {
        turn(&mut controller);
    }
    let lost =
        Fault::Command { queues: Queues::Io, opcode: None, fault: CommandFault::Lost { executed: false } };
    function.ssd.ssd().inject(FaultRule::always(lost)).unwrap();
    let stuck = Fault::Life { moment: Moment::Disable, fault: LifeFault::Stuck };
    function.ssd.ssd().inject(FaultRule::always(stuck)).unwrap();

    let started = turn(&mut controller);
    let read = |tag| {
        let data = pool.take().unwrap().into_segment().into();
        Request::new(Op::Read, BlockRange::new(Lba(0), u64::from(DATA_BYTES / 512)), data).with_tag(tag)
    };
    let mut requests =
        VecDeque::from([read(1).with_deadline(started.after(Duration::from_millis(200))), read(2)]);
    let mut completions = Vec::new();
    queue.submit(&mut requests, started);
    controller.controller().reset();
    for _ in 0..1000 {
        let now = turn(&mut controller);
        queue.poll(&mut completions, now);
    }
    assert_eq!((controller.state(), queue.in_flight()), ("over", 0));
    let results =
        completions.iter().map(|end| (end.request.tag, end.result, end.request.data.bytes())).collect();
    drop((completions, queue));
    turn(&mut controller);
    Wreck {
        results,
        chunks_back: pool.available(),
        unreachable: controller.is_unreachable(),
        epitaph: controller.epitaph().unwrap(),
    }
}

#[test]
fn its_buffers_come_back_when_it_is_no_bus_master_any_more() {
    let wreck = wreck(false);
    assert_eq!(
        wreck.results,
        [(1, Err(IoError::TimedOut), 0), (2, Err(IoError::Gone), u64::from(DATA_BYTES))]
    );
    assert_eq!((wreck.chunks_back, wreck.unreachable), (2, false));
    assert!(wreck.epitaph.starts_with("it can be neither disabled nor reset"), "{}", wreck.epitaph);
}

#[test]
fn its_buffers_never_come_back_when_it_may_still_write_them() {
    let wreck = wreck(true);
    assert_eq!(wreck.results, [(1, Err(IoError::TimedOut), 0), (2, Err(IoError::Gone), 0)]);
    assert_eq!((wreck.chunks_back, wreck.unreachable), (0, true));
}
