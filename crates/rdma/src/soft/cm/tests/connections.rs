//! Connections made, kept and ended between two managers that hear each other.

use super::*;

#[test]
fn both_sides_agree() {
    let offer = ConnectionParameters {
        responder_resources: 12,
        initiator_depth: 3,
        retries: 6,
        rnr_retries: 5,
        ..parameters(b"hello")
    };
    let (mut pair, request) = Pair::asked(&offer);
    assert_eq!((request.initiator_depth(), request.responder_resources()), (12, 3));
    assert_eq!((request.peer().ip(), request.local()), (THEIRS, SocketAddr::new(OURS, PORT)));
    let mut hello = [0; 56];
    hello[..5].copy_from_slice(b"hello");
    assert_eq!(request.private_data().bytes(), hello);
    let answer = ConnectionParameters {
        responder_resources: 16,
        initiator_depth: 4,
        retries: 1,
        rnr_retries: 2,
        ..parameters(b"welcome")
    };
    let ours = pair.ours.accept(at_ms(0), request, local(7), &answer).unwrap();
    pair.deliver(at_ms(0));

    let Some(CmEvent::Established { qpn: theirs_qpn, agreed: theirs, private_data }) =
        pair.theirs.poll_event()
    else {
        panic!("not established")
    };
    assert_eq!(&private_data.bytes()[..8], b"welcome\0");
    assert_eq!((theirs_qpn, theirs.remote_qpn, ours.remote_qpn), (qpn(5), qpn(7), qpn(5)));
    assert_eq!((ours.send_psn, ours.receive_psn), (theirs.receive_psn, theirs.send_psn));
    assert_ne!(ours.send_psn, ours.receive_psn, "random");
    assert_eq!((ours.responder_resources, ours.initiator_depth), (3, 4));
    assert_eq!((theirs.responder_resources, theirs.initiator_depth), (4, 3));
    assert_eq!((ours.retries, theirs.retries), (6, 6), "who connects says it");
    assert_eq!((ours.rnr_retries, theirs.rnr_retries), (5, 2), "the other side says it");
    assert_eq!((ours.mtu, theirs.mtu), (PathMtu::Bytes1024, PathMtu::Bytes1024));
    assert_eq!(ours.ack_timeout.exponent(), 17);
    match pair.ours.poll_event() {
        Some(CmEvent::Established { qpn, agreed, private_data }) => {
            assert_eq!((qpn, agreed), (super::qpn(7), ours));
            assert!(private_data.bytes().is_empty());
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(
        (pair.ours.next_timeout(), pair.theirs.next_timeout()),
        (None, None),
        "no timers when all is well"
    );
}

/// NVMe over RDMA: the host of Linux has no READs of its own, and refuses those of a target that says it has none either.
#[test]
fn a_host_that_never_reads_lets_the_target_read() {
    let host = ConnectionParameters { responder_resources: 128, initiator_depth: 0, ..parameters(b"") };
    let (mut pair, request) = Pair::asked(&host);
    let ours = pair.ours.accept(at_ms(0), request, local(7), &parameters(b"")).unwrap();
    assert_eq!((ours.responder_resources, ours.initiator_depth), (0, 16));
    match messages(&mut pair.ours)[..] {
        [Message::Reply(reply)] => assert_eq!((reply.responder_resources, reply.initiator_depth), (0, 16)),
        ref other => panic!("{other:?}"),
    }
}

#[test]
fn rejection_carries_the_users_bytes() {
    let (mut pair, request) = Pair::asked(&parameters(b""));
    pair.ours.reject(at_ms(0), request, &PrivateData::new(&[7; 148]).unwrap()).unwrap();
    pair.deliver(at_ms(0));
    match pair.theirs.poll_event() {
        Some(CmEvent::Rejected { qpn, reason: RejectReason::Consumer, private_data }) => {
            assert_eq!((qpn, private_data.bytes()), (super::qpn(5), &[7; 148][..]));
        }
        other => panic!("{other:?}"),
    }
    assert!(pair.theirs.holds(qpn(5)), "timewait");
    run_until(&mut pair.theirs, at_ms(499));
    assert!(pair.theirs.holds(qpn(5)));
    run_until(&mut pair.theirs, at_ms(500));
    assert_eq!(events(&mut pair.theirs), ["over"]);
    assert!(!pair.theirs.holds(qpn(5)));
    assert_eq!(pair.ours.connections(), 0);
}

#[test]
fn too_much_private_data_is_refused_and_the_request_handed_back() {
    let (mut pair, request) = Pair::asked(&parameters(b""));
    let to = SocketAddr::new(OURS, PORT);
    let error = pair.theirs.connect(at_ms(0), to, local(6), &parameters(&[0; 57])).unwrap_err();
    assert_eq!(error, ConnectError::PrivateData { asked: 57, limit: 56 });
    let (error, request) = pair.ours.accept(at_ms(0), request, local(1), &parameters(b"")).unwrap_err();
    assert_eq!(error, ConnectError::QueuePair(qpn(1)));
    pair.ours.accept(at_ms(0), request, local(7), &parameters(&[1; 196])).unwrap();
    pair.deliver(at_ms(0));
    assert_eq!(events(&mut pair.theirs), ["established"]);
    let error = pair.theirs.connect(at_ms(0), to, local(5), &parameters(b"")).unwrap_err();
    assert_eq!(error, ConnectError::QueuePair(qpn(5)), "it is connected");
}

#[test]
fn addresses_that_cannot_be_connected_to() {
    let mut ours = manager(options(OURS));
    for address in ["::1", "0.0.0.0", "224.0.0.1", "::ffff:192.0.2.2"] {
        let address: IpAddr = address.parse().unwrap();
        let to = SocketAddr::new(address, PORT);
        let error = ours.connect(at_ms(0), to, local(5), &parameters(b"")).unwrap_err();
        assert_eq!(error, ConnectError::Address(address));
    }
    assert_eq!((ours.connections(), ours.poll_transmit()), (0, None));
}

#[test]
fn either_side_disconnects() {
    for we_do in [true, false] {
        let mut pair = Pair::connected();
        assert_eq!(
            (events(&mut pair.ours), events(&mut pair.theirs)),
            (vec!["established".into()], vec!["established".into()])
        );
        if we_do {
            pair.ours.disconnect(at_ms(10), qpn(7));
        } else {
            pair.theirs.disconnect(at_ms(10), qpn(5));
        }
        pair.deliver(at_ms(10));
        for manager in [&mut pair.ours, &mut pair.theirs] {
            run_until(manager, at_ms(510));
            assert_eq!(events(manager), ["disconnected", "over"]);
            assert_eq!((manager.connections(), manager.next_timeout()), (0, None));
        }
    }
}

#[test]
fn both_sides_disconnect_at_once() {
    let mut pair = Pair::connected();
    pair.ours.disconnect(at_ms(10), qpn(7));
    pair.theirs.disconnect(at_ms(10), qpn(5));
    pair.deliver(at_ms(10));
    for manager in [&mut pair.ours, &mut pair.theirs] {
        run_until(manager, at_ms(510));
        assert_eq!(events(manager), ["established", "disconnected", "over"]);
    }
}

#[test]
fn data_says_that_the_reply_arrived() {
    let (mut pair, request) = Pair::asked(&parameters(b""));
    pair.ours.accept(at_ms(0), request, local(7), &parameters(b"")).unwrap();
    pair.ours.established_by_data(qpn(7));
    pair.ours.established_by_data(qpn(7));
    assert_eq!(events(&mut pair.ours), ["established"]);
    pair.deliver(at_ms(0));
    assert_eq!(events(&mut pair.ours), Vec::<String>::new(), "the message that follows says nothing new");
}

#[test]
fn a_lost_ready_to_use_is_said_again() {
    let (mut pair, request) = Pair::asked(&parameters(b""));
    pair.ours.accept(at_ms(0), request, local(7), &parameters(b"")).unwrap();
    let reply = sent(&mut pair.ours)[0].1;
    pair.theirs.handle_mad(at_ms(1), OURS, &reply);
    sent(&mut pair.theirs);
    run_until(&mut pair.ours, at_ms(500));
    pair.deliver(at_ms(501));
    assert_eq!(events(&mut pair.ours), ["established"]);
    assert_eq!(events(&mut pair.theirs), ["established"]);
    assert_eq!((pair.ours.counters().repeated, pair.theirs.counters().duplicates), (1, 1));
}

#[test]
fn silence_ends_a_connect_after_a_minute() {
    let mut theirs = manager(options(THEIRS));
    theirs.connect(at_ms(0), SocketAddr::new(OURS, PORT), local(5), &parameters(b"")).unwrap();
    run_until(&mut theirs, at_ms(60_000));
    assert_eq!(events(&mut theirs), Vec::<String>::new());
    run_until(&mut theirs, at_ms(80_000));
    assert_eq!(events(&mut theirs), ["timed out", "over"]);
    let sent = messages(&mut theirs);
    let requests = sent.iter().filter(|message| message.attribute() == Attribute::Request).count();
    assert_eq!((requests, sent.len()), (16, 17), "and a rejection");
    let Some(Message::Rejection(last)) = sent.last() else { panic!() };
    assert_eq!(
        (last.reason, last.additional),
        (RejectReason::Timeout, Additional::of_guid(options(THEIRS).guid))
    );
}

#[test]
fn a_request_given_up_takes_the_question_back() {
    let (mut pair, request) = Pair::asked(&parameters(b""));
    pair.theirs.disconnect(at_ms(1), qpn(5));
    pair.deliver(at_ms(1));
    assert!(request.is_gone());
    let (error, _) = pair.ours.accept(at_ms(2), request, local(7), &parameters(b"")).unwrap_err();
    assert_eq!(error, ConnectError::RequestGone);
    assert_eq!(events(&mut pair.theirs), ["disconnected"]);
}

/// The reply crosses the message that the request was given up, and that message is lost.
#[test]
fn a_reply_to_nobody_is_rejected() {
    for after_timewait in [false, true] {
        let (mut pair, request) = Pair::asked(&parameters(b""));
        pair.theirs.disconnect(at_ms(1), qpn(5));
        sent(&mut pair.theirs);
        if after_timewait {
            run_until(&mut pair.theirs, at_ms(501));
        }
        pair.ours.accept(at_ms(502), request, local(7), &parameters(b"")).unwrap();
        pair.deliver(at_ms(502));
        assert_eq!(events(&mut pair.ours), [if after_timewait { "rejected 6" } else { "rejected 28" }]);
    }
}

/// The peer's process died and its successor, by chance or malice, uses the GUID and the queue pair again.
#[test]
fn a_new_request_of_a_connected_queue_pair_ends_the_old_connection() {
    let mut pair = Pair::connected();
    events(&mut pair.ours);
    let mut again = ConnectionManager::new(options(THEIRS), StdRng::seed_from_u64(99));
    again.connect(at_ms(5), SocketAddr::new(OURS, PORT), local(5), &parameters(b"")).unwrap();
    pair.theirs = again;
    pair.deliver(at_ms(5));
    assert_eq!(events(&mut pair.theirs), ["rejected 10"]);
    assert_eq!(events(&mut pair.ours), ["disconnected"]);
    run_until(&mut pair.ours, at_ms(505));
    assert_eq!(events(&mut pair.ours), ["over"], "the successor answered the request to disconnect");
}

#[test]
fn a_full_manager_says_so() {
    let mut theirs = manager(CmOptions { connections_max: 2, ..options(THEIRS) });
    let to = SocketAddr::new(OURS, PORT);
    theirs.connect(at_ms(0), to, local(5), &parameters(b"")).unwrap();
    theirs.connect(at_ms(0), to, local(6), &parameters(b"")).unwrap();
    let error = theirs.connect(at_ms(0), to, local(7), &parameters(b"")).unwrap_err();
    assert_eq!(error, ConnectError::TooMany(2));
    assert_eq!(theirs.listen(1, 1), Ok(()));
    assert_eq!(theirs.listen(1, 1), Err(ListenError::PortTaken(1)));
}

#[test]
fn the_smaller_mtu_wins() {
    for (ours, theirs) in [(PathMtu::Bytes512, PathMtu::Bytes4096), (PathMtu::Bytes4096, PathMtu::Bytes512)] {
        let mut pair = Pair {
            ours: manager(CmOptions { mtu: ours, ..options(OURS) }),
            theirs: manager(CmOptions { mtu: theirs, ..options(THEIRS) }),
        };
        pair.ours.listen(PORT, 1).unwrap();
        pair.theirs.connect(at_ms(0), SocketAddr::new(OURS, PORT), local(5), &parameters(b"hi")).unwrap();
        let first = sent(&mut pair.theirs)[0].1;
        // Twice, as the network may bring it.
        pair.ours.handle_mad(at_ms(0), THEIRS, &first);
        pair.ours.handle_mad(at_ms(0), THEIRS, &first);
        pair.deliver(at_ms(0));
        let Some(CmEvent::Requested(request)) = pair.ours.poll_event() else { panic!("not asked") };
        assert_eq!(&request.private_data().bytes()[..2], b"hi");
        let agreed = pair.ours.accept(at_ms(0), request, local(7), &parameters(b"")).unwrap();
        assert_eq!(agreed.mtu, PathMtu::Bytes512);
        pair.deliver(at_ms(0));
        match pair.theirs.poll_event() {
            Some(CmEvent::Established { agreed, .. }) => assert_eq!(agreed.mtu, PathMtu::Bytes512),
            other => panic!("{other:?}"),
        }
        assert_eq!(pair.ours.counters().refused, if ours < theirs { 2 } else { 0 });
        assert_eq!(pair.theirs.by_local_id.len(), 1);
    }
}

#[test]
fn an_mtu_that_is_not_less_is_a_rejection() {
    let mut theirs = manager(options(THEIRS));
    theirs.connect(at_ms(0), SocketAddr::new(OURS, PORT), local(5), &parameters(b"")).unwrap();
    let Message::Request(request) = messages(&mut theirs)[0] else { panic!() };
    let rejection = Rejection {
        local_id: CommunicationId::UNKNOWN,
        remote_id: request.local_id,
        about: crate::soft::wire::mad::About::Request,
        reason: RejectReason::InvalidMtu,
        additional: Additional::of_mtu(request.mtu),
        private_data: [0; 148],
    };
    let mad = Mad { transaction: TransactionId(1), message: Message::Rejection(rejection) };
    theirs.handle_mad(at_ms(0), OURS, &mad.write());
    assert_eq!(events(&mut theirs), ["rejected 26"]);
}
