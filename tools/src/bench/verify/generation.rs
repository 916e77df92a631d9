//! Which of a block's newest generations its content may be.

/// How many of the newest generations a set tells apart.
pub const WINDOW: u32 = u32::BITS;

/// A set of generations of one block, each told by its age: 0 for the newest that was submitted, 1 for the one before,
/// up to [`WINDOW`] - 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Generations(u32);

impl Generations {
    /// None.
    pub const NONE: Self = Self(0);
    /// The newest.
    pub const NEWEST: Self = Self(1);

    /// A set from its stored form: bit n for age n.
    #[must_use]
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// The stored form.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// The newest `count` generations, at most [`WINDOW`].
    #[must_use]
    pub const fn newest(count: u32) -> Self {
        if count >= WINDOW { Self(u32::MAX) } else { Self((1 << count) - 1) }
    }

    /// Whether the generation of this age is in the set.
    #[inline]
    #[must_use]
    pub const fn contains(self, age: u32) -> bool {
        age < WINDOW && self.0 & (1 << age) != 0
    }

    /// The same generations after `newer` more were submitted. Those that leave the window are forgotten.
    #[inline]
    #[must_use]
    pub const fn aged(self, newer: u32) -> Self {
        match self.0.checked_shl(newer) {
            Some(bits) => Self(bits),
            None => Self::NONE,
        }
    }

    /// Whether one more generation would push one of these out of the window.
    #[inline]
    #[must_use]
    pub const fn is_full(self) -> bool {
        self.contains(WINDOW - 1)
    }

    /// Those in either set.
    #[inline]
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those that are not in the other set.
    #[inline]
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The same without the generation of this age.
    #[inline]
    #[must_use]
    pub const fn without_age(self, age: u32) -> Self {
        self.without(Self::NEWEST.aged(age))
    }

    /// The age of the oldest; 0 if there is none.
    #[inline]
    #[must_use]
    pub const fn oldest_age(self) -> u32 {
        (u32::BITS - self.0.leading_zeros()).saturating_sub(1)
    }

    /// The ages, oldest first.
    pub fn ages(self) -> impl Iterator<Item = u32> {
        (0..WINDOW).rev().filter(move |age| self.contains(*age))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generations_age_and_leave() {
        let set = Generations::NEWEST.aged(3).and(Generations::NEWEST);
        assert_eq!(set.ages().collect::<Vec<_>>(), [3, 0]);
        assert_eq!(set.oldest_age(), 3);
        assert_eq!(set.without_age(3), Generations::NEWEST);
        assert!(!set.aged(27).is_full() && set.aged(28).is_full());
        assert_eq!(set.aged(29).ages().collect::<Vec<_>>(), [29]);
        assert_eq!(set.aged(32), Generations::NONE);
        assert!(!set.contains(32) && !set.contains(u32::MAX));
    }

    #[test]
    fn the_newest_few() {
        assert_eq!(Generations::newest(0), Generations::NONE);
        assert_eq!(Generations::newest(3).ages().collect::<Vec<_>>(), [2, 1, 0]);
        assert_eq!(Generations::newest(99).ages().count(), 32);
    }
}
