//! READs of this side, packet by packet.

use super::*;

fn fenced(work: SendWork) -> SendWork {
    SendWork { fenced: true, ..work }
}

fn response(opcode: Opcode, psn: u32) -> Headers {
    let aeth = Aeth { syndrome: Syndrome::Ack { credits: 31 }, msn: 0 };
    let extension =
        if opcode == Opcode::ReadResponseMiddle { Extension::None } else { Extension::Aeth(aeth) };
    headers(opcode, psn, extension)
}

#[test]
fn a_read_is_done_when_its_data_is_there() {
    let mut side = Side::ready(&parameters());
    side.post([send(1), read(2, 600), send(3)]);
    let sent = side.transmit(us(0));
    assert_eq!(
        summary(&sent),
        [(Opcode::SendOnly, 100), (Opcode::ReadRequest, 101), (Opcode::SendOnly, 104)],
        "a read takes the numbers of its response"
    );
    assert_eq!((sent[1].headers.extension, &sent[1].payload[..]), (reth(ADDRESS, 600), &b""[..]));
    let data = pattern(600, 4);
    side.feed(us(1), response(Opcode::ReadResponseFirst, 101), &data[..256]);
    assert_eq!(side.ended(), [(1, OK)], "the response acknowledges what was before");
    side.feed(us(1), response(Opcode::ReadResponseMiddle, 102), &data[256..512]);
    side.feed(us(1), response(Opcode::ReadResponseLast, 103), &data[512..]);
    let Outcome::Sent { data: Data::Memory(list), .. } = &side.completions[0].outcome else { panic!() };
    assert_eq!(list_bytes(list), data);
    assert_eq!(side.ended(), [(2, OK)]);
    side.feed(us(1), ack(104), b"");
    assert_eq!(side.ended(), [(3, OK)]);
    assert!(side.reads.is_idle());
    assert_eq!(side.counters.bytes_copied, 600);
}

#[test]
fn an_acknowledgement_does_not_complete_a_read() {
    let mut side = Side::ready(&parameters());
    side.post([read(1, 600), send(2)]);
    side.transmit(us(0));
    side.feed(us(1), ack(102), b"");
    side.feed(us(1), ack(103), b"");
    assert_eq!(side.ended(), []);
    assert_eq!(
        summary(&side.transmit(us(1))),
        [(Opcode::ReadRequest, 100), (Opcode::SendOnly, 103)],
        "its response was lost"
    );
}

#[test]
fn a_read_goes_on_where_its_response_broke_off() {
    let mut side = Side::ready(&parameters());
    let data = pattern(1000, 6);
    side.post([read(1, 1000)]);
    side.transmit(us(0));
    side.feed(us(10), response(Opcode::ReadResponseFirst, 100), &data[..256]);
    side.feed(us(10), response(Opcode::ReadResponseMiddle, 102), &data[512..768]);
    let sent = side.transmit(us(10));
    assert_eq!(
        (summary(&sent), sent[0].headers.extension),
        (vec![(Opcode::ReadRequest, 101)], reth(ADDRESS + 256, 744))
    );
    side.feed(us(11), response(Opcode::ReadResponseLast, 103), &data[768..]);
    assert_eq!(side.transmit(us(11)), [], "the same loss is not news");
    side.feed(us(12), response(Opcode::ReadResponseMiddle, 101), &data[256..512]);
    side.feed(us(12), response(Opcode::ReadResponseMiddle, 102), &data[512..768]);
    side.feed(us(12), response(Opcode::ReadResponseMiddle, 102), &[0; 256]);
    side.feed(us(12), response(Opcode::ReadResponseLast, 103), &data[768..]);
    let Outcome::Sent { data: Data::Memory(list), .. } = &side.completions[0].outcome else { panic!() };
    assert_eq!(list_bytes(list), data);
    assert_eq!((side.counters.out_of_order, side.counters.packets_resent), (3, 1));
    assert!(side.reads.is_idle());
}

#[test]
fn a_resumed_response_may_begin_as_its_responder_likes() {
    for resumed in [Opcode::ReadResponseFirst, Opcode::ReadResponseMiddle] {
        let mut side = Side::ready(&parameters());
        side.post([read(1, 1000)]);
        side.transmit(us(0));
        side.feed(us(10), response(Opcode::ReadResponseFirst, 100), &[1; 256]);
        side.timeout(side.queue_pair.next_timeout().unwrap());
        assert_eq!(numbers(&side.transmit(us(30_000))), [101]);
        side.feed(us(30_010), response(resumed, 101), &[2; 256]);
        side.feed(us(30_010), response(Opcode::ReadResponseMiddle, 102), &[3; 256]);
        side.feed(us(30_010), response(Opcode::ReadResponseLast, 103), &[4; 232]);
        assert_eq!(side.ended(), [(1, OK)]);
    }
}

#[test]
fn responses_of_the_wrong_length_are_dropped() {
    let wrong = [
        (Opcode::ReadResponseFirst, 255),
        (Opcode::ReadResponseFirst, 0),
        (Opcode::ReadResponseMiddle, 257),
        (Opcode::ReadResponseOnly, 256),
        (Opcode::ReadResponseLast, 256),
    ];
    for (opcode, bytes) in wrong {
        let mut side = Side::ready(&parameters());
        side.post([read(1, 300)]);
        side.transmit(us(0));
        side.feed(us(1), response(opcode, 100), &vec![1; bytes]);
        assert_eq!(
            (side.counters.dropped_malformed, side.counters.bytes_copied),
            (1, 0),
            "{opcode:?} {bytes}"
        );
        side.feed(us(1), response(Opcode::ReadResponseFirst, 100), &[1; 256]);
        side.feed(us(1), response(Opcode::ReadResponseLast, 101), &[1; 45]);
        assert_eq!(side.ended(), []);
        side.feed(us(1), response(Opcode::ReadResponseLast, 101), &[1; 44]);
        assert_eq!(side.ended(), [(1, OK)]);
    }
}

#[test]
fn data_for_a_send_is_dropped() {
    let mut side = Side::ready(&parameters());
    side.post([send(1)]);
    side.transmit(us(0));
    side.feed(us(1), response(Opcode::ReadResponseOnly, 100), b"x");
    assert_eq!((side.ended(), side.counters.dropped_malformed), (vec![], 1));
}

#[test]
fn reads_beyond_the_agreed_depth_wait() {
    let mut side = Side::ready(&parameters());
    side.post([read(1, 10), read(2, 10), read(3, 10), send(4)]);
    assert_eq!(numbers(&side.transmit(us(0))), [100, 101]);
    assert_eq!(side.turn, Turn::Idle);
    assert!(!side.queue_pair.has_work(), "nothing can be done before an answer comes");
    side.feed(us(1), response(Opcode::ReadResponseOnly, 100), &[0; 10]);
    assert!(side.queue_pair.has_work());
    assert_eq!(summary(&side.transmit(us(1))), [(Opcode::ReadRequest, 102), (Opcode::SendOnly, 103)]);
}

#[test]
fn fenced_work_waits_for_reads_and_for_nothing_else() {
    let mut side = Side::ready(&parameters());
    side.post([send(1), fenced(send(2)), read(3, 300), send(4), fenced(send(5))]);
    assert_eq!(numbers(&side.transmit(us(0))), [100, 101, 102, 104]);
    assert!(!side.queue_pair.has_work());
    side.feed(us(1), response(Opcode::ReadResponseFirst, 102), &[0; 256]);
    assert_eq!(numbers(&side.transmit(us(1))), []);
    side.feed(us(1), response(Opcode::ReadResponseLast, 103), &[0; 44]);
    assert_eq!(numbers(&side.transmit(us(1))), [105]);
}

#[test]
fn a_large_read_is_asked_for_in_parts() {
    let mut side = Side::ready(&Parameters { mtu: PathMtu::Bytes4096, ..parameters() });
    side.post([read(1, 70_000)]);
    let sent = side.transmit(us(0));
    let requests: Vec<_> =
        sent.iter().map(|sent| (sent.headers.psn.value(), sent.headers.extension)).collect();
    assert_eq!(requests, [(100, reth(ADDRESS, 32_768)), (108, reth(ADDRESS + 32_768, 32_768))]);
    for packet in 0..16 {
        let opcode = match packet % 8 {
            0 => Opcode::ReadResponseFirst,
            7 => Opcode::ReadResponseLast,
            _ => Opcode::ReadResponseMiddle,
        };
        side.feed(us(1), response(opcode, 100 + packet), &[0; 4096]);
    }
    let sent = side.transmit(us(1));
    assert_eq!(sent[0].headers.extension, reth(ADDRESS + 65_536, 4464));
    side.feed(us(2), response(Opcode::ReadResponseFirst, 116), &[0; 4096]);
    side.feed(us(2), response(Opcode::ReadResponseLast, 117), &[0; 368]);
    assert_eq!(side.ended(), [(1, OK)]);
}

#[test]
fn reads_under_way_are_bounded_for_the_whole_endpoint() {
    let parameters = Parameters { mtu: PathMtu::Bytes4096, initiator_depth: 16, ..parameters() };
    let mut side = Side::ready(&parameters);
    side.post([read(1, 256 << 10)]);
    let sent = side.transmit(us(0));
    assert_eq!(
        (sent.len(), side.turn),
        (3, Turn::Blocked),
        "three times 32 KiB fit 128 KiB with their packets"
    );
    // Another queue pair of the endpoint finds the budget taken.
    let mut other = Side::ready(&parameters);
    std::mem::swap(&mut other.reads, &mut side.reads);
    other.post([read(1, 32 << 10)]);
    assert_eq!((other.transmit(us(0)), other.turn), (vec![], Turn::Blocked));
    std::mem::swap(&mut other.reads, &mut side.reads);
    side.queue_pair.release(&mut side.flow, &mut side.reads);
    assert!(side.reads.is_idle());
    assert_eq!(other.transmit(us(0)).len(), 1);
}
