//! The conformance suite in virtual time: on a good network, and on bad ones.

use std::net::IpAddr;
use std::time::Duration;

use block::{Sleeper, Timestamp};
use rdma::PathMtu;
use rdma::conformance::{ENDPOINTS_MAX, Setting, Subject, Time};
use rdma::soft::SoftDevice;
use sim::{Faults, SEED_VARIABLE};

use crate::link::{SimLinks, World};

/// Soft devices on a simulated network of their own for each test.
struct Simulated {
    addresses: [&'static str; 2],
    mtu: PathMtu,
    faults: Faults,
}

struct SimulatedTime(World);

impl Time for SimulatedTime {
    fn now(&self) -> Timestamp {
        self.0.now()
    }

    fn pass(&mut self, _: &mut Sleeper, until: Timestamp) {
        self.0.pass(until);
    }

    fn is_real(&self) -> bool {
        false
    }
}

impl Subject for Simulated {
    type Device = SoftDevice<SimLinks>;

    fn setting(&self) -> Setting<Self::Device> {
        let seed = std::env::var(SEED_VARIABLE).ok().and_then(|text| text.parse().ok()).unwrap_or(1);
        let world = World::new(seed, self.faults);
        let [client, server] = self.addresses.map(|address| address.parse::<IpAddr>().unwrap());
        let device = |address, seed| world.device(address, ENDPOINTS_MAX * 2, self.mtu, seed);
        let first = device(client, 2 * seed);
        let second = if client == server { first.clone() } else { device(server, 2 * seed + 1) };
        Setting { client: first, server: second, time: Box::new(SimulatedTime(world)) }
    }

    fn exempt(&self) -> &[(&'static str, &'static str)] {
        if self.faults == Faults::NONE { &[] } else { &NAMING_THE_CAUSE }
    }
}

/// These want the requester to learn why it was refused. Where packets are lost the peer's word that it has disconnected
/// may come before the repetition of the NAK, and then the work flushes.
const NAMING_THE_CAUSE: [(&str, &str); 8] = {
    const REASON: &str = "the NAK can be lost, and the disconnect overtakes its repetition";
    [
        ("access_without_a_key_is_refused", REASON),
        ("access_beyond_the_window_is_refused", REASON),
        ("access_without_the_right_is_refused", REASON),
        ("access_by_another_queue_pair_is_refused", REASON),
        ("an_invalidated_window_is_unbound", REASON),
        ("unbound_windows_are_closed", REASON),
        ("too_long_messages_end_the_connection", REASON),
        ("one_failure_leaves_the_others_alone", REASON),
    ]
};

const IPV4: [&str; 2] = ["10.0.0.1", "10.0.0.2"];
const IPV6: [&str; 2] = ["fd00::1", "fd00::2"];

/// Corruption over IPv6, where the ICRC is exact.
const BAD: Faults = Faults {
    loss: 10_000,
    duplication: 20_000,
    reordering: 20_000,
    corruption: 10_000,
    delay_max: Duration::from_micros(40),
    late_max: Duration::from_micros(300),
    ..Faults::NONE
};

rdma::conformance_tests!(
    good_ipv4,
    Simulated { addresses: IPV4, mtu: PathMtu::Bytes1024, faults: Faults::NONE }
);
rdma::conformance_tests!(
    good_ipv6,
    Simulated { addresses: IPV6, mtu: PathMtu::Bytes4096, faults: Faults::NONE }
);
rdma::conformance_tests!(
    one_device,
    Simulated { addresses: [IPV4[0], IPV4[0]], mtu: PathMtu::Bytes1024, faults: Faults::NONE }
);
rdma::conformance_tests!(bad, Simulated { addresses: IPV6, mtu: PathMtu::Bytes512, faults: BAD });
