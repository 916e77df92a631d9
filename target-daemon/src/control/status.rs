//! How a target is, as the control socket tells it.

use serde::{Deserialize, Serialize};

use crate::engine::{ControllerView, HostView, IoCounters, LatencyHistogram, NamespaceView, ReactorView};

/// Everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The process.
    pub pid: u32,
    /// The program's version.
    pub program_version: String,
    /// How long it has been up.
    pub uptime_s: u64,
    /// Where hosts connect to.
    pub listening: Vec<String>,
    /// Where changes at run time are kept, if anywhere.
    pub state_dir: Option<String>,
    /// What is served.
    pub subsystems: Vec<SubsystemStatus>,
    /// Who is attached.
    pub controllers: Vec<ControllerStatus>,
    /// Who has been attached.
    pub hosts: Vec<HostStatus>,
    /// The threads that serve.
    pub reactors: Vec<ReactorStatus>,
}

/// A subsystem.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubsystemStatus {
    /// Its name.
    pub nqn: String,
    /// Serial number.
    pub serial: String,
    /// Model.
    pub model: String,
    /// Whether hosts that are not listed may attach.
    pub allow_any_host: bool,
    /// Hosts that are listed.
    pub hosts: Vec<String>,
    /// Its namespaces, by number.
    pub namespaces: Vec<NamespaceStatus>,
}

/// A namespace that is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamespaceStatus {
    /// Its number.
    pub nsid: u32,
    /// What it is on.
    pub device: String,
    /// Whether it is exported.
    pub state: NamespaceState,
    /// Why it is not.
    pub error: Option<String>,
    /// Whether it was added at run time, and is not in the configuration.
    pub is_added: bool,
    /// Whether hosts may only read it.
    pub read_only: bool,
    /// Bytes of a block.
    pub block_bytes: u32,
    /// Blocks.
    pub blocks: u64,
    /// Its UUID.
    pub uuid: Option<String>,
    /// Its NGUID.
    pub nguid: Option<String>,
    /// What was done.
    pub io: IoStatus,
}

/// Whether a namespace is exported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NamespaceState {
    /// Hosts have it.
    Exported,
    /// Hosts have it, and its device is gone.
    DeviceGone,
    /// Its device cannot be had.
    #[default]
    Failed,
}

/// What was done for a namespace or a host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IoStatus {
    /// Reads.
    pub reads: u64,
    /// Writes.
    pub writes: u64,
    /// Flushes.
    pub flushes: u64,
    /// Everything else.
    pub others: u64,
    /// Bytes read.
    pub read_bytes: u64,
    /// Bytes written.
    pub written_bytes: u64,
    /// Commands that failed.
    pub errors: u64,
    /// How long a read took on average.
    pub read_mean_ns: u64,
    /// How long a write took on average.
    pub write_mean_ns: u64,
}

/// A controller: one association of a host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControllerStatus {
    /// CNTLID.
    pub id: u16,
    /// What the host attached to.
    pub subsystem: String,
    /// The host.
    pub host: String,
    /// Where it connected from.
    pub peer: String,
    /// Where it is in its life.
    pub phase: String,
    /// I/O queues.
    pub io_queues: usize,
    /// Whether it is for discovery.
    pub is_discovery: bool,
}

/// A host that has been attached since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostStatus {
    /// Its name.
    pub nqn: String,
    /// What was done.
    pub io: IoStatus,
}

/// A thread that serves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReactorStatus {
    /// Connections.
    pub connections: u64,
    /// Bytes of buffers.
    pub buffer_bytes: u64,
    /// Bytes of them that are free.
    pub buffer_bytes_free: u64,
    /// Commands that wait for a buffer.
    pub waiting: u64,
    /// Commands in devices.
    pub in_devices: u64,
    /// Payload bytes that were copied.
    pub bytes_copied: u64,
    /// Connections that were refused.
    pub refused: u64,
    /// Connections that were closed as their hosts broke the protocol.
    pub violations: u64,
}

impl NamespaceStatus {
    /// Completes it by what the engine knows.
    pub(crate) fn with_view(self, view: &NamespaceView) -> Self {
        let state =
            if view.is_device_removed { NamespaceState::DeviceGone } else { NamespaceState::Exported };
        Self {
            state,
            block_bytes: view.geometry.block_size.bytes(),
            blocks: view.geometry.blocks,
            io: (&view.io).into(),
            ..self
        }
    }
}

impl From<&IoCounters> for IoStatus {
    fn from(io: &IoCounters) -> Self {
        let mean_ns =
            |histogram: &LatencyHistogram| histogram.sum_ns.checked_div(histogram.count()).unwrap_or(0);
        Self {
            reads: io.reads,
            writes: io.writes,
            flushes: io.flushes,
            others: io.others,
            read_bytes: io.read_bytes,
            written_bytes: io.written_bytes,
            errors: io.errors,
            read_mean_ns: mean_ns(&io.read_latency),
            write_mean_ns: mean_ns(&io.write_latency),
        }
    }
}

impl From<&ControllerView> for ControllerStatus {
    fn from(view: &ControllerView) -> Self {
        Self {
            id: view.id.0,
            subsystem: view.subsystem.to_string(),
            host: view.host.to_string(),
            peer: view.peer.to_string(),
            phase: format!("{:?}", view.phase).to_lowercase(),
            io_queues: view.io_queues,
            is_discovery: view.is_discovery,
        }
    }
}

impl From<&HostView> for HostStatus {
    fn from(view: &HostView) -> Self {
        Self { nqn: view.nqn.to_string(), io: (&view.io).into() }
    }
}

impl From<&ReactorView> for ReactorStatus {
    fn from(view: &ReactorView) -> Self {
        Self {
            connections: view.connections,
            buffer_bytes: view.buffer_bytes,
            buffer_bytes_free: view.buffer_bytes_free,
            waiting: view.waiting,
            in_devices: view.in_devices,
            bytes_copied: view.bytes_copied,
            refused: view.refused,
            violations: view.violations,
        }
    }
}
