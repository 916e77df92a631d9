//! Doorbells (PCIe, Doorbell Registers).

use crate::ids::QueueId;

/// Where the doorbells start in BAR0, in bytes.
pub const DOORBELLS_OFFSET: u32 = 0x1000;

/// The two doorbells of a queue identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Doorbell {
    /// Submission Queue y Tail Doorbell (SQyTDBL), which the host moves by submitting.
    SqTail,
    /// Completion Queue y Head Doorbell (CQyHDBL), which the host moves by consuming.
    CqHead,
}

/// Doorbell stride (CAP.DSTRD): doorbells are 4 << DSTRD bytes apart. A shadow doorbell buffer has the same
/// stride and starts at its byte 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct DoorbellStride(u8);

impl DoorbellStride {
    /// From CAP.DSTRD, of which the low four bits count.
    #[must_use]
    pub const fn from_raw(dstrd: u8) -> Self {
        Self(dstrd & 0xF)
    }

    /// The value of CAP.DSTRD.
    #[must_use]
    pub const fn raw(self) -> u8 {
        self.0
    }

    /// The distance of two doorbells in bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        4 << self.0
    }

    /// The offset of a doorbell from the first one, in bytes: (2y + (CQ ? 1 : 0)) * stride.
    ///
    /// 64 bits, since queue 65535 with the widest stride is beyond 4 GiB.
    #[must_use]
    pub const fn offset_in_array(self, queue: QueueId, doorbell: Doorbell) -> u64 {
        let index = queue.0 as u64 * 2 + matches!(doorbell, Doorbell::CqHead) as u64;
        index << (2 + self.0)
    }

    /// The offset of a doorbell in BAR0, in bytes.
    #[must_use]
    pub const fn offset(self, queue: QueueId, doorbell: Doorbell) -> u64 {
        DOORBELLS_OFFSET as u64 + self.offset_in_array(queue, doorbell)
    }

    /// Which doorbell is at this offset of BAR0; `None` outside the doorbells and between them.
    #[must_use]
    pub fn doorbell_at(self, offset: u64) -> Option<(QueueId, Doorbell)> {
        let from_first = offset.checked_sub(u64::from(DOORBELLS_OFFSET))?;
        if !from_first.is_multiple_of(self.bytes()) {
            return None;
        }
        let index = from_first / self.bytes();
        let doorbell = if index.is_multiple_of(2) { Doorbell::SqTail } else { Doorbell::CqHead };
        u16::try_from(index / 2).ok().map(|queue| (QueueId(queue), doorbell))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_of_the_clause() {
        // PCIe, SQyTDBL: 1000h + (2y * (4 << DSTRD)); CQyHDBL: 1000h + ((2y + 1) * (4 << DSTRD)).
        let packed = DoorbellStride::from_raw(0);
        assert_eq!(packed.offset(QueueId(0), Doorbell::SqTail), 0x1000);
        assert_eq!(packed.offset(QueueId(0), Doorbell::CqHead), 0x1004);
        assert_eq!(packed.offset(QueueId(3), Doorbell::CqHead), 0x101C);
        let wide = DoorbellStride::from_raw(4);
        assert_eq!(wide.offset(QueueId(1), Doorbell::SqTail), 0x1080);
        let widest = DoorbellStride::from_raw(15);
        assert_eq!(widest.offset(QueueId(65535), Doorbell::CqHead), 0x1000 + 131_071 * 131_072);
    }

    #[test]
    fn offsets_name_their_doorbell() {
        let wide = DoorbellStride::from_raw(1);
        assert_eq!(wide.doorbell_at(0x1000), Some((QueueId(0), Doorbell::SqTail)));
        assert_eq!(wide.doorbell_at(0x1018), Some((QueueId(1), Doorbell::CqHead)));
        for nowhere in [0x0FFC, 0x1004, 0x1019, 0x1000 + 131_072 * 8, u64::MAX] {
            assert_eq!(wide.doorbell_at(nowhere), None, "{nowhere:#x}");
        }
    }
}
