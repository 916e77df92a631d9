//! A small finished run.

use std::time::Duration;

use block::{OpenOptions, Openers, Timestamp};

use super::{Run, Verified};
use crate::bench::plan::Plan;
use crate::bench::statistics::Recorder;
use crate::bench::test_support::options;
use crate::bench::usage::Usage;
use crate::bench::workload::Direction;

/// Two reads of 1 and 2 ms, a flush, half a processor used.
pub fn with_run(arguments: &str, check: impl FnOnce(&Run<'_>)) {
    let options = options("mem:1MiB", arguments);
    let device = Openers::with_builtin().open_text("mem:1MiB", &OpenOptions::READ_WRITE).unwrap();
    let plan = Plan::new(&options, &*device).unwrap();
    let at = |us: u64| Timestamp::from_ns(us * 1000);
    let mut recorder = Recorder::new(at(0));
    recorder.submitted(2, 0);
    recorder.completed(Direction::Read, at(99).after_ns(900), at(100), at(1000));
    recorder.close(1, at(1000));
    recorder.completed(Direction::Read, at(99).after_ns(900), at(100), at(2000));
    recorder.synced(at(1500), at(2000));
    recorder.close(2, at(2000));
    let statistics = recorder.finish(at(2000));
    check(&Run {
        options: &options,
        plan: &plan,
        statistics: &statistics,
        usage: Usage {
            user: Duration::from_millis(1),
            system: Duration::from_micros(500),
            context_switches: 3,
            major_faults: 0,
            minor_faults: 1,
        },
        error: None,
        verified: Some(Verified { blocks: 7, wrong_blocks: 0 }),
        elapsed: Duration::from_millis(1_500),
        unix_ms: 1_795_306_429_621,
    });
}
