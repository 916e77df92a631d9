//! A command's data pointer: what is legal on RDMA, and what it means (RDMA, SGL Descriptors; Base, Scatter Gather List).

use nvme_spec::command::DataDirection;
use nvme_spec::sgl::Sgl;
use nvme_spec::sqe::Psdt;
use nvme_spec::{Sqe, Status, StatusCode};

/// Memory of the host that RDMA reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyedMemory {
    /// Where, in the address space of the key.
    pub address: u64,
    /// How much.
    pub bytes: u32,
    /// The remote key.
    pub key: u32,
    /// The host asks that the response invalidates the key.
    pub invalidate: bool,
}

/// How a command's data moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transfer {
    /// No data.
    None,
    /// It came in the capsule, behind the entry.
    InCapsule {
        /// Its first byte, from the end of the entry.
        offset: usize,
        /// How much.
        bytes: usize,
    },
    /// To be read from the host's memory before the command is carried out.
    FromHost(KeyedMemory),
    /// To be written to the host's memory before the response.
    ToHost(KeyedMemory),
}

/// A descriptor, read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pointer {
    InCapsule { offset: u64, bytes: u32 },
    Keyed(KeyedMemory),
}

/// A data pointer that is legal by itself. What it must be for the command, [`DataPointer::resolve`] says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DataPointer(Pointer);

const fn refuse(code: StatusCode) -> Status {
    Status::permanent(code)
}

impl DataPointer {
    /// Reads an entry's descriptor.
    #[inline]
    pub(super) fn read(sqe: &Sqe) -> Result<Self, Status> {
        // PSDT 01b: an SGL; there is no metadata that 10b could be for (Base, Command Dword 0: fabrics use SGLs only).
        if sqe.psdt() != Some(Psdt::Sgl) {
            return Err(refuse(StatusCode::INVALID_FIELD));
        }
        match Sgl::try_from(sqe.sgl1()) {
            Ok(Sgl::KeyedDataBlock { address, length, key, invalidate }) => {
                Ok(Self(Pointer::Keyed(KeyedMemory { address, bytes: length.get(), key, invalidate })))
            }
            Ok(Sgl::InCapsule { offset, length }) => Ok(Self(Pointer::InCapsule { offset, bytes: length })),
            // Everything else needs memory that is reached without a key, or segments (MSDBD is 1).
            Ok(_) => Err(refuse(StatusCode::SGL_DESCRIPTOR_TYPE_INVALID)),
            Err(error) => Err(refuse(error.status_code())),
        }
    }

    /// The key that the response is to invalidate. Nothing was registered for a length of 0.
    #[inline]
    pub(super) const fn invalidate(&self) -> Option<u32> {
        match self.0 {
            Pointer::Keyed(KeyedMemory { bytes: 1.., key, invalidate: true, .. }) => Some(key),
            _ => None,
        }
    }

    /// The same memory, of which no more than `bytes` count: for commands whose hosts may send more than they say that is there.
    #[inline]
    pub(super) fn at_most(self, bytes: u64) -> Self {
        let limit = |length: u32| length.min(u32::try_from(bytes).unwrap_or(u32::MAX));
        Self(match self.0 {
            Pointer::Keyed(memory) => Pointer::Keyed(KeyedMemory { bytes: limit(memory.bytes), ..memory }),
            Pointer::InCapsule { offset, bytes } => Pointer::InCapsule { offset, bytes: limit(bytes) },
        })
    }

    /// How the data of a command moves that has `bytes` of it; the capsule has `in_capsule` behind its entry.
    #[inline]
    pub(super) fn resolve(
        self,
        direction: DataDirection,
        bytes: u64,
        in_capsule: usize,
    ) -> Result<Transfer, Status> {
        let length = match self.0 {
            Pointer::Keyed(memory) => memory.bytes,
            Pointer::InCapsule { bytes, .. } => bytes,
        };
        // Longer is refused too: SGLS does not say that it may be.
        if u64::from(length) != bytes {
            return Err(refuse(StatusCode::DATA_SGL_LENGTH_INVALID));
        }
        match (self.0, direction) {
            _ if bytes == 0 => Ok(Transfer::None),
            (Pointer::Keyed(memory), DataDirection::HostToController) => Ok(Transfer::FromHost(memory)),
            (Pointer::Keyed(memory), DataDirection::ControllerToHost) => Ok(Transfer::ToHost(memory)),
            (Pointer::InCapsule { offset, bytes }, DataDirection::HostToController) => {
                in_capsule_data(offset, bytes, in_capsule)
            }
            (Pointer::InCapsule { .. }, _) => Err(refuse(StatusCode::SGL_DESCRIPTOR_TYPE_INVALID)),
            (Pointer::Keyed(_), _) => Err(refuse(StatusCode::INVALID_FIELD)),
        }
    }
}

/// In-capsule data that the capsule really has; `offset` is the host's and may be anything.
fn in_capsule_data(offset: u64, bytes: u32, there: usize) -> Result<Transfer, Status> {
    let offset = usize::try_from(offset).map_err(|_| refuse(StatusCode::SGL_OFFSET_INVALID))?;
    let bytes = usize::try_from(bytes).map_err(|_| refuse(StatusCode::DATA_SGL_LENGTH_INVALID))?;
    match offset.checked_add(bytes) {
        Some(end) if end <= there => Ok(Transfer::InCapsule { offset, bytes }),
        _ => Err(refuse(StatusCode::SGL_OFFSET_INVALID)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nvme_spec::sgl::SglDescriptor;
    use nvme_spec::{CommandId, Nsid};

    const READ: DataDirection = DataDirection::ControllerToHost;
    const WRITE: DataDirection = DataDirection::HostToController;

    fn pointer(dptr: [u8; 16]) -> Result<DataPointer, Status> {
        let sqe = Sqe::new(1, CommandId(1), Nsid(1)).with_sgl(SglDescriptor::from_bytes(dptr));
        DataPointer::read(&sqe)
    }

    // Address 8877665544332211h, 24-bit length 0x012000, key 0xa4a3a2a1, type 4.
    fn keyed(subtype: u8) -> [u8; 16] {
        let mut bytes =
            [0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x00, 0x20, 0x01, 0xa1, 0xa2, 0xa3, 0xa4, 0x40];
        bytes[15] |= subtype;
        bytes
    }

    fn in_capsule(offset: u64, bytes: u32) -> [u8; 16] {
        let mut descriptor = [0; 16];
        descriptor[..8].copy_from_slice(&offset.to_le_bytes());
        descriptor[8..12].copy_from_slice(&bytes.to_le_bytes());
        descriptor[15] = 0x01;
        descriptor
    }

    #[test]
    fn keyed_sgls_have_a_24_bit_length_and_a_32_bit_key() {
        let memory = KeyedMemory {
            address: 0x8877_6655_4433_2211,
            bytes: 0x1_2000,
            key: 0xa4a3_a2a1,
            invalidate: false,
        };
        let plain = pointer(keyed(0)).unwrap();
        assert_eq!(plain.resolve(READ, 0x1_2000, 0), Ok(Transfer::ToHost(memory)));
        assert_eq!(plain.resolve(WRITE, 0x1_2000, 0), Ok(Transfer::FromHost(memory)));
        assert_eq!(plain.invalidate(), None);
    }

    #[test]
    fn subtype_f_asks_to_invalidate_exactly_that_key_when_the_length_is_not_0() {
        assert_eq!(pointer(keyed(0xf)).unwrap().invalidate(), Some(0xa4a3_a2a1));
        let mut empty = keyed(0xf);
        empty[8..11].fill(0);
        assert_eq!(pointer(empty).unwrap().invalidate(), None);
    }

    #[test]
    fn psdt_must_be_01b() {
        let sqe = Sqe::new(1, CommandId(1), Nsid(1)).with_sgl(SglDescriptor::from_bytes(keyed(0)));
        for (psdt, is_good) in [(0u8, false), (1, true), (2, false), (3, false)] {
            let mut bytes = sqe.to_bytes();
            bytes[1] = psdt << 6;
            let read = DataPointer::read(&Sqe::from_bytes(&bytes));
            assert_eq!(read.is_ok(), is_good);
            assert!(is_good || read == Err(Status::permanent(StatusCode::INVALID_FIELD)));
        }
    }

    #[test]
    fn a_command_without_data_may_carry_a_keyed_descriptor_of_length_0() {
        let mut empty = keyed(0);
        empty[8..11].fill(0);
        for direction in [DataDirection::None, READ, WRITE] {
            assert_eq!(pointer(empty).unwrap().resolve(direction, 0, 0), Ok(Transfer::None));
        }
        let status = pointer(keyed(0)).unwrap().resolve(DataDirection::None, 0, 0);
        assert_eq!(status, Err(Status::permanent(StatusCode::DATA_SGL_LENGTH_INVALID)));
    }

    #[test]
    fn in_capsule_data_is_for_writes_only_and_inside_the_capsule() {
        let offset_invalid = Err(Status::permanent(StatusCode::SGL_OFFSET_INVALID));
        let resolve = |offset, bytes: u32, direction| {
            pointer(in_capsule(offset, bytes)).unwrap().resolve(direction, bytes.into(), 8192)
        };
        assert_eq!(resolve(0, 8192, WRITE), Ok(Transfer::InCapsule { offset: 0, bytes: 8192 }));
        assert_eq!(resolve(4096, 4096, WRITE), Ok(Transfer::InCapsule { offset: 4096, bytes: 4096 }));
        assert_eq!(resolve(1, 8192, WRITE), offset_invalid);
        assert_eq!(resolve(u64::MAX, 4096, WRITE), offset_invalid, "no overflow");
        assert_eq!(resolve(u64::MAX - 4095, 4096, WRITE), offset_invalid, "no overflow");
        let wrong_type = Err(Status::permanent(StatusCode::SGL_DESCRIPTOR_TYPE_INVALID));
        assert_eq!(resolve(0, 4096, READ), wrong_type);
    }

    #[test]
    fn other_descriptors_have_no_place_on_rdma() {
        let wrong_type = Err(Status::permanent(StatusCode::SGL_DESCRIPTOR_TYPE_INVALID));
        for identifier in [0x00, 0x10, 0x20, 0x30, 0x31, 0x5a, 0x41, 0xf0] {
            let mut descriptor = [0; 16];
            descriptor[8] = 16;
            descriptor[15] = identifier;
            assert_eq!(pointer(descriptor), wrong_type, "{identifier:#x}");
        }
    }

    #[test]
    fn the_length_must_be_the_commands() {
        let wrong = Err(Status::permanent(StatusCode::DATA_SGL_LENGTH_INVALID));
        assert_eq!(pointer(keyed(0)).unwrap().resolve(READ, 0x1_1fff, 0), wrong);
        assert_eq!(pointer(keyed(0)).unwrap().resolve(READ, 0x1_2001, 0), wrong);
    }

    #[test]
    fn what_is_more_than_counts_is_left_out() {
        let memory =
            KeyedMemory { address: 0x8877_6655_4433_2211, bytes: 32, key: 0xa4a3_a2a1, invalidate: true };
        let cut = pointer(keyed(0xf)).unwrap().at_most(32);
        assert_eq!(cut.resolve(WRITE, 32, 0), Ok(Transfer::FromHost(memory)));
        let cut = pointer(in_capsule(8, 4096)).unwrap().at_most(32);
        assert_eq!(cut.resolve(WRITE, 32, 40), Ok(Transfer::InCapsule { offset: 8, bytes: 32 }));
        let short = pointer(in_capsule(8, 16)).unwrap().at_most(32).resolve(WRITE, 32, 40);
        assert_eq!(short, Err(Status::permanent(StatusCode::DATA_SGL_LENGTH_INVALID)));
    }
}
