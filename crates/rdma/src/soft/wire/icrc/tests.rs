use std::net::Ipv4Addr;

use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::super::packet::{HEADERS_BYTES_MAX, PAYLOAD_BYTES_MAX};
use super::*;

/// A whole datagram as it was seen: IP header and on.
struct Seen {
    addresses: Addresses,
    ip_id: u16,
    udp_payload: Vec<u8>,
}

/// Built by scapy and published with its tests: an unreliable connection's SEND of 18 bytes.
fn scapy_uc_send() -> Seen {
    let node = IpAddr::from([192, 168, 0, 7]);
    let udp_payload = [
        0x24, 0x60, 0xff, 0xff, 0x00, 0x00, 0x00, 0xd3, 0x00, 0xcf, 0x17, 0x10, //
        0x46, 0x30, 0x81, 0x8b, 0xe2, 0x89, 0x35, 0xd9, 0x0e, 0x9a, 0x95, 0x50, 0x54, 0x01, 0xbe, 0x88, 0x5e,
        0x50, 0x00, 0x00, //
        0x78, 0xf3, 0x53, 0xf3,
    ];
    Seen {
        addresses: Addresses::new(node, node, 49152, 4791),
        ip_id: 1144,
        udp_payload: udp_payload.to_vec(),
    }
}

/// Captured from an adapter and published with scapy's tests: a congestion notification, with ones in the masked byte.
fn adapter_cnp() -> Seen {
    let mut udp_payload = vec![0; 32];
    udp_payload[..8].copy_from_slice(&[0x81, 0x00, 0xff, 0xff, 0x40, 0x00, 0x01, 0x18]);
    udp_payload[28..].copy_from_slice(&[0x82, 0xfd, 0x00, 0x2a]);
    let (source, destination) = (IpAddr::from([10, 0, 17, 1]), IpAddr::from([10, 0, 18, 1]));
    Seen { addresses: Addresses::new(source, destination, 0, 4791), ip_id: 0x718c, udp_payload }
}

#[test]
fn packets_of_others_are_right() {
    for mut seen in [scapy_uc_send(), adapter_cnp()] {
        for expected in [seen.ip_id, 0, 0xffff] {
            assert_eq!(check(&seen.addresses, &seen.udp_payload, expected), Ok(()));
        }
        seen.udp_payload[4] ^= 0xc0;
        assert_eq!(check(&seen.addresses, &seen.udp_payload, 0), Ok(()), "congestion marks are not covered");
        seen.udp_payload[5] ^= 1;
        assert_eq!(check(&seen.addresses, &seen.udp_payload, 0), Err(IcrcError::Mismatch));
    }
}

#[test]
fn packets_of_others_are_made() {
    let Seen { addresses, ip_id, udp_payload } = scapy_uc_send();
    let mut icrc = Icrc::new(&addresses, ip_id, &udp_payload[..12], 18);
    icrc.payload(&udp_payload[12..17]);
    icrc.payload(&udp_payload[17..30]);
    assert_eq!(icrc.finish().bytes(), [0, 0, 0x78, 0xf3, 0x53, 0xf3]);

    let Seen { addresses, ip_id, udp_payload } = adapter_cnp();
    let mut icrc = Icrc::new(&addresses, ip_id, &udp_payload[..12], 16);
    icrc.payload(&[0; 16]);
    assert_eq!(icrc.finish().bytes(), [0x82, 0xfd, 0x00, 0x2a]);
}

/// What 7.8.1 and A17.3.3 say, header by header and bit by bit.
#[derive(Debug)]
struct Oracle {
    addresses: (IpAddr, IpAddr, u16, u16),
    ip_id: u16,
}

impl Oracle {
    fn addresses(&self) -> Addresses {
        let (source, destination, source_port, destination_port) = self.addresses;
        Addresses::new(source, destination, source_port, destination_port)
    }

    /// Headers as on the wire would have them, with all that is masked as ones.
    fn masked(&self, packet: &[u8]) -> Vec<u8> {
        let (source, destination, source_port, destination_port) = self.addresses;
        let udp_bytes = u16::try_from(8 + packet.len() + 4).unwrap();
        let mut bytes = vec![0xff; 8];
        match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                bytes.extend([0x45, 0xff]);
                bytes.extend((20 + udp_bytes).to_be_bytes());
                bytes.extend(self.ip_id.to_be_bytes());
                bytes.extend([0x40, 0x00, 0xff, 0x11, 0xff, 0xff]);
                bytes.extend(source.octets());
                bytes.extend(destination.octets());
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                bytes.extend([0x6f, 0xff, 0xff, 0xff]);
                bytes.extend(udp_bytes.to_be_bytes());
                bytes.extend([0x11, 0xff]);
                bytes.extend(source.octets());
                bytes.extend(destination.octets());
            }
            _ => unreachable!(),
        }
        bytes.extend(source_port.to_be_bytes());
        bytes.extend(destination_port.to_be_bytes());
        bytes.extend(udp_bytes.to_be_bytes());
        bytes.extend([0xff, 0xff]);
        bytes.extend(&packet[..4]);
        bytes.push(0xff);
        bytes.extend(&packet[5..]);
        bytes
    }

    fn icrc(&self, packet: &[u8]) -> [u8; 4] {
        let mut register = u32::MAX;
        for byte in self.masked(packet) {
            register ^= u32::from(byte);
            for _ in 0..8 {
                register = if register & 1 == 1 { register >> 1 ^ 0xedb8_8320 } else { register >> 1 };
            }
        }
        (!register).to_le_bytes()
    }

    /// The packet with its ICRC.
    fn sent(&self, packet: &[u8]) -> Vec<u8> {
        [packet, &self.icrc(packet)].concat()
    }
}

fn v4(ip_id: u16) -> Oracle {
    let (source, destination) = (Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(198, 51, 100, 77));
    Oracle { addresses: (source.into(), destination.into(), 0xc0de, 4791), ip_id }
}

fn v6() -> Oracle {
    let (source, destination) = ("2001:db8::1".parse().unwrap(), "2001:db8:1:2:3:4:5:6".parse().unwrap());
    Oracle { addresses: (source, destination, 0xc0de, 4791), ip_id: 0 }
}

fn bytes(length: usize, random: &mut StdRng) -> Vec<u8> {
    (0..length).map(|_| random.random()).collect()
}

#[test]
fn every_identification_is_accepted() {
    let packet = bytes(12 + 64, &mut StdRng::seed_from_u64(1));
    for ip_id in 0..=u16::MAX {
        let oracle = v4(ip_id);
        // What the oracle says is too slow for all of them.
        let icrc = Icrc::new(&oracle.addresses(), ip_id, &packet, 0).finish();
        if ip_id % 101 == 0 {
            assert_eq!(icrc.bytes(), oracle.icrc(&packet));
        }
        let sent = [&packet, icrc.bytes()].concat();
        for expected in [ip_id, 0, ip_id.wrapping_add(1), !ip_id] {
            assert_eq!(check(&oracle.addresses(), &sent, expected), Ok(()), "{ip_id} {expected}");
        }
    }
}

/// How many of the corruptions that `corrupt` makes are taken for what was sent.
fn accepted(oracle: &Oracle, length: usize, times: u32, corrupt: impl Fn(&mut [u8], &mut StdRng)) -> u32 {
    let mut random = StdRng::seed_from_u64(length as u64);
    let sent = oracle.sent(&bytes(length, &mut random));
    let addresses = oracle.addresses();
    let mut accepted = 0;
    for _ in 0..times {
        let mut corrupted = sent.clone();
        while corrupted[..4] == sent[..4] && corrupted[5..] == sent[5..] {
            corrupt(&mut corrupted, &mut random);
        }
        accepted += u32::from(check(&addresses, &corrupted, 0).is_ok());
    }
    accepted
}

fn flip(bytes: &mut [u8], bits: u32, random: &mut StdRng) {
    for _ in 0..bits {
        let bit = random.random_range(0..8 * bytes.len());
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
}

const TRIES: u32 = 1 << 18;

/// Expected: 4 of 2^18. More than 16 are as good as impossible.
const ACCEPTED_MAX: u32 = 16;

#[test]
fn corruption_over_ipv4_is_accepted_once_in_65536() {
    for bits in [2, 3, 17] {
        let accepted = accepted(&v4(0x1234), 76, TRIES / 3, |bytes, random| flip(bytes, bits, random));
        assert!(accepted <= ACCEPTED_MAX / 3, "{bits} bits: {accepted}");
    }
    let garbage = accepted(&v4(0x1234), 28, TRIES, |bytes, random| random.fill(bytes));
    assert!((1..=ACCEPTED_MAX).contains(&garbage), "{garbage}: identifications explain some, and no more");
}

#[test]
fn corruption_over_ipv6_is_not_accepted() {
    for bits in [1, 2, 3, 17] {
        assert_eq!(accepted(&v6(), 76, 1 << 14, |bytes, random| flip(bytes, bits, random)), 0);
    }
}

/// Every single bit of the largest packet. Over IPv4 few can be explained: two identifications' distance, 2^-16 each.
#[test]
fn single_bits() {
    let packet = bytes(HEADERS_BYTES_MAX + PAYLOAD_BYTES_MAX as usize, &mut StdRng::seed_from_u64(2));
    for (oracle, accepted_max) in [(v4(7), 3), (v6(), 0)] {
        let (addresses, mut sent) = (oracle.addresses(), oracle.sent(&packet));
        let mut accepted = 0;
        for bit in (0..8 * sent.len()).filter(|bit| bit / 8 != 4) {
            sent[bit / 8] ^= 1 << (bit % 8);
            accepted += u32::from(check(&addresses, &sent, 0).is_ok());
            sent[bit / 8] ^= 1 << (bit % 8);
        }
        assert!(accepted <= accepted_max, "{accepted}");
    }
}

/// Addresses and ports are covered: what was sent to others is not taken.
#[test]
fn the_wrong_addresses() {
    for oracle in [v4(9), v6()] {
        let sent = oracle.sent(&[4, 0x40, 0xff, 0xff, 0, 0, 0, 0x11, 0, 0, 0, 1]);
        let (source, destination, source_port, destination_port) = oracle.addresses;
        for addresses in [
            Addresses::new(destination, source, source_port, destination_port),
            Addresses::new(source, source, source_port, destination_port),
            Addresses::new(source, destination, source_port ^ 1, destination_port),
            Addresses::new(source, destination, source_port, destination_port + 1),
        ] {
            assert_eq!(check(&addresses, &sent, oracle.ip_id), Err(IcrcError::Mismatch));
        }
        assert_eq!(check(&oracle.addresses(), &sent, oracle.ip_id), Ok(()));
    }
}

#[test]
fn mapped_addresses_are_ipv4() {
    let (source, destination, source_port, destination_port) = v4(0).addresses;
    let mapped = |address| match address {
        IpAddr::V4(address) => IpAddr::V6(address.to_ipv6_mapped()),
        IpAddr::V6(_) => address,
    };
    let addresses = Addresses::new(mapped(source), mapped(destination), source_port, destination_port);
    assert_eq!(addresses, v4(0).addresses());
}

#[test]
fn lengths_of_no_packet() {
    for length in (0..16).chain([17, 18, 19, 4133, 4136, 70_000]) {
        for oracle in [v4(0), v6()] {
            assert_eq!(
                check(&oracle.addresses(), &vec![0; length], 0),
                Err(IcrcError::Length(length)),
                "{length}"
            );
        }
    }
}

fn any_oracle() -> impl Strategy<Value = Oracle> {
    let v4 = (any::<[u8; 4]>(), any::<[u8; 4]>()).prop_map(|(a, b)| (IpAddr::from(a), IpAddr::from(b)));
    // Not mapped ones, which are IPv4.
    let v6 = (any::<[u8; 16]>(), any::<[u8; 16]>()).prop_map(|(mut a, mut b)| {
        (a[0], b[0]) = (a[0] | 1, b[0] | 1);
        (IpAddr::from(a), IpAddr::from(b))
    });
    (prop_oneof![v4, v6], any::<(u16, u16, u16)>()).prop_map(|((source, destination), (from, to, ip_id))| {
        Oracle { addresses: (source, destination, from, to), ip_id }
    })
}

proptest! {
    #[test]
    fn what_is_made_is_as_the_oracle_says(
        oracle in any_oracle(),
        header_words in 3..=HEADERS_BYTES_MAX / 4,
        payload_bytes in 0..=PAYLOAD_BYTES_MAX,
        cuts: [prop::sample::Index; 2],
        seed: u64,
    ) {
        let mut random = StdRng::seed_from_u64(seed);
        let headers = bytes(4 * header_words, &mut random);
        let payload = bytes(payload_bytes as usize, &mut random);
        let mut icrc = Icrc::new(&oracle.addresses(), oracle.ip_id, &headers, payload_bytes);
        let mut cuts = cuts.map(|cut| cut.index(payload.len() + 1));
        cuts.sort_unstable();
        icrc.payload(&payload[..cuts[0]]);
        icrc.payload(&payload[cuts[0]..cuts[1]]);
        icrc.payload(&payload[cuts[1]..]);

        let pad = vec![0; payload.len().next_multiple_of(4) - payload.len()];
        let packet = [headers, payload, pad.clone()].concat();
        let trailer = icrc.finish();
        prop_assert_eq!(trailer.bytes(), [&pad[..], &oracle.icrc(&packet)].concat());
        let sent = oracle.sent(&packet);
        prop_assert_eq!(check(&oracle.addresses(), &sent, oracle.ip_id), Ok(()));
    }

    #[test]
    fn any_identification_at_any_length(ip_id: u16, expected: u16, words in 3..=1032_usize, seed: u64) {
        let sent = v4(ip_id).sent(&bytes(4 * words, &mut StdRng::seed_from_u64(seed)));
        prop_assert_eq!(check(&v4(0).addresses(), &sent, expected), Ok(()));
    }

    #[test]
    fn any_bytes_are_checked(oracle in any_oracle(), bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let result = check(&oracle.addresses(), &bytes, oracle.ip_id);
        let fits = bytes.len() >= 16 && bytes.len().is_multiple_of(4);
        prop_assert_eq!(matches!(result, Err(IcrcError::Length(_))), !fits);
    }
}
