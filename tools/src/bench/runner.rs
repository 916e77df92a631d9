//! All jobs of a run: from the command line to the report.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Barrier;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, SystemTime};

use block::{
    BlockDevice, Claim, ClaimError, MonotonicClock, OpenError, OpenOptions, OpenQueueError, Timestamp,
};
use thiserror::Error;

use super::job::{Job, JobContext, JobError, JobOutcome};
use super::options::{BenchOptions, OutputFormat};
use super::plan::{Plan, PlanError, access, ios_max};
use super::progress::{Counters, Phase, Progress};
pub use super::report::Verified;
use super::report::{self, Run};
use super::rng::mix;
use super::statistics::Statistics;
use super::stop::Stop;
use super::usage::Usage;
use super::verify::{SavedHistory, StateFileError, checker::FAILURES_KEPT_MAX, state_file};
use crate::cli::{EXIT_FAILED, EXIT_USAGE};
use crate::devices::openers;

/// How often the jobs are looked after.
const TICK: Duration = Duration::from_millis(100);

/// How often the line of progress is written.
const PROGRESS_NS: u64 = 1_000_000_000;

/// Why there was no run.
#[derive(Debug, Error)]
pub enum BenchError {
    /// The device cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The options do not fit.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// Somebody else uses the blocks.
    #[error("{device}: {source}")]
    Claim {
        /// The device.
        device: String,
        /// Who.
        source: ClaimError,
    },
    /// The history of an earlier run cannot be read, or this run's not be written.
    #[error(transparent)]
    State(#[from] StateFileError),
    /// The report cannot be written.
    #[error("--output {}: {source}", path.display())]
    Output {
        /// Where to.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A job could not begin.
    #[error("{0}")]
    Job(#[from] JobError),
    /// Signals cannot be noted.
    #[error("signals cannot be noted: {0}")]
    Signals(io::Error),
}

impl BenchError {
    /// 2 if other options would help, 1 otherwise.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Plan(_)
            | Self::Job(
                JobError::Pin { .. }
                | JobError::Queue(OpenQueueError::Depth { .. } | OpenQueueError::TooMany { .. }),
            )
            | Self::Open(
                OpenError::Uri(_)
                | OpenError::Parameter(_)
                | OpenError::NoOpener { .. }
                | OpenError::Shape { .. },
            ) => EXIT_USAGE,
            _ => EXIT_FAILED,
        }
    }
}

/// A finished run.
#[derive(Debug)]
pub struct Outcome {
    /// The report, in the format asked for.
    pub report: String,
    /// What went wrong, line by line.
    pub complaints: Vec<String>,
    /// The exit code.
    pub exit_code: u8,
    /// What all jobs measured.
    pub statistics: Statistics,
    /// How verification went, if it was asked for.
    pub verified: Option<Verified>,
}

/// Opens the device, runs the jobs, writes the report.
pub fn open_and_run(options: &BenchOptions) -> Result<Outcome, BenchError> {
    let device = openers().open_text(&options.device, &OpenOptions { access: access(options) })?;
    let stop = Stop::on_signals().map_err(BenchError::Signals)?;
    let outcome = run(options, &*device, &stop)?;
    write_report(options, &outcome.report)?;
    let mut stderr = io::stderr();
    for complaint in &outcome.complaints {
        // Nothing is to be done if nobody reads it; the exit code tells.
        let _ = writeln!(stderr, "remora: {complaint}");
    }
    Ok(outcome)
}

/// Runs the jobs on an open device.
pub fn run(options: &BenchOptions, device: &dyn BlockDevice, stop: &Stop) -> Result<Outcome, BenchError> {
    let plan = Plan::new(options, device)?;
    let saved = options.verify_state_load.as_deref().map(state_file::load).transpose()?;
    saved.iter().try_for_each(|saved| plan.check_saved(saved))?;
    let _claim = claim(options, &plan, device)?;
    let run_number = saved.as_ref().map_or_else(new_run_number, |saved| saved.run);
    let clock = MonotonicClock::start();
    let jobs =
        run_jobs(&Jobs { options, plan: &plan, device, stop, clock, run_number, saved: saved.as_ref() })?;
    let elapsed = clock.now().since(Timestamp::default());
    save_state(options, &plan, run_number, &jobs)?;
    Ok(conclude(options, &plan, stop, &jobs, elapsed))
}

/// What all jobs share.
struct Jobs<'a> {
    options: &'a BenchOptions,
    plan: &'a Plan,
    device: &'a dyn BlockDevice,
    stop: &'a Stop,
    clock: MonotonicClock,
    run_number: u64,
    saved: Option<&'a SavedHistory>,
}

fn claim(options: &BenchOptions, plan: &Plan, device: &dyn BlockDevice) -> Result<Claim, BenchError> {
    let claimed = device.claims().claim(plan.area, access(options), "remora bench");
    claimed.map_err(|source| BenchError::Claim { device: device.name().to_owned(), source })
}

/// Runs all jobs to their end; an error if one could not begin.
fn run_jobs(jobs: &Jobs<'_>) -> Result<Vec<JobOutcome>, JobError> {
    let counters: Vec<Counters> = (0..jobs.plan.jobs).map(|_| Counters::default()).collect();
    let ready = Barrier::new(jobs.plan.jobs as usize);
    let (notices, told) = mpsc::channel();
    thread::scope(|scope| {
        let threads: Vec<_> = (0u32..)
            .zip(&counters)
            .map(|(number, counters)| {
                let context = JobContext {
                    options: jobs.options,
                    plan: jobs.plan,
                    device: jobs.device,
                    clock: jobs.clock,
                    stop: jobs.stop,
                    counters,
                    notices: notices.clone(),
                    number,
                    run: jobs.run_number,
                    saved: jobs.saved,
                };
                let ready = &ready;
                scope.spawn(move || run_job(context, ready))
            })
            .collect();
        drop(notices);
        watch(jobs, &counters, &told, &threads);
        threads.into_iter().map(|thread| thread.join().unwrap_or(Err(JobError::Panicked))).collect()
    })
}

/// A job's thread. All jobs begin together, once all have made their queues.
fn run_job(context: JobContext<'_>, ready: &Barrier) -> Result<JobOutcome, JobError> {
    let (counters, stop) = (context.counters, context.stop);
    let job = Job::new(context);
    if job.is_err() {
        stop.fail();
    }
    ready.wait();
    let outcome = job.map(Job::run);
    counters.set_phase(Phase::Done);
    outcome
}

/// Shows the progress and passes on notices until all jobs have ended.
fn watch(
    jobs: &Jobs<'_>,
    counters: &[Counters],
    told: &Receiver<String>,
    threads: &[ScopedJoinHandle<'_, Result<JobOutcome, JobError>>],
) {
    let expected: Option<u64> =
        (0..jobs.plan.jobs).map(|job| ios_max(jobs.options, jobs.plan, job).map(u64::from)).sum();
    let mut progress = Progress::new(jobs.options, counters, expected);
    let mut shown = jobs.clock.now();
    while threads.iter().any(|thread| !thread.is_finished()) {
        match told.recv_timeout(TICK) {
            Ok(notice) => progress.say(&notice),
            Err(RecvTimeoutError::Timeout) => {}
            // All jobs have let go; their threads are about to end.
            Err(RecvTimeoutError::Disconnected) => break,
        }
        if jobs.stop.is_set() {
            jobs.stop.wake_all();
        }
        let now = jobs.clock.now();
        if now.ns_since(shown) >= PROGRESS_NS {
            progress.show(now.since(Timestamp::default()), now.since(shown));
            shown = now;
        }
    }
    told.try_iter().for_each(|notice| progress.say(&notice));
    progress.clear();
}

fn save_state(options: &BenchOptions, plan: &Plan, run: u64, jobs: &[JobOutcome]) -> Result<(), BenchError> {
    let Some(path) = &options.verify_state_save else { return Ok(()) };
    let checkers = jobs.iter().filter_map(|job| job.checker.as_ref());
    let header = SavedHistory {
        run,
        block_size: plan.geometry.block_size,
        first: plan.area.start,
        blocks: Vec::new(),
    };
    let blocks = checkers.flat_map(|checker| checker.saved());
    Ok(state_file::save(path, &header, blocks, plan.area.blocks)?)
}

fn conclude(
    options: &BenchOptions,
    plan: &Plan,
    stop: &Stop,
    jobs: &[JobOutcome],
    elapsed: Duration,
) -> Outcome {
    let mut statistics = Statistics::default();
    let mut usage = Usage::default();
    let mut verified = options.verify.map(|_| Verified::default());
    for job in jobs {
        statistics.add(&job.statistics);
        usage.add(job.usage);
        if let (Some(verified), Some(checker)) = (&mut verified, &job.checker) {
            verified.blocks += checker.checked_blocks();
            verified.wrong_blocks += checker.failed_blocks();
        }
    }
    let complaints = complaints(jobs, verified);
    let error =
        jobs.iter().find_map(|job| job.end.as_ref().err()).map(|error| (error.errno(), error.to_string()));
    let exit_code = if error.is_some() { EXIT_FAILED } else { stop.signal_exit_code().unwrap_or(0) };
    let unix_ms = unix_now().as_millis().try_into().unwrap_or(u64::MAX);
    let run = Run { options, plan, statistics: &statistics, usage, error, verified, elapsed, unix_ms };
    let report = match options.output_format {
        OutputFormat::Normal => report::text(&run),
        OutputFormat::Json | OutputFormat::JsonPlus => report::json(&run),
    };
    Outcome { report, complaints, exit_code, statistics, verified }
}

/// The first few wrong blocks in full, and each job's first error.
fn complaints(jobs: &[JobOutcome], verified: Option<Verified>) -> Vec<String> {
    let checkers = jobs.iter().filter_map(|job| job.checker.as_ref());
    let failures = checkers.flat_map(|checker| checker.failures()).take(FAILURES_KEPT_MAX);
    let mut complaints: Vec<String> = failures.map(ToString::to_string).collect();
    let told = complaints.len() as u64;
    if let Some(more) = verified.map(|verified| verified.wrong_blocks - told).filter(|more| *more > 0) {
        complaints.push(format!("verify: {more} more blocks are wrong"));
    }
    let errors = (0u32..).zip(jobs).filter_map(|(job, outcome)| Some((job, outcome.end.as_ref().err()?)));
    complaints.extend(errors.map(|(job, error)| format!("job {job}: {error}")));
    complaints
}

fn write_report(options: &BenchOptions, report: &str) -> Result<(), BenchError> {
    match &options.output {
        Some(path) => {
            fs::write(path, report).map_err(|source| BenchError::Output { path: path.clone(), source })
        }
        None => io::stdout()
            .write_all(report.as_bytes())
            .map_err(|source| BenchError::Output { path: "-".into(), source }),
    }
}

/// Unlike any earlier run's, also with the same seed: otherwise what an earlier run left would pass for this run's.
fn new_run_number() -> u64 {
    let nanoseconds = u64::try_from(unix_now().as_nanos()).unwrap_or(u64::MAX);
    mix(nanoseconds ^ mix(u64::from(std::process::id())))
}

#[allow(
    clippy::disallowed_methods,
    reason = "a report says when it was made; nothing is measured by this clock"
)]
fn unix_now() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}
