//! A whole endpoint under a sequence of packets, time and calls. Its peer keeps the rules; what the input sends in the peer's
//! name, or in somebody else's, does not. It must not panic, not write outside the window, end no work twice, and give
//! everything back when the queue pair goes.
#![no_main]

use std::collections::{BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use dma::{MemoryOptions, Pool, PoolOptions, Segment};
use libfuzzer_sys::fuzz_target;
use rdma::soft::wire::{Aeth, Deth, Extension, Headers, Opcode, Packet, Psn, Qpn, Reth, RnrTimer, Syndrome};
use rdma::soft::{SoftDevice, SoftEndpoint};
use rdma::{
    Completion, ConnectionEvent, Data, Device, Endpoint, EndpointOptions, PathMtu, QueuePairId,
    QueuePairOptions, Receive, ReceiveSource, RemoteMemory, Rights, SendOp, SendWork,
};
use sim::Faults;

#[allow(dead_code)]
#[path = "../../crates/rdma/tests/simulation/link.rs"]
mod link;

use link::{SimLinks, World, packet};

const CHUNK_BYTES: u32 = 4096;
const CHUNKS: u32 = 64;
/// The window is the middle of a chunk.
const GUARD_BYTES: u32 = 1024;
const STEPS_MAX: usize = 200;

struct Side {
    endpoint: SoftEndpoint<SimLinks>,
    queue_pair: Option<QueuePairId>,
    pool: Pool,
    posted: BTreeSet<u64>,
}

impl Side {
    fn new(world: &World, address: &str, seed: u64) -> Self {
        let device: SoftDevice<SimLinks> = world.device(address.parse().unwrap(), 1, PathMtu::Bytes256, seed);
        let memory = MemoryOptions { ordinary_pages: true, ..Default::default() };
        let pool = Pool::new(PoolOptions { chunk_bytes: CHUNK_BYTES, chunks: CHUNKS, memory }).unwrap();
        device.attach_memory(pool.region()).unwrap();
        let endpoint =
            device.endpoint(&EndpointOptions { queue_pairs_max: 4, ..Default::default() }).unwrap();
        Self { endpoint, queue_pair: None, pool, posted: BTreeSet::new() }
    }

    fn take(&mut self, completions: Vec<Completion>) {
        for done in completions {
            assert!(self.posted.remove(&done.id), "{} ended twice", done.id);
        }
    }
}

struct Scene {
    world: World,
    sides: [Side; 2],
    addresses: [IpAddr; 2],
    next_id: u64,
    /// The whole chunk that the window is in.
    whole: Segment,
    window: RemoteMemory,
    /// The victim's number, and the last packet that the peer sent to it.
    number: Qpn,
    psn: u32,
}

const OPTIONS: QueuePairOptions = QueuePairOptions { send_depth: 8, receives: ReceiveSource::Own(8) };

impl Scene {
    fn new() -> Self {
        let world = World::new(1, Faults::NONE);
        let text = ["fd00::1", "fd00::2"];
        let mut sides = [Side::new(&world, text[0], 11), Side::new(&world, text[1], 22)];
        let addresses = text.map(|text| text.parse().unwrap());
        sides[1].endpoint.listen(4420, 1).unwrap();
        let to = SocketAddr::new(addresses[1], 4420);
        let client = sides[0].endpoint.connect(to, &OPTIONS, &Default::default(), world.now()).unwrap();
        sides[0].queue_pair = Some(client);
        let mut chunk = sides[1].pool.take().unwrap();
        chunk.fill(0, CHUNK_BYTES, 0x5a).unwrap();
        let whole = chunk.into_segment();
        let window = RemoteMemory { address: 0, key: rdma::RemoteKey(0) };
        let mut scene = Self {
            world,
            sides,
            addresses,
            next_id: 1,
            whole,
            window,
            number: Qpn::CONNECTION_MANAGER,
            psn: 0,
        };
        scene.run(2_000_000);
        let victim = scene.sides[1].queue_pair.unwrap();
        let middle = scene.whole.slice(GUARD_BYTES, CHUNK_BYTES - 2 * GUARD_BYTES).unwrap();
        scene.window = scene.sides[1].endpoint.bind(victim, &middle, Rights::all()).unwrap();
        (0..4).for_each(|_| scene.post_receive(1));
        scene.learn();
        scene
    }

    /// Lets the peer send something, to see where its numbers are.
    fn learn(&mut self) {
        self.world.tap(true);
        self.post_send(0, 0, 300);
        self.run(1_000_000);
        let packets = self.world.tapped();
        let to_victim = packets.iter().filter(|(_, to, _)| *to == self.addresses[1]);
        let parsed = to_victim.filter_map(|(_, _, bytes)| Packet::parse(bytes).ok());
        if let Some(last) = parsed.filter(|packet| packet.headers.opcode == Opcode::SendLast).last() {
            (self.number, self.psn) = (last.headers.destination, last.headers.psn.value());
        }
        self.world.tap(false);
    }

    fn run(&mut self, nanoseconds: u64) {
        let end = self.world.now().after(Duration::from_nanos(nanoseconds));
        loop {
            let now = self.world.now();
            let mut is_busy = false;
            for side in &mut self.sides {
                let mut completions = Vec::new();
                is_busy |= side.endpoint.poll(&mut completions, 16, now);
                side.take(completions);
                while let Some(event) = side.endpoint.poll_connection() {
                    if let ConnectionEvent::Requested(request) = event
                        && side.queue_pair.is_none()
                    {
                        let accepted = side.endpoint.accept(request, &OPTIONS, &Default::default(), now);
                        side.queue_pair = accepted.ok();
                    }
                }
            }
            if is_busy {
                continue;
            }
            let rests = self.sides.each_mut().map(|side| match side.endpoint.prepare_wait(now) {
                block::Wait::Poll => now,
                block::Wait::Until(until) => until,
            });
            let next = rests[0].min(rests[1]).min(self.world.next_arrival());
            if next >= end {
                return self.world.clock.advance_to(end);
            }
            self.world.pass(next);
        }
    }

    fn post_receive(&mut self, at: usize) {
        let side = &mut self.sides[at];
        let (Some(buffer), Some(queue_pair)) = (side.pool.take(), side.queue_pair) else { return };
        let mut receives = VecDeque::from([Receive { id: self.next_id, buffer }]);
        if side.endpoint.post_receive(queue_pair, &mut receives).is_ok() && receives.is_empty() {
            side.posted.insert(self.next_id);
        }
        self.next_id += 1;
    }

    fn post_send(&mut self, at: usize, what: u8, bytes: u32) {
        let window = self.window;
        let side = &mut self.sides[at];
        let (Some(mut buffer), Some(queue_pair)) = (side.pool.take(), side.queue_pair) else { return };
        buffer.truncate(bytes);
        let op = match what % 3 {
            0 => SendOp::Send,
            1 => SendOp::Write(window),
            _ => SendOp::Read(window),
        };
        let data = Data::Memory(buffer.into_segment().into());
        let mut work = VecDeque::from([SendWork {
            id: self.next_id,
            op,
            data,
            signaled: true,
            fenced: what & 0x80 != 0,
        }]);
        if side.endpoint.post_send(queue_pair, &mut work).is_ok() && work.is_empty() {
            side.posted.insert(self.next_id);
        }
        self.next_id += 1;
    }

    fn step(&mut self, [what, which, place, value, length]: [u8; 5]) {
        match what % 8 {
            // At most about a second: whoever is not ready is asked again every millisecond.
            0 => self.run(u64::from(value) << (which % 22)),
            1 => self.post_receive(usize::from(which % 2)),
            2 => self.post_send(usize::from(which % 2), value, u32::from(length) * 16),
            3 => {
                let victim = &mut self.sides[1];
                if let (1, Some(queue_pair)) = (which % 64, victim.queue_pair) {
                    victim.endpoint.disconnect(queue_pair, self.world.now());
                }
            }
            _ => self.inject(what, which, place, value, length),
        }
    }

    /// A packet in the peer's name, or in a stranger's, that is nearly right.
    fn inject(&mut self, what: u8, which: u8, place: u8, value: u8, length: u8) {
        let opcode = Opcode::ALL[usize::from(which) % Opcode::ALL.len()];
        let reth = Reth {
            address: self.window.address.wrapping_add(u64::from(place) * 8).wrapping_sub(if value & 1 == 0 {
                0
            } else {
                4
            }),
            key: self.window.key.0 ^ u32::from(value & 0x0e == 0x0e),
            bytes: u32::from(length) << (value & 7),
        };
        let aeth = match value % 4 {
            0 => Syndrome::Ack { credits: 31 },
            1 => Syndrome::ReceiverNotReady { timer: RnrTimer::new(value % 32) },
            2 => Syndrome::Nak(rdma::soft::wire::NakCode::SequenceError),
            _ => Syndrome::Nak(rdma::soft::wire::NakCode::RemoteAccess),
        };
        let extension = match opcode {
            Opcode::WriteFirst | Opcode::WriteOnly | Opcode::ReadRequest => Extension::Reth(reth),
            Opcode::WriteOnlyImmediate => Extension::RethImmediate(reth, 1),
            Opcode::SendLastInvalidate | Opcode::SendOnlyInvalidate => Extension::Invalidate(reth.key),
            Opcode::SendLastImmediate | Opcode::SendOnlyImmediate | Opcode::WriteLastImmediate => {
                Extension::Immediate(7)
            }
            Opcode::Acknowledge
            | Opcode::ReadResponseFirst
            | Opcode::ReadResponseLast
            | Opcode::ReadResponseOnly => Extension::Aeth(Aeth { syndrome: aeth, msn: u32::from(place) }),
            Opcode::DatagramSendOnly => {
                Extension::Deth(Deth { queue_key: 0x8001_0000, source: Qpn::CONNECTION_MANAGER })
            }
            _ => Extension::None,
        };
        let is_management = opcode == Opcode::DatagramSendOnly;
        let headers = Headers {
            opcode,
            destination: if is_management { Qpn::CONNECTION_MANAGER } else { self.number },
            // Around the number that is expected.
            psn: Psn::new(self.psn.wrapping_add(u32::from(place % 16)).wrapping_sub(4)),
            ack_request: value & 0x80 == 0,
            solicited: false,
            extension,
        };
        let bytes = if is_management {
            256
        } else {
            [0, 1, 255, 256, 257, u32::from(length)][usize::from(length) % 6]
        };
        let payload = vec![value; if opcode.has_payload() { bytes as usize } else { 0 }];
        let from = if what & 0x80 == 0 { self.addresses[0] } else { "fd00::3".parse().unwrap() };
        let packet = packet(from, self.addresses[1], &headers, &payload);
        if what & 0x40 == 0 && opcode.is_response() == (place & 0x10 == 0) && !is_management {
            // What is in order moves the number that is expected on.
            self.psn = headers.psn.value().max(self.psn);
        }
        let now = self.world.now();
        self.world.network().send(from, self.addresses[1], packet, now);
        self.run(20_000);
    }

    /// No byte beside the window has changed, and everything comes back.
    fn finish(mut self) {
        for start in [0, CHUNK_BYTES - GUARD_BYTES] {
            let mut bytes = [0; GUARD_BYTES as usize];
            self.whole.read(start, &mut bytes).unwrap();
            assert!(bytes.iter().all(|byte| *byte == 0x5a), "something outside the window was written");
        }
        let now = self.world.now();
        for side in &mut self.sides {
            if let Some(queue_pair) = side.queue_pair {
                side.endpoint.destroy(queue_pair, now);
            }
        }
        drop(self.whole);
        for side in self.sides {
            drop(side.endpoint);
            assert_eq!(side.pool.available(), CHUNKS as usize, "memory did not come back");
        }
    }
}

fuzz_target!(|input: &[u8]| {
    let mut scene = Scene::new();
    input.as_chunks::<5>().0.iter().take(STEPS_MAX).for_each(|step| scene.step(*step));
    scene.finish();
});
