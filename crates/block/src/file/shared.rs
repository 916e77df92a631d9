//! What the queues of a file share.

use std::fs::File;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{SeekFrom, fstat, seek};

use super::job::Learned;
use super::submission::SEGMENTS_MAX;
use crate::attached::AttachedRegions;
use crate::device::Abilities;
use crate::error::{InvalidRequest, IoError};
use crate::geometry::{BlockSize, Geometry, Limits, WriteCache};
use crate::request::Request;

/// Most bytes of one read or write: far below the kernel's 2 GiB, so that a deadline means something.
const TRANSFER_BYTES_MAX: u32 = 64 << 20;

/// What a path leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Regular,
    BlockDevice,
}

/// An open file and what is known about it.
pub(super) struct Shared {
    pub(super) name: String,
    pub(super) file: File,
    pub(super) kind: Kind,
    pub(super) block_size: BlockSize,
    /// What direct I/O demands of addresses and lengths; `None` if the page cache is used.
    pub(super) direct_alignment: Option<u32>,
    pub(super) abilities: Abilities,
    pub(super) attached: Arc<AttachedRegions>,
    /// Blocks by the newest look at the file's size.
    pub(super) blocks: AtomicU64,
    pub(super) learned: Learned,
}

impl Shared {
    pub(super) fn geometry(&self) -> Geometry {
        let alignment = self.direct_alignment.unwrap_or(1);
        let limits = Limits {
            transfer_blocks_max: TRANSFER_BYTES_MAX >> self.block_size.shift(),
            segments_max: SEGMENTS_MAX,
            segment_alignment: alignment,
            seam_alignment: alignment,
            ..Limits::NONE
        };
        Geometry {
            block_size: self.block_size,
            blocks: self.blocks.load(Ordering::Acquire),
            limits,
            atomic_blocks: 1,
            // Direct writes pass the page cache, but not the drive's.
            write_cache: WriteCache::Volatile,
        }
    }

    /// Checks everything that can be checked before the kernel is asked.
    pub(super) fn check(&self, request: &Request) -> Result<(), IoError> {
        if self.learned.gone.load(Ordering::Acquire) {
            return Err(IoError::Gone);
        }
        let geometry = self.geometry();
        request.check(&geometry)?;
        self.abilities.check(request.op)?;
        request.check_size(&geometry)?;
        self.attached.check(&request.data)?;
        Ok(self.check_segments(request)?)
    }

    fn check_segments(&self, request: &Request) -> Result<(), InvalidRequest> {
        let segments = request.data.segments();
        if segments.len() > usize::from(SEGMENTS_MAX) {
            return Err(InvalidRequest::Segments);
        }
        let Some(alignment) = self.direct_alignment else { return Ok(()) };
        let aligned = |segment: &dma::Segment| {
            segment.region_offset().is_multiple_of(u64::from(alignment))
                && segment.bytes().is_multiple_of(alignment)
        };
        if segments.iter().all(aligned) { Ok(()) } else { Err(InvalidRequest::Segments) }
    }

    /// Looks at the file's size again.
    pub(super) fn measure(&self) {
        if let Ok(bytes) = file_bytes(&self.file, self.kind) {
            self.blocks.store(bytes >> self.block_size.shift(), Ordering::Release);
        }
    }
}

/// Bytes of a file or block device now.
pub(super) fn file_bytes(file: &File, kind: Kind) -> rustix::io::Result<u64> {
    match kind {
        Kind::Regular => fstat(file).map(|stat| u64::try_from(stat.st_size).unwrap_or(0)),
        Kind::BlockDevice => seek(file.as_fd(), SeekFrom::End(0)),
    }
}
