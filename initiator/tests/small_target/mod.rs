//! A small target for tests of the host: one thread, one connection's command after the other, everything at once in memory.
//! It can be told to do what a real one does only when it fails.
#![allow(dead_code, reason = "each file of tests uses a part of it")]

mod serving;
mod session;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use block::{BlockDevice, OpenOptions, Openers};
use nvme_spec::Nsid;
use nvmf::controller::{Limits, NamespaceInfo, SubsystemOptions, Target};
use nvmf::wire::Nqn;
use rdma::soft::Soft;
use rdma::{DeviceOptions, Provider};

use serving::Serving;

pub const SUBSYSTEM: &str = "nqn.2024-05.com.example:small";
pub const HOST: &str = "nqn.2014-08.org.nvmexpress:uuid:00112233-4455-6677-8899-aabbccddeeff";

/// What a target is told to do wrong.
#[derive(Debug, Default)]
pub struct Faults {
    /// I/O commands are taken and not answered.
    pub silent_io: AtomicBool,
    /// No capsule is answered.
    pub silent: AtomicBool,
    /// Responses leave keys valid.
    pub no_invalidation: AtomicBool,
    /// The next response to I/O is sent twice.
    pub repeat_response: AtomicBool,
    /// Every I/O connection is closed.
    pub drop_io: AtomicBool,
}

/// What a target has seen.
#[derive(Debug, Default)]
pub struct Seen {
    pub commands: AtomicU64,
    pub in_capsule: AtomicU64,
    pub associations: AtomicU64,
}

type Change = Box<dyn FnOnce(&mut Target) + Send>;

/// A target that runs until it is dropped.
pub struct SmallTarget {
    pub address: SocketAddr,
    pub faults: Arc<Faults>,
    pub seen: Arc<Seen>,
    device: Arc<dyn BlockDevice>,
    stop: Arc<AtomicBool>,
    changes: Sender<Change>,
    thread: Option<JoinHandle<()>>,
}

pub fn subsystem() -> Nqn {
    SUBSYSTEM.parse().unwrap()
}

pub fn open_device(uri: &str) -> Arc<dyn BlockDevice> {
    Openers::with_builtin().open_text(uri, &OpenOptions::READ_WRITE).unwrap()
}

pub fn info_of(nsid: u32, device: &dyn BlockDevice) -> NamespaceInfo {
    NamespaceInfo {
        nsid: Nsid(nsid),
        geometry: device.geometry(),
        abilities: device.abilities(),
        metadata_bytes: 0,
        uuid: Some(uuid::Uuid::from_u128(0x5eed)),
        nguid: None,
        eui64: None,
    }
}

impl SmallTarget {
    /// Serves a device as namespace 1 at an address.
    pub fn start(address: &str, device: &Arc<dyn BlockDevice>) -> Self {
        Self::start_with(address, device, Limits::default())
    }

    pub fn start_with(address: &str, device: &Arc<dyn BlockDevice>, limits: Limits) -> Self {
        let ip: IpAddr = address.parse().unwrap();
        let address = SocketAddr::new(ip, 4420);
        let mut target = Target::new(limits).unwrap();
        let options =
            SubsystemOptions { allow_any_host: true, ..SubsystemOptions::new(subsystem(), "small") };
        target.add_subsystem(options).unwrap();
        target.set_listeners(vec![address]);
        target.add_namespace(&subsystem(), info_of(1, &**device)).unwrap();
        let (faults, seen, stop) = (Arc::<Faults>::default(), Arc::<Seen>::default(), Arc::default());
        let (changes, receiver): (_, Receiver<Change>) = channel();
        let rdma = Soft.open(ip, &DeviceOptions::default()).unwrap();
        let watched = (Arc::clone(&faults), Arc::clone(&seen));
        let (stopped, backing): (Arc<AtomicBool>, _) = (Arc::clone(&stop), Arc::clone(device));
        let (listening, is_listening) = channel();
        let thread = std::thread::spawn(move || {
            let serving = Serving::new(rdma, target, backing, watched.0, watched.1);
            listening.send(()).unwrap();
            serving.run(&stopped, &receiver);
        });
        is_listening.recv().unwrap();
        let device = Arc::clone(device);
        Self { address, faults, seen, device, stop, changes, thread: Some(thread) }
    }

    /// Ends without a word to the hosts, beyond what the connection manager says.
    pub fn stop(mut self) -> (String, Arc<dyn BlockDevice>) {
        self.end();
        (self.address.ip().to_string(), Arc::clone(&self.device))
    }

    pub fn change(&self, change: impl FnOnce(&mut Target) + Send + 'static) {
        self.changes.send(Box::new(change)).unwrap();
    }

    pub fn uri(&self, parameters: &str) -> String {
        format!("rdma://{}/{SUBSYSTEM}?hostnqn={HOST}{parameters}", self.address.ip())
    }

    fn end(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for SmallTarget {
    fn drop(&mut self) {
        self.end();
    }
}
