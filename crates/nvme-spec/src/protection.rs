//! End-to-end data protection (NVM, End-to-end Data Protection).

use crate::bytes::{array_at, put, u32_at};
use crate::structure::packed;

/// The size of protection information with a guard of 16 bits, in bytes.
pub const TUPLE_BYTES: usize = 8;

/// Protection Information Type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ProtectionType {
    /// Type 1: the reference tag is checked against the logical block address.
    Type1 = 1,
    /// Type 2: the reference tag is checked against the command's, counting up.
    Type2 = 2,
    /// Type 3: the reference tag is opaque.
    Type3 = 3,
}

packed! {
    /// End-to-end Data Protection Type Settings (DPS) of Identify Namespace (NVM, Identify Namespace Data
    /// Structure).
    ProtectionSettings: u8
}

impl ProtectionSettings {
    /// Protection of a type, at the start of the metadata or at its end.
    #[must_use]
    pub const fn new(protection_type: ProtectionType, first_bytes: bool) -> Self {
        Self(protection_type as u8 | (first_bytes as u8) << 3)
    }

    /// The type; `None` when protection is off, and for reserved values.
    #[must_use]
    pub const fn protection_type(self) -> Option<ProtectionType> {
        match self.0 & 0b111 {
            1 => Some(ProtectionType::Type1),
            2 => Some(ProtectionType::Type2),
            3 => Some(ProtectionType::Type3),
            _ => None,
        }
    }

    /// The protection information is at the start of the metadata, not at its end.
    #[must_use]
    pub const fn first_bytes(self) -> bool {
        self.0 & 0b1000 != 0
    }
}

/// Protection information with a guard of 16 bits (NVM, 16b Guard Protection Information Format): unlike all
/// else in NVMe, its fields have their most significant byte first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ProtectionTuple {
    /// Guard: CRC-16 of the block's data with the polynomial 8BB7h (and of metadata before the tuple).
    pub guard: u16,
    /// Application Tag; FFFFh turns the checks off (with type 3, together with the reference tag FFFFFFFFh).
    pub application_tag: u16,
    /// Storage and Reference Space: the reference tag where there is no storage tag.
    pub reference_tag: u32,
}

impl ProtectionTuple {
    /// Reads a tuple as it lies in the metadata.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; TUPLE_BYTES]) -> Self {
        Self {
            guard: u16::from_be_bytes(array_at(bytes, 0)),
            application_tag: u16::from_be_bytes(array_at(bytes, 2)),
            reference_tag: u32_at(bytes, 4).swap_bytes(),
        }
    }

    /// The tuple as it lies in the metadata.
    #[must_use]
    pub fn to_bytes(self) -> [u8; TUPLE_BYTES] {
        let mut bytes = [0; TUPLE_BYTES];
        put(&mut bytes, 0, self.guard.to_be_bytes());
        put(&mut bytes, 2, self.application_tag.to_be_bytes());
        put(&mut bytes, 4, self.reference_tag.to_be_bytes());
        bytes
    }

    /// Whether the tags say that this block is not to be checked (NVM, Control of Protection Information
    /// Checking).
    #[must_use]
    pub fn disables_checks(self, protection_type: ProtectionType) -> bool {
        let by_reference = protection_type != ProtectionType::Type3 || self.reference_tag == u32::MAX;
        self.application_tag == u16::MAX && by_reference
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tuple_is_big_endian() {
        // NVM, 16b Guard Protection Information Format: guard bytes 0 (MSB) and 1, application tag 2 and 3,
        // reference tag 4 (MSB) to 7.
        let bytes = [0x12, 0x34, 0x56, 0x78, 0x9A, 0xBC, 0xDE, 0xF0];
        let tuple = ProtectionTuple { guard: 0x1234, application_tag: 0x5678, reference_tag: 0x9ABC_DEF0 };
        assert_eq!((ProtectionTuple::from_bytes(&bytes), tuple.to_bytes()), (tuple, bytes));
    }

    #[test]
    fn escape_values() {
        let escaped = ProtectionTuple { guard: 0, application_tag: 0xFFFF, reference_tag: 5 };
        assert!(escaped.disables_checks(ProtectionType::Type1));
        assert!(escaped.disables_checks(ProtectionType::Type2));
        assert!(!escaped.disables_checks(ProtectionType::Type3));
        let all = ProtectionTuple { reference_tag: u32::MAX, ..escaped };
        assert!(all.disables_checks(ProtectionType::Type3));
        assert!(!ProtectionTuple::default().disables_checks(ProtectionType::Type1));
    }

    #[test]
    fn settings_by_bits() {
        use ProtectionType::{Type1, Type2, Type3};
        let types = [None, Some(Type1), Some(Type2), Some(Type3), None, None, None, None];
        for raw in 0..=u8::MAX {
            let settings = ProtectionSettings::from_raw(raw);
            assert_eq!(settings.protection_type(), types[usize::from(raw % 8)]);
            assert_eq!(settings.first_bytes(), raw / 8 % 2 == 1);
        }
        assert_eq!(ProtectionSettings::new(Type2, true).raw(), 0b1010);
    }
}
