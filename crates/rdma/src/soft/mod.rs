//! RoCEv2 in userspace.

pub mod link;
pub mod wire;
