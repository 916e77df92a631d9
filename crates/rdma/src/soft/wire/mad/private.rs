//! The RDMA-CM header at the front of a connection request's private data (annex A11).

use std::net::{IpAddr, SocketAddr};

use thiserror::Error;

use super::request::REQUEST_PRIVATE_BYTES;
use super::value::Gid;
use crate::REQUEST_PRIVATE_BYTES_MAX;

/// Bytes of the header.
pub const HEADER_BYTES: usize = 36;
/// The version that is spoken.
const VERSION: u8 = 0;
const IPV4: u8 = 4;
const IPV6: u8 = 6;
const PORT: usize = 2;
const SOURCE: usize = 4;
const DESTINATION: usize = 20;

/// Why private data does not begin with an RDMA-CM header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum HeaderError {
    /// Another version.
    #[error("version {0} of the RDMA-CM header is not spoken")]
    Version(u8),
    /// The addresses are neither IPv4 nor IPv6.
    #[error("IP version {0} in the RDMA-CM header")]
    IpVersion(u8),
}

/// Who asks whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RdmaCmHeader {
    /// The side that connects, with its port.
    pub source: SocketAddr,
    /// The side that listens; its port is that of the service id.
    pub destination: IpAddr,
}

impl RdmaCmHeader {
    /// Reads the header, and gives the user's bytes that follow it.
    pub fn read(
        private_data: &[u8; REQUEST_PRIVATE_BYTES],
    ) -> Result<(Self, [u8; REQUEST_PRIVATE_BYTES_MAX]), HeaderError> {
        if private_data[0] != VERSION {
            return Err(HeaderError::Version(private_data[0]));
        }
        let address = match private_data[1] >> 4 {
            IPV4 => ipv4,
            IPV6 => ipv6,
            other => return Err(HeaderError::IpVersion(other)),
        };
        let port = u16::from_be_bytes(array(private_data, PORT));
        let header = Self {
            source: SocketAddr::new(address(array(private_data, SOURCE)), port),
            destination: address(array(private_data, DESTINATION)),
        };
        Ok((header, array(private_data, HEADER_BYTES)))
    }

    /// The header with the user's bytes behind it; more than fit are cut.
    #[must_use]
    pub fn write(&self, user: &[u8]) -> [u8; REQUEST_PRIVATE_BYTES] {
        let mut bytes = [0; REQUEST_PRIVATE_BYTES];
        bytes[0] = VERSION;
        bytes[1] = if self.source.is_ipv4() { IPV4 << 4 } else { IPV6 << 4 };
        bytes[PORT..SOURCE].copy_from_slice(&self.source.port().to_be_bytes());
        bytes[SOURCE..DESTINATION].copy_from_slice(&octets(self.source.ip()));
        bytes[DESTINATION..HEADER_BYTES].copy_from_slice(&octets(self.destination));
        for (byte, user) in bytes[HEADER_BYTES..].iter_mut().zip(user) {
            *byte = *user;
        }
        bytes
    }
}

fn array<const N: usize>(bytes: &[u8; REQUEST_PRIVATE_BYTES], offset: usize) -> [u8; N] {
    let mut copy = [0; N];
    copy.copy_from_slice(&bytes[offset..][..N]);
    copy
}

/// An IPv4 address stands in the last four bytes; what is before them is not looked at, as Linux does.
fn ipv4(bytes: [u8; 16]) -> IpAddr {
    let [.., a, b, c, d] = bytes;
    IpAddr::from([a, b, c, d])
}

/// Not canonical: an IPv4-mapped address in an IPv6 header is none that anybody has.
fn ipv6(bytes: [u8; 16]) -> IpAddr {
    IpAddr::from(bytes)
}

fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, a, b, c, d]
        }
        IpAddr::V6(_) => Gid::from(address).0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IPV4_BYTES: [u8; 40] = [
        0x00, 0x40, 0xc3, 0x50, // version, IP version, source port 50000
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 192, 0, 2, 1, // source
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 192, 0, 2, 2, // destination
        0xde, 0xad, 0xbe, 0xef, // user
    ];

    #[test]
    fn ipv4_stands_in_the_last_four_bytes() {
        let mut bytes = [0; REQUEST_PRIVATE_BYTES];
        bytes[..40].copy_from_slice(&IPV4_BYTES);
        let header = RdmaCmHeader {
            source: "192.0.2.1:50000".parse().unwrap(),
            destination: "192.0.2.2".parse().unwrap(),
        };
        assert_eq!(header.write(&[0xde, 0xad, 0xbe, 0xef]), bytes);
        let (read, user) = RdmaCmHeader::read(&bytes).unwrap();
        assert_eq!(read, header);
        assert_eq!(user[..5], [0xde, 0xad, 0xbe, 0xef, 0]);
    }

    #[test]
    fn ipv6_fills_the_field() {
        let header = RdmaCmHeader {
            source: "[2001:db8::1]:1".parse().unwrap(),
            destination: "2001:db8::2".parse().unwrap(),
        };
        let bytes = header.write(&[0xff; 60]);
        assert_eq!(bytes[..8], [0, 0x60, 0, 1, 0x20, 0x01, 0x0d, 0xb8]);
        assert_eq!(bytes[32..38], [0, 0, 0, 2, 0xff, 0xff]);
        assert_eq!(RdmaCmHeader::read(&bytes), Ok((header, [0xff; 56])));
    }

    #[test]
    fn what_is_foreign_is_an_error() {
        let mut bytes = [0; REQUEST_PRIVATE_BYTES];
        bytes[..40].copy_from_slice(&IPV4_BYTES);
        bytes[0] = 1;
        assert_eq!(RdmaCmHeader::read(&bytes), Err(HeaderError::Version(1)));
        bytes[..2].copy_from_slice(&[0, 0x50]);
        assert_eq!(RdmaCmHeader::read(&bytes), Err(HeaderError::IpVersion(5)));
    }
}
