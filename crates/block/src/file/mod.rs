//! A file or kernel block device, by io_uring.
//!
//! - `job`: the state machine of a request, without I/O.
//! - `engine`: the ring, and the memory that the kernel holds; `submission` builds what is handed over.
//! - `queue`: deadlines, completions, events. `reaper`: what becomes of a dropped queue.
//! - `open`: finding out what a path is.

mod engine;
mod extents;
mod identity;
mod job;
mod open;
mod queue;
mod reaper;
mod shared;
mod submission;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use dma::{AttachError, Region};

use crate::claim::{Access, ClaimTable};
use crate::device::{Abilities, BlockDevice, Extent, Identity};
use crate::error::{ExtentsError, OpenQueueError};
use crate::geometry::{BlockSize, Geometry};
use crate::opener::OpenError;
use crate::queue::{BlockQueue, QueueOptions};
use crate::request::BlockRange;
use job::Learned;
use open::{Opened, Opening};
use queue::FileQueue;
use shared::{Kind, Shared};

/// How a file is to be opened.
#[derive(Clone, Copy, Debug)]
pub struct FileOptions {
    /// For reading only, or for writing as well.
    pub access: Access,
    /// Bytes of a block. If not given: a block device's own, or the least that direct I/O needs, or 512.
    pub block_size: Option<BlockSize>,
    /// Makes the file if it is not there, and extends it if it is shorter; bytes.
    pub size: Option<u64>,
    /// Whether to pass the page cache (O_DIRECT). If not given: where the file system and the block size allow it.
    pub direct: Option<bool>,
}

/// A file or kernel block device.
///
/// It is locked (flock) while it is open: exclusively for writing, shared for reading; a block device that is opened for
/// writing is held exclusively besides, against mounts. Both are agreements between programs that ask. A program that
/// does not ask gets in, so the device does not claim [`Abilities::EXCLUSIVE`].
///
/// A write is durable when a flush (fdatasync) or FUA (RWF_DSYNC) says so, with or without the page cache. When one of
/// them fails, the kernel may have dropped written pages: the device reports a new incarnation.
///
/// A read that overlaps a write in flight may see a block half written: Linux copies to and from the page cache without a
/// lock between the two on most file systems, and a drive below keeps only its own, perhaps smaller, blocks whole. This is
/// the one point where a file keeps less than the contract of [`BlockQueue`]; requests that do not overlap see none of it.
///
/// A file that somebody makes shorter fails requests behind its new end with EIO until the size was looked at again, which
/// happens every second; then it reports its new size. A rest of less than a block at the end is out of reach.
pub struct FileDevice {
    identity: Identity,
    claims: ClaimTable,
    shared: Arc<Shared>,
}

impl FileDevice {
    /// Opens the file at `path`; `name` is for messages.
    pub fn open(path: &Path, name: &str, options: FileOptions) -> Result<Self, OpenError> {
        engine::build_ring(1).map_err(|error| no_ring(name, error))?;
        let Opened { file, kind, blocks, block_size, direct_alignment, punches } =
            Opening { path, name, options }.open()?;
        let mut abilities = Abilities::empty();
        // Block devices have no SEEK_DATA.
        abilities.set(Abilities::EXTENTS, kind == Kind::Regular);
        if options.access == Access::ReadWrite {
            abilities |= Abilities::WRITE | Abilities::WRITE_ZEROES | Abilities::DISCARD;
        }
        abilities.set(Abilities::DISCARD_ZEROES, punches);
        let shared = Shared {
            name: name.to_owned(),
            file,
            kind,
            block_size,
            direct_alignment,
            abilities,
            attached: Arc::default(),
            blocks: AtomicU64::new(blocks),
            learned: Learned::default(),
        };
        Ok(Self { identity: identity::of(path), claims: ClaimTable::default(), shared: Arc::new(shared) })
    }

    /// Whether reads and writes pass the page cache.
    #[must_use]
    pub fn is_direct(&self) -> bool {
        self.shared.direct_alignment.is_some()
    }
}

impl BlockDevice for FileDevice {
    fn name(&self) -> &str {
        &self.shared.name
    }

    fn geometry(&self) -> Geometry {
        self.shared.geometry()
    }

    fn identity(&self) -> Identity {
        self.identity.clone()
    }

    fn abilities(&self) -> Abilities {
        self.shared.abilities
    }

    fn attach_memory(&self, region: &Region) -> Result<(), AttachError> {
        self.shared.attached.attach_cpu(region, &self.shared.name)
    }

    fn open_queue(&self, options: QueueOptions) -> Result<Box<dyn BlockQueue>, OpenQueueError> {
        Ok(Box::new(FileQueue::open(&self.shared, options)?))
    }

    fn claims(&self) -> &ClaimTable {
        &self.claims
    }

    fn extents(&self, range: BlockRange) -> Result<Vec<Extent>, ExtentsError> {
        extents::of(&self.shared, range)
    }
}

/// io_uring can be missing, or forbidden by sysctl or by a container's seccomp filter.
fn no_ring(name: &str, error: std::io::Error) -> OpenError {
    let device = name.to_owned();
    match error.kind() {
        std::io::ErrorKind::PermissionDenied => OpenError::Permission {
            device,
            reason: "io_uring is forbidden: set sysctl kernel.io_uring_disabled to 0, or allow it in the \
                     container's seccomp profile"
                .to_owned(),
        },
        _ => OpenError::Io { device, action: "set up io_uring", source: error },
    }
}

#[cfg(test)]
mod tests;
