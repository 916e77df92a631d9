//! RoCEv2 packets as anybody may send them to the port.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rdma::soft::wire::{HEADERS_BYTES_MAX, Packet};

fuzz_target!(|bytes: &[u8]| {
    let Ok(packet) = Packet::parse(bytes) else { return };
    let Ok(payload_bytes) = u32::try_from(packet.payload.len()) else { return };
    let mut headers = [0; HEADERS_BYTES_MAX];
    let length = packet.headers.write(payload_bytes, &mut headers);
    let mut again = [&headers[..length], packet.payload].concat();
    again.resize(again.len().next_multiple_of(4) + 4, 0);
    assert_eq!(Packet::parse(&again), Ok(packet));
});
