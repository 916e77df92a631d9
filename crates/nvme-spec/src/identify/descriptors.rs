//! Namespace Identification Descriptor list, CNS 03h (Base, Namespace Identification Descriptor).

use super::IDENTIFY_BYTES;
use crate::command::CommandSetId;

const TYPE_EUI64: u8 = 1;
const TYPE_NGUID: u8 = 2;
const TYPE_UUID: u8 = 3;
const TYPE_CSI: u8 = 4;
const HEADER_BYTES: usize = 4;

/// The identifiers of a namespace, at most one of each type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct NamespaceIds {
    /// IEEE Extended Unique Identifier, most significant byte first.
    pub eui64: Option<[u8; 8]>,
    /// Namespace Globally Unique Identifier, most significant byte first.
    pub nguid: Option<[u8; 16]>,
    /// Namespace UUID, as RFC 9562 orders its bytes.
    pub uuid: Option<[u8; 16]>,
    /// Command Set Identifier.
    pub csi: Option<CommandSetId>,
}

/// A list that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DescriptorError {
    /// The data ends within a descriptor.
    #[error("the descriptor at byte {at} ends after the data")]
    Truncated {
        /// Where the descriptor starts, in bytes.
        at: usize,
    },
    /// A descriptor of a known type has another length than the type's.
    #[error("a descriptor of type {descriptor_type} has {got} bytes")]
    Length {
        /// Namespace Identifier Type (NIDT).
        descriptor_type: u8,
        /// Namespace Identifier Length (NIDL).
        got: u8,
    },
}

impl NamespaceIds {
    /// Reads a list, which ends with the data or with a descriptor of type or length zero. Unknown types are
    /// skipped.
    ///
    /// # Errors
    /// [`DescriptorError`] for a descriptor that is cut off or has the wrong length.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DescriptorError> {
        let mut ids = Self::default();
        let mut at = 0;
        while let Some(&[descriptor_type, length, _, _]) = bytes.get(at..at + HEADER_BYTES) {
            if descriptor_type == 0 || length == 0 {
                break;
            }
            let start = at + HEADER_BYTES;
            let value =
                bytes.get(start..start + usize::from(length)).ok_or(DescriptorError::Truncated { at })?;
            ids.take(descriptor_type, value)
                .ok_or(DescriptorError::Length { descriptor_type, got: length })?;
            at = start + usize::from(length);
        }
        Ok(ids)
    }

    /// Keeps one descriptor's value; `None` when its length is not that of its type.
    fn take(&mut self, descriptor_type: u8, value: &[u8]) -> Option<()> {
        match descriptor_type {
            TYPE_EUI64 => self.eui64 = Some(value.try_into().ok()?),
            TYPE_NGUID => self.nguid = Some(value.try_into().ok()?),
            TYPE_UUID => self.uuid = Some(value.try_into().ok()?),
            TYPE_CSI => self.csi = Some(CommandSetId(<[u8; 1]>::try_from(value).ok()?[0])),
            _ => {}
        }
        Some(())
    }

    /// The list as it lies in memory.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; IDENTIFY_BYTES] {
        let mut bytes = [0; IDENTIFY_BYTES];
        let csi = self.csi.map(|csi| [csi.0]);
        let descriptors = [
            (TYPE_EUI64, self.eui64.as_ref().map(<[u8; 8]>::as_slice)),
            (TYPE_NGUID, self.nguid.as_ref().map(<[u8; 16]>::as_slice)),
            (TYPE_UUID, self.uuid.as_ref().map(<[u8; 16]>::as_slice)),
            (TYPE_CSI, csi.as_ref().map(<[u8; 1]>::as_slice)),
        ];
        let mut at = 0;
        for (descriptor_type, value) in descriptors {
            at += put_descriptor(&mut bytes[at..], descriptor_type, value.unwrap_or_default());
        }
        bytes
    }
}

/// Writes one descriptor and returns how many bytes it took; none for an empty value. Values have at most 16
/// bytes.
fn put_descriptor(out: &mut [u8], descriptor_type: u8, value: &[u8]) -> usize {
    let (Ok(length), false) = (u8::try_from(value.len()), value.is_empty()) else {
        return 0;
    };
    out[..2].copy_from_slice(&[descriptor_type, length]);
    out[HEADER_BYTES..HEADER_BYTES + value.len()].copy_from_slice(value);
    HEADER_BYTES + value.len()
}
