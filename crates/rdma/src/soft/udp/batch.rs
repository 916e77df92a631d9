//! Packets on their way out: headers, ICRCs, and which of them go to the kernel as one message.
//!
//! The kernel cuts a message into datagrams of equal size, the last of which may be shorter (UDP_SEGMENT); one trip
//! through its layers then serves them all. It is steered whole by its first packet, so only packets of one shard are put
//! together. Over IPv4 it numbers them 0, 1, ..., which their ICRCs cover; a datagram by itself has number 0.

use std::io;
use std::net::IpAddr;
use std::os::fd::BorrowedFd;

use dma::{MemoryError, ScatterList};

use super::steering::shard_of;
use super::sys::outgoing::{GATHERED_MAX, GatherError, Outgoing};
use crate::soft::link::{Path, PayloadRef};
use crate::soft::wire::{
    Addresses, HEADERS_BYTES_MAX, Headers, ICRC_BYTES, Icrc, PAYLOAD_BYTES_MAX, UDP_PORT,
};

/// Most packets of one message; older kernels take no more.
const MESSAGE_PACKETS_MAX: u16 = 64;
/// Most bytes of one message: what an IPv6 packet has room for (IPv4 has a little more), the last headers included.
const MESSAGE_BYTES_MAX: usize = 65_535 - 40 - 8;
/// Pad and ICRC.
const TRAILER_BYTES_MAX: usize = 3 + ICRC_BYTES;
/// What a packet may need of the arena: all of it, if its payload is copied.
const ARENA_BYTES_EACH: usize = HEADERS_BYTES_MAX + PAYLOAD_BYTES_MAX as usize + TRAILER_BYTES_MAX;
/// What a packet may need of pieces.
const PIECES_EACH: usize = GATHERED_MAX + 2;

/// Why a packet cannot go out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unfit {
    /// The peer's address is of the other family.
    Family,
    /// The payload is more than a packet carries, or not inside its memory.
    Payload,
}

/// What a message adds to the counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) packets: u16,
    pub(super) bytes: usize,
}

/// The message that a packet may still be added to, the last one.
struct Open {
    peer: IpAddr,
    addresses: Addresses,
    shard: u32,
    segment_bytes: usize,
    /// No packet can follow: one was shorter.
    ended: bool,
}

/// Packets that wait for the next flush.
pub(super) struct Batch {
    local: IpAddr,
    outgoing: Outgoing,
    open: Option<Open>,
    tallies: Vec<Tally>,
    /// Whether the kernel is asked to cut messages.
    segmentation: bool,
    /// A payload that is copied, on its way.
    copy: Box<[u8; PAYLOAD_BYTES_MAX as usize]>,
    copied_bytes: u64,
}

impl Batch {
    pub(super) fn new(local: IpAddr) -> Result<Self, MemoryError> {
        let tallies = Vec::with_capacity(super::sys::outgoing::MESSAGES_MAX);
        Ok(Self {
            local,
            outgoing: Outgoing::new()?,
            open: None,
            tallies,
            segmentation: true,
            copy: Box::new([0; PAYLOAD_BYTES_MAX as usize]),
            copied_bytes: 0,
        })
    }

    #[inline]
    pub(super) fn has_room(&self) -> bool {
        self.outgoing.has_room(PIECES_EACH, ARENA_BYTES_EACH)
    }

    /// No longer has the kernel cut messages, which a device without checksums in hardware cannot do.
    pub(super) fn stop_segmentation(&mut self) {
        self.segmentation = false;
    }

    pub(super) fn copied_bytes(&self) -> u64 {
        self.copied_bytes
    }

    /// Adds a packet. There must be room.
    #[inline]
    pub(super) fn push(
        &mut self,
        path: &Path,
        headers: &Headers,
        payload: PayloadRef<'_>,
    ) -> Result<(), Unfit> {
        let payload_bytes = payload.bytes();
        if payload_bytes > PAYLOAD_BYTES_MAX {
            return Err(Unfit::Payload);
        }
        if path.peer.is_ipv4() != self.local.is_ipv4() {
            return Err(Unfit::Family);
        }
        let copied = self.gather(payload)?;
        let mut written = [0; HEADERS_BYTES_MAX];
        let header_bytes = headers.write(payload_bytes, &mut written);
        let written = &written[..header_bytes];
        let bytes = header_bytes + payload_bytes.next_multiple_of(4) as usize + ICRC_BYTES;
        let ip_id = self.place(path.peer, shard_of(headers.destination), bytes);
        let Some(open) = &self.open else { unreachable!("a packet was placed") };
        let mut icrc = Icrc::new(&open.addresses, ip_id, written, payload_bytes);
        self.outgoing.add_bytes(written);
        match copied {
            Some(length) => {
                icrc.payload(&self.copy[..length]);
                self.outgoing.add_bytes(&self.copy[..length]);
                self.copied_bytes += length as u64;
            }
            None => {
                self.outgoing.look(|part| icrc.payload(part));
                self.outgoing.add_gathered();
            }
        }
        self.outgoing.add_bytes(icrc.finish().bytes());
        Ok(())
    }

    /// Gathers a payload, or copies it if it is not in registered memory or in very many pieces; then tells its length.
    #[inline]
    fn gather(&mut self, payload: PayloadRef<'_>) -> Result<Option<usize>, Unfit> {
        self.outgoing.gather_anew();
        match payload {
            PayloadRef::Empty => Ok(Some(0)),
            PayloadRef::Bytes(bytes) => {
                self.copy[..bytes.len()].copy_from_slice(bytes);
                Ok(Some(bytes.len()))
            }
            PayloadRef::Segment { segment, offset, bytes } => {
                self.outgoing.gather(segment, offset, bytes).map_err(|_| Unfit::Payload)?;
                Ok(None)
            }
            PayloadRef::List { list, offset, bytes } => self.gather_list(list, offset, bytes),
        }
    }

    fn gather_list(&mut self, list: &ScatterList, offset: u64, bytes: u32) -> Result<Option<usize>, Unfit> {
        let (mut skip, mut left) = (offset, bytes);
        for segment in list.segments() {
            if skip >= u64::from(segment.bytes()) && left > 0 {
                skip -= u64::from(segment.bytes());
                continue;
            }
            let start = u32::try_from(skip).map_err(|_| Unfit::Payload)?;
            let part = left.min(segment.bytes() - start);
            match self.outgoing.gather(segment, start, part) {
                Ok(()) => (skip, left) = (0, left - part),
                Err(GatherError::Outside) => return Err(Unfit::Payload),
                Err(GatherError::TooMany) => return self.copy_list(list, offset, bytes),
            }
            if left == 0 {
                return Ok(None);
            }
        }
        Err(Unfit::Payload)
    }

    fn copy_list(&mut self, list: &ScatterList, offset: u64, bytes: u32) -> Result<Option<usize>, Unfit> {
        let into = &mut self.copy[..bytes as usize];
        list.read(offset, into).map_err(|_| Unfit::Payload)?;
        Ok(Some(bytes as usize))
    }

    /// Finds the message that a packet goes into, a new one if need be; gives the number that it has in it.
    #[inline]
    fn place(&mut self, peer: IpAddr, shard: u32, bytes: usize) -> u16 {
        if let (Some(open), Some(tally)) = (&mut self.open, self.tallies.last_mut())
            && open.takes(peer, shard, bytes, *tally)
        {
            let index = tally.packets;
            if index == 1 {
                // A packet's length fits.
                self.outgoing.cut(u16::try_from(open.segment_bytes).unwrap_or(u16::MAX));
            }
            open.ended = bytes < open.segment_bytes;
            tally.packets += 1;
            tally.bytes += bytes;
            return index;
        }
        self.outgoing.begin(peer, UDP_PORT);
        self.tallies.push(Tally { packets: 1, bytes });
        let addresses = match &self.open {
            Some(open) if open.peer == peer => open.addresses,
            _ => Addresses::new(self.local, peer, UDP_PORT, UDP_PORT),
        };
        self.open = Some(Open { peer, addresses, shard, segment_bytes: bytes, ended: !self.segmentation });
        0
    }

    /// How many messages wait.
    #[inline]
    pub(super) fn messages(&self) -> usize {
        self.tallies.len()
    }

    /// What message number `index` carries.
    #[inline]
    pub(super) fn tally(&self, index: usize) -> Tally {
        self.tallies.get(index).copied().unwrap_or(Tally { packets: 0, bytes: 0 })
    }

    /// Hands messages from number `from` on to the kernel; gives how many it took. An error is the first one's.
    #[inline]
    pub(super) fn send(&mut self, socket: BorrowedFd<'_>, from: usize) -> io::Result<usize> {
        self.outgoing.send(socket, from)
    }

    /// Forgets the messages; no memory is held any more.
    #[inline]
    pub(super) fn clear(&mut self) {
        self.outgoing.clear();
        self.tallies.clear();
        if let Some(open) = &mut self.open {
            open.ended = true;
        }
    }
}

impl Open {
    #[inline]
    fn takes(&self, peer: IpAddr, shard: u32, bytes: usize, so_far: Tally) -> bool {
        !self.ended
            && bytes <= self.segment_bytes
            && shard == self.shard
            && so_far.packets < MESSAGE_PACKETS_MAX
            && so_far.bytes + bytes <= MESSAGE_BYTES_MAX
            && peer == self.peer
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::soft::wire::{Extension, Opcode, Psn, Qpn};

    /// Pushes packets of (peer, queue pair, payload bytes); gives the packets of each message.
    fn messages(batch: &mut Batch, packets: &[(u8, u32, usize)]) -> Vec<u16> {
        for &(peer, queue_pair, bytes) in packets {
            let headers = Headers {
                opcode: Opcode::SendMiddle,
                destination: Qpn::try_from(queue_pair).unwrap(),
                psn: Psn::new(0),
                ack_request: false,
                solicited: false,
                extension: Extension::None,
            };
            let path = Path { peer: [127, 0, 0, peer].into() };
            assert!(batch.has_room());
            batch.push(&path, &headers, PayloadRef::Bytes(&vec![0; bytes])).unwrap();
        }
        let packets = (0..batch.messages()).map(|index| batch.tally(index).packets).collect();
        batch.clear();
        packets
    }

    fn batch() -> Batch {
        Batch::new([127, 0, 0, 1].into()).unwrap()
    }

    #[test]
    fn packets_of_one_size_and_a_shorter_one_are_a_message() {
        let mut batch = batch();
        assert_eq!(messages(&mut batch, &[(2, 9, 8), (2, 9, 8), (2, 10, 4), (2, 9, 4)]), [3, 1]);
        assert_eq!(messages(&mut batch, &[(2, 9, 4), (2, 9, 8), (2, 9, 8)]), [1, 2]);
        assert_eq!(messages(&mut batch, &[(2, 9, 8)]), [1]);
    }

    #[test]
    fn what_the_pad_makes_equal_is_equal() {
        assert_eq!(messages(&mut batch(), &[(2, 9, 8), (2, 9, 5), (2, 9, 8)]), [3]);
    }

    #[test]
    fn another_peer_or_shard_begins_a_message() {
        let mut batch = batch();
        assert_eq!(messages(&mut batch, &[(2, 9, 8), (3, 9, 8), (2, 9, 8), (2, 9, 8)]), [1, 1, 2]);
        let other = 1 << 18;
        assert_eq!(messages(&mut batch, &[(2, 9, 8), (2, other, 8), (2, other, 8)]), [1, 2]);
    }

    #[test]
    fn a_message_is_bounded() {
        let mut batch = batch();
        assert_eq!(messages(&mut batch, &[(2, 9, 8); 130]), [64, 64, 2]);
        // 15 datagrams of 4112 bytes are 61,680; 16 would be 65,792. These are copied, and six fill the arena.
        assert_eq!(messages(&mut batch, &[(2, 9, 4096); 6]), [6]);
        assert_eq!(messages(&mut batch, &[(2, 9, 1024); 20]), [20]);
    }

    #[test]
    fn without_segmentation_each_packet_is_a_message() {
        let mut batch = batch();
        batch.stop_segmentation();
        assert_eq!(messages(&mut batch, &[(2, 9, 8), (2, 9, 8), (2, 9, 4)]), [1, 1, 1]);
    }
}
