//! An engine on loopback addresses, and hosts that are written down byte by byte: what a host sees of the data path.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::cast_possible_truncation)]

mod crowd;
mod happy;
mod host;
mod remote;
mod rig;
mod stalling;
mod trouble;
