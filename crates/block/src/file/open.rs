//! Opening a file or block device: what it is, whose it is, how large, and how it can be read.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{
    AtFlags, FallocateFlags, FlockOperation, OFlags, StatxFlags, fallocate, fcntl_getfl, fcntl_setfl, flock,
    ftruncate, ioctl_blksszget, statx,
};
use rustix::io::Errno;

use super::FileOptions;
use super::shared::{Kind, file_bytes};
use crate::claim::Access;
use crate::geometry::BlockSize;
use crate::opener::OpenError;

/// The largest alignment of direct I/O that is used: regions begin at pages.
const DIRECT_ALIGNMENT_MAX: u32 = 4096;

/// What a newly made file allows: its owner only, since it holds somebody's disk.
const NEW_FILE_MODE: u32 = 0o600;

/// An opened file.
pub(super) struct Opened {
    pub(super) file: File,
    pub(super) kind: Kind,
    pub(super) blocks: u64,
    pub(super) block_size: BlockSize,
    pub(super) direct_alignment: Option<u32>,
    /// Whether holes can be made, and read as zeroes.
    pub(super) punches: bool,
}

/// What opening needs to know, and how it names the device in errors.
pub(super) struct Opening<'a> {
    pub(super) path: &'a Path,
    pub(super) name: &'a str,
    pub(super) options: FileOptions,
}

impl Opening<'_> {
    pub(super) fn open(&self) -> Result<Opened, OpenError> {
        let existing = self.kind_before()?;
        let file = self.open_file(existing)?;
        let kind =
            kind_of(&file).map_err(|source| self.io("look at it", source))?.ok_or_else(|| self.odd_kind())?;
        self.lock(&file)?;
        self.extend(&file, kind)?;
        let (block_size, direct_alignment) = self.choose_blocks(&file, kind)?;
        let bytes = file_bytes(&file, kind).map_err(|error| self.io("measure it", error.into()))?;
        let blocks = bytes >> block_size.shift();
        if blocks == 0 {
            let reason = format!("{bytes} bytes are less than a block; `?size=4GiB` makes or extends a file");
            return Err(self.shape(reason));
        }
        let punches =
            self.options.access == Access::ReadWrite && kind == Kind::Regular && can_punch(&file, bytes);
        Ok(Opened { file, kind, blocks, block_size, direct_alignment, punches })
    }

    /// What is there before we open it; `None` if it is to be made.
    fn kind_before(&self) -> Result<Option<Kind>, OpenError> {
        let making = self.options.size.is_some() && self.options.access == Access::ReadWrite;
        match fs::metadata(self.path) {
            Ok(metadata) => kind(metadata.file_type()).map(Some).ok_or_else(|| self.odd_kind()),
            Err(error) if error.kind() == ErrorKind::NotFound && making => Ok(None),
            Err(error) => Err(self.io("look at it", error)),
        }
    }

    fn open_file(&self, existing: Option<Kind>) -> Result<File, OpenError> {
        let writing = self.options.access == Access::ReadWrite;
        let mut flags = OFlags::CLOEXEC;
        if existing == Some(Kind::BlockDevice) && writing {
            // A mounted file system and other exclusive holders refuse us, and we refuse them.
            flags |= OFlags::EXCL;
        }
        let mut options = File::options();
        options.read(true).write(writing).create(existing.is_none()).mode(NEW_FILE_MODE);
        options.custom_flags(flags.bits().cast_signed());
        options.open(self.path).map_err(|error| self.io("open it", error))
    }

    /// A file has one writer or several readers, as far as programs ask.
    fn lock(&self, file: &File) -> Result<(), OpenError> {
        let operation = match self.options.access {
            Access::ReadWrite => FlockOperation::NonBlockingLockExclusive,
            Access::Read => FlockOperation::NonBlockingLockShared,
        };
        match flock(file, operation) {
            Ok(()) => Ok(()),
            Err(Errno::WOULDBLOCK) => {
                Err(self.in_use("somebody holds a lock on it: another program, or this one twice"))
            }
            Err(error) => Err(self.io("lock it", error.into())),
        }
    }

    fn extend(&self, file: &File, kind: Kind) -> Result<(), OpenError> {
        let Some(wanted) = self.options.size else { return Ok(()) };
        if kind == Kind::BlockDevice {
            return Err(
                self.shape("a block device has its own size; `?length=` uses a part of it".to_owned())
            );
        }
        let bytes = file_bytes(file, kind).map_err(|error| self.io("measure it", error.into()))?;
        if bytes > wanted {
            let reason = format!(
                "it has {bytes} bytes, more than `?size={wanted}`, and files are not made shorter; \
                 `?length=` uses a part of it"
            );
            return Err(self.shape(reason));
        }
        if bytes == wanted {
            return Ok(());
        }
        if self.options.access == Access::Read {
            return Err(self.shape(format!("it has {bytes} bytes, and is opened for reading only")));
        }
        ftruncate(file, wanted).map_err(|error| self.io("extend it", error.into()))
    }

    /// The block size, and what direct I/O demands if it is used.
    fn choose_blocks(&self, file: &File, kind: Kind) -> Result<(BlockSize, Option<u32>), OpenError> {
        let logical = match kind {
            Kind::Regular => None,
            Kind::BlockDevice => ioctl_blksszget(file).ok(),
        };
        let direct = if self.options.direct == Some(false) { None } else { direct_alignment(file, logical) };
        let smallest = logical.or(direct).unwrap_or(512).max(512);
        let smallest =
            BlockSize::try_from(u64::from(smallest)).map_err(|error| self.shape(error.to_string()))?;
        let block_size = self.options.block_size.unwrap_or(smallest);
        if logical.is_some_and(|logical| block_size.bytes() < logical) {
            return Err(
                self.shape(format!("its blocks have {} bytes: `?bs=` cannot be less", smallest.bytes()))
            );
        }
        let direct = direct.filter(|alignment| *alignment <= block_size.bytes() && set_direct(file).is_ok());
        if direct.is_none() && self.options.direct == Some(true) {
            return Err(self.shape("direct I/O is not possible here with this block size".to_owned()));
        }
        if direct.is_none() && self.options.direct.is_none() {
            tracing::info!(device = self.name, "no direct I/O here: the page cache is used");
        }
        Ok((block_size, direct))
    }

    fn io(&self, action: &'static str, source: io::Error) -> OpenError {
        let device = self.name.to_owned();
        match source.kind() {
            ErrorKind::NotFound => OpenError::NotFound { device },
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
                OpenError::Permission { device, reason: source.to_string() }
            }
            ErrorKind::ResourceBusy => self.in_use("mounted, or held by another program"),
            _ => OpenError::Io { device, action, source },
        }
    }

    fn in_use(&self, by: &str) -> OpenError {
        OpenError::InUse { device: self.name.to_owned(), by: by.to_owned() }
    }

    fn shape(&self, reason: String) -> OpenError {
        OpenError::Shape { device: self.name.to_owned(), reason }
    }

    fn odd_kind(&self) -> OpenError {
        self.shape("it is neither a file nor a block device".to_owned())
    }
}

fn kind(file_type: fs::FileType) -> Option<Kind> {
    if file_type.is_file() {
        Some(Kind::Regular)
    } else if file_type.is_block_device() {
        Some(Kind::BlockDevice)
    } else {
        None
    }
}

fn kind_of(file: &File) -> io::Result<Option<Kind>> {
    Ok(kind(file.metadata()?.file_type()))
}

/// What direct I/O demands of addresses, offsets and lengths (statx(2), STATX_DIOALIGN; Linux 6.1), if it is possible.
/// Kernels that do not tell demand a block device's logical block; for their files we do not guess.
fn direct_alignment(file: &File, logical: Option<u32>) -> Option<u32> {
    let told = statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN).ok();
    let told = told.filter(|stat| stat.stx_mask & StatxFlags::DIOALIGN.bits() != 0);
    let alignment = match told {
        Some(stat) => stat.stx_dio_offset_align.max(stat.stx_dio_mem_align),
        None => logical.unwrap_or(0),
    };
    Some(alignment).filter(|alignment| alignment.is_power_of_two() && *alignment <= DIRECT_ALIGNMENT_MAX)
}

fn set_direct(file: &File) -> rustix::io::Result<()> {
    fcntl_setfl(file, fcntl_getfl(file)? | OFlags::DIRECT)
}

/// A hole behind the end changes nothing, and shows whether the file system makes holes.
fn can_punch(file: &File, bytes: u64) -> bool {
    fallocate(file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, bytes, 4096).is_ok()
}
