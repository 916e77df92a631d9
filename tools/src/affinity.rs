//! Threads on processors.

use core_affinity::CoreId;

/// Processors that an affinity mask of the C library can name; the crate underneath dies beyond.
const CPUS_MAX: usize = 1024;

/// Keeps the calling thread on a processor. Whether there is such a processor, and the thread may have it.
#[must_use]
pub fn pin(id: usize) -> bool {
    id < CPUS_MAX && core_affinity::set_for_current(CoreId { id })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_that_cannot_be_are_refused() {
        assert!(!pin(CPUS_MAX));
        assert!(!pin(usize::MAX));
    }
}
