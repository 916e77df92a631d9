//! A note beside the blocks of an image: what must outlive a loss of power and is no block, such as reservations.
//!
//! | bytes | |
//! |---|---|
//! | 0-7 | magic, `REMORNOT` |
//! | 8-11 | version, 1 |
//! | 12-15 | bytes of the note |
//! | 16-23 | sequence number: of two good copies the higher one counts |
//! | 24-27 | CRC-32C of bytes 0 to 23 and of the note |
//! | 32- | the note |
//!
//! Numbers are little-endian. As with the label, the copy that does not count is overwritten, so a torn write leaves the
//! older note. An image without a good copy has an empty note.

use crc_fast::{CrcAlgorithm, checksum};

/// The most bytes of a note.
pub const NOTE_BYTES_MAX: usize = 8192;

/// Where the copies are in an image, in bytes: between the labels and the blocks.
pub const NOTE_OFFSETS: [u64; 2] = [128 << 10, 192 << 10];

/// Bytes of a copy.
pub const COPY_BYTES: usize = HEADER_BYTES + NOTE_BYTES_MAX;

const MAGIC: [u8; 8] = *b"REMORNOT";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 32;

/// A note with its place in the sequence.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Note {
    /// Counts up with every change; 0 is an image that never had one.
    pub sequence: u64,
    /// The note.
    pub bytes: Vec<u8>,
}

fn crc(header: &[u8], note: &[u8]) -> [u8; 4] {
    let covered: Vec<u8> = [&header[..24], note].concat();
    let [a, b, c, d, ..] = checksum(CrcAlgorithm::Crc32Iscsi, &covered).to_le_bytes();
    [a, b, c, d]
}

fn number<const N: usize>(copy: &[u8], at: usize) -> Option<[u8; N]> {
    copy.get(at..at + N)?.try_into().ok()
}

impl Note {
    /// The copy's bytes; `None` if the note is too long.
    #[must_use]
    pub fn to_bytes(&self) -> Option<Vec<u8>> {
        let length = u32::try_from(self.bytes.len()).ok().filter(|_| self.bytes.len() <= NOTE_BYTES_MAX)?;
        let mut copy = vec![0; HEADER_BYTES];
        copy[..8].copy_from_slice(&MAGIC);
        copy[8..12].copy_from_slice(&VERSION.to_le_bytes());
        copy[12..16].copy_from_slice(&length.to_le_bytes());
        copy[16..24].copy_from_slice(&self.sequence.to_le_bytes());
        let crc = crc(&copy, &self.bytes);
        copy[24..28].copy_from_slice(&crc);
        copy.extend_from_slice(&self.bytes);
        Some(copy)
    }

    fn from_copy(copy: &[u8]) -> Option<Self> {
        let length = usize::try_from(u32::from_le_bytes(number(copy, 12)?)).ok()?;
        let note = copy.get(HEADER_BYTES..HEADER_BYTES.checked_add(length)?)?;
        let good = number(copy, 0) == Some(MAGIC)
            && number(copy, 8) == Some(VERSION.to_le_bytes())
            && number(copy, 24) == Some(crc(copy, note));
        let sequence = u64::from_le_bytes(number(copy, 16)?);
        good.then(|| Self { sequence, bytes: note.to_vec() })
    }

    /// The note that counts, and which copy it is; an empty one, to be followed by a first copy, if none is good.
    #[must_use]
    pub fn choose(copies: [&[u8]; 2]) -> (Self, usize) {
        match copies.map(Self::from_copy) {
            [Some(first), Some(second)] if second.sequence > first.sequence => (second, 1),
            [Some(first), _] => (first, 0),
            [None, Some(second)] => (second, 1),
            [None, None] => (Self::default(), 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(sequence: u64, text: &[u8]) -> Note {
        Note { sequence, bytes: text.to_vec() }
    }

    #[test]
    fn the_bytes_are_those_of_the_table() {
        let copy = note(3, b"remora").to_bytes().unwrap();
        assert_eq!(&copy[..24], b"REMORNOT\x01\0\0\0\x06\0\0\0\x03\0\0\0\0\0\0\0");
        // CRC-32C of those 24 bytes and the note, by a bitwise implementation of the polynomial.
        let mut crc = u32::MAX;
        for byte in copy[..24].iter().chain(b"remora") {
            crc ^= u32::from(*byte);
            (0..8).for_each(|_| crc = crc >> 1 ^ if crc & 1 == 1 { 0x82F6_3B78 } else { 0 });
        }
        assert_eq!((&copy[24..28], &copy[32..]), (&(!crc).to_le_bytes()[..], &b"remora"[..]));
    }

    #[test]
    fn a_torn_write_leaves_the_older_note_or_the_newer() {
        let old = note(1, b"old").to_bytes().unwrap();
        let new = note(2, b"a newer one").to_bytes().unwrap();
        for torn_at in 0..=new.len() {
            let mut torn = vec![0xA5; new.len()];
            torn[..torn_at].copy_from_slice(&new[..torn_at]);
            // Bytes 28 to 31 say nothing; every other one counts.
            let (chosen, _) = Note::choose([&old, &torn]);
            assert_eq!(chosen.sequence, if torn == new { 2 } else { 1 }, "torn at {torn_at}");
        }
    }

    #[test]
    fn whatever_is_there_is_no_panic() {
        assert_eq!(Note::choose([&[], &[0; 40]]), (Note::default(), 1));
        let mut copy = note(1, b"x").to_bytes().unwrap();
        copy[12..16].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(Note::choose([&copy, &copy]).0, Note::default());
        assert_eq!(note(1, &[0; NOTE_BYTES_MAX + 1]).to_bytes(), None);
    }
}
