//! What the controller's core tells every queue, in one word that a queue loads once a poll.
//!
//! ```text
//!             +--------------------------- (n grows) ---------------------------+
//!             v                                                                 |
//!   Starting(n) --> Live(n) --> Halting(n) --(controller disabled: no DMA)--> Starting(n+1)
//!             \        \            \
//!              +--------+------------+--> Dead(n+1)         no DMA is possible any more
//!                                    +--> Unreachable(n)    dead, but DMA may still happen: memory is never given back
//! ```

use std::sync::atomic::{AtomicU64, Ordering};

/// The controller as a queue sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// It is being initialised. Everything of earlier incarnations has ended.
    Starting,
    /// Queues can be made and used.
    Live,
    /// It is about to be disabled: queues ring no more, and what is in flight stays until the next incarnation.
    Halting,
    /// It is gone, and touches no memory any more.
    Dead,
    /// It is gone, but nobody could make sure that it touches no memory.
    Unreachable,
}

/// A stage of one incarnation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Phase {
    /// How often the controller has begun anew.
    pub(crate) incarnation: u64,
    pub(crate) stage: Stage,
}

impl Phase {
    const STAGES: [Stage; 5] =
        [Stage::Starting, Stage::Live, Stage::Halting, Stage::Dead, Stage::Unreachable];

    pub(crate) const fn new(incarnation: u64, stage: Stage) -> Self {
        Self { incarnation, stage }
    }

    fn encode(self) -> u64 {
        self.incarnation * 8 + self.stage as u64
    }

    fn decode(word: u64) -> Self {
        // Only encode() makes these words; the last stage stands for the three unused numbers.
        let stage = usize::try_from(word % 8).ok().and_then(|at| Self::STAGES.get(at)).copied();
        Self { incarnation: word / 8, stage: stage.unwrap_or(Stage::Unreachable) }
    }

    /// Whether the device can be used no more.
    pub(crate) fn is_over(self) -> bool {
        matches!(self.stage, Stage::Dead | Stage::Unreachable)
    }
}

/// The word that the core writes and the queues read.
#[derive(Debug)]
pub(crate) struct PhaseCell(AtomicU64);

impl PhaseCell {
    pub(crate) fn new(phase: Phase) -> Self {
        Self(AtomicU64::new(phase.encode()))
    }

    #[inline]
    pub(crate) fn load(&self) -> Phase {
        Phase::decode(self.0.load(Ordering::Acquire))
    }

    pub(crate) fn store(&self, phase: Phase) {
        self.0.store(phase.encode(), Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stage_comes_back_from_its_word() {
        for stage in Phase::STAGES {
            let phase = Phase::new(7, stage);
            let cell = PhaseCell::new(Phase::new(0, Stage::Starting));
            cell.store(phase);
            assert_eq!(cell.load(), phase);
        }
    }
}
