//! The work of this side, packet by packet.

use super::*;
use crate::soft::rc::{Failure, State};

fn unsignaled(work: SendWork) -> SendWork {
    SendWork { signaled: false, ..work }
}

fn asks(sent: &[Sent]) -> Vec<bool> {
    sent.iter().map(|sent| sent.headers.ack_request).collect()
}

#[test]
fn messages_become_packets_of_one_mtu() {
    use Opcode::*;
    let data = pattern(600, 2);
    let pool = pool(8);
    let parts = |bytes: usize| segment(&pool, &data[..bytes]);
    let cases: &[(SendOp, usize, &[Opcode])] = &[
        (SendOp::Send, 600, &[SendFirst, SendMiddle, SendLast]),
        (SendOp::Send, 512, &[SendFirst, SendLast]),
        (SendOp::Send, 256, &[SendOnly]),
        (SendOp::Send, 0, &[SendOnly]),
        (SendOp::SendInvalidate(KEY), 257, &[SendFirst, SendLastInvalidate]),
        (SendOp::SendInvalidate(KEY), 1, &[SendOnlyInvalidate]),
        (SendOp::Write(REMOTE), 600, &[WriteFirst, WriteMiddle, WriteLast]),
        (SendOp::Write(REMOTE), 3, &[WriteOnly]),
    ];
    for (op, bytes, opcodes) in cases {
        let mut side = Side::ready(&parameters());
        side.post([work(1, *op, parts(*bytes))]);
        let sent = side.transmit(us(0));
        let expected: Vec<_> = opcodes.iter().copied().zip(100..).collect();
        assert_eq!(summary(&sent), expected);
        assert_eq!(sent.iter().flat_map(|sent| sent.payload.clone()).collect::<Vec<_>>(), data[..*bytes]);
        let mut extensions = vec![Extension::None; sent.len()];
        match op {
            SendOp::SendInvalidate(key) => *extensions.last_mut().unwrap() = Extension::Invalidate(key.0),
            SendOp::Write(_) => extensions[0] = reth(ADDRESS, *bytes as u32),
            _ => {}
        }
        assert_eq!(sent.iter().map(|sent| sent.headers.extension).collect::<Vec<_>>(), extensions);
        assert_eq!(asks(&sent).iter().rposition(|asks| *asks), Some(sent.len() - 1), "only the last asks");
        assert!(sent.iter().all(|sent| sent.headers.destination == qpn(PEER_NUMBER)));
    }
}

#[test]
fn work_completes_when_it_is_acknowledged() {
    let mut side = Side::ready(&parameters());
    side.post([work(1, SendOp::Send, segment(&pool(1), &[0; 600])), send(2), send(3)]);
    assert_eq!(numbers(&side.transmit(us(0))), [100, 101, 102, 103, 104]);
    side.feed(us(1), ack(101), b"");
    assert_eq!(side.ended(), []);
    side.feed(us(1), ack(103), b"");
    assert_eq!(side.ended(), [(1, OK), (2, OK)]);
    side.feed(us(1), ack(102), b"");
    side.feed(us(1), ack(105), b"");
    assert_eq!(side.ended(), [], "old and not yet sent numbers mean nothing");
    side.feed(us(1), ack(104), b"");
    assert_eq!(side.ended(), [(3, OK)]);
    assert_eq!(side.queue_pair.next_timeout(), None);
    assert!(side.flow.is_idle());
}

#[test]
fn success_that_is_not_signaled_is_silent() {
    let pool = pool(2);
    let mut side = Side::ready(&parameters());
    let quiet = |id| unsignaled(work(id, SendOp::Write(REMOTE), segment(&pool, b"data")));
    side.post([quiet(1), send(2)]);
    assert_eq!(asks(&side.transmit(us(0))), [false, true]);
    side.feed(us(1), ack(101), b"");
    assert_eq!(side.ended(), [(2, OK)]);
    assert_eq!(pool.available(), 2, "its memory was let go");
    side.post([quiet(3), quiet(4)]);
    assert_eq!(asks(&side.transmit(us(1))), [false, true], "the last of a batch asks");
    side.feed(us(2), ack(103), b"");
    assert_eq!((side.ended(), pool.available()), (vec![], 2));
}

#[test]
fn numbers_wrap() {
    let mut side = Side::ready(&Parameters { send_psn: Psn::new(0x00ff_fffe), ..parameters() });
    side.post((1..5).map(send));
    assert_eq!(numbers(&side.transmit(us(0))), [0x00ff_fffe, 0x00ff_ffff, 0, 1]);
    side.feed(us(1), ack(0), b"");
    assert_eq!(side.ended(), [(1, OK), (2, OK), (3, OK)]);
    side.feed(us(1), nak(1, NakCode::SequenceError), b"");
    assert_eq!(numbers(&side.transmit(us(1))), [1]);
}

#[test]
fn a_gap_makes_all_from_there_go_again() {
    let mut side = Side::ready(&parameters());
    side.post((1..6).map(send));
    side.transmit(us(0));
    let window = side.flow.window_bytes();
    side.feed(us(10), nak(102, NakCode::SequenceError), b"");
    assert_eq!(side.ended(), [(1, OK), (2, OK)]);
    assert!(side.flow.window_bytes() < window);
    assert_eq!(numbers(&side.transmit(us(10))), [102, 103, 104]);
    side.feed(us(11), nak(102, NakCode::SequenceError), b"");
    assert_eq!(side.transmit(us(11)), [], "the same gap is not news");
    assert_eq!((side.counters.packets_resent, side.counters.naks_received), (3, 2));
    side.feed(us(12), ack(104), b"");
    assert_eq!(side.ended(), [(3, OK), (4, OK), (5, OK)]);
    assert!(side.flow.is_idle());
}

#[test]
fn a_late_acknowledgement_counts_while_all_is_sent_again() {
    let mut side = Side::ready(&parameters());
    side.post((1..6).map(send));
    side.transmit(us(0));
    side.feed(us(10), nak(101, NakCode::SequenceError), b"");
    assert_eq!(numbers(&side.transmit_some(us(10), 1)), [101]);
    side.feed(us(11), ack(103), b"");
    assert_eq!(numbers(&side.transmit(us(11))), [104]);
    side.feed(us(12), ack(104), b"");
    assert_eq!(side.ended().len(), 5);
    assert!(side.flow.is_idle());
}

#[test]
fn a_receiver_that_is_not_ready_is_given_its_time() {
    let mut side = Side::ready(&parameters());
    side.post((1..4).map(send));
    side.transmit(us(0));
    let window = side.flow.window_bytes();
    let not_ready = |psn| acknowledge(psn, Syndrome::ReceiverNotReady { timer: RnrTimer::new(14) });
    for round in 0..100 {
        let now = us(10 + round * 5000);
        side.feed(now, not_ready(101), b"");
        side.feed(now, nak(101, NakCode::SequenceError), b"");
        assert_eq!(side.queue_pair.next_timeout(), Some(now.after_ns(1_280_000)));
        assert_eq!(side.timeout(now.after_ns(1_279_999)), None);
        assert_eq!(side.transmit(now), []);
        side.timeout(now.after_ns(1_280_000));
        assert_eq!(numbers(&side.transmit(now.after_ns(1_280_000))), [101, 102], "round {round}");
    }
    assert_eq!(side.ended(), [(1, OK)]);
    assert!(side.flow.window_bytes() >= window, "nothing was lost");
}

#[test]
fn patience_with_a_receiver_that_is_not_ready_can_end() {
    let mut side = Side::ready(&Parameters { rnr_retries: 2, ..parameters() });
    side.post((1..4).map(send));
    let not_ready = |psn| acknowledge(psn, Syndrome::ReceiverNotReady { timer: RnrTimer::new(1) });
    for round in 0..2 {
        side.transmit(us(round * 100));
        assert_eq!(side.feed(us(round * 100), not_ready(101), b""), None);
        side.timeout(us(round * 100 + 10));
    }
    side.transmit(us(300));
    assert_eq!(side.feed(us(300), not_ready(101), b""), Some(Event::Failed(Failure::ReceiverNotReady)));
    let expected = [(1, OK), (2, Err(WorkError::ReceiverNotReady)), (3, Err(WorkError::Flushed))];
    assert_eq!(side.ended(), expected);
}

#[test]
fn progress_renews_the_patience_with_a_receiver() {
    let mut side = Side::ready(&Parameters { rnr_retries: 1, ..parameters() });
    side.post((0..4).map(send));
    for message in 0..4 {
        let now = us(u64::from(message) * 100);
        side.transmit(now);
        let not_ready = Syndrome::ReceiverNotReady { timer: RnrTimer::new(1) };
        assert_eq!(side.feed(now, acknowledge(100 + message, not_ready), b""), None, "message {message}");
        side.timeout(now.after_ns(10_000));
    }
}

/// The packets behind the one that found no receive bring a word each; the time that the receiver asked for began with the
/// first, and one retry is used up.
#[test]
fn a_receiver_that_says_twice_that_it_is_not_ready_is_heard_once() {
    let mut side = Side::ready(&Parameters { rnr_retries: 1, ..parameters() });
    side.post((0..2).map(send));
    side.transmit(us(0));
    let not_ready = acknowledge(100, Syndrome::ReceiverNotReady { timer: RnrTimer::new(14) });
    assert_eq!(side.feed(us(0), not_ready, b""), None);
    assert_eq!(side.feed(us(5), not_ready, b""), None);
    assert_eq!(side.queue_pair.next_timeout(), Some(us(1280)));
}

#[test]
fn a_refusal_ends_the_work_that_it_is_about_and_flushes_the_rest() {
    let cases = [
        (NakCode::InvalidRequest, WorkError::RemoteInvalidRequest),
        (NakCode::RemoteAccess, WorkError::RemoteAccess),
        (NakCode::RemoteOperation, WorkError::RemoteOperation),
    ];
    for (code, error) in cases {
        let mut side = Side::ready(&parameters());
        side.post_receive(9, pool(1).take().unwrap());
        side.post([send(1), read(2, 10), unsignaled(send(3)), send(4), unsignaled(send(5))]);
        side.transmit(us(0));
        let event = side.feed(us(1), nak(103, code), b"");
        assert_eq!(event, Some(Event::Failed(Failure::RefusedByPeer(code))));
        let flushed = Err(WorkError::Flushed);
        let expected = [(1, OK), (2, flushed), (3, flushed), (4, Err(error)), (5, flushed), (9, flushed)];
        assert_eq!(side.ended(), expected);
        assert_eq!(side.queue_pair.state(), State::Error);
        assert!(side.flow.is_idle() && side.reads.is_idle());
    }
}

#[test]
fn silence_is_probed_with_one_packet_less_and_less_often() {
    let mut side = Side::ready(&parameters());
    side.post((1..4).map(|id| unsignaled(send(id))));
    assert_eq!(asks(&side.transmit(us(0))), [false, false, true]);
    let mut waits = Vec::new();
    let mut now = us(0);
    for _ in 0..7 {
        let next = side.queue_pair.next_timeout().unwrap();
        waits.push(next.ns_since(now) / 1_000_000);
        now = next;
        assert_eq!(side.timeout(now), None);
        let sent = side.transmit(now);
        assert_eq!((numbers(&sent), asks(&sent)), (vec![100], vec![true]));
        assert!(!side.queue_pair.has_work());
    }
    // Doubled from 20 ms, but never more than the standard's 4.096 us * 2^17.
    assert_eq!(waits, [20, 40, 80, 160, 320, 536, 536]);
    side.feed(now, ack(100), b"");
    assert_eq!(numbers(&side.transmit(now)), [101, 102], "the rest follows");
    assert_eq!(side.queue_pair.next_timeout().unwrap().ns_since(now) / 1_000_000, 20);
    assert_eq!(side.counters.timeouts, 7);
}

#[test]
fn a_quick_peer_is_asked_again_after_a_millisecond() {
    let mut side = Side::ready(&parameters());
    side.post([send(1)]);
    side.transmit(us(0));
    side.feed(us(8), ack(100), b"");
    side.post([send(2)]);
    side.transmit(us(20));
    assert_eq!(side.queue_pair.next_timeout(), Some(us(1020)));
}

#[test]
fn eight_timeouts_of_silence_end_the_connection() {
    let mut side = Side::ready(&parameters());
    side.post([send(1), read(2, 5)]);
    side.transmit(us(0));
    let event = loop {
        let next = side.queue_pair.next_timeout().unwrap();
        if let Some(event) = side.timeout(next) {
            // Eight times 4.096 us * 2^17, and not another whole one.
            assert!((4_294_967..4_831_838).contains(&(next.ns_since(us(0)) / 1000)), "{next}");
            break event;
        }
        side.transmit(next);
    };
    assert_eq!(event, Event::Failed(Failure::RetriesExceeded));
    assert_eq!(side.ended(), [(1, Err(WorkError::RetriesExceeded)), (2, Err(WorkError::Flushed))]);
    assert_eq!(side.queue_pair.next_timeout(), None);
}

#[test]
fn a_peer_that_only_reports_gaps_is_left_in_the_end() {
    let mut side = Side::ready(&parameters());
    side.post([send(1), send(2)]);
    let mut now = us(0);
    let event = loop {
        side.transmit(now);
        now = now.after_ns(500_000);
        if let Some(event) = side.feed(now, nak(100, NakCode::SequenceError), b"") {
            break event;
        }
        if side.queue_pair.next_timeout().is_some_and(|at| at <= now)
            && let Some(event) = side.timeout(now)
        {
            break event;
        }
        assert!(now < us(10_000_000));
    };
    assert_eq!(event, Event::Failed(Failure::RetriesExceeded));
}

#[test]
fn bytes_under_way_are_bounded_and_the_window_opens_by_acknowledgements() {
    let mut side = Side::ready(&Parameters { mtu: PathMtu::Bytes4096, ..parameters() });
    let pool = pool(2);
    let write = |id| work(id, SendOp::Write(REMOTE), segment(&pool, &vec![0; 256 << 10]));
    side.post([write(1), write(2)]);
    let sent = side.transmit(us(0));
    // 64 KiB at first, by packets of 4096 + 512.
    assert_eq!((sent.len(), side.turn), (14, Turn::Blocked));
    let asking = |sent: &[Sent]| -> Vec<usize> {
        sent.iter().enumerate().filter(|(_, sent)| sent.headers.ack_request).map(|(at, _)| at + 1).collect()
    };
    assert_eq!(asking(&sent), [14], "the last before the window is full");
    let (mut now, mut next, mut most, mut asked) = (us(0), 113, 0, Vec::new());
    while !side.flow.is_idle() {
        now = now.after_ns(10_000);
        side.feed(now, ack(next), b"");
        let sent = side.transmit(now);
        if sent.len() > most {
            (most, asked) = (sent.len(), asking(&sent));
        }
        next += sent.len() as u32;
    }
    assert_eq!((next, side.flow.window_bytes()), (227, 160 << 10));
    assert_eq!(most, 35, "never more than 160 KiB with their packets");
    assert_eq!(
        asked,
        [16, 22, 35],
        "every sixteenth, a message's last, and the last before the window is full"
    );
    assert_eq!(side.ended().len(), 2);
}

#[test]
fn an_outbox_without_room_only_interrupts() {
    let mut side = Side::ready(&parameters());
    side.post([work(1, SendOp::Send, segment(&pool(1), &[0; 1000])), read(2, 300)]);
    let mut sent = Vec::new();
    for _ in 0..5 {
        assert!(side.queue_pair.has_work());
        sent.extend(side.transmit_some(us(0), 1));
    }
    assert_eq!(numbers(&sent), [100, 101, 102, 103, 104]);
    assert!(!side.queue_pair.has_work());
}

#[test]
fn work_that_does_not_fit_is_left() {
    let mut side = Side::ready(&Parameters { initiator_depth: 0, ..parameters() });
    let mut works = VecDeque::from([send(1), read(2, 1), send(3)]);
    assert!(matches!(side.queue_pair.post_send(&mut works), Err(crate::PostError::Unfit(_))));
    assert_eq!(works.iter().map(|work| work.id).collect::<Vec<_>>(), [2, 3]);
    let mut side = Side::ready(&parameters());
    let mut works = VecDeque::from([inline(1, SendOp::Read(REMOTE), b"x")]);
    assert!(matches!(side.queue_pair.post_send(&mut works), Err(crate::PostError::Unfit(_))));
    let mut works: VecDeque<_> = (0..70).map(send).collect();
    assert_eq!(side.queue_pair.post_send(&mut works), Ok(()));
    assert_eq!(works.front().map(|work| work.id), Some(64), "as deep as it was made");
}
