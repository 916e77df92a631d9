//! What is written to holders: bytes <-> meaning.

pub mod label;
pub mod map_unit;

use crc_fast::{CrcAlgorithm, checksum};

/// The `N` bytes of a record at a place that is inside by construction.
fn take<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut field = [0; N];
    field.copy_from_slice(&bytes[at..at + N]);
    field
}

/// CRC-32C, as it is stored.
fn crc(bytes: &[u8]) -> [u8; 4] {
    let [a, b, c, d, ..] = checksum(CrcAlgorithm::Crc32Iscsi, bytes).to_le_bytes();
    [a, b, c, d]
}
