//! Work that was posted, with its packets.

use crate::soft::link::PayloadRef;
use crate::soft::rc::flow::{PACKET_OVERHEAD_BYTES, READ_BYTES_MAX};
use crate::{Data, RemoteMemory, SendOp, SendWork};

/// Longest message: 2^31 bytes (9.7.2).
const MESSAGE_BYTES_MAX: u32 = 1 << 31;

/// Work that was posted, with its packets.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) work: SendWork,
    /// Its first packet.
    pub(super) first: u64,
    /// Nothing is sent before all packets below this one are done.
    pub(super) waits_for: u64,
    /// Length of the message.
    pub(super) bytes: u32,
    /// How many packets it takes; of a READ those of the response.
    pub(super) packets: u32,
    /// Whether its last packet asks for an acknowledgement.
    pub(super) asks: bool,
}

/// The length of the message, if it can be carried out.
pub(super) fn fit(work: &SendWork, initiator_depth: u8) -> Result<u32, &'static str> {
    if matches!(work.op, SendOp::Read(_)) {
        if matches!(work.data, Data::Inline(_)) {
            return Err("a read into inline data");
        }
        if initiator_depth == 0 {
            return Err("a read, and the peer serves none");
        }
    }
    match u32::try_from(work.data.bytes()) {
        Ok(bytes) if bytes <= MESSAGE_BYTES_MAX => Ok(bytes),
        _ => Err("longer than 2^31 bytes"),
    }
}

impl Work {
    pub(super) fn new(work: SendWork, first: u64, waits_for: u64, bytes: u32, mtu_shift: u32) -> Self {
        let packets = packets(bytes, mtu_shift);
        let asks = work.signaled;
        Self { work, first, waits_for, bytes, packets, asks }
    }

    #[inline]
    pub(super) const fn end(&self) -> u64 {
        self.first + self.packets as u64
    }

    /// What is read from, if it is a READ.
    #[inline]
    pub(super) const fn read(&self) -> Option<RemoteMemory> {
        match self.work.op {
            SendOp::Read(remote) => Some(remote),
            _ => None,
        }
    }

    /// Which of the work's packets that is.
    #[inline]
    #[allow(clippy::cast_possible_truncation, reason = "a work has fewer than 2^32 packets")]
    pub(super) const fn index(&self, packet: u64) -> u32 {
        (packet - self.first) as u32
    }

    /// Where the READ request ends that covers the byte at `offset`.
    #[inline]
    pub(super) fn read_request_end(&self, offset: u32) -> u32 {
        (offset / READ_BYTES_MAX + 1).saturating_mul(READ_BYTES_MAX).min(self.bytes)
    }

    /// What packets cost a window, from one of the work's packets to another.
    #[inline]
    pub(super) fn cost(&self, from: u32, to: u32, mtu_shift: u32) -> u32 {
        let payload = (to << mtu_shift).min(self.bytes) - (from << mtu_shift).min(self.bytes);
        payload + (to - from) * PACKET_OVERHEAD_BYTES
    }

    /// A part of the data. It must be inside.
    #[inline]
    pub(super) fn payload(&self, offset: u32, bytes: u32) -> PayloadRef<'_> {
        if bytes == 0 {
            return PayloadRef::Empty;
        }
        match &self.work.data {
            Data::Inline(data) => {
                PayloadRef::Bytes(&data.bytes()[offset as usize..offset as usize + bytes as usize])
            }
            Data::Memory(list) => match list.segments() {
                [segment] => PayloadRef::Segment { segment, offset, bytes },
                _ => PayloadRef::List { list, offset: u64::from(offset), bytes },
            },
        }
    }
}

/// How many packets so many bytes take: at least one.
#[inline]
pub(super) fn packets(bytes: u32, mtu_shift: u32) -> u32 {
    bytes.div_ceil(1 << mtu_shift).max(1)
}
