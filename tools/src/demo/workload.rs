//! The runs of `remora bench` on an attached namespace, in its words.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use block::BlockDevice;
use clap::Parser;

use super::error::{DemoError, check};
use crate::bench::{self, BenchError, BenchOptions, Outcome, stop::Stop};

/// Requests that the mixed workload keeps in flight.
pub(super) const DEPTH: usize = 16;

/// A part of the namespace, with the file that remembers what was written there.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) name: &'static str,
    pub(super) offset: u64,
    pub(super) bytes: u64,
    pub(super) state: PathBuf,
}

/// What is done.
#[derive(Clone, Copy, Debug)]
pub(super) enum Work {
    /// Everything is written once and flushed.
    Fill,
    /// Random reads and writes of 4 KiB, with a flush now and then, until it is stopped.
    Mixed,
    /// Everything that is remembered is read and judged.
    Verify,
    /// A block in the middle is overwritten, and nothing remembers it.
    Ruin,
}

/// The command line of a run, so that it is the same as a user's.
#[derive(Parser)]
struct Line {
    #[command(flatten)]
    options: BenchOptions,
}

impl Work {
    fn words(self, part: &Part) -> String {
        let Part { offset, bytes, .. } = part;
        let common = format!("--offset {offset} --size {bytes} --verify crc32c");
        match self {
            Self::Fill => format!("{common} --rw write --bs 128k --iodepth 8 --do-verify 0"),
            Self::Mixed => {
                format!(
                    "{common} --rw randrw --bs 4k --iodepth {DEPTH} --fsync 64 --runtime 10m --do-verify 0"
                )
            }
            Self::Verify => format!("{common} --rw read --bs 128k --iodepth 8 --do-verify 0"),
            Self::Ruin => format!("--offset {} --size 4k --rw write --bs 4k --fsync 1", offset + bytes / 2),
        }
    }

    fn options(self, device: &str, part: &Part) -> Result<BenchOptions, DemoError> {
        let words = self.words(part);
        let arguments = ["bench", device].into_iter().chain(words.split_whitespace());
        let line = Line::try_parse_from(arguments);
        let mut options = line.map_err(|error| DemoError::Check(error.to_string()))?.options;
        options.quiet = true;
        let state = Some(part.state.clone());
        match self {
            Self::Fill | Self::Mixed => options.verify_state_save = state,
            Self::Verify => options.verify_state_load = state,
            Self::Ruin => {}
        }
        Ok(options)
    }

    /// Does it. Every failed request and every wrong block is a failure of the demo.
    pub(super) fn run(
        self,
        device: &dyn BlockDevice,
        part: &Part,
        stop: &Stop,
    ) -> Result<Outcome, DemoError> {
        let failed = |source: BenchError| DemoError::Bench { name: part.name, source: Box::new(source) };
        let outcome = bench::run(&self.options(device.name(), part)?, device, stop).map_err(failed)?;
        let complaints = outcome.complaints.join("\n");
        check(outcome.complaints.is_empty(), || format!("I/O on {}:\n{complaints}", part.name))?;
        check(outcome.exit_code == 0, || {
            format!("the workload on {} ended with {}", part.name, outcome.exit_code)
        })?;
        Ok(outcome)
    }
}

/// A run on a thread of its own. Whoever drops it lets it go on, until the process ends.
pub(super) struct Running {
    name: &'static str,
    stop: Arc<Stop>,
    thread: JoinHandle<Result<Outcome, DemoError>>,
}

impl Running {
    /// Begins it.
    pub(super) fn begin(work: Work, device: Arc<dyn BlockDevice>, part: Part) -> Self {
        let stop = Arc::new(Stop::default());
        let (name, stopped) = (part.name, Arc::clone(&stop));
        let thread = thread::spawn(move || work.run(&*device, &part, &stopped));
        Self { name, stop, thread }
    }

    pub(super) fn is_over(&self) -> bool {
        self.thread.is_finished()
    }

    /// Ends it in order.
    pub(super) fn end(&self) {
        self.stop.end();
    }

    /// What came of it; waits until it is over.
    pub(super) fn outcome(self) -> Result<Outcome, DemoError> {
        let name = self.name;
        self.thread
            .join()
            .unwrap_or_else(|_| Err(DemoError::Check(format!("the workload on {name} panicked"))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use block::OpenOptions;

    use crate::devices::openers;

    #[test]
    fn a_lost_block_fails_the_verification() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        let device = openers().open_text("mem:64MiB", &OpenOptions::READ_WRITE).unwrap();
        let part = Part { name: "alpha", offset: 0, bytes: 4 << 20, state };
        let stop = Stop::default();
        Work::Fill.run(&*device, &part, &stop).unwrap();
        let verified = Work::Verify.run(&*device, &part, &stop).unwrap().verified.unwrap();
        assert_eq!((verified.blocks * 512, verified.wrong_blocks), (4 << 20, 0));
        let other = openers().open_text("mem:64MiB", &OpenOptions::READ_WRITE).unwrap();
        let lost = Work::Verify.run(&*other, &part, &stop).unwrap_err().to_string();
        assert!(lost.contains("FAILED: I/O on alpha:\nverify: offset 0, block 0"), "{lost}");
    }
}
