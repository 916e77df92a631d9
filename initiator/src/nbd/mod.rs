//! Block devices for programs that speak NBD (the network block device protocol, fixed newstyle).
//!
//! - [`wire`]: bytes and their meaning.
//! - [`negotiation`]: what a client and this side agree on; no I/O, no clock.
//! - [`command`]: what a client may ask of an export once they have agreed.
//! - [`ranges`]: which writes must wait for which, where some of them change parts of blocks.
//! - [`server`]: sockets, one thread for an export, and the device below.
//!
//! The clause numbers of comments are those of the protocol's document, doc/proto.md of the NBD project.

pub mod address;
pub mod command;
pub mod export;
pub mod negotiation;
pub mod ranges;
pub mod server;
pub mod wire;

pub use address::{Address, AddressError};
pub use export::{Export, ExportError, ExportName, ExportNameError};
pub use server::{Poll, Server, ServerError, ServerOptions, Status, StopError};
