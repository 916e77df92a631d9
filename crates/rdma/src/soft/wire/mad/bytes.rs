//! Fields of a MAD at their offsets: whole bytes big-endian, and parts of bytes.

use super::{HEADER_BYTES, MAD_BYTES, MadBytes};

/// A field smaller than a byte, at an offset behind the header. The most significant bit of a byte has number 7.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bits {
    offset: usize,
    low: u32,
    width: u32,
}

impl Bits {
    /// `width` bits of the byte at `offset`, from bit `low` up.
    pub(super) const fn new(offset: usize, low: u32, width: u32) -> Self {
        assert!(width < 8 && low + width <= 8 && HEADER_BYTES + offset < MAD_BYTES);
        Self { offset, low, width }
    }

    const fn max(self) -> u8 {
        (1 << self.width) - 1
    }
}

/// What follows the header of a MAD, in the offsets of the tables of chapter 12.6.
#[derive(Clone, Copy, Debug)]
pub(super) struct Body<'a>(&'a MadBytes);

impl<'a> Body<'a> {
    pub(super) const fn new(bytes: &'a MadBytes) -> Self {
        Self(bytes)
    }

    pub(super) fn array<const N: usize>(self, offset: usize) -> [u8; N] {
        let mut copy = [0; N];
        copy.copy_from_slice(&self.0[HEADER_BYTES + offset..][..N]);
        copy
    }

    pub(super) fn byte(self, offset: usize) -> u8 {
        self.0[HEADER_BYTES + offset]
    }

    pub(super) fn u16(self, offset: usize) -> u16 {
        u16::from_be_bytes(self.array(offset))
    }

    pub(super) fn u32(self, offset: usize) -> u32 {
        u32::from_be_bytes(self.array(offset))
    }

    pub(super) fn u64(self, offset: usize) -> u64 {
        u64::from_be_bytes(self.array(offset))
    }

    pub(super) fn bits(self, bits: Bits) -> u8 {
        (self.byte(bits.offset) >> bits.low) & bits.max()
    }

    pub(super) fn flag(self, bits: Bits) -> bool {
        self.bits(bits) != 0
    }
}

/// [`Body`], to be written over zeroes.
#[derive(Debug)]
pub(super) struct BodyMut<'a>(&'a mut MadBytes);

impl<'a> BodyMut<'a> {
    pub(super) const fn new(bytes: &'a mut MadBytes) -> Self {
        Self(bytes)
    }

    pub(super) fn put<const N: usize>(&mut self, offset: usize, value: [u8; N]) {
        self.0[HEADER_BYTES + offset..][..N].copy_from_slice(&value);
    }

    /// A value that is too large for its bits counts as the largest.
    pub(super) fn put_bits(&mut self, bits: Bits, value: u8) {
        self.0[HEADER_BYTES + bits.offset] |= value.min(bits.max()) << bits.low;
    }

    pub(super) fn put_flag(&mut self, bits: Bits, value: bool) {
        self.put_bits(bits, u8::from(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_bytes_count_from_the_least_significant() {
        const HIGH: Bits = Bits::new(1, 3, 5);
        const LOW: Bits = Bits::new(1, 0, 3);
        let mut bytes = [0; MAD_BYTES];
        let mut body = BodyMut::new(&mut bytes);
        body.put_bits(HIGH, 20);
        body.put_bits(LOW, 9);
        assert_eq!(bytes[25], 0b1010_0111, "9 does not fit three bits");
        assert_eq!((Body::new(&bytes).bits(HIGH), Body::new(&bytes).bits(LOW)), (20, 7));
        assert!(Body::new(&bytes).flag(LOW));
    }

    #[test]
    fn whole_bytes_are_big_endian_behind_the_header() {
        let mut bytes = [0; MAD_BYTES];
        BodyMut::new(&mut bytes).put(8, 0x0102_0304_u32.to_be_bytes());
        assert_eq!(bytes[32..36], [1, 2, 3, 4]);
        let body = Body::new(&bytes);
        assert_eq!(
            (body.u32(8), body.u16(9), body.u64(8), body.byte(11)),
            (0x0102_0304, 0x0203, 0x0102_0304 << 32, 4)
        );
    }
}
