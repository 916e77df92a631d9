//! From a request's memory to a command's data pointer: PRPs (Base 4.3.1) or SGLs (Base 4.3.2).

use block::InvalidRequest;
use dma::{AccessError, AddressTable, DmaArray, ScatterList, Segment};
use nvme_spec::Sqe;
use nvme_spec::prp::{PageSize, PrpLayout};
use nvme_spec::sgl::{Sgl, SglDescriptor};

/// Our memory page (CC.MPS = 0).
pub(crate) const PAGE: PageSize = PageSize::KIB_4;
/// Bytes of our memory page.
pub(crate) const PAGE_BYTES: u32 = 4096;
/// PRP entries of one list page; every command has one page for its list.
pub(crate) const LIST_ENTRIES_MAX: u32 = PAGE_BYTES / 8;
/// Most bytes of a command: one page by PRP1, which may be a few bytes of a page only, the others by the list.
pub(crate) const TRANSFER_BYTES_MAX: u32 = LIST_ENTRIES_MAX * PAGE_BYTES;
/// SGL descriptors of one page.
const DESCRIPTORS_MAX: u32 = PAGE_BYTES / 16;

/// One page for each command slot: for its PRP list, its SGL, or the ranges of a dataset management command.
#[derive(Debug)]
pub(crate) struct CommandPages {
    words: DmaArray<u64, 1>,
}

impl CommandPages {
    pub(crate) fn new(memory: Segment) -> Result<Self, AccessError> {
        Ok(Self { words: DmaArray::new(memory)? })
    }

    /// The IOVA of a slot's page; `None` if the memory is not attached.
    fn iova(&self, slot: u16, addresses: &AddressTable) -> Option<u64> {
        let base = addresses.get(self.words.region())? + self.words.region_offset();
        Some(base + u64::from(slot) * u64::from(PAGE_BYTES))
    }

    #[inline]
    fn set(&self, slot: u16, entry: u32, value: u64) {
        self.words.store(u32::from(slot) * LIST_ENTRIES_MAX + entry, &[value]);
    }

    fn set_bytes(&self, slot: u16, entry: u32, bytes: [u8; 16]) {
        let (words, _) = bytes.as_chunks::<8>();
        for (at, word) in (entry * 2..).zip(words) {
            self.set(slot, at, u64::from_le_bytes(*word));
        }
    }

    /// Points the command to 16 bytes of its own page.
    pub(crate) fn point_to_bytes(
        &self,
        sqe: &mut Sqe,
        slot: u16,
        addresses: &AddressTable,
        bytes: [u8; 16],
    ) -> Result<(), InvalidRequest> {
        let iova = self.iova(slot, addresses).ok_or(InvalidRequest::NotAttached)?;
        self.set_bytes(slot, 0, bytes);
        sqe.set_prps(iova, 0);
        Ok(())
    }

    /// Points the command to the request's memory. `sgls` says whether the controller takes SGLs.
    #[inline]
    pub(crate) fn point(
        &self,
        sqe: &mut Sqe,
        slot: u16,
        data: &ScatterList,
        addresses: &AddressTable,
        sgls: bool,
    ) -> Result<(), InvalidRequest> {
        match data.segments() {
            [segment] => self.point_to_one(sqe, slot, segment, addresses),
            [] => Ok(()),
            segments if has_page_seams(segments) => self.point_to_pages(sqe, slot, segments, addresses),
            segments if sgls => self.point_by_sgl(sqe, slot, segments, addresses),
            _ => Err(InvalidRequest::Segments),
        }
    }

    #[inline]
    fn point_to_one(
        &self,
        sqe: &mut Sqe,
        slot: u16,
        segment: &Segment,
        addresses: &AddressTable,
    ) -> Result<(), InvalidRequest> {
        let start = iova_of(segment, addresses)?;
        let second = start + PAGE.bytes_to_end(start);
        match PrpLayout::new(PAGE, start, u64::from(segment.bytes())) {
            PrpLayout::Empty => {}
            PrpLayout::One => sqe.set_prps(start, 0),
            PrpLayout::Two => sqe.set_prps(start, second),
            PrpLayout::List(entries) => {
                let entries = self.list_length(entries)?;
                for (entry, page) in (0..entries).zip((second..).step_by(PAGE_BYTES as usize)) {
                    self.set(slot, entry, page);
                }
                sqe.set_prps(start, self.iova(slot, addresses).ok_or(InvalidRequest::NotAttached)?);
            }
        }
        Ok(())
    }

    /// Several segments that meet at page boundaries only.
    fn point_to_pages(
        &self,
        sqe: &mut Sqe,
        slot: u16,
        segments: &[Segment],
        addresses: &AddressTable,
    ) -> Result<(), InvalidRequest> {
        let (mut first, mut second, mut count) = (None, 0, 0);
        for segment in segments.iter().filter(|segment| segment.bytes() > 0) {
            let mut at = iova_of(segment, addresses)?;
            let end = at + u64::from(segment.bytes());
            while at < end {
                if first.is_none() {
                    first = Some(at);
                } else {
                    self.list_length(u64::from(count) + 1)?;
                    self.set(slot, count, at);
                    second = if count == 0 { at } else { second };
                    count += 1;
                }
                at += PAGE.bytes_to_end(at);
            }
        }
        let Some(first) = first else { return Ok(()) };
        let list = self.iova(slot, addresses).ok_or(InvalidRequest::NotAttached)?;
        sqe.set_prps(first, if count > 1 { list } else { second });
        Ok(())
    }

    fn point_by_sgl(
        &self,
        sqe: &mut Sqe,
        slot: u16,
        segments: &[Segment],
        addresses: &AddressTable,
    ) -> Result<(), InvalidRequest> {
        let mut count = 0;
        for segment in segments.iter().filter(|segment| segment.bytes() > 0) {
            if count == DESCRIPTORS_MAX {
                return Err(InvalidRequest::Segments);
            }
            // SGLS may ask for multiples of four bytes, and nobody has others.
            if !segment.bytes().is_multiple_of(4) {
                return Err(InvalidRequest::Segments);
            }
            let descriptor = SglDescriptor::data_block(iova_of(segment, addresses)?, segment.bytes());
            self.set_bytes(slot, count, descriptor.to_bytes());
            count += 1;
        }
        if count == 0 {
            return Ok(());
        }
        let address = self.iova(slot, addresses).ok_or(InvalidRequest::NotAttached)?;
        sqe.set_sgl(SglDescriptor::from(Sgl::LastSegment { address, length: count * 16 }));
        Ok(())
    }

    fn list_length(&self, entries: u64) -> Result<u32, InvalidRequest> {
        match u32::try_from(entries) {
            Ok(entries) if entries <= LIST_ENTRIES_MAX => Ok(entries),
            _ => Err(InvalidRequest::TooLarge),
        }
    }
}

#[inline]
fn iova_of(segment: &Segment, addresses: &AddressTable) -> Result<u64, InvalidRequest> {
    let base = addresses.get(segment.region()).ok_or(InvalidRequest::NotAttached)?;
    let iova = base + segment.region_offset();
    if iova.is_multiple_of(4) { Ok(iova) } else { Err(InvalidRequest::Segments) }
}

/// Whether segments meet at page boundaries only, as PRPs want it. Regions are mapped page by page, so offsets tell.
fn has_page_seams(segments: &[Segment]) -> bool {
    let page = u64::from(PAGE_BYTES);
    let ends =
        |segment: &Segment| (segment.region_offset() + u64::from(segment.bytes())).is_multiple_of(page);
    segments.windows(2).all(|pair| ends(&pair[0]) && pair[1].region_offset().is_multiple_of(page))
}

#[cfg(test)]
mod tests;
