//! The history of a run, kept in a file, so that a later process knows what it must find.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use block::{BlockRange, BlockSize, Lba};
use crc_fast::{CrcAlgorithm, Digest};
use thiserror::Error;

use super::BLOCKS_MAX;
use super::checker::Checker;
use super::generation::Generations;
use super::history::SavedBlock;

/*
 * bytes   0..8   magic
 *         8..12  version
 *        12..16  compatible features: a reader that does not know one goes on
 *        16..20  incompatible features: a reader that does not know one refuses
 *        20..24  bytes of a block
 *        24..32  run
 *        32..40  first LBA
 *        40..48  number of blocks
 *        48..    for each block: newest generation, possible generations (bit n: n before the newest), all from this
 *                generation on (all ones: none besides)
 *        end     CRC-32C over all before
 * All numbers little-endian.
 */
const MAGIC: [u8; 8] = *b"RMRAHIST";
const VERSION: u32 = 1;
const FEATURES_KNOWN: u32 = 0;
const HEADER_BYTES: usize = 48;
const BLOCK_BYTES: usize = 12;

/// What an earlier run left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedHistory {
    /// Its number, which its blocks carry.
    pub run: u64,
    /// Bytes of a block.
    pub block_size: BlockSize,
    /// The first block.
    pub first: Lba,
    /// The histories, from the first block on.
    pub blocks: Vec<SavedBlock>,
}

impl SavedHistory {
    /// The blocks that were written.
    pub fn written(&self) -> impl Iterator<Item = Lba> {
        let blocks = (self.first.0..).zip(&self.blocks);
        blocks.filter(|(_, block)| block.issued > 0).map(|(lba, _)| Lba(lba))
    }

    /// Hands over the histories of the blocks that are in the checker's area.
    pub fn restore_into(&self, checker: &mut Checker) {
        let area = checker.area();
        for (lba, block) in (self.first.0..).zip(&self.blocks) {
            if BlockRange::new(Lba(lba), 1).overlaps(&area) {
                checker.restore(Lba(lba), *block);
            }
        }
    }
}

/// Why a state file cannot be written or read.
#[derive(Debug, Error)]
pub enum StateFileError {
    /// The file system said no.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is something else.
    #[error("{}: not a verify state file of this program", path.display())]
    Magic {
        /// The file.
        path: PathBuf,
    },
    /// A later program wrote it.
    #[error("{}: version {version}, features {features:#x}: this program reads version {VERSION} without any", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: u32,
        /// Its incompatible features.
        features: u32,
    },
    /// It was damaged.
    #[error("{}: damaged: {what}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: &'static str,
    },
}

/// Writes a history, through a new file that takes the old one's place when it is whole and durable.
pub fn save(
    path: &Path,
    header: &SavedHistory,
    blocks: impl Iterator<Item = SavedBlock>,
    count: u64,
) -> Result<(), StateFileError> {
    let at = |source| StateFileError::Io { path: path.to_owned(), source };
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let new = PathBuf::from(name);
    let file = File::create(&new).map_err(at)?;
    let mut writer = Summing { inner: BufWriter::new(file), digest: digest() };
    encode(&mut writer, header, blocks, count).map_err(at)?;
    let Summing { mut inner, digest } = writer;
    inner.write_all(&sum(digest).to_le_bytes()).map_err(at)?;
    let file = inner.into_inner().map_err(|error| at(error.into_error()))?;
    file.sync_all().map_err(at)?;
    fs::rename(&new, path).map_err(at)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(at)
}

/// Reads a history.
pub fn load(path: &Path) -> Result<SavedHistory, StateFileError> {
    let at = |source| StateFileError::Io { path: path.to_owned(), source };
    let file = File::open(path).map_err(at)?;
    let mut reader = Summing { inner: BufReader::new(file), digest: digest() };
    decode(&mut reader, path)
}

fn encode(
    writer: &mut impl Write,
    header: &SavedHistory,
    blocks: impl Iterator<Item = SavedBlock>,
    count: u64,
) -> io::Result<()> {
    writer.write_all(&MAGIC)?;
    for word in [VERSION, 0, 0, header.block_size.bytes()] {
        writer.write_all(&word.to_le_bytes())?;
    }
    for word in [header.run, header.first.0, count] {
        writer.write_all(&word.to_le_bytes())?;
    }
    for block in blocks {
        for word in [block.issued, block.alive.bits(), block.all_from] {
            writer.write_all(&word.to_le_bytes())?;
        }
    }
    Ok(())
}

fn decode<R: Read>(reader: &mut Summing<R>, path: &Path) -> Result<SavedHistory, StateFileError> {
    let damaged = |what| StateFileError::Damaged { path: path.to_owned(), what };
    let header: [u8; HEADER_BYTES] = read(reader, path)?;
    let word = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().unwrap_or_default());
    let long = |at: usize| u64::from_le_bytes(header[at..at + 8].try_into().unwrap_or_default());
    if header[0..8] != MAGIC {
        return Err(StateFileError::Magic { path: path.to_owned() });
    }
    let (version, features) = (word(8), word(16));
    if version != VERSION || features & !FEATURES_KNOWN != 0 {
        return Err(StateFileError::Version { path: path.to_owned(), version, features });
    }
    let block_size = BlockSize::try_from(u64::from(word(20))).map_err(|_| damaged("the block size"))?;
    let (run, first, count) = (long(24), Lba(long(32)), long(40));
    if count > BLOCKS_MAX || first.0.checked_add(count).is_none() {
        return Err(damaged("the number of blocks"));
    }
    let mut blocks = Vec::new();
    for _ in 0..count {
        let bytes: [u8; BLOCK_BYTES] = read(reader, path)?;
        blocks.push(decode_block(bytes).ok_or_else(|| damaged("a block's history"))?);
    }
    let expected = sum(reader.digest);
    if u32::from_le_bytes(read(reader, path)?) != expected {
        return Err(damaged("the checksum"));
    }
    Ok(SavedHistory { run, block_size, first, blocks })
}

fn decode_block(bytes: [u8; BLOCK_BYTES]) -> Option<SavedBlock> {
    let (words, _) = bytes.as_chunks::<4>();
    let [issued, alive, all_from] = [words[0], words[1], words[2]].map(u32::from_le_bytes);
    let alive = Generations::from_bits(alive);
    let possible = alive != Generations::NONE && alive.oldest_age() <= issued;
    let range = all_from == u32::MAX || all_from <= issued;
    (possible && range).then_some(SavedBlock { issued, alive, all_from })
}

fn read<const BYTES: usize>(reader: &mut impl Read, path: &Path) -> Result<[u8; BYTES], StateFileError> {
    let mut bytes = [0; BYTES];
    match reader.read_exact(&mut bytes) {
        Ok(()) => Ok(bytes),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Err(StateFileError::Damaged { path: path.to_owned(), what: "it ends too early" })
        }
        Err(source) => Err(StateFileError::Io { path: path.to_owned(), source }),
    }
}

/// Passes bytes on and sums them up.
struct Summing<T> {
    inner: T,
    digest: Digest,
}

impl<W: Write> Write for Summing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.digest.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<R: Read> Read for Summing<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(bytes)?;
        self.digest.update(&bytes[..read]);
        Ok(read)
    }
}

fn digest() -> Digest {
    Digest::new(CrcAlgorithm::Crc32Iscsi)
}

fn sum(digest: Digest) -> u32 {
    // The algorithm's width is 32 bits.
    u32::try_from(digest.finalize()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first version, kept: run 7, 512-byte blocks from LBA 5; one block written twice, one never.
    const FIRST_VERSION: &[u8] = b"RMRAHIST\x01\0\0\0\0\0\0\0\0\0\0\0\0\x02\0\0\
        \x07\0\0\0\0\0\0\0\x05\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\
        \x02\0\0\0\x01\0\0\0\xff\xff\xff\xff\0\0\0\0\x01\0\0\0\xff\xff\xff\xff";

    fn saved() -> SavedHistory {
        let block = |issued| SavedBlock { issued, alive: Generations::NEWEST, all_from: u32::MAX };
        SavedHistory { run: 7, block_size: BlockSize::B512, first: Lba(5), blocks: vec![block(2), block(0)] }
    }

    fn file_of(bytes: &[u8]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    fn first_version() -> Vec<u8> {
        let crc = crate::bench::verify::stamp::crc32c(FIRST_VERSION);
        [FIRST_VERSION, &crc.to_le_bytes()].concat()
    }

    #[test]
    fn the_first_version_is_written_and_read() {
        assert_eq!(load(file_of(&first_version()).path()).unwrap(), saved());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        save(&path, &saved(), saved().blocks.into_iter(), 2).unwrap();
        assert_eq!(fs::read(&path).unwrap(), first_version());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn damage_is_found_wherever_it_is() {
        let good = first_version();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x40;
            // Compatible features are covered by the checksum as well.
            assert!(load(file_of(&bad).path()).is_err(), "byte {at}");
            assert!(load(file_of(&good[..at]).path()).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn refusals_say_why() {
        let say = |change: fn(&mut Vec<u8>)| {
            let mut bytes = first_version();
            change(&mut bytes);
            load(file_of(&bytes).path()).unwrap_err().to_string()
        };
        assert!(say(|bytes| bytes[0] = 0).ends_with("not a verify state file of this program"));
        assert!(say(|bytes| bytes[8] = 2).contains("version 2"));
        assert!(say(|bytes| bytes[16] = 1).contains("features 0x1"));
        assert!(say(|bytes| bytes[60] = 9).ends_with("damaged: the checksum"));
        assert!(say(|bytes| bytes.truncate(50)).ends_with("damaged: it ends too early"));
    }
}
