//! Random work, checked against a model.

use std::collections::HashMap;

use dma::ScatterList;
use nvme_spec::Lba;

use super::Subject;
use super::pattern::{self, Dice};
use super::rig::{Rig, bytes_of};
use crate::device::Abilities;
use crate::error::IoError;
use crate::queue::Completion;
use crate::request::{BlockRange, Op, Request};

/// Blocks that the work is done on.
const BLOCKS: u64 = 240;

/// Batches of requests, each on blocks of its own.
const ROUNDS: u64 = 60;

/// Requests of a batch.
const BATCH: u64 = 12;

/// Blocks with a known content: version by block. Version 0 is zeroes; a block that is not there may hold anything.
type Model = HashMap<u64, u64>;

/// Batches of requests on disjoint blocks; each result and all data must be what the model says.
pub fn random_work_matches_a_model(subject: &Subject) {
    let mut rig = Rig::new(subject, 8);
    let mut dice = Dice::new(2);
    let mut model = Model::new();
    for round in 1..=ROUNDS {
        let plan = plan(&rig, &mut dice);
        let requests: Vec<_> = plan
            .iter()
            .enumerate()
            .map(|(at, (op, range))| {
                request(&rig, &model, &mut dice, (*op, *range), round).with_tag(at as u64)
            })
            .collect();
        let done = rig.run(requests);
        assert_eq!(done.len(), plan.len(), "round {round}");
        for completion in &done {
            check(&rig, &model, completion, round);
        }
        for completion in &done {
            apply(&rig, &mut model, completion, round);
        }
    }
}

/// Operations on disjoint ranges.
fn plan(rig: &Rig, dice: &mut Dice) -> Vec<(Op, BlockRange)> {
    let stride = BLOCKS / BATCH;
    let mut plan = Vec::new();
    for slot in 0..BATCH {
        let op = operation(dice);
        let most = stride.min(rig.blocks_max());
        let blocks = 1 + dice.below(most);
        let range = BlockRange::new(Lba(slot * stride + dice.below(stride - blocks + 1)), blocks);
        if rig.has(op) && fits_limits(rig, op, blocks) {
            plan.push((op, if op.has_range() { range } else { BlockRange::default() }));
        }
    }
    plan
}

fn fits_limits(rig: &Rig, op: Op, blocks: u64) -> bool {
    let limits = rig.geometry().limits;
    match op {
        Op::WriteZeroes { .. } => blocks <= limits.zeroes_blocks_max,
        Op::Discard => blocks <= limits.discard_blocks_max,
        _ => true,
    }
}

fn operation(dice: &mut Dice) -> Op {
    match dice.below(12) {
        0..4 => Op::Read,
        4..7 => Op::Write { fua: false },
        7 => Op::Write { fua: true },
        8 => Op::WriteZeroes { fua: dice.below(2) == 0, may_unmap: dice.below(2) == 0 },
        9 => Op::Discard,
        10 => Op::Compare,
        _ => Op::Flush,
    }
}

fn request(rig: &Rig, model: &Model, dice: &mut Dice, (op, range): (Op, BlockRange), round: u64) -> Request {
    let size = rig.block_bytes();
    let numbers = range.start.0..range.start.0 + range.blocks;
    let bytes: Vec<u8> = match op {
        Op::Read => vec![0xcc; range.blocks as usize * size],
        Op::Write { .. } => pattern::blocks(range.start.0, range.blocks, round, size),
        Op::Compare => {
            let version = |number| model.get(&number).copied().unwrap_or(u64::MAX >> 24);
            numbers.flat_map(|number| pattern::block(number, version(number), size)).collect()
        }
        _ => Vec::new(),
    };
    let data = if bytes.is_empty() { ScatterList::default() } else { rig.scattered(&bytes, dice) };
    Request::new(op, range, data)
}

fn check(rig: &Rig, model: &Model, completion: &Completion, round: u64) {
    let Request { op, range, data, .. } = &completion.request;
    let numbers = range.start.0..range.start.0 + range.blocks;
    let known = numbers.clone().all(|number| model.contains_key(&number));
    let miscompared = *op == Op::Compare && completion.result == Err(IoError::Miscompare);
    let may_differ = miscompared && (!known || !rig.keeps_data);
    assert!(completion.result == Ok(()) || may_differ, "round {round}: {:?}", completion);
    if *op == Op::Read && rig.keeps_data {
        for (number, found) in numbers.zip(bytes_of(data).chunks(rig.block_bytes())) {
            let wanted = model.get(&number).map(|version| pattern::block(number, *version, found.len()));
            assert!(wanted.is_none_or(|wanted| wanted == found), "round {round}: block {number}");
        }
    }
}

fn apply(rig: &Rig, model: &mut Model, completion: &Completion, round: u64) {
    let Request { op, range, .. } = &completion.request;
    let zeroes = rig.device.abilities().contains(Abilities::DISCARD_ZEROES);
    for number in range.start.0..range.start.0 + range.blocks {
        match op {
            Op::Write { .. } => model.insert(number, round),
            Op::WriteZeroes { .. } => model.insert(number, 0),
            Op::Discard if zeroes => model.insert(number, 0),
            Op::Discard => model.remove(&number),
            _ => None,
        };
    }
}
