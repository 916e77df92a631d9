//! What an operator sees.

use super::{Mirror, Phase};
use crate::attach::Refusal;
use crate::generation::GenerationName;
use crate::holder::{HolderState, LossReason};
use crate::ids::HolderSet;
use crate::mirror::coverage::Counts;
use crate::regions::blocks_of;

/// Where a leg or the witness stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HolderStatus {
    /// Its state.
    pub state: HolderState,
    /// Blocks that are still to be copied to it; a whole region counts until it is done.
    pub dirty_blocks: u64,
    /// Read latency, smoothed, in nanoseconds; 0 if it has not read yet.
    pub latency_ns: u64,
    /// Why it cannot take part, if it cannot.
    pub refusal: Option<Refusal>,
    /// Why it was lost the last time.
    pub loss: Option<LossReason>,
}

/// Where the mirror stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Whether it takes requests.
    pub phase: Phase,
    /// Why it cannot be attached yet.
    pub refusal: Option<Refusal>,
    /// How often it lost its last leg in sync: whatever was acknowledged and not flushed may be gone.
    pub incarnation: u64,
    /// The generation.
    pub generation: Option<GenerationName>,
    /// The legs that it names in sync.
    pub in_sync: HolderSet,
    /// Whether it is durable where the policy demands; I/O waits if not.
    pub is_settled: bool,
    /// Regions that are marked.
    pub marked_regions: usize,
    /// Each holder.
    pub holders: Vec<HolderStatus>,
}

impl Mirror {
    /// Where it stands.
    #[must_use]
    pub fn status(&self) -> Status {
        let shape = self.description.shape;
        let region_blocks = blocks_of(&shape, crate::ids::Region(0)).blocks;
        let holder = |holder: &crate::holder::Holder| HolderStatus {
            state: holder.state,
            dirty_blocks: holder.dirty.len() as u64 * region_blocks,
            latency_ns: holder.latency_ns,
            refusal: holder.refusal.clone(),
            loss: holder.loss,
        };
        Status {
            phase: self.phase,
            refusal: if self.phase == Phase::Attaching { self.plan().err() } else { None },
            incarnation: self.incarnation,
            generation: self.current.as_ref().map(|generation| generation.name),
            in_sync: self.promised,
            is_settled: self.is_settled(),
            marked_regions: self.map.marked(),
            holders: self.holders.iter().map(holder).collect(),
        }
    }

    /// Whether it takes requests.
    #[must_use]
    pub const fn phase(&self) -> Phase {
        self.phase
    }

    /// How often it lost its last leg in sync.
    #[must_use]
    pub const fn incarnation(&self) -> u64 {
        self.incarnation
    }

    /// Which events met holders in which states.
    #[must_use]
    pub const fn counts(&self) -> &Counts {
        &self.counts
    }
}
