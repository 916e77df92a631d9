//! What the mixed workload measured, as a table.

use std::time::Duration;

use super::stage::thousands;
use crate::bench::Outcome;
use crate::bench::workload::Direction;

const HEADINGS: [&str; 6] = ["", "", "I/O", "half under", "99% under", "longest"];

/// The table's lines.
pub(super) fn table(runs: &[(&'static str, &Outcome)]) -> Vec<String> {
    let mut rows = vec![HEADINGS.map(str::to_owned)];
    for (name, outcome) in runs {
        rows.push(row(name, "reads", outcome, Direction::Read));
        rows.push(row("", "writes", outcome, Direction::Write));
    }
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<_> = (0..HEADINGS.len()).map(width).collect();
    let cell = |(column, text): (usize, &String)| {
        // Words to the left, numbers to the right.
        let width = widths[column];
        if column < 2 { format!("{text:width$}") } else { format!("{text:>width$}") }
    };
    rows.iter().map(|row| row.iter().enumerate().map(cell).collect::<Vec<_>>().join("  ")).collect()
}

fn row(name: &str, what: &str, outcome: &Outcome, direction: Direction) -> [String; HEADINGS.len()] {
    let statistics = &outcome.statistics.directions[direction as usize];
    let latency = &statistics.total;
    [
        name.to_owned(),
        what.to_owned(),
        thousands(statistics.ios),
        time(latency.percentile(50.0)),
        time(latency.percentile(99.0)),
        time(latency.moments().max()),
    ]
}

/// Three digits or so: 63 us, 1.2 ms, 2.1 s.
fn time(ns: u64) -> String {
    let time = Duration::from_nanos(ns);
    match ns {
        0..1_000_000 => format!("{} us", time.as_micros()),
        1_000_000..1_000_000_000 => format!("{:.1} ms", time.as_secs_f64() * 1e3),
        _ => format!("{:.1} s", time.as_secs_f64()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units_that_fit() {
        let cases = [(0, "0 us"), (63_400, "63 us"), (1_249_000, "1.2 ms"), (2_060_000_000, "2.1 s")];
        for (ns, text) in cases {
            assert_eq!(time(ns), text);
        }
    }
}
