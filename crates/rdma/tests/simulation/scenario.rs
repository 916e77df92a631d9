//! One run by one seed: connections between two hosts, work of every kind, a bad network, pauses, crashes, ends; then the
//! network heals, and everything must come to its end.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use block::Timestamp;
use rdma::{
    ConnectionParameters, Endpoint, Outcome, PathMtu, PrivateData, QueuePairId, QueuePairOptions,
    RNR_RETRIES_ENDLESS, ReceiveSource, Request,
};
use sim::{Dice, Faults};

use crate::link::World;
use crate::peer::{CHUNKS, Half, Peer};
use crate::way::{MESSAGE_BYTES_MAX, RECEIVE_DEPTH, SEND_DEPTH, Way};

pub const CLIENT: usize = 0;
pub const SERVER: usize = 1;
const PORT: u16 = 4420;
const LINKS_MAX: u64 = 4;
const STEPS: u64 = 250;

/// A bad network's loss and corruption, from which on a connection may lawfully run out of retries.
const HOPELESS: u32 = 40_000;

/// Turns in which no time passes before an endpoint counts as busy without end.
const TURNS_AT_ONCE_MAX: u32 = 20_000;

const OPTIONS: QueuePairOptions =
    QueuePairOptions { send_depth: SEND_DEPTH, receives: ReceiveSource::Own(RECEIVE_DEPTH) };

/// A connection of the scenario.
pub struct Link {
    pub client: QueuePairId,
    pub server: Option<QueuePairId>,
    pub ways: Option<[Way; 2]>,
    /// Why its end is no wonder.
    pub excuse: Option<&'static str>,
    pub destroyed: [bool; 2],
}

pub struct Scenario {
    pub world: World,
    pub dice: Dice,
    pub faults: Faults,
    pub peers: [Peer; 2],
    pub links: Vec<Link>,
    pub has_crashed: bool,
    pub has_healed: bool,
    /// Why any connection may end.
    pub excuse: Option<&'static str>,
    pub parameters: ConnectionParameters,
}

/// Runs the scenario of a seed. Returns how many connections lived to the end, and how many did not.
pub fn run(seed: u64) -> (u64, u64) {
    let mut scenario = Scenario::new(seed);
    scenario.connect_all();
    for _ in 0..STEPS {
        scenario.step();
    }
    scenario.heal();
    let result = scenario.judge();
    scenario.finish();
    result
}

impl Scenario {
    fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let faults = if dice.below(8) == 0 { Faults::NONE } else { Faults::by_chance(&mut dice) };
        // Over IPv4 one corrupted packet in 65,536 passes, for its identification is not known.
        let is_ipv4 = faults.corruption == 0 && dice.below(2) == 0;
        let text = if is_ipv4 { ["10.0.0.1", "10.0.0.2"] } else { ["fd00::1", "fd00::2"] };
        let addresses = text.map(|text| text.parse::<IpAddr>().unwrap());
        let world = World::new(dice.number(), faults);
        let mut mtu = || dice.choose(&PathMtu::ALL);
        let mtus = [mtu(), mtu()];
        let peers = [CLIENT, SERVER].map(|at| Peer::new(&world, addresses[at], mtus[at], dice.number()));
        let parameters = ConnectionParameters {
            responder_resources: dice.choose(&[1, 2, 16]),
            initiator_depth: dice.choose(&[1, 4, 16]),
            rnr_retries: dice.choose(&[7, 7, 7, 3]),
            ..Default::default()
        };
        let is_hopeless = faults.loss + faults.corruption >= HOPELESS;
        let is_hasty = parameters.rnr_retries < RNR_RETRIES_ENDLESS;
        Self {
            world,
            dice,
            faults,
            peers,
            links: Vec::new(),
            has_crashed: false,
            has_healed: false,
            excuse: (is_hopeless || is_hasty).then_some("the network is very bad, or a peer in a hurry"),
            parameters,
        }
    }

    fn connect_all(&mut self) {
        self.peers[SERVER].endpoint.listen(PORT, 16).unwrap();
        for _ in 0..=self.dice.below(LINKS_MAX) {
            self.connect();
        }
    }

    /// The private data tells the server which connection it is.
    pub fn connect(&mut self) {
        let to = SocketAddr::new(self.peers[SERVER].address, PORT);
        let now = self.world.now();
        let number = [self.links.len() as u8];
        let parameters =
            ConnectionParameters { private_data: PrivateData::new(&number).unwrap(), ..self.parameters };
        let client = self.peers[CLIENT].endpoint.connect(to, &OPTIONS, &parameters, now).unwrap();
        self.links.push(Link {
            client,
            server: None,
            ways: None,
            excuse: self.excuse,
            destroyed: [false; 2],
        });
    }

    /// Something happens, and time passes.
    fn step(&mut self) {
        let link = self.dice.index(self.links.len());
        match self.dice.below(1000) {
            0..600 => self.post(link),
            600..604 => self.end(link, "disconnected"),
            604..606 => self.destroy(link),
            606..608 => self.misuse(link),
            608..612 => self.pause(),
            612..613 => self.crash(),
            613..614 => self.cut(),
            _ => {}
        }
        let rest = Duration::from_micros(self.dice.below(40));
        self.run_until(self.world.now().after(rest), false);
    }

    fn post(&mut self, index: usize) {
        let count = 1 + self.dice.below(6);
        let way = self.dice.index(2);
        let link = &self.links[index];
        let is_open = |way: &Way| !self.is_closed(way.from) && !self.is_closed(way.to);
        if link.destroyed != [false; 2] || !link.ways.as_ref().is_some_and(|ways| is_open(&ways[way])) {
            return;
        }
        let Some(ways) = &mut self.links[index].ways else { return };
        let way = &mut ways[way];
        let (from, to) = (way.from.0, way.to.0);
        way.open_windows(&mut self.peers[to]);
        // Sometimes there are no receives, and the sender waits.
        let receives = self.dice.choose(&[8, 8, 4, 0]);
        while way.receives_posted() < receives {
            way.post_receive(&mut self.peers[to], MESSAGE_BYTES_MAX);
        }
        if !self.peers[from].established.contains_key(&way.from.1) {
            way.post_too_early(&mut self.peers[from]);
            return;
        }
        for _ in 0..count {
            if way.has_room() {
                way.post(&mut self.peers[from], &mut self.dice);
            }
        }
    }

    pub fn halves(&self, link: usize) -> [(usize, Option<QueuePairId>); 2] {
        [(CLIENT, Some(self.links[link].client)), (SERVER, self.links[link].server)]
    }

    fn end(&mut self, link: usize, why: &'static str) {
        let half = self.dice.index(2);
        let now = self.world.now();
        if let (at, Some(queue_pair)) = self.halves(link)[half]
            && !self.links[link].destroyed[half]
        {
            self.peers[at].endpoint.disconnect(queue_pair, now);
            self.links[link].excuse = Some(why);
        }
    }

    fn destroy(&mut self, link: usize) {
        let half = self.dice.index(2);
        self.destroy_half(link, half);
        self.links[link].excuse = Some("destroyed");
    }

    pub fn destroy_half(&mut self, link: usize, half: usize) {
        let now = self.world.now();
        if let (at, Some(queue_pair)) = self.halves(link)[half]
            && !std::mem::replace(&mut self.links[link].destroyed[half], true)
        {
            self.collect();
            self.peers[at].endpoint.destroy(queue_pair, now);
        }
    }

    fn misuse(&mut self, link: usize) {
        let way = self.dice.index(2);
        let link = &mut self.links[link];
        if let Some(ways) = &mut link.ways
            && link.destroyed == [false; 2]
            && ways[way].has_room()
            && self.peers[ways[way].from.0].established.contains_key(&ways[way].from.1)
        {
            let from = ways[way].from.0;
            ways[way].misuse(&mut self.peers[from], &mut self.dice);
            link.excuse = Some("misused");
        }
    }

    fn pause(&mut self) {
        let at = self.dice.index(2);
        let pause = Duration::from_micros(self.dice.choose(&[50, 5_000, 300_000, 3_000_000]));
        self.peers[at].paused_until = self.world.now().after(pause);
        if pause > Duration::from_secs(1) {
            self.excuse_all("paused for long");
        }
    }

    fn cut(&mut self) {
        let [a, b] = [self.peers[0].address, self.peers[1].address];
        self.world.network().cut(a, b);
        self.excuse_all("cut");
        let pause = Duration::from_micros(self.dice.choose(&[1_000, 100_000, 10_000_000]));
        self.run_until(self.world.now().after(pause), false);
        self.world.network().heal();
        self.world.network().set_faults(self.faults);
    }

    /// The server is gone, from one moment to the next, and another process takes its place.
    fn crash(&mut self) {
        if std::mem::replace(&mut self.has_crashed, true) {
            return;
        }
        self.excuse_all("crashed");
        self.collect();
        let address = self.peers[SERVER].address;
        self.world.network().crash(address);
        let seed = self.dice.number();
        let mut successor = Peer::new(&self.world, address, PathMtu::Bytes1024, seed);
        successor.endpoint.listen(PORT, 16).unwrap();
        let predecessor = std::mem::replace(&mut self.peers[SERVER], successor);
        for link in &mut self.links {
            link.destroyed[SERVER] = true;
            if let Some([to_server, _]) = &mut link.ways {
                to_server.forget_windows();
            }
        }
        let Peer { endpoint, completions, requests, pool, .. } = predecessor;
        drop((endpoint, completions, requests));
        assert_eq!(pool.available(), CHUNKS as usize, "memory of an endpoint that is gone");
        self.world.network().restart(address);
    }

    fn excuse_all(&mut self, why: &'static str) {
        self.links.iter_mut().for_each(|link| link.excuse = Some(why));
        self.excuse = Some(why);
    }

    /// Lets both work; with `until_rest` until nothing is to be done before that moment.
    pub fn run_until(&mut self, end: Timestamp, until_rest: bool) {
        let mut turns = 0;
        loop {
            let now = self.world.now();
            let busy = self.peers.iter_mut().fold(false, |busy, peer| peer.turn(now) | busy);
            self.answer();
            self.collect();
            turns += 1;
            assert!(turns < TURNS_AT_ONCE_MAX, "an endpoint is busy without end: {busy} {}", self.describe());
            if busy {
                continue;
            }
            let rest = self.peers.iter_mut().map(|peer| peer.rests_until(now)).min().unwrap_or(end);
            let next = rest.min(self.world.next_arrival());
            if next >= end || (until_rest && next == Timestamp::NEVER) {
                if !until_rest {
                    self.world.clock.advance_to(end);
                }
                return;
            }
            self.world.pass(next);
            turns = if self.world.now() > now.after_ns(100) { 0 } else { turns };
        }
    }

    /// Accepts who asks, and opens the books of connections that both sides have.
    fn answer(&mut self) {
        let now = self.world.now();
        while let Some(request) = self.peers[SERVER].requests.pop_front() {
            let link = usize::from(request.offer().private_data.bytes()[0]);
            let server = &mut self.peers[SERVER].endpoint;
            if !self.has_healed && self.dice.below(20) == 0 {
                self.links[link].excuse = Some("refused");
                server.reject(request, &PrivateData::default(), now).unwrap();
                continue;
            }
            // A request can be withdrawn, or time out, before it is answered.
            let Ok(accepted) = server.accept(request, &OPTIONS, &self.parameters, now) else { continue };
            let link = &mut self.links[link];
            if link.ways.is_some() || (link.server.is_some() && !link.destroyed[SERVER]) {
                // An old copy of a request that was answered, or one that a crashed server had answered.
                self.peers[SERVER].endpoint.destroy(accepted, now);
                continue;
            }
            (link.server, link.destroyed[SERVER]) = (Some(accepted), false);
            if !link.destroyed[CLIENT] && !self.peers[CLIENT].closed.contains_key(&link.client) {
                let (a, b): (Half, Half) = ((CLIENT, link.client), (SERVER, accepted));
                link.ways = Some([Way::new(a, b), Way::new(b, a)]);
            }
        }
    }

    pub fn is_made(&self, (at, queue_pair): Half) -> bool {
        self.peers[at].established.contains_key(&queue_pair)
    }

    /// Gives every completion to the books of its connection.
    fn collect(&mut self) {
        for at in [CLIENT, SERVER] {
            while let Some(done) = self.peers[at].completions.pop_front() {
                let half = (at, done.queue_pair);
                let alive = |link: &&mut Link| {
                    !link.destroyed[at] && [Some(link.client), link.server][at] == Some(done.queue_pair)
                };
                let link = self.links.iter_mut().find(alive).expect("a completion of a living queue pair");
                let ways = link.ways.as_mut().expect("a completion where work was posted");
                if matches!(done.outcome, Outcome::Sent { .. }) {
                    ways.iter_mut().find(|way| way.from == half).unwrap().sent(done);
                } else {
                    ways.iter_mut().find(|way| way.to == half).unwrap().received(done);
                }
            }
        }
    }

    pub fn is_closed(&self, (at, queue_pair): Half) -> bool {
        self.peers[at].closed.contains_key(&queue_pair)
    }
}
