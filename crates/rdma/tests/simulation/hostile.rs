//! Hosts that keep no rules: what they send is counted and dropped, takes a bounded amount of memory, and does nothing to the
//! connections of others.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use rdma::soft::SoftRequest;
use rdma::soft::wire::mad::{CommunicationId, Guid, Mad, Message, TransactionId};
use rdma::soft::wire::{Deth, Extension, Headers, NakCode, Opcode, Packet, Psn, Qpn, Reth, Syndrome};
use rdma::{
    ConnectionError, Counters, Endpoint, PathMtu, PrivateData, QueuePairId, QueuePairOptions, ReceiveSource,
};
use sim::{Dice, Faults};

use crate::link::{World, packet};
use crate::peer::Peer;
use crate::way::{MESSAGE_BYTES_MAX, RECEIVE_DEPTH, SEND_DEPTH, Way};

const PORT: u16 = 4420;
const BACKLOG: u32 = 16;
const OPTIONS: QueuePairOptions =
    QueuePairOptions { send_depth: SEND_DEPTH, receives: ReceiveSource::Own(RECEIVE_DEPTH) };

/// A server, a friend that is connected to it, and somebody else.
struct Stage {
    world: World,
    dice: Dice,
    friend: Peer,
    server: Peer,
    stranger: Peer,
    ways: [Way; 2],
    /// The number of the server's queue pair, as the friend's packets show it.
    number: Qpn,
}

impl Stage {
    fn new(seed: u64, addresses: [&str; 3]) -> Self {
        let world = World::new(seed, Faults::NONE);
        let [friend, server, stranger] = addresses.map(|text| {
            Peer::new(&world, text.parse().unwrap(), PathMtu::Bytes1024, seed + text.len() as u64)
        });
        let unknown = (0, some_queue_pair());
        let ways = [Way::new(unknown, unknown), Way::new(unknown, unknown)];
        let dice = Dice::new(seed);
        let mut stage = Self { world, dice, friend, server, stranger, ways, number: Qpn::CONNECTION_MANAGER };
        stage.server.endpoint.listen(PORT, BACKLOG).unwrap();
        let (client, accepted) = stage.connect_friend();
        stage.ways = [Way::new((0, client), (1, accepted)), Way::new((1, accepted), (0, client))];
        stage.world.tap(true);
        stage.talk();
        let to_server = stage.server.address;
        let tapped = stage.world.tapped();
        let numbers = tapped.iter().filter(|(_, to, _)| *to == to_server);
        stage.number =
            numbers.map(|(_, _, bytes)| Packet::parse(bytes).unwrap().headers.destination).max().unwrap();
        stage.world.tap(false);
        stage
    }

    fn connect_friend(&mut self) -> (QueuePairId, QueuePairId) {
        let (to, now) = (SocketAddr::new(self.server.address, PORT), self.world.now());
        let client = self.friend.endpoint.connect(to, &OPTIONS, &Default::default(), now).unwrap();
        let mut accepted = None;
        for _ in 0..20 {
            self.run(Duration::from_millis(200));
            let now = self.world.now();
            let friend = self.friend.address;
            let at = self.server.requests.iter().position(|request| peer_of(request) == friend);
            if let Some(request) = at.and_then(|at| self.server.requests.remove(at)) {
                let answer = self.server.endpoint.accept(request, &OPTIONS, &Default::default(), now);
                accepted = Some(answer.map_err(|(error, _)| error).unwrap());
            }
            if self.friend.established.contains_key(&client) {
                return (client, accepted.unwrap());
            }
        }
        panic!("the friend cannot connect: {:?}", self.friend.closed);
    }

    fn run(&mut self, duration: Duration) {
        let end = self.world.now().after(duration);
        loop {
            let now = self.world.now();
            let mut busy = self.friend.turn(now);
            busy |= self.server.turn(now);
            busy |= self.stranger.turn(now);
            self.collect();
            if busy {
                continue;
            }
            let rests =
                [&mut self.friend, &mut self.server, &mut self.stranger].map(|peer| peer.rests_until(now));
            let next = rests.into_iter().min().unwrap_or(end).min(self.world.next_arrival());
            if next >= end {
                self.world.clock.advance_to(end);
                return;
            }
            self.world.pass(next);
        }
    }

    fn collect(&mut self) {
        for at in [0, 1] {
            let peer = if at == 0 { &mut self.friend } else { &mut self.server };
            while let Some(done) = peer.completions.pop_front() {
                let is_send = matches!(done.outcome, rdma::Outcome::Sent { .. });
                let half = (at, done.queue_pair);
                let way =
                    self.ways.iter_mut().find(|way| half == if is_send { way.from } else { way.to }).unwrap();
                if is_send { way.sent(done) } else { way.received(done) }
            }
        }
    }

    /// Friend and server exchange work of all kinds, and all of it ends as it should.
    fn talk(&mut self) {
        for round in 0..30 {
            for at in 0..2 {
                let (from, to) = if at == 0 {
                    (&mut self.friend, &mut self.server)
                } else {
                    (&mut self.server, &mut self.friend)
                };
                let way = &mut self.ways[at];
                way.open_windows(to);
                while way.receives_posted() < RECEIVE_DEPTH as usize {
                    way.post_receive(to, MESSAGE_BYTES_MAX);
                }
                if way.has_room() {
                    if round == 29 { way.post_last(from) } else { way.post(from, &mut self.dice) }
                }
            }
            self.run(Duration::from_millis(2));
        }
        self.run(Duration::from_millis(100));
        for way in &self.ways {
            assert_eq!((way.work_left(), way.send_error, way.receive_error), (0, None, None));
            way.judge(true, true);
        }
        assert!(self.friend.closed.is_empty() && self.server.closed.is_empty());
    }

    /// Sends bytes to the server from any address.
    fn inject(&mut self, from: IpAddr, bytes: Vec<u8>) {
        let now = self.world.now();
        self.world.network().send(from, self.server.address, bytes, now);
    }

    fn inject_packet(&mut self, from: IpAddr, headers: &Headers, payload: &[u8]) {
        let bytes = packet(from, self.server.address, headers, payload);
        self.inject(from, bytes);
    }

    fn counters(&self) -> Counters {
        self.server.endpoint.counters()
    }

    /// A request to connect as the stranger's own connection manager writes it.
    fn genuine_request(&mut self) -> Mad {
        self.world.tap(true);
        let (to, now) = (SocketAddr::new(self.server.address, PORT), self.world.now());
        let queue_pair = self.stranger.endpoint.connect(to, &OPTIONS, &Default::default(), now).unwrap();
        self.stranger.turn(now);
        let (_, _, bytes) = self.world.tapped().pop().unwrap();
        self.world.tap(false);
        self.stranger.endpoint.destroy(queue_pair, now);
        self.run(Duration::from_millis(50));
        self.server.requests.clear();
        self.run(Duration::from_secs(5));
        Mad::read(Packet::parse(&bytes).unwrap().payload).unwrap()
    }

    fn inject_message(&mut self, mad: &Mad) {
        let deth = Deth { queue_key: 0x8001_0000, source: Qpn::CONNECTION_MANAGER };
        let headers = headers(Opcode::DatagramSendOnly, Qpn::CONNECTION_MANAGER, 0, Extension::Deth(deth));
        let from = self.stranger.address;
        self.inject_packet(from, &headers, &mad.write());
    }
}

/// Some name, for what is replaced before it is used.
fn some_queue_pair() -> QueuePairId {
    rdma::Slots::new(1).insert(()).unwrap().into()
}

fn peer_of(request: &SoftRequest) -> IpAddr {
    rdma::Request::offer(request).peer.ip()
}

fn headers(opcode: Opcode, destination: Qpn, psn: u32, extension: Extension) -> Headers {
    Headers { opcode, destination, psn: Psn::new(psn), ack_request: true, solicited: false, extension }
}

const V4: [&str; 3] = ["10.0.0.1", "10.0.0.22", "10.0.0.123"];
const V6: [&str; 3] = ["fd00::1", "fd00::22", "fd00::333"];

#[test]
fn bytes_that_are_no_packets_are_counted_and_dropped() {
    let mut stage = Stage::new(1, V6);
    let before = stage.counters();
    for round in 0..5_000u64 {
        let length = stage.dice.index(1200);
        let mut bytes: Vec<u8> = (0..length).map(|_| stage.dice.number() as u8).collect();
        if let Some(number) = bytes.get_mut(4..8) {
            // Half of them go to the connection manager, half to a queue pair that exists.
            let number_there = if round % 2 == 0 { Qpn::CONNECTION_MANAGER } else { stage.number };
            number.copy_from_slice(&number_there.value().to_be_bytes());
        }
        let from = if round % 3 == 0 { stage.friend.address } else { stage.stranger.address };
        stage.inject(from, bytes);
        if round % 64 == 0 {
            stage.run(Duration::from_micros(50));
        }
    }
    stage.run(Duration::from_millis(10));
    let dropped = stage.counters().dropped_icrc - before.dropped_icrc;
    assert!(dropped > 4_900, "{dropped} counted");
    stage.talk();
}

/// Every opcode, with a right ICRC, to a queue pair that exists, from somebody else than its peer.
#[test]
fn packets_of_somebody_else_than_the_peer_are_strays() {
    for addresses in [V4, V6] {
        let mut stage = Stage::new(2, addresses);
        let before = stage.counters();
        let stranger = stage.stranger.address;
        for round in 0..20_000 {
            let (opcode, psn) = (stage.dice.choose(Opcode::ALL), stage.dice.number() as u32);
            let payload = vec![0xab; stage.dice.choose(&[0, 4, 1024])];
            let headers = headers(opcode, stage.number, psn, stage.extension(opcode));
            let payload = if opcode.has_payload() { &payload[..] } else { &[] };
            stage.inject_packet(stranger, &headers, payload);
            if round % 64 == 0 {
                stage.run(Duration::from_micros(50));
            }
        }
        stage.run(Duration::from_millis(10));
        let after = stage.counters();
        let dropped =
            after.dropped_stray + after.dropped_malformed - before.dropped_stray - before.dropped_malformed;
        assert_eq!(dropped, 20_000);
        stage.talk();
    }
}

impl Stage {
    /// An extension of the opcode's kind.
    fn extension(&mut self, opcode: Opcode) -> Extension {
        let reth = Reth { address: self.dice.number(), key: self.dice.number() as u32, bytes: 1024 };
        match opcode {
            Opcode::WriteFirst | Opcode::WriteOnly | Opcode::ReadRequest => Extension::Reth(reth),
            Opcode::WriteOnlyImmediate => Extension::RethImmediate(reth, 1),
            Opcode::SendLastInvalidate | Opcode::SendOnlyInvalidate => Extension::Invalidate(7),
            Opcode::SendLastImmediate | Opcode::SendOnlyImmediate | Opcode::WriteLastImmediate => {
                Extension::Immediate(7)
            }
            Opcode::Acknowledge
            | Opcode::ReadResponseFirst
            | Opcode::ReadResponseLast
            | Opcode::ReadResponseOnly => {
                let syndrome = Syndrome::Nak(NakCode::RemoteAccess);
                Extension::Aeth(rdma::soft::wire::Aeth { syndrome, msn: 0 })
            }
            Opcode::DatagramSendOnly => {
                Extension::Deth(Deth { queue_key: 0x8001_0000, source: Qpn::CONNECTION_MANAGER })
            }
            _ => Extension::None,
        }
    }
}

/// The peer itself sends numbers far from what is expected: nothing is carried out, and it goes on when it behaves.
#[test]
fn numbers_out_of_the_window_change_nothing() {
    let mut stage = Stage::new(3, V6);
    let before = stage.counters();
    let friend = stage.friend.address;
    for round in 0..2_000u32 {
        // Acknowledgements of what was never sent, spread over all numbers.
        let syndrome = Syndrome::Ack { credits: 31 };
        let aeth = Extension::Aeth(rdma::soft::wire::Aeth { syndrome, msn: round });
        let headers = headers(Opcode::Acknowledge, stage.number, round * 8_191, aeth);
        stage.inject_packet(friend, &headers, &[]);
        stage.run(Duration::from_micros(20));
    }
    assert!(stage.counters().packets_received - before.packets_received >= 2_000);
    stage.talk();
}

/// Requests to connect, each from another queue pair of another adapter.
fn flood(stage: &mut Stage, template: Mad, count: u32) {
    for number in 0..count {
        let Message::Request(mut request) = template.message else { panic!("a request: {template:?}") };
        request.local_id = CommunicationId::new(0x1000_0000 + number);
        request.guid = Guid(0xdead_0000_0000_0000 + u64::from(number));
        request.qpn = Qpn::try_from(2 + number % 0xff_0000).unwrap();
        let transaction = TransactionId(u64::from(number));
        stage.inject_message(&Mad { transaction, message: Message::Request(request) });
        if number % 64 == 0 {
            stage.run(Duration::from_micros(50));
        }
    }
}

#[test]
fn a_flood_of_requests_is_bounded_and_passes() {
    for addresses in [V4, V6] {
        let mut stage = Stage::new(4, addresses);
        let template = stage.genuine_request();
        let before = stage.counters();
        flood(&mut stage, template, 20_000);
        stage.run(Duration::from_millis(10));
        assert_eq!(stage.server.requests.len(), BACKLOG as usize, "more than the backlog waits");
        let dropped = stage.counters().dropped_requests - before.dropped_requests;
        assert!(dropped >= 20_000 - u64::from(BACKLOG), "{dropped} requests were counted as dropped");
        stage.talk();
        // The user refuses them, and there is room for others again.
        let now = stage.world.now();
        for request in stage.server.requests.drain(..) {
            stage.server.endpoint.reject(request, &PrivateData::default(), now).unwrap();
        }
        stage.connect_friend();
    }
}

/// Nobody answers the replies: the connections end by themselves, and give everything back.
#[test]
fn half_open_connections_end() {
    let mut stage = Stage::new(5, V4);
    let template = stage.genuine_request();
    flood(&mut stage, template, 8);
    stage.run(Duration::from_millis(10));
    let now = stage.world.now();
    let requests: Vec<_> = stage.server.requests.drain(..).collect();
    assert_eq!(requests.len(), 8);
    let mut accept = |request| stage.server.endpoint.accept(request, &OPTIONS, &Default::default(), now);
    let halves: Vec<_> =
        requests.into_iter().map(|request| accept(request).map_err(|(error, _)| error).unwrap()).collect();
    let held = stage.server.chunks_held();
    stage.run(Duration::from_secs(120));
    for half in halves {
        let error = stage.server.closed.remove(&half).expect("a half-open connection ends");
        assert!(matches!(error, ConnectionError::TimedOut | ConnectionError::Rejected(_)), "{error}");
        let now = stage.world.now();
        stage.server.endpoint.destroy(half, now);
    }
    assert_eq!(stage.server.chunks_held(), held);
    stage.talk();
}
