//! Queue pairs back to back, through a channel that loses, repeats and reorders packets. Those of one end share its windows.

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::*;

/// What the channel does to packets, in percent.
#[derive(Clone, Copy)]
struct Faults {
    lost: u32,
    repeated: u32,
    late: u32,
    /// When nothing arrives at all, in microseconds from the beginning.
    dark: (u64, u64),
    /// Receives are posted now and then only.
    slow_receiver: bool,
}

const NO_FAULTS: Faults = Faults { lost: 0, repeated: 0, late: 0, dark: (0, 0), slow_receiver: false };
const DELAY_US: u64 = 5;
/// Nothing may take longer.
const END_US: u64 = 20_000_000;

/// Sides 0, 2, 4 ... are of one endpoint, 1, 3, 5 ... of the other; the peer of each is its neighbour.
struct World {
    sides: Vec<Side>,
    /// What the queue pairs of an endpoint share.
    shared: [(Flow, ReadBudget); 2],
    /// Receives that are to be posted, for each side.
    receives: Vec<VecDeque<(u64, DmaBuf)>>,
    /// Packets under way, each to one side.
    under_way: Vec<(Timestamp, usize, Sent)>,
    rng: SmallRng,
    faults: Faults,
    now: Timestamp,
}

impl World {
    fn new(pairs: usize, mtu: PathMtu, seed: u64, faults: Faults) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed);
        let depth = rng.random_range(1..5);
        let mut sides = Vec::new();
        for pair in 0..pairs {
            // Close to the end of the numbers, so that they wrap.
            let psn = [Psn::new(0x00ff_fff0), Psn::new(rng.random())];
            for end in 0..2 {
                let number = |end: usize| (2 * pair + end + 2) as u32;
                let depth_of_own = if seed.is_multiple_of(3) { None } else { Some(64) };
                let mut side = Side::new(number(end), depth_of_own);
                side.queue_pair.connect(&Parameters {
                    peer: qpn(number(1 - end)),
                    send_psn: psn[end],
                    expected_psn: psn[1 - end],
                    mtu,
                    ack_timeout: 14,
                    rnr_timer: RnrTimer::new(1),
                    responder_resources: depth,
                    initiator_depth: depth,
                    ..parameters()
                });
                side.queue_pair.establish();
                sides.push(side);
            }
        }
        let receives = sides.iter().map(|_| VecDeque::new()).collect();
        Self { sides, shared: Default::default(), receives, under_way: Vec::new(), rng, faults, now: us(0) }
    }

    /// Acts on a side while it has what its endpoint's queue pairs share.
    fn lend<T>(&mut self, side: usize, act: impl FnOnce(&mut Side) -> T) -> T {
        let shared = &mut self.shared[side % 2];
        let side = &mut self.sides[side];
        (side.flow, side.reads) = *shared;
        let result = act(side);
        *shared = (side.flow, side.reads);
        result
    }

    fn percent(&mut self, percent: u32) -> bool {
        self.rng.random_range(0..100) < percent
    }

    fn transmit(&mut self) {
        for side in 0..self.sides.len() {
            while self.sides[side].queue_pair.has_work() {
                let (now, room) = (self.now, self.rng.random_range(1..40));
                let sent = self.lend(side, |side| side.transmit_some(now, room));
                for packet in sent {
                    self.carry(side ^ 1, packet);
                }
                if self.sides[side].turn != Turn::Again {
                    break;
                }
            }
        }
    }

    /// Posts receives, all of them or now and then one.
    fn post_receives(&mut self) {
        for side in 0..self.sides.len() {
            while !self.receives[side].is_empty() && (!self.faults.slow_receiver || self.percent(10)) {
                let (id, buffer) = self.receives[side].pop_front().unwrap();
                self.sides[side].post_receive(id, buffer);
            }
        }
    }

    fn carry(&mut self, side: usize, packet: Sent) {
        let (from, to) = self.faults.dark;
        if self.percent(self.faults.lost) || (us(from)..us(to)).contains(&self.now) {
            return;
        }
        if self.percent(self.faults.repeated) {
            let later = self.rng.random_range(0..200);
            self.under_way.push((self.now.after_ns(later * 1000), side, packet.clone()));
        }
        let late = if self.percent(self.faults.late) { self.rng.random_range(0..100) } else { 0 };
        self.under_way.push((self.now.after_ns((DELAY_US + late) * 1000), side, packet));
    }

    /// The next thing happens: packets arrive, or a timer runs out. Says whether there was any.
    fn step(&mut self) -> bool {
        self.post_receives();
        self.transmit();
        let arrival = self.under_way.iter().map(|packet| packet.0).min();
        let timer = self.sides.iter().filter_map(|side| side.queue_pair.next_timeout()).min();
        let Some(next) = arrival.into_iter().chain(timer).min() else { return false };
        self.now = self.now.max(next);
        let now = self.now;
        let mut arrived = Vec::new();
        self.under_way.retain(|packet| {
            let is_here = packet.0 <= now;
            if is_here {
                arrived.push(packet.clone());
            }
            !is_here
        });
        for (_, to, packet) in arrived {
            let event = self.lend(to, |side| side.feed(now, packet.headers, &packet.payload));
            assert_eq!(event, None, "{:?}", packet.headers);
        }
        for side in 0..self.sides.len() {
            if self.sides[side].queue_pair.next_timeout().is_some_and(|at| at <= now) {
                assert_eq!(self.lend(side, |side| side.timeout(now)), None);
            }
        }
        true
    }

    fn run(&mut self) {
        while self.step() {
            assert!(self.now < us(END_US), "it goes on");
        }
    }
}

/// Everything that a side did, to be compared with what the other has seen.
struct Script {
    works: Vec<SendWork>,
    /// Messages in the order of sending.
    messages: Vec<Vec<u8>>,
    /// For each work: what its read must find, or what its write must leave behind, and where.
    reads: Vec<(u64, Vec<u8>)>,
    writes: Vec<(u32, Vec<u8>)>,
}

const WINDOW_BYTES: u32 = CHUNK_BYTES;

/// Some works of all kinds. Reads are from the first half of the window, writes go to disjoint places of the second.
fn script(rng: &mut SmallRng, pool: &Pool, mtu: u32, target: &[u8]) -> Script {
    let mut script = Script { works: vec![], messages: vec![], reads: vec![], writes: vec![] };
    let mut write_at = WINDOW_BYTES / 2;
    let count: u64 = rng.random_range(4..20);
    for id in 0..count {
        let bytes = match rng.random_range(0..6) {
            0 => 0,
            1 => mtu,
            2 => 3 * mtu,
            3 => rng.random_range(0..64),
            _ => rng.random_range(0..40_000),
        };
        let data = pattern(bytes, id as u32 + rng.random_range(0..1000));
        let mut next = match rng.random_range(0..4) {
            0 | 1 => {
                script.messages.push(data.clone());
                if bytes <= 64 {
                    inline(id, SendOp::Send, &data)
                } else {
                    work(id, SendOp::Send, split(rng, pool, &data))
                }
            }
            2 if write_at + bytes <= WINDOW_BYTES => {
                script.writes.push((write_at, data.clone()));
                let remote = RemoteMemory { address: ADDRESS + u64::from(write_at), key: KEY };
                write_at += bytes;
                work(id, SendOp::Write(remote), split(rng, pool, &data))
            }
            _ => {
                let from = rng.random_range(0..=WINDOW_BYTES / 2 - bytes);
                script.reads.push((id, target[from as usize..][..bytes as usize].to_vec()));
                let remote = RemoteMemory { address: ADDRESS + u64::from(from), key: KEY };
                work(id, SendOp::Read(remote), split(rng, pool, &vec![0xee; bytes as usize]))
            }
        };
        next.signaled = rng.random_range(0..3) > 0 || matches!(next.op, SendOp::Read(_)) || id + 1 == count;
        next.fenced = rng.random_range(0..5) == 0;
        script.works.push(next);
    }
    script
}

/// The data in one segment or in two.
fn split(rng: &mut SmallRng, pool: &Pool, data: &[u8]) -> ScatterList {
    let whole = segment(pool, data);
    let at = rng.random_range(0..=whole.bytes());
    let rest = whole.bytes() - at;
    match rng.random_range(0..2) {
        0 => whole.into(),
        _ => [whole.slice(0, at).unwrap(), whole.slice(at, rest).unwrap()].into_iter().collect(),
    }
}

/// What a side has to show in the end.
struct Expected {
    signaled: Vec<u64>,
    messages: Vec<Vec<u8>>,
    reads: Vec<(u64, Vec<u8>)>,
    writes: Vec<(u32, Vec<u8>)>,
}

fn one_run(pairs: usize, seed: u64, faults: Faults) -> Counters {
    let mtu = PathMtu::ALL[seed as usize % 5];
    let mut world = World::new(pairs, mtu, seed, faults);
    let pool = pool(120 * pairs as u32);
    let mut rng = SmallRng::seed_from_u64(seed ^ 0xabcd);
    let expected: Vec<_> =
        (0..2 * pairs).map(|side| give_work(&mut world, &mut rng, &pool, (side, mtu, seed))).collect();
    world.run();
    for (side, expected) in expected.into_iter().enumerate() {
        check_sender(&mut world.sides[side], &expected.signaled, &expected.reads, seed);
        check_receiver(&mut world.sides[side ^ 1], &expected.messages, &expected.writes, seed);
    }
    for side in &mut world.sides {
        assert!(side.completions.is_empty(), "seed {seed}: nothing completes twice");
    }
    for (flow, reads) in world.shared {
        assert!(flow.is_idle() && reads.is_idle(), "seed {seed}: all windows were given back");
    }
    assert_eq!(pool.available(), 118 * pairs, "seed {seed}: memory was let go, but for the windows");
    world.sides[0].counters
}

/// Posts a script in batches, so that work is posted while other work is under way.
fn give_work(
    world: &mut World,
    rng: &mut SmallRng,
    pool: &Pool,
    (side, mtu, seed): (usize, PathMtu, u64),
) -> Expected {
    let target = pattern(WINDOW_BYTES, seed as u32);
    world.sides[side ^ 1].bind(KEY, segment(pool, &target), Rights::READ | Rights::WRITE);
    let Script { works, messages, reads, writes } = script(rng, pool, mtu.bytes(), &target);
    for receive in 0..messages.len() as u64 {
        world.receives[side ^ 1].push_back((1000 + receive, pool.take().unwrap()));
    }
    let signaled = works.iter().filter(|work| work.signaled).map(|work| work.id).collect();
    let mut works = works.into_iter();
    world.post_receives();
    while works.len() > 0 {
        let batch: Vec<_> = works.by_ref().take(rng.random_range(1..6)).collect();
        world.sides[side].post(batch);
        for _ in 0..rng.random_range(0..20) {
            world.step();
        }
    }
    Expected { signaled, messages, reads, writes }
}

fn check_sender(side: &mut Side, signaled: &[u64], reads: &[(u64, Vec<u8>)], seed: u64) {
    let (sent, others): (Vec<_>, Vec<_>) =
        side.completions.drain(..).partition(|completion| matches!(completion.outcome, Outcome::Sent { .. }));
    side.completions = others;
    let ids: Vec<u64> = sent.iter().map(|completion| completion.id).collect();
    assert_eq!(ids, signaled, "seed {seed}");
    for completion in sent {
        let Outcome::Sent { result, data } = completion.outcome else { unreachable!() };
        assert_eq!(result, Ok(()), "seed {seed}");
        if let (Some((_, expected)), Data::Memory(list)) =
            (reads.iter().find(|(id, _)| *id == completion.id), data)
        {
            assert!(list_bytes(&list) == *expected, "seed {seed}: read {}", completion.id);
        }
    }
}

fn check_receiver(side: &mut Side, messages: &[Vec<u8>], writes: &[(u32, Vec<u8>)], seed: u64) {
    let (received, others): (Vec<_>, Vec<_>) = side
        .completions
        .drain(..)
        .partition(|completion| matches!(completion.outcome, Outcome::Received { .. }));
    side.completions = others;
    assert_eq!(received.len(), messages.len(), "seed {seed}");
    for (at, (completion, expected)) in received.into_iter().zip(messages).enumerate() {
        assert_eq!(completion.id, 1000 + at as u64, "seed {seed}");
        let Outcome::Received { result, buffer } = completion.outcome else { unreachable!() };
        assert_eq!(result.unwrap().bytes as usize, expected.len(), "seed {seed}");
        let mut found = vec![0; expected.len()];
        buffer.read(0, &mut found).unwrap();
        assert!(found == *expected, "seed {seed}: message {at}");
    }
    let window = bytes_of(&side.windows.bound[0].2);
    for (offset, data) in writes {
        assert!(window[*offset as usize..][..data.len()] == *data, "seed {seed}: write at {offset}");
    }
}

#[test]
fn every_byte_arrives_once_and_in_order_at_every_mtu() {
    for seed in 0..60 {
        let counters = one_run(1, seed, NO_FAULTS);
        assert_eq!((counters.packets_resent, counters.timeouts), (0, 0), "seed {seed}");
    }
}

#[test]
fn every_byte_arrives_once_and_in_order_through_a_lossy_channel() {
    let mut resent = 0;
    for seed in 0..100 {
        resent += one_run(1, seed, Faults { lost: 1 + (seed as u32 % 10), ..NO_FAULTS }).packets_resent;
    }
    assert!(resent > 1000, "the channel lost nothing: {resent}");
}

#[test]
fn every_byte_arrives_once_and_in_order_through_a_bad_channel() {
    let mut out_of_order = 0;
    for seed in 0..150 {
        let (lost, repeated, late) = (seed as u32 % 7, seed as u32 % 11, seed as u32 % 30);
        out_of_order += one_run(1, seed, Faults { lost, repeated, late, ..NO_FAULTS }).out_of_order;
    }
    assert!(out_of_order > 1000, "the channel was in order: {out_of_order}");
}

#[test]
fn queue_pairs_that_share_windows_all_get_through() {
    for seed in 0..8 {
        assert_eq!(one_run(6, seed, NO_FAULTS).timeouts, 0, "seed {seed}: a window was never full for good");
    }
    for seed in 0..10 {
        one_run(6, seed, Faults { lost: 1 + (seed as u32 % 10), repeated: 1, ..NO_FAULTS });
    }
}

#[test]
fn a_receiver_that_is_slow_is_waited_for() {
    let mut naks = 0;
    for seed in 0..30 {
        let lost = seed as u32 % 4;
        naks += one_run(2, seed, Faults { lost, slow_receiver: true, ..NO_FAULTS }).naks_received;
    }
    assert!(naks > 50, "the receiver was always ready: {naks}");
}

/// 300 ms without a packet, and half a second would be the end.
#[test]
fn a_channel_that_comes_back_goes_on() {
    let mut timeouts = 0;
    for seed in 0..15 {
        let dark = (50 + seed * 3, 300_000);
        timeouts += one_run(2, seed, Faults { dark, lost: seed as u32 % 3, ..NO_FAULTS }).timeouts;
    }
    assert!(timeouts > 30, "it was never dark: {timeouts}");
}
