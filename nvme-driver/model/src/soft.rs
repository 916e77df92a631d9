//! The model on a thread of its own.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::thread::{self, JoinHandle, Thread};

use block::MonotonicClock;
use dma::{AddressTable, AttachError, NumaNode, Region};
use nvme_driver::{PciError, PciFunction};

use crate::controller::Next;
use crate::faults::Action;
use crate::function::{Function, delegate_to_function};
use crate::options::ControllerOptions;
use crate::ssd::{Ssd, Wake};

/// How long the thread looks for work before it sleeps, in nanoseconds: about what it takes to be woken.
const SPIN_NS: u64 = 20_000;

/// Looks in a row after which a spinning thread lets others run: there may be fewer cores than threads.
const SPINS_PER_YIELD: u32 = 32;

/// The thread, as seen by those who wake it.
struct Sleeper {
    state: Arc<SleepState>,
    thread: Thread,
}

/// What both sides look at.
#[derive(Default)]
struct SleepState {
    asleep: AtomicBool,
    stop: AtomicBool,
}

impl Wake for Sleeper {
    #[inline]
    fn wake(&self) {
        // The caller's store comes first for the sleeper too: it sets `asleep` and then looks once more.
        fence(Ordering::SeqCst);
        if self.state.asleep.load(Ordering::Relaxed) {
            self.thread.unpark();
        }
    }
}

impl Wake for Arc<Sleeper> {
    #[inline]
    fn wake(&self) {
        self.as_ref().wake();
    }
}

/// A software SSD that works by itself. Ends with this handle.
pub struct SoftSsd {
    function: Function<Arc<Sleeper>>,
    thread: Option<JoinHandle<()>>,
}

impl SoftSsd {
    /// Starts a controller without namespaces; see [`Ssd::add_namespace`].
    ///
    /// # Errors
    /// The system's if there is no thread to be had.
    pub fn start(options: ControllerOptions) -> io::Result<Self> {
        let ssd = Arc::new(Ssd::new(options));
        let state = Arc::new(SleepState::default());
        let worker =
            Worker { ssd: Arc::clone(&ssd), state: Arc::clone(&state), clock: MonotonicClock::start() };
        let handle = thread::Builder::new().name("soft-nvme".into()).spawn(move || worker.run())?;
        let sleeper = Arc::new(Sleeper { state, thread: handle.thread().clone() });
        ssd.set_waker(Arc::clone(&sleeper) as _);
        Ok(Self { function: Function::new(ssd, sleeper), thread: Some(handle) })
    }

    /// Faults, namespaces, counts.
    #[must_use]
    pub fn ssd(&self) -> &Arc<Ssd> {
        self.function.ssd()
    }

    /// Makes something happen: [`Ssd::act`].
    pub fn act(&self, action: Action) {
        self.ssd().act(action);
    }
}

delegate_to_function!(SoftSsd);

impl Drop for SoftSsd {
    fn drop(&mut self) {
        self.function.wake.state.stop.store(true, Ordering::SeqCst);
        self.function.wake.thread.unpark();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread of a software SSD panicked");
        }
    }
}

/// The thread's side.
struct Worker {
    ssd: Arc<Ssd>,
    state: Arc<SleepState>,
    clock: MonotonicClock,
}

impl Worker {
    fn run(&self) {
        let mut idle_since = None;
        let mut spins = 0;
        while !self.state.stop.load(Ordering::Relaxed) {
            let now = self.clock.now();
            let next = self.ssd.lock_to_step().step(now);
            if next == Next::Again {
                idle_since = None;
                continue;
            }
            let since = *idle_since.get_or_insert(now);
            if now.ns_since(since) > SPIN_NS {
                self.sleep();
                idle_since = None;
            } else {
                spins = spin(spins);
            }
        }
    }

    /// Sleeps until it is woken or it is time, unless there is work after all.
    fn sleep(&self) {
        self.state.asleep.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        match self.last_look() {
            Next::Again => {}
            Next::Idle => thread::park(),
            Next::At(at) => thread::park_timeout(at.since(self.clock.now())),
        }
        self.state.asleep.store(false, Ordering::Relaxed);
    }

    /// Looks for work that came while `asleep` was not visible yet.
    fn last_look(&self) -> Next {
        let mut controller = self.ssd.lock_to_step();
        match controller.step(self.clock.now()) {
            Next::Again => Next::Again,
            idle => {
                if controller.arm() || self.state.stop.load(Ordering::SeqCst) {
                    Next::Again
                } else {
                    idle
                }
            }
        }
    }
}

fn spin(spins: u32) -> u32 {
    if spins < SPINS_PER_YIELD {
        std::hint::spin_loop();
        spins + 1
    } else {
        thread::yield_now();
        0
    }
}
