//! Which events have met a machine in which states.

use std::collections::BTreeMap;
use std::fmt;

/// Counts by state and event. Names are what the machine's author calls them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    cells: BTreeMap<(&'static str, &'static str), u64>,
}

impl Coverage {
    /// An event has met a machine in this state.
    pub fn hit(&mut self, state: &'static str, event: &'static str) {
        self.add(state, event, 1);
    }

    /// Events have met a machine in this state so often.
    pub fn add(&mut self, state: &'static str, event: &'static str, times: u64) {
        *self.cells.entry((state, event)).or_default() += times;
    }

    /// Adds what another run has seen.
    pub fn merge(&mut self, other: &Self) {
        other.cells.iter().for_each(|((state, event), times)| self.add(state, event, *times));
    }

    /// How often.
    #[must_use]
    pub fn times(&self, state: &str, event: &str) -> u64 {
        let cell = self.cells.iter().find(|((a, b), _)| *a == state && *b == event);
        cell.map_or(0, |(_, times)| *times)
    }

    /// The cells of the table of these states and events that were never hit, but for those that cannot be.
    #[must_use]
    pub fn missing(
        &self,
        states: &[&'static str],
        events: &[&'static str],
        impossible: &[(&str, &str)],
    ) -> Vec<(&'static str, &'static str)> {
        let all = states.iter().flat_map(|state| events.iter().map(move |event| (*state, *event)));
        all.filter(|cell| !self.cells.contains_key(cell) && !impossible.contains(cell)).collect()
    }

    /// A table: a line for each event, a column for each state, in this order.
    #[must_use]
    pub fn table(&self, states: &[&'static str], events: &[&'static str]) -> String {
        let mut text = format!("{:28}", "");
        states.iter().for_each(|state| text += &format!("{state:>16}"));
        for event in events {
            text += &format!("\n{event:28}");
            states.iter().for_each(|state| text += &format!("{:>16}", self.times(state, event)));
        }
        text
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cells.iter().try_for_each(|((state, event), times)| writeln!(f, "{state} x {event}: {times}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_that_were_not_hit_are_named() {
        let mut coverage = Coverage::default();
        coverage.hit("open", "push");
        let mut more = Coverage::default();
        more.add("shut", "pull", 3);
        more.hit("open", "push");
        coverage.merge(&more);
        assert_eq!((coverage.times("open", "push"), coverage.times("shut", "push")), (2, 0));
        let missing = coverage.missing(&["open", "shut"], &["push", "pull"], &[("shut", "push")]);
        assert_eq!(missing, [("open", "pull")]);
        assert!(coverage.table(&["open", "shut"], &["push", "pull"]).contains("pull"));
    }
}
