//! What is read is what was written.

use nvme_spec::Lba;

use super::Subject;
use super::pattern::{self, Dice};
use super::rig::{Rig, bytes_of};
use crate::device::Abilities;
use crate::error::IoError;
use crate::request::{BlockRange, Op, Request};

const ZEROES: Op = Op::WriteZeroes { fua: false, may_unmap: false };

/// What completed on one queue is seen by every other.
pub fn read_your_writes(subject: &Subject) {
    let mut first = Rig::new(subject, 8);
    let mut second = first.beside(3);
    let blocks = first.blocks_max().min(16);
    for version in 1..20 {
        first.write(version, blocks, version);
        second.expect(version, blocks, version);
        second.write(version, blocks, 100 + version);
        first.expect(version, blocks, 100 + version);
    }
    let last = first.geometry().blocks - 1;
    first.write(last, 1, 7);
    second.expect(last, 1, 7);
}

/// Data in several segments, cut anywhere that the limits allow, in both directions.
pub fn scatter_lists_are_whole(subject: &Subject) {
    let mut rig = Rig::new(subject, 8);
    let mut dice = Dice::new(1);
    for version in 1..40 {
        let blocks = 1 + dice.below(rig.blocks_max().min(32));
        let range = BlockRange::new(Lba(dice.below(200)), blocks);
        let bytes = pattern::blocks(range.start.0, blocks, version, rig.block_bytes());
        let data = rig.scattered(&bytes, &mut dice);
        assert_eq!(rig.result(Op::Write { fua: false }, range, data), Ok(()), "{range:?}");
        rig.expect(range.start.0, blocks, version);
        let data = rig.scattered(&vec![0xdd; bytes.len()], &mut dice);
        let read = rig.run([Request::new(Op::Read, range, data)]).remove(0);
        assert_eq!(read.result, Ok(()), "{range:?}");
        assert!(!rig.keeps_data || bytes_of(&read.request.data) == bytes, "{range:?}");
    }
}

/// Reads and writes of the same blocks in flight: each block is old or new, never a third, and never a mixture unless the
/// subject says so.
pub fn overlaps_are_old_or_new(subject: &Subject) {
    let mut rig = Rig::new(subject, 32);
    let blocks = rig.blocks_max().min(16);
    let (range, size) = (BlockRange::new(Lba(5), blocks), rig.block_bytes());
    let unit = if subject.tears_overlaps { 1 } else { size };
    rig.write(5, blocks, 1);
    for version in (2..40).step_by(2) {
        let write = |rig: &Rig, version| {
            let data = rig.data(&pattern::blocks(5, blocks, version, size));
            Request::new(Op::Write { fua: false }, range, data)
        };
        let read = |rig: &Rig| Request::new(Op::Read, range, rig.data_for(Op::Read, blocks));
        let requests = [read(&rig), write(&rig, version), read(&rig), write(&rig, version + 1), read(&rig)];
        let done = rig.run(requests);
        let found = rig.read(5, blocks);
        let reads = done.iter().filter(|completion| completion.request.op == Op::Read);
        for bytes in reads.map(|completion| bytes_of(&completion.request.data)).chain([found]) {
            check_versions(&rig, &bytes, unit, (version - 2).max(1)..version + 2);
        }
    }
}

/// Each unit of bytes, a block or a part of one, is of one of the versions.
fn check_versions(rig: &Rig, bytes: &[u8], unit: usize, versions: std::ops::Range<u64>) {
    let size = rig.block_bytes();
    for (number, block) in (5u64..).zip(bytes.chunks(size)) {
        let known: Vec<_> = versions.clone().map(|version| pattern::block(number, version, size)).collect();
        let is_known = |at: usize| known.iter().any(|known| known[at..at + unit] == block[at..at + unit]);
        let all = (0..size).step_by(unit).all(is_known);
        assert!(all || !rig.keeps_data, "block {number} is of no version");
    }
}

/// Zeroed blocks read as zeroes, and their neighbours as before, with each flag.
pub fn zeroes_are_zero(subject: &Subject) {
    let mut rig = Rig::new(subject, 8);
    if !rig.has(ZEROES) {
        return;
    }
    for (fua, may_unmap) in [(false, false), (false, true), (true, false), (true, true)] {
        rig.write(3, rig.blocks_max().min(8), 1);
        let blocks = rig.geometry().limits.zeroes_blocks_max.min(rig.blocks_max().min(8) - 1).max(1);
        assert_eq!(rig.try_op(Op::WriteZeroes { fua, may_unmap }, 4, blocks), Ok(()));
        rig.expect(3, 1, 1);
        rig.expect(4, blocks.min(rig.blocks_max()), 0);
        rig.write(4 + blocks, 1, 1);
        rig.expect(4, blocks.min(rig.blocks_max()), 0);
    }
}

/// A discard leaves the neighbours alone; what it promises to zero is zero; the blocks can be written again.
pub fn discard_is_harmless(subject: &Subject) {
    let mut rig = Rig::new(subject, 8);
    if !rig.has(Op::Discard) {
        return;
    }
    for start in 3..6 {
        rig.write(start, 1, 1);
    }
    assert_eq!(rig.try_op(Op::Discard, 4, 1), Ok(()));
    rig.expect(3, 1, 1);
    rig.expect(5, 1, 1);
    if rig.device.abilities().contains(Abilities::DISCARD_ZEROES) {
        rig.expect(4, 1, 0);
    }
    rig.write(4, 1, 2);
    rig.expect(4, 1, 2);
}

/// Equal data compares, and one other byte in any block does not.
pub fn compare_tells(subject: &Subject) {
    let mut rig = Rig::new(subject, 8);
    if !rig.has(Op::Compare) || !rig.keeps_data {
        return;
    }
    let blocks = rig.blocks_max().min(4);
    rig.write(9, blocks, 1);
    let range = BlockRange::new(Lba(9), blocks);
    let same = pattern::blocks(9, blocks, 1, rig.block_bytes());
    let data = rig.data(&same);
    assert_eq!(rig.result(Op::Compare, range, data), Ok(()));
    for at in [0, same.len() / 2, same.len() - 1] {
        let mut other = same.clone();
        other[at] ^= 1;
        let data = rig.data(&other);
        assert_eq!(rig.result(Op::Compare, range, data), Err(IoError::Miscompare), "byte {at}");
    }
    rig.expect(9, blocks, 1);
}

/// A verify of readable blocks succeeds and changes nothing.
pub fn verify_reads(subject: &Subject) {
    let mut rig = Rig::new(subject, 8);
    if rig.has(Op::Verify) {
        rig.write(9, 1, 1);
        assert_eq!(rig.try_op(Op::Verify, 9, 1), Ok(()));
        rig.expect(9, 1, 1);
    }
}
