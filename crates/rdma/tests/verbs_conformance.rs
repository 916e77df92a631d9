//! The contract of the seam, held by the provider `verbs` on a real RDMA device: an adapter, or the kernel's rdma_rxe.
//!
//! Needs such a device, and so runs only when it is asked for:
//!
//! ```sh
//! REMORA_VERBS_ADDRESS=192.0.2.1 cargo test -p rdma --features verbs --test verbs_conformance -- --ignored
//! ```
#![cfg(feature = "verbs")]
#![allow(clippy::expect_used, reason = "a test")]

use std::net::IpAddr;

use rdma::conformance::{RealTime, Setting, Subject, run_all};
use rdma::verbs::{Verbs, VerbsDevice};
use rdma::{DeviceOptions, Provider};

/// Both sides on the device of one address, opened anew for each test.
struct OneAddress(IpAddr);

impl Subject for OneAddress {
    type Device = VerbsDevice;

    fn setting(&self) -> Setting<VerbsDevice> {
        let open = || Verbs.open(self.0, &DeviceOptions::default()).expect("the address belongs to an RDMA device");
        Setting { client: open(), server: open(), time: Box::new(RealTime::start()) }
    }
}

#[test]
#[ignore = "needs an RDMA device: set REMORA_VERBS_ADDRESS to an address of one"]
fn the_contract_holds_on_a_device() {
    let address = std::env::var("REMORA_VERBS_ADDRESS")
        .expect("REMORA_VERBS_ADDRESS is not set: nothing was tried on any RDMA device")
        .parse()
        .expect("REMORA_VERBS_ADDRESS is an IP address");
    let device = Verbs.open(address, &DeviceOptions::default()).expect("the address belongs to an RDMA device");
    println!("{:#?}", rdma::Device::info(&device));
    let summary = run_all(&OneAddress(address));
    println!("{summary}");
    assert!(summary.failed.is_empty(), "{summary}");
}
