//! The data path of a target: threads that own RDMA endpoints, connections, buffers and device queues.
//!
//! An [`Engine`] serves what it is told to: subsystems, hosts, namespaces on block devices. All methods may be called from any
//! thread at any time; none of them stops I/O of what it does not concern.

mod changes;
mod error;
mod open;
mod options;
mod status;
mod threads;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use block::{BlockDevice, Waker};
use nvme_spec::Nsid;
use nvmf::controller::{NamespaceInfo, SubsystemError, SubsystemOptions};
use nvmf::wire::Nqn;

pub use error::{EngineError, ExportError};
pub use options::{
    BufferOptions, DATA_BYTES_MAX, DATA_BYTES_MIN, EXPORTS_MAX, EngineOptions, Poll, REACTORS_MAX,
    READ_BYTES_MIN, RECEIVES_MAX, RECEIVES_MIN,
};
pub use status::{
    ControllerView, DeviceNews, EngineEvent, EngineStatus, HostView, IoCounters, LATENCY_BUCKETS,
    LatencyHistogram, NamespaceView, ReactorView,
};

use self::changes::Changes;
use crate::hub::{Hub, Message};

/// Most events that wait to be polled.
pub const EVENTS_MAX: usize = 1024;

/// A target that runs. Dropping it ends it at once; [`Self::drain`] lets I/O end first.
#[derive(Debug)]
pub struct Engine {
    hub: Arc<Hub>,
    changes: Changes,
    listening: Vec<SocketAddr>,
    threads: Vec<JoinHandle<()>>,
}

impl Engine {
    /// Where hosts can connect to: a wildcard has become addresses.
    #[must_use]
    pub fn listening(&self) -> &[SocketAddr] {
        &self.listening
    }

    /// Serves a subsystem.
    pub fn add_subsystem(&self, options: SubsystemOptions) -> Result<(), SubsystemError> {
        self.hub.add_subsystem(options)
    }

    /// Serves a subsystem no longer: its controllers are dropped, and its namespaces removed.
    pub fn remove_subsystem(&self, nqn: &Nqn) -> Result<(), ExportError> {
        self.changes.remove_subsystem(nqn)
    }

    /// Changes who may attach to a subsystem; a host that is attached and may no longer is dropped.
    pub fn set_hosts(
        &self,
        nqn: &Nqn,
        allow_any_host: bool,
        hosts: BTreeSet<Nqn>,
    ) -> Result<(), SubsystemError> {
        self.hub.set_hosts(nqn, allow_any_host, hosts)
    }

    /// Exports a device as a namespace. Every reactor opens a queue of it before hosts are told. Requests that are larger than
    /// the device takes are split.
    pub fn add_namespace(
        &self,
        nqn: &Nqn,
        info: NamespaceInfo,
        device: Arc<dyn BlockDevice>,
    ) -> Result<(), ExportError> {
        self.changes.add(nqn, info, device)
    }

    /// Exports a namespace no longer. Hosts are told; what is being carried out ends, or is abandoned when it takes too long;
    /// then queues and the handle of the device are dropped.
    pub fn remove_namespace(&self, nqn: &Nqn, nsid: Nsid) -> Result<(), ExportError> {
        self.changes.remove(nqn, nsid)
    }

    /// How everything is. Numbers of reactors are at most a tenth of a second old.
    #[must_use]
    pub fn status(&self) -> EngineStatus {
        self.hub.status()
    }

    /// The next thing that happened to a device. At most [`EVENTS_MAX`] wait; further ones are dropped.
    #[must_use]
    pub fn poll_event(&self) -> Option<EngineEvent> {
        self.hub.poll_event()
    }

    /// Calls this waker whenever there is an event.
    pub fn wake_on_event(&self, waker: Waker) {
        self.hub.wake_on_event(waker);
    }

    /// Ends: nobody can connect any more, what is being carried out is answered, connections are closed, threads end. What is
    /// not done after `patience` is abandoned. Whether all was done in time.
    #[must_use]
    pub fn drain(self, patience: Duration) -> bool {
        self.changes.drain(patience)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.hub.mailboxes().iter().for_each(|mailbox| mailbox.send(Message::Stop));
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a reactor has panicked");
            }
        }
    }
}
