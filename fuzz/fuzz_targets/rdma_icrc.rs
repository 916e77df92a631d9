//! Packets whose ICRC is made and checked: any addresses, identification and pieces.
#![no_main]

use std::net::IpAddr;

use libfuzzer_sys::fuzz_target;
use rdma::soft::wire::{Addresses, Icrc, IcrcError, PAYLOAD_BYTES_MAX, check};

/// Bytes of the headers that the payload comes behind; what they mean does not matter to an ICRC.
const HEADERS_BYTES: usize = 28;

fuzz_target!(|input: (bool, [u8; 16], [u8; 16], u16, u16, u16, u16, &[u8])| {
    let (six, source, destination, source_port, ip_id, expected, cut, bytes) = input;
    let (source, destination) = if six {
        (IpAddr::from(source), IpAddr::from(destination))
    } else {
        let four = |address: [u8; 16]| IpAddr::from([address[0], address[1], address[2], address[3]]);
        (four(source), four(destination))
    };
    let addresses = Addresses::new(source, destination, source_port, 4791);
    let fits = bytes.len() >= 16 && bytes.len() <= 4132 && bytes.len() % 4 == 0;
    let unfit = matches!(check(&addresses, bytes, expected), Err(IcrcError::Length(_)));
    assert_eq!(unfit, !fits);

    let Some((headers, payload)) = bytes.split_at_checked(HEADERS_BYTES) else { return };
    let Some(payload_bytes) = u32::try_from(payload.len()).ok().filter(|&bytes| bytes <= PAYLOAD_BYTES_MAX)
    else {
        return;
    };
    let mut icrc = Icrc::new(&addresses, ip_id, headers, payload_bytes);
    let (front, back) = payload.split_at(usize::from(cut).min(payload.len()));
    icrc.payload(front);
    icrc.payload(back);
    let mut sent = [bytes, icrc.finish().bytes()].concat();
    assert_eq!(check(&addresses, &sent, expected), Ok(()));

    // The lowest bit behind the headers: 2^-16 of the packets over IPv4 would be explained, so the exact check is asked for.
    if six && source.to_canonical().is_ipv6() {
        sent[HEADERS_BYTES] ^= 1;
        assert_eq!(check(&addresses, &sent, expected), Err(IcrcError::Mismatch));
    }
});
