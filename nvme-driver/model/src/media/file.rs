//! A medium in an image file, which survives restarts.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, IoSlice, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, FlockOperation};
use rustix::io::{Errno, ReadWriteFlags};

use super::image::{ImageError, ImageShape};
use super::label::{DATA_OFFSET, LABEL_BYTES, LABEL_OFFSETS, Label, image_bytes};
use super::note::{COPY_BYTES, NOTE_OFFSETS, Note};
use super::{Durability, Media, MediaError};

/// Zeroes that are written at once where a file system cannot punch holes.
const ZEROES_BYTES: u64 = 1 << 20;

/// An open image. Nobody else can open it.
#[derive(Debug)]
pub struct FileMedia {
    file: File,
    path: PathBuf,
    label: Label,
    /// Which copy of the label counts.
    copy: usize,
    note: Note,
    /// Which copy of the note counts.
    note_copy: usize,
}

impl FileMedia {
    /// Opens an image, or makes one where there is no file or an empty one.
    ///
    /// # Errors
    /// [`ImageError`]; a file that is not ours is never written to.
    pub fn open(path: &Path, shape: ImageShape) -> Result<Self, ImageError> {
        let io = |action| move |source| ImageError::Io { action, path: path.to_owned(), source };
        let create = shape.bytes.is_some();
        let file = match OpenOptions::new().read(true).write(true).create(create).truncate(false).open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound && !create => {
                return Err(ImageError::NoSize { path: path.to_owned() });
            }
            other => other.map_err(io("open"))?,
        };
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => return Err(ImageError::InUse { path: path.to_owned() }),
            other => other.map_err(|errno| io("lock")(errno.into()))?,
        }
        if is_blank(&file, shape).map_err(io("read"))? {
            return Self::create(file, path, shape);
        }
        Self::existing(file, path, shape)
    }

    fn create(file: File, path: &Path, shape: ImageShape) -> Result<Self, ImageError> {
        let io = |action| move |source| ImageError::Io { action, path: path.to_owned(), source };
        let Some(bytes) = shape.bytes else { return Err(ImageError::NoSize { path: path.to_owned() }) };
        let block_bytes = shape.block_bytes.unwrap_or(512);
        let blocks = bytes.checked_div(u64::from(block_bytes)).unwrap_or(0);
        let Some(file_bytes) =
            image_bytes(block_bytes, blocks).filter(|_| bytes.is_multiple_of(block_bytes.into()))
        else {
            return Err(ImageError::Shape { blocks, block_bytes });
        };
        let label = Label::with_random_identity(block_bytes, blocks).map_err(io("find a name for"))?;
        file.set_len(file_bytes).map_err(io("extend"))?;
        let (note, note_copy) = (Note::default(), 1);
        let mut media = Self { file, path: path.to_owned(), label, copy: 1, note, note_copy };
        media.store_label().map_err(io("write"))?;
        sync_directory(path).map_err(io("sync the directory of"))?;
        Ok(media)
    }

    fn existing(file: File, path: &Path, shape: ImageShape) -> Result<Self, ImageError> {
        let io = |source| ImageError::Io { action: "read", path: path.to_owned(), source };
        let [first, second] = LABEL_OFFSETS.map(|offset| read_copy(&file, offset));
        let (label, copy) = Label::choose([&first.map_err(io)?, &second.map_err(io)?])
            .map_err(|source| ImageError::Label { path: path.to_owned(), source })?;
        let bytes = label.blocks * u64::from(label.block_bytes);
        let same = shape.bytes.is_none_or(|asked| asked == bytes)
            && shape.block_bytes.is_none_or(|asked| asked == label.block_bytes);
        if !same {
            let Label { blocks, block_bytes, .. } = label;
            return Err(ImageError::Differs { path: path.to_owned(), blocks, block_bytes });
        }
        let [first, second] = NOTE_OFFSETS.map(|offset| read_copy::<COPY_BYTES>(&file, offset));
        let (note, note_copy) = Note::choose([&first.map_err(io)?, &second.map_err(io)?]);
        Ok(Self { file, path: path.to_owned(), label, copy, note, note_copy })
    }

    /// What the image is.
    #[must_use]
    pub fn label(&self) -> &Label {
        &self.label
    }

    /// Writes the label over the copy that does not count, and makes it durable.
    fn store_label(&mut self) -> io::Result<()> {
        let copy = 1 - self.copy;
        self.label.sequence += 1;
        self.file.write_all_at(&self.label.to_bytes(), LABEL_OFFSETS[copy])?;
        self.file.sync_all()?;
        self.copy = copy;
        Ok(())
    }

    fn offset(&self, block: u64) -> u64 {
        DATA_OFFSET + block * u64::from(self.label.block_bytes)
    }

    fn blocks_of(&self, bytes: usize) -> u64 {
        bytes as u64 / u64::from(self.label.block_bytes)
    }

    /// Writes with RWF_DSYNC, which makes these bytes durable and no others.
    fn write_durably(&self, mut offset: u64, from: &[u8]) -> io::Result<()> {
        let mut rest = from;
        while !rest.is_empty() {
            match rustix::io::pwritev2(&self.file, &[IoSlice::new(rest)], offset, ReadWriteFlags::DSYNC) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => {
                    rest = &rest[written..];
                    offset += written as u64;
                }
                Err(Errno::INTR) => {}
                Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
                    self.file.write_all_at(rest, offset)?;
                    return self.file.sync_data();
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn punch(&self, start: u64, blocks: u64) -> io::Result<()> {
        let (offset, bytes) = (self.offset(start), blocks * u64::from(self.label.block_bytes));
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match rustix::fs::fallocate(&self.file, flags, offset, bytes) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => self.write_zeroes(offset, bytes),
            other => other.map_err(Into::into),
        }
    }

    fn write_zeroes(&self, offset: u64, bytes: u64) -> io::Result<()> {
        let zeroes = vec![0; usize::try_from(bytes.min(ZEROES_BYTES)).unwrap_or(0)];
        let mut done = 0;
        while done < bytes {
            let part = usize::try_from((bytes - done).min(ZEROES_BYTES)).unwrap_or(0);
            self.file.write_all_at(&zeroes[..part], offset + done)?;
            done += part as u64;
        }
        Ok(())
    }

    fn change_size(&mut self, blocks: u64, bytes: u64) -> io::Result<()> {
        // Growing, the file is there before the label says so; shrinking, the label goes first.
        if blocks > self.label.blocks {
            self.file.set_len(bytes)?;
            self.file.sync_all()?;
        }
        self.label.blocks = blocks;
        self.store_label()?;
        self.file.set_len(bytes)
    }
}

impl Media for FileMedia {
    fn block_bytes(&self) -> u32 {
        self.label.block_bytes
    }

    fn blocks(&self) -> u64 {
        self.label.blocks
    }

    fn read(&mut self, start: u64, into: &mut [u8]) -> Result<(), MediaError> {
        let blocks = self.blocks_of(into.len());
        self.file.read_exact_at(into, self.offset(start)).map_err(|source| MediaError::Read {
            start,
            blocks,
            source,
        })
    }

    fn write(&mut self, start: u64, from: &[u8], durability: Durability) -> Result<(), MediaError> {
        let (offset, blocks) = (self.offset(start), self.blocks_of(from.len()));
        let written = match durability {
            Durability::Cached => self.file.write_all_at(from, offset),
            Durability::Durable => self.write_durably(offset, from),
        };
        written.map_err(|source| MediaError::Write { start, blocks, source })
    }

    fn deallocate(&mut self, start: u64, blocks: u64, durability: Durability) -> Result<(), MediaError> {
        let punched = self.punch(start, blocks);
        let done = match durability {
            Durability::Cached => punched,
            Durability::Durable => punched.and_then(|()| self.file.sync_data()),
        };
        done.map_err(|source| MediaError::Write { start, blocks, source })
    }

    fn sync(&mut self) -> Result<(), MediaError> {
        self.file.sync_data().map_err(|source| MediaError::Sync { source })
    }

    fn resize(&mut self, blocks: u64) -> Result<(), MediaError> {
        let refused = |reason: String| MediaError::Size { blocks, reason };
        let Some(bytes) = image_bytes(self.label.block_bytes, blocks) else {
            return Err(refused("no image has that many".into()));
        };
        self.change_size(blocks, bytes).map_err(|error| refused(format!("{}: {error}", self.path.display())))
    }

    fn store_note(&mut self, note: &[u8]) -> Result<(), MediaError> {
        let refused = |source| MediaError::Note { bytes: note.len(), source };
        let next = Note { sequence: self.note.sequence + 1, bytes: note.to_vec() };
        let copy = next.to_bytes().ok_or_else(|| refused(ErrorKind::InvalidInput.into()))?;
        let place = 1 - self.note_copy;
        self.file.write_all_at(&copy, NOTE_OFFSETS[place]).map_err(refused)?;
        self.file.sync_data().map_err(refused)?;
        (self.note, self.note_copy) = (next, place);
        Ok(())
    }

    fn load_note(&self) -> Vec<u8> {
        self.note.bytes.clone()
    }

    fn allocated_blocks(&self) -> u64 {
        let bytes = self.file.metadata().map_or(0, |metadata| metadata.blocks() * 512);
        (bytes.saturating_sub(2 * LABEL_BYTES as u64) / u64::from(self.label.block_bytes))
            .min(self.label.blocks)
    }
}

/// Whether a file is empty, or was extended and got no label: what a crash leaves while an image of this shape is made.
fn is_blank(file: &File, shape: ImageShape) -> io::Result<bool> {
    let bytes = file.metadata()?.len();
    if bytes == 0 || shape.bytes.and_then(|data| data.checked_add(DATA_OFFSET)) != Some(bytes) {
        return Ok(bytes == 0);
    }
    let mut head = Vec::new();
    file.take(DATA_OFFSET).read_to_end(&mut head)?;
    Ok(head.iter().all(|byte| *byte == 0))
}

/// A copy's bytes; what is beyond the end of the file reads as zeroes.
fn read_copy<const BYTES: usize>(file: &File, offset: u64) -> io::Result<[u8; BYTES]> {
    let mut copy = [0; BYTES];
    match file.read_exact_at(&mut copy, offset) {
        Err(error) if error.kind() != ErrorKind::UnexpectedEof => Err(error),
        _ => Ok(copy),
    }
}

/// A label with a random identity.
fn sync_directory(path: &Path) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(directory)?.sync_all()
}

impl From<&Label> for crate::NamespaceOptions {
    fn from(label: &Label) -> Self {
        Self { uuid: label.uuid, nguid: label.nguid, ..Self::default() }
    }
}

#[cfg(test)]
mod tests;
