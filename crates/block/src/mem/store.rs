//! Bytes that take memory only where something was written.

use std::ops::Range;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use dma::ScatterList;

use crate::device::ExtentKind;
use crate::error::{InvalidRequest, IoError};

/// Bytes of a chunk: what a first write takes, and what one lock guards. A multiple of every block size.
const CHUNK_BYTES: usize = 64 * 1024;

/// Chunks of a directory.
const DIRECTORY_CHUNKS: usize = 1024;

/// Bytes of a directory's chunks.
const DIRECTORY_BYTES: u64 = (CHUNK_BYTES * DIRECTORY_CHUNKS) as u64;

/// Largest store: its table of directories takes 16 MiB then.
pub const STORE_BYTES_MAX: u64 = 1 << 46;

/// Bytes that a compare holds on the stack.
const COMPARE_BYTES: usize = 4096;

/// Out of memory, as an error number.
const ENOMEM: i32 = 12;

type Chunk = Option<Box<[u8]>>;
type Directory = Box<[Mutex<Chunk>]>;

/// Directories of chunks, each made when something in it is written for the first time.
pub(super) struct SparseStore {
    directories: Box<[OnceLock<Directory>]>,
}

/// The part of one chunk that a range covers.
struct Part<'a> {
    /// The chunk's place; `None` if its whole directory was never written.
    slot: Option<&'a Mutex<Chunk>>,
    /// Which bytes of the chunk.
    within: Range<usize>,
    /// How far into the range they are.
    done: u64,
}

impl SparseStore {
    /// Zeroes; `None` beyond [`STORE_BYTES_MAX`].
    pub(super) fn new(bytes: u64) -> Option<Self> {
        let directories = usize::try_from(bytes.div_ceil(DIRECTORY_BYTES)).ok()?;
        if bytes > STORE_BYTES_MAX {
            return None;
        }
        Some(Self { directories: (0..directories).map(|_| OnceLock::new()).collect() })
    }

    pub(super) fn read(&self, start: u64, bytes: u64, data: &ScatterList) -> Result<(), IoError> {
        for part in self.parts(start, bytes) {
            let chunk = part.slot.map(lock);
            let answer = match chunk.as_deref() {
                Some(Some(chunk)) => data.device_write(part.done, &chunk[part.within]),
                _ => data.device_fill(part.done, part.within.len() as u64, 0),
            };
            answer.map_err(|_| InvalidRequest::NoCpuPointer)?;
        }
        Ok(())
    }

    /// Writes at least one byte.
    pub(super) fn write(&self, start: u64, bytes: u64, data: &ScatterList) -> Result<(), IoError> {
        self.make_directories(start, bytes);
        for part in self.parts(start, bytes) {
            let Some(slot) = part.slot else { unreachable!("the directories of the range were made above") };
            let mut chunk = lock(slot);
            let bytes = match &mut *chunk {
                Some(bytes) => bytes,
                empty => empty.insert(zeroes()?),
            };
            data.read(part.done, &mut bytes[part.within]).map_err(|_| InvalidRequest::NoCpuPointer)?;
        }
        Ok(())
    }

    /// Zeroes bytes, and gives back the memory of chunks that are covered wholly.
    pub(super) fn zero(&self, start: u64, bytes: u64) {
        for part in self.parts(start, bytes) {
            let Some(slot) = part.slot else { continue };
            let mut chunk = lock(slot);
            if part.within.len() == CHUNK_BYTES {
                *chunk = None;
            } else if let Some(bytes) = &mut *chunk {
                bytes[part.within].fill(0);
            }
        }
    }

    pub(super) fn compare(&self, start: u64, bytes: u64, data: &ScatterList) -> Result<(), IoError> {
        for part in self.parts(start, bytes) {
            let chunk = part.slot.map(lock);
            let stored = chunk.as_deref().and_then(Option::as_deref).map(|chunk| &chunk[part.within.clone()]);
            compare_part(stored, part.within.len(), data, part.done)?;
        }
        Ok(())
    }

    /// Start, length and kind of the first `count_max` stretches of a range.
    pub(super) fn extents(&self, start: u64, bytes: u64, count_max: usize) -> Vec<(u64, u64, ExtentKind)> {
        let mut extents: Vec<(u64, u64, ExtentKind)> = Vec::new();
        for part in self.parts(start, bytes) {
            let data = part.slot.is_some_and(|slot| lock(slot).is_some());
            let kind = if data { ExtentKind::Data } else { ExtentKind::Hole };
            let length = part.within.len() as u64;
            if let Some((_, whole, last)) = extents.last_mut()
                && *last == kind
            {
                *whole += length;
            } else if extents.len() < count_max {
                extents.push((start + part.done, length, kind));
            } else {
                break;
            }
        }
        extents
    }

    /// The parts of a range in order: of single chunks, or of whole directories where nothing was written.
    fn parts(&self, start: u64, bytes: u64) -> impl Iterator<Item = Part<'_>> {
        let mut done = 0;
        std::iter::from_fn(move || {
            if done == bytes {
                return None;
            }
            let part = self.part(start + done, done, bytes - done);
            done += part.within.len() as u64;
            Some(part)
        })
    }

    #[inline]
    fn part(&self, at: u64, done: u64, left: u64) -> Part<'_> {
        let (directory, chunk, offset) = place(at);
        let Some(chunks) = self.directories[directory].get() else {
            let rest = DIRECTORY_BYTES - at % DIRECTORY_BYTES;
            return Part { slot: None, within: 0..length(rest.min(left)), done };
        };
        let bytes = length(left.min((CHUNK_BYTES - offset) as u64));
        Part { slot: Some(&chunks[chunk]), within: offset..offset + bytes, done }
    }

    fn make_directories(&self, start: u64, bytes: u64) {
        let make = || (0..DIRECTORY_CHUNKS).map(|_| Mutex::new(None)).collect();
        let (first, last) = (place(start).0, place(start + bytes - 1).0);
        for directory in &self.directories[first..=last] {
            directory.get_or_init(make);
        }
    }
}

/// Directory, chunk in it, and byte in that.
#[inline]
fn place(at: u64) -> (usize, usize, usize) {
    let in_directory = length(at % DIRECTORY_BYTES);
    (length(at / DIRECTORY_BYTES), in_directory / CHUNK_BYTES, in_directory % CHUNK_BYTES)
}

#[inline]
fn length(bytes: u64) -> usize {
    // Lossless: stores are made only where their directories can be indexed.
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

fn lock(slot: &Mutex<Chunk>) -> MutexGuard<'_, Chunk> {
    // Bytes have no invariant that a panic could break.
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

fn zeroes() -> Result<Box<[u8]>, IoError> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(CHUNK_BYTES).map_err(|_| IoError::Os { errno: ENOMEM })?;
    bytes.resize(CHUNK_BYTES, 0);
    Ok(bytes.into_boxed_slice())
}

fn compare_part(stored: Option<&[u8]>, bytes: usize, data: &ScatterList, done: u64) -> Result<(), IoError> {
    let mut buffer = [0; COMPARE_BYTES];
    for at in (0..bytes).step_by(COMPARE_BYTES) {
        let given = &mut buffer[..COMPARE_BYTES.min(bytes - at)];
        data.read(done + at as u64, given).map_err(|_| InvalidRequest::NoCpuPointer)?;
        let same = match stored {
            Some(stored) => *given == stored[at..at + given.len()],
            None => given.iter().all(|byte| *byte == 0),
        };
        if !same {
            return Err(IoError::Miscompare);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use dma::{MemoryOptions, Pool, PoolOptions};
    use proptest::prelude::*;

    fn data(bytes: usize, value: u8) -> ScatterList {
        let memory = MemoryOptions { ordinary_pages: true, ..Default::default() };
        let chunk_bytes = u32::try_from(bytes).unwrap();
        let mut buffer = Pool::new(PoolOptions { chunk_bytes, chunks: 1, memory }).unwrap().take().unwrap();
        buffer.fill(0, chunk_bytes, value).unwrap();
        buffer.into_segment().into()
    }

    fn taken(store: &SparseStore) -> usize {
        let chunks = store.directories.iter().filter_map(OnceLock::get).flat_map(|chunks| chunks.iter());
        chunks.filter(|slot| lock(slot).is_some()).count()
    }

    #[test]
    fn memory_is_taken_by_the_first_write_and_given_back_by_zeroing() {
        let store = SparseStore::new(STORE_BYTES_MAX).unwrap();
        let end = STORE_BYTES_MAX - 512;
        store.write(end, 512, &data(512, 7)).unwrap();
        store.write(CHUNK_BYTES as u64 - 256, 512, &data(512, 8)).unwrap();
        assert_eq!(taken(&store), 3);
        store.zero(0, CHUNK_BYTES as u64 + 256);
        assert_eq!(taken(&store), 2);
        assert_eq!(store.compare(end, 512, &data(512, 7)), Ok(()));
        assert_eq!(store.compare(CHUNK_BYTES as u64, 512, &data(512, 0)), Ok(()));
        store.zero(0, STORE_BYTES_MAX);
        assert_eq!(taken(&store), 0);
    }

    #[test]
    fn extents_are_stretches_of_one_kind() {
        let store = SparseStore::new(3 * DIRECTORY_BYTES).unwrap();
        store.write(DIRECTORY_BYTES, 512, &data(512, 1)).unwrap();
        let chunk = CHUNK_BYTES as u64;
        let all = [
            (512, DIRECTORY_BYTES - 512, ExtentKind::Hole),
            (DIRECTORY_BYTES, chunk, ExtentKind::Data),
            (DIRECTORY_BYTES + chunk, 2 * DIRECTORY_BYTES - chunk - 512, ExtentKind::Hole),
        ];
        assert_eq!(store.extents(512, 3 * DIRECTORY_BYTES - 1024, 10), all);
        assert_eq!(store.extents(512, 3 * DIRECTORY_BYTES - 1024, 2), all[..2]);
        assert_eq!(store.extents(0, 0, 10), []);
    }

    #[test]
    fn a_store_has_a_largest_size() {
        assert!(SparseStore::new(STORE_BYTES_MAX + 1).is_none());
    }

    proptest! {
        /// Against a plain vector, around a chunk boundary in a directory boundary.
        #[test]
        fn it_is_like_plain_memory(steps in proptest::collection::vec((0usize..300, 1usize..200, 0u8..4), 1..20)) {
            let base = DIRECTORY_BYTES - 250;
            let store = SparseStore::new(2 * DIRECTORY_BYTES).unwrap();
            let mut model = vec![0u8; 500];
            for (start, bytes, value) in steps {
                let at = base + start as u64;
                match value {
                    0 => store.zero(at, bytes as u64),
                    _ => store.write(at, bytes as u64, &data(bytes, value)).unwrap(),
                }
                model[start..start + bytes].fill(value);
                let found = data(500, 9);
                store.read(base, 500, &found).unwrap();
                let mut bytes = vec![0; 500];
                found.read(0, &mut bytes).unwrap();
                prop_assert_eq!(&bytes, &model);
                prop_assert_eq!(store.compare(base, 500, &found), Ok(()));
            }
        }
    }
}
