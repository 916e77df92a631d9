//! Soft devices on a simulated network: real packets, real ICRCs, no sockets.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::os::fd::RawFd;
use std::sync::{Arc, Mutex, MutexGuard};

use block::Timestamp;
use rdma::soft::link::{Arrived, Link, LinkCounters, Path, PayloadRef};
use rdma::soft::wire::{Addresses, HEADERS_BYTES_MAX, Headers, Icrc, UDP_PORT, check};
use rdma::soft::{Links, SoftDevice};
use rdma::{DeviceEvent, DeviceInfo, OpenError, PathMtu, PortState};
use sim::{Faults, Network, VirtualClock};

/// Packets of a batch.
const BATCH_MAX: usize = 64;

/// The port that packets come from.
const SOURCE_PORT: u16 = 0xc001;

/// Bits of a queue pair's number below the shard.
const SHARD_SHIFT: u32 = 18;

/// A network and its time.
#[derive(Clone)]
pub struct World {
    pub clock: VirtualClock,
    network: Arc<Mutex<Network<IpAddr>>>,
    tap: Arc<Mutex<Option<Vec<Tapped>>>>,
}

/// A packet that was sent: from whom, to whom, what.
pub type Tapped = (IpAddr, IpAddr, Vec<u8>);

impl World {
    pub fn new(seed: u64, faults: Faults) -> Self {
        let network = Arc::new(Mutex::new(Network::new(seed, faults)));
        Self { clock: VirtualClock::default(), network, tap: Arc::default() }
    }

    pub fn network(&self) -> MutexGuard<'_, Network<IpAddr>> {
        self.network.lock().unwrap()
    }

    /// Begins, or stops, to keep what endpoints send.
    pub fn tap(&self, is_open: bool) {
        *self.tap.lock().unwrap() = is_open.then(Vec::new);
    }

    /// What was kept.
    pub fn tapped(&self) -> Vec<Tapped> {
        self.tap.lock().unwrap().clone().unwrap_or_default()
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// When the next packet arrives anywhere.
    pub fn next_arrival(&self) -> Timestamp {
        self.network().next_arrival(self.now()).unwrap_or(Timestamp::NEVER)
    }

    /// Lets time pass until the next arrival, but not beyond `until`; a little in any case.
    pub fn pass(&self, until: Timestamp) {
        let next = self.next_arrival().min(until);
        self.clock.advance_to(next.max(self.now().after_ns(100)));
    }

    /// A device at an address of this world, for so many endpoints.
    pub fn device(&self, address: IpAddr, endpoints: u16, mtu: PathMtu, seed: u64) -> SoftDevice<SimLinks> {
        let info = DeviceInfo {
            name: format!("sim-{address}"),
            provider: "soft",
            addresses: vec![address],
            guid: seed | 1,
            mtu,
            state: PortState::Active,
            limits: SoftDevice::<SimLinks>::limits(),
        };
        let links = SimLinks::new(self.clone(), address, endpoints + 1);
        SoftDevice::new(links, address, info, seed).unwrap()
    }
}

/// The links of one address.
pub struct SimLinks {
    host: Arc<Host>,
}

struct Host {
    world: World,
    address: IpAddr,
    shards: Vec<Mutex<Shard>>,
}

/// What has come for one link.
#[derive(Default)]
struct Shard {
    is_taken: bool,
    packets: VecDeque<(IpAddr, Vec<u8>)>,
    /// Packets whose ICRC was checked by another shard.
    handed_over: VecDeque<(IpAddr, Vec<u8>)>,
}

impl SimLinks {
    fn new(world: World, address: IpAddr, shards: u16) -> Self {
        let shards = (0..shards).map(|_| Mutex::default()).collect();
        Self { host: Arc::new(Host { world, address, shards }) }
    }
}

impl Host {
    fn shard(&self, shard: usize) -> MutexGuard<'_, Shard> {
        self.shards[shard].lock().unwrap()
    }

    /// Steers what has arrived, as the kernel does by the destination queue pair.
    fn sort(&self) {
        let now = self.world.now();
        let mut network = self.world.network();
        while let Some(datagram) = network.receive(self.address, now) {
            let shard = shard_of(&datagram.bytes).filter(|shard| *shard < self.shards.len()).unwrap_or(0);
            self.shard(shard).packets.push_back((datagram.from, datagram.bytes));
        }
    }
}

fn shard_of(packet: &[u8]) -> Option<usize> {
    let number = packet.get(4..8)?;
    let number = u32::from_be_bytes([0, number[1], number[2], number[3]]);
    Some((number >> SHARD_SHIFT) as usize)
}

impl Links for SimLinks {
    type Link = SimLink;

    fn shards(&self) -> u16 {
        self.host.shards.len() as u16
    }

    fn link(&self, shard: u16) -> Result<Option<SimLink>, OpenError> {
        let mut entry = self.host.shard(shard.into());
        if std::mem::replace(&mut entry.is_taken, true) {
            return Ok(None);
        }
        let host = Arc::clone(&self.host);
        Ok(Some(SimLink {
            host,
            shard: shard.into(),
            pending: Vec::new(),
            counters: LinkCounters::default(),
        }))
    }

    fn hand_over(&self, shard: u16, arrived: Arrived<'_>) -> bool {
        let mut entry = self.host.shard(shard.into());
        let has_room = entry.handed_over.len() < BATCH_MAX;
        if has_room {
            entry.handed_over.push_back((arrived.source, arrived.packet.to_vec()));
        }
        has_room
    }

    fn poll_event(&self) -> Option<DeviceEvent> {
        None
    }
}

/// One shard's access to the simulated network.
pub struct SimLink {
    host: Arc<Host>,
    shard: usize,
    pending: Vec<(IpAddr, Vec<u8>)>,
    counters: LinkCounters,
}

impl Drop for SimLink {
    fn drop(&mut self) {
        let mut entry = self.host.shard(self.shard);
        *entry = Shard::default();
    }
}

/// A packet as it is on the wire, behind the UDP header.
pub fn packet(from: IpAddr, to: IpAddr, headers: &Headers, payload: &[u8]) -> Vec<u8> {
    let mut head = [0; HEADERS_BYTES_MAX];
    let length = headers.write(payload.len() as u32, &mut head);
    let addresses = Addresses::new(from, to, SOURCE_PORT, UDP_PORT);
    let mut icrc = Icrc::new(&addresses, 0, &head[..length], payload.len() as u32);
    icrc.payload(payload);
    [&head[..length], payload, icrc.finish().bytes()].concat()
}

impl Link for SimLink {
    fn local(&self) -> IpAddr {
        self.host.address
    }

    fn has_room(&self) -> bool {
        self.pending.len() < BATCH_MAX
    }

    fn push(&mut self, path: &Path, headers: &Headers, payload: PayloadRef<'_>) {
        if !self.has_room() {
            self.flush();
        }
        let mut bytes = vec![0; payload.bytes() as usize];
        match payload {
            PayloadRef::Empty => {}
            PayloadRef::Bytes(from) => bytes.copy_from_slice(from),
            PayloadRef::List { list, offset, .. } => list.read(offset, &mut bytes).unwrap(),
            PayloadRef::Segment { segment, offset, .. } => segment.read(offset, &mut bytes).unwrap(),
        }
        self.pending.push((path.peer, packet(self.host.address, path.peer, headers, &bytes)));
    }

    fn flush(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        let now = self.host.world.now();
        let mut network = self.host.world.network();
        self.counters.system_calls += 1;
        for (peer, bytes) in self.pending.drain(..) {
            if let Some(tap) = &mut *self.host.world.tap.lock().unwrap() {
                tap.push((self.host.address, peer, bytes.clone()));
            }
            self.counters.packets_sent += 1;
            self.counters.bytes_sent += bytes.len() as u64;
            network.send(self.host.address, peer, bytes, now);
        }
    }

    fn receive(&mut self, mut handle: impl FnMut(Arrived<'_>)) -> usize {
        self.host.sort();
        let mut entry = self.host.shard(self.shard);
        let handed_over = std::mem::take(&mut entry.handed_over);
        let count = entry.packets.len().min(BATCH_MAX);
        let packets: Vec<_> = entry.packets.drain(..count).collect();
        drop(entry);
        for (source, packet) in &handed_over {
            handle(Arrived { source: *source, packet });
        }
        for (source, packet) in &packets {
            self.counters.packets_received += 1;
            self.counters.bytes_received += packet.len() as u64;
            let addresses = Addresses::new(*source, self.host.address, SOURCE_PORT, UDP_PORT);
            match check(&addresses, packet, 0) {
                Ok(()) => handle(Arrived { source: *source, packet }),
                Err(_) => self.counters.dropped_icrc += 1,
            }
        }
        handed_over.len() + packets.len()
    }

    fn wake_descriptors(&self, _: &mut Vec<RawFd>) {}

    fn counters(&self) -> LinkCounters {
        self.counters
    }
}
