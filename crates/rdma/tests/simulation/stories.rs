//! What went wrong once, or would have: each test tells how.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use rdma::soft::wire::mad::{
    CommunicationId, DisconnectRequest, Ids, Mad, Message, QUEUE_KEY, TransactionId,
};
use rdma::soft::wire::{Deth, Extension, Headers, Opcode, Packet, Psn, Qpn};
use rdma::{
    ConnectionError, ConnectionParameters, Data, Endpoint, EndpointOptions, RemoteKey, RemoteMemory, SendOp,
    SendWork, WorkError,
};
use sim::Faults;

use crate::link::{World, packet};
use crate::node::{Node, OPTIONS, connected, run};

const PORT: u16 = 4420;
const A: &str = "10.0.0.1";
const B: &str = "10.0.0.2";
const C: &str = "10.0.0.3";

fn world() -> World {
    World::new(1, Faults::NONE)
}

fn nodes(world: &World, addresses: &[&str]) -> Vec<Node> {
    addresses.iter().map(|address| Node::new(world, address, &EndpointOptions::default())).collect()
}

fn management(message: Message, from: IpAddr, to: IpAddr) -> Vec<u8> {
    let headers = Headers {
        opcode: Opcode::DatagramSendOnly,
        destination: Qpn::CONNECTION_MANAGER,
        psn: Psn::new(0),
        ack_request: false,
        solicited: false,
        extension: Extension::Deth(Deth { queue_key: QUEUE_KEY, source: Qpn::CONNECTION_MANAGER }),
    };
    packet(from, to, &headers, &Mad { transaction: TransactionId(9), message }.write())
}

/// Both sides write with windows that are full all the time. A queue pair whose own work waited for a window was on the list
/// of those that wait, and so it did not acknowledge what its peer wrote, whose window then stayed full: both waited for a
/// timer.
#[test]
fn both_sides_write_with_full_windows_and_no_timer_runs_out() {
    const QUEUE_PAIRS: usize = 4;
    const WRITES: u64 = 8;
    let world = world();
    let mut nodes = nodes(&world, &[A, B]);
    nodes[1].endpoint.listen(PORT, 8).unwrap();
    for pair in 0..QUEUE_PAIRS {
        let (client, server) = connected(&world, &mut nodes, 0, 1, PORT);
        for (at, queue_pair, peer) in [(0, client, server), (1, server, client)] {
            let target = nodes[1 - at].window(peer);
            let segment = nodes[at].buffer().into_segment();
            let mut works: VecDeque<_> = (0..WRITES)
                .map(|index| SendWork {
                    id: (pair as u64) << 32 | index,
                    op: SendOp::Write(target),
                    data: Data::Memory(segment.clone().into()),
                    signaled: true,
                    fenced: false,
                })
                .collect();
            nodes[at].endpoint.post_send(queue_pair, &mut works).unwrap();
            assert!(works.is_empty());
        }
    }
    let all = QUEUE_PAIRS * WRITES as usize;
    let done = run(&world, &mut nodes, Duration::from_secs(2), |nodes| {
        nodes.iter().all(|node| node.completions.len() == all)
    });
    assert!(done, "{:?}", nodes.iter().map(|node| node.completions.len()).collect::<Vec<_>>());
    for node in &nodes {
        let counters = node.endpoint.counters();
        assert_eq!((counters.timeouts, counters.packets_resent), (0, 0), "{counters:?}");
    }
}

/// A message about a connection whose name begins with the connection manager's own number belongs to no endpoint. It was
/// handed over to the connection manager's link, from where it was handed over again, for ever: one datagram of anybody
/// kept every endpoint busy.
#[test]
fn a_message_about_nobodys_connection_is_answered_once() {
    let world = world();
    let mut nodes = nodes(&world, &[A]);
    let stranger: IpAddr = C.parse().unwrap();
    for (number, remote) in [0x0012_3456, 0xf812_3456].into_iter().enumerate() {
        let ids = Ids { local: CommunicationId::new(5), remote: CommunicationId::new(remote) };
        let request = DisconnectRequest { ids, remote_qpn: Qpn::try_from(77).unwrap() };
        let bytes = management(Message::DisconnectRequest(request), stranger, nodes[0].address);
        world.network().send(stranger, nodes[0].address, bytes, world.now());
        run(&world, &mut nodes, Duration::from_millis(5), |_| false);
        let answer = world.network().receive(stranger, world.now()).expect("an answer, soon");
        let parsed = Packet::parse(&answer.bytes).unwrap();
        let said = Mad::read(parsed.payload).unwrap().message;
        let answered = Ids { local: ids.remote, remote: ids.local };
        assert_eq!(said, Message::DisconnectReply(answered), "message {number}");
        assert!(world.network().receive(stranger, world.now()).is_none(), "once");
        assert!(!nodes[0].turn(world.now().after_ns(1_000_000)), "nothing is left of it");
    }
}

/// Nobody listens. The rejection waited until the endpoint woke up for something else, which was the next repetition.
#[test]
fn a_sleeping_endpoint_rejects_at_once() {
    let world = world();
    let mut nodes = nodes(&world, &[A, B]);
    let to = SocketAddr::new(nodes[1].address, PORT);
    let queue_pair = nodes[0].connect(to, world.now());
    assert!(run(&world, &mut nodes, Duration::from_millis(5), |nodes| {
        nodes[0].closed == [(queue_pair, ConnectionError::NoListener)]
    }));
}

/// What the user tells the connection manager between a turn and a sleep is sent before the sleep.
#[test]
fn nobody_sleeps_on_a_message_that_was_not_sent() {
    let world = world();
    let mut nodes = nodes(&world, &[A, B]);
    let to = SocketAddr::new(nodes[1].address, PORT);
    run(&world, &mut nodes, Duration::from_millis(5), |_| false);
    nodes[0].connect(to, world.now());
    assert_eq!(nodes[0].endpoint.prepare_wait(world.now()), block::Wait::Poll);
    nodes[0].turn(world.now());
    assert_ne!(nodes[0].endpoint.prepare_wait(world.now()), block::Wait::Poll);
}

/// A peer from which much was read is dead. What its queue pairs asked for again and again took all that may be under way to the
/// endpoint, and other peers could not be read from until the dead one was given up, seconds later.
#[test]
fn reading_from_a_dead_peer_stops_no_other_reads() {
    let world = world();
    let mut nodes = nodes(&world, &[A, B, C]);
    nodes[0].endpoint.listen(PORT, 8).unwrap();
    let dead: Vec<_> = (0..4).map(|_| connected(&world, &mut nodes, 1, 0, PORT)).collect();
    let (client, healthy) = connected(&world, &mut nodes, 2, 0, PORT);
    let address = nodes[1].address;
    world.network().crash(address);
    let segment = nodes[0].buffer().into_segment();
    let read = |id, from| SendWork {
        id,
        op: SendOp::Read(from),
        data: Data::Memory(segment.clone().into()),
        signaled: true,
        fenced: false,
    };
    let nowhere = RemoteMemory { address: 0, key: RemoteKey(1) };
    for (id, (_, server)) in dead.iter().enumerate() {
        let mut works = VecDeque::from([read(id as u64, nowhere)]);
        nodes[0].endpoint.post_send(*server, &mut works).unwrap();
    }
    run(&world, &mut nodes, Duration::from_millis(300), |_| false);
    let window = nodes[2].window(client);
    nodes[0].endpoint.post_send(healthy, &mut VecDeque::from([read(99, window)])).unwrap();
    let began = world.now();
    assert!(run(&world, &mut nodes, Duration::from_secs(60), |nodes| nodes[0].sent(99) == Some(Ok(()))));
    let took = Duration::from_nanos(world.now().ns_since(began));
    assert!(took < Duration::from_millis(5), "{took:?}");
}

/// Our process was stopped for longer than a peer may be silent. The answers were there, behind much else, and the timer was
/// looked at before them: the connection was given up.
#[test]
fn after_a_pause_what_came_is_taken_in_before_timers_are_judged() {
    let world = world();
    let mut nodes = nodes(&world, &[A, B]);
    nodes[1].endpoint.listen(PORT, 8).unwrap();
    let (ours, theirs) = connected(&world, &mut nodes, 0, 1, PORT);
    let target = nodes[1].window(theirs);
    let buffer = nodes[0].buffer();
    nodes[0].post(ours, 8, SendOp::Write(target), buffer);
    nodes[0].turn(world.now());
    let (stranger, address) = (C.parse().unwrap(), nodes[0].address);
    for _ in 0..300 {
        // To the endpoint's own link, by the destination.
        let noise = [0, 0, 0, 0, 0, 0x04, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0];
        world.network().send(stranger, address, noise.to_vec(), world.now());
    }
    // The peer goes on alone.
    run(&world, &mut nodes[1..], Duration::from_secs(30), |_| false);
    let done = run(&world, &mut nodes, Duration::from_secs(60), |nodes| nodes[0].sent(8).is_some());
    assert!(done && nodes[0].sent(8) == Some(Ok(())), "{:?}", nodes[0].sent(8));
}

/// Work posted to a connection that was never made flushes like any other, READs too.
#[test]
fn reads_flush_where_no_connection_was_made() {
    let world = world();
    let mut nodes = nodes(&world, &[A, B]);
    let to = SocketAddr::new(nodes[1].address, PORT);
    let queue_pair = nodes[0].connect(to, world.now());
    assert!(run(&world, &mut nodes, Duration::from_secs(1), |nodes| !nodes[0].closed.is_empty()));
    let buffer = nodes[0].buffer();
    nodes[0].post(queue_pair, 5, SendOp::Read(RemoteMemory { address: 0, key: RemoteKey(0) }), buffer);
    assert!(run(&world, &mut nodes, Duration::from_secs(1), |nodes| nodes[0].sent(5).is_some()));
    assert_eq!(nodes[0].sent(5), Some(Err(WorkError::Flushed)));
}

/// Queue pairs that come and go quickly: the number of one whose names still rest is not given again, another is.
#[test]
fn queue_pairs_come_and_go_faster_than_names_rest() {
    let world = world();
    let options = EndpointOptions { queue_pairs_max: 1 << 14, ..EndpointOptions::default() };
    let mut node = Node::new(&world, A, &options);
    let to = SocketAddr::new(B.parse().unwrap(), PORT);
    for _ in 0..100 {
        let made = node.endpoint.connect(to, &OPTIONS, &ConnectionParameters::default(), world.now());
        node.endpoint.destroy(made.unwrap(), world.now());
    }
}

/// An endpoint that listens is dropped with requests that nobody has looked at: their senders need not wait.
#[test]
fn requests_are_rejected_when_their_endpoint_is_dropped() {
    let world = world();
    let mut nodes = nodes(&world, &[A, B]);
    nodes[1].endpoint.listen(PORT, 8).unwrap();
    let to = SocketAddr::new(nodes[1].address, PORT);
    let queue_pair = nodes[0].connect(to, world.now());
    assert!(run(&world, &mut nodes, Duration::from_secs(1), |nodes| !nodes[1].requests.is_empty()));
    let request = nodes[1].requests.pop_front().unwrap();
    nodes.truncate(1);
    assert!(run(&world, &mut nodes, Duration::from_millis(5), |nodes| {
        nodes[0].closed == [(queue_pair, ConnectionError::NoListener)]
    }));
    drop(request);
}

/// Whoever else knows the numbers of a connection reaches nothing: what counts comes from the peer's address, to this use of
/// the queue pair's slot.
#[test]
fn packets_of_strangers_and_of_the_past_are_stray() {
    let world = world();
    let mut nodes = nodes(&world, &[A, B]);
    nodes[1].endpoint.listen(PORT, 8).unwrap();
    let (client, server) = connected(&world, &mut nodes, 0, 1, PORT);
    let segment = nodes[1].buffer().into_segment();
    let window = nodes[1].endpoint.bind(server, &segment, rdma::Rights::WRITE).unwrap();
    let data = Data::Inline(rdma::InlineData::new(b"true").unwrap());
    let work = SendWork { id: 1, op: SendOp::Write(window), data, signaled: true, fenced: false };
    nodes[0].endpoint.post_send(client, &mut VecDeque::from([work])).unwrap();
    nodes[0].turn(world.now());
    let (ours, theirs, stranger) = (nodes[1].address, nodes[0].address, C.parse().unwrap());
    let datagram = world.network().receive(ours, world.now().after_ns(1_000_000)).unwrap();
    let headers = Packet::parse(&datagram.bytes).unwrap().headers;
    let before = Qpn::try_from(headers.destination.value() ^ 1 << 17).unwrap();
    for (from, headers) in [(stranger, headers), (theirs, Headers { destination: before, ..headers })] {
        let bytes = packet(from, ours, &headers, b"evil");
        world.network().send(from, ours, bytes, world.now());
    }
    assert!(run(&world, &mut nodes, Duration::from_secs(1), |nodes| nodes[0].sent(1) == Some(Ok(()))));
    let mut written = [0; 4];
    segment.read(0, &mut written).unwrap();
    assert_eq!((&written, nodes[1].endpoint.counters().dropped_stray), (b"true", 2));
}

/// What could not be made takes nothing, and what is destroyed is not told of.
#[test]
fn queue_pairs_that_are_not_there_leave_nothing() {
    let world = world();
    let options = EndpointOptions { queue_pairs_max: 1, ..EndpointOptions::default() };
    let mut node = Node::new(&world, A, &options);
    let to = SocketAddr::new(B.parse().unwrap(), PORT);
    let queue_pair = node.connect(to, world.now());
    let shared = node.endpoint.create_shared_receive_queue(4).unwrap();
    let receives = rdma::ReceiveSource::Shared(shared);
    let refused = node.endpoint.connect(
        to,
        &rdma::QueuePairOptions { receives, ..OPTIONS },
        &ConnectionParameters::default(),
        world.now(),
    );
    assert!(matches!(refused, Err(rdma::CreateError::TooMany { .. })));
    assert!(node.endpoint.destroy_shared_receive_queue(shared).is_ok());
    node.endpoint.disconnect(queue_pair, world.now());
    node.endpoint.destroy(queue_pair, world.now());
    assert!(node.endpoint.poll_connection().is_none());
}

/// A datagram to queue pair 1 without its key is none of the connection manager's.
#[test]
fn messages_without_the_key_are_dropped() {
    let world = world();
    let mut nodes = nodes(&world, &[A]);
    let (stranger, ours): (IpAddr, IpAddr) = (C.parse().unwrap(), nodes[0].address);
    let ids = Ids { local: CommunicationId::new(5), remote: CommunicationId::new(6) };
    let request = DisconnectRequest { ids, remote_qpn: Qpn::try_from(77).unwrap() };
    let bytes = management(Message::DisconnectRequest(request), stranger, ours);
    let parsed = Packet::parse(&bytes).unwrap();
    let extension = Extension::Deth(Deth { queue_key: 1, source: Qpn::CONNECTION_MANAGER });
    let bytes = packet(stranger, ours, &Headers { extension, ..parsed.headers }, parsed.payload);
    world.network().send(stranger, ours, bytes, world.now());
    run(&world, &mut nodes, Duration::from_millis(5), |_| false);
    assert!(world.network().receive(stranger, world.now()).is_none());
    assert_eq!(nodes[0].endpoint.counters().dropped_malformed, 1);
}

/// Destroyed: windows and work have given their memory back, and completions that were not polled are not given any more.
#[test]
fn destroying_gives_memory_back_and_completes_nothing() {
    let world = world();
    let mut nodes = nodes(&world, &[A, B]);
    nodes[1].endpoint.listen(PORT, 8).unwrap();
    let (client, _) = connected(&world, &mut nodes, 0, 1, PORT);
    let all = nodes[0].pool.available();
    nodes[0].window(client);
    let mut receives = VecDeque::from([rdma::Receive { id: 1, buffer: nodes[0].buffer() }]);
    nodes[0].endpoint.post_receive(client, &mut receives).unwrap();
    assert_eq!(nodes[0].pool.available(), all - 2);
    nodes[0].endpoint.disconnect(client, world.now());
    nodes[0].endpoint.destroy(client, world.now());
    assert_eq!(nodes[0].pool.available(), all);
    run(&world, &mut nodes, Duration::from_millis(5), |_| false);
    assert!(nodes[0].completions.is_empty());
}

/// A queue pair's work waits for the window that another one to the same peer has filled. That one goes: the way is free at once,
/// not when a timer runs out.
#[test]
fn a_queue_pair_that_goes_lets_others_send() {
    for is_destroyed in [false, true] {
        let world = world();
        let mut nodes = nodes(&world, &[A, B]);
        nodes[1].endpoint.listen(PORT, 8).unwrap();
        let (first, _) = connected(&world, &mut nodes, 0, 1, PORT);
        let (second, _) = connected(&world, &mut nodes, 0, 1, PORT);
        let peer = nodes[1].address;
        world.network().crash(peer);
        let nowhere = RemoteMemory { address: 0, key: RemoteKey(1) };
        for (id, queue_pair) in [(1, first), (2, second)] {
            let buffer = nodes[0].buffer();
            nodes[0].post(queue_pair, id, SendOp::Write(nowhere), buffer);
        }
        (0..20).for_each(|_| _ = nodes[0].turn(world.now()));
        assert_ne!(nodes[0].endpoint.prepare_wait(world.now()), block::Wait::Poll, "the window is full");
        let before = nodes[0].endpoint.counters().packets_sent;
        if is_destroyed {
            nodes[0].endpoint.destroy(first, world.now());
        } else {
            nodes[0].endpoint.disconnect(first, world.now());
        }
        (0..20).for_each(|_| _ = nodes[0].turn(world.now()));
        let sent = nodes[0].endpoint.counters().packets_sent - before;
        assert!(sent > 10, "{sent} packets, destroyed: {is_destroyed}");
    }
}
