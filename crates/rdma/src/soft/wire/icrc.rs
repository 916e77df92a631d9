//! The invariant CRC of RoCEv2 (annex A17.3.3; 7.8.1 for what it is computed over).
//!
//! It is the CRC-32 of Ethernet over eight bytes of ones (the place of a local route header), the IP and UDP headers with
//! all ones in what routers may change, and the packet up to the ICRC, with ones in the byte before the destination
//! queue pair.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crc_fast::{CrcAlgorithm, Digest};
use thiserror::Error;

use super::packet::{PAYLOAD_BYTES_MAX, pad_bytes};

/// Bytes of the ICRC.
pub const ICRC_BYTES: usize = 4;

/// Who sends to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    ip: IpAddresses,
    source_port: u16,
    destination_port: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum IpAddresses {
    V4 { source: Ipv4Addr, destination: Ipv4Addr },
    V6 { source: Ipv6Addr, destination: Ipv6Addr },
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

/// An ICRC in the making.
#[derive(Clone, Copy, Debug)]
pub struct Icrc {
    state: u32,
    pad_bytes: u8,
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

impl Addresses {
    /// Addresses of one family. IPv4 addresses that are mapped into IPv6 are IPv4: so it is on the wire.
    #[must_use]
    pub fn new(source: IpAddr, destination: IpAddr, source_port: u16, destination_port: u16) -> Self {
        let ip = match (source.to_canonical(), destination.to_canonical()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => IpAddresses::V4 { source, destination },
            (source, destination) => IpAddresses::V6 { source: v6(source), destination: v6(destination) },
        };
        Self { ip, source_port, destination_port }
    }
}

fn v6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

impl Icrc {
    /// Begins with the headers, as [`super::Headers::write`] has written them, of a packet with so much payload. `ip_id` is
    /// what the IPv4 header will have as its identification; "don't fragment" must be set there. IPv6 has none.
    #[must_use]
    pub fn new(addresses: &Addresses, ip_id: u16, headers: &[u8], payload_bytes: u32) -> Self {
        assert!(payload_bytes <= PAYLOAD_BYTES_MAX, "{payload_bytes} bytes in one packet");
        let pad_bytes = pad_bytes(payload_bytes);
        let udp_bytes = 8 + headers.len() + payload_bytes as usize + usize::from(pad_bytes) + ICRC_BYTES;
        let mut icrc = Self { state: u32::MAX, pad_bytes };
        icrc.ip_udp(addresses, u16::try_from(udp_bytes).unwrap_or(u16::MAX), ip_id);
        icrc.update(&headers[..4]);
        icrc.update(&[0xff]);
        icrc.update(&headers[5..]);
        icrc
    }

    /// Goes on with a piece of the payload. The pieces must be as many bytes as were told.
    #[inline]
    pub fn payload(&mut self, piece: &[u8]) {
        self.update(piece);
    }

    /// What goes behind the payload.
    #[inline]
    #[must_use]
    pub fn finish(mut self) -> Trailer {
        self.update(&[0; 3][..usize::from(self.pad_bytes)]);
        let [a, b, c, d] = (!self.state).to_le_bytes();
        Trailer { bytes: [0, 0, 0, a, b, c, d], skip: 3 - self.pad_bytes }
    }

    fn update(&mut self, bytes: &[u8]) {
        let mut digest = Digest::new_with_init_state(CrcAlgorithm::Crc32IsoHdlc, self.state.into());
        digest.update(bytes);
        self.state = u32::try_from(digest.get_state()).unwrap_or_default();
    }

    fn ip_udp(&mut self, addresses: &Addresses, udp_bytes: u16, ip_id: u16) {
        self.update(&[0xff; 8]);
        match addresses.ip {
            IpAddresses::V4 { source, destination } => {
                self.update(&[0x45, 0xff]);
                self.update(&(udp_bytes + 20).to_be_bytes());
                self.update(&ip_id.to_be_bytes());
                self.update(&[0x40, 0, 0xff, 17, 0xff, 0xff]);
                self.update(&source.octets());
                self.update(&destination.octets());
            }
            IpAddresses::V6 { source, destination } => {
                self.update(&[0x6f, 0xff, 0xff, 0xff]);
                self.update(&udp_bytes.to_be_bytes());
                self.update(&[17, 0xff]);
                self.update(&source.octets());
                self.update(&destination.octets());
            }
        }
        self.update(&addresses.source_port.to_be_bytes());
        self.update(&addresses.destination_port.to_be_bytes());
        self.update(&udp_bytes.to_be_bytes());
        self.update(&[0xff, 0xff]);
    }
}

/// Whether a whole UDP payload is what was sent. Over IPv6 exact.
pub fn check(addresses: &Addresses, udp_payload: &[u8], expected_ip_id: u16) -> Result<(), IcrcError> {
    let length = IcrcError::Length(udp_payload.len());
    let (packet, icrc) = udp_payload.split_last_chunk::<ICRC_BYTES>().ok_or(length)?;
    let (headers, payload) = packet.split_at_checked(12).ok_or(length)?;
    let payload_bytes =
        u32::try_from(payload.len()).ok().filter(|&bytes| bytes <= PAYLOAD_BYTES_MAX).ok_or(length)?;
    let mut expected = Icrc::new(addresses, expected_ip_id, headers, payload_bytes);
    expected.payload(payload);
    if expected.finish().bytes() == icrc { Ok(()) } else { Err(IcrcError::Mismatch) }
}
