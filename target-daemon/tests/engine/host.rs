//! A host: its memory, its connections, and the bytes of its commands, made here and not by the code under test.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use block::MonotonicClock;
use dma::{DmaBuf, MemoryOptions, Pool, PoolOptions, Segment};
use rdma::soft::Soft;
use rdma::{
    Completion, ConnectionError, ConnectionEvent, ConnectionParameters, Data, Device, DeviceOptions,
    Endpoint, EndpointOptions, Message, Outcome, PrivateData, Provider, QueuePairId, QueuePairOptions,
    Receive, ReceiveSource, RemoteKey, Rights, SendOp, SendWork,
};

type EndpointOf = <<Soft as Provider>::Device as Device>::Endpoint;

/// How long a test waits for what must come.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Largest piece of the host's memory.
pub const CHUNK_BYTES: u32 = 1 << 20;

/// A response and what came with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    pub bytes: [u8; 16],
    pub invalidated: Option<u32>,
}

impl Answer {
    pub fn cid(&self) -> u16 {
        u16::from_le_bytes([self.bytes[12], self.bytes[13]])
    }

    /// Status field without the phase: 0 is success.
    pub fn status(&self) -> u16 {
        u16::from_le_bytes([self.bytes[14], self.bytes[15]]) >> 1
    }

    pub fn dw0(&self) -> u32 {
        u32::from_le_bytes(self.bytes[..4].try_into().unwrap())
    }
}

/// How the data of a command is described.
#[derive(Clone, Copy, Debug)]
pub enum Sgl {
    None,
    InCapsule(u32),
    /// Address, bytes, key; invalidated by the response or not.
    Keyed(u64, u32, u32, bool),
}

impl Sgl {
    fn bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        match self {
            Self::None => bytes[15] = 0x40,
            Self::InCapsule(length) => {
                bytes[8..12].copy_from_slice(&length.to_le_bytes());
                bytes[15] = 0x01;
            }
            Self::Keyed(address, length, key, invalidate) => {
                bytes[..8].copy_from_slice(&address.to_le_bytes());
                bytes[8..11].copy_from_slice(&length.to_le_bytes()[..3]);
                bytes[11..15].copy_from_slice(&key.to_le_bytes());
                bytes[15] = if invalidate { 0x4f } else { 0x40 };
            }
        }
        bytes
    }
}

/// A submission queue entry.
pub fn entry(opcode: u8, cid: u16, nsid: u32, sgl: Sgl, dwords: [u32; 6]) -> [u8; 64] {
    let mut bytes = [0; 64];
    bytes[0] = opcode;
    bytes[1] = 0x40;
    bytes[2..4].copy_from_slice(&cid.to_le_bytes());
    bytes[4..8].copy_from_slice(&nsid.to_le_bytes());
    bytes[24..40].copy_from_slice(&sgl.bytes());
    for (at, dword) in dwords.into_iter().enumerate() {
        bytes[40 + 4 * at..44 + 4 * at].copy_from_slice(&dword.to_le_bytes());
    }
    bytes
}

/// The 1024 bytes of Connect data.
pub fn connect_data(controller: u16, subsystem: &str, host: &str) -> Vec<u8> {
    let mut data = vec![0; 1024];
    data[..16].fill(0x5a);
    data[16..18].copy_from_slice(&controller.to_le_bytes());
    data[256..256 + subsystem.len()].copy_from_slice(subsystem.as_bytes());
    data[512..512 + host.len()].copy_from_slice(host.as_bytes());
    data
}

/// A queue of a controller.
#[derive(Clone, Copy, Debug)]
pub struct Queue {
    pub queue_pair: QueuePairId,
    pub controller: u16,
}

/// One thread's host at an address of its own.
pub struct Host {
    pub name: String,
    pub endpoint: EndpointOf,
    device: <Soft as Provider>::Device,
    pool: Pool,
    small: Vec<Pool>,
    clock: MonotonicClock,
    completions: Vec<Completion>,
    answers: VecDeque<(QueuePairId, Answer)>,
    pub closed: Vec<(QueuePairId, ConnectionError)>,
    established: Vec<QueuePairId>,
    next_cid: u16,
    /// Whether receives are posted again.
    pub is_deaf: bool,
}

impl Host {
    /// A host with memory enough for most tests.
    pub fn new(address: &str, name: &str) -> Self {
        Self::with_memory(address, name, 40)
    }

    /// A host with so many chunks of memory.
    pub fn with_memory(address: &str, name: &str, chunks: u32) -> Self {
        let address: IpAddr = address.parse().unwrap();
        let device = Soft.open(address, &DeviceOptions::default()).unwrap();
        let memory = MemoryOptions { ordinary_pages: true, ..Default::default() };
        let pool = Pool::new(PoolOptions { chunk_bytes: CHUNK_BYTES, chunks, memory }).unwrap();
        device.attach_memory(pool.region()).unwrap();
        Self {
            name: name.to_owned(),
            endpoint: device.endpoint(&EndpointOptions::default()).unwrap(),
            device,
            pool,
            small: Vec::new(),
            clock: MonotonicClock::start(),
            completions: Vec::new(),
            answers: VecDeque::new(),
            closed: Vec::new(),
            established: Vec::new(),
            next_cid: 0xf000,
            is_deaf: false,
        }
    }

    pub fn now(&self) -> block::Timestamp {
        self.clock.now()
    }

    /// One look at what has come.
    pub fn turn(&mut self) {
        let now = self.now();
        if !self.endpoint.poll(&mut self.completions, 64, now) {
            std::thread::yield_now();
        }
        for completion in std::mem::take(&mut self.completions) {
            if let Outcome::Received { result: Ok(message), buffer } = completion.outcome {
                self.received(completion.queue_pair, message, buffer);
            }
        }
        while let Some(event) = self.endpoint.poll_connection() {
            match event {
                ConnectionEvent::Established { queue_pair, .. } => self.established.push(queue_pair),
                ConnectionEvent::Closed { queue_pair, error } => self.closed.push((queue_pair, error)),
                ConnectionEvent::Requested(_) => {}
            }
        }
    }

    fn received(&mut self, queue_pair: QueuePairId, message: Message, buffer: DmaBuf) {
        let mut bytes = [0; 16];
        buffer.read(0, &mut bytes).unwrap();
        assert_eq!(message.bytes, 16, "a response is 16 bytes");
        let invalidated = message.invalidated.map(|key| key.0);
        self.answers.push_back((queue_pair, Answer { bytes, invalidated }));
        if self.is_deaf {
            return;
        }
        let mut again = VecDeque::from([Receive { id: 0, buffer }]);
        // The queue pair may be gone by now.
        let _ = self.endpoint.post_receive(queue_pair, &mut again);
    }

    /// Turns until something is there.
    pub fn wait_for<T>(&mut self, what: &str, mut find: impl FnMut(&mut Self) -> Option<T>) -> T {
        self.wait(PATIENCE, &mut find)
            .unwrap_or_else(|| panic!("{}: no {what} within {PATIENCE:?}", self.name))
    }

    /// Turns until something is there, or for as long as that.
    pub fn wait<T>(
        &mut self,
        patience: Duration,
        find: &mut impl FnMut(&mut Self) -> Option<T>,
    ) -> Option<T> {
        let end = self.now().after(patience);
        loop {
            if let Some(found) = find(self) {
                return Some(found);
            }
            if self.now() >= end {
                return None;
            }
            self.turn();
        }
    }

    /// A connection for a queue of `entries` entries; or why there is none.
    pub fn connection(
        &mut self,
        to: SocketAddr,
        queue: u16,
        controller: u16,
        entries: u16,
    ) -> Result<QueuePairId, Box<ConnectionError>> {
        let mut private = [0; 32];
        private[2..4].copy_from_slice(&queue.to_le_bytes());
        private[4..6].copy_from_slice(&entries.to_le_bytes());
        private[6..8].copy_from_slice(&(entries - 1).to_le_bytes());
        private[8..10].copy_from_slice(&controller.to_le_bytes());
        self.connection_with(to, &private, entries)
    }

    /// A connection with this private data.
    pub fn connection_with(
        &mut self,
        to: SocketAddr,
        private: &[u8],
        entries: u16,
    ) -> Result<QueuePairId, Box<ConnectionError>> {
        let depth = u32::from(entries);
        let options = QueuePairOptions { send_depth: 2 * depth, receives: ReceiveSource::Own(depth) };
        let private_data = PrivateData::new(private).unwrap();
        let parameters = ConnectionParameters { private_data, ..Default::default() };
        let now = self.now();
        let queue_pair = self.endpoint.connect(to, &options, &parameters, now).unwrap();
        let receive = |_| {
            let mut buffer = self.small();
            buffer.truncate(64);
            Receive { id: 0, buffer }
        };
        let mut receives: VecDeque<Receive> = (0..entries).map(receive).collect();
        self.endpoint.post_receive(queue_pair, &mut receives).unwrap();
        self.wait_for("connection", |host| {
            let failed = host.closed.iter().find(|(closed, _)| *closed == queue_pair);
            match failed {
                Some((_, error)) => Some(Err(Box::new(*error))),
                None => host.established.contains(&queue_pair).then_some(Ok(queue_pair)),
            }
        })
    }

    /// A buffer for a capsule.
    fn small(&mut self) -> DmaBuf {
        if let Some(buffer) = self.small.iter().find_map(Pool::take) {
            return buffer;
        }
        let memory = MemoryOptions { ordinary_pages: true, ..Default::default() };
        let pool = Pool::new(PoolOptions { chunk_bytes: 16 << 10, chunks: 256, memory }).unwrap();
        self.device.attach_memory(pool.region()).unwrap();
        let buffer = pool.take().unwrap();
        self.small.push(pool);
        buffer
    }

    /// Memory of the host: `bytes` of `value`.
    pub fn memory(&self, bytes: u32, value: u8) -> Segment {
        let mut buffer = self.pool.take().unwrap();
        buffer.truncate(bytes);
        buffer.fill(0, bytes, value).unwrap();
        buffer.into_segment()
    }

    /// Lets the target reach memory: a keyed descriptor.
    pub fn expose(&mut self, queue_pair: QueuePairId, segment: &Segment, invalidate: bool) -> Sgl {
        let remote = self.endpoint.bind(queue_pair, segment, Rights::READ | Rights::WRITE).unwrap();
        Sgl::Keyed(remote.address, segment.bytes(), remote.key.0, invalidate)
    }

    pub fn unbind(&mut self, queue_pair: QueuePairId, sgl: Sgl) {
        if let Sgl::Keyed(_, _, key, _) = sgl {
            self.endpoint.unbind(queue_pair, RemoteKey(key));
        }
    }

    /// Sends a capsule.
    pub fn send(&mut self, queue_pair: QueuePairId, capsule: &[u8]) {
        let mut buffer = self.small();
        buffer.write(0, capsule).unwrap();
        buffer.truncate(capsule.len() as u32);
        let data = Data::Memory(buffer.into_segment().into());
        let work = SendWork { id: 0, op: SendOp::Send, data, signaled: true, fenced: false };
        let mut batch = VecDeque::from([work]);
        self.endpoint.post_send(queue_pair, &mut batch).unwrap();
        assert!(batch.is_empty(), "the send queue has room");
    }

    /// Takes a queue's connection away.
    pub fn vanish(&mut self, queue: Queue) {
        let now = self.now();
        self.endpoint.destroy(queue.queue_pair, now);
    }

    /// The next response of a queue.
    pub fn answer(&mut self, queue_pair: QueuePairId) -> Answer {
        self.wait_for("answer", |host| host.take_answer(queue_pair))
    }

    pub fn take_answer(&mut self, queue_pair: QueuePairId) -> Option<Answer> {
        let index = self.answers.iter().position(|(of, _)| *of == queue_pair)?;
        self.answers.remove(index).map(|(_, answer)| answer)
    }

    pub fn cid(&mut self) -> u16 {
        self.next_cid = self.next_cid.wrapping_add(1);
        self.next_cid
    }

    /// Carries out a command without data or with data that is described already.
    pub fn command(&mut self, queue: Queue, opcode: u8, nsid: u32, sgl: Sgl, dwords: [u32; 6]) -> Answer {
        let cid = self.cid();
        self.send(queue.queue_pair, &entry(opcode, cid, nsid, sgl, dwords));
        let answer = self.answer(queue.queue_pair);
        assert_eq!(answer.cid(), cid, "the answer is this command's");
        answer
    }

    /// A new controller's admin queue, enabled; or the Connect's answer.
    pub fn attach_to(
        &mut self,
        to: SocketAddr,
        subsystem: &str,
        keep_alive_ms: u32,
    ) -> Result<Queue, Answer> {
        let queue_pair = self.connection(to, 0, 0, 32).unwrap();
        let data = self.memory(1024, 0);
        data.device_write(0, &connect_data(0xffff, subsystem, &self.name)).unwrap();
        let sgl = self.expose(queue_pair, &data, false);
        let cid = self.cid();
        self.send(queue_pair, &entry(0x7f, cid, 1, sgl, [0, 31, keep_alive_ms, 0, 0, 0]));
        let answer = self.answer(queue_pair);
        self.unbind(queue_pair, sgl);
        if answer.status() != 0 {
            return Err(answer);
        }
        let queue = Queue { queue_pair, controller: answer.dw0() as u16 };
        let enabled = self.command(queue, 0x7f, 0, Sgl::None, [0, 0x14, 0x0046_0001, 0, 0, 0]);
        assert_eq!(enabled.status(), 0);
        Ok(queue)
    }

    /// An I/O queue of a controller; its Connect's data is in the capsule.
    pub fn io_queue(
        &mut self,
        to: SocketAddr,
        subsystem: &str,
        admin: Queue,
        id: u16,
        entries: u16,
    ) -> Queue {
        let controller = admin.controller;
        let queue_pair = self.connection(to, id, controller, entries).unwrap();
        let dwords = [u32::from(id) << 16, u32::from(entries - 1), 0, 0, 0, 0];
        let mut capsule = entry(0x7f, 0xbeef, 1, Sgl::InCapsule(1024), dwords).to_vec();
        capsule.extend(connect_data(controller, subsystem, &self.name));
        self.send(queue_pair, &capsule);
        let answer = self.answer(queue_pair);
        assert_eq!(answer.status(), 0, "Connect of an I/O queue: {answer:x?}");
        Queue { queue_pair, controller }
    }
}
