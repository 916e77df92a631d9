//! RoCEv2 in userspace.

pub mod cm;
pub mod coverage;
mod device;
mod endpoint;
pub mod link;
pub mod rc;
pub mod udp;
pub mod wire;

pub use device::{Soft, SoftDevice};
pub use endpoint::{Links, SoftEndpoint, SoftRequest};
