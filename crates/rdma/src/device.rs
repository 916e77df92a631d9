//! What is known of a device, and what can happen to it.

use std::net::IpAddr;

/// How large packets are: the payload of each but a message's last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u16)]
pub enum PathMtu {
    /// 256 bytes.
    Bytes256 = 256,
    /// 512 bytes.
    Bytes512 = 512,
    /// 1024 bytes: what fits an Ethernet MTU of 1500.
    Bytes1024 = 1024,
    /// 2048 bytes.
    Bytes2048 = 2048,
    /// 4096 bytes: what fits an Ethernet MTU of 4200 and more.
    Bytes4096 = 4096,
}

impl PathMtu {
    /// All, smallest first.
    pub const ALL: [Self; 5] =
        [Self::Bytes256, Self::Bytes512, Self::Bytes1024, Self::Bytes2048, Self::Bytes4096];

    /// The payload in bytes.
    #[inline]
    #[must_use]
    pub const fn bytes(self) -> u32 {
        self as u16 as u32
    }

    /// The largest that fits a link whose MTU leaves `bytes` for the payload; `None` if not even 256 bytes do.
    #[must_use]
    pub fn largest_within(bytes: u32) -> Option<Self> {
        Self::ALL.into_iter().rev().find(|mtu| mtu.bytes() <= bytes)
    }
}

/// State of a device's port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortState {
    /// It carries traffic.
    Active,
    /// It does not.
    Down,
}

/// What a device can do; each number is a maximum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceLimits {
    /// Queue pairs of one endpoint.
    pub queue_pairs_max: u32,
    /// Completions of one endpoint that wait to be polled.
    pub completions_max: u32,
    /// Pieces of send work of a queue pair.
    pub send_depth_max: u32,
    /// Receives of a queue pair.
    pub receive_depth_max: u32,
    /// Receives of a shared receive queue.
    pub shared_receive_depth_max: u32,
    /// Segments of one piece of work.
    pub segments_max: u32,
    /// RDMA READs of a peer that a queue pair serves at once.
    pub responder_resources_max: u8,
    /// RDMA READs that a queue pair has outstanding at once.
    pub initiator_depth_max: u8,
    /// Bytes of one piece of work.
    pub message_bytes_max: u32,
}

/// A device, or an address that a device could be opened at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceInfo {
    /// Its name: that of the RDMA device, or of the network interface.
    pub name: String,
    /// The provider: `soft` or `verbs`.
    pub provider: &'static str,
    /// The addresses that it can be opened at.
    pub addresses: Vec<IpAddr>,
    /// Its globally unique identifier; of a software device that is not open 0.
    pub guid: u64,
    /// The payload of packets.
    pub mtu: PathMtu,
    /// The port's state.
    pub state: PortState,
    /// What it can do.
    pub limits: DeviceLimits,
}

/// How a device is to be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceOptions {
    /// Most endpoints (threads) that will use it at once.
    pub endpoints_max: u16,
    /// A smaller payload of packets than the link allows.
    pub mtu: Option<PathMtu>,
}

impl Default for DeviceOptions {
    fn default() -> Self {
        Self { endpoints_max: 1, mtu: None }
    }
}

/// How an endpoint is to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndpointOptions {
    /// Most queue pairs at once.
    pub queue_pairs_max: u32,
    /// Most completions that wait to be polled. Queue pairs and shared receive queues may together be deeper only where the
    /// provider can hold back; otherwise making one more is refused.
    pub completions_max: u32,
}

impl Default for EndpointOptions {
    fn default() -> Self {
        Self { queue_pairs_max: 1024, completions_max: 4096 }
    }
}

/// What happened to a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceEvent {
    /// Its port carries traffic again.
    PortUp,
    /// Its port carries no traffic; connections live on until their retries are used up.
    PortDown,
    /// The address is no longer this machine's.
    AddressGone,
    /// The device was removed, or has failed for good: every queue pair is in error.
    Removed,
}
