use proptest::prelude::*;

use super::super::extension::{Aeth, Deth, NakCode, Reth, RnrTimer, Syndrome};
use super::*;

const ICRC: [u8; 4] = [0xc0, 0xc1, 0xc2, 0xc3];
const RETH: Reth = Reth { address: 0x0102_0304_0506_0708, key: 0x1112_1314, bytes: 0x2122_2324 };
const RETH_HEX: &str = "0102030405060708 11121314 21222324";
const WORD: u32 = 0x3132_3334;
const WORD_HEX: &str = "31323334";
const AETH: Aeth = Aeth { syndrome: Syndrome::Nak(NakCode::RemoteAccess), msn: 0x0041_4243 };
const AETH_HEX: &str = "62 414243";
const DETH: Deth = Deth { queue_key: 0x8001_0000, source: Qpn::CONNECTION_MANAGER };
const DETH_HEX: &str = "80010000 00 000001";

/// Every operation code, and what is behind the base transport header.
const OPCODES: [(u8, Opcode, Extension, &str); 21] = [
    (0x00, Opcode::SendFirst, Extension::None, ""),
    (0x01, Opcode::SendMiddle, Extension::None, ""),
    (0x02, Opcode::SendLast, Extension::None, ""),
    (0x03, Opcode::SendLastImmediate, Extension::Immediate(WORD), WORD_HEX),
    (0x04, Opcode::SendOnly, Extension::None, ""),
    (0x05, Opcode::SendOnlyImmediate, Extension::Immediate(WORD), WORD_HEX),
    (0x06, Opcode::WriteFirst, Extension::Reth(RETH), RETH_HEX),
    (0x07, Opcode::WriteMiddle, Extension::None, ""),
    (0x08, Opcode::WriteLast, Extension::None, ""),
    (0x09, Opcode::WriteLastImmediate, Extension::Immediate(WORD), WORD_HEX),
    (0x0a, Opcode::WriteOnly, Extension::Reth(RETH), RETH_HEX),
    (
        0x0b,
        Opcode::WriteOnlyImmediate,
        Extension::RethImmediate(RETH, WORD),
        "0102030405060708 11121314 21222324 31323334",
    ),
    (0x0c, Opcode::ReadRequest, Extension::Reth(RETH), RETH_HEX),
    (0x0d, Opcode::ReadResponseFirst, Extension::Aeth(AETH), AETH_HEX),
    (0x0e, Opcode::ReadResponseMiddle, Extension::None, ""),
    (0x0f, Opcode::ReadResponseLast, Extension::Aeth(AETH), AETH_HEX),
    (0x10, Opcode::ReadResponseOnly, Extension::Aeth(AETH), AETH_HEX),
    (0x11, Opcode::Acknowledge, Extension::Aeth(AETH), AETH_HEX),
    (0x16, Opcode::SendLastInvalidate, Extension::Invalidate(WORD), WORD_HEX),
    (0x17, Opcode::SendOnlyInvalidate, Extension::Invalidate(WORD), WORD_HEX),
    (0x64, Opcode::DatagramSendOnly, Extension::Deth(DETH), DETH_HEX),
];

fn unhex(hex: &str) -> Vec<u8> {
    let digits: String = hex.split_whitespace().collect();
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}

fn written(headers: &Headers, payload_bytes: u32) -> Vec<u8> {
    let mut bytes = [0xee; HEADERS_BYTES_MAX];
    let length = headers.write(payload_bytes, &mut bytes);
    assert!(bytes[length..].iter().all(|&byte| byte == 0xee), "nothing behind the headers is touched");
    bytes[..length].to_vec()
}

fn whole(headers: &Headers, payload: &[u8]) -> Vec<u8> {
    let mut packet = written(headers, u32::try_from(payload.len()).unwrap());
    packet.extend(payload);
    packet.resize(packet.len().next_multiple_of(4), 0);
    packet.extend(ICRC);
    packet
}

fn headers(opcode: Opcode, extension: Extension) -> Headers {
    let destination = Qpn::try_from(0x00d1_d2d3).unwrap();
    let psn = Psn::new(0x00e1_e2e3);
    Headers { opcode, destination, psn, ack_request: false, solicited: false, extension }
}

#[test]
fn every_opcode_both_ways() {
    assert_eq!(OPCODES.map(|(_, opcode, ..)| opcode), Opcode::ALL);
    for (value, opcode, extension, extension_hex) in OPCODES {
        let headers = headers(opcode, extension);
        let mut literal = unhex("ff 40 ffff 00 d1d2d3 00 e1e2e3");
        (literal[0], literal[1]) = (value, if value == 0x64 { 0 } else { 0x40 });
        literal.extend(unhex(extension_hex));
        assert_eq!(written(&headers, 0), literal, "{opcode:?}");
        literal.extend(ICRC);
        assert_eq!(Packet::parse(&literal), Ok(Packet { headers, payload: &[] }), "{opcode:?}");
    }
}

/// Sent by an adapter (public captures of RoCE v1, whose packets are the same from the base transport header on).
#[test]
fn packets_of_an_adapter() {
    let write = Headers {
        opcode: Opcode::WriteOnly,
        destination: Qpn::try_from(0x10a).unwrap(),
        psn: Psn::new(0x00a7_88bc),
        ack_request: true,
        solicited: false,
        extension: Extension::Reth(Reth { address: 0x55d4_c072_6000, key: 0x47b3, bytes: 5 }),
    };
    let bytes =
        unhex("0a70ffff 0000010a 80a788bc 000055d4c0726000 000047b3 00000005 00000000 01000000 e3d856bb");
    assert_eq!(Packet::parse(&bytes), Ok(Packet { headers: write, payload: &[0, 0, 0, 0, 1] }));
    assert_eq!(written(&write, 5), bytes[..28]);

    let acknowledge = Headers {
        opcode: Opcode::Acknowledge,
        destination: Qpn::try_from(0x109).unwrap(),
        psn: Psn::new(0x00a7_88c0),
        ack_request: false,
        solicited: false,
        extension: Extension::Aeth(Aeth { syndrome: Syndrome::Ack { credits: 0 }, msn: 5 }),
    };
    let bytes = unhex("1140ffff 00000109 00a788c0 00000005 25f0c038");
    assert_eq!(Packet::parse(&bytes), Ok(Packet { headers: acknowledge, payload: &[] }));
    assert_eq!(written(&acknowledge, 0), bytes[..16]);
}

#[test]
fn flags_and_pad() {
    let plain = headers(Opcode::SendOnly, Extension::None);
    let solicited = Headers { solicited: true, ..plain };
    let asking = Headers { ack_request: true, ..plain };
    assert_eq!(written(&solicited, 0), unhex("04 c0 ffff 00 d1d2d3 00 e1e2e3"));
    assert_eq!(written(&asking, 0), unhex("04 40 ffff 00 d1d2d3 80 e1e2e3"));
    for (payload, flags) in [(1, 0x70), (2, 0x60), (3, 0x50), (4, 0x40), (4096, 0x40)] {
        assert_eq!(written(&plain, payload)[1], flags, "{payload}");
    }
}

#[test]
fn what_does_not_matter_is_ignored() {
    let headers = headers(Opcode::SendOnly, Extension::None);
    let expected = Ok(Packet { headers, payload: &[1, 2, 3][..] });
    for literal in [
        "04 50 ffff 00 d1d2d3 00 e1e2e3 01020300",
        "04 10 ffff 00 d1d2d3 00 e1e2e3 01020300", // not migrated
        "04 50 7fff 00 d1d2d3 00 e1e2e3 01020300", // a limited member of the partition
        "04 50 ffff ff d1d2d3 00 e1e2e3 01020300", // congestion marks
        "04 50 ffff 00 d1d2d3 7f e1e2e3 01020300", // reserved bits
        "04 50 ffff 00 d1d2d3 00 e1e2e3 010203ff", // pad
    ] {
        let bytes = [unhex(literal), ICRC.to_vec()].concat();
        assert_eq!(Packet::parse(&bytes), expected, "{literal}");
    }
}

#[test]
fn malformed_packets() {
    for (literal, error) in [
        ("04 41 ffff 00 d1d2d3 00 e1e2e3", PacketError::Version(1)),
        ("04 4f ffff 00 d1d2d3 00 e1e2e3", PacketError::Version(15)),
        ("04 40 fffe 00 d1d2d3 00 e1e2e3", PacketError::PartitionKey(0xfffe)),
        ("04 40 0000 00 d1d2d3 00 e1e2e3", PacketError::PartitionKey(0)),
        ("12 40 ffff 00 d1d2d3 00 e1e2e3", PacketError::Opcode(UnknownOpcode(0x12))),
        ("24 40 ffff 00 d1d2d3 00 e1e2e3", PacketError::Opcode(UnknownOpcode(0x24))),
        ("81 00 ffff 40 d1d2d3 00 000000", PacketError::Opcode(UnknownOpcode(0x81))),
        ("04 50 ffff 00 d1d2d3 00 e1e2e3", PacketError::Truncated), // pad without payload
        ("11 40 ffff 00 d1d2d3 00 e1e2e3 40 000001", PacketError::Syndrome(0x40)),
        ("11 40 ffff 00 d1d2d3 00 e1e2e3 64 000001", PacketError::Syndrome(0x64)),
        ("0d 40 ffff 00 d1d2d3 00 e1e2e3 80 000001", PacketError::Syndrome(0x80)),
        ("11 40 ffff 00 d1d2d3 00 e1e2e3 00 000001 00000000", PacketError::UnexpectedPayload),
        (
            "0c 70 ffff 00 d1d2d3 00 e1e2e3 0102030405060708 11121314 21222324 01000000",
            PacketError::UnexpectedPayload,
        ),
    ] {
        let bytes = [unhex(literal), ICRC.to_vec()].concat();
        assert_eq!(Packet::parse(&bytes), Err(error), "{literal}");
    }
}

#[test]
fn truncated_packets() {
    for (_, opcode, extension, _) in OPCODES {
        let packet = whole(&headers(opcode, extension), &[]);
        for length in 0..packet.len() {
            let error = if length % 4 == 0 { PacketError::Truncated } else { PacketError::Unaligned(length) };
            assert_eq!(Packet::parse(&packet[..length]), Err(error), "{opcode:?} {length}");
        }
    }
}

/// Fields of so many bits, one behind the other, most significant bit first: what the tables of the standard draw.
fn drawn(fields: &[(u64, u32)]) -> Vec<u8> {
    let bits: Vec<u8> = fields
        .iter()
        .flat_map(|&(value, width)| (0..width).rev().map(move |bit| u8::from(value >> bit & 1 == 1)))
        .collect();
    assert_eq!(bits.len() % 32, 0);
    bits.chunks(8).map(|bits| bits.iter().fold(0, |byte, bit| byte << 1 | bit)).collect()
}

fn extension_drawn(extension: &Extension) -> Vec<u8> {
    let reth = |reth: Reth| vec![(reth.address, 64), (reth.key.into(), 32), (reth.bytes.into(), 32)];
    drawn(&match *extension {
        Extension::None => vec![],
        Extension::Reth(it) => reth(it),
        Extension::RethImmediate(it, word) => [reth(it), vec![(word.into(), 32)]].concat(),
        Extension::Invalidate(word) | Extension::Immediate(word) => vec![(word.into(), 32)],
        Extension::Deth(it) => vec![(it.queue_key.into(), 32), (0, 8), (it.source.value().into(), 24)],
        Extension::Aeth(it) => {
            let (kind, value) = match it.syndrome {
                Syndrome::Ack { credits } => (0b000, credits),
                Syndrome::ReceiverNotReady { timer } => (0b001, timer.code()),
                Syndrome::Nak(NakCode::SequenceError) => (0b011, 0),
                Syndrome::Nak(NakCode::InvalidRequest) => (0b011, 1),
                Syndrome::Nak(NakCode::RemoteAccess) => (0b011, 2),
                Syndrome::Nak(NakCode::RemoteOperation) => (0b011, 3),
            };
            vec![(kind, 3), (value.into(), 5), (it.msn.into(), 24)]
        }
    })
}

fn packet_drawn(headers: &Headers, payload: &[u8]) -> Vec<u8> {
    let pad = (4 - payload.len() % 4) % 4;
    let bth = drawn(&[
        (headers.opcode.value().into(), 8),
        (headers.solicited.into(), 1),
        ((headers.opcode != Opcode::DatagramSendOnly).into(), 1),
        (pad as u64, 2),
        (0, 4),
        (0xffff, 16),
        (0, 8),
        (headers.destination.value().into(), 24),
        (headers.ack_request.into(), 1),
        (0, 7),
        (headers.psn.value().into(), 24),
    ]);
    [&bth, &extension_drawn(&headers.extension), payload, &vec![0; pad], &ICRC].concat()
}

prop_compose! {
    fn any_reth()(address: u64, key: u32, bytes: u32) -> Reth {
        Reth { address, key, bytes }
    }
}

fn any_aeth() -> impl Strategy<Value = Aeth> {
    let syndrome = prop_oneof![
        (0..32_u8).prop_map(|credits| Syndrome::Ack { credits }),
        (0..32_u8).prop_map(|code| Syndrome::ReceiverNotReady { timer: RnrTimer::new(code) }),
        prop::sample::select(vec![
            NakCode::SequenceError,
            NakCode::InvalidRequest,
            NakCode::RemoteAccess,
            NakCode::RemoteOperation
        ])
        .prop_map(Syndrome::Nak),
    ];
    (syndrome, 0..1_u32 << 24).prop_map(|(syndrome, msn)| Aeth { syndrome, msn })
}

fn any_extension(opcode: Opcode) -> BoxedStrategy<Extension> {
    match Kind::of(opcode) {
        Kind::None => Just(Extension::None).boxed(),
        Kind::Reth => any_reth().prop_map(Extension::Reth).boxed(),
        Kind::Aeth => any_aeth().prop_map(Extension::Aeth).boxed(),
        Kind::Invalidate => any::<u32>().prop_map(Extension::Invalidate).boxed(),
        Kind::Immediate => any::<u32>().prop_map(Extension::Immediate).boxed(),
        Kind::RethImmediate => {
            (any_reth(), any::<u32>()).prop_map(|(reth, word)| Extension::RethImmediate(reth, word)).boxed()
        }
        Kind::Deth => (any::<u32>(), any_qpn())
            .prop_map(|(queue_key, source)| Extension::Deth(Deth { queue_key, source }))
            .boxed(),
    }
}

fn any_qpn() -> impl Strategy<Value = Qpn> {
    (0..1_u32 << 24).prop_map(|number| Qpn::try_from(number).unwrap())
}

fn any_headers() -> impl Strategy<Value = Headers> {
    prop::sample::select(Opcode::ALL).prop_flat_map(|opcode| {
        (any_qpn(), any::<u32>(), any::<bool>(), any::<bool>(), any_extension(opcode)).prop_map(
            move |(destination, psn, ack_request, solicited, extension)| {
                let psn = Psn::new(psn);
                Headers { opcode, destination, psn, ack_request, solicited, extension }
            },
        )
    })
}

proptest! {
    #[test]
    fn packets_are_as_drawn(headers in any_headers(), payload in prop::collection::vec(any::<u8>(), 0..70)) {
        let payload = if headers.opcode.has_payload() { &payload[..] } else { &[] };
        let drawn = packet_drawn(&headers, payload);
        prop_assert_eq!(&whole(&headers, payload), &drawn);
        prop_assert_eq!(Packet::parse(&drawn), Ok(Packet { headers, payload }));
    }

    #[test]
    fn any_bytes_are_a_packet_or_an_error(mut bytes in prop::collection::vec(any::<u8>(), 0..120), likely: bool) {
        if let (true, [opcode, flags, key @ .., _, _, _, _, _, _, _, _]) = (likely, &mut bytes[..]) {
            *opcode = Opcode::ALL[usize::from(*opcode) % Opcode::ALL.len()].value();
            *flags &= 0xf0;
            if let [first, second, ..] = key {
                (*first, *second) = (0xff, 0xff);
            }
        }
        if let Ok(packet) = Packet::parse(&bytes) {
            let again = whole(&packet.headers, packet.payload);
            prop_assert_eq!(Packet::parse(&again), Ok(packet));
            prop_assert_eq!(again.len(), bytes.len() - usize::from(bytes[1] >> 4 & 3) + usize::from(again[1] >> 4 & 3));
        }
    }
}
