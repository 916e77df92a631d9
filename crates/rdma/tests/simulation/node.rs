//! Endpoints that sleep as a reactor does, for stories of a few packets.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use block::{Timestamp, Wait};
use dma::{DmaBuf, MemoryOptions, Pool, PoolOptions, ScatterList};
use rdma::soft::{SoftEndpoint, SoftRequest};
use rdma::{
    Completion, ConnectionError, ConnectionEvent, ConnectionParameters, Data, Device, Endpoint,
    EndpointOptions, Outcome, PathMtu, QueuePairId, QueuePairOptions, ReceiveSource, RemoteMemory, SendOp,
    SendWork, WorkError,
};

use crate::link::{SimLinks, World};

/// Bytes of each buffer of a node.
pub const CHUNK_BYTES: u32 = 256 << 10;
/// Buffers of a node.
const CHUNKS: u32 = 8;
/// Turns in a row in which no time passes before that counts as endless.
const TURNS_AT_ONCE_MAX: u32 = 10_000;

pub const OPTIONS: QueuePairOptions = QueuePairOptions { send_depth: 64, receives: ReceiveSource::Own(1024) };

/// An endpoint with its memory and what it told.
pub struct Node {
    pub address: IpAddr,
    pub endpoint: SoftEndpoint<SimLinks>,
    pub pool: Pool,
    pub completions: Vec<Completion>,
    pub requests: VecDeque<SoftRequest>,
    pub established: Vec<QueuePairId>,
    pub closed: Vec<(QueuePairId, ConnectionError)>,
}

impl Node {
    pub fn new(world: &World, address: &str, options: &EndpointOptions) -> Self {
        let address: IpAddr = address.parse().unwrap();
        let device = world.device(address, 4, PathMtu::Bytes1024, 7);
        let memory = MemoryOptions { ordinary_pages: true, ..MemoryOptions::default() };
        let pool = Pool::new(PoolOptions { chunk_bytes: CHUNK_BYTES, chunks: CHUNKS, memory }).unwrap();
        device.attach_memory(pool.region()).unwrap();
        Self {
            address,
            endpoint: device.endpoint(options).unwrap(),
            pool,
            completions: Vec::new(),
            requests: VecDeque::new(),
            established: Vec::new(),
            closed: Vec::new(),
        }
    }

    pub fn turn(&mut self, now: Timestamp) -> bool {
        let busy = self.endpoint.poll(&mut self.completions, 64, now);
        while let Some(event) = self.endpoint.poll_connection() {
            match event {
                ConnectionEvent::Requested(request) => self.requests.push_back(request),
                ConnectionEvent::Established { queue_pair, .. } => self.established.push(queue_pair),
                ConnectionEvent::Closed { queue_pair, error } => self.closed.push((queue_pair, error)),
            }
        }
        busy
    }

    pub fn buffer(&self) -> DmaBuf {
        self.pool.take().unwrap()
    }

    pub fn connect(&mut self, to: SocketAddr, now: Timestamp) -> QueuePairId {
        self.endpoint.connect(to, &OPTIONS, &ConnectionParameters::default(), now).unwrap()
    }

    /// Posts work on a whole buffer.
    pub fn post(&mut self, queue_pair: QueuePairId, id: u64, op: SendOp, buffer: DmaBuf) {
        let data = Data::Memory(ScatterList::from(buffer.into_segment()));
        let work = SendWork { id, op, data, signaled: true, fenced: false };
        let mut works = VecDeque::from([work]);
        self.endpoint.post_send(queue_pair, &mut works).unwrap();
        assert!(works.is_empty());
    }

    /// Binds a new buffer for the peer of a queue pair.
    pub fn window(&mut self, queue_pair: QueuePairId) -> RemoteMemory {
        let segment = self.buffer().into_segment();
        self.endpoint.bind(queue_pair, &segment, rdma::Rights::all()).unwrap()
    }

    /// How the send work of that name ended, if it did.
    pub fn sent(&self, id: u64) -> Option<Result<(), WorkError>> {
        self.completions.iter().find_map(|completion| match &completion.outcome {
            Outcome::Sent { result, .. } if completion.id == id => Some(*result),
            _ => None,
        })
    }
}

/// Lets time pass until something holds; `false` if it does not within `limit`.
pub fn run(
    world: &World,
    nodes: &mut [Node],
    limit: Duration,
    mut holds: impl FnMut(&mut [Node]) -> bool,
) -> bool {
    let end = world.now().after(limit);
    let mut turns = 0;
    loop {
        if holds(nodes) {
            return true;
        }
        let now = world.now();
        if now >= end {
            return false;
        }
        let busy = nodes.iter_mut().fold(false, |busy, node| busy | node.turn(now));
        turns += 1;
        assert!(turns < TURNS_AT_ONCE_MAX, "turns without end at {now:?}");
        if busy {
            continue;
        }
        let mut until = end;
        for node in nodes.iter_mut() {
            match node.endpoint.prepare_wait(now) {
                Wait::Poll => until = now,
                Wait::Until(moment) => until = until.min(moment),
            }
        }
        if until > now {
            world.pass(until);
            turns = 0;
        }
    }
}

/// Connects node `from` to node `to`: the queue pairs of both.
pub fn connected(
    world: &World,
    nodes: &mut [Node],
    from: usize,
    to: usize,
    port: u16,
) -> (QueuePairId, QueuePairId) {
    let address = SocketAddr::new(nodes[to].address, port);
    let client = nodes[from].connect(address, world.now());
    assert!(run(world, nodes, Duration::from_secs(1), |nodes| !nodes[to].requests.is_empty()));
    let request = nodes[to].requests.pop_front().unwrap();
    let parameters = ConnectionParameters::default();
    let accepted = nodes[to].endpoint.accept(request, &OPTIONS, &parameters, world.now());
    let server = accepted.map_err(|(error, _)| error).unwrap();
    assert!(run(world, nodes, Duration::from_secs(1), |nodes| {
        nodes[from].established.contains(&client) && nodes[to].established.contains(&server)
    }));
    (client, server)
}
