//! The model without a thread: for simulation, for the fault matrix, and to count instructions.

use std::os::fd::BorrowedFd;
use std::sync::Arc;

use block::Timestamp;
use dma::{AddressTable, AttachError, NumaNode, Region};
use nvme_driver::{PciError, PciFunction};

use crate::controller::Next;
use crate::faults::Action;
use crate::function::{Function, delegate_to_function};
use crate::options::ControllerOptions;
use crate::ssd::{Ssd, Wake};

/// Nobody sleeps.
struct NoWake;

impl Wake for NoWake {
    fn wake(&self) {}
}

/// A software SSD that works only while it is stepped.
pub struct SteppedSsd {
    function: Function<NoWake>,
}

impl SteppedSsd {
    /// A controller without namespaces; see [`Ssd::add_namespace`].
    #[must_use]
    pub fn new(options: ControllerOptions) -> Self {
        Self { function: Function::new(Arc::new(Ssd::new(options)), NoWake) }
    }

    /// Faults, namespaces, counts.
    #[must_use]
    pub fn ssd(&self) -> &Arc<Ssd> {
        self.function.ssd()
    }

    /// Does what is to be done at `now`: a bounded number of commands of each queue.
    pub fn step(&self, now: Timestamp) -> Next {
        let mut controller = self.ssd().lock_to_step();
        match controller.step(now) {
            Next::Again => Next::Again,
            idle => {
                if controller.arm() {
                    Next::Again
                } else {
                    idle
                }
            }
        }
    }

    /// Steps until there is nothing more to do at `now`, or `steps_max` steps were taken. Says what the last one said.
    pub fn run(&self, now: Timestamp, steps_max: u32) -> Next {
        let mut next = Next::Again;
        for _ in 0..steps_max {
            next = self.step(now);
            if next != Next::Again {
                break;
            }
        }
        next
    }

    /// Makes something happen: [`Ssd::act`].
    pub fn act(&self, action: Action) {
        self.ssd().act(action);
    }
}

delegate_to_function!(SteppedSsd);
