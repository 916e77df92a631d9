//! Capsules: what a message of a queue carries (Base, Capsules).

use nvme_spec::cqe::CQE_BYTES;
use nvme_spec::sqe::SQE_BYTES;
use nvme_spec::{Cqe, Sqe};
use thiserror::Error;

/// A message that holds no submission queue entry: whoever sends one is not to be trusted with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a capsule of {0} bytes: a command takes {SQE_BYTES}")]
pub struct CapsuleTooShort(pub usize);

/// A command, and what came with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommandCapsule<'a> {
    /// The command.
    pub sqe: Sqe,
    /// In-capsule data: what lies behind the entry. A descriptor's offset counts from its first byte (ICDOFF is 0).
    pub data: &'a [u8],
}

impl<'a> CommandCapsule<'a> {
    /// Reads a message.
    pub fn read(bytes: &'a [u8]) -> Result<Self, CapsuleTooShort> {
        let (entry, data) = bytes.split_first_chunk().ok_or(CapsuleTooShort(bytes.len()))?;
        Ok(Self { sqe: Sqe::from_bytes(entry), data })
    }
}

/// A response, and the key that ends with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResponseCapsule {
    /// The completion.
    pub cqe: Cqe,
    /// The host's key to invalidate with the message that carries it (RDMA, Remote Invalidation); exactly this one, or a host
    /// tears its association down.
    pub invalidate: Option<u32>,
}

impl ResponseCapsule {
    /// The message: a response capsule without data.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; CQE_BYTES] {
        self.cqe.to_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nvme_spec::{CommandId, QueueId, Status, StatusCode};

    #[test]
    fn a_command_is_64_bytes_and_the_rest_is_data() {
        let mut bytes = [0; 72];
        bytes[0] = 0x01;
        bytes[2..4].copy_from_slice(&[0x34, 0x12]);
        bytes[64..].copy_from_slice(b"in-caps.");
        let capsule = CommandCapsule::read(&bytes).unwrap();
        assert_eq!((capsule.sqe.opcode(), capsule.sqe.cid()), (1, CommandId(0x1234)));
        assert_eq!(capsule.data, b"in-caps.");
        assert_eq!(CommandCapsule::read(&bytes[..64]).unwrap().data, b"");
        assert_eq!(CommandCapsule::read(&bytes[..63]), Err(CapsuleTooShort(63)));
    }

    #[test]
    fn responses_are_16_bytes_and_their_status_is_shifted_by_one() {
        let status = Status::permanent(StatusCode::LBA_OUT_OF_RANGE);
        let cqe = Cqe::new(QueueId(0), 0x0201, CommandId(0xf00d), status);
        let bytes = ResponseCapsule { cqe, invalidate: Some(7) }.to_bytes();
        assert_eq!(bytes, [0, 0, 0, 0, 0, 0, 0, 0, 0x01, 0x02, 0, 0, 0x0d, 0xf0, 0x00, 0x81]);
    }
}
