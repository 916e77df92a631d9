//! Moves a command's data between host memory and the buffer.

use nvme_spec::sqe::DataPointer;
use nvme_spec::{Sqe, Status, StatusCode};

use super::{Controller, Fetched};
use crate::data_pointer::{Direction, Extent, Walk};
use crate::faults::Phase;

/// Bytes that are moved at once. A command with more is moved in parts.
pub(super) const PART_BYTES: usize = 1 << 20;

const TRANSFER_ERROR: Status = Status::new(StatusCode::DATA_TRANSFER_ERROR);

/// The controller stopped in the middle of a command; nobody sees this status.
const STOPPED: Status = Status::new(StatusCode::INTERNAL_ERROR);

/// The extents of a walk, consumed part by part.
#[derive(Default)]
pub(super) struct Cursor {
    extent: usize,
    offset: u64,
}

impl Controller {
    /// Finds where a command's data is, and checks that all of it can be reached.
    #[inline]
    pub(super) fn walk(
        &mut self,
        command: &Fetched,
        direction: Direction,
        bytes: u64,
    ) -> Result<Cursor, Status> {
        let page = self.registers.page_size();
        let pointer = self.data_pointer(command.sqid.is_admin(), &command.sqe)?;
        let walk = Walk { iommu: &mut self.iommu, extents: &mut self.extents, direction, bytes };
        match (pointer, self.options.sgl) {
            (DataPointer::Prp { prp1, prp2 }, _) => walk.prps(page, prp1, prp2)?,
            (DataPointer::Sgl(descriptor), Some(support)) => walk.sgl(support, descriptor)?,
            (DataPointer::Sgl(_), None) => return Err(Status::permanent(StatusCode::INVALID_FIELD)),
        }
        if self.pass(Phase::BeforeTransfer) { Ok(Cursor::default()) } else { Err(STOPPED) }
    }

    /// Admin commands over PCIe have PRPs (Base Figure 91, PSDT).
    #[inline]
    fn data_pointer(&self, admin: bool, sqe: &Sqe) -> Result<DataPointer, Status> {
        match sqe.data_pointer() {
            Some(pointer @ DataPointer::Prp { .. }) => Ok(pointer),
            Some(pointer @ DataPointer::Sgl(_)) if !admin => Ok(pointer),
            _ => Err(Status::permanent(StatusCode::INVALID_FIELD)),
        }
    }

    /// Takes the buffer, with room for `bytes`. To be given back with [`Self::give_back`].
    #[inline]
    pub(super) fn take_buffer(&mut self, bytes: usize) -> Vec<u8> {
        let mut buffer = std::mem::take(&mut self.buffer);
        if buffer.len() < bytes {
            buffer.resize(bytes, 0);
        }
        buffer
    }

    #[inline]
    pub(super) fn give_back(&mut self, buffer: Vec<u8>) {
        self.buffer = buffer;
    }

    /// Copies the next bytes of the data to the host.
    #[inline]
    pub(super) fn send(&mut self, cursor: &mut Cursor, from: &[u8]) -> Result<(), Status> {
        let mut rest = from;
        while !rest.is_empty() {
            let (place, bytes) = self.next_part(cursor, rest.len())?;
            let (part, tail) = rest.split_at(bytes);
            if let Some(iova) = place {
                self.iommu.write(iova, part).map_err(|_| TRANSFER_ERROR)?;
            }
            rest = tail;
        }
        Ok(())
    }

    /// Copies the next bytes of the data from the host.
    #[inline]
    pub(super) fn receive(&mut self, cursor: &mut Cursor, into: &mut [u8]) -> Result<(), Status> {
        let mut rest = into;
        while !rest.is_empty() {
            let (place, bytes) = self.next_part(cursor, rest.len())?;
            let (part, tail) = rest.split_at_mut(bytes);
            match place {
                Some(iova) => self.iommu.read(iova, part).map_err(|_| TRANSFER_ERROR)?,
                None => part.fill(0),
            }
            rest = tail;
        }
        Ok(())
    }

    #[inline]
    fn next_part(&self, cursor: &mut Cursor, wanted: usize) -> Result<(Option<u64>, usize), Status> {
        let Some(Extent { iova, bytes }) = self.extents.list().get(cursor.extent).copied() else {
            return Err(TRANSFER_ERROR);
        };
        let place = iova.map(|start| start + cursor.offset);
        let left = usize::try_from(bytes - cursor.offset).unwrap_or(usize::MAX);
        let part = left.min(wanted);
        cursor.offset += part as u64;
        if part == left {
            *cursor = Cursor { extent: cursor.extent + 1, offset: 0 };
        }
        Ok((place, part))
    }

    /// Sends a whole answer, of which the host wants the first `wanted` bytes.
    pub(super) fn reply(&mut self, command: &Fetched, data: &[u8]) -> Result<u32, Status> {
        let mut cursor = self.walk(command, Direction::ToHost, data.len() as u64)?;
        self.send(&mut cursor, data)?;
        self.pass(Phase::AfterTransfer);
        Ok(0)
    }

    /// Receives a whole parameter block.
    pub(super) fn parameters<const BYTES: usize>(
        &mut self,
        command: &Fetched,
    ) -> Result<[u8; BYTES], Status> {
        let mut data = [0; BYTES];
        let mut cursor = self.walk(command, Direction::ToController, BYTES as u64)?;
        self.receive(&mut cursor, &mut data)?;
        Ok(data)
    }
}
