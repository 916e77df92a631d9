//! The label of a holder, in two copies that are written alternately.
//!
//! | bytes | |
//! |---|---|
//! | 0-7 | magic, `REMORMIR` |
//! | 8-11 | version, 1 |
//! | 12-15 | zero |
//! | 16-23 | compatible features: unknown bits are kept and do no harm |
//! | 24-31 | incompatible features: an unknown bit forbids to use the label |
//! | 32-47 | UUID of the mirror |
//! | 48-63 | UUID of this holder |
//! | 64-71 | sequence number of the label on this holder: of two good copies the higher one counts |
//! | 72-79 | generation: counter |
//! | 80-95 | generation: random id |
//! | 96-103 | blocks of the mirror |
//! | 104-107 | bytes of a block |
//! | 108-111 | blocks of a region |
//! | 112-119 | where the mirror's blocks begin on this holder, in bytes |
//! | 120-127 | where the map begins on this holder, in bytes |
//! | 128 | policy: 1 all-members, 2 majority |
//! | 129 | number of members |
//! | 130 | in-sync set: bit n is member n |
//! | 131 | number of ancestors |
//! | 132-255 | zero |
//! | 256-383 | 4 members of 32 bytes: UUID, role (1 leg, 2 witness), 15 bytes of zero |
//! | 384-1151 | 32 ancestors of 24 bytes, newest first: counter, id |
//! | 1152-4091 | zero |
//! | 4092-4095 | CRC-32C of bytes 0 to 4091 |
//!
//! Numbers are little-endian, UUIDs in the order of their text. A copy is written whole and is durable before the other one
//! is touched, so a torn write leaves the older copy.

use thiserror::Error;
use uuid::Uuid;

use super::{crc, take};
use crate::config::{Member, Policy, Role, Shape};
use crate::generation::{ANCESTORS_MAX, Generation, GenerationName};
use crate::ids::{HOLDERS_MAX, HolderSet};

/// Bytes of a copy.
pub const LABEL_BYTES: usize = 4096;

/// Where the copies are, in bytes from the holder's start: in different blocks of any device.
pub const LABEL_OFFSETS: [u64; 2] = [0, 64 << 10];

const MAGIC: [u8; 8] = *b"REMORMIR";
const VERSION: u32 = 1;
const CRC_AT: usize = LABEL_BYTES - 4;
const MEMBERS_AT: usize = 256;
const MEMBER_BYTES: usize = 32;
const ANCESTORS_AT: usize = 384;
const ANCESTOR_BYTES: usize = 24;

/// The incompatible features that this version knows: none.
const INCOMPATIBLE_KNOWN: u64 = 0;

/// Why a copy of a label cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum LabelError {
    /// It is none.
    #[error("no label of a mirror")]
    None,
    /// It is torn or rotten.
    #[error("the label is damaged: its checksum is wrong")]
    Damaged,
    /// A later version made it.
    #[error("the label has version {version}, and this program knows version {VERSION}")]
    Version {
        /// The label's.
        version: u32,
    },
    /// It has features that must be understood.
    #[error("the label has features {unknown:#x} that this program does not know")]
    Features {
        /// Their bits.
        unknown: u64,
    },
    /// A field has a value that it cannot have.
    #[error("the label's {field} makes no sense")]
    Field {
        /// Which.
        field: &'static str,
    },
}

/// What a label says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// Compatible features.
    pub compatible: u64,
    /// The mirror.
    pub mirror: Uuid,
    /// This holder.
    pub holder: Uuid,
    /// Counts the label writes of this holder.
    pub sequence: u64,
    /// The generation.
    pub generation: Generation,
    /// The legs that were in sync in that generation.
    pub in_sync: HolderSet,
    /// Who decides.
    pub policy: Policy,
    /// All holders of labels.
    pub members: Vec<Member>,
    /// Sizes of the mirror.
    pub shape: Shape,
    /// Where the mirror's blocks begin on this holder, in bytes.
    pub data_offset_bytes: u64,
    /// Where the map begins on this holder, in bytes.
    pub map_offset_bytes: u64,
}

impl Label {
    /// As it is stored.
    #[must_use]
    pub fn encode(&self) -> Box<[u8; LABEL_BYTES]> {
        let mut bytes = Box::new([0; LABEL_BYTES]);
        let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
        put(0, &MAGIC);
        put(8, &VERSION.to_le_bytes());
        put(16, &self.compatible.to_le_bytes());
        put(32, self.mirror.as_bytes());
        put(48, self.holder.as_bytes());
        put(64, &self.sequence.to_le_bytes());
        put(72, &self.generation.name.counter.to_le_bytes());
        put(80, self.generation.name.id.as_bytes());
        put(96, &self.shape.blocks.to_le_bytes());
        put(104, &self.shape.block_bytes.to_le_bytes());
        put(108, &self.shape.region_blocks.to_le_bytes());
        put(112, &self.data_offset_bytes.to_le_bytes());
        put(120, &self.map_offset_bytes.to_le_bytes());
        let members = self.members.iter().take(HOLDERS_MAX);
        let ancestors = self.generation.ancestors.iter().take(ANCESTORS_MAX);
        put(128, &[self.policy.code(), count(members.len()), self.in_sync.bits(), count(ancestors.len())]);
        for (index, member) in members.enumerate() {
            put(MEMBERS_AT + index * MEMBER_BYTES, member.uuid.as_bytes());
            put(MEMBERS_AT + index * MEMBER_BYTES + 16, &[member.role.code()]);
        }
        for (index, ancestor) in ancestors.enumerate() {
            put(ANCESTORS_AT + index * ANCESTOR_BYTES, &ancestor.counter.to_le_bytes());
            put(ANCESTORS_AT + index * ANCESTOR_BYTES + 8, ancestor.id.as_bytes());
        }
        let sum = crc(&bytes[..CRC_AT]);
        bytes[CRC_AT..].copy_from_slice(&sum);
        bytes
    }

    /// What a copy says.
    ///
    /// # Errors
    /// In words, if it cannot be used.
    pub fn decode(bytes: &[u8; LABEL_BYTES]) -> Result<Self, LabelError> {
        check_head(bytes)?;
        let number = |at| u64::from_le_bytes(take(bytes, at));
        let uuid = |at| Uuid::from_bytes(take(bytes, at));
        let field = |field| LabelError::Field { field };
        let members = decode_members(bytes)?;
        let in_sync = HolderSet::from_bits(bytes[130]).ok_or(field("in-sync set"))?;
        if in_sync.iter().any(|holder| members.get(holder.index()).is_none_or(|m| m.role != Role::Leg)) {
            return Err(field("in-sync set"));
        }
        let name = GenerationName { counter: number(72), id: uuid(80) };
        let shape = Shape {
            blocks: number(96),
            block_bytes: u32::from_le_bytes(take(bytes, 104)),
            region_blocks: u32::from_le_bytes(take(bytes, 108)),
        };
        shape.check().map_err(|_| field("shape"))?;
        Ok(Self {
            compatible: number(16),
            mirror: uuid(32),
            holder: uuid(48),
            sequence: number(64),
            generation: Generation { name, ancestors: decode_ancestors(bytes)? },
            in_sync,
            policy: Policy::from_code(bytes[128]).ok_or(field("policy"))?,
            members,
            shape,
            data_offset_bytes: number(112),
            map_offset_bytes: number(120),
        })
    }

    /// Of two copies the newest good one, and where the next one goes: the index of the other copy.
    ///
    /// # Errors
    /// The first copy's, if neither is good.
    pub fn newest(copies: &[Box<[u8; LABEL_BYTES]>; 2]) -> Result<(Self, usize), LabelError> {
        match (Self::decode(&copies[0]), Self::decode(&copies[1])) {
            (Ok(first), Ok(second)) if second.sequence > first.sequence => Ok((second, 0)),
            (Ok(first), _) => Ok((first, 1)),
            (Err(_), Ok(second)) => Ok((second, 0)),
            (Err(LabelError::None), Err(why)) | (Err(why), Err(_)) => Err(why),
        }
    }
}

fn count(length: usize) -> u8 {
    u8::try_from(length).unwrap_or(u8::MAX)
}

fn check_head(bytes: &[u8; LABEL_BYTES]) -> Result<(), LabelError> {
    if bytes[..8] != MAGIC {
        return Err(LabelError::None);
    }
    if bytes[CRC_AT..] != crc(&bytes[..CRC_AT]) {
        return Err(LabelError::Damaged);
    }
    let version = u32::from_le_bytes(take(bytes, 8));
    if version != VERSION {
        return Err(LabelError::Version { version });
    }
    match u64::from_le_bytes(take(bytes, 24)) & !INCOMPATIBLE_KNOWN {
        0 => Ok(()),
        unknown => Err(LabelError::Features { unknown }),
    }
}

fn decode_members(bytes: &[u8; LABEL_BYTES]) -> Result<Vec<Member>, LabelError> {
    let wrong = LabelError::Field { field: "table of members" };
    let number = usize::from(bytes[129]);
    if number == 0 || number > HOLDERS_MAX {
        return Err(wrong);
    }
    let member = |index: usize| {
        let at = MEMBERS_AT + index * MEMBER_BYTES;
        let role = Role::from_code(bytes[at + 16]).ok_or(wrong)?;
        Ok(Member { uuid: Uuid::from_bytes(take(bytes, at)), role })
    };
    (0..number).map(member).collect()
}

fn decode_ancestors(bytes: &[u8; LABEL_BYTES]) -> Result<Vec<GenerationName>, LabelError> {
    let number = usize::from(bytes[131]);
    if number > ANCESTORS_MAX {
        return Err(LabelError::Field { field: "number of ancestors" });
    }
    let ancestor = |index: usize| {
        let at = ANCESTORS_AT + index * ANCESTOR_BYTES;
        GenerationName {
            counter: u64::from_le_bytes(take(bytes, at)),
            id: Uuid::from_bytes(take(bytes, at + 8)),
        }
    };
    Ok((0..number).map(ancestor).collect())
}

#[cfg(test)]
mod tests;
