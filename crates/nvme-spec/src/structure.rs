//! Data structures whose every bit pattern is a value: one table of offsets makes the struct, its decoder and
//! its encoder, so that the two cannot part from each other. They are tested against literal bytes.

use crate::bytes::{array_at, put};

/// A field of a data structure.
pub(crate) trait Field: Sized {
    /// Its size in bytes.
    const SIZE: usize;
    /// Reads it at an offset, which is within `bytes`.
    fn read(bytes: &[u8], at: usize) -> Self;
    /// Writes it at an offset, which is within `bytes`.
    fn write(&self, bytes: &mut [u8], at: usize);
}

macro_rules! integer_fields {
    ($($integer:ty),*) => {$(
        impl Field for $integer {
            const SIZE: usize = size_of::<Self>();

            fn read(bytes: &[u8], at: usize) -> Self {
                Self::from_le_bytes(array_at(bytes, at))
            }

            fn write(&self, bytes: &mut [u8], at: usize) {
                put(bytes, at, self.to_le_bytes());
            }
        }
    )*};
}
integer_fields!(u8, u16, u32, u64, u128);

impl<T: Field, const N: usize> Field for [T; N] {
    const SIZE: usize = N * T::SIZE;

    fn read(bytes: &[u8], at: usize) -> Self {
        std::array::from_fn(|index| T::read(bytes, at + index * T::SIZE))
    }

    fn write(&self, bytes: &mut [u8], at: usize) {
        for (index, element) in self.iter().enumerate() {
            element.write(bytes, at + index * T::SIZE);
        }
    }
}

/// Makes a field of a newtype: how to get the integer, and how to make the type from it.
macro_rules! integer_newtype_field {
    ($name:ty, $integer:ty, $from:expr, $into:expr) => {
        impl crate::structure::Field for $name {
            const SIZE: usize = size_of::<$integer>();

            fn read(bytes: &[u8], at: usize) -> Self {
                ($from)(<$integer as crate::structure::Field>::read(bytes, at))
            }

            fn write(&self, bytes: &mut [u8], at: usize) {
                let raw: $integer = ($into)(*self);
                crate::structure::Field::write(&raw, bytes, at);
            }
        }
    };
}
pub(crate) use integer_newtype_field;

/// Flags with their place in a data structure. Bits that have no name here are kept.
macro_rules! flags {
    ($(#[$doc:meta])* $name:ident: $integer:ty {
        $($(#[doc = $flag_doc:literal])* $flag:ident = $bit:literal;)*
    }) => {
        bitflags::bitflags! {
            $(#[$doc])*
            #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
            pub struct $name: $integer {
                $($(#[doc = $flag_doc])* const $flag = 1 << $bit;)*
                const _ = !0;
            }
        }
        crate::structure::integer_newtype_field!(
            $name,
            $integer,
            $name::from_bits_retain,
            |flags: $name| flags.bits()
        );
    };
}
pub(crate) use flags;

/// A newtype over an integer with bit fields inside, which its own `impl` names.
macro_rules! packed {
    ($(#[$doc:meta])* $name:ident: $integer:ty) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
        pub struct $name($integer);

        impl $name {
            /// From the field's value; every value is legal to hold.
            #[must_use]
            pub const fn from_raw(raw: $integer) -> Self {
                Self(raw)
            }

            /// The field's value.
            #[must_use]
            pub const fn raw(self) -> $integer {
                self.0
            }
        }

        crate::structure::integer_newtype_field!($name, $integer, $name, |packed: $name| packed.0);
    };
}
pub(crate) use packed;

/// Makes a struct, its decoder and its encoder from one table of byte offsets.
macro_rules! data_structure {
    ($(#[$doc:meta])* $name:ident, $title:literal, $size:literal {
        $($(#[$field_doc:meta])* $at:literal $field:ident: $kind:ty,)*
    }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: $kind,)*
        }

        impl $name {
            /// The size of the structure in bytes.
            pub const BYTES: usize = $size;

            /// Reads the structure from the start of `bytes`.
            ///
            /// # Errors
            /// [`crate::TooShort`] for fewer than [`Self::BYTES`] bytes.
            pub fn from_bytes(bytes: &[u8]) -> Result<Self, crate::TooShort> {
                crate::bytes::prefix::<$size>($title, bytes).map(Self::from_array)
            }

            /// Reads the structure from as many bytes as it has.
            #[must_use]
            pub fn from_array(bytes: &[u8; $size]) -> Self {
                Self { $($field: crate::structure::Field::read(bytes, $at),)* }
            }

            /// The structure as it lies in memory; reserved bytes are zero.
            #[must_use]
            pub fn to_bytes(&self) -> [u8; $size] {
                let mut bytes = [0; $size];
                $(crate::structure::Field::write(&self.$field, &mut bytes, $at);)*
                bytes
            }
        }

        impl Default for $name {
            /// All zeroes.
            fn default() -> Self {
                Self::from_array(&[0; $size])
            }
        }

        const _: () =
            crate::structure::assert_layout($size, &[$(($at, <$kind as crate::structure::Field>::SIZE)),*]);

        impl crate::structure::Field for $name {
            const SIZE: usize = $size;

            fn read(bytes: &[u8], at: usize) -> Self {
                Self::from_array(&crate::bytes::array_at(bytes, at))
            }

            fn write(&self, bytes: &mut [u8], at: usize) {
                crate::bytes::put(bytes, at, self.to_bytes());
            }
        }
    };
}
pub(crate) use data_structure;

integer_newtype_field!(crate::Nsid, u32, crate::Nsid, |nsid: crate::Nsid| nsid.0);
integer_newtype_field!(crate::QueueId, u16, crate::QueueId, |qid: crate::QueueId| qid.0);
integer_newtype_field!(crate::CommandId, u16, crate::CommandId, |cid: crate::CommandId| cid.0);
integer_newtype_field!(crate::ControllerId, u16, crate::ControllerId, |id: crate::ControllerId| id.0);
integer_newtype_field!(crate::Lba, u64, crate::Lba, |lba: crate::Lba| lba.0);

/// Fails to compile when fields, given by offset and size, overlap, are out of order or lie outside.
pub(crate) const fn assert_layout(size: usize, fields: &[(usize, usize)]) {
    let (mut index, mut end) = (0, 0);
    while index < fields.len() {
        assert!(fields[index].0 >= end, "a field overlaps the one before it");
        end = fields[index].0 + fields[index].1;
        index += 1;
    }
    assert!(end <= size, "a field ends after the structure");
}
