//! The connection manager under a sequence of messages, calls and time: it stays within its bounds, and when all falls silent
//! nothing is left but connections.
#![no_main]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use block::Timestamp;
use libfuzzer_sys::fuzz_target;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rdma::soft::cm::{CmEvent, CmOptions, ConnectionManager, LocalQueuePair, Shard};
use rdma::soft::wire::Qpn;
use rdma::soft::wire::mad::{Guid, MAD_BYTES};
use rdma::{ConnectionParameters, PathMtu, PrivateData};

const OURS: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const THEIRS: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));
const PORT: u16 = 4420;
const CONNECTIONS_MAX: u32 = 8;

fn manager(address: IpAddr, guid: u64) -> ConnectionManager {
    let options = CmOptions {
        address,
        guid: Guid(guid),
        shard: Shard::FIRST,
        mtu: PathMtu::Bytes4096,
        connections_max: CONNECTIONS_MAX,
    };
    ConnectionManager::new(options, StdRng::seed_from_u64(guid))
}

/// Two managers; what they send each other is delivered, damaged, repeated or lost, as the input says.
struct World {
    ours: ConnectionManager,
    theirs: ConnectionManager,
    now: Timestamp,
    underway: Vec<(bool, [u8; MAD_BYTES])>,
}

impl World {
    fn step(&mut self, [what, which, value]: [u8; 3]) {
        let local = LocalQueuePair { qpn: Qpn::try_from(u32::from(which)).unwrap(), shared_receives: false };
        let (us, parameters) = (value & 1 == 0, ConnectionParameters::default());
        let (side, other) = if us { (&mut self.ours, THEIRS) } else { (&mut self.theirs, OURS) };
        match what % 8 {
            0 => drop(side.connect(self.now, SocketAddr::new(other, PORT), local, &parameters)),
            1 => match side.poll_event() {
                Some(CmEvent::Requested(request)) if value & 2 == 0 => {
                    drop(side.accept(self.now, request, local, &parameters));
                }
                Some(CmEvent::Requested(request)) if value & 4 == 0 => {
                    let answer = side.reject(self.now, request, &PrivateData::default());
                    answer.unwrap_or_default();
                }
                _ => {}
            },
            2 => side.disconnect(self.now, local.qpn),
            3 => side.established_by_data(local.qpn),
            4 => self.pass(u64::from(which) << (value % 32)),
            5 => self.deliver(which, value, None),
            6 => self.deliver(which, value, Some(value)),
            _ => self.underway.truncate(usize::from(which)),
        }
        self.collect();
    }

    fn pass(&mut self, milliseconds: u64) {
        self.now = self.now.after_ns(milliseconds * 1_000_000);
        self.ours.handle_timeout(self.now);
        self.theirs.handle_timeout(self.now);
    }

    fn deliver(&mut self, which: u8, at: u8, value: Option<u8>) {
        let Some((to_us, mut bytes)) = self.underway.get(usize::from(which)).copied() else { return };
        if let Some(value) = value {
            bytes[usize::from(at)] ^= value;
        }
        let (side, from) = if to_us { (&mut self.ours, THEIRS) } else { (&mut self.theirs, OURS) };
        side.handle_mad(self.now, from, &bytes);
    }

    fn collect(&mut self) {
        for (to_us, side) in [(false, &mut self.ours), (true, &mut self.theirs)] {
            while let Some((_, bytes)) = side.poll_transmit() {
                self.underway.insert(0, (to_us, bytes));
            }
        }
        self.underway.truncate(256);
        for side in [&self.ours, &self.theirs] {
            assert!(side.connections() <= CONNECTIONS_MAX as usize);
        }
    }
}

fuzz_target!(|input: &[u8]| {
    let mut world = World {
        ours: manager(OURS, 1),
        theirs: manager(THEIRS, 2),
        now: Timestamp::from_ns(0),
        underway: Vec::new(),
    };
    world.ours.listen(PORT, 4).unwrap();
    world.theirs.listen(PORT, 4).unwrap();
    for step in input.as_chunks().0 {
        world.step(*step);
    }
    for side in [&mut world.ours, &mut world.theirs] {
        while side.poll_event().is_some() {}
        while let Some(next) = side.next_timeout() {
            side.handle_timeout(next);
            while side.poll_event().is_some() {}
        }
    }
});
