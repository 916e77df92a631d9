//! Why a remote subsystem cannot be attached, or does not answer.

use std::io;
use std::net::{IpAddr, SocketAddr};

use block::SleepError;
use dma::{AttachError, PoolError};
use nvme_spec::Status;
use nvmf::host::{Failure, OptionsError};
use rdma::{ConnectionError, LocalAddressError, NotBuilt};
use thiserror::Error;

use crate::resolve::ResolveError;

/// Why there is no association with a remote subsystem.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// The host's name means nothing.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// There is no address to come from.
    #[error(transparent)]
    Local(#[from] LocalAddressError),
    /// Every address to come from is somebody else's.
    #[error("none of {tried} addresses of the loopback network is free; the last was {last}: {source}")]
    NoFreeAddress {
        /// How many were tried.
        tried: usize,
        /// The last one.
        last: IpAddr,
        /// Why it was not to be had.
        source: rdma::OpenError,
    },
    /// The RDMA device cannot be opened.
    #[error(transparent)]
    Device(#[from] rdma::OpenError),
    /// The provider that was asked for is not in this program.
    #[error(transparent)]
    NotBuilt(#[from] NotBuilt),
    /// An endpoint or a queue pair cannot be made.
    #[error("the RDMA device refused: {0}")]
    Create(#[from] rdma::CreateError),
    /// There is no memory for capsules.
    #[error(transparent)]
    Memory(#[from] PoolError),
    /// The RDMA device does not take the memory of capsules.
    #[error(transparent)]
    Attach(#[from] AttachError),
    /// The options contradict each other.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// There is no thread for the controller.
    #[error("no thread for the controller: {0}")]
    Thread(io::Error),
    /// A thread cannot sleep.
    #[error(transparent)]
    Sleep(#[from] SleepError),
    /// There is no connection.
    #[error("{peer}: {error}")]
    NoConnection {
        /// The peer.
        peer: SocketAddr,
        /// Why.
        error: Box<ConnectionError>,
    },
    /// The subsystem refused, or did not answer.
    #[error("{0}")]
    Refused(#[from] Failure),
    /// The discovery log could not be read.
    #[error(transparent)]
    Discovery(#[from] nvmf::host::discovery::DiscoveryError),
}

impl ConnectError {
    /// Whether trying again cannot help, as far as the other side has said.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        match self {
            Self::Refused(failure) => failure.is_final(),
            Self::Options(_) | Self::NotBuilt(_) => true,
            _ => false,
        }
    }
}

/// Why an admin command has no answer, or a bad one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum AdminError {
    /// There is no association now, or too many commands are in flight.
    #[error("the controller takes no command now")]
    NotReady,
    /// The association was lost before the answer came.
    #[error("the association was lost before the answer came")]
    Lost,
    /// The answer took too long.
    #[error("no answer in time")]
    TimedOut,
    /// The controller refused.
    #[error("the controller says: {0}")]
    Status(Status),
    /// The data is longer or shorter than a command can move.
    #[error("{0} bytes cannot be moved by one command")]
    Length(usize),
}
