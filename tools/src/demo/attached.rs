//! A namespace that the host has attached, watched: how many of its requests are in flight, and how many have been answered.

use std::collections::VecDeque;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use block::{
    Abilities, BlockDevice, BlockQueue, BlockRange, ClaimTable, Completion, Event, Extent, ExtentsError,
    Geometry, Identity, OpenQueueError, QueueOptions, Request, Timestamp, Wait,
};
use dma::{AttachError, NumaNode, Region};

/// What is seen of a device's queues.
#[derive(Debug, Default)]
pub(super) struct Seen {
    in_flight: AtomicUsize,
    answered: AtomicU64,
    incarnations: AtomicU64,
}

impl Seen {
    /// Requests that the device has taken and not given back.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Requests that it has given back.
    pub(super) fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// How often its queues told that it has begun anew.
    pub(super) fn incarnations(&self) -> u64 {
        self.incarnations.load(Ordering::Relaxed)
    }
}

/// The device, watched.
pub(super) struct Attached {
    inner: Arc<dyn BlockDevice>,
    seen: Arc<Seen>,
}

impl Attached {
    pub(super) fn new(inner: Arc<dyn BlockDevice>) -> Self {
        Self { inner, seen: Arc::default() }
    }

    pub(super) fn seen(&self) -> &Seen {
        &self.seen
    }
}

impl BlockDevice for Attached {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn geometry(&self) -> Geometry {
        self.inner.geometry()
    }

    fn identity(&self) -> Identity {
        self.inner.identity()
    }

    fn abilities(&self) -> Abilities {
        self.inner.abilities()
    }

    fn numa_node(&self) -> Option<NumaNode> {
        self.inner.numa_node()
    }

    fn attach_memory(&self, region: &Region) -> Result<(), AttachError> {
        self.inner.attach_memory(region)
    }

    fn open_queue(&self, options: QueueOptions) -> Result<Box<dyn BlockQueue>, OpenQueueError> {
        let inner = self.inner.open_queue(options)?;
        Ok(Box::new(Watched { inner, seen: Arc::clone(&self.seen) }))
    }

    fn claims(&self) -> &ClaimTable {
        self.inner.claims()
    }

    fn extents(&self, range: BlockRange) -> Result<Vec<Extent>, ExtentsError> {
        self.inner.extents(range)
    }
}

/// A queue of the device, watched.
struct Watched {
    inner: Box<dyn BlockQueue>,
    seen: Arc<Seen>,
}

impl Watched {
    fn note(&self) {
        self.seen.in_flight.store(self.inner.in_flight(), Ordering::Relaxed);
    }
}

impl BlockQueue for Watched {
    fn submit(&mut self, requests: &mut VecDeque<Request>, now: Timestamp) {
        self.inner.submit(requests, now);
        self.note();
    }

    fn poll(&mut self, completions: &mut Vec<Completion>, now: Timestamp) {
        let before = completions.len();
        self.inner.poll(completions, now);
        let answered = completions.len() - before;
        if answered > 0 {
            self.seen.answered.fetch_add(answered as u64, Ordering::Relaxed);
            self.note();
        }
    }

    fn poll_event(&mut self) -> Option<Event> {
        let event = self.inner.poll_event();
        if let Some(Event::IncarnationChanged(_)) = event {
            self.seen.incarnations.fetch_add(1, Ordering::Relaxed);
        }
        event
    }

    fn depth(&self) -> usize {
        self.inner.depth()
    }

    fn in_flight(&self) -> usize {
        self.inner.in_flight()
    }

    fn wake_descriptors(&self, descriptors: &mut Vec<RawFd>) {
        self.inner.wake_descriptors(descriptors);
    }

    fn prepare_wait(&mut self, now: Timestamp) -> Wait {
        self.inner.prepare_wait(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use block::{OpenOptions, WakeMode};

    use crate::devices::openers;

    #[test]
    fn what_is_in_flight_is_seen() {
        let device = openers().open_text("mem:1MiB", &OpenOptions::READ_WRITE).unwrap();
        let attached = Attached::new(device);
        let mut queue = attached.open_queue(QueueOptions { depth: 4, wake: WakeMode::Polled }).unwrap();
        let mut requests = VecDeque::from([Request::flush(), Request::flush()]);
        queue.submit(&mut requests, Timestamp::default());
        assert_eq!((attached.seen().in_flight(), attached.seen().answered()), (2, 0));
        let mut completions = Vec::new();
        queue.poll(&mut completions, Timestamp::default());
        assert_eq!((attached.seen().in_flight(), attached.seen().answered()), (0, 2));
    }
}
