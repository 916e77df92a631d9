//! The host against the target that we ship, in one process, over soft RDMA on the loopback network.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods, reason = "tests")]

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Duration;

use block::conformance::Subject;
use block::{
    BlockDevice, BlockRange, Completion, Event, Identity, IoError, Lba, MonotonicClock, Op, OpenOptions,
    Openers, QueueOptions, Request, Scheme, Timestamp, WakeMode,
};
use dma::{MemoryOptions, Pool, PoolOptions};
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

/// Writes and reads back, block by block, with whatever depth; every request must end well.
fn work(device: &Arc<dyn BlockDevice>, thread: u64, until: &AtomicBool) -> u64 {
    let memory = MemoryOptions { ordinary_pages: true, ..MemoryOptions::default() };
    let pool = Pool::new(PoolOptions { chunk_bytes: 4096, chunks: 16, memory }).unwrap();
    device.attach_memory(pool.region()).unwrap();
    let mut queue = device.open_queue(QueueOptions { depth: 8, wake: WakeMode::Polled }).unwrap();
    let clock = MonotonicClock::start();
    let mut round = 0u64;
    while !until.load(Ordering::Acquire) || round == 0 {
        round += 1;
        for op in [Op::Write { fua: false }, Op::Read] {
            let mut requests: VecDeque<_> = (0..8u64)
                .map(|slot| {
                    let mut buffer = pool.take().unwrap();
                    let stamp = if op == Op::Read { 0 } else { round << 16 | thread << 8 | slot };
                    buffer.write(0, &stamp.to_le_bytes()).unwrap();
                    let range = BlockRange::new(Lba(thread * 8 + slot), 1);
                    Request::new(op, range, buffer.into_segment().into()).with_tag(slot)
                })
                .collect();
            let mut done = Vec::new();
            let end = clock.now().after(Duration::from_secs(60));
            queue.submit(&mut requests, clock.now());
            while done.len() < 8 {
                assert!(clock.now() < end, "everything ends");
                queue.poll(&mut done, clock.now());
                while queue.poll_event().is_some() {}
                std::thread::yield_now();
            }
            for Completion { request, result } in done {
                assert_eq!(result, Ok(()));
                let mut stamp = [0; 8];
                request.data.read(0, &mut stamp).unwrap();
                let wanted = round << 16 | thread << 8 | request.tag;
                assert_eq!(u64::from_le_bytes(stamp), wanted, "the newest write is read");
            }
        }
    }
    round
}

#[test]
fn io_of_many_threads_goes_on_when_the_target_is_started_again() {
    let address = "127.94.0.3";
    let backing = open("mem:4MiB?bs=4096");
    let mut running = Some(engine(address, &[&backing]));
    let device = open(&uri(address, "&queues=4"));
    let until = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (device, until) = (&device, &until);
        let threads: Vec<_> = (0..4).map(|thread| scope.spawn(move || work(device, thread, until))).collect();
        for _ in 0..3 {
            std::thread::sleep(Duration::from_millis(300));
            drop(running.take());
            std::thread::sleep(Duration::from_millis(100));
            running = Some(engine(address, &[&backing]));
        }
        until.store(true, Ordering::Release);
        threads.into_iter().for_each(|thread| assert!(thread.join().unwrap() > 0));
    });
    assert!(running.is_some());
}

#[test]
fn a_namespace_that_another_has_taken_the_place_of_gets_no_io() {
    let address = "127.94.0.4";
    let backing = open("mem:4MiB?bs=4096");
    let first = engine(address, &[&backing]);
    let device = open(&uri(address, ""));
    drop(first);
    let other = open("mem:4MiB?bs=4096");
    let second = engine(address, &[]);
    let info = NamespaceInfo {
        nsid: Nsid(1),
        geometry: other.geometry(),
        abilities: other.abilities(),
        metadata_bytes: 0,
        uuid: Some(uuid::Uuid::from_u128(99)),
        nguid: None,
        eui64: None,
    };
    second.add_namespace(&subsystem(), info, other).unwrap();
    let mut queue = device.open_queue(QueueOptions { depth: 1, wake: WakeMode::Polled }).unwrap();
    let clock = MonotonicClock::start();
    let (mut requests, mut done) = (VecDeque::from([Request::flush()]), Vec::new());
    queue.submit(&mut requests, clock.now());
    while done.is_empty() && clock.now() < Timestamp::default().after(Duration::from_secs(60)) {
        queue.poll(&mut done, clock.now());
        std::thread::yield_now();
    }
    assert_eq!(done.remove(0).result, Err(IoError::Gone));
    assert_eq!(queue.poll_event().map(|event| matches!(event, Event::IncarnationChanged(_))), Some(true));
    assert_eq!(queue.poll_event(), Some(Event::Removed));
}
