//! Numbers of 24 bits.

use std::fmt;

use thiserror::Error;

/// Values of 24 bits.
const MASK: u32 = 0x00ff_ffff;

/// A packet sequence number: 24 bits, counted around (9.7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Psn(u32);

impl Psn {
    /// Half the numbers: those that count as before a given one.
    pub const HALF: u32 = 0x0080_0000;

    /// Keeps the low 24 bits of `number`.
    #[inline]
    #[must_use]
    pub const fn new(number: u32) -> Self {
        Self(number & MASK)
    }

    /// Below 2^24.
    #[inline]
    #[must_use]
    pub const fn value(self) -> u32 {
        self.0
    }

    /// The one after it; after the last comes 0.
    #[inline]
    #[must_use]
    pub const fn next(self) -> Self {
        self.advance(1)
    }

    /// The one `count` further on, around the end.
    #[inline]
    #[must_use]
    pub const fn advance(self, count: u32) -> Self {
        Self::new(self.0.wrapping_add(count))
    }

    /// How far on this is from `earlier`, modulo 2^24: below 2^24.
    #[inline]
    #[must_use]
    pub const fn minus(self, earlier: Self) -> u32 {
        self.0.wrapping_sub(earlier.0) & MASK
    }

    /// Whether this lies in the half of the numbers that goes before `other` (9.7.1).
    #[inline]
    #[must_use]
    pub const fn is_before(self, other: Self) -> bool {
        let ahead = other.minus(self);
        ahead != 0 && ahead <= Self::HALF
    }

    pub(super) const fn from_be_bytes(bytes: [u8; 3]) -> Self {
        Self(from_be_bytes(bytes))
    }

    pub(super) const fn to_be_bytes(self) -> [u8; 3] {
        to_be_bytes(self.0)
    }
}

impl fmt::Display for Psn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#08x}", self.0)
    }
}

/// A number that is no queue pair's: it has more than 24 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{0:#x} is no queue pair number: it has more than 24 bits")]
pub struct QpnError(pub u32);

/// A queue pair number: 24 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Qpn(u32);

impl Qpn {
    /// The general services queue pair, to which connection management is sent.
    pub const CONNECTION_MANAGER: Self = Self(1);

    /// Below 2^24.
    #[inline]
    #[must_use]
    pub const fn value(self) -> u32 {
        self.0
    }

    pub(super) const fn from_be_bytes(bytes: [u8; 3]) -> Self {
        Self(from_be_bytes(bytes))
    }

    pub(super) const fn to_be_bytes(self) -> [u8; 3] {
        to_be_bytes(self.0)
    }
}

impl TryFrom<u32> for Qpn {
    type Error = QpnError;

    fn try_from(number: u32) -> Result<Self, QpnError> {
        if number <= MASK { Ok(Self(number)) } else { Err(QpnError(number)) }
    }
}

impl fmt::Display for Qpn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#08x}", self.0)
    }
}

/// The big-endian number in three bytes.
pub(super) const fn from_be_bytes([high, middle, low]: [u8; 3]) -> u32 {
    u32::from_be_bytes([0, high, middle, low])
}

/// The low 24 bits of `number`, big-endian.
pub(super) const fn to_be_bytes(number: u32) -> [u8; 3] {
    let [_, high, middle, low] = number.to_be_bytes();
    [high, middle, low]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequence_numbers_go_around() {
        let last = Psn::new(0x00ff_ffff);
        assert_eq!(last.next(), Psn::new(0));
        assert_eq!(last.advance(0x101), Psn::new(0x100));
        assert_eq!(Psn::new(0x12ff_ffff), last);
        assert_eq!(Psn::new(0x100).minus(last), 0x101);
        assert_eq!(last.minus(Psn::new(0x100)), 0x00ff_feff);
        assert_eq!(Psn::new(7).advance(u32::MAX), Psn::new(6));
    }

    #[test]
    fn half_the_numbers_are_before_each() {
        let psn = Psn::new(5);
        assert!(!psn.is_before(psn));
        assert!(psn.is_before(Psn::new(6)));
        assert!(psn.is_before(psn.advance(Psn::HALF)));
        assert!(!psn.is_before(psn.advance(Psn::HALF + 1)));
        assert!(Psn::new(0x00ff_ffff).is_before(Psn::new(0)));
        assert!(!Psn::new(0).is_before(Psn::new(0x00ff_ffff)));
    }

    #[test]
    fn queue_pair_numbers_have_24_bits() {
        assert_eq!(Qpn::try_from(0x00ff_ffff).map(Qpn::value), Ok(0x00ff_ffff));
        assert_eq!(Qpn::try_from(0x0100_0000), Err(QpnError(0x0100_0000)));
        assert_eq!(Qpn::CONNECTION_MANAGER.value(), 1);
        assert_eq!(Qpn::from_be_bytes([0x12, 0x34, 0x56]), Qpn(0x0012_3456));
        assert_eq!(Psn::new(0x0012_3456).to_be_bytes(), [0x12, 0x34, 0x56]);
    }
}
