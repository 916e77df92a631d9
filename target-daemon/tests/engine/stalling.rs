//! A device that does what a test says: stalls, changes its size, goes.

use std::collections::VecDeque;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use block::{
    Abilities, BlockDevice, BlockQueue, ClaimTable, Completion, Event, Geometry, Identity, OpenQueueError,
    QueueOptions, Request, Timestamp, Wait,
};
use dma::{AttachError, Region};

/// How soon a queue that stalls looks again.
const LOOK_NS: u64 = 1_000_000;

/// What the test says.
#[derive(Debug, Default)]
pub struct Orders {
    /// Requests are taken and nothing is done.
    pub stalls: AtomicBool,
    /// Requests that were taken while it stalled.
    pub held: AtomicU64,
    /// What each queue tells: those it has not told yet.
    events: Mutex<Vec<Event>>,
    geometry: Mutex<Option<Geometry>>,
}

impl Orders {
    pub fn stall(&self, stalls: bool) {
        self.stalls.store(stalls, Ordering::SeqCst);
    }

    pub fn held(&self) -> u64 {
        self.held.load(Ordering::SeqCst)
    }

    /// All queues tell this.
    pub fn tell(&self, event: Event) {
        if let Event::Resized(geometry) = event {
            *self.geometry.lock().unwrap() = Some(geometry);
        }
        self.events.lock().unwrap().push(event);
    }
}

/// Another device under orders.
pub struct Stalling {
    inner: Arc<dyn BlockDevice>,
    pub orders: Arc<Orders>,
}

impl Stalling {
    pub fn wrap(inner: Arc<dyn BlockDevice>) -> (Arc<dyn BlockDevice>, Arc<Orders>) {
        let orders = Arc::<Orders>::default();
        (Arc::new(Self { inner, orders: Arc::clone(&orders) }), orders)
    }
}

impl BlockDevice for Stalling {
    fn name(&self) -> &str {
        "stalling"
    }

    fn geometry(&self) -> Geometry {
        self.orders.geometry.lock().unwrap().unwrap_or_else(|| self.inner.geometry())
    }

    fn identity(&self) -> Identity {
        self.inner.identity()
    }

    fn abilities(&self) -> Abilities {
        self.inner.abilities()
    }

    fn attach_memory(&self, region: &Region) -> Result<(), AttachError> {
        self.inner.attach_memory(region)
    }

    fn open_queue(&self, options: QueueOptions) -> Result<Box<dyn BlockQueue>, OpenQueueError> {
        let inner = self.inner.open_queue(options)?;
        let orders = Arc::clone(&self.orders);
        Ok(Box::new(StallingQueue { inner, orders, held: VecDeque::new(), told: 0 }))
    }

    fn claims(&self) -> &ClaimTable {
        self.inner.claims()
    }
}

struct StallingQueue {
    inner: Box<dyn BlockQueue>,
    orders: Arc<Orders>,
    held: VecDeque<Request>,
    told: usize,
}

impl BlockQueue for StallingQueue {
    fn submit(&mut self, requests: &mut VecDeque<Request>, now: Timestamp) {
        if self.orders.stalls.load(Ordering::SeqCst) {
            let room = self.depth() - self.in_flight();
            let taken = room.min(requests.len());
            self.held.extend(requests.drain(..taken));
            self.orders.held.fetch_add(taken as u64, Ordering::SeqCst);
        } else {
            self.inner.submit(requests, now);
        }
    }

    fn poll(&mut self, completions: &mut Vec<Completion>, now: Timestamp) {
        if !self.orders.stalls.load(Ordering::SeqCst) {
            self.inner.submit(&mut self.held, now);
            self.inner.poll(completions, now);
        }
    }

    fn poll_event(&mut self) -> Option<Event> {
        let event = self.orders.events.lock().unwrap().get(self.told).copied()?;
        self.told += 1;
        Some(event)
    }

    fn depth(&self) -> usize {
        self.inner.depth()
    }

    fn in_flight(&self) -> usize {
        self.inner.in_flight() + self.held.len()
    }

    fn wake_descriptors(&self, descriptors: &mut Vec<RawFd>) {
        self.inner.wake_descriptors(descriptors);
    }

    fn prepare_wait(&mut self, now: Timestamp) -> Wait {
        let soon = Wait::Until(if self.held.is_empty() { Timestamp::NEVER } else { now.after_ns(LOOK_NS) });
        soon.and(self.inner.prepare_wait(now))
    }
}
