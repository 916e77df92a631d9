//! The contract of the seam, held by the soft provider over real sockets.
#![allow(clippy::expect_used, reason = "a test")]

use std::net::IpAddr;
use std::sync::LazyLock;

use rdma::conformance::{ENDPOINTS_MAX, RealTime, Setting, Subject};
use rdma::soft::Soft;
use rdma::{DeviceOptions, PathMtu, Provider};

/// Tests of a module that may run at once.
const TESTS_AT_ONCE_MAX: u16 = 15;

type Device = <Soft as Provider>::Device;

/// Devices are opened once for each module of tests: an address has one owner.
#[derive(Clone)]
struct Pair {
    client: Device,
    server: Device,
}

impl Pair {
    fn open(client: &str, server: &str, mtu: Option<PathMtu>) -> Self {
        let options = DeviceOptions { endpoints_max: ENDPOINTS_MAX * TESTS_AT_ONCE_MAX, mtu };
        let open = |address: &str| {
            let address: IpAddr = address.parse().expect("an address");
            Soft.open(address, &options).expect("the loopback interface has the address and nobody its port")
        };
        let client_device = open(client);
        let server_device = if client == server { client_device.clone() } else { open(server) };
        Self { client: client_device, server: server_device }
    }
}

impl Subject for Pair {
    type Device = Device;

    fn setting(&self) -> Setting<Device> {
        Setting {
            client: self.client.clone(),
            server: self.server.clone(),
            time: Box::new(RealTime::start()),
        }
    }
}

macro_rules! pair {
    ($name:ident, $static:ident, $client:expr, $server:expr, $mtu:expr) => {
        static $static: LazyLock<Pair> = LazyLock::new(|| Pair::open($client, $server, $mtu));
        rdma::conformance_tests!($name, $static.clone());
    };
}

pair!(ipv4, IPV4, "127.77.1.1", "127.77.1.2", None);
pair!(ipv4_small_packets, SMALL, "127.77.2.1", "127.77.2.2", Some(PathMtu::Bytes256));
// The loopback interface has one IPv6 address: both sides share it.
pair!(ipv6, IPV6, "::1", "::1", None);
