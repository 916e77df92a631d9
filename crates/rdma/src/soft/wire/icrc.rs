//! The invariant CRC of RoCEv2 (annex A17.3.3; 7.8.1 for what it is computed over).
//!
//! It is the CRC-32 of Ethernet over eight bytes of ones (the place of a local route header), the IP and UDP headers with
//! all ones in what routers may change, and the packet up to the ICRC, with ones in the byte before the destination
//! queue pair.
//!
//! A UDP socket does not tell the identification of the IPv4 header, which is covered. Linux's rdma_rxe chooses it at
//! random. But a CRC is linear: the difference between the ICRC of a packet and the one that we expect is that of the
//! identifications, shifted through a known number of bytes, if nothing else differs. Shifted back, it has 32 bits of which
//! an identification explains 16; a corrupted packet has the other 16 right with a chance of 2^-16 (and of 2^-32 over IPv6).
//! Not to check at all would leave the UDP checksum, which rdma_rxe does not send.

use std::net::{IpAddr, Ipv6Addr};

use thiserror::Error;

use super::crc::Register;
use super::lengths::{self, Length};
use super::packet::{BTH_BYTES, pad_bytes};

/// Bytes of the ICRC.
pub const ICRC_BYTES: usize = 4;

/// What the IPv4 header has beside addresses, lengths and identification: version and header length, type of service
/// masked; "don't fragment"; time to live masked, UDP, checksum masked.
const IPV4_BEFORE_ADDRESSES: [u8; 12] = [0x45, 0xff, 0, 0, 0, 0, 0x40, 0, 0xff, 17, 0xff, 0xff];

/// What the IPv6 header has beside addresses and length: version, traffic class and flow label masked; UDP, hop limit masked.
const IPV6_BEFORE_ADDRESSES: [u8; 8] = [0x6f, 0xff, 0xff, 0xff, 0, 0, 17, 0xff];

/// UDP's length, which is put in later, and its checksum, masked.
const UDP_BEHIND_PORTS: [u8; 4] = [0, 0, 0xff, 0xff];

/// Who sends to whom. Made once, it spares each packet the work on what is the same in all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    family: Family,
    /// When the UDP header has passed, but for the lengths and the identification.
    register: Register,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    V4,
    V6,
}

impl Addresses {
    /// Two addresses of one family. IPv4 addresses that are mapped into IPv6 are IPv4: so it is on the wire.
    #[must_use]
    pub fn new(source: IpAddr, destination: IpAddr, source_port: u16, destination_port: u16) -> Self {
        let masked_lrh = Register::ONES.update_short(&[0xff; 8]);
        let (family, behind_ip) = match (source.to_canonical(), destination.to_canonical()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let before = masked_lrh.update_short(&IPV4_BEFORE_ADDRESSES);
                (Family::V4, before.update_short(&source.octets()).update_short(&destination.octets()))
            }
            (source, destination) => {
                let before = masked_lrh.update_short(&IPV6_BEFORE_ADDRESSES);
                let (source, destination) = (as_v6(source).octets(), as_v6(destination).octets());
                (Family::V6, before.update_short(&source).update_short(&destination))
            }
        };
        let behind_ports =
            behind_ip.update_short(&source_port.to_be_bytes()).update_short(&destination_port.to_be_bytes());
        Self { family, register: behind_ports.update_short(&UDP_BEHIND_PORTS) }
    }

    /// When the UDP header of such a packet has passed.
    #[inline]
    fn begin(&self, length: &Length, ip_id: u16) -> Register {
        match self.family {
            Family::V4 => self.register ^ length.in_ipv4 ^ lengths::ip_id(ip_id),
            Family::V6 => self.register ^ length.in_ipv6,
        }
    }
}

fn as_v6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

/// An ICRC in the making, for a packet to be sent.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Icrc {
    register: Register,
    pad_bytes: u8,
}

impl Icrc {
    /// Begins with the headers, as [`super::Headers::write`] has written them, of a packet with so much payload: at most
    /// [`super::PAYLOAD_BYTES_MAX`]. `ip_id` is what the IPv4 header will have as its identification; "don't fragment" must
    /// be set there. IPv6 has none.
    ///
    /// # Panics
    /// If the packet is longer than any can be: the path MTU was not kept.
    #[inline]
    pub fn new(addresses: &Addresses, ip_id: u16, headers: &[u8], payload_bytes: u32) -> Self {
        let pad_bytes = pad_bytes(payload_bytes);
        let udp_payload_bytes = headers.len() + payload_bytes as usize + usize::from(pad_bytes) + ICRC_BYTES;
        let length = Length::of(udp_payload_bytes);
        let Some((bth, extension)) = headers.split_first_chunk() else {
            unreachable!("headers begin with a BTH")
        };
        let Some(length) = length else { unreachable!("{udp_payload_bytes} bytes in one packet") };
        let register = update_bth(addresses.begin(length, ip_id), bth).update_short(extension);
        Self { register, pad_bytes }
    }

    /// Goes on with a piece of the payload. All pieces together must be as many bytes as were told.
    #[inline]
    pub fn payload(&mut self, piece: &[u8]) {
        self.register = self.register.update(piece);
    }

    /// What goes behind the payload.
    #[inline]
    #[must_use]
    pub fn finish(self) -> Trailer {
        let pad = &[0; 3][..usize::from(self.pad_bytes)];
        let [a, b, c, d] = icrc(self.register.update_short(pad));
        Trailer { bytes: [0, 0, 0, a, b, c, d], skip: 3 - self.pad_bytes }
    }
}

/// What ends a packet: pad and ICRC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trailer {
    bytes: [u8; 3 + ICRC_BYTES],
    skip: u8,
}

impl Trailer {
    /// 4 to 7 bytes.
    #[inline]
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[usize::from(self.skip)..]
    }
}

/// Why a packet is not taken for what was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum IcrcError {
    /// Too short or too long for a packet of RoCEv2, or its length is no multiple of 4.
    #[error("no RoCEv2 packet has {0} bytes")]
    Length(usize),
    /// The bytes are not those that were sent.
    #[error("the ICRC is wrong")]
    Mismatch,
}

/// Whether a whole UDP payload is what was sent. Over IPv6 that is exact. Over IPv4 so is a packet with the expected
/// identification; any other is taken if some identification makes its ICRC right.
#[inline]
pub fn check(addresses: &Addresses, udp_payload: &[u8], expected_ip_id: u16) -> Result<(), IcrcError> {
    let unfit = IcrcError::Length(udp_payload.len());
    let length = Length::of(udp_payload.len()).ok_or(unfit)?;
    let (packet, found) = udp_payload.split_last_chunk::<ICRC_BYTES>().ok_or(unfit)?;
    let (bth, rest) = packet.split_first_chunk().ok_or(unfit)?;
    let register = update_bth(addresses.begin(length, expected_ip_id), bth).update(rest);
    let difference = Register(u32::from_le_bytes(icrc(register)) ^ u32::from_le_bytes(*found));
    let explained = match addresses.family {
        _ if difference == Register::ZERO => true,
        Family::V4 => length.ip_id_difference(difference).is_some(),
        Family::V6 => false,
    };
    if explained { Ok(()) } else { Err(IcrcError::Mismatch) }
}

/// After the base transport header, whose fifth byte is masked.
#[inline]
fn update_bth(register: Register, &[a, b, c, d, _, e, f, g, rest @ ..]: &[u8; BTH_BYTES]) -> Register {
    register.update_word([a, b, c, d, 0xff, e, f, g]).update_short(&rest)
}

/// As in the packet.
#[inline]
fn icrc(register: Register) -> [u8; ICRC_BYTES] {
    (!register.0).to_le_bytes()
}

#[cfg(test)]
mod tests;
