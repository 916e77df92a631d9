//! The completion queue entry (Base, Common Completion Queue Entry).

use crate::bits::{high16, join16, low16};
use crate::ids::{CommandId, QueueId};
use crate::status::Status;

/// The size of an entry in bytes; CC.IOCQES and CQES say it as a power of two, 4.
pub const CQE_BYTES: usize = 16;

/// A completion queue entry: four dwords in the host's byte order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C, align(16))]
pub struct Cqe([u32; 4]);

impl Cqe {
    /// A successful or failed completion. Command-specific dwords are zero, and so is the phase tag.
    #[must_use]
    #[inline]
    pub const fn new(sqid: QueueId, sqhd: u16, cid: CommandId, status: Status) -> Self {
        Self([0, 0, join16(sqhd, sqid.0), join16(cid.0, status.raw() << 1)])
    }

    /// Reads an entry as it lies in memory.
    #[must_use]
    #[inline]
    pub const fn from_bytes(bytes: [u8; CQE_BYTES]) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = bytes;
        Self([
            u32::from_le_bytes([a, b, c, d]),
            u32::from_le_bytes([e, f, g, h]),
            u32::from_le_bytes([i, j, k, l]),
            u32::from_le_bytes([m, n, o, p]),
        ])
    }

    /// The entry as it lies in memory.
    #[must_use]
    pub fn to_bytes(self) -> [u8; CQE_BYTES] {
        let mut bytes = [0; CQE_BYTES];
        for (chunk, dword) in bytes.chunks_exact_mut(4).zip(self.0) {
            chunk.copy_from_slice(&dword.to_le_bytes());
        }
        bytes
    }

    /// From dwords that are already in the host's byte order.
    #[must_use]
    #[inline]
    pub const fn from_dwords(dwords: [u32; 4]) -> Self {
        Self(dwords)
    }

    /// The four dwords in the host's byte order.
    #[must_use]
    #[inline]
    pub const fn dwords(self) -> [u32; 4] {
        self.0
    }

    /// Command-specific result (DW0).
    #[must_use]
    #[inline]
    pub const fn dw0(self) -> u32 {
        self.0[0]
    }

    /// Command-specific result (DW1).
    #[must_use]
    #[inline]
    pub const fn dw1(self) -> u32 {
        self.0[1]
    }

    /// DW0 and DW1 as one number, as Property Get returns it.
    #[must_use]
    pub const fn result64(self) -> u64 {
        self.0[0] as u64 | (self.0[1] as u64) << 32
    }

    /// Submission queue head pointer (SQHD): every entry before it has been fetched.
    #[must_use]
    #[inline]
    pub const fn sqhd(self) -> u16 {
        low16(self.0[2])
    }

    /// Submission queue identifier (SQID); reserved over fabrics.
    #[must_use]
    #[inline]
    pub const fn sqid(self) -> QueueId {
        QueueId(high16(self.0[2]))
    }

    /// Command identifier (CID).
    #[must_use]
    #[inline]
    pub const fn cid(self) -> CommandId {
        CommandId(low16(self.0[3]))
    }

    /// Phase tag (P), inverted at each pass through the queue; reserved over fabrics.
    #[must_use]
    #[inline]
    pub const fn phase(self) -> bool {
        Self::phase_of_dw3(self.0[3])
    }

    /// The phase tag in a dword 3 that was loaded by itself: a driver polls that dword before it may read the
    /// others.
    #[must_use]
    #[inline]
    pub const fn phase_of_dw3(dw3: u32) -> bool {
        dw3 & (1 << 16) != 0
    }

    /// Status field (STATUS).
    #[must_use]
    #[inline]
    pub const fn status(self) -> Status {
        Status::from_raw(high16(self.0[3]) >> 1)
    }

    /// With the command-specific result `dw0`.
    #[must_use]
    #[inline]
    pub const fn with_dw0(mut self, dw0: u32) -> Self {
        self.0[0] = dw0;
        self
    }

    /// With the command-specific result `dw1`.
    #[must_use]
    #[inline]
    pub const fn with_dw1(mut self, dw1: u32) -> Self {
        self.0[1] = dw1;
        self
    }

    /// With the phase tag set or clear.
    #[must_use]
    #[inline]
    pub const fn with_phase(mut self, phase: bool) -> Self {
        self.0[3] = (self.0[3] & !(1 << 16)) | ((phase as u32) << 16);
        self
    }

    /// With another submission queue head pointer: a controller knows it only when it posts.
    #[must_use]
    #[inline]
    pub const fn with_sqhd(mut self, sqhd: u16) -> Self {
        self.0[2] = join16(sqhd, high16(self.0[2]));
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::StatusCode;

    // Base, Common Completion Queue Entry Layout (in DW3, P is bit 16) and Status Field.
    // LBA Out of Range (SCT 0h, SC 80h) with DNR: status 15 bits 0x4080, so DW3 31:16 is 0x8100 | P.
    const FAILED_READ: [u8; 16] =
        [0x0D, 0x0C, 0x0B, 0x0A, 0x14, 0x13, 0x12, 0x11, 0x22, 0x21, 0x03, 0x00, 0x42, 0x41, 0x01, 0x81];

    #[test]
    fn decodes_the_figure() {
        let cqe = Cqe::from_bytes(FAILED_READ);
        assert_eq!((cqe.dw0(), cqe.dw1()), (0x0A0B_0C0D, 0x1112_1314));
        assert_eq!(cqe.result64(), 0x1112_1314_0A0B_0C0D);
        assert_eq!((cqe.sqhd(), cqe.sqid(), cqe.cid()), (0x2122, QueueId(3), CommandId(0x4142)));
        assert!(cqe.phase() && cqe.status().dnr());
        assert_eq!(cqe.status().code(), StatusCode::LBA_OUT_OF_RANGE);
        assert_eq!(cqe.to_bytes(), FAILED_READ);
    }

    #[test]
    fn encodes_the_figure() {
        let status = Status::new(StatusCode::LBA_OUT_OF_RANGE).with_dnr(true);
        let cqe = Cqe::new(QueueId(3), 0, CommandId(0x4142), status)
            .with_sqhd(0x2122)
            .with_dw0(0x0A0B_0C0D)
            .with_dw1(0x1112_1314);
        assert_eq!(cqe.with_phase(true).to_bytes(), FAILED_READ);
        assert!(!cqe.with_phase(true).with_phase(false).phase());
    }
}
