//! RoCEv2 over UDP sockets: batches out (sendmmsg, UDP_SEGMENT) and in (recvmmsg, UDP_GRO), one socket for each shard.
//!
//! - [`PortSet`]: the sockets of one address; packets are steered to them by their destination queue pair.
//! - [`UdpLink`]: one shard's socket, as the [`Link`](super::link::Link) that the endpoint works with.
//! - [`Handover`]: packets that landed at the wrong shard.
//! - [`Interface`]: which interface has an address, its MTU and its state.

mod batch;
mod handover;
mod interface;
mod port;
mod steering;
mod sys;
mod udp_link;
mod watch;

#[cfg(test)]
mod port_tests;
#[cfg(test)]
mod tests;

pub use handover::{HANDOVER_PACKETS_MAX, Handover};
pub use interface::{Interface, interface_of, interfaces};
pub use port::PortSet;
pub use steering::{SHARD_BITS, SHARD_SHIFT, SHARDS_MAX, shard_of};
pub use udp_link::UdpLink;
