//! What can be told of an engine: numbers since the start, and what there is now.

use std::net::SocketAddr;

use block::{Geometry, Incarnation};
use nvme_spec::{ControllerId, Nsid};
use nvmf::controller::ControllerPhase;
use nvmf::wire::Nqn;

/// Buckets of a [`LatencyHistogram`].
pub const LATENCY_BUCKETS: usize = 32;

/// How long commands took, from the arrival of the capsule to its answer being handed to the RDMA device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LatencyHistogram {
    /// `counts[n]` commands took less than 2^n microseconds, and at least half of that (the first: less than 1 us; the
    /// last: everything else).
    pub counts: [u64; LATENCY_BUCKETS],
    /// The sum of all.
    pub sum_ns: u64,
}

impl Default for LatencyHistogram {
    fn default() -> Self {
        Self { counts: [0; LATENCY_BUCKETS], sum_ns: 0 }
    }
}

impl LatencyHistogram {
    /// How many commands there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The upper end of a bucket in microseconds; `None` for the last one, which has none.
    #[must_use]
    pub const fn bucket_end_us(bucket: usize) -> Option<u64> {
        if bucket + 1 < LATENCY_BUCKETS { Some(1 << bucket) } else { None }
    }

    /// Adds another's counts.
    pub fn add(&mut self, other: &Self) {
        self.sum_ns += other.sum_ns;
        self.counts.iter_mut().zip(other.counts).for_each(|(count, more)| *count += more);
    }
}

/// What was done for a namespace, or for a host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IoCounters {
    /// Reads that were carried out, with or without success.
    pub reads: u64,
    /// Writes likewise.
    pub writes: u64,
    /// Flushes likewise.
    pub flushes: u64,
    /// Everything else: discards, zeroes, compares, verifies, reservations.
    pub others: u64,
    /// Bytes read, by commands that succeeded.
    pub read_bytes: u64,
    /// Bytes written, by commands that succeeded.
    pub written_bytes: u64,
    /// Commands that failed: the device's errors, not malformed commands.
    pub errors: u64,
    /// How long reads took.
    pub read_latency: LatencyHistogram,
    /// How long writes took.
    pub write_latency: LatencyHistogram,
}

impl IoCounters {
    /// Adds another's counts.
    pub fn add(&mut self, other: &Self) {
        self.reads += other.reads;
        self.writes += other.writes;
        self.flushes += other.flushes;
        self.others += other.others;
        self.read_bytes += other.read_bytes;
        self.written_bytes += other.written_bytes;
        self.errors += other.errors;
        self.read_latency.add(&other.read_latency);
        self.write_latency.add(&other.write_latency);
    }
}

/// A controller: one association of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControllerView {
    /// CNTLID.
    pub id: ControllerId,
    /// What the host attached to.
    pub subsystem: Nqn,
    /// The host.
    pub host: Nqn,
    /// Where it connected from.
    pub peer: SocketAddr,
    /// Where it is in its life.
    pub phase: ControllerPhase,
    /// I/O queues that are connected or being drained.
    pub io_queues: usize,
    /// Whether it is for discovery.
    pub is_discovery: bool,
}

/// An exported namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamespaceView {
    /// Its subsystem.
    pub subsystem: Nqn,
    /// Its number.
    pub nsid: Nsid,
    /// The device's name.
    pub device: String,
    /// Its shape now.
    pub geometry: Geometry,
    /// Whether the device is gone for good.
    pub is_device_removed: bool,
    /// What was done.
    pub io: IoCounters,
}

/// A host that has attached since the start, to whatever subsystem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostView {
    /// Its name.
    pub nqn: Nqn,
    /// What was done.
    pub io: IoCounters,
}

/// What a reactor has and did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReactorView {
    /// Connections now.
    pub connections: u64,
    /// Bytes of data buffers.
    pub buffer_bytes: u64,
    /// Bytes of them that are free.
    pub buffer_bytes_free: u64,
    /// Commands that wait for a buffer now.
    pub waiting: u64,
    /// Commands that have waited for a buffer.
    pub waited: u64,
    /// Bytes on their way from hosts' memory now.
    pub read_bytes: u64,
    /// Commands in devices now.
    pub in_devices: u64,
    /// Payload bytes that this process copied for I/O: by the RDMA provider, and where in-capsule data lay as the device
    /// could not have it.
    pub bytes_copied: u64,
    /// Connections that were refused.
    pub refused: u64,
    /// Connections that were closed as their hosts broke the protocol.
    pub violations: u64,
    /// Sleeps.
    pub sleeps: u64,
}

/// All of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EngineStatus {
    /// Controllers.
    pub controllers: Vec<ControllerView>,
    /// Namespaces.
    pub namespaces: Vec<NamespaceView>,
    /// Hosts.
    pub hosts: Vec<HostView>,
    /// Reactors.
    pub reactors: Vec<ReactorView>,
}

/// Something that happened to the device of a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineEvent {
    /// The subsystem.
    pub subsystem: Nqn,
    /// The namespace.
    pub nsid: Nsid,
    /// What.
    pub what: DeviceNews,
}

/// What happened to a device. Hosts have been told what they need to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceNews {
    /// It has another size.
    Resized(Geometry),
    /// It began anew: what no flush covered may be gone.
    IncarnationChanged(Incarnation),
    /// So many media errors so far.
    MediaErrors(u64),
    /// It warns of its own health, or has stopped to.
    Health(nvme_spec::log::CriticalWarning),
    /// It is gone for good: I/O fails from now on. The namespace stays until it is removed.
    Removed,
}
