//! Scatter gather list descriptors (Base, Scatter Gather List).

use crate::bits::{join32, low8, low32};
use crate::status::StatusCode;

/// The size of a descriptor in bytes.
pub const SGL_DESCRIPTOR_BYTES: usize = 16;

/// The bytes of a descriptor: four dwords in the host's byte order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C, align(16))]
pub struct SglDescriptor([u32; 4]);

impl SglDescriptor {
    /// From dwords that are already in the host's byte order.
    #[must_use]
    #[inline]
    pub const fn from_dwords(dwords: [u32; 4]) -> Self {
        Self(dwords)
    }

    /// The four dwords in the host's byte order.
    #[must_use]
    #[inline]
    pub const fn dwords(self) -> [u32; 4] {
        self.0
    }

    /// Reads a descriptor as it lies in memory.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; SGL_DESCRIPTOR_BYTES]) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = bytes;
        Self([
            u32::from_le_bytes([a, b, c, d]),
            u32::from_le_bytes([e, f, g, h]),
            u32::from_le_bytes([i, j, k, l]),
            u32::from_le_bytes([m, n, o, p]),
        ])
    }

    /// The descriptor as it lies in memory.
    #[must_use]
    pub fn to_bytes(self) -> [u8; SGL_DESCRIPTOR_BYTES] {
        let mut bytes = [0; SGL_DESCRIPTOR_BYTES];
        for (chunk, dword) in bytes.chunks_exact_mut(4).zip(self.0) {
            chunk.copy_from_slice(&dword.to_le_bytes());
        }
        bytes
    }

    /// An SGL Data Block descriptor: the driver's hot path, the same bytes as [`Sgl::DataBlock`].
    #[must_use]
    #[inline]
    pub const fn data_block(address: u64, length: u32) -> Self {
        Self([low32(address), crate::bits::high32(address), length, 0])
    }

    const fn with_type(address: u64, length: u32, descriptor_type: u8, subtype: u8) -> Self {
        let identifier = ((descriptor_type << 4) | (subtype & 0xF)) as u32;
        Self([low32(address), crate::bits::high32(address), length, identifier << 24])
    }

    /// SGL Descriptor Type, bits 7:4 of byte 15.
    #[must_use]
    pub const fn descriptor_type(self) -> u8 {
        low8(self.0[3] >> 28)
    }

    /// SGL Descriptor Sub Type, bits 3:0 of byte 15.
    #[must_use]
    pub const fn subtype(self) -> u8 {
        low8(self.0[3] >> 24 & 0xF)
    }

    const fn address(self) -> u64 {
        join32(self.0[0], self.0[1])
    }
}

/// A length that a keyed descriptor can say: 0..=16777215 bytes, 24 bits on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyedLength(u32);

impl KeyedLength {
    /// The greatest length in bytes.
    pub const MAX: Self = Self(0xFF_FFFF);

    /// A length in bytes, or `None` when 24 bits cannot say it.
    #[must_use]
    pub const fn new(bytes: u32) -> Option<Self> {
        if bytes <= Self::MAX.0 { Some(Self(bytes)) } else { None }
    }

    /// The length in bytes.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

/// What a descriptor means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sgl {
    /// SGL Data Block, sub type Address: `length` bytes of data at `address`.
    DataBlock {
        /// Where the data is.
        address: u64,
        /// In bytes; 0 is valid and transfers nothing.
        length: u32,
    },
    /// SGL Data Block, sub type Offset: data that is in the capsule.
    InCapsule {
        /// In bytes, from the start of the in-capsule data (ICDOFF past the submission queue entry).
        offset: u64,
        /// In bytes.
        length: u32,
    },
    /// SGL Bit Bucket: `length` bytes of a read that are discarded.
    BitBucket {
        /// In bytes.
        length: u32,
    },
    /// SGL Segment, sub type Address: the next descriptors, with more segments after them.
    Segment {
        /// Where the next segment is, qword aligned.
        address: u64,
        /// Of the next segment in bytes, a non-zero multiple of 16.
        length: u32,
    },
    /// SGL Last Segment, sub type Address: the last descriptors.
    LastSegment {
        /// Where the last segment is, qword aligned.
        address: u64,
        /// Of the last segment in bytes, a non-zero multiple of 16.
        length: u32,
    },
    /// SGL Last Segment, sub type Offset: the last descriptors, which are in the capsule.
    LastSegmentInCapsule {
        /// In bytes, from the start of the in-capsule data.
        offset: u64,
        /// Of the last segment in bytes, a non-zero multiple of 16.
        length: u32,
    },
    /// Keyed SGL Data Block: memory of the host that RDMA reaches with `key`.
    KeyedDataBlock {
        /// Where the data is, in the address space that the key names.
        address: u64,
        /// In bytes.
        length: KeyedLength,
        /// The remote key.
        key: u32,
        /// Sub type Fh: the controller invalidates the key with its response (RDMA transport, Keyed SGL).
        invalidate: bool,
    },
    /// Transport SGL Data Block: data that the transport carries with no address (as TCP does).
    TransportDataBlock {
        /// In bytes.
        length: u32,
    },
}

/// A descriptor that the specification does not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SglError {
    /// A reserved or vendor-specific type, or a sub type that this type does not have.
    #[error("SGL descriptor type {descriptor_type:#x} with sub type {subtype:#x} is not defined")]
    Type {
        /// SGL Descriptor Type.
        descriptor_type: u8,
        /// SGL Descriptor Sub Type.
        subtype: u8,
    },
    /// A segment whose length is zero or no multiple of 16.
    #[error("an SGL segment of {length} bytes holds no whole number of descriptors")]
    SegmentLength {
        /// In bytes.
        length: u32,
    },
    /// A segment whose address is not qword aligned.
    #[error("an SGL segment at {address:#x} is not qword aligned")]
    SegmentAddress {
        /// As the descriptor has it.
        address: u64,
    },
}

impl SglError {
    /// The status that a controller answers with (Base, Generic Command Status).
    #[must_use]
    pub const fn status_code(self) -> StatusCode {
        match self {
            Self::Type { .. } => StatusCode::SGL_DESCRIPTOR_TYPE_INVALID,
            Self::SegmentLength { .. } | Self::SegmentAddress { .. } => {
                StatusCode::INVALID_SGL_SEGMENT_DESCRIPTOR
            }
        }
    }
}

const TYPE_DATA_BLOCK: u8 = 0x0;
const TYPE_BIT_BUCKET: u8 = 0x1;
const TYPE_SEGMENT: u8 = 0x2;
const TYPE_LAST_SEGMENT: u8 = 0x3;
const TYPE_KEYED_DATA_BLOCK: u8 = 0x4;
const TYPE_TRANSPORT_DATA_BLOCK: u8 = 0x5;
const SUBTYPE_ADDRESS: u8 = 0x0;
const SUBTYPE_OFFSET: u8 = 0x1;
const SUBTYPE_TRANSPORT: u8 = 0xA;
const SUBTYPE_INVALIDATE_KEY: u8 = 0xF;

impl From<Sgl> for SglDescriptor {
    fn from(sgl: Sgl) -> Self {
        match sgl {
            Sgl::DataBlock { address, length } => Self::data_block(address, length),
            Sgl::InCapsule { offset, length } => {
                Self::with_type(offset, length, TYPE_DATA_BLOCK, SUBTYPE_OFFSET)
            }
            Sgl::BitBucket { length } => Self::with_type(0, length, TYPE_BIT_BUCKET, SUBTYPE_ADDRESS),
            Sgl::Segment { address, length } => {
                Self::with_type(address, length, TYPE_SEGMENT, SUBTYPE_ADDRESS)
            }
            Sgl::LastSegment { address, length } => {
                Self::with_type(address, length, TYPE_LAST_SEGMENT, SUBTYPE_ADDRESS)
            }
            Sgl::LastSegmentInCapsule { offset, length } => {
                Self::with_type(offset, length, TYPE_LAST_SEGMENT, SUBTYPE_OFFSET)
            }
            Sgl::KeyedDataBlock { address, length, key, invalidate } => {
                let subtype = if invalidate { SUBTYPE_INVALIDATE_KEY } else { SUBTYPE_ADDRESS };
                keyed(address, length, key, subtype)
            }
            Sgl::TransportDataBlock { length } => {
                Self::with_type(0, length, TYPE_TRANSPORT_DATA_BLOCK, SUBTYPE_TRANSPORT)
            }
        }
    }
}

/// Bytes 8 to 10 hold the length and 11 to 14 the key, so the key straddles two dwords (Base, Keyed SGL Data
/// Block descriptor).
const fn keyed(address: u64, length: KeyedLength, key: u32, subtype: u8) -> SglDescriptor {
    let identifier = ((TYPE_KEYED_DATA_BLOCK << 4) | subtype) as u32;
    SglDescriptor([
        low32(address),
        crate::bits::high32(address),
        length.0 | key << 24,
        key >> 8 | identifier << 24,
    ])
}

impl TryFrom<SglDescriptor> for Sgl {
    type Error = SglError;

    fn try_from(descriptor: SglDescriptor) -> Result<Self, SglError> {
        let [_, _, dw2, dw3] = descriptor.0;
        let (address, length) = (descriptor.address(), dw2);
        match (descriptor.descriptor_type(), descriptor.subtype()) {
            (TYPE_DATA_BLOCK, SUBTYPE_ADDRESS) => Ok(Self::DataBlock { address, length }),
            (TYPE_DATA_BLOCK, SUBTYPE_OFFSET) => Ok(Self::InCapsule { offset: address, length }),
            (TYPE_BIT_BUCKET, SUBTYPE_ADDRESS) => Ok(Self::BitBucket { length }),
            (TYPE_SEGMENT, SUBTYPE_ADDRESS) => {
                check_segment(address, length).map(|()| Self::Segment { address, length })
            }
            (TYPE_LAST_SEGMENT, SUBTYPE_ADDRESS) => {
                check_segment(address, length).map(|()| Self::LastSegment { address, length })
            }
            (TYPE_LAST_SEGMENT, SUBTYPE_OFFSET) => check_segment(address, length)
                .map(|()| Self::LastSegmentInCapsule { offset: address, length }),
            (TYPE_KEYED_DATA_BLOCK, subtype @ (SUBTYPE_ADDRESS | SUBTYPE_INVALIDATE_KEY)) => {
                Ok(Self::KeyedDataBlock {
                    address,
                    length: KeyedLength(dw2 & KeyedLength::MAX.0),
                    key: dw2 >> 24 | dw3 << 8,
                    invalidate: subtype == SUBTYPE_INVALIDATE_KEY,
                })
            }
            (TYPE_TRANSPORT_DATA_BLOCK, SUBTYPE_TRANSPORT) => Ok(Self::TransportDataBlock { length }),
            (descriptor_type, subtype) => Err(SglError::Type { descriptor_type, subtype }),
        }
    }
}

const fn check_segment(address: u64, length: u32) -> Result<(), SglError> {
    if length == 0 || !length.is_multiple_of(16) {
        Err(SglError::SegmentLength { length })
    } else if !address.is_multiple_of(8) {
        Err(SglError::SegmentAddress { address })
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
