//! How connections are made, and refused.

use std::net::SocketAddr;

use super::Subject;
use super::rig::{CLIENT, OPTIONS, QUIET, Rig, SERVER, Setup};
use super::side::QUEUE_PAIRS_MAX;
use super::traffic::send;
use crate::connection::{
    ConnectionError, ConnectionParameters, PrivateData, QueuePairOptions, REJECT_PRIVATE_BYTES_MAX,
    REPLY_PRIVATE_BYTES_MAX, REQUEST_PRIVATE_BYTES_MAX,
};
use crate::error::{CreateError, ListenError};
use crate::provider::{Device, Endpoint, Request};

fn saying(bytes: &[u8]) -> ConnectionParameters {
    ConnectionParameters { private_data: PrivateData::new(bytes).unwrap(), ..Default::default() }
}

fn padded(bytes: &[u8], length: usize) -> Vec<u8> {
    let mut padded = bytes.to_vec();
    padded.resize(length, 0);
    padded
}

/// A message's private data, as long as its field.
fn long(length: usize) -> Vec<u8> {
    (1..=length).map(|byte| byte as u8).collect()
}

/// Request and reply carry private data; what was shorter than the field is followed by zeroes.
pub fn private_data_travels_both_ways<S: Subject>(subject: &S) {
    let mut rig = Rig::new(subject);
    let cases = [
        (Vec::new(), Vec::new()),
        (b"ask".to_vec(), b"answer".to_vec()),
        (long(REQUEST_PRIVATE_BYTES_MAX), long(REPLY_PRIVATE_BYTES_MAX)),
    ];
    for (asked, answered) in cases {
        let (_, to) = rig.listen(SERVER, 1);
        let client = rig.connect(to, &OPTIONS, &saying(&asked));
        let request = rig.requested(SERVER);
        assert_eq!(request.offer().private_data.bytes(), padded(&asked, REQUEST_PRIVATE_BYTES_MAX));
        let server = rig.accept(SERVER, request, &OPTIONS, &saying(&answered));
        let agreement = rig.established(client);
        assert_eq!(agreement.private_data.bytes(), padded(&answered, REPLY_PRIVATE_BYTES_MAX));
        assert_eq!(rig.established(server).private_data.bytes(), b"");
    }
    rig.finish();
}

/// Private data that does not fit its field is refused.
pub fn private_data_is_bounded<S: Subject>(subject: &S) {
    let mut rig = Rig::new(subject);
    let (_, to) = rig.listen(SERVER, 1);
    let too_long = saying(&long(REQUEST_PRIVATE_BYTES_MAX + 1));
    let now = rig.now();
    let refused = rig.client().endpoint.connect(to, &OPTIONS, &too_long, now);
    assert!(matches!(refused, Err(CreateError::PrivateData { .. })), "{refused:?}");
    assert!(PrivateData::new(&long(REPLY_PRIVATE_BYTES_MAX + 1)).is_none());
    let client = rig.connect(to, &OPTIONS, &saying(b"short"));
    let request = rig.requested(SERVER);
    let too_long = PrivateData::new(&long(REJECT_PRIVATE_BYTES_MAX + 1)).unwrap();
    let now = rig.now();
    assert!(rig.server().endpoint.reject(request, &too_long, now).is_err());
    let error = rig.closed(client);
    assert!(is_rejection(&error), "a request that was consumed without an answer is rejected: {error}");
    rig.finish();
}

fn is_rejection(error: &ConnectionError) -> bool {
    matches!(error, ConnectionError::Refused(_) | ConnectionError::Rejected(_))
}

/// A request tells who asks, and at which listener, address and port.
pub fn the_offer_tells_the_truth<S: Subject>(subject: &S) {
    let mut rig = Rig::new(subject);
    let (first, to_first) = rig.listen(SERVER, 1);
    let (second, to_second) = rig.listen(SERVER, 1);
    for (listener, to) in [(second, to_second), (first, to_first)] {
        rig.connect(to, &OPTIONS, &Default::default());
        let request = rig.requested(SERVER);
        assert_eq!((request.offer().listener, request.offer().local), (listener, to));
        assert_eq!(request.offer().peer.ip(), rig.client().device.address());
    }
    rig.finish();
}

/// Each side has as many reads outstanding as it wants and the other side serves.
pub fn depths_are_negotiated<S: Subject>(subject: &S) {
    let mut rig = Rig::new(subject);
    // What each side serves and wants: client, then server.
    for [serves, wants, server_serves, server_wants] in
        [[4, 3, 2, 2], [1, 16, 16, 16], [16, 1, 16, 16], [8, 8, 8, 8], [255, 255, 255, 255]]
    {
        let (_, to) = rig.listen(SERVER, 1);
        let depths = |responder_resources, initiator_depth| ConnectionParameters {
            responder_resources,
            initiator_depth,
            ..Default::default()
        };
        let limits = rig.client().device.info().limits;
        let other = rig.server().device.info().limits;
        let client = rig.connect(to, &OPTIONS, &depths(serves, wants));
        let request = rig.requested(SERVER);
        assert_eq!(request.offer().initiator_depth, serves.min(limits.responder_resources_max));
        assert_eq!(request.offer().responder_resources, wants.min(limits.initiator_depth_max));
        let server = rig.accept(SERVER, request, &OPTIONS, &depths(server_serves, server_wants));
        let (mine, yours) = (rig.established(client), rig.established(server));
        let served = server_serves.min(other.responder_resources_max);
        assert_eq!(
            mine.initiator_depth,
            wants.min(limits.initiator_depth_max).min(served),
            "the client's reads"
        );
        let served = serves.min(limits.responder_resources_max);
        assert_eq!(yours.initiator_depth, server_wants.min(other.initiator_depth_max).min(served));
        assert!(mine.responder_resources >= yours.initiator_depth, "{mine:?}, {yours:?}");
        assert!(yours.responder_resources >= mine.initiator_depth, "{mine:?}, {yours:?}");
    }
    rig.finish();
}

/// Receives can be posted as soon as the queue pair exists, on both sides, and a message finds them.
pub fn receives_may_be_posted_before_the_connection<S: Subject>(subject: &S) {
    let mut rig = Rig::new(subject);
    let (_, to) = rig.listen(SERVER, 1);
    let client = rig.connect(to, &OPTIONS, &Default::default());
    rig.receive(client, 1, 64);
    let request = rig.requested(SERVER);
    let server = rig.accept(SERVER, request, &OPTIONS, &Default::default());
    rig.receive(server, 2, 64);
    rig.established(client);
    let data = rig.client().data(b"hello");
    rig.post(client, [send(3, data)]);
    assert_eq!(rig.message(server).2, b"hello");
    rig.established(server);
    let data = rig.server().data(b"good day");
    rig.post(server, [send(4, data)]);
    assert_eq!(rig.message(client).2, b"good day");
    rig.finish();
}

/// A rejection arrives with its private data; receives that were posted flush.
pub fn rejections_carry_data<S: Subject>(subject: &S) {
    let mut rig = Rig::new(subject);
    for words in [Vec::new(), b"no".to_vec(), long(REJECT_PRIVATE_BYTES_MAX)] {
        let (_, to) = rig.listen(SERVER, 1);
        let client = rig.connect(to, &OPTIONS, &Default::default());
        rig.receive(client, 1, 64);
        rig.receive(client, 2, 64);
        let request = rig.requested(SERVER);
        let now = rig.now();
        rig.server().endpoint.reject(request, &PrivateData::new(&words).unwrap(), now).unwrap();
        match rig.closed(client) {
            ConnectionError::Refused(data) => {
                assert_eq!(data.bytes(), padded(&words, REJECT_PRIVATE_BYTES_MAX))
            }
            other => panic!("refused, not: {other}"),
        }
        rig.at_rest(client);
        assert_eq!(rig.received(client).result, Err(crate::WorkError::Flushed));
    }
    rig.finish();
}

/// A request that is dropped is rejected without words.
pub fn requests_that_are_dropped_are_rejected<S: Subject>(subject: &S) {
    let mut rig = Rig::new(subject);
    let (_, to) = rig.listen(SERVER, 1);
    for _ in 0..3 {
        let client = rig.connect(to, &OPTIONS, &Default::default());
        drop(rig.requested(SERVER));
        let error = rig.closed(client);
        assert!(is_rejection(&error), "{error}");
    }
    rig.finish();
}

/// Requests that wait when the listener goes are rejected, and later ones find nobody.
pub fn stopped_listeners_reject<S: Subject>(subject: &S) {
    let mut rig = Rig::new(subject);
    let (listener, to) = rig.listen(SERVER, 4);
    let waiting = rig.connect(to, &OPTIONS, &Default::default());
    // The request reaches the endpoint; nobody looks at it before the listener goes.
    let end = rig.now().after(QUIET);
    while rig.now() < end {
        let now = rig.now();
        rig.client().turn(now);
        rig.server().endpoint.poll(&mut Vec::new(), 1, now);
        rig.rest(end);
    }
    rig.stop_listening(SERVER, listener);
    let error = rig.closed(waiting);
    assert!(is_rejection(&error) || error == ConnectionError::NoListener, "{error}");
    let late = rig.connect(to, &OPTIONS, &Default::default());
    assert_eq!(rig.closed(late), ConnectionError::NoListener);
    assert!(rig.server().requests.is_empty(), "a request after the listener has gone");
    let (_, again) = rig.listen(SERVER, 1);
    rig.pair_at(again, &Setup::default());
    rig.finish();
}

/// Whoever connects to a port that nobody listens on is told so.
pub fn nobody_listens<S: Subject>(subject: &S) {
    let mut rig = Rig::new(subject);
    let (listener, to) = rig.listen(SERVER, 1);
    rig.stop_listening(SERVER, listener);
    let client = rig.connect(to, &OPTIONS, &Default::default());
    assert_eq!(rig.closed(client), ConnectionError::NoListener);
    rig.finish();
}

/// Two listeners of one device cannot have one port; when the first has gone the second can.
pub fn a_port_has_one_listener<S: Subject>(subject: &S) {
    let mut rig = Rig::new(subject);
    let device = rig.server().device.clone();
    let other = rig.add_side(&device);
    let (listener, to) = rig.listen(SERVER, 1);
    for at in [SERVER, other] {
        let refused = rig.sides[at].endpoint.listen(to.port(), 1);
        assert!(matches!(refused, Err(ListenError::PortTaken(port)) if port == to.port()), "{refused:?}");
    }
    rig.stop_listening(SERVER, listener);
    let moved = rig.sides[other].endpoint.listen(to.port(), 1).unwrap();
    rig.connect(to, &OPTIONS, &Default::default());
    let request = rig.requested(other);
    assert_eq!(request.offer().listener, moved);
    drop(request);
    rig.stop_listening(other, moved);
    rig.finish();
}

/// At most the backlog waits to be answered; the others come later.
pub fn backlogs_are_bounded<S: Subject>(subject: &S) {
    const BACKLOG: u32 = 2;
    const CLIENTS: usize = 5;
    let mut rig = Rig::new(subject);
    let (_, to) = rig.listen(SERVER, BACKLOG);
    let clients: Vec<_> = (0..CLIENTS).map(|_| rig.connect(to, &OPTIONS, &Default::default())).collect();
    let mut servers = Vec::new();
    while servers.len() < CLIENTS {
        rig.wait("a request", |rig| (!rig.server().requests.is_empty()).then_some(()));
        rig.run_for(QUIET);
        let waiting = rig.server().requests.len();
        assert!(waiting <= BACKLOG as usize, "{waiting} requests wait");
        let request = rig.requested(SERVER);
        servers.push(rig.accept(SERVER, request, &OPTIONS, &Default::default()));
    }
    for half in clients.into_iter().chain(servers) {
        rig.established(half);
    }
    rig.finish();
}

/// A request can be answered by another endpoint of the device than the one that listens.
pub fn a_request_can_be_accepted_by_another_endpoint<S: Subject>(subject: &S) {
    let mut rig = Rig::new(subject);
    let device = rig.server().device.clone();
    let other = rig.add_side(&device);
    let (_, to) = rig.listen(SERVER, 2);
    let client = rig.connect(to, &OPTIONS, &Default::default());
    let request = rig.requested(SERVER);
    let server = rig.accept(other, request, &OPTIONS, &saying(b"over here"));
    assert!(rig.established(client).private_data.bytes().starts_with(b"over here"));
    rig.established(server);
    rig.receive(server, 1, 64);
    rig.receive(client, 2, 64);
    for (half, back) in [(client, server), (server, client)] {
        let data = rig.side(half).data(b"to whom it may concern");
        rig.post(half, [send(3, data)]);
        assert_eq!(rig.message(back).2, b"to whom it may concern");
        rig.sent_well(half, 3);
    }
    let refused = rig.connect(to, &OPTIONS, &Default::default());
    let request = rig.requested(SERVER);
    let now = rig.now();
    rig.sides[other].endpoint.reject(request, &PrivateData::new(b"go").unwrap(), now).unwrap();
    assert!(matches!(rig.closed(refused), ConnectionError::Refused(data) if data.bytes().starts_with(b"go")));
    rig.finish();
}

/// A request that cannot be accepted as asked comes back, and can be accepted otherwise.
pub fn failed_accepts_hand_the_request_back<S: Subject>(subject: &S) {
    let mut rig = Rig::new(subject);
    let (_, to) = rig.listen(SERVER, 1);
    let client = rig.connect(to, &OPTIONS, &Default::default());
    let request = rig.requested(SERVER);
    let offer = *request.offer();
    let none = QueuePairOptions { send_depth: 0, ..OPTIONS };
    let now = rig.now();
    let accepted = rig.server().endpoint.accept(request, &none, &Default::default(), now);
    let Err((CreateError::Unfit { .. }, request)) = accepted else { panic!("a send queue of depth 0") };
    assert_eq!(*request.offer(), offer);
    let server = rig.accept(SERVER, request, &OPTIONS, &Default::default());
    rig.established(client);
    rig.established(server);
    rig.finish();
}

/// An endpoint has no more queue pairs than it was made for; one that is destroyed makes room.
pub fn queue_pairs_are_bounded<S: Subject>(subject: &S) {
    let mut rig = Rig::new(subject);
    let (listener, to) = rig.listen(SERVER, 1);
    rig.stop_listening(SERVER, listener);
    let small = QueuePairOptions { send_depth: 1, receives: crate::ReceiveSource::Own(1) };
    let all: Vec<_> = (0..QUEUE_PAIRS_MAX).map(|_| rig.connect(to, &small, &Default::default())).collect();
    let now = rig.now();
    let refused = rig.client().endpoint.connect(to, &small, &Default::default(), now);
    assert!(matches!(refused, Err(CreateError::TooMany { .. })), "{refused:?}");
    all.iter().for_each(|half| assert_eq!(rig.closed(*half), ConnectionError::NoListener));
    let now = rig.now();
    let refused = rig.client().endpoint.connect(to, &small, &Default::default(), now);
    assert!(matches!(refused, Err(CreateError::TooMany { .. })), "closed is not destroyed: {refused:?}");
    rig.destroy(all[7]);
    let next = rig.wait("room for a queue pair", |rig| {
        let now = rig.now();
        rig.client().endpoint.connect(to, &small, &Default::default(), now).ok()
    });
    rig.client().ledger.open(next, None);
    let other_family: SocketAddr =
        if to.is_ipv4() { "[::1]:4420".parse().unwrap() } else { "127.0.0.1:4420".parse().unwrap() };
    let now = rig.now();
    let side = &mut rig.sides[CLIENT];
    side.ledger.destroyed(next);
    side.endpoint.destroy(next, now);
    let refused = rig.client().endpoint.connect(other_family, &small, &Default::default(), now);
    assert!(matches!(refused, Err(CreateError::Address(_) | CreateError::TooMany { .. })), "{refused:?}");
    rig.finish();
}
