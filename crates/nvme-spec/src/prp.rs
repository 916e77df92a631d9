//! Physical region pages: what a data pointer of PRPs needs (Base, Physical Region Page Entry and List).
//!
//! Only the first entry may have an offset into its page; every further entry names a whole page. A list
//! ends at a page boundary; when more entries are due, its last slot points to the next list page.

use crate::status::StatusCode;

/// The size of a PRP entry in bytes.
pub const PRP_ENTRY_BYTES: usize = 8;

/// The memory page size that CC.MPS selects: a power of two from 4 KiB to 128 MiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PageSize(u8);

impl PageSize {
    /// 4 KiB, CC.MPS = 0.
    pub const KIB_4: Self = Self(0);

    /// From the value of CC.MPS (or CAP.MPSMIN, CAP.MPSMAX), of which the low four bits count.
    #[must_use]
    pub const fn from_mps(mps: u8) -> Self {
        Self(mps & 0xF)
    }

    /// The value of CC.MPS.
    #[must_use]
    pub const fn mps(self) -> u8 {
        self.0
    }

    /// In bytes: 2^(12 + MPS).
    #[must_use]
    #[inline]
    pub const fn bytes(self) -> u64 {
        4096 << self.0
    }

    /// How many entries a page of a PRP list has.
    #[must_use]
    #[inline]
    pub const fn entries(self) -> u64 {
        self.bytes() / PRP_ENTRY_BYTES as u64
    }

    /// The offset of an address in its page, in bytes.
    #[must_use]
    #[inline]
    pub const fn offset(self, address: u64) -> u64 {
        address & (self.bytes() - 1)
    }

    /// How many bytes from this address to the end of its page: 1..=page size.
    #[must_use]
    #[inline]
    pub const fn bytes_to_end(self, address: u64) -> u64 {
        self.bytes() - self.offset(address)
    }

    /// How many PRP entries `length` bytes from `address` on need, the first one included; 0 for no data.
    ///
    /// Holds for memory whose pages follow each other in IOVA order as for pages that do not, since every
    /// entry but the first starts at a page boundary.
    #[must_use]
    #[inline]
    pub const fn entries_for(self, address: u64, length: u64) -> u64 {
        let in_first = self.bytes_to_end(address);
        if length == 0 { 0 } else { 1 + length.saturating_sub(in_first).div_ceil(self.bytes()) }
    }
}

/// What PRP1 and PRP2 are for a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PrpLayout {
    /// No data: both are reserved.
    Empty,
    /// PRP1 covers all of it; PRP2 is reserved.
    One,
    /// PRP1 and PRP2 are data pages.
    Two,
    /// PRP1 is a data page and PRP2 points to a list of this many further entries.
    List(u64),
}

impl PrpLayout {
    /// The layout for `length` bytes from `address` on.
    #[must_use]
    #[inline]
    pub const fn new(page_size: PageSize, address: u64, length: u64) -> Self {
        match page_size.entries_for(address, length) {
            0 => Self::Empty,
            1 => Self::One,
            2 => Self::Two,
            more => Self::List(more - 1),
        }
    }
}

/// What a slot of a PRP list holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ListSlot {
    /// A data page.
    Data,
    /// The address of the next page of the list.
    NextList,
}

impl ListSlot {
    /// What the slot at `slot_address` holds when `remaining` entries (1 or more) are still to be found: the
    /// last slot of a page is the next list's address if more than one entry is due.
    #[must_use]
    #[inline]
    pub const fn at(page_size: PageSize, slot_address: u64, remaining: u64) -> Self {
        let is_last = page_size.bytes_to_end(slot_address) <= PRP_ENTRY_BYTES as u64;
        if is_last && remaining > 1 { Self::NextList } else { Self::Data }
    }
}

/// How many pages a list of `entries` takes when its first page is used from its start.
#[must_use]
pub const fn list_pages(page_size: PageSize, entries: u64) -> u64 {
    let chained = page_size.entries() - 1;
    if entries == 0 { 0 } else { (entries - 1).div_ceil(chained) + (entries == 1) as u64 }
}

/// A PRP entry that a controller refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrpError {
    /// PRP1 is not dword aligned.
    #[error("PRP1 {0:#x} is not dword aligned")]
    FirstNotAligned(u64),
    /// An entry other than the first has an offset into its page.
    #[error("PRP entry {0:#x} does not start a page")]
    OffsetNotZero(u64),
    /// The address of a list is not qword aligned, or that of a later page of it does not start a page.
    #[error("PRP list address {0:#x} is not aligned")]
    ListNotAligned(u64),
}

impl PrpError {
    /// The status that a controller answers with.
    #[must_use]
    pub const fn status_code(self) -> StatusCode {
        StatusCode::PRP_OFFSET_INVALID
    }
}

/// Checks a first entry: bits 1:0 are zero.
///
/// # Errors
/// [`PrpError::FirstNotAligned`].
pub const fn check_first(prp1: u64) -> Result<(), PrpError> {
    if prp1.is_multiple_of(4) { Ok(()) } else { Err(PrpError::FirstNotAligned(prp1)) }
}

/// Checks an entry that must start a page: the second data page, or one in a list.
///
/// # Errors
/// [`PrpError::OffsetNotZero`].
pub const fn check_page(page_size: PageSize, entry: u64) -> Result<(), PrpError> {
    if page_size.offset(entry) == 0 { Ok(()) } else { Err(PrpError::OffsetNotZero(entry)) }
}

/// Checks PRP2 as the address of a list: it may start within a page, qword aligned.
///
/// # Errors
/// [`PrpError::ListNotAligned`].
pub const fn check_list(prp2: u64) -> Result<(), PrpError> {
    if prp2.is_multiple_of(8) { Ok(()) } else { Err(PrpError::ListNotAligned(prp2)) }
}

/// Checks the last slot of a list page as the address of the next one, which starts a page.
///
/// # Errors
/// [`PrpError::ListNotAligned`].
pub const fn check_next_list(page_size: PageSize, entry: u64) -> Result<(), PrpError> {
    if page_size.offset(entry) == 0 { Ok(()) } else { Err(PrpError::ListNotAligned(entry)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const P: PageSize = PageSize::KIB_4;

    #[test]
    fn page_sizes_of_every_mps() {
        for mps in 0..16 {
            let page = PageSize::from_mps(mps);
            assert_eq!((page.bytes(), page.mps()), (2_u64.pow(12 + u32::from(mps)), mps));
            assert_eq!(page.entries() * 8, page.bytes());
        }
    }

    /// Counts pages one by one: the slow way is the oracle.
    fn pages_touched(address: u64, length: u64) -> u64 {
        let mut pages: Vec<u64> = (address..address + length).map(|byte| byte / 4096).collect();
        pages.dedup();
        pages.len() as u64
    }

    #[test]
    fn entries_are_the_pages_touched() {
        for address in [0, 4, 512, 4092, 4096, 0x1_0FFC] {
            for length in [0, 1, 4, 512, 4092, 4096, 4097, 8191, 8192, 8193, 12288, 20000] {
                assert_eq!(P.entries_for(address, length), pages_touched(address, length));
            }
        }
        assert_eq!(P.entries_for(0, u64::MAX), 1 << 52);
        assert_eq!(P.entries_for(u64::MAX - 3, u64::MAX), (1 << 52) + 1);
    }

    #[test]
    fn layout_by_number_of_pages() {
        assert_eq!(PrpLayout::new(P, 0x1000, 0), PrpLayout::Empty);
        assert_eq!(PrpLayout::new(P, 0x1000, 4096), PrpLayout::One);
        assert_eq!(PrpLayout::new(P, 0x1200, 4096), PrpLayout::Two);
        assert_eq!(PrpLayout::new(P, 0x1200, 8192), PrpLayout::List(2));
        assert_eq!(PrpLayout::new(P, 0x1000, 0x20_0000), PrpLayout::List(511));
    }

    /// Lays a list out slot by slot, as the controller walks it.
    fn walk(entries: u64) -> u64 {
        let (mut pages, mut slot, mut remaining) = (1, 0, entries);
        while remaining > 0 {
            match ListSlot::at(P, slot, remaining) {
                ListSlot::Data => remaining -= 1,
                ListSlot::NextList => pages += 1,
            }
            slot += 8;
        }
        pages
    }

    #[test]
    fn list_pages_agree_with_a_walk() {
        assert_eq!(list_pages(P, 0), 0);
        for entries in 1..3000 {
            assert_eq!(list_pages(P, entries), walk(entries), "{entries} entries");
        }
    }

    #[test]
    fn the_last_slot_is_data_when_nothing_follows() {
        assert_eq!(ListSlot::at(P, 0x1FF8, 1), ListSlot::Data);
        assert_eq!(ListSlot::at(P, 0x1FF8, 2), ListSlot::NextList);
        assert_eq!(ListSlot::at(P, 0x1FF0, 2), ListSlot::Data);
    }

    #[test]
    fn alignment_rules() {
        assert!(check_first(0x1004).is_ok() && check_first(0x1002).is_err());
        assert!(check_page(P, 0x2000).is_ok() && check_page(P, 0x2004).is_err());
        assert!(check_list(0x2008).is_ok() && check_list(0x2004).is_err());
        assert!(check_next_list(P, 0x3000).is_ok() && check_next_list(P, 0x3008).is_err());
        assert_eq!(check_first(1).unwrap_err().status_code().raw(), 0x013);
    }
}
