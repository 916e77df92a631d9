//! Where a request must be cut. No I/O.

use dma::{ScatterList, Segment};

use crate::error::InvalidRequest;
use crate::geometry::{Geometry, Limits};
use crate::request::{Op, Request};

/// Whether the device takes a request as it is. Cheap for one segment.
#[inline]
pub(super) fn needs_cut(request: &Request, geometry: &Geometry) -> bool {
    if !request.op.has_range() {
        return false;
    }
    let limits = &geometry.limits;
    request.range.blocks > blocks_max(request.op, limits)
        || crosses_boundary(request, limits.boundary_blocks)
        || has_too_many_segments(&request.data, limits)
}

/// Blocks of the next piece, which begins `done` blocks into the request: at least one, at most what is left.
pub(super) fn next_piece(request: &Request, done: u64, geometry: &Geometry) -> Result<u64, InvalidRequest> {
    let limits = &geometry.limits;
    let left = request.range.blocks - done;
    let mut blocks = left.min(blocks_max(request.op, limits));
    if request.op.has_data() {
        blocks = blocks.min(to_boundary(request.range.start.0 + done, limits.boundary_blocks));
        blocks = blocks.min(addressable(&request.data, done, geometry)?);
    }
    Ok(blocks)
}

/// Checks before anything is done that all pieces will be possible.
pub(super) fn check_pieces(request: &Request, geometry: &Geometry) -> Result<(), InvalidRequest> {
    // One segment can be cut anywhere.
    if request.data.segments().len() > 1 {
        let mut done = 0;
        while done < request.range.blocks {
            done += next_piece(request, done, geometry)?;
        }
    }
    Ok(())
}

/// At least 1, whatever a device says: pieces of nothing would never end.
#[inline]
fn blocks_max(op: Op, limits: &Limits) -> u64 {
    let most = match op {
        Op::WriteZeroes { .. } => limits.zeroes_blocks_max,
        Op::Discard => limits.discard_blocks_max,
        _ => u64::from(limits.transfer_blocks_max),
    };
    most.max(1)
}

/// The boundary matters to requests that move data.
#[inline]
fn crosses_boundary(request: &Request, boundary_blocks: u32) -> bool {
    request.op.has_data() && request.range.blocks > to_boundary(request.range.start.0, boundary_blocks)
}

fn to_boundary(start: u64, boundary_blocks: u32) -> u64 {
    match u64::from(boundary_blocks) {
        0 => u64::MAX,
        boundary => boundary - start % boundary,
    }
}

#[inline]
fn has_too_many_segments(data: &ScatterList, limits: &Limits) -> bool {
    match data.segments() {
        // Nearly every request.
        [] | [_] => false,
        segments => {
            segments.len() > usize::from(limits.segments_max)
                || segments.windows(2).any(|pair| !may_meet(&pair[0], &pair[1], limits))
        }
    }
}

/// Whether two segments may follow each other in one request.
fn may_meet(before: &Segment, after: &Segment, limits: &Limits) -> bool {
    let seam = u64::from(limits.seam_alignment);
    let end = before.region_offset() + u64::from(before.bytes());
    end.is_multiple_of(seam) && after.region_offset().is_multiple_of(seam)
}

/// Whole blocks from `done` on that one request can address.
fn addressable(data: &ScatterList, done: u64, geometry: &Geometry) -> Result<u64, InvalidRequest> {
    let limits = &geometry.limits;
    let (index, skip) = segment_at(data.segments(), done << geometry.block_size.shift());
    let mut segments = data.segments()[index..].iter();
    let mut before = segments.next().ok_or(InvalidRequest::DataLength)?;
    if !(before.region_offset() + skip).is_multiple_of(u64::from(limits.segment_alignment)) {
        return Err(InvalidRequest::Segments);
    }
    let mut bytes = u64::from(before.bytes()) - skip;
    for segment in segments.take(usize::from(limits.segments_max.saturating_sub(1))) {
        if !may_meet(before, segment, limits) {
            break;
        }
        bytes += u64::from(segment.bytes());
        before = segment;
    }
    match bytes >> geometry.block_size.shift() {
        // A block whose own segments are too many, or meet where they may not.
        0 => Err(InvalidRequest::Segments),
        blocks => Ok(blocks),
    }
}

/// Which segment holds a byte of the data, and how far into it.
fn segment_at(segments: &[Segment], offset: u64) -> (usize, u64) {
    let mut skip = offset;
    for (index, segment) in segments.iter().enumerate() {
        if skip < u64::from(segment.bytes()) {
            return (index, skip);
        }
        skip -= u64::from(segment.bytes());
    }
    (segments.len(), skip)
}
