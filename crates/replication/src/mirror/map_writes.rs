//! Writes of the map.

use super::{Mirror, Purpose};
use crate::action::ActionKind;
use crate::holder::Holder;
use crate::mutation::Mutation;

impl Mirror {
    /// Legs that take marks get the units that have changed; a unit is on its way to a leg once at a time.
    pub(super) fn step_map(&mut self) {
        for leg in self.holders_where(Holder::takes_marks).iter() {
            if self.rules.lack(Mutation::JoinWithoutMap)
                && self.holder(leg).state == crate::holder::HolderState::Joining
            {
                continue;
            }
            while let Some((first, count)) = self.map.next_run(leg) {
                let mirror = self.description.mirror;
                let units = (first..first + count).map(|unit| self.map.unit(mirror, unit)).collect();
                self.emit(
                    leg,
                    ActionKind::WriteMap { first, units },
                    Some(Purpose::WriteMap { first, count }),
                );
            }
        }
    }
}
