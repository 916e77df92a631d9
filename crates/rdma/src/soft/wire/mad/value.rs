//! Values that the messages of the connection manager carry.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use thiserror::Error;

use crate::PathMtu;

/// Names one side's part of a connection (chapter 12.7, local and remote communication ID). Zero: not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CommunicationId(u32);

impl CommunicationId {
    /// The name that stands for none.
    pub const UNKNOWN: Self = Self(0);

    /// Of its number.
    #[must_use]
    pub const fn new(number: u32) -> Self {
        Self(number)
    }

    /// Its number.
    #[must_use]
    pub const fn value(self) -> u32 {
        self.0
    }
}

/// Names an exchange of MADs (chapter 13.4): an answer carries that of its question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransactionId(pub u64);

/// The globally unique identifier of a channel adapter; here, of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Guid(pub u64);

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#018x}", self.0)
    }
}

/// What is listened for (annex A3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceId(pub u64);

impl ServiceId {
    /// The service identifiers of IP: this prefix, the protocol's number, the port. The protocol is TCP, by the port space that
    /// rdma_cm calls RDMA_PS_TCP (annex A11).
    const TCP: u64 = 0x0000_0000_0106_0000;

    /// That of a port of RDMA_PS_TCP.
    #[must_use]
    pub const fn of_port(port: u16) -> Self {
        Self(Self::TCP | port as u64)
    }

    /// The port, if it is one of RDMA_PS_TCP.
    #[must_use]
    pub fn port(self) -> Option<u16> {
        u16::try_from(self.0.checked_sub(Self::TCP)?).ok()
    }
}

/// A global identifier: with RoCEv2 an IPv6 address, or an IPv4 address mapped to one (annex A17).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gid(pub [u8; 16]);

impl Gid {
    /// The address that it stands for.
    #[must_use]
    pub fn address(self) -> IpAddr {
        Ipv6Addr::from(self.0).to_canonical()
    }
}

impl From<IpAddr> for Gid {
    fn from(address: IpAddr) -> Self {
        Self(match address {
            IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
            IpAddr::V6(address) => address.octets(),
        })
    }
}

/// A number that is no [`Timeout`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a timeout's exponent is below 32, not {0}")]
pub struct TimeoutError(pub u8);

/// A time as 4.096 us times a power of two: the exponent, 0 to 31 (chapter 12.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timeout(u8);

impl Timeout {
    const MAX: u8 = 31;

    /// A constant one.
    #[must_use]
    pub const fn of_exponent(exponent: u8) -> Self {
        assert!(exponent <= Self::MAX, "five bits");
        Self(exponent)
    }

    /// 0 to 31.
    #[must_use]
    pub const fn exponent(self) -> u8 {
        self.0
    }

    /// The time: up to 2 h 27 min.
    #[must_use]
    pub const fn duration(self) -> Duration {
        Duration::from_nanos(4096 << self.0)
    }
}

impl TryFrom<u8> for Timeout {
    type Error = TimeoutError;

    fn try_from(exponent: u8) -> Result<Self, TimeoutError> {
        if exponent <= Self::MAX { Ok(Self(exponent)) } else { Err(TimeoutError(exponent)) }
    }
}

/// Which message a rejection or a receipt is about (12.6.6, 12.6.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// A connection request.
    Request,
    /// A reply.
    Reply,
    /// Neither: in a rejection no message at all, in a receipt a request to load an alternate path.
    Other,
}

impl About {
    pub(super) const fn code(self) -> u8 {
        match self {
            Self::Request => 0,
            Self::Reply => 1,
            Self::Other => 2,
        }
    }

    pub(super) const fn of_code(code: u8) -> Self {
        match code {
            0 => Self::Request,
            1 => Self::Reply,
            _ => Self::Other,
        }
    }
}

/// The code of a path MTU, 1 to 5 (chapter 12.7, path packet payload MTU).
pub(super) const fn mtu_code(mtu: PathMtu) -> u8 {
    match mtu {
        PathMtu::Bytes256 => 1,
        PathMtu::Bytes512 => 2,
        PathMtu::Bytes1024 => 3,
        PathMtu::Bytes2048 => 4,
        PathMtu::Bytes4096 => 5,
    }
}

pub(super) fn mtu_of_code(code: u8) -> Option<PathMtu> {
    PathMtu::ALL.into_iter().find(|mtu| mtu_code(*mtu) == code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_have_service_ids() {
        assert_eq!(ServiceId::of_port(4420), ServiceId(0x0000_0000_0106_1144));
        assert_eq!(ServiceId(0x0000_0000_0106_1144).port(), Some(4420));
        assert_eq!(ServiceId(0x0000_0000_0106_ffff).port(), Some(65535));
        for foreign in [0, 0x0105_ffff, 0x0107_0000, 0x0111_1144, 0x1000_0000_0106_1144] {
            assert_eq!(ServiceId(foreign).port(), None, "{foreign:#x}");
        }
    }

    #[test]
    fn a_gid_is_an_address() {
        let v4: IpAddr = "192.0.2.7".parse().unwrap();
        assert_eq!(Gid::from(v4).0, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 7]);
        assert_eq!(Gid::from(v4).address(), v4);
        let v6: IpAddr = "fe80::1".parse().unwrap();
        assert_eq!(Gid::from(v6).0, [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(Gid::from(v6).address(), v6);
    }

    #[test]
    fn timeouts_double() {
        assert_eq!(Timeout::of_exponent(0).duration(), Duration::from_nanos(4096));
        assert_eq!(Timeout::of_exponent(20).duration(), Duration::from_nanos(4_294_967_296));
        assert_eq!(Timeout::try_from(31).map(Timeout::duration), Ok(Duration::from_nanos(8_796_093_022_208)));
        assert_eq!(Timeout::try_from(32), Err(TimeoutError(32)));
    }

    #[test]
    fn mtus_have_codes() {
        assert_eq!(PathMtu::ALL.map(mtu_code), [1, 2, 3, 4, 5]);
        assert_eq!(mtu_of_code(3), Some(PathMtu::Bytes1024));
        assert_eq!((mtu_of_code(0), mtu_of_code(6)), (None, None));
    }
}
