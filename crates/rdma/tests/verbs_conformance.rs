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
struct OneAddress {
    address: IpAddr,
    is_rxe: bool,
}

/// Where the kernel's rdma_rxe (6.12) goes other ways than the standard, whoever uses it.
const RXE: &[(&str, &str)] = &[
    (
        "too_long_messages_end_the_connection",
        "rdma_rxe answers with a remote operational error, not invalid request",
    ),
    (
        "invalidating_what_is_not_bound_ends_the_connection",
        "rdma_rxe lets a peer invalidate windows of other queue pairs",
    ),
    (
        "access_beyond_the_window_is_refused",
        "rdma_rxe checks the bounds of the region and not those of the window",
    ),
];

impl Subject for OneAddress {
    type Device = VerbsDevice;

    fn setting(&self) -> Setting<VerbsDevice> {
        let open = || {
            Verbs
                .open(self.address, &DeviceOptions::default())
                .expect("the address belongs to an RDMA device")
        };
        Setting { client: open(), server: open(), time: Box::new(RealTime::start()) }
    }

    fn exempt(&self) -> &[(&'static str, &'static str)] {
        if self.is_rxe { RXE } else { &[] }
    }
}

#[test]
#[ignore = "needs an RDMA device: set REMORA_VERBS_ADDRESS to an address of one"]
fn the_contract_holds_on_a_device() {
    let address = std::env::var("REMORA_VERBS_ADDRESS")
        .expect("REMORA_VERBS_ADDRESS is not set: nothing was tried on any RDMA device")
        .parse()
        .expect("REMORA_VERBS_ADDRESS is an IP address");
    let device =
        Verbs.open(address, &DeviceOptions::default()).expect("the address belongs to an RDMA device");
    println!("{:#?}", rdma::Device::info(&device));
    let is_rxe = rdma::Device::info(&device).name.starts_with("rxe");
    let summary = run_all(&OneAddress { address, is_rxe }, |rule| println!("{rule}"));
    println!(
        "{} rules kept, {} broken, exempt: {:?}",
        summary.passed.len(),
        summary.failed.len(),
        summary.exempt
    );
    assert!(summary.failed.is_empty(), "{:#?}", summary.failed);
    assert!(summary.passed.len() > summary.exempt.len(), "hardly a rule was tried");
}
