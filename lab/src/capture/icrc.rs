//! The invariant CRC of RoCEv2 (InfiniBand specification 1.4, annex 17.3), bit by bit: slow, and independent of the
//! product's.

use super::pcap::Packet;

/// Zlib's polynomial, least significant bit first.
const POLYNOMIAL: u32 = 0xedb8_8320;

/// In place of the local route header that RoCE does not have.
const PREFIX: [u8; 8] = [0xff; 8];

const ICRC_BYTES: usize = 4;
const UDP_HEADER_BYTES: usize = 8;

/// Fails with what is wrong.
pub fn check(packet: &Packet) -> Result<(), String> {
    let (covered, found) = packet.bytes.split_last_chunk::<ICRC_BYTES>().ok_or("it has no ICRC")?;
    let found = u32::from_le_bytes(*found);
    let mut covered = covered.to_owned();
    let reserved = packet.udp + UDP_HEADER_BYTES + 4;
    if covered.len() <= reserved {
        return Err("it ends within the transport header".to_owned());
    }
    let varying: &[usize] = match covered[0] >> 4 {
        4 => &[1, 8, 10, 11], // type of service, time to live, checksum
        _ => &[1, 2, 3, 7],   // traffic class and flow label, hop limit
    };
    for &at in varying {
        covered[at] = 0xff;
    }
    if covered[0] >> 4 == 6 {
        covered[0] |= 0x0f; // the rest of the traffic class
    }
    covered[packet.udp + 6] = 0xff; // UDP's checksum
    covered[packet.udp + 7] = 0xff;
    covered[reserved] = 0xff;
    let expected = crc32(PREFIX.iter().chain(&covered));
    if found == expected { Ok(()) } else { Err(format!("its ICRC is {found:08x}, not {expected:08x}")) }
}

fn crc32<'a>(bytes: impl Iterator<Item = &'a u8>) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ if crc & 1 == 1 { POLYNOMIAL } else { 0 };
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::pcap;
    use super::*;

    /// Kernel rxe's packets, as IPv4 and as IPv6.
    fn packets(file: &str) -> Vec<Packet> {
        let captures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/rdma/tests/captures");
        let packets = pcap::roce_packets(&captures.join(file)).unwrap();
        assert_eq!(packets.len(), 29);
        packets
    }

    #[test]
    fn the_crc_is_the_well_known_one() {
        assert_eq!(crc32(b"123456789".iter()), 0xcbf4_3926);
    }

    #[test]
    fn the_kernels_packets_are_good_and_every_covered_bit_counts() {
        for (file, not_covered) in [
            ("rping-ipv4.pcap", vec![1, 8, 10, 11, 26, 27, 32]),
            ("rping-ipv6.pcap", vec![1, 2, 3, 7, 46, 47, 52]),
        ] {
            for mut packet in packets(file) {
                assert_eq!(check(&packet), Ok(()));
                // The first byte's half tells IPv4 from IPv6, and its other half is one that IPv6 does not cover.
                for at in 1..packet.bytes.len() {
                    packet.bytes[at] ^= 0x10;
                    assert_eq!(check(&packet).is_ok(), not_covered.contains(&at), "{file} {at}");
                    packet.bytes[at] ^= 0x10;
                }
            }
        }
    }
}
