//! Which blocks of a file hold data, by SEEK_DATA and SEEK_HOLE.

use nvme_spec::Lba;
use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

use super::shared::{Kind, Shared};
use crate::device::{Extent, ExtentKind};
use crate::error::ExtentsError;
use crate::request::BlockRange;

/// The extents of a range, at most [`Extent::COUNT_MAX`]. A block that holds any data is data.
///
/// The descriptor's position moves, which nobody else uses: all I/O names its offset.
pub(super) fn of(shared: &Shared, range: BlockRange) -> Result<Vec<Extent>, ExtentsError> {
    if shared.kind == Kind::BlockDevice {
        return Err(ExtentsError::NotSupported);
    }
    if !range.fits(shared.geometry().blocks) {
        return Err(ExtentsError::Range);
    }
    let shift = shared.block_size.shift();
    let end = range.start.0 + range.blocks;
    let (mut at, mut extents) = (range.start.0, Vec::new());
    while at < end && extents.len() < Extent::COUNT_MAX {
        let data = match seek(&shared.file, SeekFrom::Data(at << shift)) {
            Ok(offset) => (offset >> shift).clamp(at, end),
            // No data behind this, up to the end of the file.
            Err(Errno::NXIO) => end,
            Err(error) => return Err(ExtentsError::Os(error.into())),
        };
        let (kind, next) = if data > at {
            (ExtentKind::Hole, data)
        } else {
            (ExtentKind::Data, end_of_data(shared, at)?.clamp(at + 1, end))
        };
        push(&mut extents, Extent { range: BlockRange::new(Lba(at), next - at), kind });
        at = next;
    }
    Ok(extents)
}

/// The first block after `at` that is wholly hole.
fn end_of_data(shared: &Shared, at: u64) -> Result<u64, ExtentsError> {
    let block_bytes = u64::from(shared.block_size.bytes());
    match seek(&shared.file, SeekFrom::Hole(at << shared.block_size.shift())) {
        Ok(offset) => Ok(offset.div_ceil(block_bytes)),
        // The file became shorter meanwhile.
        Err(Errno::NXIO) => Ok(at + 1),
        Err(error) => Err(ExtentsError::Os(error.into())),
    }
}

/// Adds an extent, to the last one if they are of one kind: a hole inside one block makes two stretches of data meet.
fn push(extents: &mut Vec<Extent>, extent: Extent) {
    match extents.last_mut() {
        Some(last) if last.kind == extent.kind => last.range.blocks += extent.range.blocks,
        _ => extents.push(extent),
    }
}
