//! Whether a controller's I/O queues are served: written under the target's lock, read by the queues' threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// One side of the gate. Rarely written, so reading it costs a load from a cache line that stays.
#[derive(Clone, Debug, Default)]
pub(super) struct Gate(Arc<AtomicBool>);

impl Gate {
    /// Relaxed: what is behind the gate is the queue's own. A command that slips in while it closes is drained like one that
    /// came before.
    #[inline]
    pub(super) fn is_open(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn set(&self, is_open: bool) {
        self.0.store(is_open, Ordering::Relaxed);
    }
}
