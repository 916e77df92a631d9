//! The end of all jobs: a signal, or a failure of one.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use block::Waker;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

/// What all jobs look at in each turn.
#[derive(Default)]
pub struct Stop {
    signal: Arc<AtomicUsize>,
    ended: AtomicBool,
    wakers: Mutex<Vec<Waker>>,
}

impl Stop {
    /// Notes SIGINT and SIGTERM from now on; a second one ends the process at once.
    pub fn on_signals() -> io::Result<Self> {
        let stop = Self::default();
        let second = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            // In this order: the first signal arms, the second finds it armed.
            flag::register_conditional_shutdown(signal, exit_code(signal).into(), Arc::clone(&second))?;
            flag::register(signal, Arc::clone(&second))?;
            let number = usize::try_from(signal).unwrap_or(0);
            flag::register_usize(signal, Arc::clone(&stop.signal), number)?;
        }
        Ok(stop)
    }

    /// Whether the jobs are to end.
    #[inline]
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.ended.load(Ordering::Relaxed) || self.signal.load(Ordering::Relaxed) != 0
    }

    /// The exit code that tells of the signal, if one came.
    #[must_use]
    pub fn signal_exit_code(&self) -> Option<u8> {
        match i32::try_from(self.signal.load(Ordering::Relaxed)) {
            Ok(0) | Err(_) => None,
            Ok(signal) => Some(exit_code(signal)),
        }
    }

    /// One job has failed: all end.
    pub fn fail(&self) {
        self.end();
    }

    /// All jobs end in order, as by a signal, and without one.
    pub fn end(&self) {
        if !self.ended.swap(true, Ordering::Relaxed) {
            self.wake_all();
        }
    }

    /// Lets the end wake a sleeping job.
    pub fn add_waker(&self, waker: Waker) {
        self.wakers.lock().unwrap_or_else(PoisonError::into_inner).push(waker);
    }

    /// Wakes all sleeping jobs. A signal handler cannot, so whoever sees the signal first does.
    pub fn wake_all(&self) {
        self.wakers.lock().unwrap_or_else(PoisonError::into_inner).iter().for_each(Waker::wake);
    }
}

/// As shells report a process that a signal ended.
fn exit_code(signal: i32) -> u8 {
    u8::try_from(128 + signal).unwrap_or(u8::MAX)
}
