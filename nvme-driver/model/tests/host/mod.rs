//! A host for tests: literal bytes in, literal bytes out. It shares nothing with the driver, and little with nvme-spec.
#![allow(dead_code, reason = "every test binary uses a part of it")]

use std::collections::BTreeMap;

use block::Timestamp;
use dma::{MemoryOptions, Region};
use nvme_driver::PciFunction;
use nvme_model::{ControllerOptions, MemoryMedia, NamespaceOptions, SteppedSsd};
use nvme_spec::Nsid;

/// Bytes of the host's one region. Queues are at its start, data is from [`DATA`] on.
pub const REGION_BYTES: usize = 8 << 20;
/// Where queue `n` has its submission queue; its completion queue is 64 KiB further on.
pub const QUEUE_STRIDE: u64 = 128 << 10;
/// Where tests put data.
pub const DATA: u64 = 2 << 20;
/// The most steps that a test waits for something.
const STEPS_MAX: u32 = 10_000;

/// Register offsets (Base Figure 33).
pub const CAP: u32 = 0x00;
pub const VS: u32 = 0x08;
pub const CC: u32 = 0x14;
pub const CSTS: u32 = 0x1C;
pub const NSSR: u32 = 0x20;
pub const AQA: u32 = 0x24;
pub const ASQ: u32 = 0x28;
pub const ACQ: u32 = 0x30;
/// CC: EN, MPS 4 KiB, IOSQES 6, IOCQES 4.
pub const CC_ENABLE: u32 = 0x0046_0001;

/// A completion as it lay in memory, taken apart by hand (Base Figures 96 to 100).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completion {
    pub dw0: u32,
    pub sqhd: u16,
    pub sqid: u16,
    pub cid: u16,
    /// SCT and SC, 11 bits.
    pub code: u16,
    pub dnr: bool,
    pub more: bool,
}

#[derive(Clone, Copy)]
struct Ring {
    sq_entries: u32,
    tail: u32,
    cq_entries: u32,
    head: u32,
    phase: bool,
}

impl Ring {
    fn new(entries: u32) -> Self {
        Self { sq_entries: entries, tail: 0, cq_entries: entries, head: 0, phase: true }
    }
}

pub struct Host {
    pub ssd: SteppedSsd,
    pub region: Region,
    pub iova: u64,
    pub now: Timestamp,
    rings: BTreeMap<u16, Ring>,
    next_cid: u16,
    /// Bytes between doorbells.
    pub stride: u32,
}

impl Host {
    /// A host with a controller that has one namespace of so many blocks; not enabled yet.
    pub fn with(options: ControllerOptions, block_bytes: u32, blocks: u64) -> Self {
        let host = Self::bare(options);
        let media = MemoryMedia::new(block_bytes, blocks);
        host.ssd.ssd().add_namespace(Nsid(1), NamespaceOptions::default(), media).unwrap();
        host
    }

    /// A host with a controller without namespaces.
    pub fn bare(options: ControllerOptions) -> Self {
        let stride = 4 << options.doorbell_stride.raw();
        let ssd = SteppedSsd::new(options);
        let memory = MemoryOptions { ordinary_pages: true, ..Default::default() };
        let region = Region::new(REGION_BYTES, memory).unwrap();
        ssd.attach(&region).unwrap();
        ssd.set_bus_master(true).unwrap();
        let iova = ssd.addresses().get(region.id()).unwrap();
        let now = Timestamp::from_ns(1);
        Self { ssd, region, iova, now, rings: BTreeMap::new(), next_cid: 1, stride }
    }

    /// An enabled controller of ordinary shape, with 1024 blocks of 512 bytes and one I/O queue pair of 64 entries.
    pub fn ready() -> Self {
        Self::ready_with(ControllerOptions::default())
    }

    pub fn ready_with(options: ControllerOptions) -> Self {
        let mut host = Self::with(options, 512, 1024);
        host.enable();
        host.create_pair(1, 64, None);
        host
    }

    pub fn step(&self) {
        self.ssd.run(self.now, STEPS_MAX);
    }

    pub fn pass_ns(&mut self, ns: u64) {
        self.now = self.now.after_ns(ns);
        self.step();
    }

    pub fn enable(&mut self) {
        self.rings.clear();
        self.rings.insert(0, Ring::new(32));
        self.zero(0, 2 * QUEUE_STRIDE as usize);
        self.ssd.write32(AQA, 31 | 31 << 16);
        self.ssd.write64(ASQ, self.iova);
        self.ssd.write64(ACQ, self.iova + QUEUE_STRIDE / 2);
        self.ssd.write32(CC, CC_ENABLE);
        self.step();
        assert_eq!(self.ssd.read32(CSTS), 1, "CSTS.RDY and nothing else");
    }

    pub fn create_pair(&mut self, qid: u16, entries: u32, vector: Option<u16>) {
        assert_eq!(self.create_cq(qid, entries, vector).code, 0);
        assert_eq!(self.create_sq(qid, entries, qid).code, 0);
    }

    pub fn create_cq(&mut self, qid: u16, entries: u32, vector: Option<u16>) -> Completion {
        let base = u64::from(qid) * QUEUE_STRIDE + QUEUE_STRIDE / 2;
        self.zero(base, QUEUE_STRIDE as usize / 2);
        let flags = 1 | vector.map_or(0, |vector| 2 | u32::from(vector) << 16);
        self.rings.insert(qid, Ring::new(entries));
        self.admin(
            sqe(0x05, 0).prp1(self.iova + base).cdw10(u32::from(qid) | (entries - 1) << 16).cdw11(flags),
        )
    }

    pub fn create_sq(&mut self, qid: u16, entries: u32, cqid: u16) -> Completion {
        let base = u64::from(qid) * QUEUE_STRIDE;
        let cdw11 = 1 | u32::from(cqid) << 16;
        let ring = self.rings.entry(qid).or_insert(Ring::new(entries));
        (ring.sq_entries, ring.tail) = (entries, 0);
        self.admin(
            sqe(0x01, 0).prp1(self.iova + base).cdw10(u32::from(qid) | (entries - 1) << 16).cdw11(cdw11),
        )
    }

    /// Writes an entry and rings. Returns its command identifier.
    pub fn submit(&mut self, qid: u16, command: Sqe) -> u16 {
        let cid = self.place(qid, command);
        self.ring_tail(qid);
        cid
    }

    /// Writes an entry without ringing.
    pub fn place(&mut self, qid: u16, command: Sqe) -> u16 {
        let cid = self.next_cid;
        self.next_cid = self.next_cid % 30_000 + 1;
        let mut bytes = command.0;
        bytes[2..4].copy_from_slice(&cid.to_le_bytes());
        let ring = self.rings.get_mut(&qid).unwrap();
        let at = u64::from(qid) * QUEUE_STRIDE + u64::from(ring.tail) * 64;
        ring.tail = (ring.tail + 1) % ring.sq_entries;
        self.region.memory().write(at, &bytes).unwrap();
        cid
    }

    pub fn tail(&self, qid: u16) -> u32 {
        self.rings[&qid].tail
    }

    pub fn ring_tail(&self, qid: u16) {
        self.ring(qid, false, self.tail(qid));
    }

    /// Writes a doorbell (PCIe 3.1.2): 1000h + (2 * qid + head) * stride.
    pub fn ring(&self, qid: u16, head: bool, value: u32) {
        self.ssd.write32(0x1000 + (2 * u32::from(qid) + u32::from(head)) * self.stride, value);
    }

    /// Takes the next completion of a queue, if its phase tag says that there is one. Rings.
    pub fn reap(&mut self, qid: u16) -> Option<Completion> {
        let completion = self.reap_quietly(qid)?;
        self.ring(qid, true, self.rings[&qid].head);
        Some(completion)
    }

    pub fn head(&self, qid: u16) -> u32 {
        self.rings[&qid].head
    }

    /// Takes the next completion without telling the controller.
    pub fn reap_quietly(&mut self, qid: u16) -> Option<Completion> {
        let ring = self.rings.get_mut(&qid).unwrap();
        let at = u64::from(qid) * QUEUE_STRIDE + QUEUE_STRIDE / 2 + u64::from(ring.head) * 16;
        let mut bytes = [0; 16];
        self.region.memory().read(at, &mut bytes).unwrap();
        let half = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        let status = half(14);
        if (status & 1 == 1) != ring.phase {
            return None;
        }
        ring.head = (ring.head + 1) % ring.cq_entries;
        ring.phase ^= ring.head == 0;
        Some(Completion {
            dw0: u32::from_le_bytes(bytes[..4].try_into().unwrap()),
            sqhd: half(8),
            sqid: half(10),
            cid: half(12),
            code: status >> 1 & 0x7FF,
            dnr: status & 0x8000 != 0,
            more: status & 0x4000 != 0,
        })
    }

    /// Does one command and takes its completion.
    pub fn run(&mut self, qid: u16, command: Sqe) -> Completion {
        let cid = self.submit(qid, command);
        self.step();
        let completion = self.reap(qid).expect("a completion");
        assert_eq!((completion.cid, completion.sqid), (cid, qid));
        completion
    }

    pub fn admin(&mut self, command: Sqe) -> Completion {
        self.run(0, command)
    }

    pub fn io(&mut self, command: Sqe) -> Completion {
        self.run(1, command)
    }

    pub fn write(&self, offset: u64, bytes: &[u8]) {
        self.region.memory().write(offset, bytes).unwrap();
    }

    pub fn read(&self, offset: u64, bytes: usize) -> Vec<u8> {
        let mut data = vec![0; bytes];
        self.region.memory().read(offset, &mut data).unwrap();
        data
    }

    pub fn zero(&self, offset: u64, bytes: usize) {
        self.region.memory().fill(offset, bytes, 0).unwrap();
    }

    /// Identify with this CNS; the data, or the status code.
    pub fn identify(&mut self, cns: u32, nsid: u32) -> Result<Vec<u8>, u16> {
        let done = self.admin(sqe(0x06, nsid).prp1(self.iova + DATA).cdw10(cns));
        if done.code == 0 { Ok(self.read(DATA, 4096)) } else { Err(done.code) }
    }

    pub fn log_page(&mut self, lid: u32, bytes: u32) -> Vec<u8> {
        let done =
            self.admin(sqe(0x02, 0xFFFF_FFFF).prp1(self.iova + DATA).cdw10(lid | (bytes / 4 - 1) << 16));
        assert_eq!(done.code, 0);
        self.read(DATA, bytes as usize)
    }
}

/// The 64 bytes of a command (Base Figure 92).
#[derive(Clone, Copy)]
pub struct Sqe(pub [u8; 64]);

pub fn sqe(opcode: u8, nsid: u32) -> Sqe {
    let mut bytes = [0; 64];
    bytes[0] = opcode;
    Sqe(bytes).dword(1, nsid)
}

/// A read (02h) or a write (01h) of blocks, with one PRP.
pub fn block_io(opcode: u8, slba: u64, blocks: u32, prp1: u64) -> Sqe {
    sqe(opcode, 1).prp1(prp1).qword(40, slba).dword(12, blocks - 1)
}

impl Sqe {
    pub fn dword(self, index: usize, value: u32) -> Self {
        self.bytes(index * 4, &value.to_le_bytes())
    }

    pub fn qword(self, at: usize, value: u64) -> Self {
        self.bytes(at, &value.to_le_bytes())
    }

    pub fn bytes(mut self, at: usize, bytes: &[u8]) -> Self {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }

    pub fn prp1(self, value: u64) -> Self {
        self.qword(24, value)
    }

    pub fn prp2(self, value: u64) -> Self {
        self.qword(32, value)
    }

    pub fn cdw10(self, value: u32) -> Self {
        self.dword(10, value)
    }

    pub fn cdw11(self, value: u32) -> Self {
        self.dword(11, value)
    }

    pub fn cdw12(self, value: u32) -> Self {
        self.dword(12, value)
    }

    /// An SGL descriptor in the data pointer, PSDT 01b.
    pub fn sgl(self, descriptor: [u8; 16]) -> Self {
        let mut with = self.bytes(24, &descriptor);
        with.0[1] |= 0x40;
        with
    }
}

/// An SGL descriptor (Base Figure 120): address, length, type in bits 7:4 of byte 15.
pub fn sgl(kind: u8, address: u64, length: u32) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&address.to_le_bytes());
    bytes[8..12].copy_from_slice(&length.to_le_bytes());
    bytes[15] = kind << 4;
    bytes
}

/// Bytes that are different for every seed and place.
pub fn pattern(seed: u8, bytes: usize) -> Vec<u8> {
    (0..bytes)
        .map(|at| (at as u8).wrapping_mul(31).wrapping_add((at >> 8) as u8).wrapping_add(seed))
        .collect()
}
