//! What the two sides of `remora rdma perf` tell each other before they begin.
//!
//! The client's request carries a [`Load`] as private data. When the connection is made, the server's first SEND is a [`Grant`]:
//! where its memory is, and how many SENDs it has receives for. Later grants say how many more.

use rdma::{PrivateData, RemoteKey, RemoteMemory};
use thiserror::Error;

use super::Op;

/// Begins the private data: nothing else speaks to our port by accident.
const MAGIC: [u8; 4] = *b"RMPF";

/// The version of everything here.
const VERSION: u16 = 1;

/// Bytes of a [`Load`].
const LOAD_BYTES: usize = 16;

/// Bytes of a [`Grant`].
pub(super) const GRANT_BYTES: u32 = 16;

/// Deepest queue of a connection.
pub const DEPTH_MAX: u32 = 4096;

/// Most bytes of one operation.
pub const SIZE_MAX: u32 = 1 << 30;

/// Most bytes of one connection's memory at one side.
const MEMORY_BYTES_MAX: u64 = 1 << 30;

/// What a client is going to do on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// The operation.
    pub op: Op,
    /// Bytes of each.
    pub bytes: u32,
    /// Operations under way at once.
    pub depth: u32,
}

/// Why a load is not taken.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LoadError {
    /// It is something else.
    #[error("no request of remora rdma perf")]
    Foreign,
    /// It is of another version.
    #[error("version {0} of remora rdma perf, not {VERSION}")]
    Version(u16),
    /// No such operation.
    #[error("unknown operation {0}")]
    Op(u8),
    /// Bytes or depth are out of bounds.
    #[error("{bytes} bytes at depth {depth} are too many, or none")]
    Bounds {
        /// Bytes of an operation.
        bytes: u32,
        /// Operations at once.
        depth: u32,
    },
}

impl Load {
    /// Checks the bounds.
    pub fn check(self) -> Result<Self, LoadError> {
        let Self { bytes, depth, .. } = self;
        let fits = (1..=SIZE_MAX).contains(&bytes)
            && (1..=DEPTH_MAX).contains(&depth)
            && u64::from(bytes) * u64::from(depth) <= MEMORY_BYTES_MAX;
        if fits { Ok(self) } else { Err(LoadError::Bounds { bytes, depth }) }
    }

    pub(super) fn to_private_data(self) -> PrivateData {
        let mut bytes = [0; LOAD_BYTES];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4..6].copy_from_slice(&VERSION.to_be_bytes());
        bytes[6] = self.op.number();
        bytes[8..12].copy_from_slice(&self.bytes.to_be_bytes());
        bytes[12..].copy_from_slice(&self.depth.to_be_bytes());
        PrivateData::new(&bytes).unwrap_or_default()
    }

    pub(super) fn from_private_data(data: &PrivateData) -> Result<Self, LoadError> {
        let bytes = data.bytes().first_chunk::<LOAD_BYTES>().ok_or(LoadError::Foreign)?;
        let [m0, m1, m2, m3, v0, v1, op, _, s0, s1, s2, s3, d0, d1, d2, d3] = *bytes;
        if [m0, m1, m2, m3] != MAGIC {
            return Err(LoadError::Foreign);
        }
        let version = u16::from_be_bytes([v0, v1]);
        if version != VERSION {
            return Err(LoadError::Version(version));
        }
        let op = Op::from_number(op).ok_or(LoadError::Op(op))?;
        let load = Self {
            op,
            bytes: u32::from_be_bytes([s0, s1, s2, s3]),
            depth: u32::from_be_bytes([d0, d1, d2, d3]),
        };
        load.check()
    }

    /// Receives that a server posts for it.
    pub(super) fn receives(self) -> u32 {
        match self.op {
            Op::Send => (2 * self.depth).max(RECEIVES_MIN),
            Op::Echo => self.depth + 1,
            // None ever comes, but a queue of none cannot be made.
            Op::Write | Op::Read => 1,
        }
    }
}

/// Least receives for SENDs: so that a grant is due for every few of them only.
const RECEIVES_MIN: u32 = 16;

/// What a server lets its client do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Grant {
    /// The server's memory: as many bytes as all operations that are under way at once.
    pub memory: RemoteMemory,
    /// So many SENDs more.
    pub sends: u32,
}

impl Grant {
    pub(super) fn to_bytes(self) -> [u8; GRANT_BYTES as usize] {
        let mut bytes = [0; GRANT_BYTES as usize];
        bytes[..8].copy_from_slice(&self.memory.address.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.memory.key.0.to_be_bytes());
        bytes[12..].copy_from_slice(&self.sends.to_be_bytes());
        bytes
    }

    pub(super) fn from_bytes(bytes: [u8; GRANT_BYTES as usize]) -> Self {
        let [a0, a1, a2, a3, a4, a5, a6, a7, k0, k1, k2, k3, s0, s1, s2, s3] = bytes;
        let address = u64::from_be_bytes([a0, a1, a2, a3, a4, a5, a6, a7]);
        let key = RemoteKey(u32::from_be_bytes([k0, k1, k2, k3]));
        Self { memory: RemoteMemory { address, key }, sends: u32::from_be_bytes([s0, s1, s2, s3]) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRITE: Load = Load { op: Op::Write, bytes: 131_072, depth: 32 };
    const WRITE_BYTES: [u8; 16] = *b"RMPF\x00\x01\x01\x00\x00\x02\x00\x00\x00\x00\x00\x20";

    fn parsed(bytes: &[u8]) -> Result<Load, LoadError> {
        Load::from_private_data(&PrivateData::new(bytes).unwrap())
    }

    #[test]
    fn a_load_is_sixteen_bytes() {
        assert_eq!(WRITE.to_private_data().bytes(), WRITE_BYTES);
        // The field behind it is filled with zeroes.
        let mut field = [0; 56];
        field[..16].copy_from_slice(&WRITE_BYTES);
        assert_eq!(parsed(&field), Ok(WRITE));
        for op in [Op::Send, Op::Write, Op::Read, Op::Echo] {
            let load = Load { op, ..WRITE };
            assert_eq!(parsed(load.to_private_data().bytes()), Ok(load));
        }
    }

    #[test]
    fn foreign_requests_are_told_apart() {
        let with = |at: usize, byte: u8| {
            let mut bytes = WRITE_BYTES;
            bytes[at] = byte;
            parsed(&bytes)
        };
        assert_eq!(parsed(b""), Err(LoadError::Foreign));
        assert_eq!(parsed(&[0; 56]), Err(LoadError::Foreign));
        assert_eq!(with(3, b'X'), Err(LoadError::Foreign));
        assert_eq!(with(5, 2), Err(LoadError::Version(2)));
        assert_eq!(with(6, 4), Err(LoadError::Op(4)));
        assert!(matches!(with(8, 0x80), Err(LoadError::Bounds { .. })));
        assert!(matches!(with(9, 0), Err(LoadError::Bounds { .. })), "no bytes");
        assert!(matches!(with(15, 0), Err(LoadError::Bounds { .. })), "no depth");
        assert!(matches!(with(13, 1), Err(LoadError::Bounds { .. })), "too deep");
    }

    #[test]
    fn a_grant_is_sixteen_bytes() {
        let memory = RemoteMemory { address: 0x0102_0304_0506_0708, key: RemoteKey(0x090a_0b0c) };
        let grant = Grant { memory, sends: 0x0d0e_0f10 };
        let bytes = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16];
        assert_eq!(grant.to_bytes(), bytes);
        assert_eq!(Grant::from_bytes(bytes), grant);
    }
}
