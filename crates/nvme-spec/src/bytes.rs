//! Little-endian fields of data structures.
//!
//! Offsets are constants from the specification's figures and the slices have been checked to be as long as
//! the structure, so an offset outside is a bug here and panics.

/// `N` bytes at an offset.
pub(crate) fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut field = [0; N];
    field.copy_from_slice(&bytes[at..at + N]);
    field
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(array_at(bytes, at))
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array_at(bytes, at))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array_at(bytes, at))
}

/// Writes a field at an offset.
pub(crate) fn put<const N: usize>(bytes: &mut [u8], at: usize, field: [u8; N]) {
    bytes[at..at + N].copy_from_slice(&field);
}

/// Data that is shorter than the structure it should hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{structure} takes {needed} bytes, got {got}")]
pub struct TooShort {
    /// The structure's name.
    pub structure: &'static str,
    /// Its size in bytes.
    pub needed: usize,
    /// The size of the data in bytes.
    pub got: usize,
}

/// The first `N` bytes, or an error that names the structure they should hold.
pub(crate) fn prefix<'a, const N: usize>(
    structure: &'static str,
    bytes: &'a [u8],
) -> Result<&'a [u8; N], TooShort> {
    bytes.first_chunk().ok_or(TooShort { structure, needed: N, got: bytes.len() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_little_endian() {
        let mut bytes: [u8; 24] = std::array::from_fn(|index| index as u8);
        assert_eq!((u16_at(&bytes, 1), u32_at(&bytes, 2)), (0x0201, 0x0504_0302));
        assert_eq!(u64_at(&bytes, 4), 0x0B0A_0908_0706_0504);
        put(&mut bytes, 22, [0xAA, 0xBB]);
        assert_eq!(bytes[21..], [21, 0xAA, 0xBB]);
    }

    #[test]
    fn short_data_is_an_error() {
        let error = prefix::<8>("A Thing", &[0; 7]).unwrap_err();
        assert_eq!(error.to_string(), "A Thing takes 8 bytes, got 7");
        assert!(prefix::<8>("A Thing", &[0; 9]).is_ok());
    }
}
