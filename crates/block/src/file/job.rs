//! One request on its way through the kernel: which operation is next, and what its result means. No I/O.
//!
//! ```text
//! read, write      Transfer ──short──▶ Transfer ─ ─ ▶ ended
//! flush            Sync ──▶ ended
//! discard          Punch ──done or unsupported──▶ ended
//! write zeroes     Punch (if it may unmap) ──unsupported──▶ ZeroRange ──unsupported──▶ WriteZeroes
//!                  each of them ──done──▶ Sync (if FUA) ──▶ ended
//! ```
//! `EINTR` and `EAGAIN` repeat a stage; any other error ends the job.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::io::Errno;

use crate::error::IoError;
use crate::geometry::BlockSize;
use crate::request::{Op, Request};

/// Most repetitions of an operation that the kernel broke off before it moved a byte.
const ATTEMPTS_MAX: u32 = 16;

/// What the kernel is to do next. Offsets and lengths are in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    /// Read into the request's memory, from `done` bytes into it.
    Read { offset: u64, done: u64 },
    /// Write the request's memory, from `done` bytes into it.
    Write { offset: u64, done: u64, durable: bool },
    /// Write zeroes from a buffer.
    WriteZeroes { offset: u64, bytes: u64 },
    /// Make a hole.
    Punch { offset: u64, bytes: u64 },
    /// Zero a range.
    ZeroRange { offset: u64, bytes: u64 },
    /// Make all that was written durable.
    Sync,
}

/// What a result leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Ask for the next operation.
    Again,
    /// The request has ended.
    Ended(Result<(), IoError>),
}

/// What the requests of all queues have taught us about the file.
#[derive(Debug, Default)]
pub(super) struct Learned {
    /// It makes no holes.
    pub(super) no_punch: AtomicBool,
    /// It zeroes no ranges.
    pub(super) no_zero_range: AtomicBool,
    /// Flushes (and writes with FUA) that failed.
    ///
    /// The kernel tells the loss of written pages to one fdatasync only and forgets it then. So a failure counts as a new
    /// incarnation, and a flush that was under way beside it fails too.
    pub(super) lost_writes: AtomicU64,
    /// Reads and writes that failed with EIO.
    pub(super) media_errors: AtomicU64,
    /// The device under the file is gone.
    pub(super) gone: AtomicBool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Transfer,
    Punch,
    ZeroRange,
    WriteZeroes,
    Sync,
}

/// A request that was taken, until the kernel is done with it.
#[derive(Debug)]
pub(super) struct Job {
    /// The request, with its memory.
    pub(super) request: Request,
    /// Its deadline passed: it was given back without its memory, which stays here.
    pub(super) given_back: bool,
    stage: Stage,
    start: u64,
    bytes: u64,
    done: u64,
    attempts: u32,
    /// [`Learned::lost_writes`] when it began.
    lost_writes: u64,
}

impl Job {
    /// Begins a request that was checked against the geometry.
    pub(super) fn new(request: Request, block_size: BlockSize, learned: &Learned) -> Self {
        let shift = block_size.shift();
        let (start, bytes) = (request.range.start.0 << shift, request.range.blocks << shift);
        let stage = match request.op {
            Op::Flush => Stage::Sync,
            Op::Discard => Stage::Punch,
            Op::WriteZeroes { may_unmap, .. } => Self::first_zeroing(may_unmap, learned),
            _ => Stage::Transfer,
        };
        let lost_writes = learned.lost_writes.load(Ordering::Acquire);
        Self { request, given_back: false, stage, start, bytes, done: 0, attempts: 0, lost_writes }
    }

    fn first_zeroing(may_unmap: bool, learned: &Learned) -> Stage {
        if may_unmap && !learned.no_punch.load(Ordering::Relaxed) {
            Stage::Punch
        } else if !learned.no_zero_range.load(Ordering::Relaxed) {
            Stage::ZeroRange
        } else {
            Stage::WriteZeroes
        }
    }

    /// What the kernel is to do next.
    pub(super) fn operation(&self) -> Operation {
        let (offset, bytes) = (self.start + self.done, self.bytes - self.done);
        match self.stage {
            Stage::Transfer if self.request.op == Op::Read => Operation::Read { offset, done: self.done },
            Stage::Transfer => Operation::Write { offset, done: self.done, durable: self.is_fua() },
            Stage::Punch => Operation::Punch { offset, bytes },
            Stage::ZeroRange => Operation::ZeroRange { offset, bytes },
            Stage::WriteZeroes => Operation::WriteZeroes { offset, bytes },
            Stage::Sync => Operation::Sync,
        }
    }

    /// Takes the kernel's answer: a count, or a negative error number.
    pub(super) fn on_result(&mut self, result: i32, learned: &Learned) -> Step {
        match u64::try_from(result) {
            Ok(count) => self.on_success(count, learned),
            Err(_) => self.on_error(Errno::from_raw_os_error(result.saturating_neg()), learned),
        }
    }

    fn on_success(&mut self, count: u64, learned: &Learned) -> Step {
        self.attempts = 0;
        match self.stage {
            Stage::Transfer | Stage::WriteZeroes => self.on_moved(count),
            Stage::Punch | Stage::ZeroRange => self.on_zeroed(),
            Stage::Sync if learned.lost_writes.load(Ordering::Acquire) != self.lost_writes => {
                Step::Ended(Err(io_error(Errno::IO)))
            }
            Stage::Sync => Step::Ended(Ok(())),
        }
    }

    fn on_moved(&mut self, count: u64) -> Step {
        self.done = self.done.saturating_add(count).min(self.bytes);
        match self.stage {
            // The file ends before its device does: somebody made it shorter.
            _ if count == 0 => Step::Ended(Err(io_error(Errno::IO))),
            _ if self.done < self.bytes => Step::Again,
            Stage::WriteZeroes => self.on_zeroed(),
            _ => Step::Ended(Ok(())),
        }
    }

    fn on_zeroed(&mut self) -> Step {
        if matches!(self.request.op, Op::WriteZeroes { .. }) && self.is_fua() {
            self.stage = Stage::Sync;
            return Step::Again;
        }
        Step::Ended(Ok(()))
    }

    fn on_error(&mut self, error: Errno, learned: &Learned) -> Step {
        if matches!(error, Errno::INTR | Errno::AGAIN) && self.attempts < ATTEMPTS_MAX {
            self.attempts += 1;
            return Step::Again;
        }
        match self.stage {
            Stage::Punch if is_unsupported(error) => self.on_no_punch(learned),
            Stage::ZeroRange if is_unsupported(error) => {
                learned.no_zero_range.store(true, Ordering::Relaxed);
                self.stage = Stage::WriteZeroes;
                Step::Again
            }
            _ => Step::Ended(Err(self.count_error(error, learned))),
        }
    }

    fn on_no_punch(&mut self, learned: &Learned) -> Step {
        learned.no_punch.store(true, Ordering::Relaxed);
        if self.request.op == Op::Discard {
            // A hint that the file has no use for.
            return Step::Ended(Ok(()));
        }
        self.stage = Self::first_zeroing(false, learned);
        Step::Again
    }

    fn count_error(&self, error: Errno, learned: &Learned) -> IoError {
        if self.promises_durability() && error != Errno::CANCELED {
            learned.lost_writes.fetch_add(1, Ordering::AcqRel);
        }
        if error == Errno::IO {
            learned.media_errors.fetch_add(1, Ordering::AcqRel);
        }
        let error = io_error(error);
        if error == IoError::Gone {
            learned.gone.store(true, Ordering::Release);
        }
        error
    }

    fn promises_durability(&self) -> bool {
        self.stage == Stage::Sync || (self.stage == Stage::Transfer && self.is_fua())
    }

    fn is_fua(&self) -> bool {
        matches!(self.request.op, Op::Write { fua: true } | Op::WriteZeroes { fua: true, .. })
    }
}

fn is_unsupported(error: Errno) -> bool {
    matches!(error, Errno::OPNOTSUPP | Errno::NOSYS | Errno::NOTTY)
}

/// What an error number means to whoever submitted the request.
fn io_error(error: Errno) -> IoError {
    match error {
        Errno::NODEV | Errno::NXIO => IoError::Gone,
        _ => IoError::Os { errno: error.raw_os_error() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::BlockRange;
    use dma::ScatterList;
    use nvme_spec::Lba;

    const EIO: Result<(), IoError> = Err(IoError::Os { errno: 5 });

    fn job(op: Op, learned: &Learned) -> Job {
        let request = Request::new(op, BlockRange::new(Lba(2), 4), ScatterList::default());
        Job::new(request, BlockSize::B512, learned)
    }

    fn minus(error: Errno) -> i32 {
        -error.raw_os_error()
    }

    #[test]
    fn short_transfers_go_on_where_they_stopped() {
        let learned = Learned::default();
        let mut read = job(Op::Read, &learned);
        assert_eq!(read.operation(), Operation::Read { offset: 1024, done: 0 });
        assert_eq!(read.on_result(512, &learned), Step::Again);
        assert_eq!(read.operation(), Operation::Read { offset: 1536, done: 512 });
        assert_eq!(read.on_result(1536, &learned), Step::Ended(Ok(())));
    }

    #[test]
    fn only_writes_with_fua_are_durable() {
        let learned = Learned::default();
        for durable in [false, true] {
            let operation = job(Op::Write { fua: durable }, &learned).operation();
            assert_eq!(operation, Operation::Write { offset: 1024, done: 0, durable });
        }
    }

    #[test]
    fn a_file_that_ends_early_is_an_error() {
        let learned = Learned::default();
        let mut read = job(Op::Read, &learned);
        assert_eq!(read.on_result(512, &learned), Step::Again);
        assert_eq!(read.on_result(0, &learned), Step::Ended(EIO));
    }

    #[test]
    fn interruptions_are_repeated_a_bounded_number_of_times() {
        let learned = Learned::default();
        let mut write = job(Op::Write { fua: false }, &learned);
        for _ in 0..ATTEMPTS_MAX {
            assert_eq!(write.on_result(minus(Errno::INTR), &learned), Step::Again);
        }
        let ended = Step::Ended(Err(IoError::Os { errno: Errno::AGAIN.raw_os_error() }));
        assert_eq!(write.on_result(minus(Errno::AGAIN), &learned), ended);
    }

    #[test]
    fn zeroing_takes_the_next_best_way_and_remembers() {
        let learned = Learned::default();
        let op = Op::WriteZeroes { fua: true, may_unmap: true };
        let mut zeroes = job(op, &learned);
        assert_eq!(zeroes.operation(), Operation::Punch { offset: 1024, bytes: 2048 });
        assert_eq!(zeroes.on_result(minus(Errno::OPNOTSUPP), &learned), Step::Again);
        assert_eq!(zeroes.operation(), Operation::ZeroRange { offset: 1024, bytes: 2048 });
        assert_eq!(zeroes.on_result(minus(Errno::OPNOTSUPP), &learned), Step::Again);
        assert_eq!(zeroes.operation(), Operation::WriteZeroes { offset: 1024, bytes: 2048 });
        assert_eq!(zeroes.on_result(1000, &learned), Step::Again);
        assert_eq!(zeroes.operation(), Operation::WriteZeroes { offset: 2024, bytes: 1048 });
        assert_eq!(zeroes.on_result(1048, &learned), Step::Again);
        assert_eq!(zeroes.operation(), Operation::Sync);
        assert_eq!(zeroes.on_result(0, &learned), Step::Ended(Ok(())));
        assert!(matches!(job(op, &learned).operation(), Operation::WriteZeroes { .. }));
    }

    #[test]
    fn zeroes_that_must_stay_allocated_are_not_punched() {
        let learned = Learned::default();
        let zeroes = job(Op::WriteZeroes { fua: false, may_unmap: false }, &learned);
        assert_eq!(zeroes.operation(), Operation::ZeroRange { offset: 1024, bytes: 2048 });
    }

    #[test]
    fn a_discard_that_the_file_cannot_do_is_done() {
        let learned = Learned::default();
        assert_eq!(
            job(Op::Discard, &learned).on_result(minus(Errno::OPNOTSUPP), &learned),
            Step::Ended(Ok(()))
        );
    }

    #[test]
    fn a_failed_flush_fails_those_beside_it_and_counts() {
        let learned = Learned::default();
        let (mut first, mut second) = (job(Op::Flush, &learned), job(Op::Flush, &learned));
        assert_eq!(first.on_result(minus(Errno::IO), &learned), Step::Ended(EIO));
        assert_eq!(second.on_result(0, &learned), Step::Ended(EIO));
        assert_eq!(job(Op::Flush, &learned).on_result(0, &learned), Step::Ended(Ok(())));
        let lost = job(Op::Write { fua: true }, &learned).on_result(minus(Errno::NOSPC), &learned);
        assert_eq!(lost, Step::Ended(Err(IoError::Os { errno: 28 })));
        assert_eq!(learned.lost_writes.load(Ordering::Relaxed), 2);
        assert_eq!(learned.media_errors.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_device_that_went_away_is_remembered() {
        let learned = Learned::default();
        let ended = job(Op::Read, &learned).on_result(minus(Errno::NXIO), &learned);
        assert_eq!(ended, Step::Ended(Err(IoError::Gone)));
        assert!(learned.gone.load(Ordering::Relaxed));
    }
}
