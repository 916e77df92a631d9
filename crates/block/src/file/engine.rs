//! An io_uring and the requests that it holds: the one place that hands memory to the kernel.
#![allow(unsafe_code, reason = "the kernel reads and writes the memory that a submission names")]

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;

use dma::ScatterList;
use io_uring::squeue::Entry;
use io_uring::{IoUring, cqueue, opcode};

use super::job::{Job, Step};
use super::shared::Shared;
use super::submission::{IoVec, Ticket, entry};
use crate::error::{InvalidRequest, IoError};
use crate::request::Request;
use crate::time::Timestamp;

/// Deepest queue: the kernel's largest submission ring (IORING_MAX_ENTRIES, 32768) holds a cancellation for each request.
pub(super) const DEPTH_MAX: u32 = 16_384;

/// Marks the answer to a cancellation, which says nothing that the answer to the cancelled operation does not say.
const CANCELLATION: u64 = u64::MAX;

/// Most repetitions of a submission that a signal interrupted.
const SUBMIT_ATTEMPTS_MAX: u32 = 16;

/// An io_uring, and for each operation that the kernel has, the job and the vectors that it was built from.
///
/// The invariant that makes it sound: between the push of a submission and its completion, its slot keeps the job (with
/// its scatter list) and the vectors, and `shared` keeps the file. Nothing outside this file can take them out.
pub(super) struct Engine {
    ring: IoUring,
    shared: Arc<Shared>,
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// Slots whose next operation the ring had no room for.
    unpushed: VecDeque<u32>,
}

#[derive(Default)]
struct Slot {
    generation: u32,
    job: Option<Job>,
    vectors: Vec<IoVec>,
}

impl Engine {
    /// An engine for `depth` requests at once, at most [`DEPTH_MAX`].
    pub(super) fn new(depth: u32, shared: Arc<Shared>) -> io::Result<Self> {
        let ring = build_ring(depth)?;
        let slots = (0..depth).map(|_| Slot::default()).collect();
        let unpushed = VecDeque::with_capacity(depth as usize);
        Ok(Self { ring, shared, slots, free: (0..depth).rev().collect(), unpushed })
    }

    /// Whether a job would find a slot.
    pub(super) fn has_room(&self) -> bool {
        !self.free.is_empty()
    }

    /// Jobs that the kernel is not done with.
    pub(super) fn busy(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Readable when there is a completion.
    pub(super) fn descriptor(&self) -> RawFd {
        self.ring.as_raw_fd()
    }

    /// Takes a job; there must be room. The next [`Self::submit`] gives it to the kernel.
    pub(super) fn start(&mut self, job: Job) {
        let Some(index) = self.free.pop() else { unreachable!("the caller saw that there is room") };
        let slot = &mut self.slots[index as usize];
        slot.generation = slot.generation.wrapping_add(1);
        slot.job = Some(job);
        self.unpushed.push_back(index);
    }

    /// Hands everything that waits to the kernel, with one system call if the ring has room for all.
    pub(super) fn submit(&mut self, ended: &mut impl FnMut(Job, Result<(), IoError>)) {
        while let Some(index) = self.unpushed.pop_front() {
            if self.is_given_back(index) {
                drop(self.release(index));
                continue;
            }
            match self.push(index) {
                Ok(true) => {}
                Ok(false) => {
                    self.unpushed.push_front(index);
                    break;
                }
                Err(error) => {
                    let job = self.release(index);
                    ended(job, Err(error));
                }
            }
        }
        self.enter();
    }

    /// Whether something waits that the kernel had no room for.
    pub(super) fn is_held_up(&mut self) -> bool {
        !self.unpushed.is_empty() || !self.ring.submission().is_empty()
    }

    /// Whether a completion waits.
    pub(super) fn has_completion(&mut self) -> bool {
        !self.ring.completion().is_empty()
    }

    /// Takes the kernel's answers; jobs that need another operation get it at the next [`Self::submit`].
    pub(super) fn reap(&mut self, ended: &mut impl FnMut(Job, Result<(), IoError>)) {
        while let Some(entry) = self.next_completion() {
            if entry.user_data() == CANCELLATION {
                continue;
            }
            let ticket = Ticket::decode(entry.user_data());
            let slot = &mut self.slots[ticket.slot as usize];
            assert_eq!(slot.generation, ticket.generation, "the kernel answers each operation once");
            let Some(job) = &mut slot.job else { unreachable!("a slot keeps its job until its answer") };
            match job.on_result(entry.result(), &self.shared.learned) {
                Step::Again if !job.given_back => self.unpushed.push_back(ticket.slot),
                Step::Again => drop(self.release(ticket.slot)),
                Step::Ended(result) => {
                    let job = self.release(ticket.slot);
                    ended(job, result);
                }
            }
        }
    }

    /// Gives back, without their memory, the requests whose deadline is not after `now`; asks the kernel to hurry. Returns
    /// the earliest deadline of the others.
    pub(super) fn expire(&mut self, now: Timestamp, expired: &mut impl FnMut(Request)) -> Timestamp {
        let mut earliest = Timestamp::NEVER;
        for index in 0..self.slots.len() {
            let slot = &mut self.slots[index];
            let Some(job) = slot.job.as_mut().filter(|job| !job.given_back) else { continue };
            if job.request.deadline > now {
                earliest = earliest.min(job.request.deadline);
                continue;
            }
            job.given_back = true;
            let Request { op, range, deadline, tag, mark, .. } = job.request;
            expired(Request { op, range, data: ScatterList::default(), deadline, tag, mark });
            self.cancel(index);
        }
        earliest
    }

    /// Gives up all jobs and asks the kernel to hurry. What it does not have yet ends at once.
    pub(super) fn abandon(&mut self) {
        for index in std::mem::take(&mut self.unpushed) {
            drop(self.release(index));
        }
        for index in 0..self.slots.len() {
            if let Some(job) = &mut self.slots[index].job {
                job.given_back = true;
                self.cancel(index);
            }
        }
        self.settle();
    }

    /// Takes the kernel's answers after [`Self::abandon`].
    pub(super) fn settle(&mut self) {
        self.enter();
        self.reap(&mut |job, _| drop(job));
    }

    fn next_completion(&mut self) -> Option<cqueue::Entry> {
        self.ring.completion().next()
    }

    fn release(&mut self, index: u32) -> Job {
        let Some(job) = self.slots[index as usize].job.take() else { unreachable!("a busy slot has a job") };
        self.free.push(index);
        job
    }

    fn is_given_back(&self, index: u32) -> bool {
        self.slots[index as usize].job.as_ref().is_some_and(|job| job.given_back)
    }

    /// Pushes the next operation of a slot; `false` if the ring is full.
    fn push(&mut self, index: u32) -> Result<bool, IoError> {
        let slot = &mut self.slots[index as usize];
        let Some(job) = &slot.job else { unreachable!("a busy slot has a job") };
        let ticket = Ticket { slot: index, generation: slot.generation };
        let file = self.shared.file.as_raw_fd();
        let entry = entry(file, job.operation(), &job.request.data, &mut slot.vectors, ticket)
            .map_err(|_| InvalidRequest::NoCpuPointer)?;
        Ok(self.push_entry(&entry))
    }

    fn push_entry(&mut self, entry: &Entry) -> bool {
        if self.ring.submission().is_full() {
            self.enter();
        }
        // SAFETY: the entry names the file, which `self.shared` keeps open, and vectors and memory of its slot, which
        // stay there until `reap` sees the answer (see the type); `drop` leaks them if there is none yet. A cancellation
        // names nothing.
        unsafe { self.ring.submission().push(entry) }.is_ok()
    }

    /// Asks for an operation to be broken off. If the ring is full nothing is asked, and it ends when it ends.
    fn cancel(&mut self, index: usize) {
        let ticket = Ticket {
            slot: u32::try_from(index).unwrap_or(u32::MAX),
            generation: self.slots[index].generation,
        };
        self.push_entry(&opcode::AsyncCancel::new(ticket.encode()).build().user_data(CANCELLATION));
    }

    /// What the kernel does not take (EAGAIN, EBUSY) stays in the ring for the next call.
    fn enter(&mut self) {
        if self.ring.submission().is_empty() {
            return;
        }
        for _ in 0..SUBMIT_ATTEMPTS_MAX {
            match self.ring.submit() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    tracing::debug!(device = self.shared.name, "io_uring takes no more: {error}");
                    return;
                }
                Ok(_) => return,
            }
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if self.busy() != self.unpushed.len() {
            tracing::error!(
                device = self.shared.name,
                operations = self.busy(),
                "the kernel may still write the memory of abandoned requests: it is kept"
            );
            std::mem::forget(std::mem::take(&mut self.slots));
        }
    }
}

/// A ring for `depth` operations and a cancellation for each.
pub(super) fn build_ring(depth: u32) -> io::Result<IoUring> {
    let entries = (depth * 2).next_power_of_two();
    IoUring::builder().dontfork().setup_cqsize(entries * 2).build(entries)
}
