//! How requests are answered: late, elsewhere, not at all.

use super::*;
use crate::AnswerError;

/// The request, as they send it again.
fn again(pair: &mut Pair) -> MadBytes {
    let next = pair.theirs.next_timeout().unwrap();
    pair.theirs.handle_timeout(next);
    let sent = sent(&mut pair.theirs);
    assert_eq!(sent.len(), 1);
    sent[0].1
}

#[test]
fn a_dropped_request_is_rejected() {
    let (mut pair, request) = Pair::asked(&parameters(b""));
    drop(request);
    run_until(&mut pair.ours, at_ms(100));
    let rejection = only_rejection(&mut pair.ours);
    assert_eq!((rejection.reason, rejection.private_data), (RejectReason::Consumer, [0; 148]));
    assert_eq!(pair.ours.counters().unanswered, 1);
    let bytes = again(&mut pair);
    pair.ours.handle_mad(at_ms(500), THEIRS, &bytes);
    assert_eq!(only_rejection(&mut pair.ours).reason, RejectReason::Consumer, "the first was lost");
    assert_eq!(pair.ours.next_timeout(), None);
}

#[test]
fn a_dropped_request_that_was_never_polled() {
    let mut pair = Pair::new();
    pair.theirs.connect(at_ms(0), SocketAddr::new(OURS, PORT), local(5), &parameters(b"")).unwrap();
    pair.deliver(at_ms(0));
    drop(pair.ours);
}

#[test]
fn a_slow_user_makes_the_peer_patient() {
    let (mut pair, request) = Pair::asked(&parameters(b""));
    run_until(&mut pair.ours, at_ms(1100));
    let receipt = match messages(&mut pair.ours)[..] {
        [Message::Receipt(receipt)] => receipt,
        ref other => panic!("{other:?}"),
    };
    assert!(receipt.service_timeout.duration() > ANSWER_MAX);
    let bytes = again(&mut pair);
    pair.ours.handle_mad(at_ms(1200), THEIRS, &bytes);
    pair.deliver(at_ms(1200));
    let patient_until = pair.theirs.next_timeout().unwrap();
    assert!(patient_until > at_ms(1200).after(ANSWER_MAX), "{patient_until}");
    pair.ours.accept(at_ms(20_000), request, local(7), &parameters(b"")).unwrap();
    pair.deliver(at_ms(20_000));
    assert_eq!(events(&mut pair.theirs), ["established"]);
    assert_eq!(pair.theirs.next_timeout(), None);
}

#[test]
fn a_user_who_never_answers_loses_the_request() {
    let (mut pair, request) = Pair::asked(&parameters(b""));
    run_until(&mut pair.ours, at_ms(30_000));
    let reasons: Vec<_> = messages(&mut pair.ours)
        .into_iter()
        .filter_map(|message| match message {
            Message::Rejection(rejection) => Some((rejection.reason, rejection.additional)),
            _ => None,
        })
        .collect();
    assert_eq!(reasons, [(RejectReason::Timeout, Additional::of_guid(options(OURS).guid))]);
    let (error, request) = pair.ours.accept(at_ms(30_001), request, local(7), &parameters(b"")).unwrap_err();
    assert_eq!(error, ConnectError::RequestGone);
    assert_eq!(pair.ours.reject(at_ms(30_001), request, &PrivateData::default()), Err(AnswerError::Gone));
    assert_eq!(pair.ours.poll_transmit(), None);
}

#[test]
fn a_peer_who_asks_for_patience_for_ever_is_not_heard() {
    let mut theirs = manager(options(THEIRS));
    theirs.connect(at_ms(0), SocketAddr::new(OURS, PORT), local(5), &parameters(b"")).unwrap();
    let Message::Request(request) = messages(&mut theirs)[0] else { panic!() };
    let receipt = crate::soft::wire::mad::Receipt {
        local_id: CommunicationId::UNKNOWN,
        remote_id: request.local_id,
        about: crate::soft::wire::mad::About::Request,
        service_timeout: crate::soft::wire::mad::Timeout::of_exponent(31),
    };
    let bytes = Mad { transaction: TransactionId(0), message: Message::Receipt(receipt) }.write();
    let mut rounds = 0;
    while let Some(next) = theirs.next_timeout() {
        theirs.handle_mad(next, OURS, &bytes);
        run_until(&mut theirs, next);
        rounds += 1;
        assert!(rounds < 100);
    }
    assert_eq!(events(&mut theirs), ["timed out", "over"]);
}

#[test]
fn a_repeated_request_gets_the_stored_answer() {
    for accept in [true, false] {
        let (mut pair, request) = Pair::asked(&parameters(b""));
        if accept {
            pair.ours.accept(at_ms(1), request, local(7), &parameters(b"w")).unwrap();
        } else {
            pair.ours.reject(at_ms(1), request, &PrivateData::new(b"n").unwrap()).unwrap();
        }
        let first = sent(&mut pair.ours);
        let bytes = again(&mut pair);
        pair.ours.handle_mad(at_ms(501), THEIRS, &bytes);
        assert_eq!(sent(&mut pair.ours), first);
        assert_eq!(events(&mut pair.ours), Vec::<String>::new(), "asked once");
    }
}

#[test]
fn stopping_rejects_what_waits() {
    let (mut pair, request) = Pair::asked(&parameters(b""));
    pair.ours.stop(at_ms(1), PORT);
    assert_eq!(only_rejection(&mut pair.ours).reason, RejectReason::NoService);
    assert!(request.is_gone());
    assert_eq!(pair.ours.next_timeout(), None);
    pair.ours.stop(at_ms(1), PORT);
    assert_eq!(pair.ours.poll_transmit(), None);
}

/// The request came to shard 0; shard 9 accepts it.
struct Elsewhere {
    pair: Pair,
    other: ConnectionManager,
}

impl Elsewhere {
    fn new() -> (Self, IncomingRequest) {
        let (pair, request) = Pair::asked(&parameters(b""));
        let other = manager(CmOptions { shard: Shard::try_from(9).unwrap(), ..options(OURS) });
        (Self { pair, other }, request)
    }
}

#[test]
fn another_shard_accepts() {
    let (Elsewhere { mut pair, mut other }, request) = Elsewhere::new();
    let request = std::thread::spawn(move || request).join().unwrap();
    other.accept(at_ms(1), request, local(7), &parameters(b"")).unwrap();
    let reply = sent(&mut other)[0].1;
    let bytes = again(&mut pair);
    pair.ours.handle_mad(at_ms(501), THEIRS, &bytes);
    run_until(&mut pair.ours, at_ms(501));
    assert_eq!(pair.ours.poll_transmit(), None, "the other repeats its reply");
    assert_eq!(pair.ours.next_timeout(), None, "the listener has found out");
    pair.theirs.handle_mad(at_ms(502), OURS, &reply);
    let ready = sent(&mut pair.theirs)[0].1;
    assert_eq!(route(&ready), Route::Shard(Shard::try_from(9).unwrap()));
    assert_eq!(route(&bytes), Route::Listener(PORT));
    other.handle_mad(at_ms(503), THEIRS, &ready);
    assert_eq!(events(&mut other), ["established"]);
    assert_eq!(events(&mut pair.theirs), ["established"]);
}

#[test]
fn another_shard_rejects() {
    let (Elsewhere { mut pair, mut other }, request) = Elsewhere::new();
    other.reject(at_ms(1), request, &PrivateData::new(b"no").unwrap()).unwrap();
    let lost = sent(&mut other);
    let bytes = again(&mut pair);
    pair.ours.handle_mad(at_ms(501), THEIRS, &bytes);
    assert_eq!(sent(&mut pair.ours), lost, "the listener says it again");
}

/// The reply never arrives, and the accepting side gives up: the peer, who repeats its request, must hear of it.
#[test]
fn what_another_shard_gave_up_is_not_waited_for() {
    let (Elsewhere { mut pair, mut other }, request) = Elsewhere::new();
    other.accept(at_ms(1), request, local(7), &parameters(b"")).unwrap();
    other.disconnect(at_ms(2), qpn(7));
    sent(&mut other);
    let bytes = again(&mut pair);
    pair.ours.handle_mad(at_ms(501), THEIRS, &bytes);
    pair.deliver(at_ms(501));
    assert_eq!(events(&mut pair.theirs), ["rejected 10"]);
}

#[test]
fn another_shard_finds_the_connection_stale() {
    let (Elsewhere { mut pair, mut other }, request) = Elsewhere::new();
    other.accept(at_ms(1), request, local(7), &parameters(b"")).unwrap();
    let reply = sent(&mut other)[0].1;
    pair.theirs.handle_mad(at_ms(1), OURS, &reply);
    let ready = sent(&mut pair.theirs)[0].1;
    other.handle_mad(at_ms(1), THEIRS, &ready);
    let mut again = ConnectionManager::new(options(THEIRS), StdRng::seed_from_u64(99));
    again.connect(at_ms(5), SocketAddr::new(OURS, PORT), local(5), &parameters(b"")).unwrap();
    let bytes = sent(&mut again)[0].1;
    pair.ours.handle_mad(at_ms(5), THEIRS, &bytes);
    let Some(CmEvent::Requested(request)) = pair.ours.poll_event() else { panic!() };
    let (error, _) = other.accept(at_ms(6), request, local(8), &parameters(b"")).unwrap_err();
    assert_eq!(error, ConnectError::RequestGone);
    assert_eq!(events(&mut other), ["established", "disconnected"]);
    for (_, bytes) in sent(&mut other) {
        again.handle_mad(at_ms(6), OURS, &bytes);
    }
    assert_eq!(events(&mut again), ["rejected 10"]);
}
