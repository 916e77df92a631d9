//! READs of the peer, packet by packet.

use super::responder::{ACK, answer, refused, with_receives, with_window};
use super::*;
use crate::soft::rc::State;

#[test]
fn nothing_is_written_and_read_with_any_key() {
    let mut side = with_receives(0);
    side.feed(us(0), asking(headers(Opcode::WriteOnly, 500, reth(12, 0))), b"");
    assert_eq!(answer(&mut side), (ACK, 500, 1));
    side.feed(us(0), headers(Opcode::ReadRequest, 501, reth(u64::MAX, 0)), b"");
    let sent = side.transmit(us(0));
    assert_eq!(summary(&sent), [(Opcode::ReadResponseOnly, 501)]);
    assert_eq!(sent[0].payload, []);
}

#[test]
fn a_read_is_answered_in_packets_of_one_mtu() {
    let (mut side, whole) = with_window(Rights::READ);
    whole.device_write(1000, &pattern(1000, 5)).unwrap();
    side.feed(us(0), headers(Opcode::ReadRequest, 500, reth(ADDRESS + 8, 600)), b"");
    side.feed(us(0), headers(Opcode::ReadRequest, 503, reth(ADDRESS, 256)), b"");
    let sent = side.transmit(us(0));
    assert_eq!(
        summary(&sent),
        [
            (Opcode::ReadResponseFirst, 500),
            (Opcode::ReadResponseMiddle, 501),
            (Opcode::ReadResponseLast, 502),
            (Opcode::ReadResponseOnly, 503),
        ]
    );
    let aeth = Extension::Aeth(Aeth { syndrome: ACK, msn: 2 });
    let extensions: Vec<_> = sent.iter().map(|sent| sent.headers.extension).collect();
    assert_eq!(extensions, [aeth, Extension::None, aeth, aeth]);
    let data: Vec<u8> = sent[..3].iter().flat_map(|sent| sent.payload.clone()).collect();
    assert_eq!(data, pattern(1000, 5)[8..608]);
    assert_eq!(sent[3].payload, pattern(1000, 5)[..256]);
    assert_eq!(side.counters.bytes_copied, 0);
}

#[test]
fn a_response_stops_when_the_outbox_is_full_and_goes_on() {
    let (mut side, _) = with_window(Rights::READ);
    side.feed(us(0), headers(Opcode::ReadRequest, 500, reth(ADDRESS, 1000)), b"");
    assert_eq!(summary(&side.transmit_some(us(0), 3)).len(), 3);
    assert_eq!(side.turn, Turn::Again);
    assert!(side.queue_pair.has_work());
    assert_eq!(summary(&side.transmit_some(us(0), 3)), [(Opcode::ReadResponseLast, 503)]);
    assert!(!side.queue_pair.has_work());
}

/// Some requesters take an acknowledgement of a READ's last packet for its end.
#[test]
fn an_acknowledgement_never_names_a_packet_of_a_read() {
    let (mut side, _) = with_window(Rights::READ);
    side.post_receive(0, pool(1).take().unwrap());
    let send = asking(headers(Opcode::SendOnly, 500, Extension::None));
    side.feed(us(0), send, b"");
    side.feed(us(0), headers(Opcode::ReadRequest, 501, reth(ADDRESS, 300)), b"");
    let sent = side.transmit(us(0));
    assert_eq!(
        summary(&sent),
        [(Opcode::ReadResponseFirst, 501), (Opcode::ReadResponseLast, 502)],
        "the response acknowledges the send"
    );
    side.feed(us(0), send, b"");
    assert_eq!(answer(&mut side), (ACK, 500, 2));
}

#[test]
fn what_comes_behind_a_read_is_acknowledged_behind_its_response() {
    let (mut side, _) = with_window(Rights::READ);
    side.post_receive(0, pool(1).take().unwrap());
    side.feed(us(0), headers(Opcode::ReadRequest, 500, reth(ADDRESS, 300)), b"");
    side.feed(us(0), asking(headers(Opcode::SendOnly, 502, Extension::None)), b"");
    assert_eq!(side.transmit_some(us(0), 1).len(), 1);
    assert_eq!(summary(&side.transmit(us(0))), [(Opcode::ReadResponseLast, 501), (Opcode::Acknowledge, 502)]);
}

#[test]
fn more_reads_than_agreed_are_invalid() {
    let (mut side, _) = with_window(Rights::READ);
    side.feed(us(0), headers(Opcode::ReadRequest, 500, reth(ADDRESS, 1)), b"");
    side.feed(us(0), headers(Opcode::ReadRequest, 501, reth(ADDRESS, 1)), b"");
    side.feed(us(0), headers(Opcode::ReadRequest, 502, reth(ADDRESS, 1)), b"");
    assert_eq!(
        summary(&side.transmit(us(0))),
        [(Opcode::ReadResponseOnly, 500), (Opcode::ReadResponseOnly, 501), (Opcode::Acknowledge, 502)],
        "what was agreed is answered"
    );
    assert_eq!(side.turn, refused(NakCode::InvalidRequest));

    let (mut side, _) = with_window(Rights::READ);
    for psn in 500..510 {
        side.feed(us(0), headers(Opcode::ReadRequest, psn, reth(ADDRESS, 1)), b"");
        assert_eq!(summary(&side.transmit(us(0))), [(Opcode::ReadResponseOnly, psn)]);
    }
}

#[test]
fn a_repeated_read_is_answered_again_whole_or_from_the_middle() {
    let (mut side, whole) = with_window(Rights::READ);
    let request = headers(Opcode::ReadRequest, 500, reth(ADDRESS, 1000));
    side.feed(us(0), request, b"");
    let first = side.transmit(us(0));
    side.feed(us(0), request, b"");
    assert_eq!(side.transmit(us(0)), first);
    whole.device_write(1512, &[7; 488]).unwrap();
    side.feed(us(0), headers(Opcode::ReadRequest, 502, reth(ADDRESS + 512, 488)), b"");
    let sent = side.transmit(us(0));
    assert_eq!(summary(&sent), [(Opcode::ReadResponseMiddle, 502), (Opcode::ReadResponseLast, 503)]);
    assert_eq!((&sent[0].payload[..], &sent[1].payload[..]), (&[7; 256][..], &[7; 232][..]));
    side.feed(us(0), headers(Opcode::ReadRequest, 501, reth(ADDRESS + 256, 256)), b"");
    assert_eq!(summary(&side.transmit(us(0))), [(Opcode::ReadResponseLast, 501)]);
}

#[test]
fn a_repeated_read_that_is_no_part_of_the_first_is_dropped() {
    let (mut side, _) = with_window(Rights::READ);
    side.feed(us(0), headers(Opcode::ReadRequest, 500, reth(ADDRESS, 1000)), b"");
    side.transmit(us(0));
    let other_key = Extension::Reth(Reth { address: ADDRESS, key: 1, bytes: 1000 });
    let no_parts = [
        (500, other_key),
        (500, reth(ADDRESS + 1, 10)),
        (501, reth(ADDRESS, 1000)),
        (501, reth(ADDRESS + 256, 745)),
        (503, reth(ADDRESS + 768, 300)),
        (499, reth(ADDRESS, 1)),
    ];
    for (psn, extension) in no_parts {
        side.feed(us(0), headers(Opcode::ReadRequest, psn, extension), b"");
        assert_eq!(side.transmit(us(0)), [], "{psn} {extension:?}");
    }
    assert_eq!(side.queue_pair.state(), State::ReadyToSend);
}

#[test]
fn a_read_repeated_while_it_is_answered_is_answered_once() {
    let (mut side, _) = with_window(Rights::READ);
    side.feed(us(0), headers(Opcode::ReadRequest, 500, reth(ADDRESS, 1000)), b"");
    side.transmit_some(us(0), 1);
    side.feed(us(0), headers(Opcode::ReadRequest, 502, reth(ADDRESS + 512, 488)), b"");
    let numbers: Vec<u32> = side.transmit(us(0)).iter().map(|sent| sent.headers.psn.value()).collect();
    assert_eq!(numbers, [501, 502, 503]);
}

#[test]
fn a_window_that_goes_while_it_is_read_ends_the_response() {
    let (mut side, _) = with_window(Rights::READ);
    side.feed(us(0), headers(Opcode::ReadRequest, 500, reth(ADDRESS, 1000)), b"");
    side.transmit_some(us(0), 2);
    side.windows.bound.clear();
    assert_eq!(answer(&mut side), (Syndrome::Nak(NakCode::RemoteAccess), 502, 1));
    assert_eq!(side.turn, refused(NakCode::RemoteAccess));
}

/// The network had doubled a request; its second copy came when the READ was over and the window unbound, and ended the
/// connection.
#[test]
fn a_repeated_read_whose_window_has_gone_since_is_dropped() {
    let (mut side, _) = with_window(Rights::READ);
    let request = headers(Opcode::ReadRequest, 500, reth(ADDRESS, 1000));
    side.feed(us(0), request, b"");
    side.transmit(us(0));
    side.windows.bound.clear();
    side.feed(us(0), request, b"");
    assert_eq!(side.transmit(us(0)), []);
    assert_eq!(side.queue_pair.state(), State::ReadyToSend);
    assert!(!side.queue_pair.has_work());
}

#[test]
fn a_read_of_more_packets_than_there_are_numbers_is_invalid() {
    let (mut side, _) = with_window(Rights::READ);
    side.windows.bound.clear();
    side.feed(us(0), headers(Opcode::ReadRequest, 500, reth(ADDRESS, u32::MAX)), b"");
    assert_eq!(answer(&mut side).0, Syndrome::Nak(NakCode::RemoteAccess), "no window is so large");
}
