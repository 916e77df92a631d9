//! Which events have met holders in which states.

use replication::coverage::{EVENTS, STATES};
use sim::Coverage;

/// What happens only in some states, because only there it is waited for: an answer of a holder that is lost is not heard.
const ONLY_IN: &[(&str, &[&str])] = &[
    ("claimed", &["claiming"]),
    ("label read", &["checking"]),
    ("label written", &["known", "loading", "loaded", "syncing", "joining", "in sync", "witnessing"]),
    ("map read", &["loading"]),
    ("map written", &["loaded", "joining", "in sync"]),
    ("blocks read", &["in sync"]),
    ("blocks written", &["syncing", "joining", "in sync"]),
    ("flushed", &["syncing", "joining", "in sync"]),
    ("unreadable", &["in sync"]),
    ("pinged", &["known", "loading", "loaded", "syncing", "joining", "in sync", "witnessing"]),
    // There is no news of the end of what the mirror ended itself.
    (
        "link down",
        &[
            "claiming",
            "checking",
            "known",
            "refused",
            "loading",
            "loaded",
            "syncing",
            "joining",
            "in sync",
            "witnessing",
        ],
    ),
    // Whoever is away or refused is asked nothing.
    (
        "silent",
        &[
            "claiming",
            "checking",
            "known",
            "loading",
            "loaded",
            "syncing",
            "joining",
            "in sync",
            "witnessing",
        ],
    ),
    (
        "failed",
        &[
            "claiming",
            "checking",
            "known",
            "loading",
            "loaded",
            "syncing",
            "joining",
            "in sync",
            "witnessing",
        ],
    ),
    (
        "conflict",
        &[
            "claiming",
            "checking",
            "known",
            "loading",
            "loaded",
            "syncing",
            "joining",
            "in sync",
            "witnessing",
        ],
    ),
];

fn names() -> (Vec<&'static str>, Vec<&'static str>) {
    (STATES.iter().map(|(_, name)| *name).collect(), EVENTS.iter().map(|(_, name)| *name).collect())
}

/// A line for each event, a column for each state.
pub fn table(coverage: &Coverage) -> String {
    let (states, events) = names();
    coverage.table(&states, &events)
}

/// Cells that were never hit and could be.
pub fn missing(coverage: &Coverage) -> Vec<(&'static str, &'static str)> {
    let (states, events) = names();
    let is_possible = |state: &str, event: &str| {
        ONLY_IN.iter().find(|(name, _)| *name == event).is_none_or(|(_, states)| states.contains(&state))
    };
    coverage
        .missing(&states, &events, &[])
        .into_iter()
        .filter(|(state, event)| is_possible(state, event))
        .collect()
}
