//! What kernel rxe put on the wire (tests/captures/README.md), taken apart and put together again.

use std::net::IpAddr;

use super::*;

/// A datagram of a capture.
struct Seen {
    source: IpAddr,
    destination: IpAddr,
    source_port: u16,
    destination_port: u16,
    /// 0 in IPv6, which has none.
    ip_id: u16,
    udp_payload: &'static [u8],
}

impl Seen {
    fn addresses(&self) -> Addresses {
        Addresses::new(self.source, self.destination, self.source_port, self.destination_port)
    }
}

macro_rules! capture {
    ($name:literal) => {
        seen(include_bytes!(concat!("../../../tests/captures/", $name, ".pcap")))
    };
}

const PCAP_HEADER_BYTES: usize = 24;
const RECORD_HEADER_BYTES: usize = 16;
const ETHERNET_BYTES: usize = 14;

fn seen(pcap: &'static [u8]) -> Vec<Seen> {
    assert_eq!(pcap[..4], [0xd4, 0xc3, 0xb2, 0xa1], "a pcap file in little-endian order");
    let mut rest = &pcap[PCAP_HEADER_BYTES..];
    let mut all = Vec::new();
    while let Some((header, behind)) = rest.split_first_chunk::<RECORD_HEADER_BYTES>() {
        let bytes = u32::from_le_bytes(*header[8..].first_chunk().unwrap()) as usize;
        all.push(datagram(&behind[ETHERNET_BYTES..bytes]));
        rest = &behind[bytes..];
    }
    all
}

/// What came to queue pair 1: who sent it, and the payload.
pub(in crate::soft) fn management(pcap: &'static [u8]) -> Vec<(IpAddr, &'static [u8])> {
    let payload = |seen: Seen| {
        let packet = Packet::parse(seen.udp_payload).unwrap();
        (packet.headers.destination == Qpn::CONNECTION_MANAGER).then_some((seen.source, packet.payload))
    };
    seen(pcap).into_iter().filter_map(payload).collect()
}

fn word(bytes: &[u8]) -> u16 {
    u16::from_be_bytes(*bytes.first_chunk().unwrap())
}

fn datagram(ip: &'static [u8]) -> Seen {
    let (source, destination, ip_id, udp): (IpAddr, IpAddr, _, _) = match ip[0] {
        0x45 => {
            let address = |at: usize| IpAddr::from(*ip[at..].first_chunk::<4>().unwrap());
            (address(12), address(16), word(&ip[4..]), &ip[20..])
        }
        0x60..0x70 => {
            let address = |at: usize| IpAddr::from(*ip[at..].first_chunk::<16>().unwrap());
            (address(8), address(24), 0, &ip[40..])
        }
        other => panic!("neither IPv4 nor IPv6: {other:#x}"),
    };
    let udp_payload = &udp[8..usize::from(word(&udp[4..]))];
    Seen {
        source,
        destination,
        source_port: word(udp),
        destination_port: word(&udp[2..]),
        ip_id,
        udp_payload,
    }
}

fn everything() -> Vec<Seen> {
    [
        capture!("rping-ipv4"),
        capture!("rping-ipv6"),
        capture!("refused-ipv4"),
        capture!("refused-ipv6"),
        capture!("send-mtu256"),
        capture!("write-mtu256"),
        capture!("read-mtu256"),
        capture!("loss-mtu256"),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn opcodes(capture: &[Seen]) -> Vec<Opcode> {
    capture.iter().map(|seen| Packet::parse(seen.udp_payload).unwrap().headers.opcode).collect()
}

#[test]
fn their_icrcs_are_right_and_cover_what_is_thought() {
    let everything = everything();
    assert_eq!(everything.len(), 154);
    for seen in everything {
        let addresses = seen.addresses();
        assert_eq!(check(&addresses, seen.udp_payload, seen.ip_id), Ok(()));
        assert_eq!(check(&addresses, seen.udp_payload, !seen.ip_id), Ok(()));
        for byte in (0..seen.udp_payload.len()).filter(|&byte| byte != 4) {
            let mut corrupted = seen.udp_payload.to_vec();
            corrupted[byte] ^= 0x10;
            let error = Err(IcrcError::Mismatch);
            assert_eq!(check(&addresses, &corrupted, seen.ip_id), error, "byte {byte}");
        }
    }
}

#[test]
fn put_together_again_they_are_the_same() {
    for seen in everything() {
        let Packet { headers, payload } = Packet::parse(seen.udp_payload).unwrap();
        let payload_bytes = u32::try_from(payload.len()).unwrap();
        let mut bytes = [0; HEADERS_BYTES_MAX];
        let length = headers.write(payload_bytes, &mut bytes);
        // The one thing that we do otherwise: MigReq.
        bytes[1] &= !0x40;
        let mut icrc = Icrc::new(&seen.addresses(), seen.ip_id, &bytes[..length], payload_bytes);
        let (front, back) = payload.split_at(payload.len() / 3);
        icrc.payload(front);
        icrc.payload(back);
        assert_eq!([&bytes[..length], payload, icrc.finish().bytes()].concat(), seen.udp_payload);
    }
}

#[test]
fn a_ping_over_both_families() {
    use Opcode::{Acknowledge, DatagramSendOnly, ReadRequest, ReadResponseOnly, SendOnly, WriteOnly};
    for capture in [capture!("rping-ipv4"), capture!("rping-ipv6")] {
        let opcodes = opcodes(&capture);
        let count = |of| opcodes.iter().filter(|&&opcode| opcode == of).count();
        assert_eq!(opcodes.len(), 29);
        assert_eq!(
            [DatagramSendOnly, SendOnly, Acknowledge, ReadRequest, ReadResponseOnly, WriteOnly].map(count),
            [5, 8, 10, 2, 2, 2]
        );
        for seen in &capture {
            let Packet { headers, payload } = Packet::parse(seen.udp_payload).unwrap();
            match (headers.opcode, headers.extension) {
                (DatagramSendOnly, Extension::Deth(deth)) => {
                    assert_eq!(deth, Deth { queue_key: 0x8001_0000, source: Qpn::CONNECTION_MANAGER });
                    assert_eq!((headers.destination, payload.len()), (Qpn::CONNECTION_MANAGER, 256));
                }
                (Acknowledge | ReadResponseOnly, Extension::Aeth(aeth)) => {
                    assert_eq!(aeth.syndrome, Syndrome::Ack { credits: CREDITS_UNLIMITED });
                }
                (ReadRequest | WriteOnly, Extension::Reth(reth)) => assert_eq!(reth.bytes, 100),
                (opcode, extension) => assert_eq!((opcode, extension), (SendOnly, Extension::None)),
            }
        }
    }
}

/// 515 bytes at a path MTU of 256: two whole packets and three bytes, padded.
#[test]
fn messages_of_several_packets() {
    for (capture, kinds) in [
        (capture!("send-mtu256"), [Opcode::SendFirst, Opcode::SendMiddle, Opcode::SendLast]),
        (capture!("write-mtu256"), [Opcode::WriteFirst, Opcode::WriteMiddle, Opcode::WriteLast]),
        (
            capture!("read-mtu256"),
            [Opcode::ReadResponseFirst, Opcode::ReadResponseMiddle, Opcode::ReadResponseLast],
        ),
    ] {
        let data: Vec<_> = capture
            .iter()
            .map(|seen| Packet::parse(seen.udp_payload).unwrap())
            .filter(|packet| kinds.contains(&packet.headers.opcode))
            .map(|Packet { headers, payload }| (headers.opcode, headers.psn, payload.len()))
            .collect();
        assert_eq!(data.len(), 15);
        for (at, &(opcode, psn, bytes)) in data.iter().enumerate() {
            assert_eq!((opcode, bytes), (kinds[at % 3], [256, 256, 3][at % 3]));
            assert_eq!(psn.minus(data[0].1) as usize, at);
        }
    }
}

#[test]
fn a_gap_is_answered_with_the_number_that_is_missing() {
    let packets: Vec<_> =
        capture!("loss-mtu256").iter().map(|seen| Packet::parse(seen.udp_payload).unwrap()).collect();
    let naks: Vec<_> = packets
        .iter()
        .filter(|packet| {
            let nak = Syndrome::Nak(NakCode::SequenceError);
            matches!(packet.headers.extension, Extension::Aeth(Aeth { syndrome, .. }) if syndrome == nak)
        })
        .collect();
    let [nak] = naks[..] else { panic!("one negative acknowledgement: {naks:?}") };
    let again = |packet: &Packet<'_>| {
        packet.headers.psn == nak.headers.psn && packet.headers.opcode == Opcode::WriteMiddle
    };
    assert!(packets.iter().any(again));
}
