//! Why a thing of this crate could not be had.

use std::io;
use std::net::IpAddr;

use thiserror::Error;

/// Why devices cannot be listed.
#[derive(Debug, Error)]
pub enum DevicesError {
    /// A native library is not there.
    #[error("{library} cannot be loaded: {reason}")]
    Library {
        /// Which.
        library: &'static str,
        /// The loader's words.
        reason: String,
    },
    /// The operating system refused.
    #[error("devices cannot be listed: {0}")]
    System(io::Error),
}

/// Why a device cannot be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The devices themselves cannot be found out.
    #[error(transparent)]
    Devices(#[from] DevicesError),
    /// No device has that address.
    #[error("no {provider} device has the address {address}")]
    NoDevice {
        /// The provider that was asked.
        provider: &'static str,
        /// The address.
        address: IpAddr,
    },
    /// Somebody else has the RoCEv2 port there.
    #[error(
        "UDP port 4791 of {address} is taken: by another process of this kind, or by the kernel's rdma_rxe, which takes it on \
         all addresses of a network namespace"
    )]
    PortTaken {
        /// The address.
        address: IpAddr,
    },
    /// An option cannot be met.
    #[error("{0}")]
    Unfit(String),
    /// The operating system refused.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Its answer.
        source: io::Error,
    },
}

/// Why a queue pair, a shared receive queue or an endpoint cannot be made.
#[derive(Debug, Error)]
pub enum CreateError {
    /// There are as many as there can be.
    #[error("there are {limit} {what} already, which is the most")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// The most.
        limit: u64,
    },
    /// A number asked for is too large, or zero.
    #[error("{what} must be between 1 and {limit}, not {asked}")]
    Unfit {
        /// Which.
        what: &'static str,
        /// What was asked for.
        asked: u64,
        /// The most.
        limit: u64,
    },
    /// The address is of another family than the device's, or not one that can be connected to.
    #[error("the address {0} cannot be connected to from this device")]
    Address(IpAddr),
    /// Private data is longer than the message's field.
    #[error("{asked} bytes of private data; {limit} fit")]
    PrivateData {
        /// What was given.
        asked: usize,
        /// The most.
        limit: usize,
    },
    /// What was named does not exist (any more).
    #[error("{0} is gone")]
    Gone(&'static str),
    /// The request was withdrawn, or answered by its timeout.
    #[error("the request to connect is gone")]
    RequestGone,
    /// The operating system or the device refused.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Its answer.
        source: io::Error,
    },
}

/// Why an endpoint cannot listen.
#[derive(Debug, Error)]
pub enum ListenError {
    /// An endpoint of this device listens on that port, or another process does.
    #[error("port {0} is taken")]
    PortTaken(u16),
    /// There are as many listeners as there can be.
    #[error("there are {0} listeners already, which is the most")]
    TooMany(u32),
    /// The operating system or the device refused.
    #[error("listening failed: {0}")]
    System(io::Error),
}

/// Why an answer cannot be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum AnswerError {
    /// What was to be answered or taken away is gone.
    #[error("it is gone")]
    Gone,
    /// Private data is longer than the message's field.
    #[error("too much private data")]
    PrivateData,
    /// It is still in use.
    #[error("it is in use")]
    InUse,
}

/// Why memory cannot be put behind a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BindError {
    /// The queue pair is gone or in error.
    #[error("the queue pair is gone or in error")]
    QueuePair,
    /// The segment's region is not attached to the device.
    #[error("the memory is not attached to the device")]
    NotAttached,
    /// The segment is empty, or no right is given.
    #[error("an empty window")]
    Empty,
    /// All windows are bound.
    #[error("all windows are bound")]
    TooMany,
    /// The device cannot do windows, or refused.
    #[error("the device refused (error {0})")]
    Device(i32),
}

/// Why work was not taken. It is still where it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PostError {
    /// What it was posted to is gone.
    #[error("the queue is gone")]
    Gone,
    /// The connection is not made yet: only receives can be posted.
    #[error("the connection is not made yet")]
    NotConnected,
    /// The first piece of work cannot be carried out by this device: too many segments or bytes, memory that is not
    /// attached, an inline read. It stays at the front.
    #[error("the work cannot be carried out: {0}")]
    Unfit(&'static str),
    /// The device refused.
    #[error("the device refused (error {0})")]
    Device(i32),
}
