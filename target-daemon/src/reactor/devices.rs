//! A reactor's queues of the exported devices.

use std::collections::VecDeque;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use block::{
    BlockDevice, BlockQueue, Completion, Event, OpenQueueError, QueueOptions, Request, Timestamp, Wait,
    WakeMode,
};

use super::buffers::Need;
use super::counters::Cells;
use crate::engine::DeviceNews;
use crate::hub::ExportSlot;

/// Requests of one reactor in one device at once; more wait in the reactor.
const DEPTH: u32 = 256;

/// Of each class of chunks, the commands of one device hold at most so many quarters, if there are other devices: one that
/// does not answer must not take all memory from those that do.
const SHARE_QUARTERS: u32 = 3;

/// When a queue is to be closed.
pub(super) struct Closing {
    /// From then on without waiting for commands.
    pub(super) until: Timestamp,
    /// Who waits for it.
    pub(super) answer: SyncSender<()>,
}

/// A device's queue, and what is being done on it.
pub(super) struct DeviceQueue {
    queue: Box<dyn BlockQueue>,
    /// On the way to the queue.
    pending: VecDeque<Request>,
    /// Requests that are on the way, or in the device.
    in_device: usize,
    /// Commands that were taken and are not answered.
    pub(super) commands: u32,
    /// Chunks that its commands hold, by class, from when they get them until the device is done with them.
    held: [u32; 2],
    /// Receives that its commands hold.
    pub(super) receives: u32,
    /// What segments begin at a multiple of.
    pub(super) segment_alignment: u32,
    pub(super) cells: Arc<Cells>,
    descriptors: Vec<RawFd>,
    pub(super) closing: Option<Closing>,
}

impl DeviceQueue {
    /// Opens a queue of a device, as deep as it allows.
    pub(super) fn open(device: &dyn BlockDevice) -> Result<Self, OpenQueueError> {
        let options = |depth| QueueOptions { depth, wake: WakeMode::Polled };
        let queue = match device.open_queue(options(DEPTH)) {
            Err(OpenQueueError::Depth { depth_max, .. }) if depth_max > 0 => {
                device.open_queue(options(depth_max.min(DEPTH)))?
            }
            opened => opened?,
        };
        let mut descriptors = Vec::new();
        queue.wake_descriptors(&mut descriptors);
        Ok(Self {
            pending: VecDeque::with_capacity(queue.depth()),
            queue,
            in_device: 0,
            commands: 0,
            held: [0; 2],
            receives: 0,
            segment_alignment: device.geometry().limits.segment_alignment,
            cells: Arc::default(),
            descriptors,
            closing: None,
        })
    }

    /// What to sleep on.
    pub(super) fn descriptors(&self) -> &[RawFd] {
        &self.descriptors
    }

    /// A command got chunks.
    #[inline]
    pub(super) fn hold(&mut self, need: Need) {
        self.held[need.class.index()] += need.chunks;
    }

    /// The device is done with a command's chunks.
    #[inline]
    pub(super) fn let_go(&mut self, need: Need) {
        self.held[need.class.index()] -= need.chunks;
    }

    /// What happened to the device.
    fn poll_news(&mut self) -> Option<DeviceNews> {
        self.queue.poll_event().map(|event| match event {
            Event::IncarnationChanged(incarnation) => DeviceNews::IncarnationChanged(incarnation),
            Event::Resized(geometry) => DeviceNews::Resized(geometry),
            Event::MediaErrors(count) => DeviceNews::MediaErrors(count),
            Event::HealthWarning(warning) => DeviceNews::Health(warning),
            Event::Removed => DeviceNews::Removed,
        })
    }
}

/// All queues.
#[derive(Default)]
pub(super) struct Devices {
    slots: Vec<Option<DeviceQueue>>,
    open: u32,
    /// Those with requests.
    busy: Vec<ExportSlot>,
    /// Requests in devices and on the way there.
    in_devices: usize,
}

impl Devices {
    pub(super) fn insert(&mut self, slot: ExportSlot, queue: DeviceQueue) {
        if self.slots.len() <= slot.index() {
            self.slots.resize_with(slot.index() + 1, || None);
        }
        self.slots[slot.index()] = Some(queue);
        self.open += 1;
    }

    /// Takes a queue away: what is in it is abandoned by being dropped with it.
    pub(super) fn remove(&mut self, slot: ExportSlot) -> Option<DeviceQueue> {
        let queue = self.slots.get_mut(slot.index())?.take()?;
        self.open -= 1;
        self.in_devices -= queue.in_device;
        self.busy.retain(|busy| *busy != slot);
        Some(queue)
    }

    #[inline]
    pub(super) fn get_mut(&mut self, slot: ExportSlot) -> Option<&mut DeviceQueue> {
        self.slots.get_mut(slot.index())?.as_mut()
    }

    /// Requests in devices and on the way there.
    pub(super) const fn in_devices(&self) -> usize {
        self.in_devices
    }

    /// Whether a command of the device may have chunks, as far as the others are concerned. What is larger than the share gets
    /// through when the device holds nothing.
    #[inline]
    pub(super) fn is_within_share(&self, slot: ExportSlot, need: Need, chunks: u32) -> bool {
        if self.open < 2 {
            return true;
        }
        let Some(queue) = self.slots.get(slot.index()).and_then(Option::as_ref) else { return true };
        let held = queue.held[need.class.index()];
        held == 0 || u64::from(held + need.chunks) * 4 <= u64::from(chunks) * u64::from(SHARE_QUARTERS)
    }

    /// Gives a request to a device. Hands it back if there is no such device.
    #[inline]
    pub(super) fn submit(&mut self, slot: ExportSlot, request: Request) -> Result<(), Request> {
        let Some(queue) = self.slots.get_mut(slot.index()).and_then(Option::as_mut) else {
            return Err(request);
        };
        if queue.in_device == 0 {
            self.busy.push(slot);
        }
        queue.in_device += 1;
        self.in_devices += 1;
        queue.pending.push_back(request);
        Ok(())
    }

    /// One doorbell for each device that has new requests, and a look at what has completed. Whether anything has.
    #[inline]
    pub(super) fn poll(&mut self, completions: &mut Vec<Completion>, now: Timestamp) -> bool {
        let before = completions.len();
        let mut index = 0;
        while let Some(slot) = self.busy.get(index) {
            let Some(queue) = self.slots[slot.index()].as_mut() else { unreachable!("a busy queue is open") };
            if !queue.pending.is_empty() {
                queue.queue.submit(&mut queue.pending, now);
            }
            let first = completions.len();
            queue.queue.poll(completions, now);
            let completed = completions.len() - first;
            queue.in_device -= completed;
            self.in_devices -= completed;
            if queue.in_device == 0 {
                self.busy.swap_remove(index);
            } else {
                index += 1;
            }
        }
        completions.len() != before
    }

    /// What has happened to devices. Queues without requests are looked at here only: after each sleep, since one of them may
    /// have ended it, and now and then.
    pub(super) fn poll_news(&mut self, now: Timestamp, mut tell: impl FnMut(ExportSlot, DeviceNews)) {
        let mut none = Vec::new();
        for (index, queue) in self.slots.iter_mut().enumerate() {
            let Some(queue) = queue else { continue };
            if queue.in_device == 0 {
                queue.queue.poll(&mut none, now);
                debug_assert!(none.is_empty(), "nothing completes that was not submitted");
            }
            let slot = ExportSlot(u32::try_from(index).unwrap_or(u32::MAX));
            while let Some(news) = queue.poll_news() {
                tell(slot, news);
            }
        }
    }

    /// Queues that are to be closed.
    pub(super) fn closing(&self) -> impl Iterator<Item = (ExportSlot, &DeviceQueue, &Closing)> {
        let slots = self.slots.iter().enumerate();
        slots.filter_map(|(index, queue)| {
            let queue = queue.as_ref()?;
            Some((ExportSlot(u32::try_from(index).ok()?), queue, queue.closing.as_ref()?))
        })
    }

    /// Whether to sleep, as far as devices are concerned.
    pub(super) fn prepare_wait(&mut self, now: Timestamp) -> Wait {
        let queues = self.slots.iter_mut().flatten();
        queues.fold(Wait::Until(Timestamp::NEVER), |wait, queue| wait.and(queue.queue.prepare_wait(now)))
    }
}
