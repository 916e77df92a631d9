//! The boundary between the endpoint and the network: packets go out in batches and come in in batches.
//!
//! The sockets implement it, and so does the simulation, so that the endpoint's code is the same in both.

use std::net::IpAddr;
use std::os::fd::RawFd;

use dma::{ScatterList, Segment};

use super::wire::Headers;

/// The payload of a packet to be sent, where it lies.
#[derive(Clone, Copy, Debug)]
pub enum PayloadRef<'a> {
    /// None.
    Empty,
    /// Bytes outside registered memory; few, for they are copied.
    Bytes(&'a [u8]),
    /// A part of the local side of a piece of work.
    List {
        /// All of it.
        list: &'a ScatterList,
        /// Where the part begins.
        offset: u64,
        /// Bytes of the part.
        bytes: u32,
    },
    /// A part of the memory behind a window.
    Segment {
        /// All of it.
        segment: &'a Segment,
        /// Where the part begins.
        offset: u32,
        /// Bytes of the part.
        bytes: u32,
    },
}

impl PayloadRef<'_> {
    /// Bytes of the payload, the pad not counted. [`Self::Bytes`] must be shorter than 4 GiB.
    #[inline]
    #[must_use]
    pub fn bytes(&self) -> u32 {
        match *self {
            Self::Empty => 0,
            Self::Bytes(bytes) => u32::try_from(bytes.len()).unwrap_or(u32::MAX),
            Self::List { bytes, .. } | Self::Segment { bytes, .. } => bytes,
        }
    }
}

/// The way to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Path {
    /// The peer's address, of the same family as [`Link::local`]; the port is always 4791.
    pub peer: IpAddr,
}

/// A packet that has come in whole.
#[derive(Clone, Copy, Debug)]
pub struct Arrived<'a> {
    /// The address that it came from.
    pub source: IpAddr,
    /// The UDP payload, from the BTH to the ICRC, which was found right.
    pub packet: &'a [u8],
}

/// What a link counts, since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkCounters {
    /// Packets handed to the kernel.
    pub packets_sent: u64,
    /// Bytes of them, the UDP payload each.
    pub bytes_sent: u64,
    /// Packets pushed that the kernel did not take: lost, as on any network.
    pub packets_lost: u64,
    /// Packets that came in, dropped ones included.
    pub packets_received: u64,
    /// Bytes of them, the UDP payload each.
    pub bytes_received: u64,
    /// Packets dropped because of their length: no packet is so short or so long.
    pub dropped_malformed: u64,
    /// Packets dropped because their ICRC was wrong.
    pub dropped_icrc: u64,
    /// Packets for another shard, handed over to it.
    pub packets_handed_over: u64,
    /// Packets that others have received for this shard and that were dropped: too many waited.
    pub dropped_handover: u64,
    /// Payload bytes copied on the way out: those outside registered memory, and packets of very many pieces.
    pub bytes_copied: u64,
    /// System calls that sent or received.
    pub system_calls: u64,
}

/// One thread's access to the network at one address.
pub trait Link: Send {
    /// The address that packets are sent from.
    fn local(&self) -> IpAddr;

    /// Whether a packet can be pushed before the next [`Self::flush`].
    fn has_room(&self) -> bool;

    /// Adds a packet to the batch and makes its ICRC. The link flushes by itself if there is no room.
    ///
    /// The payload is read now (for the ICRC) and until the next flush, by which it is sent, not longer.
    fn push(&mut self, path: &Path, headers: &Headers, payload: PayloadRef<'_>);

    /// Sends the batch. When this returns, every packet pushed is in the kernel's hands or counted as lost, and the link
    /// holds no memory of theirs any more.
    fn flush(&mut self);

    /// Takes in one batch of packets and gives each to `handle`, in the order of arrival from each peer. Returns how many
    /// came, dropped ones included: 0 if nothing was there.
    fn receive(&mut self, handle: impl FnMut(Arrived<'_>)) -> usize;

    /// Whether the last [`Self::receive`] may have left something behind. Spares the call that finds nothing.
    fn may_have_more(&self) -> bool {
        true
    }

    /// Adds the descriptors to sleep on: readable means that [`Self::receive`] has something.
    fn wake_descriptors(&self, descriptors: &mut Vec<RawFd>);

    /// What was counted.
    fn counters(&self) -> LinkCounters;
}
