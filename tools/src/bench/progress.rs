//! The line that tells how a run goes.

use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use super::options::BenchOptions;
use super::report::numbers::{bytes_per_s, short};

/// What a job is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Getting ready.
    Setup = 0,
    /// Running without being measured.
    Ramp = 1,
    /// Running.
    Run = 2,
    /// Reading back.
    Verify = 3,
    /// Ended.
    Done = 4,
}

/// A job's numbers, written by the job and read by the line. On a cache line of its own (two, as they are prefetched).
#[derive(Debug)]
#[repr(align(128))]
pub struct Counters {
    ios: [AtomicU64; 3],
    phase: AtomicU8,
}

impl Default for Counters {
    fn default() -> Self {
        Self { ios: Default::default(), phase: AtomicU8::new(Phase::Setup as u8) }
    }
}

impl Counters {
    /// Tells how many I/O have completed.
    #[inline]
    pub fn set_ios(&self, ios: [u64; 3]) {
        self.ios.iter().zip(ios).for_each(|(counter, ios)| counter.store(ios, Ordering::Relaxed));
    }

    /// Tells what the job is doing.
    pub fn set_phase(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    fn ios(&self) -> [u64; 3] {
        [0, 1, 2].map(|at: usize| self.ios[at].load(Ordering::Relaxed))
    }

    fn letter(&self, running: char) -> char {
        match self.phase.load(Ordering::Relaxed) {
            0 => 'I',
            1 => '/',
            2 => running,
            3 => 'V',
            _ => '_',
        }
    }
}

/// The line, on standard error if that is a terminal.
pub struct Progress<'a> {
    options: &'a BenchOptions,
    counters: &'a [Counters],
    ios_expected: Option<u64>,
    is_terminal: bool,
    last_ios: [u64; 3],
    shown: bool,
}

impl<'a> Progress<'a> {
    /// For these jobs, which do `ios_expected` I/O together if no time ends them.
    #[must_use]
    pub fn new(options: &'a BenchOptions, counters: &'a [Counters], ios_expected: Option<u64>) -> Self {
        let is_terminal = io::stderr().is_terminal() && !options.quiet;
        Self { options, counters, ios_expected, is_terminal, last_ios: [0; 3], shown: false }
    }

    /// Shows how it goes, `elapsed` after the start and `since` after the last time.
    pub fn show(&mut self, elapsed: Duration, since: Duration) {
        if self.is_terminal {
            let line = self.line(elapsed, since);
            self.shown = true;
            // A terminal that cannot be written to shows nothing.
            let _ = write!(io::stderr(), "\r{line}\x1b[K");
        }
    }

    /// Says something else, on a line of its own.
    pub fn say(&mut self, text: &str) {
        if self.options.quiet {
            return;
        }
        self.clear();
        let _ = writeln!(io::stderr(), "remora: {text}");
    }

    /// Takes the line away.
    pub fn clear(&mut self) {
        if std::mem::take(&mut self.shown) {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }

    fn line(&mut self, elapsed: Duration, since: Duration) -> String {
        let ios = self.counters.iter().fold([0u64; 3], |sum, counters| {
            let ios = counters.ios();
            [0, 1, 2].map(|at: usize| sum[at] + ios[at])
        });
        let seconds = since.as_secs_f64().max(1e-3);
        let rates = [0, 1, 2].map(|at: usize| ios[at].saturating_sub(self.last_ios[at]) as f64 / seconds);
        self.last_ios = ios;
        let letter = self.options.rw.letter();
        let letters: String = self.counters.iter().map(|counters| counters.letter(letter)).collect();
        let running = letters.chars().filter(|letter| *letter != '_').count();
        format!(
            "Jobs: {running} (f={running}): [{letters}]{}[{} IOPS]{}",
            list(rates, |rate| bytes_per_s(rate * self.options.bs as f64)),
            list(rates, short).trim_matches(['[', ']']),
            self.left(elapsed, ios.iter().sum()),
        )
    }

    /// The share that is done, and when the rest will be.
    fn left(&self, elapsed: Duration, ios: u64) -> String {
        let elapsed_s = elapsed.as_secs_f64();
        let (done, total_s) = match (self.options.runtime, self.ios_expected) {
            (Some(runtime), _) => {
                let total_s = (self.options.ramp_time + runtime).as_secs_f64();
                (elapsed_s / total_s.max(1e-3), total_s)
            }
            (None, Some(expected)) if ios > 0 => {
                let done = ios as f64 / expected.max(1) as f64;
                (done, elapsed_s / done)
            }
            _ => return String::new(),
        };
        let left = Duration::from_secs_f64((total_s - elapsed_s).clamp(0.0, 1e9)).as_secs();
        format!("[{:.1}%][eta {:02}m:{:02}s]", done.min(1.0) * 100.0, left / 60, left % 60)
    }
}

/// `[r=1,w=2]`, of those directions that have any.
fn list(rates: [f64; 3], show: impl Fn(f64) -> String) -> String {
    let named = ["r", "w", "t"].into_iter().zip(rates).filter(|(_, rate)| *rate > 0.0);
    let list: Vec<String> = named.map(|(name, rate)| format!("{name}={}", show(rate))).collect();
    format!("[{}]", if list.is_empty() { "0".to_owned() } else { list.join(",") })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::test_support::options;

    #[test]
    fn the_line_is_fios() {
        let options = options("mem:1MiB", "--rw randrw --runtime 10");
        let counters = [Counters::default(), Counters::default()];
        let mut progress = Progress::new(&options, &counters, None);
        counters[0].set_phase(Phase::Run);
        counters[0].set_ios([2048, 1024, 0]);
        counters[1].set_phase(Phase::Done);
        assert_eq!(
            progress.line(Duration::from_secs(4), Duration::from_secs(1)),
            "Jobs: 1 (f=1): [m_][r=8.00MiB/s,w=4.00MiB/s][r=2048,w=1024 IOPS][40.0%][eta 00m:06s]"
        );
        assert_eq!(
            progress.line(Duration::from_secs(20), Duration::from_secs(1)),
            "Jobs: 1 (f=1): [m_][0][0 IOPS][100.0%][eta 00m:00s]"
        );
    }

    #[test]
    fn without_a_time_the_share_of_io_tells() {
        let options = options("mem:1MiB", "--rw read");
        let counters = [Counters::default()];
        let progress = Progress::new(&options, &counters, Some(1000));
        assert_eq!(progress.left(Duration::from_secs(5), 250), "[25.0%][eta 00m:15s]");
        assert_eq!(progress.left(Duration::from_secs(5), 0), "");
    }
}
