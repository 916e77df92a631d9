//! Bit fields of integers, the one place that shifts and masks.

/// A mask of the low `width` bits; `width` is 1..=32.
const fn mask32(width: u32) -> u32 {
    u32::MAX >> (32 - width)
}

/// Bits `lo + width - 1 : lo` of `raw`.
#[inline]
pub(crate) const fn get32(raw: u32, lo: u32, width: u32) -> u32 {
    (raw >> lo) & mask32(width)
}

/// `raw` with bits `lo + width - 1 : lo` replaced by `value`, whose higher bits are dropped.
#[inline]
pub(crate) const fn set32(raw: u32, lo: u32, width: u32, value: u32) -> u32 {
    let mask = mask32(width);
    (raw & !(mask << lo)) | ((value & mask) << lo)
}

/// Bits `lo + width - 1 : lo` of `raw`; `width` is 1..=32.
#[inline]
pub(crate) const fn get64(raw: u64, lo: u32, width: u32) -> u32 {
    ((raw >> lo) & mask32(width) as u64 & 0xFFFF_FFFF) as u32
}

/// `raw` with bits `lo + width - 1 : lo` replaced by `value`; `width` is 1..=32.
#[inline]
pub(crate) const fn set64(raw: u64, lo: u32, width: u32, value: u32) -> u64 {
    let mask = mask32(width) as u64;
    (raw & !(mask << lo)) | ((value as u64 & mask) << lo)
}

/// The low byte.
#[inline]
pub(crate) const fn low8(raw: u32) -> u8 {
    (raw & 0xFF) as u8
}

/// The low 16 bits.
#[inline]
pub(crate) const fn low16(raw: u32) -> u16 {
    (raw & 0xFFFF) as u16
}

/// The high 16 bits.
#[inline]
pub(crate) const fn high16(raw: u32) -> u16 {
    (raw >> 16) as u16
}

/// A dword of two halves.
#[inline]
pub(crate) const fn join16(low: u16, high: u16) -> u32 {
    low as u32 | (high as u32) << 16
}

/// The low dword.
#[inline]
pub(crate) const fn low32(raw: u64) -> u32 {
    (raw & 0xFFFF_FFFF) as u32
}

/// The high dword.
#[inline]
pub(crate) const fn high32(raw: u64) -> u32 {
    (raw >> 32) as u32
}

/// A qword of two dwords.
#[inline]
pub(crate) const fn join32(low: u32, high: u32) -> u64 {
    low as u64 | (high as u64) << 32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_full_width_and_at_the_edges() {
        assert_eq!(get32(0xFFFF_FFFF, 0, 32), 0xFFFF_FFFF);
        assert_eq!(get32(0x8000_0000, 31, 1), 1);
        assert_eq!(set32(0xFFFF_FFFF, 4, 4, 0), 0xFFFF_FF0F);
        assert_eq!(set32(0, 28, 4, 0x1F), 0xF000_0000);
        assert_eq!(get64(0x0123_4567_89AB_CDEF, 32, 32), 0x0123_4567);
        assert_eq!(set64(0, 52, 4, 0xA), 0x00A0_0000_0000_0000);
        assert_eq!((low32(0x0123_4567_89AB_CDEF), high32(0x0123_4567_89AB_CDEF)), (0x89AB_CDEF, 0x0123_4567));
        assert_eq!(join32(0x89AB_CDEF, 0x0123_4567), 0x0123_4567_89AB_CDEF);
        assert_eq!((low16(0x1234_5678), high16(0x1234_5678), low8(0x1234_5678)), (0x5678, 0x1234, 0x78));
    }
}
