//! A client's words as literal bytes.

use block::{Access, BlockSize, MemDevice, NullDevice};
use proptest::prelude::*;

use super::*;
use crate::nbd::wire::TransmissionFlags;

const FIXED: &[u8] = b"\x00\x00\x00\x03";

fn export() -> Export {
    let device = MemDevice::new("mem:1MiB", BlockSize::B4096, 1 << 20, Access::ReadWrite).unwrap();
    Export::of(&device, "disk".parse().unwrap(), false).unwrap()
}

fn option(code: u8, data: &[u8]) -> Vec<u8> {
    let length = u32::try_from(data.len()).unwrap();
    [b"IHAVEOPT\x00\x00\x00", &[code][..], &length.to_be_bytes(), data].concat()
}

fn go(code: u8, name: &[u8]) -> Vec<u8> {
    let length = u32::try_from(name.len()).unwrap();
    option(code, &[&length.to_be_bytes()[..], name, b"\x00\x00"].concat())
}

fn contexts(code: u8, name: &[u8], queries: &[&[u8]]) -> Vec<u8> {
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap().to_be_bytes();
    let mut data = [&length(name), name, &u32::try_from(queries.len()).unwrap().to_be_bytes()].concat();
    for query in queries {
        data.extend(length(query));
        data.extend(*query);
    }
    option(code, &data)
}

/// Option, type and data of each answer.
fn answers(mut bytes: &[u8]) -> Vec<(u32, u32, Vec<u8>)> {
    let mut all = Vec::new();
    let word = |at: &[u8]| u32::from_be_bytes(at[..4].try_into().unwrap());
    while !bytes.is_empty() {
        assert_eq!(bytes[..8], *b"\x00\x03\xe8\x89\x04\x55\x65\xa9");
        let length = word(&bytes[16..]) as usize;
        all.push((word(&bytes[8..]), word(&bytes[12..]), bytes[20..20 + length].to_vec()));
        bytes = &bytes[20 + length..];
    }
    all
}

fn says(said: &[&[u8]]) -> (Result<Progress, NegotiationError>, Vec<u8>) {
    says_of(&export(), said, false)
}

fn says_of(export: &Export, said: &[&[u8]], stop: bool) -> (Result<Progress, NegotiationError>, Vec<u8>) {
    let (mut negotiation, _) = Negotiation::new();
    if stop {
        negotiation.shut_down();
    }
    let mut out = Vec::new();
    let said = said.concat();
    let answer = negotiation.receive(&said, export, &mut out);
    (
        answer.map(|(used, progress)| {
            assert_eq!(used, said.len());
            progress
        }),
        out,
    )
}

/// The types of the answers to one option that a client with structured replies says.
fn types(said: &[u8]) -> Vec<u32> {
    let (_, out) = says(&[FIXED, &option(8, b""), said]);
    answers(&out)[1..].iter().map(|(_, kind, _)| *kind).collect()
}

const ACK: u32 = 1;
const INVALID: u32 = 0x8000_0003;
const UNKNOWN: u32 = 0x8000_0006;
const PLAIN: Agreement = Agreement { structured: false, allocation: false };

#[test]
fn go_tells_of_the_export_and_begins() {
    for name in [&b""[..], b"disk"] {
        let (progress, out) = says(&[FIXED, &go(7, name)]);
        assert_eq!(progress, Ok(Progress::Agreed(PLAIN)));
        let export = b"\x00\x00\x00\x00\x00\x00\x00\x10\x00\x00\x09\x6d".to_vec();
        assert_eq!(answers(&out), [(7, 3, export), (7, ACK, vec![])]);
    }
}

#[test]
fn information_is_told_as_it_was_asked_for_and_nothing_begins() {
    let data = b"\x00\x00\x00\x00\x00\x03\x00\x01\x00\x02\x00\x03";
    let (progress, out) = says(&[FIXED, &option(6, data)]);
    assert_eq!(progress, Ok(Progress::Unfinished));
    let told: Vec<_> = answers(&out).into_iter().map(|(_, kind, data)| (kind, data)).collect();
    assert_eq!(told[1], (3, b"\x00\x01disk".to_vec()));
    assert_eq!(told[2], (3, b"\x00\x02mem:1MiB".to_vec()));
    assert_eq!(told[3], (3, b"\x00\x03\x00\x00\x10\x00\x00\x00\x10\x00\x02\x00\x00\x00".to_vec()));
    assert_eq!((told.len(), told[4].0), (5, ACK));
}

#[test]
fn an_export_name_begins_in_its_own_form_or_ends() {
    for (flags, zeroes) in [(FIXED, 0), (b"\x00\x00\x00\x01", 124), (b"\x00\x00\x00\x00", 124)] {
        let (progress, out) = says(&[flags, &option(1, b"disk")]);
        assert_eq!(progress, Ok(Progress::Agreed(PLAIN)));
        assert_eq!(out[..10], *b"\x00\x00\x00\x00\x00\x10\x00\x00\x09\x6d");
        assert_eq!(out[10..], vec![0; zeroes]);
    }
    assert_eq!(says(&[FIXED, &option(1, b"other")]).0, Err(NegotiationError::NoExport));
}

#[test]
fn what_is_behind_the_agreement_is_left_alone() {
    let (mut negotiation, _) = Negotiation::new();
    let said = [FIXED, &go(7, b""), b"a command"].concat();
    let (used, _) = negotiation.receive(&said, &export(), &mut Vec::new()).unwrap();
    assert_eq!(used, said.len() - 9);
}

#[test]
fn an_abort_is_acknowledged() {
    let (progress, out) = says(&[FIXED, &option(2, b"")]);
    assert_eq!((progress, answers(&out)), (Ok(Progress::Ended), vec![(2, ACK, vec![])]));
}

#[test]
fn the_export_is_listed() {
    assert_eq!(types(&option(3, b"")), [2, ACK]);
    assert_eq!(types(&option(3, b"x")), [INVALID]);
    let (_, out) = says(&[FIXED, &option(3, b"")]);
    assert_eq!(answers(&out)[0].2, b"\x00\x00\x00\x04disk");
}

#[test]
fn what_cannot_be_is_refused_and_the_client_goes_on() {
    for (said, kind) in [
        (go(7, b"other"), UNKNOWN),
        (go(6, b"other"), UNKNOWN),
        (option(7, b"\x00\x00\x00\x09"), INVALID),
        (option(8, b"x"), INVALID),
        (option(5, b""), 0x8000_0001),
        (option(11, b""), 0x8000_0001),
        (option(99, b"data"), 0x8000_0001),
        (contexts(9, b"other", &[]), UNKNOWN),
        (contexts(10, b"other", &[]), UNKNOWN),
        (option(10, b"\x00\x00\x00\x00\x00\x00\x00\x01"), INVALID),
    ] {
        assert_eq!(types(&said), [kind], "{said:?}");
        let (progress, _) = says(&[FIXED, &said, &go(7, b"")]);
        assert!(matches!(progress, Ok(Progress::Agreed(_))));
    }
}

fn agreed(said: &[&[u8]]) -> Agreement {
    match says(said).0 {
        Ok(Progress::Agreed(agreed)) => agreed,
        other => unreachable!("{other:?}"),
    }
}

#[test]
fn structured_replies_come_before_contexts() {
    let (allocation, begin) = (contexts(10, b"", &[b"base:allocation"]), go(7, b""));
    let structured = option(8, b"");
    assert_eq!(agreed(&[FIXED, &allocation, &begin]), PLAIN);
    let both = Agreement { structured: true, allocation: true };
    assert_eq!(agreed(&[FIXED, &structured, &allocation, &begin]), both);
    let (_, out) = says(&[FIXED, &allocation]);
    assert_eq!(answers(&out)[0].1, INVALID);
}

#[test]
fn the_last_choice_of_contexts_counts_even_if_it_fails() {
    let (allocation, begin) = (contexts(10, b"", &[b"base:allocation"]), go(7, b""));
    let structured = option(8, b"");
    for later in [
        contexts(10, b"", &[]),
        contexts(10, b"", &[b"other:x", b"base:"]),
        contexts(10, b"other", &[b"base:allocation"]),
        option(10, b"nonsense"),
    ] {
        assert!(!agreed(&[FIXED, &structured, &allocation, &later, &begin]).allocation);
    }
}

#[test]
fn contexts_are_listed_by_name_by_namespace_or_all() {
    for queries in [&[][..], &[&b"base:"[..]], &[b"x:", b"base:allocation", b"base:"]] {
        assert_eq!(types(&contexts(9, b"disk", queries)), [4, ACK]);
    }
    assert_eq!(types(&contexts(9, b"", &[b"qemu:"])), [ACK]);
    let (_, out) = says(&[FIXED, &option(8, b""), &contexts(10, b"", &[b"base:allocation"])]);
    assert_eq!(answers(&out)[1], (10, 4, b"\x00\x00\x00\x01base:allocation".to_vec()));
}

#[test]
fn a_device_without_extents_has_no_context() {
    let device = NullDevice::new("null:1MiB", BlockSize::B512, 2048, Access::ReadWrite);
    let export = Export::of(&device, "disk".parse().unwrap(), false).unwrap();
    let set = contexts(10, b"", &[b"base:allocation"]);
    let (progress, out) = says_of(&export, &[FIXED, &option(8, b""), &set, &go(7, b"")], false);
    let expected = Agreement { structured: true, allocation: false };
    assert_eq!((progress, answers(&out)[1].1), (Ok(Progress::Agreed(expected)), ACK));
}

#[test]
fn structured_replies_bring_a_flag() {
    let (_, out) = says(&[FIXED, &option(8, b""), &go(7, b"")]);
    let flags = u16::from_be_bytes(answers(&out)[1].2[10..].try_into().unwrap());
    assert!(TransmissionFlags::from_bits(flags).unwrap().contains(TransmissionFlags::SEND_DF));
}

#[test]
fn nobody_is_let_in_while_the_server_goes() {
    for said in [go(6, b""), go(7, b""), contexts(9, b"", &[]), contexts(10, b"", &[])] {
        let (progress, out) = says_of(&export(), &[FIXED, &said], true);
        assert_eq!((progress, answers(&out)[0].1), (Ok(Progress::Unfinished), 0x8000_0007));
    }
    assert_eq!(says_of(&export(), &[FIXED, &option(1, b"")], true).0, Err(NegotiationError::NoExport));
    assert_eq!(says_of(&export(), &[FIXED, &option(2, b"")], true).0, Ok(Progress::Ended));
}

#[test]
fn strange_clients_are_parted_from() {
    assert_eq!(says(&[b"\x00\x00\x00\x04"]).0, Err(NegotiationError::Flags(4)));
    assert_eq!(says(&[b"\x00\x00\x00\x00", &option(3, b"")]).0, Err(NegotiationError::NotFixed));
    assert_eq!(
        says(&[FIXED, b"GET / HTTP/1.1\r\n\r\n"]).0,
        Err(NegotiationError::Option(OptionError::Magic))
    );
    let far = [FIXED, b"IHAVEOPT\x00\x00\x00\x63\x00\x10\x00\x01"];
    assert_eq!(says(&far).0, Err(NegotiationError::TooLong { bytes: (1 << 20) + 1 }));
}

#[test]
fn an_option_that_is_too_long_is_passed_over() {
    let long = option(7, &vec![0; OPTION_BYTES_MAX as usize + 1]);
    let (progress, out) = says(&[FIXED, &long, &go(7, b"")]);
    assert_eq!(progress, Ok(Progress::Agreed(PLAIN)));
    assert_eq!(answers(&out)[0].1, 0x8000_0009);
    let longest = option(99, &vec![0; OPTION_BYTES_MAX as usize]);
    assert_eq!(types(&longest), [0x8000_0001]);
}

#[test]
fn a_client_that_takes_no_answers_is_not_answered_without_end() {
    let (mut negotiation, _) = Negotiation::new();
    let mut said = FIXED.to_vec();
    for _ in 0..10_000 {
        said.extend(option(3, b""));
    }
    let mut out = Vec::new();
    let (used, _) = negotiation.receive(&said, &export(), &mut out).unwrap();
    assert!(used < said.len() && out.len() < ANSWERS_BYTES_MAX + 100);
    out.clear();
    assert!(negotiation.receive(&said[used..], &export(), &mut out).unwrap().0 > 0);
}

proptest! {
    /// However the bytes come, the answers are the same.
    #[test]
    fn pieces_make_no_difference(sizes in proptest::collection::vec(1usize..40, 1..60)) {
        let said = [
            FIXED.to_vec(), option(8, b""), option(3, b"x"), contexts(10, b"", &[b"base:allocation"]),
            option(7, &vec![1; OPTION_BYTES_MAX as usize + 7]), go(6, b"disk"), go(7, b"disk"),
        ].concat();
        let (at_once, expected) = says(&[&said]);
        let (mut negotiation, _) = Negotiation::new();
        let (mut out, mut inbox, mut progress) = (Vec::new(), Vec::new(), Progress::Unfinished);
        let mut sizes = sizes.iter().cycle();
        let mut rest = &said[..];
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(*sizes.next().unwrap()));
            rest = later;
            inbox.extend(now);
            let (used, so_far) = negotiation.receive(&inbox, &export(), &mut out).unwrap();
            inbox.drain(..used);
            progress = so_far;
        }
        prop_assert_eq!((Ok(progress), &out), (at_once, &expected));
    }

    /// Nothing that a client says breaks anything or is answered without bound.
    #[test]
    fn nonsense_is_harmless(
        options in proptest::collection::vec((0u8..13, proptest::collection::vec(any::<u8>(), 0..60)), 0..20),
        tail in proptest::collection::vec(any::<u8>(), 0..40),
    ) {
        let (mut negotiation, _) = Negotiation::new();
        let mut said = FIXED.to_vec();
        for (code, data) in &options {
            said.extend(option(*code, data));
        }
        said.extend(tail);
        let mut out = Vec::new();
        if let Ok((used, _)) = negotiation.receive(&said, &export(), &mut out) {
            prop_assert!(used <= said.len());
        }
        prop_assert!(out.len() <= options.len() * 300);
    }
}
