//! One endpoint of a test, with what came out of it.

use std::collections::VecDeque;

use block::Timestamp;
use dma::{DmaBuf, MemoryOptions, Pool, PoolOptions, ScatterList, Segment};

use super::ledger::Ledger;
use super::pattern;
use crate::connection::{Agreement, ConnectionError, ConnectionEvent};
use crate::device::EndpointOptions;
use crate::handle::QueuePairId;
use crate::provider::{Device, Endpoint};
use crate::work::{Completion, Data};

/// Bytes of a chunk of the test's memory.
pub(super) const CHUNK_BYTES: u32 = 8192;

/// Chunks of the test's memory.
pub(super) const CHUNKS: u32 = 512;

/// Bytes of a large chunk: a message of 1 MiB and something behind it.
pub(super) const LARGE_BYTES: u32 = (1 << 20) + 4096;

/// Large chunks, made when a test first wants one.
const LARGE_CHUNKS: u32 = 4;

/// Most queue pairs of an endpoint.
pub(super) const QUEUE_PAIRS_MAX: u32 = 80;

/// Completions asked for at once.
const COMPLETIONS_MAX: usize = 16;

pub(super) type EndpointOf<D> = <D as Device>::Endpoint;
pub(super) type RequestOf<D> = <EndpointOf<D> as Endpoint>::Request;

/// An endpoint, its memory, and what it told and nobody has looked at yet.
pub(super) struct Side<D: Device> {
    pub(super) device: D,
    pub(super) endpoint: EndpointOf<D>,
    pub(super) pool: Pool,
    large: Option<Pool>,
    pub(super) ledger: Ledger,
    pub(super) completions: VecDeque<Completion>,
    pub(super) requests: VecDeque<RequestOf<D>>,
    pub(super) established: Vec<(QueuePairId, Agreement)>,
    pub(super) closed: Vec<(QueuePairId, ConnectionError)>,
}

impl<D: Device> Side<D> {
    pub(super) fn new(device: &D) -> Self {
        let options = EndpointOptions { queue_pairs_max: QUEUE_PAIRS_MAX, ..Default::default() };
        let pool = pool(CHUNK_BYTES, CHUNKS);
        device.attach_memory(pool.region()).unwrap();
        Self {
            device: device.clone(),
            endpoint: device.endpoint(&options).unwrap(),
            pool,
            large: None,
            ledger: Ledger::default(),
            completions: VecDeque::new(),
            requests: VecDeque::new(),
            established: Vec::new(),
            closed: Vec::new(),
        }
    }

    /// Polls once. Returns whether anything happened.
    pub(super) fn turn(&mut self, now: Timestamp) -> bool {
        let mut fresh = Vec::new();
        let mut busy = self.endpoint.poll(&mut fresh, COMPLETIONS_MAX, now);
        assert!(busy || fresh.is_empty(), "completions appeared and the endpoint said that nothing happened");
        fresh.iter().for_each(|completion| self.ledger.completed(completion));
        self.completions.extend(fresh);
        while let Some(event) = self.endpoint.poll_connection() {
            busy = true;
            self.told(event);
        }
        busy
    }

    fn told(&mut self, event: ConnectionEvent<RequestOf<D>>) {
        match event {
            ConnectionEvent::Requested(request) => self.requests.push_back(request),
            ConnectionEvent::Established { queue_pair, agreement } => {
                self.ledger.established(queue_pair);
                self.established.push((queue_pair, agreement));
            }
            ConnectionEvent::Closed { queue_pair, error } => {
                self.ledger.closed(queue_pair);
                self.closed.push((queue_pair, error));
            }
        }
    }

    /// The next thing that ended on a queue pair, among those that `wanted` accepts.
    pub(super) fn take_completion(
        &mut self,
        queue_pair: QueuePairId,
        wanted: impl Fn(&Completion) -> bool,
    ) -> Option<Completion> {
        let at = self.completions.iter().position(|done| done.queue_pair == queue_pair && wanted(done))?;
        self.completions.remove(at)
    }

    /// A buffer of so many bytes.
    pub(super) fn buffer(&mut self, bytes: u32) -> DmaBuf {
        let pool = if bytes <= CHUNK_BYTES { &self.pool } else { self.large() };
        let mut buffer = pool.take().expect("the test holds too much memory");
        buffer.truncate(bytes);
        buffer
    }

    fn large(&mut self) -> &Pool {
        let device = &self.device;
        self.large.get_or_insert_with(|| {
            let large = pool(LARGE_BYTES, LARGE_CHUNKS);
            device.attach_memory(large.region()).unwrap();
            large
        })
    }

    /// Memory with these bytes.
    pub(super) fn segment(&mut self, bytes: &[u8]) -> Segment {
        let mut buffer = self.buffer(u32::try_from(bytes.len()).unwrap());
        buffer.write(0, bytes).unwrap();
        buffer.into_segment()
    }

    /// Memory with these bytes, as data of work.
    pub(super) fn data(&mut self, bytes: &[u8]) -> Data {
        Data::Memory(self.segment(bytes).into())
    }

    /// Memory with the bytes of a number.
    pub(super) fn numbered(&mut self, number: u64, length: usize) -> Data {
        self.data(&pattern::bytes(number, length))
    }

    /// Memory to read into.
    pub(super) fn empty(&mut self, bytes: usize) -> Data {
        self.data(&vec![0xee; bytes])
    }

    /// Memory with these bytes, cut where `cuts` say.
    pub(super) fn scattered(&mut self, bytes: &[u8], cuts: &[usize]) -> ScatterList {
        let mut list = ScatterList::default();
        let mut rest = bytes;
        for cut in cuts {
            let (now, later) = rest.split_at((*cut).min(rest.len()));
            list.push(self.segment(now));
            rest = later;
        }
        if !rest.is_empty() {
            list.push(self.segment(rest));
        }
        list
    }

    /// Chunks that somebody holds.
    pub(super) fn chunks_held(&self) -> usize {
        let large = self.large.as_ref().map_or(0, |large| LARGE_CHUNKS as usize - large.available());
        CHUNKS as usize - self.pool.available() + large
    }
}

/// Memory that belongs to no device yet.
pub(super) fn pool(chunk_bytes: u32, chunks: u32) -> Pool {
    let memory = MemoryOptions { ordinary_pages: true, ..Default::default() };
    Pool::new(PoolOptions { chunk_bytes, chunks, memory }).unwrap()
}

/// The bytes that work carries in memory.
pub(super) fn bytes_of(data: &Data) -> Vec<u8> {
    match data {
        Data::Inline(inline) => inline.bytes().to_vec(),
        Data::Memory(list) => {
            let mut bytes = vec![0; list.bytes() as usize];
            list.read(0, &mut bytes).unwrap();
            bytes
        }
    }
}
