//! Fields of fabrics commands, by the byte at which they lie in the entry; little-endian.

use nvme_spec::sqe::SQE_BYTES;
use nvme_spec::{CommandId, Nsid, Sqe};

/// The opcode of every fabrics command.
const OPCODE: u8 = nvme_spec::command::FABRICS_OPCODE;

pub(super) const fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

pub(super) const fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

pub(super) fn put<const N: usize>(bytes: &mut [u8], at: usize, field: [u8; N]) {
    bytes[at..at + N].copy_from_slice(&field);
}

/// An entry of a fabrics command, with its fields at their bytes. The data pointer is an SGL descriptor, as always on fabrics.
pub(super) fn entry(kind: u8, cid: CommandId, fill: impl FnOnce(&mut [u8; SQE_BYTES])) -> Sqe {
    let mut bytes = Sqe::new(OPCODE, cid, Nsid(u32::from(kind))).to_bytes();
    fill(&mut bytes);
    Sqe::from_bytes(&bytes)
}
