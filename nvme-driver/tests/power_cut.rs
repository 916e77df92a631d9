//! What was flushed survives a power cut, through the driver and the software SSD, on a medium that loses whatever was
//! not synced. Killing a process proves nothing of the kind: the page cache survives it.
//!
//! Each seed is one run of random writes, FUA writes and flushes that ends at a random step. A failure prints
//! its seed; `POWER_CUT_SEED=n cargo test -p nvme-driver --test power_cut` repeats it alone.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::cast_possible_truncation, reason = "tests")]

mod rig;

use std::collections::BTreeMap;
use std::time::Duration;

use block::{Completion, Lba, Op};
use nvme_model::{ControllerOptions, Media, RecordingMedia};
use rig::{BLOCK_BYTES, Random, Rig, driver_options};

const SEEDS: u64 = 3000;
/// Blocks that the run writes: few, so that they are written again and again.
const BLOCKS: u64 = 24;
const STEPS_MAX: u64 = 120;
const IN_FLIGHT_MAX: usize = 6;

/// What is known of one block. Versions count up with every write to it; version 0 is the zeroes of the beginning.
#[derive(Clone, Copy, Default)]
struct Block {
    submitted: u64,
    completed: u64,
    /// At least this version survives.
    durable: u64,
    busy: bool,
}

#[derive(Default)]
struct Oracle {
    blocks: [Block; BLOCKS as usize],
    /// What each flush in flight covers.
    flushes: BTreeMap<u64, Vec<u64>>,
    next_tag: u64,
    durable_ends: u64,
}

fn range_of(start: u64, blocks: u64) -> std::ops::Range<usize> {
    start as usize..(start + blocks) as usize
}

impl Oracle {
    fn submit_flush(&mut self) -> u64 {
        self.next_tag += 1;
        self.flushes.insert(self.next_tag, self.blocks.iter().map(|block| block.completed).collect());
        self.next_tag
    }

    /// `None` if a block is being written: overlapping writes have no order.
    fn submit_write(&mut self, start: u64, blocks: u64) -> Option<Vec<u64>> {
        let range = &mut self.blocks[range_of(start, blocks)];
        if range.iter().any(|block| block.busy) {
            return None;
        }
        let versions = range.iter_mut().map(|block| {
            block.busy = true;
            block.submitted += 1;
            block.submitted
        });
        Some(versions.collect())
    }

    fn complete(&mut self, completion: &Completion) {
        assert_eq!(completion.result, Ok(()));
        let request = &completion.request;
        if request.op == Op::Flush {
            self.durable_ends += 1;
            let covered = self.flushes.remove(&request.tag).unwrap();
            for (block, version) in self.blocks.iter_mut().zip(covered) {
                block.durable = block.durable.max(version);
            }
            return;
        }
        let is_durable = request.op == Op::Write { fua: true };
        self.durable_ends += u64::from(is_durable);
        for block in &mut self.blocks[range_of(request.range.start.0, request.range.blocks)] {
            block.busy = false;
            block.completed = block.submitted;
            block.durable = if is_durable { block.submitted } else { block.durable };
        }
    }

    /// Each block of what the cut left is whole, of its own place, and no older than what was durable.
    fn check(&self, image: &mut impl Media, seed: u64) {
        for (at, block) in (0u64..).zip(&self.blocks) {
            let mut bytes = vec![0; BLOCK_BYTES as usize];
            image.read(at, &mut bytes).unwrap();
            let stamp = u64::from_le_bytes(bytes[..8].try_into().unwrap());
            let (place, version) = (stamp >> 32, stamp & 0xffff_ffff);
            assert!(
                bytes.chunks(8).all(|chunk| chunk == stamp.to_le_bytes()),
                "seed {seed}: block {at} is torn"
            );
            assert!(
                version == 0 || place == at,
                "seed {seed}: block {at} holds what belongs to block {place}"
            );
            assert!(
                (block.durable..=block.submitted).contains(&version),
                "seed {seed}: block {at} holds version {version}; {} was durable, {} is the newest",
                block.durable,
                block.submitted
            );
        }
    }
}

fn stamp(rig: &Rig, start: u64, versions: &[u64]) -> dma::ScatterList {
    let mut buffer = rig.buffer(versions.len() as u32, 0);
    for ((at, block), version) in (0u32..).zip(start..).zip(versions) {
        let word = (block << 32 | version).to_le_bytes();
        buffer.write(at * BLOCK_BYTES, &word.repeat(BLOCK_BYTES as usize / 8)).unwrap();
    }
    buffer.into_segment().into()
}

fn submit_one(rig: &mut Rig, oracle: &mut Oracle, random: &mut Random) {
    if random.one_in(8) {
        let tag = oracle.submit_flush();
        let flush = rig.request(Op::Flush, 0, 0, 0).with_tag(tag);
        return rig.submit(flush);
    }
    let blocks = 1 + random.below(4);
    let start = random.below(BLOCKS - blocks + 1);
    let Some(versions) = oracle.submit_write(start, blocks) else { return };
    let mut write = rig.request(Op::Flush, 0, 0, 0);
    write.op = Op::Write { fua: random.one_in(6) };
    write.range = block::BlockRange::new(Lba(start), blocks);
    write.data = stamp(rig, start, &versions);
    rig.submit(write);
}

/// How many flushes and FUA writes were acknowledged before the cut.
fn run(seed: u64) -> u64 {
    let mut random = Random(seed);
    let atomic = 1 + random.below(4) as u16;
    let model = ControllerOptions {
        latency_ns: random.below(3) * 10_000,
        volatile_write_cache: !random.one_in(8),
        ..ControllerOptions::default()
    };
    let media = RecordingMedia::new(BLOCK_BYTES, BLOCKS, atomic);
    let mut rig = Rig::cold_on(media.clone(), model, driver_options());
    rig.come_up();
    let mut oracle = Oracle::default();
    for _ in 0..1 + random.below(STEPS_MAX) {
        let in_flight = rig.queue.as_ref().map_or(0, block::BlockQueue::in_flight);
        if in_flight + rig.requests.len() < IN_FLIGHT_MAX && !random.one_in(3) {
            submit_one(&mut rig, &mut oracle, &mut random);
        }
        // The device gets a few commands' time, or none: the cut finds everything half done.
        if random.one_in(2) {
            rig.advance(Duration::from_micros(random.below(20)));
            rig.ssd.step(rig.now);
        }
        rig.poll();
        rig.completions.drain(..).for_each(|completion| oracle.complete(&completion));
    }
    for cut in 0..4 {
        oracle.check(&mut media.power_cut(seed * 31 + cut), seed);
    }
    oracle.durable_ends
}

#[test]
fn what_was_flushed_survives_a_power_cut() {
    if let Ok(seed) = std::env::var("POWER_CUT_SEED") {
        run(seed.parse().expect("a number in POWER_CUT_SEED"));
        return;
    }
    let durable_ends: u64 = (0..SEEDS).map(run).sum();
    assert!(durable_ends > SEEDS, "most runs acknowledged flushes or FUA writes: {durable_ends}");
    println!(
        "{SEEDS} runs cut four times each; {durable_ends} flushes and FUA writes were acknowledged before"
    );
}
