//! What an engine is made of.

use std::net::SocketAddr;

use nvmf::controller::Limits;
use rdma::ProviderChoice;

/// Most reactors of an engine: each is a thread.
pub const REACTORS_MAX: usize = 64;

/// Most namespaces that an engine exports at once, of all subsystems.
pub const EXPORTS_MAX: usize = 4096;

/// How a reactor waits when it has nothing to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Poll {
    /// It looks again and again: the least latency, and a processor for each reactor.
    Always,
    /// It looks for some microseconds, and then sleeps until something arrives.
    #[default]
    Adaptive,
}

/// The memory that each reactor has. It is taken when the engine starts; nothing is allocated for I/O.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BufferOptions {
    /// Bytes of buffers for the data of I/O commands. When they run out, commands wait in order, shared fairly between hosts.
    pub data_bytes: u64,
    /// Command capsules of I/O queues that can have arrived and not be done with, of all connections together. Each takes
    /// the in-capsule bytes and a page. When they run out, hosts wait.
    pub receives: u32,
    /// Bytes that are on their way from hosts' memory at once. A bound keeps many writers from overrunning this side.
    pub read_bytes: u64,
}

/// Bytes of buffers that a reactor needs at least: two of the largest transfers, and some small ones.
pub const DATA_BYTES_MIN: u64 = 4 << 20;

/// Most bytes of buffers of one reactor.
pub const DATA_BYTES_MAX: u64 = 64 << 30;

/// Least receives of a reactor.
pub const RECEIVES_MIN: u32 = 64;

/// Most receives of a reactor.
pub const RECEIVES_MAX: u32 = 32 << 10;

/// Least bytes on their way from hosts: a page.
pub const READ_BYTES_MIN: u64 = 4096;

impl Default for BufferOptions {
    fn default() -> Self {
        Self { data_bytes: 64 << 20, receives: 2048, read_bytes: 8 << 20 }
    }
}

/// How an engine is to be made.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// One thread for each, on that processor or on any.
    pub reactors: Vec<Option<usize>>,
    /// What RDMA is to be used with.
    pub provider: ProviderChoice,
    /// Where hosts connect to. A wildcard address stands for every address of this machine.
    pub listeners: Vec<SocketAddr>,
    /// What is granted to hosts.
    pub limits: Limits,
    /// Memory of each reactor.
    pub buffers: BufferOptions,
    /// How reactors wait.
    pub poll: Poll,
}

impl Default for EngineOptions {
    /// One reactor, on any processor; nobody can connect yet.
    fn default() -> Self {
        Self {
            reactors: vec![None],
            provider: ProviderChoice::default(),
            listeners: Vec::new(),
            limits: Limits::default(),
            buffers: BufferOptions::default(),
            poll: Poll::default(),
        }
    }
}
