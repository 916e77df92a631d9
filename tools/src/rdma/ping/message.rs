//! rping's only message: 16 bytes that describe memory.

use rdma::{RemoteKey, RemoteMemory};

/// Its length. A message of any other length is none of rping's.
pub const MESSAGE_BYTES: u32 = 16;

/// Memory of the client that the server is to read or to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advertisement {
    /// Where.
    pub memory: RemoteMemory,
    /// How many bytes.
    pub bytes: u32,
}

/// What the server says when it has done its part. What is in it means nothing.
pub const GO_AHEAD: [u8; MESSAGE_BYTES as usize] = [0; MESSAGE_BYTES as usize];

impl Advertisement {
    /// As it is sent: address, key, length, all big-endian.
    #[must_use]
    pub fn to_bytes(self) -> [u8; MESSAGE_BYTES as usize] {
        let mut bytes = [0; MESSAGE_BYTES as usize];
        bytes[..8].copy_from_slice(&self.memory.address.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.memory.key.0.to_be_bytes());
        bytes[12..].copy_from_slice(&self.bytes.to_be_bytes());
        bytes
    }

    /// As it was received.
    #[must_use]
    pub fn from_bytes(bytes: [u8; MESSAGE_BYTES as usize]) -> Self {
        let [a0, a1, a2, a3, a4, a5, a6, a7, k0, k1, k2, k3, l0, l1, l2, l3] = bytes;
        let address = u64::from_be_bytes([a0, a1, a2, a3, a4, a5, a6, a7]);
        let key = RemoteKey(u32::from_be_bytes([k0, k1, k2, k3]));
        Self { memory: RemoteMemory { address, key }, bytes: u32::from_be_bytes([l0, l1, l2, l3]) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_advertisement_is_sixteen_bytes_big_endian() {
        let memory = RemoteMemory { address: 0x5566_7788_99aa_bbcc, key: RemoteKey(0x0102_0304) };
        let advertisement = Advertisement { memory, bytes: 64 };
        let bytes = [0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 1, 2, 3, 4, 0, 0, 0, 64];
        assert_eq!(advertisement.to_bytes(), bytes);
        assert_eq!(Advertisement::from_bytes(bytes), advertisement);
    }
}
