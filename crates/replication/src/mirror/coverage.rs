//! How often which event met a holder in which state: for tests that show that all that can happen was tried, and for support.

use crate::holder::HolderState;

/// What can happen to a holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// There is an association.
    LinkUp,
    /// The association is gone.
    LinkDown,
    /// An action was not answered in time.
    Silent,
    /// An action failed.
    Failed,
    /// Another writer has the reservation.
    Conflict,
    /// Blocks cannot be read.
    Unreadable,
    /// The reservation is taken.
    Claimed,
    /// The label was read.
    LabelRead,
    /// A label is durable.
    LabelWritten,
    /// The map was read.
    MapRead,
    /// Units of the map are durable.
    MapWritten,
    /// Blocks were read.
    Read,
    /// Blocks were written.
    Written,
    /// A flush ended.
    Flushed,
    /// The reservation still stands.
    Pinged,
}

/// All states, by the names of the table.
pub const STATES: [(HolderState, &str); 11] = [
    (HolderState::Away, "away"),
    (HolderState::Claiming, "claiming"),
    (HolderState::Checking, "checking"),
    (HolderState::Known, "known"),
    (HolderState::Refused, "refused"),
    (HolderState::Loading, "loading"),
    (HolderState::Loaded, "loaded"),
    (HolderState::Syncing, "syncing"),
    (HolderState::Joining, "joining"),
    (HolderState::InSync, "in sync"),
    (HolderState::Witnessing, "witnessing"),
];

/// All events, by the names of the table.
pub const EVENTS: [(Event, &str); 15] = [
    (Event::LinkUp, "link up"),
    (Event::LinkDown, "link down"),
    (Event::Silent, "silent"),
    (Event::Failed, "failed"),
    (Event::Conflict, "conflict"),
    (Event::Unreadable, "unreadable"),
    (Event::Claimed, "claimed"),
    (Event::LabelRead, "label read"),
    (Event::LabelWritten, "label written"),
    (Event::MapRead, "map read"),
    (Event::MapWritten, "map written"),
    (Event::Read, "blocks read"),
    (Event::Written, "blocks written"),
    (Event::Flushed, "flushed"),
    (Event::Pinged, "pinged"),
];

/// Counts by state and event.
#[derive(Clone, Debug, Default)]
pub struct Counts([[u64; EVENTS.len()]; STATES.len()]);

impl Counts {
    pub(crate) fn hit(&mut self, state: HolderState, event: Event) {
        self.0[state as usize][event as usize] += 1;
    }

    /// Every cell: state, event, how often.
    pub fn cells(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        let events = |state: usize| EVENTS.iter().map(move |(event, name)| (state, *event, *name));
        let all = STATES
            .iter()
            .flat_map(move |(state, name)| events(*state as usize).map(move |cell| (*name, cell)));
        all.map(|(state_name, (state, event, name))| (state_name, name, self.0[state][event as usize]))
    }
}
