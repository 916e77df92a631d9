//! The host against the target that we ship, in one process, over soft RDMA on the loopback network.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use block::conformance::Subject;
use block::{BlockDevice, Identity, OpenOptions, Openers, Scheme};
use initiator::{AdminClient, RemoteOptions, discover, host_identity, open_rdma};
use nvme_spec::Nsid;
use nvme_spec::command::LogPageId;
use nvmf::controller::{NamespaceInfo, SubsystemOptions};
use nvmf::wire::Nqn;
use rdma::ProviderChoice;
use target_daemon::engine::{Engine, EngineOptions};

const SUBSYSTEM: &str = "nqn.2024-05.com.example:engine";
const HOST: &str = "nqn.2014-08.org.nvmexpress:uuid:00112233-4455-6677-8899-aabbccddeeff";

fn openers() -> Openers {
    let mut openers = Openers::with_builtin();
    openers.register(Scheme::Rdma, Box::new(open_rdma));
    openers
}

fn open(uri: &str) -> Arc<dyn BlockDevice> {
    openers().open_text(uri, &OpenOptions::READ_WRITE).unwrap()
}

fn subsystem() -> Nqn {
    SUBSYSTEM.parse().unwrap()
}

/// An engine with two reactors that exports devices as namespaces 1 and up.
fn engine(address: &str, devices: &[&Arc<dyn BlockDevice>]) -> Engine {
    let listen = SocketAddr::new(address.parse().unwrap(), 4420);
    let options = EngineOptions {
        reactors: vec![None, None],
        provider: ProviderChoice::Soft,
        listeners: vec![listen],
        ..EngineOptions::default()
    };
    let engine = Engine::start(options).unwrap();
    let options = SubsystemOptions { allow_any_host: true, ..SubsystemOptions::new(subsystem(), "engine") };
    engine.add_subsystem(options).unwrap();
    for (nsid, device) in (1u32..).zip(devices) {
        let Identity { nguid, eui64, .. } = device.identity();
        let info = NamespaceInfo {
            nsid: Nsid(nsid),
            geometry: device.geometry(),
            abilities: device.abilities(),
            metadata_bytes: 0,
            uuid: Some(uuid::Uuid::from_u128(u128::from(nsid))),
            nguid,
            eui64,
        };
        engine.add_namespace(&subsystem(), info, Arc::clone(device)).unwrap();
    }
    engine
}

fn uri(address: &str, parameters: &str) -> String {
    format!("rdma://{address}/{SUBSYSTEM}?hostnqn={HOST}{parameters}")
}

/// A remote namespace whose target runs until the process ends: queues outlive everything else.
fn remote(backing: &str, parameters: &str) -> Arc<dyn BlockDevice> {
    static NEXT: AtomicU8 = AtomicU8::new(10);
    let address = format!("127.94.1.{}", NEXT.fetch_add(1, Ordering::Relaxed));
    std::mem::forget(engine(&address, &[&open(backing)]));
    open(&uri(&address, parameters))
}

block::conformance_tests!(mem_512, Subject::new(|| remote("mem:1MiB", "")));
block::conformance_tests!(mem_4096, Subject::new(|| remote("mem:4MiB?bs=4096", "&in_capsule=0&queues=8")));
block::conformance_tests!(null, Subject::new(|| remote("null:64MiB", "")).without_data());

fn options() -> RemoteOptions {
    RemoteOptions::new(host_identity(Some(HOST), None).unwrap())
}

#[test]
fn admin_commands_are_answered() {
    let address = "127.94.0.1";
    let devices = [open("mem:1MiB"), open("null:1GiB")];
    let engine = engine(address, &[&devices[0], &devices[1]]);
    let client = AdminClient::connect(engine.listening()[0], &subsystem(), &options()).unwrap();
    let controller = client.controller().unwrap();
    assert_eq!(controller.identify.sn.to_string(), "engine");
    assert_eq!(client.namespaces().keys().copied().collect::<Vec<_>>(), [Nsid(1), Nsid(2)]);
    let smart = client.get_log(LogPageId::SMART_HEALTH, Nsid::ALL, 512).unwrap();
    assert_eq!(smart.len(), 512);
}

#[test]
fn subsystems_are_discovered() {
    let address = "127.94.0.2";
    let engine = engine(address, &[&open("mem:1MiB")]);
    let found = discover(engine.listening()[0], &options()).unwrap();
    let subsystems = found.subsystems();
    assert_eq!(subsystems.len(), 1, "{found:?}");
    assert_eq!((subsystems[0].address, &subsystems[0].subsystem), (engine.listening()[0], &subsystem()));
    assert!(discover("127.94.0.99:4420".parse().unwrap(), &options()).is_err());
}
