//! RoCEv2 in userspace.

pub mod cm;
pub mod link;
pub mod rc;
pub mod wire;
