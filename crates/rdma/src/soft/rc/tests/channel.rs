//! Two queue pairs back to back, through a channel that loses, repeats and reorders packets.

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::*;

/// What the channel does to packets, in percent.
#[derive(Clone, Copy)]
struct Faults {
    lost: u32,
    repeated: u32,
    late: u32,
}

const NO_FAULTS: Faults = Faults { lost: 0, repeated: 0, late: 0 };
const DELAY_US: u64 = 5;
/// Nothing may take longer.
const END_US: u64 = 20_000_000;

struct World {
    sides: [Side; 2],
    /// Packets under way, each to one side.
    under_way: Vec<(Timestamp, usize, Sent)>,
    rng: SmallRng,
    faults: Faults,
    now: Timestamp,
}

impl World {
    fn new(mtu: PathMtu, seed: u64, faults: Faults, is_shared: bool) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed);
        // Close to the end of the numbers, so that they wrap.
        let psn = [Psn::new(0x00ff_fff0), Psn::new(rng.random())];
        let depth = rng.random_range(1..5);
        let side = |own: usize, peer: usize| {
            let mut side = Side::new(own as u32 + 2, if is_shared { None } else { Some(64) });
            side.queue_pair.connect(&Parameters {
                peer: qpn(peer as u32 + 2),
                send_psn: psn[own],
                expected_psn: psn[peer],
                mtu,
                ack_timeout: 14,
                rnr_timer: RnrTimer::new(1),
                responder_resources: depth,
                initiator_depth: depth,
                ..parameters()
            });
            side.queue_pair.establish();
            side
        };
        Self { sides: [side(0, 1), side(1, 0)], under_way: Vec::new(), rng, faults, now: us(0) }
    }

    fn percent(&mut self, percent: u32) -> bool {
        self.rng.random_range(0..100) < percent
    }

    fn transmit(&mut self) {
        for side in 0..2 {
            while self.sides[side].queue_pair.has_work() {
                let room = self.rng.random_range(1..40);
                let sent = self.sides[side].transmit_some(self.now, room);
                for packet in sent {
                    self.carry(1 - side, packet);
                }
                if self.sides[side].turn != Turn::Again {
                    break;
                }
            }
        }
    }

    fn carry(&mut self, to: usize, packet: Sent) {
        if self.percent(self.faults.lost) {
            return;
        }
        if self.percent(self.faults.repeated) {
            let later = self.rng.random_range(0..200);
            self.under_way.push((self.now.after_ns(later * 1000), to, packet.clone()));
        }
        let late = if self.percent(self.faults.late) { self.rng.random_range(0..100) } else { 0 };
        self.under_way.push((self.now.after_ns((DELAY_US + late) * 1000), to, packet));
    }

    /// The next thing happens: packets arrive, or a timer runs out. Says whether there was any.
    fn step(&mut self) -> bool {
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
            let event = self.sides[to].feed(now, packet.headers, &packet.payload);
            assert_eq!(event, None, "{:?}", packet.headers);
        }
        for side in &mut self.sides {
            if side.queue_pair.next_timeout().is_some_and(|at| at <= now) {
                assert_eq!(side.timeout(now), None);
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

fn one_run(seed: u64, mtu: PathMtu, faults: Faults) -> Counters {
    let mut world = World::new(mtu, seed, faults, seed.is_multiple_of(3));
    let pool = pool(120);
    let mut rng = SmallRng::seed_from_u64(seed ^ 0xabcd);
    let mut expectations = Vec::new();
    for side in 0..2 {
        let target = pattern(WINDOW_BYTES, seed as u32);
        world.sides[1 - side].bind(KEY, segment(&pool, &target), Rights::READ | Rights::WRITE);
        let script = script(&mut rng, &pool, mtu.bytes(), &target);
        for receive in 0..script.messages.len() as u64 {
            world.sides[1 - side].post_receive(1000 + receive, pool.take().unwrap());
        }
        let signaled: Vec<u64> =
            script.works.iter().filter(|work| work.signaled).map(|work| work.id).collect();
        // In batches, so that work is posted while other work is under way.
        let mut works = script.works.into_iter();
        while works.len() > 0 {
            let batch: Vec<_> = works.by_ref().take(rng.random_range(1..6)).collect();
            world.sides[side].post(batch);
            for _ in 0..rng.random_range(0..20) {
                world.step();
            }
        }
        expectations.push((signaled, script.messages, script.reads, script.writes));
    }
    world.run();
    for (side, (signaled, messages, reads, writes)) in expectations.into_iter().enumerate() {
        check_sender(&mut world.sides[side], &signaled, &reads, seed);
        check_receiver(&mut world.sides[1 - side], &messages, &writes, seed);
    }
    for side in &mut world.sides {
        assert!(side.completions.is_empty(), "seed {seed}: nothing completes twice");
        assert!(side.flow.is_idle() && side.reads.is_idle(), "seed {seed}: all windows were given back");
    }
    assert_eq!(pool.available(), 118, "seed {seed}: memory was let go, but for the windows");
    world.sides[0].counters
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
        let counters = one_run(seed, PathMtu::ALL[seed as usize % 5], NO_FAULTS);
        assert_eq!((counters.packets_resent, counters.timeouts), (0, 0), "seed {seed}");
    }
}

#[test]
fn every_byte_arrives_once_and_in_order_through_a_lossy_channel() {
    let mut resent = 0;
    for seed in 0..100 {
        let faults = Faults { lost: 1 + (seed as u32 % 10), ..NO_FAULTS };
        resent += one_run(seed, PathMtu::ALL[seed as usize % 5], faults).packets_resent;
    }
    assert!(resent > 1000, "the channel lost nothing: {resent}");
}

#[test]
fn every_byte_arrives_once_and_in_order_through_a_bad_channel() {
    let mut out_of_order = 0;
    for seed in 0..200 {
        let faults = Faults { lost: seed as u32 % 7, repeated: seed as u32 % 11, late: seed as u32 % 30 };
        out_of_order += one_run(seed, PathMtu::ALL[seed as usize % 5], faults).out_of_order;
    }
    assert!(out_of_order > 1000, "the channel was in order: {out_of_order}");
}
