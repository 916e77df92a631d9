//! A host of the simulation: an endpoint, its memory, and when it last was paused.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;

use block::{Timestamp, Wait};
use dma::{MemoryOptions, Pool, PoolOptions, Segment};
use rdma::soft::{SoftDevice, SoftEndpoint, SoftRequest};
use rdma::{
    Completion, ConnectionEvent, Data, Device, Endpoint, EndpointOptions, InlineData, PathMtu, QueuePairId,
};

use crate::link::{SimLinks, World};

pub const CHUNK_BYTES: u32 = 8192;
pub const CHUNKS: u32 = 256;
const QUEUE_PAIRS_MAX: u32 = 16;

/// Names an endpoint's queue pair among all.
pub type Half = (usize, QueuePairId);

pub struct Peer {
    pub address: IpAddr,
    pub endpoint: SoftEndpoint<SimLinks>,
    pub pool: Pool,
    /// Not polled before.
    pub paused_until: Timestamp,
    pub completions: VecDeque<Completion>,
    pub requests: VecDeque<SoftRequest>,
    /// Queue pairs that are established, and those that are closed, with what was told.
    pub established: BTreeMap<QueuePairId, u8>,
    pub closed: BTreeMap<QueuePairId, rdma::ConnectionError>,
}

impl Peer {
    pub fn new(world: &World, address: IpAddr, mtu: PathMtu, seed: u64) -> Self {
        let device: SoftDevice<SimLinks> = world.device(address, 1, mtu, seed);
        let memory = MemoryOptions { ordinary_pages: true, ..Default::default() };
        let pool = Pool::new(PoolOptions { chunk_bytes: CHUNK_BYTES, chunks: CHUNKS, memory }).unwrap();
        device.attach_memory(pool.region()).unwrap();
        let options = EndpointOptions { queue_pairs_max: QUEUE_PAIRS_MAX, ..Default::default() };
        Self {
            address,
            endpoint: device.endpoint(&options).unwrap(),
            pool,
            paused_until: Timestamp::default(),
            completions: VecDeque::new(),
            requests: VecDeque::new(),
            established: BTreeMap::new(),
            closed: BTreeMap::new(),
        }
    }

    /// Polls once, unless it is paused. Returns whether anything happened.
    pub fn turn(&mut self, now: Timestamp) -> bool {
        if now < self.paused_until {
            return false;
        }
        let mut fresh = Vec::new();
        let mut busy = self.endpoint.poll(&mut fresh, 32, now);
        self.completions.extend(fresh);
        while let Some(event) = self.endpoint.poll_connection() {
            busy = true;
            match event {
                ConnectionEvent::Requested(request) => self.requests.push_back(request),
                ConnectionEvent::Established { queue_pair, agreement } => {
                    assert!(!self.closed.contains_key(&queue_pair), "established after its end");
                    let before = self.established.insert(queue_pair, agreement.initiator_depth);
                    assert!(before.is_none(), "established twice");
                }
                ConnectionEvent::Closed { queue_pair, error } => {
                    assert!(self.closed.insert(queue_pair, error).is_none(), "closed twice");
                }
            }
        }
        busy
    }

    /// Until when it has nothing to do.
    pub fn rests_until(&mut self, now: Timestamp) -> Timestamp {
        if now < self.paused_until {
            return self.paused_until;
        }
        match self.endpoint.prepare_wait(now) {
            Wait::Poll => now,
            Wait::Until(until) => until,
        }
    }

    pub fn segment(&self, bytes: &[u8]) -> Segment {
        let mut buffer = self.pool.take().expect("memory: the scenario bounds what it posts");
        buffer.write(0, bytes).unwrap();
        buffer.truncate(bytes.len() as u32);
        buffer.into_segment()
    }

    /// Data in one piece, in two, or inline.
    pub fn data(&self, bytes: &[u8], choice: u64) -> Data {
        match choice % 4 {
            0 if bytes.len() <= rdma::INLINE_BYTES_MAX => Data::Inline(InlineData::new(bytes).unwrap()),
            1 if bytes.len() > 1 => {
                let (a, b) = bytes.split_at(1 + choice as usize / 4 % (bytes.len() - 1));
                Data::Memory([self.segment(a), self.segment(b)].into_iter().collect())
            }
            _ => Data::Memory(self.segment(bytes).into()),
        }
    }

    pub fn chunks_held(&self) -> usize {
        CHUNKS as usize - self.pool.available()
    }
}

/// Bytes that are those of this number only, which they begin with.
pub fn pattern(number: u64, length: usize) -> Vec<u8> {
    let mut dice = sim::Dice::new(number);
    let mut bytes = number.to_le_bytes().to_vec();
    while bytes.len() < length {
        bytes.extend_from_slice(&dice.number().to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}
