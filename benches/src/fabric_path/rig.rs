//! A target and a host in this process.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use block::{
    Abilities, BlockDevice, BlockQueue, BlockRange, Completion, Lba, MonotonicClock, Op, OpenOptions,
    Openers, QueueOptions, Request, Scheme, Timestamp, WakeMode,
};
use dma::{DmaBuf, MemoryOptions, Pool, PoolOptions, Segment};
use initiator::open_rdma;
use nvme_spec::Nsid;
use nvmf::controller::{Limits, NamespaceInfo, SubsystemOptions};
use rdma::ProviderChoice;
use remora_tools::bench::rng::SplitMix64;
use target_daemon::engine::{Engine, EngineOptions, Poll};
use uuid::Uuid;

use crate::FabricError;
use crate::load::{Direction, Load, Measured};

/// The subsystem.
const NQN: &str = "nqn.2026-11.io.remora:fabric-path";

/// Where the target listens.
const PORT: u16 = 4420;

/// Entries of I/O queues that the target grants, and commands in flight that the host asks for.
const ENTRIES: u16 = 256;
const DEPTH: u16 = 128;

/// How often data carries the number of its place.
const STAMP_BYTES: u32 = 4096;

/// What the whole device is written with before anything is measured.
const FILL: Load = Load { direction: Direction::Write, bytes: 128 << 10, depth: 32 };

/// The seed of all places.
const SEED: u64 = 73;

/// How long the target's I/O may take to end.
const PATIENCE: Duration = Duration::from_secs(5);

/// See the module's words.
pub struct Rig {
    device: Arc<dyn BlockDevice>,
    engine: Engine,
    clock: MonotonicClock,
    rng: SplitMix64,
    /// Whether data is kept, and looked at.
    is_stamped: bool,
}

/// I/Os of one load.
struct Run<'a> {
    load: Load,
    queue: Box<dyn BlockQueue>,
    idle: VecDeque<Request>,
    done: Vec<Completion>,
    /// By tag, when it was submitted.
    since: Vec<Timestamp>,
    each_ns: Vec<u64>,
    rig: &'a mut Rig,
}

impl Rig {
    /// Starts a target that exports a device, and attaches to it.
    pub fn start(target: IpAddr, host: IpAddr, uri: &str) -> Result<Self, FabricError> {
        let engine = start(target, uri)?;
        let mut openers = Openers::default();
        openers.register(Scheme::Rdma, Box::new(open_rdma));
        let remote =
            format!("rdma://{target}:{PORT}/{NQN}?ns=1&local={host}&provider=soft&queues=1&depth={DEPTH}");
        let device = openers.open_text(&remote, &OpenOptions::READ_WRITE)?;
        let (clock, rng) = (MonotonicClock::start(), SplitMix64::new(SEED));
        let mut rig = Self { device, engine, clock, rng, is_stamped: uri.starts_with("mem:") };
        if rig.is_stamped {
            rig.fill()?;
        }
        Ok(rig)
    }

    /// Ends the target.
    pub fn end(self) {
        drop(self.device);
        if !self.engine.drain(PATIENCE) {
            eprintln!("fabric-path: the target did not end in time");
        }
    }

    /// Runs a load for a while.
    pub fn measure(&mut self, load: Load, run_time: Duration) -> Result<Measured, FabricError> {
        let clock = self.clock;
        let mut run = Run::new(self, load)?;
        let begin = clock.now();
        let end = begin.after(run_time);
        run.go(|| clock.now() < end)?;
        Ok(Measured::of(load, run.each_ns, Duration::from_nanos(clock.now().ns_since(begin))))
    }

    fn fill(&mut self) -> Result<(), FabricError> {
        let mut run = Run::new(self, FILL)?;
        let places = run.places();
        let mut next = 0;
        run.go_to(|| {
            next += 1;
            (next <= places).then(|| next - 1)
        })
    }
}

fn start(target: IpAddr, uri: &str) -> Result<Engine, FabricError> {
    let failed = |why: &dyn std::fmt::Display| FabricError::Target(why.to_string());
    let engine = Engine::start(EngineOptions {
        reactors: vec![Some(1)],
        provider: ProviderChoice::Soft,
        listeners: vec![(target, PORT).into()],
        limits: Limits { io_queue_entries: ENTRIES, ..Limits::default() },
        poll: Poll::Always,
        ..EngineOptions::default()
    });
    let engine = engine.map_err(|why| failed(&why))?;
    let nqn = NQN.parse().map_err(|_| failed(&"its name is no name"))?;
    let subsystem = SubsystemOptions { allow_any_host: true, ..SubsystemOptions::new(nqn, "FABRICPATH") };
    let nqn = subsystem.nqn.clone();
    engine.add_subsystem(subsystem).map_err(|why| failed(&why))?;
    let device = Openers::with_builtin().open_text(uri, &OpenOptions::READ_WRITE)?;
    let info = NamespaceInfo {
        nsid: Nsid(1),
        geometry: device.geometry(),
        abilities: device.abilities() - Abilities::RESERVATIONS,
        metadata_bytes: 0,
        uuid: Some(Uuid::from_u128(SEED.into())),
        nguid: None,
        eui64: None,
    };
    engine.add_namespace(&nqn, info, device).map_err(|why| failed(&why))?;
    Ok(engine)
}

impl<'a> Run<'a> {
    fn new(rig: &'a mut Rig, load: Load) -> Result<Self, FabricError> {
        let queue = rig.device.open_queue(QueueOptions { depth: load.depth, wake: WakeMode::Polled })?;
        let memory = MemoryOptions::default();
        let pool = Pool::new(PoolOptions { chunk_bytes: load.bytes, chunks: load.depth, memory })?;
        rig.device.attach_memory(pool.region())?;
        let op = match load.direction {
            Direction::Read => Op::Read,
            Direction::Write => Op::Write { fua: false },
        };
        let blocks = u64::from(load.bytes) >> rig.device.geometry().block_size.shift();
        let request = |(tag, buffer): (u64, DmaBuf)| {
            let range = BlockRange::new(Lba(0), blocks);
            Request::new(op, range, buffer.into_segment().into()).with_tag(tag)
        };
        let idle = (0..).zip(std::iter::from_fn(|| pool.take())).map(request).collect();
        let since = vec![Timestamp::default(); load.depth as usize];
        Ok(Self { load, queue, idle, done: Vec::new(), since, each_ns: Vec::new(), rig })
    }

    /// How many places there are.
    fn places(&self) -> u64 {
        let bytes = self.rig.device.geometry().bytes() / u128::from(self.load.bytes);
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }

    /// I/Os at random places while `goes_on`.
    fn go(&mut self, mut goes_on: impl FnMut() -> bool) -> Result<(), FabricError> {
        let places = self.places();
        let mut rng = self.rig.rng.clone();
        let result = self.go_to(|| goes_on().then(|| rng.below(places)));
        self.rig.rng = rng;
        result
    }

    /// I/Os at the places that `next` gives, until it gives none.
    fn go_to(&mut self, mut next: impl FnMut() -> Option<u64>) -> Result<(), FabricError> {
        let mut fresh = VecDeque::with_capacity(self.idle.len());
        let mut has_ended = false;
        loop {
            let now = self.rig.clock.now();
            while !has_ended && let Some(request) = self.idle.pop_front() {
                match next() {
                    Some(place) => fresh.push_back(self.aim(request, place, now)?),
                    None => {
                        has_ended = true;
                        self.idle.push_front(request);
                    }
                }
            }
            self.queue.submit(&mut fresh, now);
            self.queue.poll(&mut self.done, now);
            if !self.done.is_empty() {
                self.take_done()?;
            }
            if has_ended && self.idle.len() == self.since.len() {
                return Ok(());
            }
        }
    }

    fn aim(&mut self, mut request: Request, place: u64, now: Timestamp) -> Result<Request, FabricError> {
        request.range.start = Lba(place * request.range.blocks);
        self.since[usize::try_from(request.tag).unwrap_or(0)] = now;
        if self.rig.is_stamped && self.load.direction == Direction::Write {
            let segment = request.data.into_single().map_err(|_| FabricError::Io("no buffer".into()))?;
            request.data = stamp(segment, place * u64::from(self.load.bytes / STAMP_BYTES))?.into();
        }
        Ok(request)
    }

    fn take_done(&mut self) -> Result<(), FabricError> {
        let now = self.rig.clock.now();
        for Completion { request, result } in self.done.drain(..) {
            result.map_err(|why| FabricError::Io(why.to_string()))?;
            if self.rig.is_stamped && self.load.direction == Direction::Read {
                let place = request.range.start.0 / request.range.blocks;
                check(&request, place * u64::from(self.load.bytes / STAMP_BYTES), self.load.bytes)?;
            }
            let since = self.since[usize::try_from(request.tag).unwrap_or(0)];
            self.each_ns.push(now.ns_since(since));
            self.idle.push_back(request);
        }
        Ok(())
    }
}

/// Writes the numbers of its places into a buffer.
fn stamp(segment: Segment, first: u64) -> Result<Segment, FabricError> {
    let failed = |why: &str| FabricError::Io(why.to_owned());
    let mut buffer = DmaBuf::from_segment(segment).map_err(|_| failed("a buffer is still in use"))?;
    for index in 0..buffer.bytes() / STAMP_BYTES {
        let number = (first + u64::from(index)).to_le_bytes();
        buffer.write(index * STAMP_BYTES, &number).map_err(|why| failed(&why.to_string()))?;
    }
    Ok(buffer.into_segment())
}

/// Compares them.
fn check(request: &Request, first: u64, bytes: u32) -> Result<(), FabricError> {
    for index in 0..bytes / STAMP_BYTES {
        let mut found = [0; 8];
        let read = request.data.read(u64::from(index * STAMP_BYTES), &mut found);
        let (expected, found) = (first + u64::from(index), u64::from_le_bytes(found));
        if read.is_err() || found != expected {
            return Err(FabricError::Io(format!("place {expected} holds the data of {found}")));
        }
    }
    Ok(())
}
