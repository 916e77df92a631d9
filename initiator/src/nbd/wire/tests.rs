//! Literal bytes, as the protocol's document gives them.

use super::*;

#[test]
fn the_greeting() {
    let flags = HandshakeFlags::FIXED_NEWSTYLE | HandshakeFlags::NO_ZEROES;
    assert_eq!(&greeting(flags), b"NBDMAGICIHAVEOPT\x00\x03");
}

#[test]
fn an_option_is_read() {
    let header = OptionHeader::read(b"IHAVEOPT\x00\x00\x00\x07\x00\x00\x01\x02");
    assert_eq!(header, Ok(OptionHeader { code: OptionCode::Go, bytes: 258 }));
    assert_eq!(OptionHeader::read(b"IHAVEOPX\x00\x00\x00\x07\x00\x00\x01\x02"), Err(OptionError::Magic));
}

#[test]
fn options_have_numbers() {
    let numbers = [
        (1, OptionCode::ExportName),
        (2, OptionCode::Abort),
        (3, OptionCode::List),
        (6, OptionCode::Info),
        (7, OptionCode::Go),
        (8, OptionCode::StructuredReply),
        (9, OptionCode::ListMetaContext),
        (10, OptionCode::SetMetaContext),
        (5, OptionCode::Unknown(5)),
        (11, OptionCode::Unknown(11)),
    ];
    for (number, code) in numbers {
        assert_eq!((OptionCode::from(number), code.number()), (code, number));
    }
}

#[test]
fn a_request_for_information_is_read() {
    let data = b"\x00\x00\x00\x02ab\x00\x02\x00\x03\x00\x01";
    let request = InfoRequest::read(data).unwrap();
    assert_eq!(request.name, b"ab");
    assert!(request.asks_for(InfoKind::BlockSize) && request.asks_for(InfoKind::Name));
    assert!(!request.asks_for(InfoKind::Description) && !request.asks_for(InfoKind::Export));
    let empty = InfoRequest::read(b"\x00\x00\x00\x00\x00\x00").unwrap();
    assert!(empty.name.is_empty() && !empty.asks_for(InfoKind::Export));
    for cut in 0..data.len() {
        assert_eq!(InfoRequest::read(&data[..cut]).unwrap_err(), OptionError::Data, "{cut}");
    }
    assert!(InfoRequest::read(b"\x00\x00\x00\x00\x00\x00\x00").is_err());
    assert!(InfoRequest::read(b"\xff\xff\xff\xff\x00\x00").is_err());
}

#[test]
fn a_query_of_contexts_is_read() {
    let data = b"\x00\x00\x00\x01a\x00\x00\x00\x02\x00\x00\x00\x03x:y\x00\x00\x00\x00";
    let query = MetaQuery::read(data).unwrap();
    assert_eq!((query.name, query.queries().collect::<Vec<_>>()), (&b"a"[..], vec![&b"x:y"[..], b""]));
    for cut in 0..data.len() {
        assert!(MetaQuery::read(&data[..cut]).is_err(), "{cut}");
    }
    assert!(MetaQuery::read(b"\x00\x00\x00\x00\xff\xff\xff\xff").is_err());
    let mut long = b"\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x10\x01".to_vec();
    long.resize(long.len() + 4097, b'x');
    assert!(MetaQuery::read(&long).is_err());
}

fn reply(code: OptionCode, reply: OptionReply<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    OptionWriter { code, into: &mut bytes }.reply(reply);
    bytes
}

#[test]
fn answers_to_options() {
    let magic = b"\x00\x03\xe8\x89\x04\x55\x65\xa9";
    let flags = TransmissionFlags::HAS_FLAGS | TransmissionFlags::CAN_MULTI_CONN;
    let sizes = BlockSizes { minimum: 512, preferred: 4096, maximum: 1 << 25 };
    let cases: [(OptionReply<'_>, &[u8]); 12] = [
        (OptionReply::Ack, b"\x00\x00\x00\x01\x00\x00\x00\x00"),
        (OptionReply::Server("ab"), b"\x00\x00\x00\x02\x00\x00\x00\x06\x00\x00\x00\x02ab"),
        (
            OptionReply::Export { bytes: 0x0102_0304_0506_0708, flags },
            b"\x00\x00\x00\x03\x00\x00\x00\x0c\x00\x00\x01\x02\x03\x04\x05\x06\x07\x08\x01\x01",
        ),
        (OptionReply::Text(InfoKind::Name, "ab"), b"\x00\x00\x00\x03\x00\x00\x00\x04\x00\x01ab"),
        (OptionReply::Text(InfoKind::Description, "c"), b"\x00\x00\x00\x03\x00\x00\x00\x03\x00\x02c"),
        (
            OptionReply::BlockSize(sizes),
            b"\x00\x00\x00\x03\x00\x00\x00\x0e\x00\x03\x00\x00\x02\x00\x00\x00\x10\x00\x02\x00\x00\x00",
        ),
        (
            OptionReply::MetaContext { id: 1, name: BASE_ALLOCATION },
            b"\x00\x00\x00\x04\x00\x00\x00\x13\x00\x00\x00\x01base:allocation",
        ),
        (OptionReply::Unsupported("x"), b"\x80\x00\x00\x01\x00\x00\x00\x01x"),
        (OptionReply::Invalid("x"), b"\x80\x00\x00\x03\x00\x00\x00\x01x"),
        (OptionReply::UnknownExport("x"), b"\x80\x00\x00\x06\x00\x00\x00\x01x"),
        (OptionReply::Shutdown("x"), b"\x80\x00\x00\x07\x00\x00\x00\x01x"),
        (OptionReply::TooBig("x"), b"\x80\x00\x00\x09\x00\x00\x00\x01x"),
    ];
    for (answer, bytes) in cases {
        let expected = [&magic[..], b"\x00\x00\x00\x07", bytes].concat();
        assert_eq!(reply(OptionCode::Go, answer), expected, "{answer:?}");
    }
}

#[test]
fn the_answer_to_an_export_name() {
    let mut bytes = Vec::new();
    write_export_name_reply(1 << 20, TransmissionFlags::HAS_FLAGS, false, &mut bytes);
    assert_eq!(bytes, b"\x00\x00\x00\x00\x00\x10\x00\x00\x00\x01");
    write_export_name_reply(1, TransmissionFlags::READ_ONLY, true, &mut bytes);
    assert_eq!(bytes.len(), 10 + 10 + 124);
    assert_eq!(bytes[10..22], *b"\x00\x00\x00\x00\x00\x00\x00\x01\x00\x02\x00\x00");
}

const WRITE: &[u8; REQUEST_BYTES] =
    b"\x25\x60\x95\x13\x00\x01\x00\x01\x11\x22\x33\x44\x55\x66\x77\x88\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x10\x00";

#[test]
fn a_command_is_read() {
    let header = RequestHeader {
        flags: 1,
        code: CommandCode::Write,
        cookie: 0x1122_3344_5566_7788,
        offset: 1 << 32,
        bytes: 4096,
    };
    assert_eq!(RequestHeader::read(WRITE), Some(header));
    for at in 0..4 {
        let mut damaged = *WRITE;
        damaged[at] ^= 1;
        assert_eq!(RequestHeader::read(&damaged), None);
    }
}

#[test]
fn commands_have_numbers() {
    let codes = [
        CommandCode::Read,
        CommandCode::Write,
        CommandCode::Disconnect,
        CommandCode::Flush,
        CommandCode::Trim,
        CommandCode::Unknown(5),
        CommandCode::WriteZeroes,
        CommandCode::BlockStatus,
        CommandCode::Unknown(8),
    ];
    for (number, code) in (0u16..).zip(codes) {
        assert_eq!(CommandCode::from(number), code);
    }
}

#[test]
fn flags_are_where_the_document_puts_them() {
    assert_eq!(TransmissionFlags::all().bits(), 0b1001_1111_1111);
    assert_eq!(CommandFlags::FUA.bits(), 1);
    assert_eq!(CommandFlags::NO_HOLE.bits(), 2);
    assert_eq!(CommandFlags::DF.bits(), 4);
    assert_eq!(CommandFlags::REQ_ONE.bits(), 8);
    assert_eq!(CommandFlags::FAST_ZERO.bits(), 16);
    assert_eq!((ExtentFlags::HOLE.bits(), ExtentFlags::ZERO.bits()), (1, 2));
}

#[test]
fn simple_replies() {
    let done = ReplyHead::simple(0x0102_0304_0506_0708, Ok(()));
    assert_eq!(done.as_bytes(), b"\x67\x44\x66\x98\x00\x00\x00\x00\x01\x02\x03\x04\x05\x06\x07\x08");
    let failed = ReplyHead::simple(1, Err(Errno::Shutdown));
    assert_eq!(failed.as_bytes(), b"\x67\x44\x66\x98\x00\x00\x00\x6c\x00\x00\x00\x00\x00\x00\x00\x01");
}

#[test]
fn structured_replies() {
    let begin = |kind: &[u8; 2], bytes: &[u8; 4]| {
        let cookie = b"\x00\x00\x00\x00\x00\x00\x00\x07";
        [&b"\x66\x8e\x33\xef\x00\x01"[..], kind, cookie, bytes].concat()
    };
    assert_eq!(ReplyHead::nothing(7).as_bytes(), begin(b"\x00\x00", b"\x00\x00\x00\x00"));
    let data = [begin(b"\x00\x01", b"\x00\x00\x10\x08"), b"\x00\x00\x00\x01\x00\x00\x02\x00".to_vec()];
    assert_eq!(ReplyHead::data(7, (1 << 32) + 512, 4096).as_bytes(), data.concat());
    let error = [begin(b"\x80\x01", b"\x00\x00\x00\x08"), b"\x00\x00\x00\x1c\x00\x02no".to_vec()];
    assert_eq!(ReplyHead::error(7, Errno::NoSpace, "no").as_bytes(), error.concat());
    let status = [begin(b"\x00\x05", b"\x00\x00\x00\x14"), b"\x00\x00\x00\x01".to_vec()];
    assert_eq!(ReplyHead::block_status(7, 1, 2).as_bytes(), status.concat());
    assert_eq!(ReplyHead::extent(4096, ExtentFlags::all()), *b"\x00\x00\x10\x00\x00\x00\x00\x03");
}

#[test]
fn a_sentence_that_is_too_long_is_cut() {
    let head = ReplyHead::error(7, Errno::Io, &"x".repeat(200));
    assert_eq!(head.as_bytes().len(), REPLY_BYTES_MAX);
    assert_eq!(head.as_bytes()[16..20], [0, 0, 0, 66]);
    assert_eq!(head.as_bytes()[24..26], [0, 60]);
}

#[test]
fn error_numbers_are_the_documents() {
    let numbers = [
        (Errno::Perm, 1),
        (Errno::Io, 5),
        (Errno::NoMemory, 12),
        (Errno::Invalid, 22),
        (Errno::NoSpace, 28),
        (Errno::Overflow, 75),
        (Errno::NotSupported, 95),
        (Errno::Shutdown, 108),
    ];
    for (errno, number) in numbers {
        assert_eq!(errno.number(), number);
    }
}
