//! An engine on loopback addresses, and hosts that are written down byte by byte: what a host sees of the data path.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::cast_possible_truncation)]

mod happy;
mod host;
mod rig;
mod stalling;
mod trouble;
