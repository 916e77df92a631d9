//! What the peer wants, packet by packet.

use super::*;
use crate::soft::rc::{Failure, State};

pub(super) const ACK: Syndrome = Syndrome::Ack { credits: 31 };

pub(super) fn refused(code: NakCode) -> Turn {
    Turn::Failed(Failure::Refused(code))
}

/// The only packet sent, which must be an acknowledgement: syndrome, number and MSN.
pub(super) fn answer(side: &mut Side) -> (Syndrome, u32, u32) {
    match &side.transmit(us(0))[..] {
        [Sent { headers, payload }] if payload.is_empty() && headers.opcode == Opcode::Acknowledge => {
            let Extension::Aeth(aeth) = headers.extension else { panic!("{headers:?}") };
            assert_eq!((headers.destination, headers.ack_request), (qpn(PEER_NUMBER), false));
            (aeth.syndrome, headers.psn.value(), aeth.msn)
        }
        other => panic!("{other:?}"),
    }
}

fn message(bytes: u32) -> Option<Message> {
    Some(Message { bytes, invalidated: None, immediate: None })
}

pub(super) fn with_receives(count: u64) -> Side {
    let mut side = Side::ready(&parameters());
    let pool = pool(count.max(1) as u32);
    (0..count).for_each(|id| side.post_receive(id, pool.take().unwrap()));
    side
}

/// A side with a window of 1000 bytes, inside memory that goes on before and behind it.
pub(super) fn with_window(rights: Rights) -> (Side, Segment) {
    let mut side = Side::ready(&parameters());
    let whole = segment(&pool(1), &[0xaa; 3000]);
    side.bind(KEY, whole.slice(1000, 1000).unwrap(), rights);
    (side, whole)
}

#[test]
fn a_send_is_acknowledged_if_that_is_asked_for() {
    let mut side = with_receives(2);
    side.feed(us(0), headers(Opcode::SendOnly, 500, Extension::None), b"capsule");
    assert_eq!(side.transmit(us(0)), []);
    let Outcome::Received { buffer, .. } = &side.completions[0].outcome else { panic!() };
    let mut bytes = [0; 7];
    buffer.read(0, &mut bytes).unwrap();
    assert_eq!(&bytes, b"capsule");
    side.feed(us(0), asking(headers(Opcode::SendOnly, 501, Extension::None)), b"");
    assert_eq!(side.ended(), [(0, Ok(message(7))), (1, Ok(message(0)))]);
    assert_eq!(answer(&mut side), (ACK, 501, 2));
    assert!(!side.queue_pair.has_work());
}

#[test]
fn one_acknowledgement_answers_all_that_came_in() {
    let mut side = with_receives(8);
    for psn in 500..508 {
        side.feed(us(0), asking(headers(Opcode::SendOnly, psn, Extension::None)), b"x");
    }
    assert_eq!(answer(&mut side), (ACK, 507, 8));
    assert_eq!(side.transmit(us(0)), []);
}

#[test]
fn a_long_send_is_put_together() {
    let mut side = with_receives(1);
    let data = pattern(600, 1);
    side.feed(us(0), headers(Opcode::SendFirst, 500, Extension::None), &data[..256]);
    side.feed(us(0), asking(headers(Opcode::SendMiddle, 501, Extension::None)), &data[256..512]);
    assert_eq!(answer(&mut side), (ACK, 501, 0), "the message is not done");
    side.feed(us(0), asking(headers(Opcode::SendLast, 502, Extension::None)), &data[512..]);
    assert_eq!(answer(&mut side), (ACK, 502, 1));
    let Outcome::Received { buffer, result } = &side.completions[0].outcome else { panic!() };
    let mut bytes = [0; 600];
    buffer.read(0, &mut bytes).unwrap();
    assert_eq!((result.unwrap().bytes, &bytes[..]), (600, &data[..]));
    assert_eq!(side.counters.bytes_copied, 600);
}

#[test]
fn numbers_wrap() {
    let mut side = Side::ready(&Parameters { expected_psn: Psn::new(0x00ff_ffff), ..parameters() });
    let pool = pool(2);
    (0..2).for_each(|id| side.post_receive(id, pool.take().unwrap()));
    side.feed(us(0), headers(Opcode::SendOnly, 0x00ff_ffff, Extension::None), b"");
    side.feed(us(0), asking(headers(Opcode::SendOnly, 0, Extension::None)), b"");
    assert_eq!(answer(&mut side), (ACK, 0, 2));
}

/// Packets that no message may have at that place.
#[test]
fn wrong_lengths_and_orders_are_invalid() {
    use Opcode::*;
    type Step = (Opcode, u32, Option<u32>);
    let cases: &[&[Step]] = &[
        &[(SendFirst, 255, None)],
        &[(SendFirst, 257, None)],
        &[(SendOnly, 257, None)],
        &[(SendFirst, 256, None), (SendMiddle, 255, None)],
        &[(SendFirst, 256, None), (SendLast, 0, None)],
        &[(SendFirst, 256, None), (SendLast, 257, None)],
        &[(SendMiddle, 256, None)],
        &[(SendLast, 1, None)],
        &[(SendLastInvalidate, 1, None)],
        &[(SendFirst, 256, None), (SendFirst, 256, None)],
        &[(SendFirst, 256, None), (SendOnly, 1, None)],
        &[(SendFirst, 256, None), (WriteMiddle, 256, None)],
        &[(SendFirst, 256, None), (WriteLast, 1, None)],
        &[(SendFirst, 256, None), (WriteOnly, 1, Some(1))],
        &[(SendFirst, 256, None), (ReadRequest, 0, Some(1))],
        &[(WriteMiddle, 256, None)],
        &[(WriteLast, 1, None)],
        &[(WriteOnly, 5, Some(4))],
        &[(WriteOnly, 5, Some(6))],
        &[(WriteOnly, 0, Some(6))],
        &[(WriteOnly, 257, Some(257))],
        &[(WriteFirst, 256, Some(256))],
        &[(WriteFirst, 256, Some(0))],
        &[(WriteFirst, 100, Some(300))],
        &[(WriteFirst, 256, Some(300)), (WriteLast, 43, None)],
        &[(WriteFirst, 256, Some(300)), (WriteLast, 45, None)],
        &[(WriteFirst, 256, Some(300)), (WriteMiddle, 256, None)],
        &[(WriteFirst, 256, Some(600)), (WriteLast, 256, None)],
        &[(WriteFirst, 256, Some(300)), (SendLast, 44, None)],
        &[(WriteFirst, 256, Some(300)), (WriteFirst, 256, Some(300))],
        &[(WriteFirst, 256, Some(300)), (ReadRequest, 0, Some(1))],
    ];
    for case in cases {
        let (mut side, _) = with_window(Rights::all());
        side.post_receive(0, pool(1).take().unwrap());
        for (at, (opcode, bytes, length)) in case.iter().enumerate() {
            assert_eq!(side.transmit(us(0)), [], "{case:?}");
            let extension = match (opcode, length) {
                (_, Some(length)) => reth(ADDRESS, *length),
                (SendLastInvalidate, None) => Extension::Invalidate(KEY.0),
                _ => Extension::None,
            };
            side.feed(us(0), headers(*opcode, 500 + at as u32, extension), &pattern(*bytes, 0));
        }
        let last = 500 + case.len() as u32 - 1;
        let told = answer(&mut side);
        assert_eq!((told.0, told.1), (Syndrome::Nak(NakCode::InvalidRequest), last), "{case:?}");
        assert_eq!(side.turn, refused(NakCode::InvalidRequest), "{case:?}");
        assert_eq!(side.queue_pair.state(), State::Error);
        assert_eq!(side.ended(), [(0, Err(WorkError::Flushed))], "{case:?}");
    }
}

#[test]
fn a_message_longer_than_its_receive_ends_the_connection() {
    let mut side = Side::ready(&parameters());
    let mut buffer = pool(1).take().unwrap();
    buffer.truncate(300);
    side.post_receive(7, buffer);
    side.feed(us(0), headers(Opcode::SendFirst, 500, Extension::None), &[1; 256]);
    side.feed(us(0), headers(Opcode::SendLast, 501, Extension::None), &[1; 45]);
    assert_eq!(side.ended(), [(7, Err(WorkError::Local))]);
    assert_eq!(answer(&mut side), (Syndrome::Nak(NakCode::InvalidRequest), 501, 0));
    assert_eq!(side.turn, refused(NakCode::InvalidRequest));
    assert_eq!(side.ended(), []);
}

#[test]
fn a_gap_is_told_once_until_it_is_filled() {
    let mut side = with_receives(4);
    side.feed(us(0), headers(Opcode::SendOnly, 500, Extension::None), b"");
    side.feed(us(0), asking(headers(Opcode::SendOnly, 502, Extension::None)), b"");
    assert_eq!(answer(&mut side), (Syndrome::Nak(NakCode::SequenceError), 501, 1));
    side.feed(us(0), asking(headers(Opcode::SendOnly, 503, Extension::None)), b"");
    side.feed(us(0), asking(headers(Opcode::SendOnly, 502, Extension::None)), b"");
    assert_eq!(side.transmit(us(0)), []);
    side.feed(us(0), headers(Opcode::SendOnly, 501, Extension::None), b"");
    side.feed(us(0), headers(Opcode::SendOnly, 503, Extension::None), b"");
    assert_eq!(answer(&mut side), (Syndrome::Nak(NakCode::SequenceError), 502, 2));
    assert_eq!(side.ended().len(), 2);
    assert_eq!((side.counters.naks_sent, side.counters.out_of_order), (2, 4));
}

/// The packet behind the gap is dropped, gap or no gap: without a word it would come again by timeout only.
#[test]
fn a_gap_that_was_filled_in_time_makes_what_was_behind_it_come_again() {
    let mut side = with_receives(4);
    side.feed(us(0), headers(Opcode::SendOnly, 502, Extension::None), b"");
    side.feed(us(0), headers(Opcode::SendOnly, 500, Extension::None), b"");
    side.feed(us(0), headers(Opcode::SendOnly, 501, Extension::None), b"");
    assert_eq!(answer(&mut side), (Syndrome::Nak(NakCode::SequenceError), 502, 2));
    side.feed(us(0), headers(Opcode::SendOnly, 504, Extension::None), b"");
    assert_eq!(side.transmit(us(0)), [], "told until it comes");
    side.feed(us(0), headers(Opcode::SendOnly, 502, Extension::None), b"");
    assert_eq!(side.transmit(us(0)), []);

    let mut side = with_receives(4);
    side.feed(us(0), headers(Opcode::SendOnly, 501, Extension::None), b"");
    side.feed(us(0), headers(Opcode::SendOnly, 500, Extension::None), b"");
    side.feed(us(0), headers(Opcode::SendOnly, 501, Extension::None), b"");
    assert_eq!(side.transmit(us(0)), [], "all is there");
    side.feed(us(0), headers(Opcode::SendOnly, 503, Extension::None), b"");
    assert_eq!(answer(&mut side), (Syndrome::Nak(NakCode::SequenceError), 502, 2));
}

#[test]
fn a_repeated_send_is_acknowledged_again_but_not_received() {
    let mut side = with_receives(4);
    for psn in [500, 501, 502] {
        side.feed(us(0), headers(Opcode::SendOnly, psn, Extension::None), b"");
    }
    side.feed(us(0), headers(Opcode::SendOnly, 500, Extension::None), b"");
    assert_eq!(answer(&mut side), (ACK, 502, 3));
    assert_eq!(side.ended().len(), 3);
}

/// Half of all numbers lies before the expected one, the others behind it (9.7.1).
#[test]
fn what_is_half_the_numbers_ahead_is_a_repetition() {
    const HALF: u32 = 1 << 23;
    let mut side = with_receives(2);
    side.feed(us(0), headers(Opcode::SendOnly, 500, Extension::None), b"");
    side.feed(us(0), headers(Opcode::SendOnly, 501 + HALF, Extension::None), b"");
    assert_eq!(answer(&mut side), (ACK, 500, 1));
    side.feed(us(0), headers(Opcode::SendOnly, 500 + HALF, Extension::None), b"");
    assert_eq!(answer(&mut side), (Syndrome::Nak(NakCode::SequenceError), 501, 1));
}

#[test]
fn without_a_receive_the_peer_is_told_when_to_come_again() {
    let mut side = with_receives(0);
    side.feed(us(0), asking(headers(Opcode::SendOnly, 500, Extension::None)), b"");
    side.feed(us(0), asking(headers(Opcode::SendOnly, 501, Extension::None)), b"");
    let not_ready = Syndrome::ReceiverNotReady { timer: RnrTimer::new(14) };
    assert_eq!(answer(&mut side), (not_ready, 500, 0));
    side.feed(us(0), asking(headers(Opcode::SendOnly, 500, Extension::None)), b"");
    assert_eq!(answer(&mut side), (not_ready, 500, 0), "each time that it comes");
    side.post_receive(0, pool(1).take().unwrap());
    side.feed(us(0), asking(headers(Opcode::SendOnly, 500, Extension::None)), b"");
    assert_eq!(answer(&mut side), (ACK, 500, 1));
}

#[test]
fn a_shared_receive_queue_is_used_when_there_is_one() {
    let mut side = Side::new(OUR_NUMBER, None);
    side.queue_pair.connect(&parameters());
    side.post_receive(5, pool(1).take().unwrap());
    let event = side.feed(us(0), asking(headers(Opcode::SendOnly, 500, Extension::None)), b"ab");
    assert_eq!(event, Some(Event::Established));
    assert_eq!(side.ended(), [(5, Ok(message(2)))]);
    assert_eq!(answer(&mut side), (ACK, 500, 1), "ready to receive is enough to answer");
    let mut receives = VecDeque::from([Receive { id: 1, buffer: pool(1).take().unwrap() }]);
    assert!(side.queue_pair.post_receive(&mut receives).is_err());
    assert_eq!(receives.len(), 1);
}

#[test]
fn what_comes_with_a_message() {
    let (mut side, _) = with_window(Rights::READ);
    let pool = pool(3);
    (0..3).for_each(|id| side.post_receive(id, pool.take().unwrap()));
    side.feed(us(0), headers(Opcode::SendOnlyInvalidate, 500, Extension::Invalidate(KEY.0)), b"abc");
    side.feed(us(0), headers(Opcode::SendOnlyImmediate, 501, Extension::Immediate(9)), b"");
    let zero = Reth { address: 0, key: 0, bytes: 0 };
    side.feed(us(0), headers(Opcode::WriteOnlyImmediate, 502, Extension::RethImmediate(zero, 8)), b"");
    assert_eq!(
        side.ended(),
        [
            (0, Ok(Some(Message { bytes: 3, invalidated: Some(KEY), immediate: None }))),
            (1, Ok(Some(Message { bytes: 0, invalidated: None, immediate: Some(9) }))),
            (2, Ok(Some(Message { bytes: 0, invalidated: None, immediate: Some(8) }))),
        ]
    );
    assert!(side.windows.bound.is_empty());
}

#[test]
fn a_window_that_is_not_there_cannot_be_invalidated() {
    let mut side = with_receives(2);
    side.feed(us(0), headers(Opcode::SendOnlyInvalidate, 500, Extension::Invalidate(77)), b"abc");
    assert_eq!(answer(&mut side), (Syndrome::Nak(NakCode::RemoteAccess), 500, 0));
    assert_eq!(side.ended(), [(0, Err(WorkError::Flushed)), (1, Err(WorkError::Flushed))]);
}

#[test]
fn a_refusal_is_said_again_when_the_request_is() {
    let mut side = with_receives(0);
    let bad = headers(Opcode::SendMiddle, 500, Extension::None);
    side.feed(us(0), bad, &[0; 256]);
    assert_eq!(answer(&mut side).0, Syndrome::Nak(NakCode::InvalidRequest));
    side.feed(us(0), headers(Opcode::SendOnly, 501, Extension::None), b"");
    assert_eq!(side.transmit(us(0)), []);
    side.feed(us(0), bad, &[0; 256]);
    assert!(side.queue_pair.has_work());
    assert_eq!(answer(&mut side), (Syndrome::Nak(NakCode::InvalidRequest), 500, 0));
    assert_eq!(side.turn, Turn::Idle, "the failure was told before");
}

#[test]
fn a_write_touches_its_place_and_nothing_else() {
    let (mut side, whole) = with_window(Rights::WRITE);
    let data = pattern(600, 3);
    side.feed(us(0), headers(Opcode::WriteFirst, 500, reth(ADDRESS + 100, 600)), &data[..256]);
    side.feed(us(0), headers(Opcode::WriteMiddle, 501, Extension::None), &data[256..512]);
    side.feed(us(0), asking(headers(Opcode::WriteLast, 502, Extension::None)), &data[512..]);
    assert_eq!(answer(&mut side), (ACK, 502, 1));
    side.feed(us(0), headers(Opcode::WriteOnly, 503, reth(ADDRESS + 999, 1)), b"!");
    let bytes = bytes_of(&whole);
    assert_eq!(bytes[1100..1700], data);
    assert_eq!(bytes[1999], b'!');
    assert!(bytes[..1100].iter().chain(&bytes[1700..1999]).chain(&bytes[2000..]).all(|byte| *byte == 0xaa));
    assert_eq!(side.ended(), []);
}

#[test]
fn access_outside_key_bounds_and_rights_is_refused() {
    let other = Extension::Reth(Reth { address: ADDRESS, key: KEY.0 + 1, bytes: 1 });
    let cases = [
        (Rights::READ, reth(ADDRESS, 1)),
        (Rights::WRITE, other),
        (Rights::WRITE, reth(ADDRESS - 1, 1)),
        (Rights::WRITE, reth(ADDRESS + 1000, 1)),
        (Rights::WRITE, reth(u64::MAX, 1)),
        (Rights::WRITE, reth(0, 1)),
    ];
    for (rights, extension) in cases {
        let (mut side, whole) = with_window(rights);
        side.feed(us(0), headers(Opcode::WriteOnly, 500, extension), b"x");
        assert_eq!(answer(&mut side).0, Syndrome::Nak(NakCode::RemoteAccess), "{extension:?}");
        assert_eq!(bytes_of(&whole), [0xaa; 3000]);
        // And the same for READ, with the rights turned around.
        let (mut side, _) = with_window(rights.complement());
        side.feed(us(0), headers(Opcode::ReadRequest, 500, extension), b"");
        assert_eq!(answer(&mut side), (Syndrome::Nak(NakCode::RemoteAccess), 500, 0), "{extension:?}");
        assert_eq!(side.turn, refused(NakCode::RemoteAccess));
    }
}

#[test]
fn a_long_write_that_does_not_fit_is_refused_before_its_first_byte() {
    let (mut side, whole) = with_window(Rights::WRITE);
    side.feed(us(0), headers(Opcode::WriteFirst, 500, reth(ADDRESS + 500, 501)), &[1; 256]);
    assert_eq!(answer(&mut side).0, Syndrome::Nak(NakCode::RemoteAccess));
    assert_eq!(bytes_of(&whole), [0xaa; 3000]);
}

#[test]
fn a_window_of_another_queue_pair_is_none() {
    let (mut side, _) = with_window(Rights::all());
    side.windows.bound[0].1 = qpn(OUR_NUMBER + 1);
    side.feed(us(0), headers(Opcode::WriteOnly, 500, reth(ADDRESS, 1)), b"x");
    assert_eq!(answer(&mut side).0, Syndrome::Nak(NakCode::RemoteAccess));
}

#[test]
fn a_window_that_goes_in_the_middle_of_a_write_ends_it() {
    let (mut side, whole) = with_window(Rights::WRITE);
    side.feed(us(0), headers(Opcode::WriteFirst, 500, reth(ADDRESS, 512)), &[1; 256]);
    side.windows.bound.clear();
    side.feed(us(0), headers(Opcode::WriteLast, 501, Extension::None), &[2; 256]);
    assert_eq!(answer(&mut side), (Syndrome::Nak(NakCode::RemoteAccess), 501, 0));
    assert_eq!(bytes_of(&whole)[1256..1512], [0xaa; 256]);
}

#[test]
fn a_datagram_is_dropped() {
    let mut side = with_receives(1);
    let deth = crate::soft::wire::Deth { queue_key: 1, source: qpn(1) };
    side.feed(us(0), headers(Opcode::DatagramSendOnly, 500, Extension::Deth(deth)), b"");
    assert_eq!((side.transmit(us(0)), side.counters.dropped_malformed), (vec![], 1));
}
