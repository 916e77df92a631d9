//! Generations: which in-sync set is the newest, and whether two came about without knowing of each other.
//!
//! Each generation that was ever sent to a holder is an ancestor of all later ones of the same attachment, whether it became
//! durable or not. A list of ancestors is bounded: what no holder can have any more is forgotten first.

use std::fmt;

use uuid::Uuid;

/// Most ancestors that a label keeps.
pub const ANCESTORS_MAX: usize = 32;

/// What a generation is known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GenerationName {
    /// Grows by one from parent to child.
    pub counter: u64,
    /// Random.
    pub id: Uuid,
}

impl fmt::Display for GenerationName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.counter, self.id)
    }
}

/// A generation and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generation {
    /// Its name.
    pub name: GenerationName,
    /// Ancestors, newest first; at most [`ANCESTORS_MAX`].
    pub ancestors: Vec<GenerationName>,
}

/// How a generation stands to another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lineage {
    /// They are the same.
    Same,
    /// The first descends from the second.
    Newer,
    /// The second descends from the first.
    Older,
    /// Neither descends from the other.
    Diverged,
}

impl Generation {
    /// The first generation of a mirror.
    #[must_use]
    pub const fn first(id: Uuid) -> Self {
        Self { name: GenerationName { counter: 1, id }, ancestors: Vec::new() }
    }

    /// How it stands to another one.
    #[must_use]
    pub fn lineage(&self, other: &Self) -> Lineage {
        if self.name == other.name {
            Lineage::Same
        } else if self.ancestors.contains(&other.name) {
            Lineage::Newer
        } else if other.ancestors.contains(&self.name) {
            Lineage::Older
        } else {
            Lineage::Diverged
        }
    }

    /// A child of this one and of `others`. `held` are the names that some holder may have: they are kept before the rest.
    #[must_use]
    pub fn child(&self, id: Uuid, others: &[&Self], held: &[GenerationName]) -> Self {
        let parents = std::iter::once(self).chain(others.iter().copied());
        let mut ancestors: Vec<GenerationName> = Vec::new();
        for name in parents.flat_map(|parent| std::iter::once(&parent.name).chain(&parent.ancestors)) {
            if !ancestors.contains(name) {
                ancestors.push(*name);
            }
        }
        let counter = ancestors.iter().map(|name| name.counter).max().unwrap_or(0).saturating_add(1);
        ancestors.sort_by_key(|name| std::cmp::Reverse((held.contains(name), name.counter)));
        ancestors.truncate(ANCESTORS_MAX);
        ancestors.sort_by_key(|name| std::cmp::Reverse(name.counter));
        Self { name: GenerationName { counter, id }, ancestors }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u128) -> Uuid {
        Uuid::from_u128(number)
    }

    #[test]
    fn a_child_descends_from_all_before_it() {
        let first = Generation::first(id(1));
        let child = first.child(id(2), &[], &[]);
        let grandchild = child.child(id(3), &[], &[]);
        assert_eq!(grandchild.name.counter, 3);
        assert_eq!(grandchild.lineage(&first), Lineage::Newer);
        assert_eq!(first.lineage(&grandchild), Lineage::Older);
        assert_eq!(child.lineage(&child.clone()), Lineage::Same);
    }

    #[test]
    fn two_children_of_one_have_diverged_whatever_their_counters() {
        let first = Generation::first(id(1));
        let one = first.child(id(2), &[], &[]);
        let other = first.child(id(3), &[], &[]).child(id(4), &[], &[]);
        assert_eq!(one.lineage(&other), Lineage::Diverged);
        let both = one.child(id(5), &[&other], &[]);
        assert_eq!((both.lineage(&one), both.lineage(&other)), (Lineage::Newer, Lineage::Newer));
        assert_eq!(both.name.counter, 4);
    }

    #[test]
    fn what_a_holder_may_have_is_not_forgotten() {
        let first = Generation::first(id(1));
        let mut pinned = first.child(id(2), &[], &[]);
        let mut unpinned = pinned.clone();
        for number in 0..100 {
            pinned = pinned.child(id(100 + number), &[], &[first.name]);
            unpinned = unpinned.child(id(100 + number), &[], &[]);
        }
        assert_eq!(pinned.ancestors.len(), ANCESTORS_MAX);
        assert_eq!(pinned.lineage(&first), Lineage::Newer);
        assert_eq!(unpinned.lineage(&first), Lineage::Diverged);
    }
}
