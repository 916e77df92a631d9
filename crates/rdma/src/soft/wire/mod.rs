//! Packets as bytes and as meaning: the base transport header, its extension headers and the invariant CRC of RoCEv2
//! (InfiniBand Architecture volume 1, chapter 9, and annex A17).
//!
//! Receiving is two steps, for they cost and fail differently: [`check`] finds out whether the bytes are those that were
//! sent, [`Packet::parse`] what they mean. Sending: [`Headers::write`], then an [`Icrc`] over headers and payload, whose
//! [`Trailer`] ends the packet.

#[cfg(test)]
pub(super) mod captures;
mod crc;
mod extension;
mod icrc;
mod lengths;
pub mod mad;
mod number;
mod opcode;
mod packet;

pub use extension::{Aeth, CREDITS_UNLIMITED, Deth, Extension, NakCode, Reth, RnrTimer, Syndrome};
pub use icrc::{Addresses, ICRC_BYTES, Icrc, IcrcError, Trailer, check};
pub use number::{Psn, Qpn, QpnError};
pub use opcode::{Opcode, UnknownOpcode};
pub use packet::{HEADERS_BYTES_MAX, Headers, PAYLOAD_BYTES_MAX, Packet, PacketError};

/// The UDP port of RoCEv2 (annex A17).
pub const UDP_PORT: u16 = 4791;
