//! I/O commands of the NVM command set (NVM 3.3).

use nvme_spec::command::{BlockIo, DatasetManagement, DsmAttributes, DsmRange, IoControl, NvmCommand};
use nvme_spec::sqe::Fuse;
use nvme_spec::{LbaRange, Nsid, Status, StatusCode};

use super::namespace::Namespace;
use super::reservations::Access;
use super::transfer::PART_BYTES;
use super::{Answer, Controller, Fetched};
use crate::data_pointer::Direction;
use crate::faults::Phase;
use crate::media::{Durability, MediaError};

/// The status of a medium's failure.
pub(super) fn media_status(error: &MediaError) -> Status {
    tracing::warn!(%error, "the medium of a software SSD failed");
    match error {
        MediaError::Read { .. } => Status::new(StatusCode::UNRECOVERED_READ_ERROR),
        MediaError::Write { .. } => Status::new(StatusCode::WRITE_FAULT),
        MediaError::Sync { .. } | MediaError::Note { .. } | MediaError::Size { .. } => {
            Status::new(StatusCode::INTERNAL_ERROR)
        }
    }
}

impl Controller {
    #[inline]
    pub(super) fn execute_nvm(&mut self, command: Fetched) -> Answer {
        let decoded = NvmCommand::try_from(&command.sqe)?;
        if command.sqe.fuse() != Some(Fuse::Normal) {
            return Err(Status::permanent(StatusCode::INVALID_FIELD));
        }
        match decoded {
            NvmCommand::Read(io) => self.read(&command, &io),
            NvmCommand::Write(io) => self.write(&command, &io),
            NvmCommand::Flush(nsid) => self.flush(nsid),
            NvmCommand::Compare(io) => self.compare(&command, &io),
            NvmCommand::Verify(io) => self.verify(&io),
            NvmCommand::WriteZeroes(io) => self.write_zeroes(&io),
            NvmCommand::WriteUncorrectable(io) => self.write_uncorrectable(&io),
            NvmCommand::DatasetManagement(dsm) => self.dataset_management(&command, &dsm),
            NvmCommand::ReservationRegister(register) => self.reservation_register(&command, &register),
            NvmCommand::ReservationAcquire(acquire) => self.reservation_acquire(&command, &acquire),
            NvmCommand::ReservationRelease(release) => self.reservation_release(&command, &release),
            NvmCommand::ReservationReport(report) => self.reservation_report(&command, &report),
        }
    }

    /// The namespace of a command, if the current host may access it.
    #[inline]
    pub(super) fn admit(&mut self, nsid: Nsid, access: Access) -> Result<&mut Namespace, Status> {
        let host = self.features.host();
        let namespace = self.namespaces.of_command(self.options.namespaces_max, nsid)?;
        if !namespace.reservations.allows(host, access) {
            return Err(Status::permanent(StatusCode::RESERVATION_CONFLICT));
        }
        if access == Access::Write && namespace.write_protected {
            return Err(Status::permanent(StatusCode::NAMESPACE_IS_WRITE_PROTECTED));
        }
        Ok(namespace)
    }

    /// The namespace of a command on blocks that exist.
    #[inline]
    fn admit_blocks(
        &mut self,
        nsid: Nsid,
        range: LbaRange,
        access: Access,
    ) -> Result<&mut Namespace, Status> {
        let namespace = self.admit(nsid, access)?;
        if !range.fits(namespace.blocks()) {
            return Err(Status::permanent(StatusCode::LBA_OUT_OF_RANGE));
        }
        Ok(namespace)
    }

    /// The namespace of a command that moves the data of blocks, and how many bytes that are.
    #[inline]
    fn admit_data(&mut self, io: &BlockIo, access: Access) -> Result<(u64, u32), Status> {
        let mdts = self.options.mdts;
        let namespace = self.admit_blocks(io.nsid, io.range, access)?;
        if namespace.options.metadata_bytes > 0 {
            return Err(Status::permanent(StatusCode::INVALID_FIELD));
        }
        let block_bytes = namespace.block_bytes();
        let bytes = io.range.blocks.bytes(block_bytes);
        if mdts > 0 && bytes > 4096 << mdts {
            return Err(Status::permanent(StatusCode::INVALID_FIELD));
        }
        Ok((bytes, block_bytes))
    }

    /// A namespace that was admitted just now; it can have gone since, by a fault's action.
    #[inline]
    fn admitted(&mut self, nsid: Nsid) -> Result<&mut Namespace, Status> {
        self.namespaces.of_command(self.options.namespaces_max, nsid)
    }

    /// Whether a write is durable at once.
    #[inline]
    fn durability(&self, control: IoControl) -> Durability {
        if control.contains(IoControl::FORCE_UNIT_ACCESS) || !self.features.write_cache_enabled() {
            Durability::Durable
        } else {
            Durability::Cached
        }
    }

    #[inline]
    fn read(&mut self, command: &Fetched, io: &BlockIo) -> Answer {
        let (bytes, block_bytes) = self.admit_data(io, Access::Read)?;
        let mut cursor = self.walk(command, Direction::ToHost, bytes)?;
        self.logs.count_read(bytes);
        self.in_parts(io.range, bytes, block_bytes, |controller, start, part| {
            controller.load(io, start, part)?;
            controller.send(&mut cursor, part)
        })?;
        self.pass(Phase::AfterTransfer);
        Ok(0)
    }

    fn load(&mut self, io: &BlockIo, start: u64, part: &mut [u8]) -> Result<(), Status> {
        let namespace = self.admitted(io.nsid)?;
        if namespace.uncorrectable.touches(io.range) {
            return Err(Status::permanent(StatusCode::UNRECOVERED_READ_ERROR));
        }
        namespace.media.read(start, part).map_err(|error| media_status(&error))
    }

    #[inline]
    fn write(&mut self, command: &Fetched, io: &BlockIo) -> Answer {
        let (bytes, block_bytes) = self.admit_data(io, Access::Write)?;
        let durability = self.durability(io.control);
        let mut cursor = self.walk(command, Direction::ToController, bytes)?;
        self.logs.count_write(bytes);
        self.stats.fua_writes += u64::from(io.control.contains(IoControl::FORCE_UNIT_ACCESS));
        self.in_parts(io.range, bytes, block_bytes, |controller, start, part| {
            controller.receive(&mut cursor, part)?;
            let namespace = controller.admitted(io.nsid)?;
            namespace.uncorrectable.clear(start, start + part.len() as u64 / u64::from(block_bytes));
            namespace.media.write(start, part, durability).map_err(|error| media_status(&error))
        })?;
        self.pass(Phase::AfterTransfer);
        Ok(0)
    }

    fn compare(&mut self, command: &Fetched, io: &BlockIo) -> Answer {
        let (bytes, block_bytes) = self.admit_data(io, Access::Read)?;
        let mut cursor = self.walk(command, Direction::ToController, bytes)?;
        let mut kept = Vec::new();
        self.in_parts(io.range, bytes, block_bytes, |controller, start, part| {
            controller.receive(&mut cursor, part)?;
            kept.resize(part.len(), 0);
            controller.load(io, start, &mut kept)?;
            if kept == part { Ok(()) } else { Err(Status::permanent(StatusCode::COMPARE_FAILURE)) }
        })?;
        self.pass(Phase::AfterTransfer);
        Ok(0)
    }

    fn verify(&mut self, io: &BlockIo) -> Answer {
        let namespace = self.admit_blocks(io.nsid, io.range, Access::Read)?;
        let block_bytes = namespace.block_bytes();
        let bytes = io.range.blocks.bytes(block_bytes);
        self.in_parts(io.range, bytes, block_bytes, |controller, start, part| {
            controller.load(io, start, part)
        })?;
        Ok(0)
    }

    /// Goes through a command's blocks, at most [`PART_BYTES`] at a time, with the buffer.
    #[inline]
    fn in_parts(
        &mut self,
        range: LbaRange,
        bytes: u64,
        block_bytes: u32,
        mut each: impl FnMut(&mut Self, u64, &mut [u8]) -> Result<(), Status>,
    ) -> Result<(), Status> {
        let mut buffer =
            self.take_buffer(usize::try_from(bytes).map_or(PART_BYTES, |bytes| bytes.min(PART_BYTES)));
        let (mut start, mut left, mut done) = (range.slba.0, bytes, Ok(()));
        while left > 0 && done.is_ok() {
            let part = usize::try_from(left).map_or(PART_BYTES, |left| left.min(PART_BYTES));
            done = each(self, start, &mut buffer[..part]);
            start += part as u64 / u64::from(block_bytes);
            left -= part as u64;
        }
        self.give_back(buffer);
        done
    }

    fn write_zeroes(&mut self, io: &BlockIo) -> Answer {
        let durability = self.durability(io.control);
        let namespace = self.admit_blocks(io.nsid, io.range, Access::Write)?;
        let (start, blocks) = (io.range.slba.0, u64::from(io.range.blocks.get()));
        namespace.uncorrectable.clear(start, start + blocks);
        namespace.media.deallocate(start, blocks, durability).map_err(|error| media_status(&error))?;
        Ok(0)
    }

    fn write_uncorrectable(&mut self, io: &BlockIo) -> Answer {
        if !self.options.write_uncorrectable {
            return Err(Status::permanent(StatusCode::INVALID_OPCODE));
        }
        let namespace = self.admit_blocks(io.nsid, io.range, Access::Write)?;
        if namespace.uncorrectable.mark(io.range) { Ok(0) } else { Err(Status::new(StatusCode::WRITE_FAULT)) }
    }

    fn dataset_management(&mut self, command: &Fetched, dsm: &DatasetManagement) -> Answer {
        let blocks = self.admit(dsm.nsid, Access::Write)?.blocks();
        let bytes = dsm.ranges.bytes();
        let mut cursor = self.walk(command, Direction::ToController, bytes as u64)?;
        let mut data = [0; 256 * DsmRange::BYTES];
        self.receive(&mut cursor, &mut data[..bytes])?;
        let ranges = data[..bytes].as_chunks().0.iter().map(DsmRange::from_array);
        if !ranges.clone().all(|range| range.end().is_some_and(|end| end.0 <= blocks)) {
            return Err(Status::permanent(StatusCode::LBA_OUT_OF_RANGE));
        }
        if dsm.attributes.contains(DsmAttributes::DEALLOCATE) {
            let durability = self.durability(IoControl::empty());
            for range in ranges.filter(|range| range.blocks > 0) {
                let (start, blocks) = (range.slba.0, u64::from(range.blocks));
                let namespace = self.admitted(dsm.nsid)?;
                namespace.uncorrectable.clear(start, start + blocks);
                namespace
                    .media
                    .deallocate(start, blocks, durability)
                    .map_err(|error| media_status(&error))?;
            }
        }
        self.pass(Phase::AfterTransfer);
        Ok(0)
    }

    /// Flush; the broadcast identifier is for all namespaces, as VWC says (Base 7.2).
    fn flush(&mut self, nsid: Nsid) -> Answer {
        let namespaces_max = self.options.namespaces_max;
        if nsid == Nsid::ALL {
            let host = self.features.host();
            if !self.namespaces.attached().all(|namespace| namespace.reservations.allows(host, Access::Write))
            {
                return Err(Status::permanent(StatusCode::RESERVATION_CONFLICT));
            }
        } else {
            let host = self.features.host();
            let namespace = self.namespaces.of_command(namespaces_max, nsid)?;
            if !namespace.reservations.allows(host, Access::Write) {
                return Err(Status::permanent(StatusCode::RESERVATION_CONFLICT));
            }
        }
        if !self.pass(Phase::BeforeTransfer) {
            return Err(Status::new(StatusCode::INTERNAL_ERROR));
        }
        self.stats.flushes += 1;
        for namespace in self.namespaces.all_mut().filter(|one| nsid == Nsid::ALL || one.nsid == nsid) {
            namespace.media.sync().map_err(|error| media_status(&error))?;
        }
        Ok(0)
    }

    /// What a normal shutdown and the end of the write cache do.
    pub(super) fn sync_all(&mut self) {
        for namespace in self.namespaces.all_mut() {
            if let Err(error) = namespace.media.sync() {
                tracing::error!(%error, "the write cache of a software SSD could not be flushed");
            }
        }
    }
}
