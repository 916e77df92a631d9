//! The contract of the seam, held by the soft provider over real sockets.
#![allow(clippy::expect_used, reason = "a test")]

use std::net::{IpAddr, Ipv6Addr};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use block::{MonotonicClock, Sleeper};
use rdma::conformance::{ENDPOINTS_MAX, RealTime, Setting, Subject};
use rdma::soft::Soft;
use rdma::{DeviceOptions, OpenError, PathMtu, Provider};

type Device = <Soft as Provider>::Device;

/// Two devices at addresses of their own for each test.
struct Apart {
    mtu: Option<PathMtu>,
}

impl Subject for Apart {
    type Device = Device;

    fn setting(&self) -> Setting<Device> {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let [high, low] = NEXT.fetch_add(2, Ordering::Relaxed).to_be_bytes();
        // Test programs that run at once have networks of their own, as far as 64 go.
        let [.., program] = (128 + std::process::id() % 64).to_be_bytes();
        let open = |low| open([127, program, high, low].into(), ENDPOINTS_MAX, self.mtu);
        Setting { client: open(low), server: open(low + 1), time: Box::new(RealTime::start()) }
    }
}

/// Both sides on one device, which all tests share.
struct Together {
    device: &'static LazyLock<Device>,
}

impl Subject for Together {
    type Device = Device;

    fn setting(&self) -> Setting<Device> {
        let device = || Device::clone(self.device);
        Setting { client: device(), server: device(), time: Box::new(RealTime::start()) }
    }

    fn exempt(&self) -> &[(&'static str, &'static str)] {
        &[(
            "idle_endpoints_let_sleep",
            "other tests connect to the same address, which wakes; held over IPv4",
        )]
    }
}

fn open(address: IpAddr, endpoints_max: u16, mtu: Option<PathMtu>) -> Device {
    let options = DeviceOptions { endpoints_max, mtu };
    let clock = MonotonicClock::start();
    let mut sleeper = Sleeper::new().expect("a sleeper");
    for _ in 0..OPENS_MAX {
        match Soft.open(address, &options) {
            // Another test program, or a process that one is just starting and that still has its sockets.
            Err(OpenError::PortTaken { .. }) => {
                let now = clock.now();
                sleeper.sleep_until(now, now.after(OPEN_PAUSE)).expect("a pause");
            }
            opened => return opened.expect("the loopback interface has the address"),
        }
    }
    panic!("somebody keeps the port of {address}");
}

/// How often, and how far apart, the port is tried for.
const OPENS_MAX: u32 = 600;
const OPEN_PAUSE: Duration = Duration::from_millis(100);

/// The loopback interface has one IPv6 address.
static IPV6: LazyLock<Device> =
    LazyLock::new(|| open(Ipv6Addr::LOCALHOST.into(), SHARED_ENDPOINTS_MAX, None));

/// Enough for as many tests as run at once.
const SHARED_ENDPOINTS_MAX: u16 = 60;

rdma::conformance_tests!(ipv4, Apart { mtu: None });
rdma::conformance_tests!(ipv4_small_packets, Apart { mtu: Some(PathMtu::Bytes256) });
rdma::conformance_tests!(ipv6, Together { device: &IPV6 });
