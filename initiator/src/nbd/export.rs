//! What clients see of a device.

use std::fmt;
use std::str::FromStr;

use block::{Abilities, BlockDevice, BlockSize};
use thiserror::Error;

use super::wire::{BlockSizes, TransmissionFlags};

/// Longest name of an export.
pub const NAME_BYTES_MAX: usize = 64;

/// Most bytes of a read or write: what every client of today takes for the limit if nothing is said.
pub const TRANSFER_BYTES_MAX: u32 = 32 << 20;

/// What is told to be best at least: smaller commands cost as much.
const PREFERRED_BYTES_MIN: u32 = 4096;

/// Largest export: clients count bytes in signed 64 bits.
const EXPORT_BYTES_MAX: u128 = i64::MAX as u128;

/// A name that is also a file's: letters, digits, `.`, `_` and `-`, not beginning with `.` or `-`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ExportName(String);

/// No such name.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "`{0}` is no name: 1 to {NAME_BYTES_MAX} letters, digits, `.`, `_` and `-`, beginning with a letter or digit"
)]
pub struct ExportNameError(pub String);

impl ExportName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ExportName {
    type Err = ExportNameError;

    fn from_str(text: &str) -> Result<Self, ExportNameError> {
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let begins = text.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric);
        if begins && text.len() <= NAME_BYTES_MAX && text.bytes().all(is_word) {
            Ok(Self(text.to_owned()))
        } else {
            Err(ExportNameError(text.to_owned()))
        }
    }
}

impl fmt::Display for ExportName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a device cannot be exported.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ExportError {
    /// It is larger than NBD can say.
    #[error(
        "{device} has {bytes} bytes, and NBD's clients count to 2^63 - 1; export a part of it (`?length=`)"
    )]
    TooLarge {
        /// The device.
        device: String,
        /// Its bytes.
        bytes: u128,
    },
}

/// What clients see of a device.
#[derive(Clone, Debug)]
pub struct Export {
    /// Its name; it is the default export as well.
    pub name: ExportName,
    /// What it is, for people.
    pub description: String,
    /// Bytes of it, whole blocks.
    pub bytes: u64,
    /// The device's block.
    pub block_size: BlockSize,
    /// Whether writes are refused.
    pub is_read_only: bool,
    /// What the device can do.
    pub abilities: Abilities,
}

impl Export {
    /// What clients see of a device as it is now.
    pub fn of(device: &dyn BlockDevice, name: ExportName, read_only: bool) -> Result<Self, ExportError> {
        let (geometry, abilities) = (device.geometry(), device.abilities());
        let bytes = geometry.bytes();
        let too_large = || ExportError::TooLarge { device: device.name().to_owned(), bytes };
        let bytes = match u64::try_from(bytes) {
            Ok(fits) if bytes <= EXPORT_BYTES_MAX => fits,
            _ => return Err(too_large()),
        };
        Ok(Self {
            name,
            description: device.name().to_owned(),
            bytes,
            block_size: geometry.block_size,
            is_read_only: read_only || !abilities.contains(Abilities::WRITE),
            abilities,
        })
    }

    /// Whether a client means this export by a name; the empty one is the default's.
    #[must_use]
    pub fn is_called(&self, name: &[u8]) -> bool {
        name.is_empty() || name == self.name.as_str().as_bytes()
    }

    /// Whether it can tell which blocks hold data.
    #[must_use]
    pub fn has_extents(&self) -> bool {
        self.abilities.contains(Abilities::EXTENTS)
    }

    /// Whether zeroing is faster than writing.
    #[must_use]
    pub fn zeroes_fast(&self) -> bool {
        self.abilities.contains(Abilities::WRITE_ZEROES)
    }

    /// Whether `TRIM` has any effect.
    #[must_use]
    pub fn trims(&self) -> bool {
        self.abilities.contains(Abilities::DISCARD)
    }

    /// Its flags. Several connections see one device, since all commands of all connections go through one queue or the
    /// seam's promise that a flush covers what completed on any queue.
    #[must_use]
    pub fn flags(&self, structured: bool) -> TransmissionFlags {
        let mut flags = TransmissionFlags::HAS_FLAGS
            | TransmissionFlags::SEND_FLUSH
            | TransmissionFlags::SEND_FUA
            | TransmissionFlags::CAN_MULTI_CONN;
        flags.set(TransmissionFlags::SEND_DF, structured);
        if self.is_read_only {
            return flags | TransmissionFlags::READ_ONLY;
        }
        flags.set(TransmissionFlags::SEND_TRIM, self.trims());
        flags.set(TransmissionFlags::SEND_FAST_ZERO, self.zeroes_fast());
        flags | TransmissionFlags::SEND_WRITE_ZEROES
    }

    /// Least, best and most bytes of a command. Less than the least is served, but costs a read and a write.
    #[must_use]
    pub fn block_sizes(&self) -> BlockSizes {
        let block = self.block_size.bytes();
        BlockSizes { minimum: block, preferred: block.max(PREFERRED_BYTES_MIN), maximum: TRANSFER_BYTES_MAX }
    }

    /// Whether so many bytes from there are inside.
    #[inline]
    #[must_use]
    pub fn contains(&self, offset: u64, bytes: u32) -> bool {
        offset.checked_add(u64::from(bytes)).is_some_and(|end| end <= self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use block::{Access, MemDevice, NullDevice};

    use super::*;

    fn name(text: &str) -> ExportName {
        text.parse().unwrap()
    }

    #[test]
    fn names_are_words() {
        for good in ["a", "0", "a.b_c-d", &"x".repeat(64)] {
            assert_eq!(name(good).as_str(), good);
        }
        for bad in ["", ".a", "-a", "a/b", "a b", "\u{e4}", &"x".repeat(65)] {
            assert_eq!(bad.parse::<ExportName>(), Err(ExportNameError(bad.to_owned())));
        }
    }

    #[test]
    fn flags_say_what_the_device_can_do() {
        let device = |access| MemDevice::new("mem:1MiB", BlockSize::B4096, 1 << 20, access).unwrap();
        let all = Export::of(&device(Access::ReadWrite), name("a"), false).unwrap();
        // HAS_FLAGS, FLUSH, FUA, TRIM, WRITE_ZEROES, MULTI_CONN, FAST_ZERO.
        assert_eq!(all.flags(false).bits(), 0b1001_0110_1101);
        assert_eq!(all.flags(true).bits(), 0b1001_1110_1101);
        assert_eq!(all.block_sizes(), BlockSizes { minimum: 4096, preferred: 4096, maximum: 32 << 20 });
        for (access, asked) in [(Access::ReadWrite, true), (Access::Read, false)] {
            let export = Export::of(&device(access), name("a"), asked).unwrap();
            assert_eq!(export.flags(false).bits(), 0b0001_0000_1111);
        }
    }

    #[test]
    fn what_nbd_cannot_count_is_refused() {
        let device = |blocks| NullDevice::new("null:", BlockSize::B512, blocks, Access::ReadWrite);
        let most = (1 << 54) - 1;
        assert_eq!(Export::of(&device(most), name("a"), false).unwrap().bytes, most << 9);
        let refused = Export::of(&device(1 << 54), name("a"), false).unwrap_err();
        assert_eq!(refused, ExportError::TooLarge { device: "null:".to_owned(), bytes: 1 << 63 });
    }

    #[test]
    fn ranges_do_not_wrap() {
        let device = MemDevice::new("m", BlockSize::B512, 1024, Access::Read).unwrap();
        let export = Export::of(&device, name("a"), false).unwrap();
        assert!(export.contains(0, 1024) && export.contains(1024, 0) && export.contains(1023, 1));
        assert!(!export.contains(1, 1024) && !export.contains(u64::MAX, 1) && !export.contains(1025, 0));
        assert!(export.is_called(b"") && export.is_called(b"a") && !export.is_called(b"b"));
    }
}
