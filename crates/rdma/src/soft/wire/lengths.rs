//! What depends on a packet's length alone, worked out beforehand for every length that there is.

use super::crc::Register;
use super::icrc::ICRC_BYTES;
use super::packet::{BTH_BYTES, HEADERS_BYTES_MAX, PAYLOAD_BYTES_MAX};

/// Bytes of a UDP header.
const UDP_BYTES: usize = 8;

/// Bytes of an IPv4 header without options.
const IPV4_BYTES: u16 = 20;

/// Words of 4 bytes of the longest UDP datagram.
const WORDS_MAX: usize = (UDP_BYTES + HEADERS_BYTES_MAX + PAYLOAD_BYTES_MAX as usize + ICRC_BYTES) / 4;

/// Words of 4 bytes of the shortest.
const WORDS_MIN: usize = (UDP_BYTES + BTH_BYTES + ICRC_BYTES) / 4;

/// From the end of the length field to that of the UDP header: in IPv4's header, in IPv6's and in UDP's.
const BEHIND_IPV4_LENGTH: usize = 24;
const BEHIND_IPV6_LENGTH: usize = 42;
const BEHIND_UDP_LENGTH: usize = 2;

/// From the end of IPv4's identification to that of the UDP header.
const BEHIND_IP_ID: usize = 22;

/// What follows from a length. All are parts of a CRC's register, which is linear.
#[derive(Clone, Copy, Debug)]
pub(super) struct Length {
    /// What the lengths in IPv4's and UDP's headers leave in the register when the UDP header has passed.
    pub(super) in_ipv4: Register,
    /// The same of IPv6.
    pub(super) in_ipv6: Register,
    /// Times this, the ICRC's difference is the one that a difference in IPv4's identification has put into the register.
    to_ip_id: Register,
}

static LENGTHS: [Length; WORDS_MAX + 1] = lengths();

/// What each byte of IPv4's identification leaves in the register when the UDP header has passed.
static IP_ID: [[u32; 256]; 2] = [byte_behind(BEHIND_IP_ID + 1), byte_behind(BEHIND_IP_ID)];

impl Length {
    /// Of a packet whose UDP payload is so long; `None` if no packet can be.
    #[inline]
    pub(super) fn of(udp_payload_bytes: usize) -> Option<&'static Self> {
        let words = (udp_payload_bytes.checked_add(UDP_BYTES)?) / 4;
        if words < WORDS_MIN || !udp_payload_bytes.is_multiple_of(4) {
            return None;
        }
        LENGTHS.get(words)
    }

    /// The difference between two identifications that makes this difference between two ICRCs, if any does. Any of the
    /// 2^32 is explained with a chance of 2^-16.
    #[inline]
    pub(super) fn ip_id_difference(&self, icrcs: Register) -> Option<u16> {
        let [high, low, 0, 0] = icrcs.times(self.to_ip_id).0.to_le_bytes() else { return None };
        Some(u16::from_be_bytes([high, low]))
    }
}

/// What IPv4's identification leaves in the register when the UDP header has passed.
#[inline]
pub(super) fn ip_id(ip_id: u16) -> Register {
    let [high, low] = ip_id.to_be_bytes();
    Register(IP_ID[0][usize::from(high)] ^ IP_ID[1][usize::from(low)])
}

const fn lengths() -> [Length; WORDS_MAX + 1] {
    let none = Length { in_ipv4: Register::ZERO, in_ipv6: Register::ZERO, to_ip_id: Register::ZERO };
    let mut lengths = [none; WORDS_MAX + 1];
    // The two bytes of the identification, what is behind them in the headers, and the packet without its ICRC.
    let mut to_ip_id = Register::ONE.unshift(2 + BEHIND_IP_ID).shift(UDP_BYTES + ICRC_BYTES);
    let mut bytes: u16 = 0;
    let mut words = 0;
    while words <= WORDS_MAX {
        let udp = field_behind(bytes, BEHIND_UDP_LENGTH).0;
        lengths[words] = Length {
            in_ipv4: Register(udp ^ field_behind(bytes + IPV4_BYTES, BEHIND_IPV4_LENGTH).0),
            in_ipv6: Register(udp ^ field_behind(bytes, BEHIND_IPV6_LENGTH).0),
            to_ip_id,
        };
        to_ip_id = to_ip_id.unshift(4);
        bytes += 4;
        words += 1;
    }
    lengths
}

/// What a field of two bytes leaves in the register when so many bytes have passed behind it.
const fn field_behind(value: u16, behind: usize) -> Register {
    Register(value.swap_bytes() as u32).shift(2 + behind)
}

const fn byte_behind(behind: usize) -> [u32; 256] {
    let mut registers = [0; 256];
    let mut byte = 0;
    let mut value = 0;
    while byte < 256 {
        registers[byte] = Register(value).shift(1 + behind).0;
        byte += 1;
        value += 1;
    }
    registers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lengths_of_packets() {
        let known: Vec<usize> = (0..5000).filter(|&bytes| Length::of(bytes).is_some()).collect();
        assert_eq!(known, (16..=32 + 4096 + 4).step_by(4).collect::<Vec<_>>());
        assert!(Length::of(usize::MAX).is_none());
    }

    #[test]
    fn every_difference_of_identifications_is_found_at_every_length() {
        for udp_payload in [16, 20, 276, 4132] {
            let length = Length::of(udp_payload).unwrap();
            for difference in (0..=u16::MAX).step_by(if udp_payload == 20 { 1 } else { 251 }) {
                let icrcs = ip_id(difference).shift(udp_payload - ICRC_BYTES);
                assert_eq!(length.ip_id_difference(icrcs), Some(difference));
            }
        }
    }
}
