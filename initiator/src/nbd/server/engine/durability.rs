//! What was acknowledged and is not yet durable, and what becomes of it when the device begins anew.

/// Counts changes. A flush makes durable what was acknowledged before it began; a device with a volatile cache that begins
/// anew may have lost the rest.
#[derive(Debug, Default)]
pub(super) struct Durability {
    /// Changes that were acknowledged without being durable.
    acknowledged: u64,
    /// The first so many of them are durable by now.
    durable: u64,
    /// How often some were lost.
    losses: u64,
}

/// What a flush covers if it succeeds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Mark(u64);

impl Durability {
    /// A change was acknowledged.
    pub(super) fn note_change(&mut self) {
        self.acknowledged += 1;
    }

    /// A flush begins.
    pub(super) fn mark(&self) -> Mark {
        Mark(self.acknowledged)
    }

    /// A flush succeeded.
    pub(super) fn note_flush(&mut self, mark: Mark) {
        self.durable = self.durable.max(mark.0);
    }

    /// The device's cache may be gone. Whether something may have been lost with it.
    pub(super) fn note_loss(&mut self) -> bool {
        let lost = self.durable < self.acknowledged;
        self.durable = self.acknowledged;
        self.losses += u64::from(lost);
        lost
    }

    /// How often something was lost so far.
    pub(super) fn losses(&self) -> u64 {
        self.losses
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_no_flush_covered_is_lost() {
        let mut durability = Durability::default();
        assert!(!durability.note_loss());
        durability.note_change();
        let mark = durability.mark();
        durability.note_change();
        durability.note_flush(mark);
        assert!(durability.note_loss());
        assert!(!durability.note_loss());
        durability.note_change();
        let mark = durability.mark();
        durability.note_flush(mark);
        assert!(!durability.note_loss());
        assert_eq!(durability.losses(), 1);
    }

    #[test]
    fn a_late_flush_undoes_nothing() {
        let mut durability = Durability::default();
        let early = durability.mark();
        durability.note_change();
        durability.note_flush(durability.mark());
        durability.note_flush(early);
        assert!(!durability.note_loss());
    }
}
