//! RoCEv2 in userspace.

pub mod wire;
