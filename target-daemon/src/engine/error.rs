//! Why an engine cannot be had, or a namespace not be exported.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use nvme_spec::Nsid;
use nvmf::controller::{LimitsError, NamespaceError, SubsystemError};
use thiserror::Error;

/// Why there is no engine.
#[derive(Debug, Error)]
pub enum EngineError {
    /// An option that no engine can have.
    #[error("{0}")]
    Options(String),
    /// Limits that no target can have.
    #[error(transparent)]
    Limits(#[from] LimitsError),
    /// Nobody could connect: there is no address to listen at.
    #[error("no address to listen at")]
    NoListener,
    /// The program was built without a provider that was asked for.
    #[error(transparent)]
    NotBuilt(#[from] rdma::NotBuilt),
    /// The RDMA device of an address cannot be opened.
    #[error("cannot use {address}: {source}")]
    Open {
        /// The address.
        address: IpAddr,
        /// Why.
        source: rdma::OpenError,
    },
    /// The device has no room for what the reactors need.
    #[error("cannot use {address}: {source}")]
    Create {
        /// The address.
        address: IpAddr,
        /// Why.
        source: rdma::CreateError,
    },
    /// The port cannot be listened on.
    #[error("cannot listen at {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: rdma::ListenError,
    },
    /// There is no memory for buffers.
    #[error("no memory for buffers: {0}")]
    Buffers(#[from] dma::PoolError),
    /// The RDMA device cannot have the buffers.
    #[error("cannot use {address}: {source}")]
    Attach {
        /// The address.
        address: IpAddr,
        /// Why.
        source: dma::AttachError,
    },
    /// A reactor cannot sleep.
    #[error("a reactor cannot wait: {0}")]
    Sleep(#[from] block::SleepError),
    /// The kernel gave no thread.
    #[error("no thread for a reactor: {0}")]
    Thread(std::io::Error),
    /// A thread cannot have its processor.
    #[error("a reactor cannot run on processor {0}: there is none, or this process may not use it")]
    Processor(usize),
}

/// Why a namespace is not exported, or not removed.
#[derive(Debug, Error)]
pub enum ExportError {
    /// The target refuses it.
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    /// The subsystem is not there.
    #[error(transparent)]
    Subsystem(#[from] SubsystemError),
    /// As many as there can be.
    #[error("more than {} namespaces", super::options::EXPORTS_MAX)]
    TooMany,
    /// The device cannot have the buffers.
    #[error("the device of namespace {nsid}: {source}")]
    Attach {
        /// Which.
        nsid: Nsid,
        /// Why.
        source: dma::AttachError,
    },
    /// A reactor has no queue of the device.
    #[error("the device of namespace {nsid}: {source}")]
    Queue {
        /// Which.
        nsid: Nsid,
        /// Why.
        source: block::OpenQueueError,
    },
    /// A reactor did not answer.
    #[error("namespace {nsid}: a reactor did not answer within {patience:?}")]
    Silent {
        /// Which.
        nsid: Nsid,
        /// How long it was waited for.
        patience: Duration,
    },
}
