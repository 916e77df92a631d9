//! Which events have met which states, for simulations that must leave no cell of the table empty. Without the feature
//! `conformance` nothing is kept, and the calls are nothing.

#[cfg(feature = "conformance")]
mod kept {
    use std::cell::RefCell;
    use std::collections::BTreeMap;

    /// State and event, and how often they met.
    pub type Cells = BTreeMap<(&'static str, &'static str), u64>;

    thread_local! {
        static CELLS: RefCell<Cells> = const { RefCell::new(BTreeMap::new()) };
    }

    pub(super) fn hit(state: &'static str, event: &'static str) {
        CELLS.with_borrow_mut(|cells| *cells.entry((state, event)).or_default() += 1);
    }

    /// What this thread has seen since it was last asked.
    #[must_use]
    pub fn take() -> Cells {
        CELLS.take()
    }
}

#[cfg(feature = "conformance")]
pub use kept::{Cells, take};

/// An event has met a machine in this state.
#[inline]
pub(crate) fn hit(state: &'static str, event: &'static str) {
    #[cfg(feature = "conformance")]
    kept::hit(state, event);
    #[cfg(not(feature = "conformance"))]
    let _ = (state, event);
}
