//! I/O of a remote namespace against a small target on the loopback network.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod small_target;

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use block::conformance::Subject;
use block::{BlockDevice, OpenOptions, Openers, Scheme};
use initiator::open_rdma;
use small_target::{SmallTarget, open_device};

/// A device and the target behind it.
fn open(uri: &str) -> Arc<dyn BlockDevice> {
    let mut openers = Openers::default();
    openers.register(Scheme::Rdma, Box::new(open_rdma));
    openers.open_text(uri, &OpenOptions::READ_WRITE).unwrap()
}

#[test]
fn a_namespace_is_what_its_device_is() {
    let backing = open_device("mem:1MiB");
    let target = SmallTarget::start("127.96.0.1", &backing);
    let device = open(&target.uri(""));
    assert_eq!(device.geometry().blocks, backing.geometry().blocks);
    assert_eq!(device.geometry().block_size, backing.geometry().block_size);
    assert_eq!(device.identity().uuid, Some(uuid::Uuid::from_u128(0x5eed)));
    assert_eq!(device.identity().serial, "small");
    assert_eq!(target.seen.associations.load(Ordering::Relaxed), 1);
}

/// A remote namespace whose target runs until the process ends: queues outlive everything else.
fn remote(backing: &str, parameters: &str) -> Arc<dyn BlockDevice> {
    static NEXT: AtomicU8 = AtomicU8::new(10);
    let address = format!("127.96.1.{}", NEXT.fetch_add(1, Ordering::Relaxed));
    let target = SmallTarget::start(&address, &open_device(backing));
    let device = open(&target.uri(parameters));
    std::mem::forget(target);
    device
}

block::conformance_tests!(mem_512, Subject::new(|| remote("mem:1MiB", "")));
block::conformance_tests!(
    mem_4096_by_windows_only,
    Subject::new(|| remote("mem:4MiB?bs=4096", "&in_capsule=0"))
);
block::conformance_tests!(
    null_in_a_shallow_queue,
    Subject::new(|| remote("null:64MiB", "&depth=2")).without_data()
);
