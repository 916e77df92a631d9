//! A checker: what begins ends once.

use std::collections::BTreeMap;
use std::fmt::Debug;

/// Things that began and must end exactly once, each with what is remembered of it.
#[derive(Clone, Debug)]
pub struct Once<K, V> {
    open: BTreeMap<K, V>,
    ended: u64,
}

impl<K: Ord + Debug, V> Default for Once<K, V> {
    fn default() -> Self {
        Self { open: BTreeMap::new(), ended: 0 }
    }
}

impl<K: Ord + Debug, V> Once<K, V> {
    /// Something begins.
    ///
    /// # Panics
    /// If it has begun already and not ended.
    #[track_caller]
    pub fn begin(&mut self, key: K, value: V) {
        assert!(!self.open.contains_key(&key), "{key:?} begins again");
        self.open.insert(key, value);
    }

    /// Something ends.
    ///
    /// # Panics
    /// If it did not begin, or has ended.
    #[track_caller]
    pub fn end(&mut self, key: &K) -> V {
        let Some(value) = self.open.remove(key) else { panic!("{key:?} ends, and is not there (any more)") };
        self.ended += 1;
        value
    }

    /// What has not ended.
    pub fn open(&self) -> impl Iterator<Item = (&K, &V)> {
        self.open.iter()
    }

    /// How many have not ended.
    #[must_use]
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether all have ended.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// How many have ended.
    #[must_use]
    pub const fn ended(&self) -> u64 {
        self.ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_begins_ends_once() {
        let mut once = Once::default();
        once.begin(1, 'a');
        once.begin(2, 'b');
        assert_eq!((once.end(&1), once.len(), once.ended()), ('a', 1, 1));
        once.begin(1, 'c');
        assert_eq!(once.open().map(|(key, value)| (*key, *value)).collect::<Vec<_>>(), [(1, 'c'), (2, 'b')]);
    }

    #[test]
    #[should_panic(expected = "7 ends, and is not there (any more)")]
    fn what_ends_twice_is_seen() {
        let mut once = Once::default();
        once.begin(7, ());
        once.end(&7);
        once.end(&7);
    }

    #[test]
    #[should_panic(expected = "7 begins again")]
    fn what_begins_twice_is_seen() {
        let mut once = Once::default();
        once.begin(7, ());
        once.begin(7, ());
    }
}
