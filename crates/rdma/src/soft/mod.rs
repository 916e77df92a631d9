//! RoCEv2 in userspace.

pub mod cm;
mod endpoint;
pub mod link;
pub mod rc;
pub mod udp;
pub mod wire;

pub use endpoint::{Links, SoftEndpoint, SoftRequest};
