//! A holder of a label: a leg or the witness, and where it stands.
//!
//! ```text
//!          link up           claimed            label good          decided (or serving)
//!   Away ───────────▶ Claiming ───────▶ Checking ───────▶ Known ──────────────┬──────────────▶ Witnessing   (the witness)
//!    ▲                                      │                                 │
//!    │ lost, from every state               │ label bad, or diverged          ▼  legs
//!    └───────────────                       ▼                              Loading   (its map is read)
//!                                        Refused                  member of │     │ not a member
//!                                                            the newest set ▼     ▼
//!                                                                       Loaded  Syncing   (gets writes; dirty regions are copied)
//!                                                                           │     │ nothing dirty
//!                                                    the attachment's       │     ▼
//!                                                    generation is durable  │  Joining   (flush, whole map, then a generation)
//!                                                                           ▼     ▼ durable
//!                                                                         InSync
//! ```

use std::collections::BTreeMap;

use block::Timestamp;

use crate::attach::Refusal;
use crate::generation::GenerationName;
use crate::ids::Region;
use crate::regions::RegionSet;
use crate::wire::label::Label;

/// Where a holder stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HolderState {
    /// There is no association.
    Away,
    /// The reservation is being taken.
    Claiming,
    /// The label is being read.
    Checking,
    /// The label is known; the mirror is not attached yet.
    Known,
    /// The label cannot be used, or speaks of another history.
    Refused,
    /// The map is being read.
    Loading,
    /// The map is known; the attachment's generation is not durable yet.
    Loaded,
    /// It takes writes, and what it lacks is copied to it.
    Syncing,
    /// It lacks nothing and is being admitted.
    Joining,
    /// It has everything.
    InSync,
    /// The witness, which has a label only.
    Witnessing,
}

/// Why a holder was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LossReason {
    /// Its association ended, or it began anew.
    Link,
    /// It did not answer in time.
    Silent,
    /// A command failed.
    Failed,
    /// The mirror began anew with all holders.
    Restart,
}

/// What is known of a holder.
#[derive(Debug)]
pub(crate) struct Holder {
    pub(crate) state: HolderState,
    /// The label that it has, as far as known.
    pub(crate) label: Option<Label>,
    /// The copy that the next label goes to.
    pub(crate) next_copy: usize,
    /// The generation of the label that is on its way.
    pub(crate) label_on_its_way: Option<GenerationName>,
    /// That label.
    pub(crate) label_to_be: Option<Label>,
    /// Whether this attachment took its reservation before.
    pub(crate) was_claimed: bool,
    /// When the newest action that succeeded was begun.
    pub(crate) heard_at: Option<Timestamp>,
    /// When it was last asked whether the reservation still stands.
    pub(crate) pinged_at: Timestamp,
    /// What is still to be copied to it.
    pub(crate) dirty: RegionSet,
    /// What was copied to it and not flushed, with the tick of the copy's end.
    pub(crate) copied: BTreeMap<Region, u64>,
    /// Read latency, smoothed, in nanoseconds.
    pub(crate) latency_ns: u64,
    pub(crate) refusal: Option<Refusal>,
    pub(crate) loss: Option<LossReason>,
}

impl Holder {
    pub(crate) fn new() -> Self {
        Self {
            state: HolderState::Away,
            label: None,
            next_copy: 0,
            label_on_its_way: None,
            label_to_be: None,
            was_claimed: false,
            heard_at: None,
            pinged_at: Timestamp::default(),
            dirty: RegionSet::default(),
            copied: BTreeMap::new(),
            latency_ns: 0,
            refusal: None,
            loss: None,
        }
    }

    /// The generation that its label has for sure.
    pub(crate) fn generation(&self) -> Option<GenerationName> {
        self.label.as_ref().map(|label| label.generation.name)
    }

    /// Whether its label can be written.
    pub(crate) fn takes_labels(&self) -> bool {
        use HolderState::{InSync, Joining, Known, Loaded, Loading, Syncing, Witnessing};
        matches!(self.state, Known | Loading | Loaded | Syncing | Joining | InSync | Witnessing)
    }

    /// Whether writes go to it.
    pub(crate) fn takes_writes(&self) -> bool {
        matches!(self.state, HolderState::Syncing | HolderState::Joining | HolderState::InSync)
    }

    /// Whether marks go to it.
    pub(crate) fn takes_marks(&self) -> bool {
        matches!(self.state, HolderState::Loaded | HolderState::Joining | HolderState::InSync)
    }
}
