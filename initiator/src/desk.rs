//! Where the core leaves for a queue's thread what it needs to know: a lane, and what has become of the controller.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use block::{Abilities, BlockSize, Geometry, Limits, Waker, WriteCache};
use nvmf::host::Association;
use rdma::Device;

use crate::lane::Lane;

/// How the controller is to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LinkState {
    /// There is an association.
    Up,
    /// There is none; one is tried for.
    Down,
    /// There is an association with fewer I/O queues than are open, and this one got none.
    Left,
    /// The controller is given up.
    Dead,
}

/// What a queue knows of its device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) link: LinkState,
    /// Lanes of this association, and of those before, are to be given back.
    pub(crate) ended: Option<Association>,
    pub(crate) incarnation: u64,
    pub(crate) geometry: Geometry,
    pub(crate) abilities: Abilities,
    /// Whether the namespace is gone for good.
    pub(crate) is_removed: bool,
}

impl Known {
    /// Before there was an association.
    pub(crate) const fn nothing() -> Self {
        let geometry = Geometry {
            block_size: BlockSize::B512,
            blocks: 0,
            limits: Limits::NONE,
            atomic_blocks: 1,
            write_cache: WriteCache::Volatile,
        };
        let abilities = Abilities::empty();
        Self { link: LinkState::Down, ended: None, incarnation: 0, geometry, abilities, is_removed: false }
    }
}

/// What lies on the desk.
pub(crate) struct Paper<D: Device> {
    pub(crate) known: Known,
    pub(crate) lane: Option<Box<Lane<D>>>,
}

/// One queue's desk.
pub(crate) struct Desk<D: Device> {
    /// Another for each queue of a controller.
    pub(crate) number: u64,
    has_news: AtomicBool,
    paper: Mutex<Paper<D>>,
    waker: Waker,
}

impl<D: Device> Desk<D> {
    pub(crate) fn new(number: u64, known: Known, waker: Waker) -> Self {
        let paper = Mutex::new(Paper { known, lane: None });
        Self { number, has_news: AtomicBool::new(true), paper, waker }
    }

    /// Changes what lies here, and wakes the queue's thread.
    pub(crate) fn leave<T>(&self, change: impl FnOnce(&mut Paper<D>) -> T) -> T {
        let mut paper = self.paper();
        let result = change(&mut paper);
        self.has_news.store(true, Ordering::Release);
        drop(paper);
        self.waker.wake();
        result
    }

    /// Whether something was left since the last look. One load: for every poll.
    #[inline]
    pub(crate) fn has_news(&self) -> bool {
        self.has_news.load(Ordering::Acquire)
    }

    /// Notes that what is here now is no news any more. Before the look, so that nothing is missed.
    pub(crate) fn begin_look(&self) {
        self.has_news.store(false, Ordering::Release);
    }

    /// Takes the lane, and a copy of the rest.
    pub(crate) fn look(&self) -> (Known, Option<Box<Lane<D>>>) {
        let mut paper = self.paper();
        (paper.known, paper.lane.take())
    }

    fn paper(&self) -> MutexGuard<'_, Paper<D>> {
        // Nothing in the short sections that hold it can panic half way.
        self.paper.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
