//! What unit tests of the reactor share: a core without a thread, a device that does what it is told, a host's bytes.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::sync::{Arc, Mutex};

use block::{
    Abilities, BlockDevice, BlockQueue, ClaimTable, Completion, Event, Geometry, Identity, IoError,
    MonotonicClock, NullDevice, OpenQueueError, QueueOptions, Request, Sleeper, Timestamp, Wait,
};
use dma::{AttachError, DmaBuf, Region};
use nvme_spec::{ControllerId, Nsid, QueueId};
use nvmf::controller::{Arrival, Limits, NamespaceInfo, SubsystemOptions};
use nvmf::wire::Nqn;
use nvmf::wire::rdma::RequestData;

use super::buffers::Buffers;
use super::core::Core;
use super::devices::DeviceQueue;
use crate::engine::BufferOptions;
use crate::hub::{ExportSlot, Hub};

pub(super) const SUBSYSTEM: &str = "nqn.2024-05.com.example:drives";
pub(super) const HOST: &str = "nqn.2014-08.org.nvmexpress:uuid:00112233-4455-6677-8899-aabbccddeeff";

pub(super) fn nqn() -> Nqn {
    SUBSYSTEM.parse().unwrap()
}

/// Requests that a device has.
pub(super) type Held = Arc<Mutex<VecDeque<Request>>>;

/// A device that keeps every request until the test completes it.
pub(super) struct Manual {
    inner: NullDevice,
    pub(super) held: Held,
    done: Arc<Mutex<VecDeque<Completion>>>,
}

impl Manual {
    pub(super) fn new(inner: NullDevice) -> Arc<Self> {
        Arc::new(Self { inner, held: Held::default(), done: Arc::default() })
    }

    /// The oldest request ends like this.
    pub(super) fn complete(&self, result: Result<(), IoError>) {
        let request = self.held.lock().unwrap().pop_front().expect("a request");
        self.done.lock().unwrap().push_back(Completion { request, result });
    }

    pub(super) fn held(&self) -> usize {
        self.held.lock().unwrap().len()
    }
}

impl BlockDevice for Manual {
    fn name(&self) -> &str {
        "manual"
    }

    fn geometry(&self) -> Geometry {
        self.inner.geometry()
    }

    fn identity(&self) -> Identity {
        self.inner.identity()
    }

    fn abilities(&self) -> Abilities {
        self.inner.abilities()
    }

    fn attach_memory(&self, region: &Region) -> Result<(), AttachError> {
        self.inner.attach_memory(region)
    }

    fn open_queue(&self, _options: QueueOptions) -> Result<Box<dyn BlockQueue>, OpenQueueError> {
        Ok(Box::new(ManualQueue { held: Arc::clone(&self.held), done: Arc::clone(&self.done) }))
    }

    fn claims(&self) -> &ClaimTable {
        self.inner.claims()
    }
}

struct ManualQueue {
    held: Held,
    done: Arc<Mutex<VecDeque<Completion>>>,
}

impl BlockQueue for ManualQueue {
    fn submit(&mut self, requests: &mut VecDeque<Request>, _now: Timestamp) {
        self.held.lock().unwrap().append(requests);
    }

    fn poll(&mut self, completions: &mut Vec<Completion>, _now: Timestamp) {
        completions.extend(self.done.lock().unwrap().drain(..));
    }

    fn poll_event(&mut self) -> Option<Event> {
        None
    }

    fn depth(&self) -> usize {
        256
    }

    fn in_flight(&self) -> usize {
        self.held.lock().unwrap().len() + self.done.lock().unwrap().len()
    }

    fn wake_descriptors(&self, _descriptors: &mut Vec<RawFd>) {}

    fn prepare_wait(&mut self, _now: Timestamp) -> Wait {
        Wait::Until(Timestamp::NEVER)
    }
}

/// A core of one reactor with little memory, whose namespace 1 is the device.
pub(super) fn core(device: &Arc<Manual>) -> Core {
    let limits = Limits::default();
    let waker = Sleeper::new().unwrap().waker();
    let hub = Arc::new(Hub::new(limits, MonotonicClock::start(), [waker]).unwrap());
    hub.add_subsystem(SubsystemOptions { allow_any_host: true, ..SubsystemOptions::new(nqn(), "SN1") })
        .unwrap();
    let options = BufferOptions { data_bytes: 4 << 20, receives: 64, read_bytes: 1 << 20 };
    let buffers = Buffers::new(&options, &limits, 1).unwrap();
    let mut core = Core::new(0, hub, buffers, &options);
    let shared: Arc<dyn BlockDevice> = Arc::<Manual>::clone(device);
    let slot = core.hub.reserve_export(&nqn(), Nsid(1), shared).unwrap();
    assert_eq!(slot, ExportSlot(0));
    core.devices.insert(slot, DeviceQueue::open(&**device).unwrap());
    let info = NamespaceInfo {
        nsid: Nsid(1),
        geometry: device.geometry(),
        abilities: device.abilities(),
        metadata_bytes: 0,
        uuid: Some(uuid::Uuid::from_u128(1)),
        nguid: None,
        eui64: None,
    };
    core.hub.show_namespace(&nqn(), info, slot, Vec::new()).unwrap();
    core
}

/// Where a connection for this queue comes from.
pub(super) fn arrival(queue: u16, controller: u16) -> Arrival {
    let address = |text: &str| text.parse::<SocketAddr>().unwrap();
    Arrival {
        local: address("192.0.2.1:4420"),
        peer: address("192.0.2.9:40000"),
        request: RequestData {
            queue: QueueId(queue),
            host_receives: 32,
            host_sends: 31,
            controller: ControllerId(controller),
        },
    }
}

/// A buffer with a message in it.
pub(super) fn buffer(core: &Core, bytes: &[u8]) -> DmaBuf {
    let mut buffer = core.buffers.take_receive().unwrap();
    buffer.write(0, bytes).unwrap();
    buffer
}

/// The 1024 bytes of Connect data.
pub(super) fn connect_data(controller: u16) -> Vec<u8> {
    let mut data = vec![0; 1024];
    data[..16].fill(0x5a);
    data[16..18].copy_from_slice(&controller.to_le_bytes());
    data[256..256 + SUBSYSTEM.len()].copy_from_slice(SUBSYSTEM.as_bytes());
    data[512..512 + HOST.len()].copy_from_slice(HOST.as_bytes());
    data
}

/// An entry with a keyed descriptor (of key 11223344h, to be invalidated), or with none for no bytes.
pub(super) fn entry(opcode: u8, nsid: u32, bytes: u32, dwords: [u32; 6]) -> Vec<u8> {
    let mut entry = vec![0; 64];
    entry[..4].copy_from_slice(&[opcode, 0x40, 0x05, 0xf0]);
    entry[4..8].copy_from_slice(&nsid.to_le_bytes());
    entry[32..35].copy_from_slice(&bytes.to_le_bytes()[..3]);
    if bytes > 0 {
        entry[35..39].copy_from_slice(&[0x44, 0x33, 0x22, 0x11]);
    }
    entry[39] = 0x4f;
    for (at, dword) in dwords.into_iter().enumerate() {
        entry[40 + 4 * at..44 + 4 * at].copy_from_slice(&dword.to_le_bytes());
    }
    entry
}

/// A Connect whose data is in the capsule.
pub(super) fn connect(queue: u16, controller: u16) -> Vec<u8> {
    let mut capsule = entry(0x7f, 1, 0, [u32::from(queue) << 16, 31, 0, 0, 0, 0]);
    capsule[32..36].copy_from_slice(&1024_u32.to_le_bytes());
    capsule[39] = 0x01;
    capsule.extend(connect_data(controller));
    capsule
}
