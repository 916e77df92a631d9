//! Many faults at once, by seed: every request ends once, every read is legal, nothing leaks, and after healing the
//! device works again. `CHAOS_SEED=n cargo test -p nvme-driver --test chaos` repeats one run.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::cast_possible_truncation, reason = "tests")]

mod rig;

use std::collections::BTreeSet;
use std::time::Duration;

use block::{BlockQueue, BlockRange, Completion, IoError, Lba, Op, WakeMode};
use nvme_model::{
    Action, CommandFault, ControllerOptions, Corruption, Fault, FaultRule, LifeFault, Moment, Phase, Queues,
};
use nvme_spec::{Status, StatusCode};
use rig::{BLOCK_BYTES, NSID, Random, Rig, driver_options};

const SEEDS: u64 = 250;
const BLOCKS: u64 = 32;
const STEPS: u64 = 250;

/// What a block may hold. A write that failed may have been done or not; one whose memory was withheld may yet be done,
/// so its block is left alone.
#[derive(Default, Clone)]
struct Block {
    possible: BTreeSet<u64>,
    busy: bool,
    haunted: bool,
}

struct World {
    blocks: Vec<Block>,
    outstanding: BTreeSet<u64>,
    next_tag: u64,
    ended: [u64; 5],
}

fn stamp(at: u64, version: u64) -> u64 {
    at << 32 | version
}

impl World {
    fn new() -> Self {
        let fresh = Block { possible: BTreeSet::from([0]), ..Block::default() };
        Self {
            blocks: vec![fresh; BLOCKS as usize],
            outstanding: BTreeSet::new(),
            next_tag: 0,
            ended: [0; 5],
        }
    }

    fn submit(&mut self, rig: &mut Rig, random: &mut Random) {
        self.next_tag += 1;
        let at = random.below(BLOCKS);
        let block = &mut self.blocks[at as usize];
        let op = match random.below(10) {
            0 => Op::Flush,
            1..=4 => Op::Read,
            _ => Op::Write { fua: random.one_in(4) },
        };
        if op != Op::Flush && (block.busy || block.haunted) {
            return;
        }
        let mut request = rig.request(Op::Flush, 0, 0, 0).with_tag(self.next_tag);
        request.op = op;
        if op != Op::Flush {
            block.busy = true;
            let mut buffer = rig.buffer(1, 0xee);
            if op != Op::Read {
                block.possible.insert(self.next_tag);
                let word = stamp(at, self.next_tag).to_le_bytes();
                buffer.write(0, &word.repeat(BLOCK_BYTES as usize / 8)).unwrap();
            }
            request.range = BlockRange::new(Lba(at), 1);
            request.data = buffer.into_segment().into();
        }
        if random.one_in(4) {
            request.deadline = rig.now.after(Duration::from_millis(1 + random.below(4000)));
        }
        self.outstanding.insert(self.next_tag);
        rig.submit(request);
    }

    fn end(&mut self, completion: &Completion) {
        let request = &completion.request;
        assert!(self.outstanding.remove(&request.tag), "request {} ended twice", request.tag);
        let kind = match completion.result {
            Ok(()) => 0,
            Err(IoError::TimedOut) => 1,
            Err(IoError::Reset) => 2,
            Err(IoError::Gone) => 3,
            Err(_) => 4,
        };
        self.ended[kind] += 1;
        if request.op == Op::Flush {
            return;
        }
        let at = request.range.start.0;
        let block = &mut self.blocks[at as usize];
        block.busy = false;
        let is_write = request.op != Op::Read;
        block.haunted |= is_write && request.data.bytes() == 0;
        match completion.result {
            Ok(()) if is_write => block.possible = BTreeSet::from([request.tag]),
            Ok(()) => {
                let mut bytes = vec![0; BLOCK_BYTES as usize];
                request.data.read(0, &mut bytes).unwrap();
                let word = u64::from_le_bytes(bytes[..8].try_into().unwrap());
                assert!(bytes.chunks(8).all(|chunk| chunk == word.to_le_bytes()), "block {at} is torn");
                let version = word & 0xffff_ffff;
                assert!(version == 0 || word >> 32 == at, "block {at} holds another's data");
                assert!(
                    block.possible.contains(&version),
                    "block {at} holds {version}, not {:?}",
                    block.possible
                );
            }
            Err(_) => {}
        }
    }
}

fn faults(random: &mut Random) -> Fault {
    let status = Status::new(random.pick(&[
        StatusCode::INTERNAL_ERROR,
        StatusCode::UNRECOVERED_READ_ERROR,
        StatusCode::WRITE_FAULT,
        StatusCode::NAMESPACE_NOT_READY,
    ]));
    let executed = random.one_in(2);
    let phase = random.pick(&Phase::ALL);
    let fault = match random.below(12) {
        0 => CommandFault::NeverFetched,
        1 => CommandFault::Late { ns: random.below(100_000_000), executed },
        2 => CommandFault::Late { ns: random.below(40_000_000_000), executed },
        3 => CommandFault::Lost { executed },
        4 | 5 => CommandFault::Fail { status, executed },
        6 => CommandFault::Reordered { behind: 1 + random.below(4) as u32 },
        7 => CommandFault::Corrupt(random.pick(&[
            Corruption::UnknownCid,
            Corruption::WrongSqid,
            Corruption::Duplicate,
            Corruption::SqheadOutside,
        ])),
        8 => CommandFault::InterruptLost,
        9 => CommandFault::Ignored,
        10 => CommandFault::Act { action: Action::Fatal, phase },
        _ => {
            let fault = if random.one_in(4) {
                LifeFault::Stuck
            } else {
                LifeFault::Slow { ns: random.below(5_000_000_000) }
            };
            return Fault::Life { moment: random.pick(&[Moment::Enable, Moment::Disable]), fault };
        }
    };
    let queues = if random.one_in(5) { Queues::Admin } else { Queues::Io };
    Fault::Command { queues, opcode: None, fault }
}

/// How requests ended, and whether the controller survived.
fn run(seed: u64) -> ([u64; 5], bool) {
    let mut random = Random(seed);
    let model = ControllerOptions {
        latency_ns: random.below(3) * 20_000,
        doorbell_buffer: random.one_in(2),
        ..ControllerOptions::default()
    };
    let mut rig = Rig::cold(model, driver_options());
    rig.run_until("live", |rig| rig.controller.state() == "live");
    rig.open_queue(random.pick(&[WakeMode::Polled, WakeMode::Interrupt]));
    rig.ssd().seed_faults(seed);
    for _ in 0..1 + random.below(6) {
        let rule = FaultRule { times: 1 + random.below(4) as u32, ..FaultRule::always(faults(&mut random)) };
        rig.ssd().inject(rule.with_chance(5_000 + random.below(60_000) as u32)).unwrap();
    }
    let mut world = World::new();
    for _ in 0..STEPS {
        if !random.one_in(3) && rig.queue.as_ref().unwrap().in_flight() < 16 {
            world.submit(&mut rig, &mut random);
        }
        let step_ns_max = if random.one_in(20) { 2_000_000_000 } else { 200_000 };
        rig.advance(Duration::from_nanos(random.below(step_ns_max)));
        match random.below(3) {
            0 => drop(rig.ssd.step(rig.now)),
            1 => drop(rig.controller.step(rig.now)),
            _ => rig.work(),
        }
        rig.poll();
        rig.completions.drain(..).for_each(|completion| world.end(&completion));
    }
    rig.ssd().heal();
    // Every command has its end: the longest fault, a command timeout, an abort and a few resets away.
    rig.run_for(Duration::from_secs(120));
    rig.completions.drain(..).for_each(|completion| world.end(&completion));
    let survived = rig.controller.state() == "live";
    assert!(survived || rig.controller.epitaph().is_some(), "seed {seed}: {}", rig.controller.state());
    assert_eq!(rig.queue.as_ref().unwrap().in_flight(), 0, "seed {seed}");
    assert!(world.outstanding.is_empty() || !survived, "seed {seed}: {:?} never ended", world.outstanding);
    rig.requests.clear();
    if survived {
        rig.check_works(0x99);
        assert_eq!(rig.controller.controller().namespaces(), [NSID]);
    }
    rig.check_sane();
    rig.queue = None;
    rig.run_for(Duration::from_secs(1));
    rig.check_no_leak();
    (world.ended, survived)
}

#[test]
fn whatever_goes_wrong_every_request_ends_once_and_the_device_heals() {
    if let Ok(seed) = std::env::var("CHAOS_SEED") {
        run(seed.parse().expect("a number in CHAOS_SEED"));
        return;
    }
    let (mut ended, mut survivors) = ([0; 5], 0);
    for seed in 0..SEEDS {
        let (counts, survived) = run(seed);
        ended.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
        survivors += u64::from(survived);
    }
    let [done, timed_out, reset, gone, failed] = ended;
    println!(
        "{SEEDS} runs, {survivors} controllers survived: {done} done, {timed_out} timed out, {reset} reset, {gone} gone, {failed} failed"
    );
    assert!(
        ended[..3].iter().chain(&ended[4..]).all(|count| *count > 0),
        "every kind of end was reached: {ended:?}"
    );
    assert!(survivors > SEEDS * 3 / 4, "few controllers are given up: {survivors} of {SEEDS} survived");
}
