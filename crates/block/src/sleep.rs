//! Sleeping until a queue or another thread has something to do.
//!
//! A reactor that has nothing to do asks every queue with [`crate::BlockQueue::prepare_wait`]; when all answer
//! [`crate::Wait::Until`], it sleeps here. Level-triggered epoll: what became readable before the sleep began ends it at once.

use std::fmt;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{EventfdFlags, Timespec, epoll, eventfd};
use rustix::io::Errno;
use thiserror::Error;

use crate::time::Timestamp;

/// Most descriptors that one sleep reports; the others end the next sleep at once.
const EVENTS_MAX: usize = 64;

/// Marks the waker's descriptor among the events; no descriptor's number is as large.
const WAKER: u64 = u64::MAX;

const NS_PER_S: u64 = 1_000_000_000;

/// Why a thread cannot sleep on descriptors.
#[derive(Debug, Error)]
pub enum SleepError {
    /// The kernel gave no epoll instance or eventfd.
    #[error("the kernel gave no descriptor to sleep on: {0}")]
    Create(io::Error),
    /// A descriptor cannot be waited for.
    #[error("descriptor {descriptor} cannot be slept on: {source}")]
    Descriptor {
        /// The descriptor.
        descriptor: RawFd,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The wait itself failed.
    #[error("epoll cannot wait: {0}")]
    Wait(io::Error),
}

/// What of a descriptor ends a sleep. Errors and the peer's end do in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// There is something to read.
    Readable,
    /// There is room to write.
    Writable,
    /// One of the two.
    Either,
}

impl Interest {
    fn flags(self) -> epoll::EventFlags {
        match self {
            Self::Readable => epoll::EventFlags::IN,
            Self::Writable => epoll::EventFlags::OUT,
            Self::Either => epoll::EventFlags::IN | epoll::EventFlags::OUT,
        }
    }
}

/// Sleeps on descriptors, for one thread.
#[derive(Debug)]
pub struct Sleeper {
    epoll: OwnedFd,
    signal: Arc<Signal>,
    /// What ended the last sleep, at most [`EVENTS_MAX`].
    ready: Vec<u64>,
}

/// Wakes a [`Sleeper`] from any thread.
#[derive(Clone)]
pub struct Waker {
    signal: Arc<Signal>,
}

#[derive(Debug)]
struct Signal {
    eventfd: OwnedFd,
    /// Whether somebody has called and the sleeper has not seen it: spares a system call for each further call.
    called: AtomicBool,
}

impl Sleeper {
    /// A sleeper that only its [`Waker`] and the time wake.
    pub fn new() -> Result<Self, SleepError> {
        let create = |error: Errno| SleepError::Create(error.into());
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(create)?;
        let eventfd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(create)?;
        epoll::add(&epoll, &eventfd, epoll::EventData::new_u64(WAKER), epoll::EventFlags::IN)
            .map_err(create)?;
        let signal = Arc::new(Signal { eventfd, called: AtomicBool::new(false) });
        Ok(Self { epoll, signal, ready: Vec::with_capacity(EVENTS_MAX) })
    }

    /// Lets a descriptor end sleeps when it is readable, until it is closed or [`Self::remove`]d.
    pub fn add(&mut self, descriptor: RawFd) -> Result<(), SleepError> {
        self.add_for(descriptor, Interest::Readable)
    }

    /// As [`Self::add`], for what is asked for.
    pub fn add_for(&mut self, descriptor: RawFd, interest: Interest) -> Result<(), SleepError> {
        let mark = epoll::EventData::new_u64(mark_of(descriptor));
        with_borrowed(descriptor, |fd| epoll::add(&self.epoll, fd, mark, interest.flags()))
    }

    /// No longer looks at a descriptor.
    pub fn remove(&mut self, descriptor: RawFd) -> Result<(), SleepError> {
        with_borrowed(descriptor, |fd| epoll::delete(&self.epoll, fd))
    }

    /// What other threads wake this one with.
    #[must_use]
    pub fn waker(&self) -> Waker {
        Waker { signal: Arc::clone(&self.signal) }
    }

    /// Sleeps until a descriptor is readable, the waker was called, a signal came, or the time is `until`. The caller
    /// then polls everything, or what [`Self::has_woken`] names.
    pub fn sleep_until(&mut self, now: Timestamp, until: Timestamp) -> Result<(), SleepError> {
        let timeout = timespec(until.ns_since(now));
        let timeout = if until == Timestamp::NEVER { None } else { Some(&timeout) };
        let mut events = [const { MaybeUninit::uninit() }; EVENTS_MAX];
        self.ready.clear();
        let events = match epoll::wait(&self.epoll, &mut events, timeout) {
            Ok((events, _)) => events,
            Err(Errno::INTR) => return Ok(()),
            Err(error) => return Err(SleepError::Wait(error.into())),
        };
        self.ready.extend(events.iter().map(|event| event.data.u64()));
        if self.ready.contains(&WAKER) {
            self.signal.clear();
        }
        Ok(())
    }

    /// Whether a descriptor ended the last sleep, or may have: when very many did, not all of them are known.
    #[inline]
    #[must_use]
    pub fn has_woken(&self, descriptor: RawFd) -> bool {
        self.ready.len() == EVENTS_MAX || self.ready.contains(&mark_of(descriptor))
    }
}

/// Readable when a sleep would end at once: one sleeper can be slept on by another.
impl AsRawFd for Sleeper {
    fn as_raw_fd(&self) -> RawFd {
        self.epoll.as_raw_fd()
    }
}

impl Waker {
    /// Ends the sleeper's present sleep, or its next one if it does not sleep now.
    pub fn wake(&self) {
        if !self.signal.called.swap(true, Ordering::AcqRel) {
            // It can only fail when the counter is full, and then the descriptor is readable.
            let _ = rustix::io::write(&self.signal.eventfd, &1u64.to_ne_bytes());
        }
    }
}

impl fmt::Debug for Waker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Waker")
    }
}

impl Signal {
    fn clear(&self) {
        // In this order: whoever calls between the two finds `called` set, and its work is seen after this returns.
        // The other way round its call would be eaten while `called` stays set, and no later call would be heard.
        let _ = rustix::io::read(&self.eventfd, &mut [0; 8]);
        self.called.swap(false, Ordering::AcqRel);
    }
}

/// What a descriptor goes by among the events.
fn mark_of(descriptor: RawFd) -> u64 {
    u64::from(descriptor.unsigned_abs())
}

fn timespec(nanoseconds: u64) -> Timespec {
    let limit = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    Timespec { tv_sec: limit(nanoseconds / NS_PER_S), tv_nsec: limit(nanoseconds % NS_PER_S) }
}

#[allow(
    unsafe_code,
    reason = "queues name their descriptors by number, since a borrow would tie up the queue"
)]
fn with_borrowed(
    descriptor: RawFd,
    act: impl FnOnce(BorrowedFd<'_>) -> Result<(), Errno>,
) -> Result<(), SleepError> {
    let refused = |error: Errno| SleepError::Descriptor { descriptor, source: error.into() };
    if descriptor < 0 {
        return Err(refused(Errno::BADF));
    }
    // SAFETY: the number is not -1, and the borrow ends with this function. It is handed to epoll_ctl only, which
    // answers EBADF for a closed descriptor and touches nothing of it but the interest list.
    let borrowed = unsafe { BorrowedFd::borrow_raw(descriptor) };
    act(borrowed.as_fd()).map_err(refused)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::MonotonicClock;
    use std::time::Duration;

    fn soon() -> (MonotonicClock, Timestamp) {
        let clock = MonotonicClock::start();
        let now = clock.now();
        (clock, now)
    }

    #[test]
    fn a_sleep_lasts_until_its_time() {
        let mut sleeper = Sleeper::new().unwrap();
        let (clock, now) = soon();
        let until = now.after(Duration::from_micros(1500));
        sleeper.sleep_until(now, until).unwrap();
        assert!(clock.now() >= until);
        sleeper.sleep_until(until, now).unwrap();
    }

    #[test]
    fn a_readable_descriptor_ends_every_sleep_until_it_is_removed() {
        let mut sleeper = Sleeper::new().unwrap();
        let ready = eventfd(1, EventfdFlags::NONBLOCK).unwrap();
        sleeper.add(ready.as_raw_fd()).unwrap();
        let silent = eventfd(0, EventfdFlags::NONBLOCK).unwrap();
        sleeper.add(silent.as_raw_fd()).unwrap();
        for _ in 0..2 {
            sleeper.sleep_until(soon().1, Timestamp::NEVER).unwrap();
            assert!(sleeper.has_woken(ready.as_raw_fd()) && !sleeper.has_woken(silent.as_raw_fd()));
        }
        sleeper.remove(ready.as_raw_fd()).unwrap();
        let (clock, now) = soon();
        sleeper.sleep_until(now, now.after(Duration::from_millis(1))).unwrap();
        assert!(clock.now().since(now) >= Duration::from_millis(1));
        assert!(!sleeper.has_woken(ready.as_raw_fd()));
    }

    #[test]
    fn room_to_write_ends_a_sleep_where_that_was_asked_for() {
        let mut sleeper = Sleeper::new().unwrap();
        let empty = eventfd(0, EventfdFlags::NONBLOCK).unwrap();
        sleeper.add(empty.as_raw_fd()).unwrap();
        let (clock, now) = soon();
        sleeper.sleep_until(now, now.after(Duration::from_millis(1))).unwrap();
        assert!(clock.now().since(now) >= Duration::from_millis(1));
        for interest in [Interest::Writable, Interest::Either] {
            sleeper.remove(empty.as_raw_fd()).unwrap();
            sleeper.add_for(empty.as_raw_fd(), interest).unwrap();
            sleeper.sleep_until(soon().1, Timestamp::NEVER).unwrap();
        }
    }

    #[test]
    fn a_call_before_the_sleep_is_not_lost() {
        let mut sleeper = Sleeper::new().unwrap();
        let waker = sleeper.waker();
        for _ in 0..3 {
            waker.wake();
            waker.wake();
            sleeper.sleep_until(soon().1, Timestamp::NEVER).unwrap();
        }
    }

    #[test]
    fn no_call_of_another_thread_is_lost() {
        let mut sleeper = Sleeper::new().unwrap();
        let waker = sleeper.waker();
        let count = Arc::new(std::sync::atomic::AtomicU32::new(0));
        let counter = Arc::clone(&count);
        let caller = std::thread::spawn(move || {
            for _ in 0..10_000 {
                counter.fetch_add(1, Ordering::AcqRel);
                waker.wake();
            }
        });
        while count.load(Ordering::Acquire) < 10_000 {
            sleeper.sleep_until(soon().1, Timestamp::NEVER).unwrap();
        }
        caller.join().unwrap();
    }

    #[test]
    fn what_cannot_be_slept_on_is_refused() {
        let mut sleeper = Sleeper::new().unwrap();
        assert!(matches!(sleeper.add(-1), Err(SleepError::Descriptor { descriptor: -1, .. })));
        assert!(matches!(sleeper.add(1_000_000), Err(SleepError::Descriptor { .. })));
    }
}
