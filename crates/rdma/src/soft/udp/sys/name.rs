//! Socket addresses and control messages as the kernel lays them out (`sockaddr_in`, `sockaddr_in6`, `cmsghdr`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use libc::c_int;

const V4_BYTES: u32 = 16;
const V6_BYTES: u32 = 28;

/// A socket address in memory.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(8))]
pub(super) struct Name {
    bytes: [u8; V6_BYTES as usize],
}

impl Name {
    /// Bytes of the largest.
    pub(super) const BYTES: u32 = V6_BYTES;

    pub(super) fn new(address: IpAddr, port: u16) -> Self {
        let mut bytes = [0; V6_BYTES as usize];
        bytes[2..4].copy_from_slice(&port.to_be_bytes());
        let family = match address {
            IpAddr::V4(address) => {
                bytes[4..8].copy_from_slice(&address.octets());
                libc::AF_INET
            }
            IpAddr::V6(address) => {
                bytes[8..24].copy_from_slice(&address.octets());
                libc::AF_INET6
            }
        };
        // Families are small numbers in 16 bits.
        bytes[..2].copy_from_slice(&u16::try_from(family).unwrap_or_default().to_ne_bytes());
        Self { bytes }
    }

    /// Bytes that the kernel is told.
    #[inline]
    pub(super) fn length(&self) -> u32 {
        if self.family() == libc::AF_INET { V4_BYTES } else { V6_BYTES }
    }

    #[inline]
    fn family(&self) -> c_int {
        c_int::from(u16::from_ne_bytes([self.bytes[0], self.bytes[1]]))
    }

    /// Address and port, if the family is one of IP.
    #[inline]
    pub(super) fn address(&self) -> Option<(IpAddr, u16)> {
        let port = u16::from_be_bytes([self.bytes[2], self.bytes[3]]);
        let address = match self.family() {
            libc::AF_INET => Ipv4Addr::from(*self.bytes[4..].first_chunk::<4>()?).into(),
            libc::AF_INET6 => Ipv6Addr::from(*self.bytes[8..].first_chunk::<16>()?).into(),
            _ => return None,
        };
        Some((address, port))
    }
}

const HEADER_BYTES: usize = size_of::<libc::cmsghdr>();
/// Room for one control message with a number in it. Data follow the header at the alignment of a pointer, which the
/// header ends at.
const CONTROL_BYTES: usize = HEADER_BYTES + size_of::<usize>();

/// A control message of the UDP level.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(8))]
pub(super) struct Control {
    bytes: [u8; CONTROL_BYTES],
}

impl Control {
    /// Bytes of the buffer.
    pub(super) const BYTES: usize = CONTROL_BYTES;
    /// Bytes of what [`Self::segment`] makes.
    pub(super) const SENT_BYTES: usize = CONTROL_BYTES;

    /// "Cut the message into datagrams of so many bytes."
    pub(super) fn segment(segment_bytes: u16) -> Self {
        let mut bytes = [0; CONTROL_BYTES];
        let length_at = size_of::<usize>();
        bytes[..length_at].copy_from_slice(&(HEADER_BYTES + 2).to_ne_bytes());
        bytes[length_at..length_at + 4].copy_from_slice(&libc::IPPROTO_UDP.to_ne_bytes());
        bytes[length_at + 4..length_at + 8].copy_from_slice(&libc::UDP_SEGMENT.to_ne_bytes());
        bytes[HEADER_BYTES..HEADER_BYTES + 2].copy_from_slice(&segment_bytes.to_ne_bytes());
        Self { bytes }
    }

    /// Of how many bytes the datagrams were that were merged; `None` if `filled` bytes of this do not say so.
    #[inline]
    pub(super) fn merged_bytes(&self, filled: usize) -> Option<usize> {
        let length_at = size_of::<usize>();
        if filled < HEADER_BYTES + 4 {
            return None;
        }
        let level = c_int::from_ne_bytes(*self.bytes[length_at..].first_chunk()?);
        let kind = c_int::from_ne_bytes(*self.bytes[length_at + 4..].first_chunk()?);
        let value = c_int::from_ne_bytes(*self.bytes[HEADER_BYTES..].first_chunk()?);
        let merged = level == libc::IPPROTO_UDP && kind == libc::UDP_GRO;
        usize::try_from(value).ok().filter(|bytes| merged && *bytes > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_as_linux_has_them() {
        let v4 = Name::new([192, 0, 2, 7].into(), 4791);
        assert_eq!(v4.bytes[..8], [2, 0, 0x12, 0xb7, 192, 0, 2, 7]);
        assert_eq!((v4.length(), v4.address()), (16, Some(([192, 0, 2, 7].into(), 4791))));
        let address: Ipv6Addr = "2001:db8::9".parse().unwrap();
        let v6 = Name::new(address.into(), 0xc001);
        assert_eq!(v6.bytes[..12], [10, 0, 0xc0, 1, 0, 0, 0, 0, 0x20, 1, 0x0d, 0xb8]);
        assert_eq!((v6.length(), v6.address()), (28, Some((address.into(), 0xc001))));
    }

    #[test]
    fn a_name_of_another_family_is_no_address() {
        let mut name = Name::new([192, 0, 2, 7].into(), 1);
        name.bytes[0] = 1;
        assert_eq!(name.address(), None);
    }

    #[test]
    fn control_messages_are_as_linux_has_them() {
        let control = Control::segment(4112);
        assert_eq!(
            control.bytes[..20],
            [18, 0, 0, 0, 0, 0, 0, 0, 17, 0, 0, 0, 103, 0, 0, 0, 0x10, 0x10, 0, 0]
        );
        let mut merged = control;
        merged.bytes[12] = 104;
        assert_eq!((merged.merged_bytes(24), merged.merged_bytes(0)), (Some(4112), None));
        assert_eq!(control.merged_bytes(24), None, "another kind of message");
        merged.bytes[16..18].fill(0);
        assert_eq!(merged.merged_bytes(24), None, "an impossible size");
    }
}
