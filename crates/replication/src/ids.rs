//! Names of things: label holders, sets of them, regions, actions, requests, reservation keys.

use std::fmt;

/// Most holders of a label: three legs, and a witness that may replace one of them for a while.
pub const HOLDERS_MAX: usize = 4;

/// A leg or the witness: its place in the label's table of members.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HolderId(u8);

impl HolderId {
    /// The holder at a place of the table; `None` beyond [`HOLDERS_MAX`].
    #[must_use]
    pub fn new(index: usize) -> Option<Self> {
        u8::try_from(index).ok().filter(|_| index < HOLDERS_MAX).map(Self)
    }

    /// Its place.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for HolderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A set of holders.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct HolderSet(u8);

impl HolderSet {
    /// Nobody.
    pub const EMPTY: Self = Self(0);

    /// The set as a label stores it: bit n is holder n. `None` if a bit stands for no holder.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Option<Self> {
        if bits >> HOLDERS_MAX == 0 { Some(Self(bits)) } else { None }
    }

    /// The set as a label stores it.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// Whether a holder is in it.
    #[must_use]
    pub const fn contains(self, holder: HolderId) -> bool {
        self.0 >> holder.0 & 1 == 1
    }

    /// The set with a holder.
    #[must_use]
    pub const fn with(self, holder: HolderId) -> Self {
        Self(self.0 | 1 << holder.0)
    }

    /// The set without a holder.
    #[must_use]
    pub const fn without(self, holder: HolderId) -> Self {
        Self(self.0 & !(1 << holder.0))
    }

    /// Who is in both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Who is in one of them or both.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Who is in this one only.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether everybody of this set is in the other.
    #[must_use]
    pub const fn is_subset_of(self, other: Self) -> bool {
        self.minus(other).is_empty()
    }

    /// Whether nobody is in it.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// How many are in it.
    #[must_use]
    pub const fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// Who is in it, in order.
    pub fn iter(self) -> impl Iterator<Item = HolderId> {
        (0..HOLDERS_MAX).filter_map(HolderId::new).filter(move |holder| self.contains(*holder))
    }

    /// The first of them.
    #[must_use]
    pub fn first(self) -> Option<HolderId> {
        self.iter().next()
    }
}

impl FromIterator<HolderId> for HolderSet {
    fn from_iter<T: IntoIterator<Item = HolderId>>(holders: T) -> Self {
        holders.into_iter().fold(Self::EMPTY, Self::with)
    }
}

impl fmt::Display for HolderSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        self.iter()
            .enumerate()
            .try_for_each(|(index, holder)| write!(f, "{}{holder}", if index == 0 { "" } else { ", " }))?;
        f.write_str("}")
    }
}

/// A region: the unit of the write-intent map, counted from the device's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Region(pub u32);

/// What the caller calls a request; not in use for two at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// What the mirror calls an action. Never given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ActionId(pub u64);

/// The reservation key of one attachment: random, fresh for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WriterKey(pub u64);

#[cfg(test)]
mod tests {
    use super::*;

    fn holder(index: usize) -> HolderId {
        HolderId::new(index).unwrap()
    }

    #[test]
    fn sets_are_sets() {
        let both: HolderSet = [holder(0), holder(2)].into_iter().collect();
        assert_eq!((both.bits(), both.len(), both.to_string()), (0b101, 2, "{0, 2}".into()));
        assert!(both.contains(holder(2)) && !both.contains(holder(1)));
        assert_eq!(both.without(holder(0)).first(), Some(holder(2)));
        assert!(both.without(holder(0)).is_subset_of(both) && !both.is_subset_of(both.without(holder(2))));
        assert_eq!((HolderSet::from_bits(0x10), HolderId::new(4)), (None, None));
    }
}
