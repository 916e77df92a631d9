//! RoCEv2 in userspace.

pub mod cm;
pub mod link;
pub mod rc;
pub mod udp;
pub mod wire;
