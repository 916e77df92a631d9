//! Two managers, seeded: messages are lost, sent twice, overtaken; users accept late, refuse, forget, disconnect; a side crashes.
//! After the network has healed both sides must agree, and in the end nothing is left.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

const SEEDS: u64 = 400;
/// Everybody acts for so long.
const ACTING_MS: u64 = 20_000;
/// And the network loses messages for so long.
const LOSSY_MS: u64 = 30_000;
/// Longer than anything is repeated.
const HEALED_MS: u64 = 400_000;
const ACTIONS: u32 = 40;

/// A connection as its user knows it.
#[derive(Clone, Debug, PartialEq)]
enum Known {
    Begun,
    Accepted(Agreed),
    Established(Agreed),
    Ended,
}

struct Side {
    manager: ConnectionManager,
    address: IpAddr,
    known: BTreeMap<Qpn, Known>,
    requests: Vec<IncomingRequest>,
    established: u64,
}

impl Side {
    fn new(address: IpAddr, seed: u64) -> Self {
        let guid = Guid(seed << 8 | options(address).guid.0 & 0xff);
        let options = CmOptions { guid, connections_max: 64, ..options(address) };
        let mut manager = ConnectionManager::new(options, StdRng::seed_from_u64(guid.0));
        manager.listen(PORT, 4).unwrap();
        Self { manager, address, known: BTreeMap::new(), requests: Vec::new(), established: 0 }
    }

    /// Each connection goes the way that events promise: perhaps established, then ended once, then over.
    fn take_events(&mut self) {
        while let Some(event) = self.manager.poll_event() {
            match event {
                CmEvent::Requested(request) => self.requests.push(request),
                CmEvent::Established { qpn, agreed, .. } => {
                    match self.known.insert(qpn, Known::Established(agreed)).unwrap() {
                        Known::Begun => {}
                        Known::Accepted(before) => assert_eq!(before, agreed),
                        other => panic!("{other:?}"),
                    }
                    self.established += 1;
                }
                CmEvent::Rejected { qpn, .. } | CmEvent::TimedOut { qpn } => {
                    let before = self.known.insert(qpn, Known::Ended).unwrap();
                    assert!(matches!(before, Known::Begun | Known::Accepted(_)), "{before:?}");
                }
                CmEvent::Disconnected { qpn } => {
                    assert_ne!(self.known.insert(qpn, Known::Ended), Some(Known::Ended));
                }
                CmEvent::TimewaitOver { qpn } => assert_eq!(self.known.remove(&qpn), Some(Known::Ended)),
            }
        }
    }

    fn free_qpn(&self, rng: &mut StdRng) -> Option<LocalQueuePair> {
        let number = rng.random_range(2..24);
        (!self.known.contains_key(&qpn(number))).then(|| local(number))
    }

    fn any_of(&self, rng: &mut StdRng) -> Option<Qpn> {
        let index = rng.random_range(0..self.known.len().max(1));
        self.known.keys().nth(index).copied()
    }
}

struct World {
    rng: StdRng,
    sides: [Side; 2],
    underway: BTreeMap<(Timestamp, u64), (usize, MadBytes)>,
    sent: u64,
    loss_percent: u32,
    /// Ends of connections that their own user ended: the side, and both PSNs.
    left: BTreeSet<(usize, u32, u32)>,
    crashed: bool,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let loss_percent = rng.random_range(0..=40);
        Self {
            rng,
            sides: [Side::new(OURS, 2 * seed), Side::new(THEIRS, 2 * seed + 1)],
            underway: BTreeMap::new(),
            sent: 0,
            loss_percent,
            left: BTreeSet::new(),
            crashed: false,
        }
    }

    /// Sends what is to be sent; the network does what it wants.
    fn send(&mut self, now: Timestamp) {
        for from in 0..2 {
            while let Some((to, bytes)) = self.sides[from].manager.poll_transmit() {
                assert_eq!(to, self.sides[1 - from].address);
                let copies = 1 + u32::from(self.rng.random_ratio(self.loss_percent, 200));
                for _ in 0..copies {
                    let lost = now < at_ms(LOSSY_MS) && self.rng.random_ratio(self.loss_percent, 100);
                    let delay = if self.rng.random_ratio(1, 10) { 1_500_000 } else { 1_000 };
                    let at = now.after_ns(1000 * self.rng.random_range(1..delay));
                    self.sent += 1;
                    if !lost {
                        self.underway.insert((at, self.sent), (1 - from, bytes));
                    }
                }
            }
        }
    }

    fn run_until(&mut self, end: Timestamp) {
        let mut steps = 0;
        loop {
            let arrival = self.underway.keys().next().map(|(at, _)| *at);
            let timeouts = self.sides.iter().filter_map(|side| side.manager.next_timeout());
            let Some(now) = timeouts.chain(arrival).min().filter(|now| *now <= end) else { return };
            if arrival == Some(now) {
                let (_, (to, bytes)) = self.underway.pop_first().unwrap();
                let from = self.sides[1 - to].address;
                self.sides[to].manager.handle_mad(now, from, &bytes);
            } else {
                self.sides.iter_mut().for_each(|side| side.manager.handle_timeout(now));
            }
            self.settle(now);
            steps += 1;
            assert!(steps < 100_000, "it goes on for ever");
        }
    }

    fn settle(&mut self, now: Timestamp) {
        self.send(now);
        self.sides.iter_mut().for_each(Side::take_events);
    }

    fn act(&mut self, now: Timestamp) {
        let who = self.rng.random_range(0..2);
        match self.rng.random_range(0..100) {
            0..40 => self.connect(now, who),
            40..75 => self.answer(now, who),
            75..90 => self.disconnect(now, who),
            90..98 => self.data(who),
            _ => self.crash(who),
        }
        self.settle(now);
    }

    fn connect(&mut self, now: Timestamp, who: usize) {
        let to = SocketAddr::new(self.sides[1 - who].address, PORT);
        let side = &mut self.sides[who];
        if let Some(local) = side.free_qpn(&mut self.rng) {
            side.manager.connect(now, to, local, &parameters(b"hello")).unwrap();
            side.known.insert(local.qpn, Known::Begun);
        }
    }

    fn answer(&mut self, now: Timestamp, who: usize) {
        let side = &mut self.sides[who];
        let Some(request) = side.requests.pop() else { return };
        match self.rng.random_range(0..10) {
            0 => drop(request),
            1 => drop(side.manager.reject(now, request, &PrivateData::default())),
            _ => {
                let Some(local) = side.free_qpn(&mut self.rng) else { return };
                if let Ok(agreed) = side.manager.accept(now, request, local, &parameters(b"welcome")) {
                    side.known.insert(local.qpn, Known::Accepted(agreed));
                }
            }
        }
    }

    fn disconnect(&mut self, now: Timestamp, who: usize) {
        let Some(qpn) = self.sides[who].any_of(&mut self.rng) else { return };
        if let Some(Known::Established(agreed) | Known::Accepted(agreed)) = self.sides[who].known.get(&qpn) {
            self.left.insert((who, agreed.send_psn.value(), agreed.receive_psn.value()));
        }
        self.sides[who].manager.disconnect(now, qpn);
    }

    /// If the other side is established, it may have sent something.
    fn data(&mut self, who: usize) {
        let Some(qpn) = self.sides[who].any_of(&mut self.rng) else { return };
        if let Known::Accepted(agreed) = self.sides[who].known[&qpn]
            && self.has_mirror(who, &agreed)
        {
            self.sides[who].manager.established_by_data(qpn);
        }
    }

    fn crash(&mut self, who: usize) {
        self.crashed = true;
        self.sides[who] = Side::new(self.sides[who].address, self.rng.random::<u32>().into());
    }

    /// Whether the other side holds the same connection.
    fn has_mirror(&self, who: usize, agreed: &Agreed) -> bool {
        matches!(self.sides[1 - who].known.get(&agreed.remote_qpn), Some(Known::Established(other))
            if other.send_psn == agreed.receive_psn && other.receive_psn == agreed.send_psn)
    }

    /// What one side holds for a connection the other does too, unless its user ended it and could not make itself heard.
    /// How many ends are of connections that both hold.
    fn check_agreement(&self) -> u64 {
        let mut shared = 0;
        for (who, side) in self.sides.iter().enumerate() {
            for (qpn, known) in &side.known {
                let Known::Established(agreed) = known else { panic!("{qpn} is still {known:?}") };
                let mirror = self.has_mirror(who, agreed);
                shared += u64::from(mirror);
                let left = (1 - who, agreed.receive_psn.value(), agreed.send_psn.value());
                assert!(
                    mirror || self.left.contains(&left) || self.crashed,
                    "side {who} alone holds {qpn}: {agreed:?}"
                );
            }
        }
        shared
    }

    fn end(&mut self, now: Timestamp) {
        for who in 0..2 {
            for qpn in self.sides[who].known.keys().copied().collect::<Vec<_>>() {
                self.sides[who].manager.disconnect(now, qpn);
            }
        }
        self.settle(now);
        self.run_until(now.after_ns(HEALED_MS * 1_000_000));
        for side in &self.sides {
            assert_eq!((side.manager.connections(), side.manager.next_timeout()), (0, None));
            assert!(side.known.is_empty() && side.manager.by_local_id.is_empty());
            assert!(side.manager.by_peer_id.is_empty() && side.manager.by_peer_queue_pair.is_empty());
            assert_eq!((side.manager.records.waiting(), side.manager.listeners[&PORT].waiting), (0, 0));
        }
    }
}

#[test]
fn both_sides_always_agree_in_the_end() {
    let (mut established, mut shared) = (0, 0);
    for seed in 0..SEEDS {
        let mut world = World::new(seed);
        for action in 0..u64::from(ACTIONS) {
            let now = at_ms(action * ACTING_MS / u64::from(ACTIONS));
            world.run_until(now);
            world.act(now);
        }
        world.run_until(at_ms(HEALED_MS));
        shared += world.check_agreement();
        world.end(at_ms(HEALED_MS));
        established += world.sides.iter().map(|side| side.established).sum::<u64>();
    }
    assert!(shared > 2 * SEEDS, "{shared} ends of connections were left to both sides");
    assert!(
        established > 4 * SEEDS,
        "{established} ends of connections established: the simulation does too little"
    );
}
