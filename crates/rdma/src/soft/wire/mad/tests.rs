//! Messages as the bytes that they are.

#![allow(clippy::cast_possible_truncation)]

use std::net::IpAddr;

use super::*;
use crate::PathMtu;
use crate::soft::wire::{Psn, Qpn, captures};

/// Bytes of hexadecimal digits; what stands between them does not matter.
fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().filter_map(|c| c.to_digit(16)).map(|digit| digit as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// The bytes, and zeroes up to the end.
fn mad(text: &str) -> MadBytes {
    let mut bytes = hex(text);
    assert!(bytes.len() <= MAD_BYTES);
    bytes.resize(MAD_BYTES, 0);
    bytes.try_into().unwrap()
}

fn check(bytes: MadBytes, message: Message) {
    let mad = Mad { transaction: TransactionId(0x0102_0304_0506_0708), message };
    assert_eq!(Mad::read(&bytes), Ok(mad));
    let written = mad.write();
    for (offset, (written, expected)) in written.iter().zip(bytes).enumerate() {
        assert_eq!((offset, *written), (offset, expected));
    }
}

fn qpn(number: u32) -> Qpn {
    Qpn::try_from(number).unwrap()
}

const REQUEST: &str = "
    01070203 00000000 0102030405060708 0010 0000 00000000
    aabbccdd 00000000 0000000001061144 0011223344556677 00000000 00000000
    000123 10
    000000 08
    000000 a0
    abcdef a7
    ffff 37 f8
    ffff ffff
    00000000 00000000 0000ffff c0000201
    00000000 00000000 0000ffff c0000202
    000000 00 00 40 00 88
    0000 0000
    00000000 00000000 00000000 00000000
    00000000 00000000 00000000 00000000
    000000 00 00 00 00 00
    00 40 c350
    00000000 00000000 00000000 c0000201
    00000000 00000000 00000000 c0000202
    68656c6c6f";

fn request() -> ConnectionRequest {
    let [sender, receiver] = [[192, 0, 2, 1], [192, 0, 2, 2]].map(IpAddr::from);
    let header = RdmaCmHeader { source: (sender, 50000).into(), destination: receiver };
    ConnectionRequest {
        local_id: CommunicationId::new(0xaabb_ccdd),
        service: ServiceId::of_port(4420),
        guid: Guid(0x0011_2233_4455_6677),
        qpn: qpn(0x123),
        responder_resources: 16,
        initiator_depth: 8,
        remote_timeout: Timeout::of_exponent(20),
        local_timeout: Timeout::of_exponent(20),
        starting_psn: Psn::new(0x00ab_cdef),
        retries: 7,
        mtu: PathMtu::Bytes1024,
        rnr_retries: 7,
        cm_retries: 15,
        shared_receives: true,
        sender: Gid::from(sender),
        receiver: Gid::from(receiver),
        ack_timeout: Timeout::of_exponent(17),
        private_data: header.write(b"hello"),
    }
}

#[test]
fn request_bytes() {
    check(mad(REQUEST), Message::Request(request()));
}

#[test]
fn what_roce_fixes_is_not_looked_at() {
    let mut bytes = mad(REQUEST);
    for offset in [4, 6, 48, 52, 54, 88, 92, 93, 96, 100, 139] {
        bytes[24 + offset] ^= 0x55;
    }
    assert_eq!(Mad::read(&bytes).map(|mad| mad.message), Ok(Message::Request(request())));
}

#[test]
fn requests_that_cannot_be() {
    let refused = |reason| {
        let (transaction, id) = (TransactionId(0x0102_0304_0506_0708), CommunicationId::new(0xaabb_ccdd));
        Err(MadError::Refused { transaction, id, reason })
    };
    for transport in 1..=3 {
        let mut bytes = mad(REQUEST);
        bytes[24 + 43] |= transport << 1;
        assert_eq!(Mad::read(&bytes), refused(RejectReason::InvalidTransport));
    }
    for mtu in [0, 6, 15] {
        let mut bytes = mad(REQUEST);
        bytes[24 + 50] = mtu << 4 | 7;
        assert_eq!(Mad::read(&bytes), refused(RejectReason::InvalidMtu));
    }
}

#[test]
fn reply_bytes() {
    let bytes = mad("
        01070203 00000000 0102030405060708 0013 0000 00000000
        11121314 21222324 00000000
        000456 00 000000 00
        fedcba 00
        08 10 78 f0
        8877665544332211
        77656c636f6d65");
    let mut private_data = [0; 196];
    private_data[..7].copy_from_slice(b"welcome");
    check(
        bytes,
        Message::Reply(Reply {
            local_id: CommunicationId::new(0x1112_1314),
            remote_id: CommunicationId::new(0x2122_2324),
            qpn: qpn(0x456),
            starting_psn: Psn::new(0x00fe_dcba),
            responder_resources: 8,
            initiator_depth: 16,
            ack_delay: Timeout::of_exponent(15),
            rnr_retries: 7,
            shared_receives: true,
            guid: Guid(0x8877_6655_4433_2211),
            private_data,
        }),
    );
}

#[test]
fn rejection_bytes() {
    let header = "01070203 00000000 0102030405060708 0012 0000 00000000";
    let consumer = mad(&format!("{header} 11121314 21222324 00 00 001c {} 6e6f", "00".repeat(72)));
    let mut private_data = [0; 148];
    private_data[..2].copy_from_slice(b"no");
    let rejection = Rejection {
        local_id: CommunicationId::new(0x1112_1314),
        remote_id: CommunicationId::new(0x2122_2324),
        about: About::Request,
        reason: RejectReason::Consumer,
        additional: Additional::NONE,
        private_data,
    };
    check(consumer, Message::Rejection(rejection));

    let timeout = mad(&format!("{header} 11121314 00000000 80 10 0004 0011223344556677"));
    let guid = Guid(0x0011_2233_4455_6677);
    check(
        timeout,
        Message::Rejection(Rejection {
            remote_id: CommunicationId::UNKNOWN,
            about: About::Other,
            reason: RejectReason::Timeout,
            additional: Additional::of_guid(guid),
            private_data: [0; 148],
            ..rejection
        }),
    );
    assert_eq!(Additional::of_guid(guid).guid(), Some(guid));

    let mtu = mad(&format!("{header} 11121314 21222324 40 02 001a 03"));
    check(
        mtu,
        Message::Rejection(Rejection {
            about: About::Reply,
            reason: RejectReason::InvalidMtu,
            additional: Additional::of_mtu(PathMtu::Bytes1024),
            private_data: [0; 148],
            ..rejection
        }),
    );
}

#[test]
fn additional_information_that_is_none() {
    assert_eq!((Additional::NONE.guid(), Additional::NONE.mtu()), (None, None));
    let short = mad("01070203 00000000 0102030405060708 0012 0000 00000000 00000000 00000000 00 0e 0004 ff");
    let Message::Rejection(rejection) = Mad::read(&short).unwrap().message else { panic!() };
    assert_eq!((rejection.additional.bytes().len(), rejection.additional.guid()), (7, None));
    assert_eq!(rejection.additional.mtu(), None, "255 is no MTU");
    let long = mad("01070203 00000000 0102030405060708 0012 0000 00000000 00000000 00000000 00 ff 0004 ff");
    let Message::Rejection(rejection) = Mad::read(&long).unwrap().message else { panic!() };
    assert_eq!(rejection.additional.bytes().len(), 72, "127 bytes do not fit the field");
}

#[test]
fn receipt_bytes() {
    let bytes = mad("01070203 00000000 0102030405060708 0011 0000 00000000 11121314 21222324 40 b8");
    check(
        bytes,
        Message::Receipt(Receipt {
            local_id: CommunicationId::new(0x1112_1314),
            remote_id: CommunicationId::new(0x2122_2324),
            about: About::Reply,
            service_timeout: Timeout::of_exponent(23),
        }),
    );
}

#[test]
fn short_messages_bytes() {
    let ids = Ids { local: CommunicationId::new(0x1112_1314), remote: CommunicationId::new(0x2122_2324) };
    let bytes = |attribute: &str| {
        format!("01070203 00000000 0102030405060708 {attribute} 0000 00000000 11121314 21222324")
    };
    check(mad(&bytes("0014")), Message::ReadyToUse(ids));
    check(mad(&bytes("0016")), Message::DisconnectReply(ids));
    let request = DisconnectRequest { ids, remote_qpn: qpn(0x123) };
    check(mad(&format!("{} 000123 00", bytes("0015"))), Message::DisconnectRequest(request));
}

#[test]
fn what_is_for_others_is_an_error() {
    let damaged = |offset: usize, value: u8| {
        let mut bytes = mad(REQUEST);
        bytes[offset] = value;
        (Mad::read(&bytes).unwrap_err(), Recipient::read(&bytes).unwrap_err())
    };
    for (offset, value, error) in [
        (0, 2, MadError::BaseVersion(2)),
        (1, 3, MadError::Class(3)),
        (2, 1, MadError::ClassVersion(1)),
        (3, 0x81, MadError::Method(0x81)),
        (16, 1, MadError::Attribute(0x110)),
        (17, 0x0f, MadError::Attribute(0x0f)),
        (17, 0x17, MadError::Attribute(0x17)),
        (17, 0x19, MadError::Attribute(0x19)),
    ] {
        assert_eq!(damaged(offset, value), (error, error));
    }
    for length in [0, 24, 255, 257] {
        assert_eq!(Mad::read(&vec![1; length]), Err(MadError::Length(length)));
        assert_eq!(Recipient::read(&vec![1; length]), Err(MadError::Length(length)));
    }
}

#[test]
fn recipients() {
    assert_eq!(Recipient::read(&mad(REQUEST)), Ok(Recipient::Service(ServiceId::of_port(4420))));
    for attribute in ["0011", "0012", "0013", "0014", "0015", "0016"] {
        let bytes =
            mad(&format!("01070203 00000000 0000000000000000 {attribute} 0000 00000000 11121314 21222324"));
        assert_eq!(Recipient::read(&bytes), Ok(Recipient::Connection(CommunicationId::new(0x2122_2324))));
    }
}

/// What kernel rxe says (tests/captures/README.md): read and written again it is the same.
#[test]
fn the_kernels_messages() {
    let captures: [&[u8]; 4] = [
        include_bytes!("../../../../tests/captures/rping-ipv4.pcap"),
        include_bytes!("../../../../tests/captures/rping-ipv6.pcap"),
        include_bytes!("../../../../tests/captures/refused-ipv4.pcap"),
        include_bytes!("../../../../tests/captures/refused-ipv6.pcap"),
    ];
    let all: Vec<_> = captures.into_iter().flat_map(captures::management).collect();
    let attributes: Vec<_> =
        all.iter().map(|(_, bytes)| Mad::read(bytes).unwrap().message.attribute() as u16).collect();
    assert_eq!(
        attributes,
        [0x10, 0x13, 0x14, 0x15, 0x16, 0x10, 0x13, 0x14, 0x15, 0x16, 0x10, 0x12, 0x10, 0x12]
    );
    for (_, bytes) in all {
        let mad = Mad::read(bytes).unwrap();
        let mut written = mad.write();
        if let Message::Request(_) = mad.message {
            // The one thing that we do otherwise: the flow label, which routers balance by.
            written[24 + 88..24 + 91].copy_from_slice(&bytes[24 + 88..24 + 91]);
        }
        assert_eq!(written[..], bytes[..]);
    }
}
