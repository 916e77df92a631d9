//! The addresses that a device can use: which ranges the IOMMU allows, and what is mapped in them.

use std::collections::BTreeMap;

use dma::HUGE_PAGE_BYTES;

/// `struct vfio_iommu_type1_info` (linux/vfio.h): where the first capability is.
const CAP_OFFSET_AT: usize = 16;
/// Its flag that there are capabilities, at byte 4.
const INFO_CAPS: u32 = vfio_bindings::bindings::vfio::VFIO_IOMMU_INFO_CAPS;
/// The capability that lists address ranges.
const CAP_IOVA_RANGE: u32 = vfio_bindings::bindings::vfio::VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE;
/// Most capabilities that are looked at, so that a circle ends.
const CAPABILITIES_MAX: usize = 64;
/// Most ranges of a list.
const RANGES_MAX: usize = 1024;

/// Addresses that are never given out: null is a value that hardware and debuggers trip over.
const FIRST_IOVA: u64 = 1 << 20;

/// Consecutive addresses, both ends included: a range may end at the last address there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct IovaRange {
    pub(super) first: u64,
    pub(super) last: u64,
}

/// What an IOMMU allows if its driver does not say (Linux before 5.4): 39 bits, which every IOMMU has, without the
/// window of message-signalled interrupts.
const USUAL_RANGES: [IovaRange; 2] =
    [IovaRange { first: 0, last: 0xfedf_ffff }, IovaRange { first: 0xfef0_0000, last: (1 << 39) - 1 }];

impl IovaRange {
    /// `bytes` addresses from `first`; `None` if there are none, or not so many.
    pub(super) fn new(first: u64, bytes: u64) -> Option<Self> {
        Some(Self { first, last: first.checked_add(bytes.checked_sub(1)?)? })
    }

    fn holds(self, other: Self) -> bool {
        self.first <= other.first && other.last <= self.last
    }

    fn overlaps(self, other: Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

/// The ranges in the answer to `VFIO_IOMMU_GET_INFO`, or the usual ones.
pub(super) fn allowed_ranges(info: &[u8]) -> Vec<IovaRange> {
    read_ranges(info).filter(|ranges| !ranges.is_empty()).unwrap_or_else(|| USUAL_RANGES.to_vec())
}

fn read_ranges(info: &[u8]) -> Option<Vec<IovaRange>> {
    let flags = word(info, 4)?;
    let mut at = if flags & INFO_CAPS == 0 { 0 } else { word(info, CAP_OFFSET_AT)? as usize };
    for _ in 0..CAPABILITIES_MAX {
        if at == 0 {
            return None;
        }
        // struct vfio_info_cap_header: id and version, 16 bits each, then the next capability's offset.
        if word(info, at)? & u32::from(u16::MAX) == CAP_IOVA_RANGE {
            return Some(range_list(info, at));
        }
        at = word(info, at + 4)? as usize;
    }
    None
}

/// `struct vfio_iommu_type1_info_cap_iova_range`: header, count, reserved, then pairs of 64-bit addresses.
fn range_list(info: &[u8], at: usize) -> Vec<IovaRange> {
    let count = word(info, at + 8).map_or(0, |count| count as usize).min(RANGES_MAX);
    let range = |index: usize| {
        let at = at + 16 + 16 * index;
        Some(IovaRange { first: long(info, at)?, last: long(info, at + 8)? })
    };
    (0..count).map_while(range).filter(|range| range.first <= range.last).collect()
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|chunk| u32::from_ne_bytes(*chunk))
}

fn long(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|chunk| u64::from_ne_bytes(*chunk))
}

/// Which addresses of the allowed ones are in use.
#[derive(Debug)]
pub(super) struct IovaSpace {
    allowed: Vec<IovaRange>,
    /// By first address; no two overlap.
    taken: BTreeMap<u64, IovaRange>,
}

impl IovaSpace {
    pub(super) fn new(allowed: Vec<IovaRange>) -> Self {
        Self { allowed, taken: BTreeMap::new() }
    }

    /// Takes `bytes` addresses: those at `wish` if they can be had, which makes addresses in traces and dumps those of
    /// the process; otherwise the lowest that are free. `None` if there is no room.
    pub(super) fn take(&mut self, wish: u64, bytes: u64) -> Option<IovaRange> {
        let range = self.wished(wish, bytes).or_else(|| self.lowest(bytes))?;
        self.taken.insert(range.first, range);
        Some(range)
    }

    pub(super) fn give_back(&mut self, range: IovaRange) {
        let was = self.taken.remove(&range.first);
        assert_eq!(was, Some(range), "what is given back was taken");
    }

    fn wished(&self, wish: u64, bytes: u64) -> Option<IovaRange> {
        let range = IovaRange::new(wish, bytes)?;
        let is_allowed = self.allowed.iter().any(|allowed| allowed.holds(range));
        (is_allowed && self.blocker(range).is_none()).then_some(range)
    }

    /// The taken range that is in the way of `range`, the last of them.
    fn blocker(&self, range: IovaRange) -> Option<IovaRange> {
        let (_, before) = self.taken.range(..=range.last).next_back()?;
        before.overlaps(range).then_some(*before)
    }

    fn lowest(&self, bytes: u64) -> Option<IovaRange> {
        self.allowed.iter().find_map(|allowed| {
            let mut candidate = aligned(allowed.first.max(FIRST_IOVA), bytes)?;
            // Each taken range is in the way at most once, as the candidate moves behind it.
            for _ in 0..=self.taken.len() {
                if !allowed.holds(candidate) {
                    return None;
                }
                match self.blocker(candidate) {
                    None => return Some(candidate),
                    Some(blocker) => candidate = aligned(blocker.last.checked_add(1)?, bytes)?,
                }
            }
            None
        })
    }
}

/// The first `bytes` addresses from `first` that large IOMMU pages fit.
fn aligned(first: u64, bytes: u64) -> Option<IovaRange> {
    let huge = HUGE_PAGE_BYTES as u64;
    let first = first.checked_next_multiple_of(huge)?;
    IovaRange::new(first, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn range(first: u64, last: u64) -> IovaRange {
        IovaRange { first, last }
    }

    /// What an Intel machine answers: a migration capability, then two ranges around the interrupt window.
    fn intel() -> Vec<u8> {
        let mut info = Vec::new();
        for word in [104u32, 0b11, 0x4020_1000, 0, 24, 0] {
            info.extend(word.to_ne_bytes());
        }
        info.extend([2u16, 1].map(u16::to_ne_bytes).concat());
        info.extend([56u32, 0, 0].map(u32::to_ne_bytes).concat());
        info.extend([4096u64, 1 << 30].map(u64::to_ne_bytes).concat());
        info.extend([1u16, 1].map(u16::to_ne_bytes).concat());
        info.extend([0u32, 2, 0].map(u32::to_ne_bytes).concat());
        info.extend([0u64, 0xfedf_ffff, 0xfef0_0000, (1 << 48) - 1].map(u64::to_ne_bytes).concat());
        assert_eq!(info.len(), 104);
        info
    }

    #[test]
    fn the_kernels_ranges_are_read() {
        let ranges = allowed_ranges(&intel());
        assert_eq!(ranges, [range(0, 0xfedf_ffff), range(0xfef0_0000, (1 << 48) - 1)]);
    }

    #[test]
    fn an_answer_without_ranges_means_the_usual_ones() {
        let mut without = intel();
        without[4..8].copy_from_slice(&1u32.to_ne_bytes());
        assert_eq!(allowed_ranges(&without), USUAL_RANGES);
        assert_eq!(allowed_ranges(&[]), USUAL_RANGES);
        let mut circle = intel();
        circle[28..32].copy_from_slice(&24u32.to_ne_bytes());
        assert_eq!(allowed_ranges(&circle), USUAL_RANGES);
        let mut short = intel();
        short.truncate(60);
        assert_eq!(allowed_ranges(&short), USUAL_RANGES);
    }

    #[test]
    fn a_wish_is_granted_where_it_can_be() {
        let mut space = IovaSpace::new(allowed_ranges(&intel()));
        assert_eq!(space.take(0x7fff_0000_0000, MIB), IovaRange::new(0x7fff_0000_0000, MIB));
        // Beyond the aperture, across the interrupt window, and where something is already: elsewhere.
        assert_eq!(space.take(1 << 48, MIB), IovaRange::new(2 * MIB, MIB));
        assert_eq!(space.take(0xfedf_f000, 0x2000), IovaRange::new(4 * MIB, 0x2000));
        assert_eq!(space.take(0x7fff_0000_1000, 4096), IovaRange::new(6 * MIB, 4096));
    }

    #[test]
    fn what_is_given_back_is_taken_again() {
        let mut space = IovaSpace::new(vec![range(0, 8 * MIB - 1)]);
        let first = space.take(u64::MAX, 2 * MIB).unwrap();
        let second = space.take(u64::MAX, 2 * MIB).unwrap();
        assert_eq!((first.first, second.first), (2 * MIB, 4 * MIB));
        assert_eq!(space.take(u64::MAX, 4 * MIB), None);
        space.give_back(first);
        assert_eq!(space.take(u64::MAX, MIB), IovaRange::new(2 * MIB, MIB));
        assert_eq!(space.take(6 * MIB, 2 * MIB), IovaRange::new(6 * MIB, 2 * MIB));
        assert_eq!(space.take(u64::MAX, MIB), None);
    }

    #[test]
    fn the_end_of_the_address_space_is_no_trap() {
        let mut space = IovaSpace::new(vec![range(u64::MAX - 2 * MIB + 1, u64::MAX)]);
        assert_eq!(space.take(u64::MAX, MIB), IovaRange::new(u64::MAX - 2 * MIB + 1, MIB));
        assert_eq!(space.take(u64::MAX, 2 * MIB), None);
        assert_eq!(space.take(0, 0), None);
    }
}
