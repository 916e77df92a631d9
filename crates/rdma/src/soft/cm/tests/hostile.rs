//! Peers that mean no good.

use super::*;
use crate::soft::wire::mad::{ConnectionRequest, Gid, Ids, RdmaCmHeader, ServiceId};

/// A request that is taken, unless something is changed in it.
fn request(source: IpAddr) -> ConnectionRequest {
    let mut theirs = manager(options(THEIRS));
    theirs.connect(at_ms(0), SocketAddr::new(OURS, PORT), local(5), &parameters(b"")).unwrap();
    let Message::Request(request) = messages(&mut theirs)[0] else { panic!() };
    let header = RdmaCmHeader { source: SocketAddr::new(source, 1), destination: OURS };
    ConnectionRequest { sender: Gid::from(source), private_data: header.write(b""), ..request }
}

fn ask(ours: &mut ConnectionManager, source: IpAddr, request: ConnectionRequest) {
    let mad = Mad { transaction: TransactionId(1), message: Message::Request(request) };
    ours.handle_mad(at_ms(0), source, &mad.write());
}

fn listening() -> ConnectionManager {
    let mut ours = manager(options(OURS));
    ours.listen(PORT, 8).unwrap();
    ours
}

#[test]
fn requests_that_are_refused_without_asking() {
    let good = request(THEIRS);
    let other = Gid::from(IpAddr::from([192, 0, 2, 66]));
    let lied = |source: [u8; 4], destination: IpAddr| {
        let header = RdmaCmHeader { source: SocketAddr::new(source.into(), 1), destination };
        ConnectionRequest { private_data: header.write(b""), ..good }
    };
    let cases = [
        (8, ConnectionRequest { service: ServiceId::of_port(PORT + 1), ..good }),
        (8, ConnectionRequest { service: ServiceId(77), ..good }),
        (1, ConnectionRequest { qpn: qpn(1), ..good }),
        (6, ConnectionRequest { local_id: CommunicationId::UNKNOWN, ..good }),
        (26, ConnectionRequest { mtu: PathMtu::Bytes2048, ..good }),
        (5, ConnectionRequest { private_data: [9; 92], ..good }),
        (12, ConnectionRequest { sender: other, ..good }),
        (12, ConnectionRequest { receiver: other, ..good }),
        (12, lied([192, 0, 2, 66], OURS)),
        (12, lied([192, 0, 2, 2], IpAddr::from([192, 0, 2, 66]))),
    ];
    for (index, (reason, request)) in cases.into_iter().enumerate() {
        let mut ours = listening();
        ask(&mut ours, THEIRS, request);
        let rejection = only_rejection(&mut ours);
        assert_eq!((index, u16::from(rejection.reason)), (index, reason));
        assert_eq!(rejection.remote_id, request.local_id);
        assert_eq!(rejection.additional.mtu().is_some(), reason == 26);
        assert_eq!((events(&mut ours), ours.counters().refused), (vec![], 1));
    }
    let mut ours = listening();
    ask(&mut ours, THEIRS, good);
    assert_eq!(events(&mut ours), ["requested"]);
}

#[test]
fn an_mtu_that_is_none_is_refused_with_ours() {
    let mut ours = listening();
    let mut bytes = Mad { transaction: TransactionId(1), message: Message::Request(request(THEIRS)) }.write();
    bytes[24 + 50] = 0x67;
    ours.handle_mad(at_ms(0), THEIRS, &bytes);
    let rejection = only_rejection(&mut ours);
    assert_eq!((rejection.reason, rejection.additional.bytes()), (RejectReason::InvalidMtu, &[3][..]));
}

#[test]
fn a_flood_fills_a_backlog_and_no_more() {
    let mut ours = listening();
    ours.listen(9, u32::MAX).unwrap();
    let mut good = request(THEIRS);
    for id in 1..=2000 {
        good.local_id = CommunicationId::new(id);
        good.qpn = qpn(id + 1);
        good.service = ServiceId::of_port(PORT);
        ask(&mut ours, THEIRS, good);
    }
    assert_eq!((ours.counters().overflowed, ours.records.waiting()), (1992, 8));
    for id in 2001..=5000 {
        good.local_id = CommunicationId::new(id);
        good.service = ServiceId::of_port(9);
        ask(&mut ours, THEIRS, good);
    }
    assert_eq!(ours.records.waiting(), WAITING_MAX);
    assert_eq!(events(&mut ours).len(), WAITING_MAX);
    assert_eq!(sent(&mut ours).len(), 0);
    assert_eq!(ours.connections(), 0);
    // They were all dropped: each is rejected, and there is room again.
    ours.handle_timeout(at_ms(100));
    assert_eq!((ours.records.waiting(), sent(&mut ours).len()), (0, WAITING_MAX));
    ask(&mut ours, THEIRS, good);
    good.local_id = CommunicationId::new(1);
    ask(&mut ours, THEIRS, good);
    assert_eq!(events(&mut ours), ["requested"], "the other one is known");
    assert_eq!(only_rejection(&mut ours).reason, RejectReason::Consumer);
}

/// Each request is taken back before the user looks.
#[test]
fn questions_taken_back_do_not_pile_up() {
    let mut ours = listening();
    let mut good = request(THEIRS);
    for id in 1..=5000 {
        good.local_id = CommunicationId::new(id);
        ask(&mut ours, THEIRS, good);
        let back = Rejection {
            local_id: good.local_id,
            remote_id: CommunicationId::UNKNOWN,
            about: crate::soft::wire::mad::About::Other,
            reason: RejectReason::Timeout,
            additional: Additional::of_guid(good.guid),
            private_data: [0; 148],
        };
        let mad = Mad { transaction: TransactionId(1), message: Message::Rejection(back) };
        ours.handle_mad(at_ms(0), THEIRS, &mad.write());
    }
    assert!(ours.events.len() <= WAITING_MAX && ours.records.waiting() == 0);
    assert_eq!(events(&mut ours), Vec::<String>::new());
    assert_eq!(ours.next_timeout(), None);
}

#[test]
fn half_open_connections_make_room() {
    let mut ours = manager(CmOptions { connections_max: 4, ..options(OURS) });
    ours.listen(PORT, 8).unwrap();
    let accept = |ours: &mut ConnectionManager, id: u32, now| {
        let source = IpAddr::from([198, 51, 100, 1]);
        ask(
            ours,
            source,
            ConnectionRequest { local_id: CommunicationId::new(id), qpn: qpn(id + 1), ..request(source) },
        );
        let Some(CmEvent::Requested(request)) = ours.poll_event() else { panic!("not asked") };
        ours.accept(now, request, local(id + 100), &parameters(b"")).map(drop).map_err(|(error, _)| error)
    };
    for id in 1..=4 {
        assert_eq!(accept(&mut ours, id, at_ms(u64::from(id))), Ok(()));
    }
    ours.established_by_data(qpn(101));
    assert_eq!(events(&mut ours), ["established"]);
    assert_eq!(accept(&mut ours, 5, at_ms(2001)), Err(ConnectError::TooMany(4)), "the oldest is too young");
    assert_eq!(accept(&mut ours, 6, at_ms(2002)), Ok(()));
    assert_eq!(events(&mut ours), ["timed out", "over"]);
    assert!(ours.holds(qpn(101)) && !ours.holds(qpn(102)) && ours.holds(qpn(103)));
    assert_eq!(ours.counters().reaped, 1);
}

#[test]
fn messages_from_elsewhere_do_nothing() {
    let mut pair = Pair::connected();
    events(&mut pair.ours);
    pair.theirs.disconnect(at_ms(1), qpn(5));
    let forged = sent(&mut pair.theirs)[0].1;
    pair.ours.handle_mad(at_ms(1), IpAddr::from([192, 0, 2, 66]), &forged);
    assert_eq!((events(&mut pair.ours), pair.ours.poll_transmit()), (vec![], None));
    assert_eq!(pair.ours.counters().wrong_source, 1);
    pair.ours.handle_mad(at_ms(1), THEIRS, &forged);
    assert_eq!(events(&mut pair.ours), ["disconnected"]);
}

/// Every byte of every message set to a few values, in every state that a message can meet: nothing panics, nothing grows.
#[test]
fn damaged_messages() {
    let (mut pair, incoming) = Pair::asked(&parameters(b""));
    pair.ours.accept(at_ms(0), incoming, local(7), &parameters(b"")).unwrap();
    let mut seen = sent(&mut pair.ours);
    pair.theirs.handle_mad(at_ms(0), OURS, &seen[0].1);
    seen.extend(sent(&mut pair.theirs));
    pair.theirs.disconnect(at_ms(0), qpn(5));
    seen.extend(sent(&mut pair.theirs));
    seen.push((
        OURS,
        Mad { transaction: TransactionId(1), message: Message::Request(request(THEIRS)) }.write(),
    ));
    for (_, bytes) in seen {
        for at in 0..bytes.len() {
            for value in [0, 1, 0x7f, 0x80, 0xff, bytes[at] ^ 1] {
                let mut damaged = bytes;
                damaged[at] = value;
                pair.ours.handle_mad(at_ms(1), THEIRS, &damaged);
                pair.theirs.handle_mad(at_ms(1), OURS, &damaged);
                assert!(pair.ours.connections() <= 1 && pair.theirs.connections() <= 1);
            }
        }
        for length in [0, 1, 23, 24, 255, 257] {
            let mut cut = bytes.to_vec();
            cut.resize(length, 0);
            let before = pair.ours.counters().malformed;
            pair.ours.handle_mad(at_ms(1), THEIRS, &cut);
            assert_eq!(pair.ours.counters().malformed, before + 1);
        }
    }
    assert!(pair.ours.records.waiting() <= 8);
}

/// From the peer's address, but about another part of the peer's than this connection's.
#[test]
fn messages_that_name_another_part_of_the_peer_change_nothing() {
    let (mut pair, request) = Pair::asked(&parameters(b""));
    let theirs = request.asked.message.local_id;
    pair.ours.accept(at_ms(0), request, local(7), &parameters(b"")).unwrap();
    let Message::Reply(reply) = messages(&mut pair.ours)[0] else { panic!("no reply") };
    let right = Ids { local: theirs, remote: reply.local_id };
    let wrong = Ids { local: CommunicationId::new(theirs.value() ^ 1), ..right };
    let say = |manager: &mut ConnectionManager, message| {
        let mad = Mad { transaction: TransactionId(1), message };
        manager.handle_mad(at_ms(1), THEIRS, &mad.write());
    };
    say(&mut pair.ours, Message::ReadyToUse(wrong));
    assert!(events(&mut pair.ours).is_empty(), "not established");
    say(&mut pair.ours, Message::ReadyToUse(right));
    assert_eq!(events(&mut pair.ours), ["established"]);
    pair.ours.disconnect(at_ms(1), qpn(7));
    messages(&mut pair.ours);
    say(&mut pair.ours, Message::DisconnectReply(wrong));
    run_until(&mut pair.ours, at_ms(1100));
    assert!(pair.ours.holds(qpn(7)), "the answer was another connection's");
    say(&mut pair.ours, Message::DisconnectReply(right));
    run_until(&mut pair.ours, at_ms(600));
    assert!(!pair.ours.holds(qpn(7)));
}
