//! Whole packets: the base transport header (9.2) with what is behind it.

use thiserror::Error;

use super::extension::{EXTENSION_BYTES_MAX, Extension, Kind};
use super::icrc::ICRC_BYTES;
use super::number::{Psn, Qpn};
use super::opcode::{Opcode, UnknownOpcode};

/// Bytes of the base transport header.
pub(super) const BTH_BYTES: usize = 12;

/// Room for all headers of a packet.
pub const HEADERS_BYTES_MAX: usize = BTH_BYTES + EXTENSION_BYTES_MAX;

/// Most payload in one packet: the largest path MTU.
pub const PAYLOAD_BYTES_MAX: u32 = 4096;

/// The partition that everybody is in, as a full member.
const PARTITION_KEY: u16 = 0xffff;

/// What a partition key is but for the membership bit (10.9.1.1).
const PARTITION_MASK: u16 = 0x7fff;

/// Why bytes are no packet of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PacketError {
    /// Shorter than its headers, or than its pad and ICRC.
    #[error("truncated")]
    Truncated,
    /// Its length is no multiple of 4.
    #[error("the length {0} is no multiple of 4")]
    Unaligned(usize),
    /// A transport version other than 0.
    #[error("transport version {0}")]
    Version(u8),
    /// An operation code that is not spoken here.
    #[error(transparent)]
    Opcode(#[from] UnknownOpcode),
    /// Another partition than the default one.
    #[error("partition {0:#06x}")]
    PartitionKey(u16),
    /// A reserved or unknown syndrome in an acknowledgement.
    #[error("reserved syndrome {0:#04x}")]
    Syndrome(u8),
    /// Payload where none can be.
    #[error("payload behind a READ request or an acknowledgement")]
    UnexpectedPayload,
}

/// The headers of a packet. What is not here is the same for all packets (version, partition) or follows from the payload
/// (pad count).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headers {
    /// What kind of packet it is.
    pub opcode: Opcode,
    /// The queue pair that it goes to.
    pub destination: Qpn,
    /// Its number.
    pub psn: Psn,
    /// Whether an acknowledgement is asked for.
    pub ack_request: bool,
    /// Whether the receiver should raise an event for it.
    pub solicited: bool,
    /// What the operation code asks for besides.
    pub extension: Extension,
}

/// How many zero bytes follow a payload, so that the ICRC is aligned: 0 to 3.
pub(super) const fn pad_bytes(payload_bytes: u32) -> u8 {
    (payload_bytes.wrapping_neg() & 3) as u8
}

impl Headers {
    /// Writes the headers of a packet with so much payload; gives their length. The extension must be the operation
    /// code's.
    pub fn write(&self, payload_bytes: u32, into: &mut [u8; HEADERS_BYTES_MAX]) -> usize {
        debug_assert_eq!(Kind::of(self.opcode), self.extension.kind(), "{:?}", self.opcode);
        let (bth, extension) = into.split_at_mut(BTH_BYTES);
        bth.copy_from_slice(&self.bth(pad_bytes(payload_bytes)));
        let Ok(extension) = extension.try_into() else { unreachable!("the rest is the extension's") };
        BTH_BYTES + self.extension.write(extension)
    }

    /// MigReq is set on connections, although rdma_rxe sends 0: 1 is the state of a connection without an alternate path
    /// (17.2.8), and adapters have been seen to take packets with 0 by a slow path.
    fn bth(&self, pad_bytes: u8) -> [u8; BTH_BYTES] {
        let migrated = self.opcode != Opcode::DatagramSendOnly;
        let flags = u8::from(self.solicited) << 7 | u8::from(migrated) << 6 | pad_bytes << 4;
        let [p0, p1] = PARTITION_KEY.to_be_bytes();
        let [q0, q1, q2] = self.destination.to_be_bytes();
        let [n0, n1, n2] = self.psn.to_be_bytes();
        let ack_request = u8::from(self.ack_request) << 7;
        [self.opcode.value(), flags, p0, p1, 0, q0, q1, q2, ack_request, n0, n1, n2]
    }
}

/// A packet that makes sense in itself. Whether it makes sense to its receiver is another matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Its headers.
    pub headers: Headers,
    /// Its payload without the pad. Empty in READ requests and acknowledgements.
    pub payload: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Makes sense of a whole UDP payload, with pad and ICRC. The ICRC is not looked at: see [`super::check`].
    pub fn parse(udp_payload: &'a [u8]) -> Result<Self, PacketError> {
        if !udp_payload.len().is_multiple_of(4) {
            return Err(PacketError::Unaligned(udp_payload.len()));
        }
        let (packet, _) = udp_payload.split_last_chunk::<ICRC_BYTES>().ok_or(PacketError::Truncated)?;
        let (&bth, rest) = packet.split_first_chunk::<BTH_BYTES>().ok_or(PacketError::Truncated)?;
        let [opcode, flags, p0, p1, _, q0, q1, q2, ack_request, n0, n1, n2] = bth;
        check_environment(flags & 0x0f, u16::from_be_bytes([p0, p1]))?;
        let opcode = Opcode::try_from(opcode)?;
        let (extension, rest) = Extension::split(Kind::of(opcode), rest)?;
        let payload = without_pad(rest, flags >> 4 & 3)?;
        if !opcode.has_payload() && !payload.is_empty() {
            return Err(PacketError::UnexpectedPayload);
        }
        let headers = Headers {
            opcode,
            destination: Qpn::from_be_bytes([q0, q1, q2]),
            psn: Psn::from_be_bytes([n0, n1, n2]),
            ack_request: ack_request & 0x80 != 0,
            solicited: flags & 0x80 != 0,
            extension,
        };
        Ok(Self { headers, payload })
    }
}

/// What must be the same for all packets that reach us.
fn check_environment(version: u8, partition_key: u16) -> Result<(), PacketError> {
    if version != 0 {
        return Err(PacketError::Version(version));
    }
    if partition_key & PARTITION_MASK != PARTITION_KEY & PARTITION_MASK {
        return Err(PacketError::PartitionKey(partition_key));
    }
    Ok(())
}

fn without_pad(payload: &[u8], pad_bytes: u8) -> Result<&[u8], PacketError> {
    let bytes = payload.len().checked_sub(usize::from(pad_bytes)).ok_or(PacketError::Truncated)?;
    Ok(&payload[..bytes])
}

#[cfg(test)]
mod tests;
