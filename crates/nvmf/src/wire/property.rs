//! Property Get and Property Set: what registers are on PCIe (Base, Fabrics Commands, Property Definitions).

use nvme_spec::command::FabricsType;
use nvme_spec::{CommandId, Sqe};
use thiserror::Error;

use super::bytes::{entry, put, u32_at};

const ATTRIBUTES: usize = 40;
const OFFSET: usize = 44;
const VALUE: usize = 48;

/// ATTRIB, bits 2:0: how large the property is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PropertySize {
    /// 4 bytes.
    Bytes4,
    /// 8 bytes.
    Bytes8,
}

/// A property of a fabrics controller; its value is the register's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PropertyOffset {
    /// CAP, 8 bytes, read only.
    Capabilities,
    /// VS, 4 bytes, read only.
    Version,
    /// CC, 4 bytes.
    Configuration,
    /// CSTS, 4 bytes, read only.
    Status,
    /// NSSR, 4 bytes.
    SubsystemReset,
    /// CRTO, 4 bytes, read only.
    ReadyTimeouts,
}

impl PropertyOffset {
    const ALL: [Self; 6] = [
        Self::Capabilities,
        Self::Version,
        Self::Configuration,
        Self::Status,
        Self::SubsystemReset,
        Self::ReadyTimeouts,
    ];

    /// Where it lies.
    #[must_use]
    pub const fn raw(self) -> u32 {
        match self {
            Self::Capabilities => 0x00,
            Self::Version => 0x08,
            Self::Configuration => 0x14,
            Self::Status => 0x1c,
            Self::SubsystemReset => 0x20,
            Self::ReadyTimeouts => 0x68,
        }
    }

    /// How large it is.
    #[must_use]
    pub const fn size(self) -> PropertySize {
        match self {
            Self::Capabilities => PropertySize::Bytes8,
            _ => PropertySize::Bytes4,
        }
    }
}

/// Why a property command cannot be carried out. Each is answered with Invalid Field in Command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PropertyCommandError {
    /// ATTRIB names a size that is reserved.
    #[error("reserved property size {0}")]
    Size(u8),
    /// No property lies there.
    #[error("no property at offset {0:#x}")]
    Offset(u32),
    /// The property has another size.
    #[error("the property at offset {0:#x} has another size")]
    WrongSize(u32),
}

/// Property Get. Its response has the value in dwords 0 and 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PropertyGet {
    /// Which.
    pub offset: PropertyOffset,
}

impl PropertyGet {
    /// Reads the entry of a Property Get command.
    pub fn from_sqe(sqe: &Sqe) -> Result<Self, PropertyCommandError> {
        Ok(Self { offset: offset(&sqe.to_bytes())? })
    }

    /// The entry.
    #[must_use]
    pub fn to_sqe(self, cid: CommandId) -> Sqe {
        entry(FabricsType::PropertyGet.raw(), cid, |bytes| put_offset(bytes, self.offset))
    }
}

/// Property Set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PropertySet {
    /// Which.
    pub offset: PropertyOffset,
    /// What it is to be; the upper half means nothing for one of 4 bytes.
    pub value: u64,
}

impl PropertySet {
    /// Reads the entry of a Property Set command.
    pub fn from_sqe(sqe: &Sqe) -> Result<Self, PropertyCommandError> {
        let bytes = sqe.to_bytes();
        let offset = offset(&bytes)?;
        let high = match offset.size() {
            PropertySize::Bytes4 => 0,
            PropertySize::Bytes8 => u32_at(&bytes, VALUE + 4),
        };
        let value = u64::from(high) << 32 | u64::from(u32_at(&bytes, VALUE));
        Ok(Self { offset, value })
    }

    /// The entry.
    #[must_use]
    pub fn to_sqe(self, cid: CommandId) -> Sqe {
        entry(FabricsType::PropertySet.raw(), cid, |bytes| {
            put_offset(bytes, self.offset);
            put(bytes, VALUE, self.value.to_le_bytes());
        })
    }
}

fn offset(bytes: &[u8]) -> Result<PropertyOffset, PropertyCommandError> {
    let size = match bytes[ATTRIBUTES] & 7 {
        0 => PropertySize::Bytes4,
        1 => PropertySize::Bytes8,
        other => return Err(PropertyCommandError::Size(other)),
    };
    let raw = u32_at(bytes, OFFSET);
    let found = PropertyOffset::ALL.into_iter().find(|offset| offset.raw() == raw);
    let offset = found.ok_or(PropertyCommandError::Offset(raw))?;
    if offset.size() == size { Ok(offset) } else { Err(PropertyCommandError::WrongSize(raw)) }
}

fn put_offset(bytes: &mut [u8], offset: PropertyOffset) {
    bytes[ATTRIBUTES] = match offset.size() {
        PropertySize::Bytes4 => 0,
        PropertySize::Bytes8 => 1,
    };
    put(bytes, OFFSET, offset.raw().to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(kind: u8, attributes: u8, offset: u8, value: [u8; 8]) -> [u8; 64] {
        let mut bytes = [0; 64];
        bytes[0] = 0x7f;
        bytes[2] = 5;
        bytes[4] = kind;
        bytes[40] = attributes;
        bytes[44] = offset;
        bytes[48..56].copy_from_slice(&value);
        bytes
    }

    #[test]
    fn gets_of_every_property() {
        for (offset, attributes, raw) in [
            (PropertyOffset::Capabilities, 1, 0x00),
            (PropertyOffset::Version, 0, 0x08),
            (PropertyOffset::Configuration, 0, 0x14),
            (PropertyOffset::Status, 0, 0x1c),
            (PropertyOffset::SubsystemReset, 0, 0x20),
            (PropertyOffset::ReadyTimeouts, 0, 0x68),
        ] {
            let bytes = bytes(4, attributes, raw, [0; 8]);
            assert_eq!(PropertyGet { offset }.to_sqe(CommandId(5)).to_bytes(), bytes);
            assert_eq!(PropertyGet::from_sqe(&Sqe::from_bytes(&bytes)), Ok(PropertyGet { offset }));
        }
    }

    #[test]
    fn a_set_of_four_bytes_has_a_value_of_four_bytes() {
        let set = PropertySet { offset: PropertyOffset::Configuration, value: 0x0046_0001 };
        let raw = bytes(0, 0, 0x14, [0x01, 0, 0x46, 0, 0, 0, 0, 0]);
        assert_eq!(set.to_sqe(CommandId(5)).to_bytes(), raw);
        let raw = bytes(0, 0, 0x14, [0x01, 0, 0x46, 0, 0xff, 0xff, 0xff, 0xff]);
        assert_eq!(PropertySet::from_sqe(&Sqe::from_bytes(&raw)), Ok(set));
    }

    #[test]
    fn wrong_sizes_and_offsets_are_told() {
        let get = |attributes, offset| {
            PropertyGet::from_sqe(&Sqe::from_bytes(&bytes(4, attributes, offset, [0; 8])))
        };
        assert_eq!(get(2, 0x14), Err(PropertyCommandError::Size(2)));
        assert_eq!(get(0, 0x10), Err(PropertyCommandError::Offset(0x10)));
        assert_eq!(get(0, 0x00), Err(PropertyCommandError::WrongSize(0)));
        assert_eq!(get(1, 0x14), Err(PropertyCommandError::WrongSize(0x14)));
    }
}
