//! Walks a command's data pointer: PRPs and SGLs, as a host that may be wrong or hostile wrote them.
//!
//! A walk checks everything before the first byte moves, so a command that is refused has moved none.

use nvme_spec::prp::{self, ListSlot, PRP_ENTRY_BYTES, PageSize, PrpLayout};
use nvme_spec::sgl::{SGL_DESCRIPTOR_BYTES, Sgl, SglDescriptor};
use nvme_spec::{Status, StatusCode};

use crate::iommu::Iommu;

/// The most SGL segments of one command: bounds a list that points to itself.
const SGL_SEGMENTS_MAX: u32 = 256;

/// The most SGL descriptors of one command.
const SGL_DESCRIPTORS_MAX: u64 = 16_384;

/// Bytes of a list that are read at once: an ordinary page, which holds 512 PRP entries or 256 SGL descriptors.
const LIST_BYTES: usize = 4096;

/// Which way the data goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// From the host.
    ToController,
    /// To the host.
    ToHost,
}

/// What the controller can do with SGLs: fields of SGLS in Identify Controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SglSupport {
    /// Data blocks must begin at dwords and have lengths of dwords.
    pub dword_aligned: bool,
    /// Bit buckets are known.
    pub bit_bucket: bool,
}

/// Some contiguous bytes of a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    /// Where; `None` drops the bytes (a bit bucket).
    pub(crate) iova: Option<u64>,
    /// Number of bytes.
    pub(crate) bytes: u64,
}

/// The extents of one command's data, in order. Kept between commands, so that a walk does not allocate.
#[derive(Debug, Default)]
pub(crate) struct Extents {
    list: Vec<Extent>,
    bytes: u64,
}

impl Extents {
    /// In order; together as long as the walk was told.
    pub(crate) fn list(&self) -> &[Extent] {
        &self.list
    }

    pub(crate) fn clear(&mut self) {
        self.list.clear();
        self.bytes = 0;
    }

    fn push(&mut self, extent: Extent) {
        self.bytes += extent.bytes;
        if let (Some(last), Some(iova)) = (self.list.last_mut(), extent.iova)
            && last.iova.is_some_and(|start| start.checked_add(last.bytes) == Some(iova))
        {
            last.bytes += extent.bytes;
            return;
        }
        self.list.push(extent);
    }
}

/// A transfer that a walk is for.
pub(crate) struct Walk<'a> {
    /// The way to memory.
    pub(crate) iommu: &'a mut Iommu,
    /// Where the extents go.
    pub(crate) extents: &'a mut Extents,
    /// Which way the data goes.
    pub(crate) direction: Direction,
    /// Bytes of the command's data.
    pub(crate) bytes: u64,
}

fn transfer_error(_: crate::iommu::DmaFault) -> Status {
    Status::new(StatusCode::DATA_TRANSFER_ERROR)
}

impl Walk<'_> {
    fn add(&mut self, iova: u64, bytes: u64) -> Result<(), Status> {
        self.iommu.check(iova, bytes, self.direction == Direction::ToHost).map_err(transfer_error)?;
        self.extents.push(Extent { iova: Some(iova), bytes });
        Ok(())
    }

    fn left(&self) -> u64 {
        self.bytes - self.extents.bytes
    }

    /// Walks PRPs (Base 4.3.1).
    pub(crate) fn prps(mut self, page: PageSize, prp1: u64, prp2: u64) -> Result<(), Status> {
        self.extents.clear();
        if self.bytes == 0 {
            return Ok(());
        }
        prp::check_first(prp1).map_err(|error| Status::permanent(error.status_code()))?;
        let layout = PrpLayout::new(page, prp1, self.bytes);
        self.add(prp1, page.bytes_to_end(prp1).min(self.bytes))?;
        match layout {
            PrpLayout::Empty | PrpLayout::One => Ok(()),
            PrpLayout::Two => self.page(page, prp2),
            PrpLayout::List(entries) => {
                prp::check_list(prp2).map_err(|error| Status::permanent(error.status_code()))?;
                self.list(page, prp2, entries)
            }
        }
    }

    fn page(&mut self, page: PageSize, entry: u64) -> Result<(), Status> {
        prp::check_page(page, entry).map_err(|error| Status::permanent(error.status_code()))?;
        let bytes = page.bytes().min(self.left());
        self.add(entry, bytes)
    }

    fn list(&mut self, page: PageSize, start: u64, entries: u64) -> Result<(), Status> {
        let (mut at, mut remaining) = (start, entries);
        let mut chunk = [0; LIST_BYTES];
        while remaining > 0 {
            let wanted = (remaining * PRP_ENTRY_BYTES as u64).min(page.bytes_to_end(at));
            let bytes = usize::try_from(wanted).map_or(LIST_BYTES, |bytes| bytes.min(LIST_BYTES));
            self.iommu.read(at, &mut chunk[..bytes]).map_err(transfer_error)?;
            let mut next = at + bytes as u64;
            for slot in chunk[..bytes].as_chunks::<PRP_ENTRY_BYTES>().0 {
                let entry = u64::from_le_bytes(*slot);
                match ListSlot::at(page, at, remaining) {
                    ListSlot::Data => {
                        self.page(page, entry)?;
                        remaining -= 1;
                    }
                    ListSlot::NextList => {
                        prp::check_next_list(page, entry)
                            .map_err(|error| Status::permanent(error.status_code()))?;
                        next = entry;
                    }
                }
                at += PRP_ENTRY_BYTES as u64;
            }
            at = next;
        }
        Ok(())
    }

    /// Walks an SGL from the descriptor in the command (Base 4.3.2).
    pub(crate) fn sgl(mut self, support: SglSupport, first: SglDescriptor) -> Result<(), Status> {
        self.extents.clear();
        let mut next = self.descriptor(support, first, true)?;
        let (mut segments, mut descriptors) = (0, 1);
        while let Some(segment) = next {
            segments += 1;
            descriptors += u64::from(segment.bytes) / SGL_DESCRIPTOR_BYTES as u64;
            if segments > SGL_SEGMENTS_MAX || descriptors > SGL_DESCRIPTORS_MAX {
                return Err(Status::permanent(StatusCode::INVALID_NUMBER_OF_SGL_DESCRIPTORS));
            }
            next = self.segment(support, segment)?;
        }
        if self.left() > 0 {
            return Err(Status::permanent(StatusCode::DATA_SGL_LENGTH_INVALID));
        }
        Ok(())
    }

    fn segment(&mut self, support: SglSupport, segment: Segment) -> Result<Option<Segment>, Status> {
        let mut chunk = [0; LIST_BYTES];
        let (mut at, end) = (segment.address, segment.address.saturating_add(u64::from(segment.bytes)));
        let mut next = None;
        while at < end {
            let bytes = usize::try_from(end - at).map_or(LIST_BYTES, |bytes| bytes.min(LIST_BYTES));
            self.iommu.read(at, &mut chunk[..bytes]).map_err(transfer_error)?;
            for raw in chunk[..bytes].as_chunks::<SGL_DESCRIPTOR_BYTES>().0 {
                if next.is_some() {
                    // A segment descriptor is the last of its segment.
                    return Err(Status::permanent(StatusCode::INVALID_SGL_SEGMENT_DESCRIPTOR));
                }
                next = self.descriptor(support, SglDescriptor::from_bytes(*raw), !segment.last)?;
            }
            at += bytes as u64;
        }
        if next.is_none() && !segment.last {
            return Err(Status::permanent(StatusCode::INVALID_SGL_SEGMENT_DESCRIPTOR));
        }
        Ok(next)
    }

    /// Takes one descriptor; gives back the segment that it points to.
    fn descriptor(
        &mut self,
        support: SglSupport,
        descriptor: SglDescriptor,
        may_be_segment: bool,
    ) -> Result<Option<Segment>, Status> {
        let sgl = Sgl::try_from(descriptor).map_err(|error| Status::permanent(error.status_code()))?;
        match sgl {
            Sgl::DataBlock { address, length } => {
                self.data_block(support, address, length)?;
                Ok(None)
            }
            Sgl::BitBucket { length } if support.bit_bucket => {
                self.bit_bucket(length)?;
                Ok(None)
            }
            Sgl::Segment { address, length } if may_be_segment => {
                Ok(Some(Segment { address, bytes: length, last: false }))
            }
            Sgl::LastSegment { address, length } if may_be_segment => {
                Ok(Some(Segment { address, bytes: length, last: true }))
            }
            Sgl::Segment { .. } | Sgl::LastSegment { .. } => {
                Err(Status::permanent(StatusCode::INVALID_SGL_SEGMENT_DESCRIPTOR))
            }
            _ => Err(Status::permanent(StatusCode::SGL_DESCRIPTOR_TYPE_INVALID)),
        }
    }

    fn data_block(&mut self, support: SglSupport, address: u64, length: u32) -> Result<(), Status> {
        if support.dword_aligned && !(address.is_multiple_of(4) && length.is_multiple_of(4)) {
            return Err(Status::permanent(StatusCode::SGL_DATA_BLOCK_GRANULARITY_INVALID));
        }
        let bytes = self.admit(length)?;
        if bytes > 0 { self.add(address, bytes) } else { Ok(()) }
    }

    /// A bit bucket takes bytes of a read; in a write it says nothing (Base 4.3.2.1).
    fn bit_bucket(&mut self, length: u32) -> Result<(), Status> {
        if self.direction == Direction::ToHost {
            let bytes = self.admit(length)?;
            self.extents.push(Extent { iova: None, bytes });
        }
        Ok(())
    }

    /// Checks that the transfer still takes a descriptor's bytes: SGLS says that no SGL is longer than the data.
    fn admit(&self, length: u32) -> Result<u64, Status> {
        let length = u64::from(length);
        if length > self.left() {
            Err(Status::permanent(StatusCode::DATA_SGL_LENGTH_INVALID))
        } else {
            Ok(length)
        }
    }
}

/// Where the next descriptors are.
#[derive(Clone, Copy)]
struct Segment {
    address: u64,
    bytes: u32,
    last: bool,
}
