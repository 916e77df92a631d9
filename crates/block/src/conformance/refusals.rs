//! What a device must refuse, and what it must not.

use dma::ScatterList;
use nvme_spec::Lba;

use super::Subject;
use super::rig::{CHUNK_BYTES, Rig, pool};
use crate::device::Abilities;
use crate::error::{InvalidRequest, IoError};
use crate::request::{BlockRange, Op, Request};

/// Every operation with a range.
const RANGED: [Op; 6] = [
    Op::Read,
    Op::Write { fua: false },
    Op::WriteZeroes { fua: false, may_unmap: true },
    Op::Discard,
    Op::Compare,
    Op::Verify,
];

/// Those that the device offers.
fn offered(rig: &Rig) -> Vec<Op> {
    RANGED.into_iter().filter(|op| rig.has(*op)).collect()
}

/// Limits are at least 1, alignments powers of two, and the shape does not change by looking at it.
pub fn geometry_is_sound(subject: &Subject) {
    let rig = Rig::new(subject, 4);
    let geometry = rig.geometry();
    let limits = geometry.limits;
    assert!(geometry.blocks >= 256, "the suite needs 256 blocks");
    assert!(
        limits.transfer_blocks_max >= 1 && limits.zeroes_blocks_max >= 1 && limits.discard_blocks_max >= 1
    );
    assert!(limits.segments_max >= 1 && geometry.atomic_blocks >= 1);
    assert!(limits.segment_alignment.is_power_of_two() && limits.seam_alignment.is_power_of_two());
    assert_eq!(rig.geometry(), geometry);
    assert_eq!(rig.device.identity(), rig.device.identity());
    assert!(!rig.device.name().is_empty());
    let writing = Abilities::WRITE_ZEROES | Abilities::DISCARD | Abilities::DISCARD_ZEROES;
    let abilities = rig.device.abilities();
    assert!(abilities.contains(Abilities::WRITE) || !abilities.intersects(writing), "{abilities:?}");
}

/// The first and the last block are there; nothing is behind the end, and 64 bits do not overflow.
pub fn boundaries_are_kept(subject: &Subject) {
    let mut rig = Rig::new(subject, 4);
    let blocks = rig.geometry().blocks;
    let outside = [
        (0, 0),
        (blocks - 1, 0),
        (blocks, 0),
        (blocks - 1, 2),
        (blocks, 1),
        (u64::MAX, 1),
        (u64::MAX - 1, 2),
        (u64::MAX, 2),
    ];
    for op in offered(&rig) {
        for (start, count) in outside {
            let refused = Err(IoError::Invalid(InvalidRequest::Range));
            assert_eq!(rig.try_op(op, start, count), refused, "{op:?} of {start}+{count} in {blocks}");
        }
        for start in [0, blocks - 1] {
            let result = rig.try_op(op, start, 1);
            assert!(matches!(result, Ok(()) | Err(IoError::Miscompare)), "{op:?} of {start}: {result:?}");
        }
        let huge = BlockRange::new(Lba(1), u64::MAX);
        let data = rig.data_for(op, 1);
        assert_eq!(rig.result(op, huge, data), Err(IoError::Invalid(InvalidRequest::Range)), "{op:?}");
    }
}

/// Too little data, too much, none, and some where none belongs.
pub fn data_is_as_long_as_the_range(subject: &Subject) {
    let mut rig = Rig::new(subject, 4);
    let block = rig.block_bytes();
    for op in offered(&rig) {
        let wrong =
            if op.has_data() { vec![0, block, 3 * block, 2 * block - 4] } else { vec![block, 2 * block] };
        for bytes in wrong {
            let data = if bytes == 0 { ScatterList::default() } else { rig.data(&vec![0; bytes]) };
            let result = rig.result(op, BlockRange::new(Lba(1), 2), data);
            assert_eq!(result, Err(IoError::Invalid(InvalidRequest::DataLength)), "{op:?} with {bytes}");
        }
    }
}

/// What is among the abilities works, and what is not is refused with the right word.
pub fn abilities_are_honest(subject: &Subject) {
    let mut rig = Rig::new(subject, 4);
    let fua = [Op::Write { fua: true }, Op::WriteZeroes { fua: true, may_unmap: false }];
    for op in RANGED.into_iter().chain(fua) {
        let expected = rig.device.abilities().check(op);
        let result = rig.try_op(op, 2, 1);
        let miscompared = op == Op::Compare && result == Err(IoError::Miscompare);
        assert!(
            result == expected || (miscompared && expected.is_ok()),
            "{op:?}: {result:?}, not {expected:?}"
        );
    }
    let extents = rig.device.extents(BlockRange::new(Lba(0), 16));
    assert_eq!(extents.is_ok(), rig.device.abilities().contains(Abilities::EXTENTS));
    let covered: u64 = extents.iter().flatten().map(|extent| extent.range.blocks).sum();
    assert!(extents.is_err() || covered > 0);
}

/// One block more than a request may have.
pub fn requests_beyond_the_limits_are_refused(subject: &Subject) {
    let mut rig = Rig::new(subject, 4);
    let geometry = rig.geometry();
    let refused = Err(IoError::Invalid(InvalidRequest::TooLarge));
    let transfer = u64::from(geometry.limits.transfer_blocks_max);
    if transfer < geometry.blocks && transfer < u64::from(CHUNK_BYTES >> geometry.block_size.shift()) {
        assert_eq!(rig.try_op(Op::Read, 0, transfer + 1), refused);
    }
    let zeroes = Op::WriteZeroes { fua: false, may_unmap: true };
    for (op, most) in
        [(zeroes, geometry.limits.zeroes_blocks_max), (Op::Discard, geometry.limits.discard_blocks_max)]
    {
        if rig.has(op) && most < geometry.blocks {
            assert_eq!(rig.try_op(op, 0, most + 1), refused, "{op:?}");
        }
    }
}

/// Memory must be attached before it is used; attaching it twice is no error.
pub fn unattached_memory_is_refused(subject: &Subject) {
    let mut rig = Rig::new(subject, 4);
    let foreign = pool();
    let block = rig.geometry().block_size.bytes();
    let list = || {
        let mut buffer = foreign.take().unwrap();
        buffer.truncate(block);
        ScatterList::from(buffer.into_segment())
    };
    let read = |data| Request::new(Op::Read, BlockRange::new(Lba(0), 1), data);
    let refused = rig.run([read(list())]).remove(0);
    assert_eq!(refused.result, Err(IoError::Invalid(InvalidRequest::NotAttached)));
    assert_eq!(refused.request.data.bytes(), u64::from(block), "the memory comes back");
    for _ in 0..2 {
        rig.device.attach_memory(foreign.region()).unwrap();
        assert_eq!(rig.run([read(list())]).remove(0).result, Ok(()));
    }
}
