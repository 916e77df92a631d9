//! A device that insists on its limits, to test the wrapper that keeps them.

use std::collections::VecDeque;
use std::os::fd::RawFd;
use std::sync::Arc;

use dma::{AttachError, Region};

use crate::claim::ClaimTable;
use crate::device::{Abilities, BlockDevice, Extent, Identity};
use crate::error::{ExtentsError, InvalidRequest, OpenQueueError};
use crate::event::Event;
use crate::geometry::{Geometry, Limits};
use crate::queue::{BlockQueue, Completion, QueueOptions, Wait};
use crate::request::{BlockRange, Request};
use crate::time::Timestamp;

/// Another device with limits, each of which it enforces: what crosses the boundary is refused as well.
pub(crate) struct LimitedDevice {
    inner: Arc<dyn BlockDevice>,
    limits: Limits,
}

impl LimitedDevice {
    pub(crate) fn new(inner: Arc<dyn BlockDevice>, limits: Limits) -> Self {
        Self { inner, limits }
    }
}

impl BlockDevice for LimitedDevice {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn geometry(&self) -> Geometry {
        Geometry { limits: self.limits, ..self.inner.geometry() }
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
        Ok(Box::new(LimitedQueue { inner, geometry: self.geometry(), refused: VecDeque::new() }))
    }

    fn claims(&self) -> &ClaimTable {
        self.inner.claims()
    }

    fn extents(&self, range: BlockRange) -> Result<Vec<Extent>, ExtentsError> {
        self.inner.extents(range)
    }
}

struct LimitedQueue {
    inner: Box<dyn BlockQueue>,
    geometry: Geometry,
    refused: VecDeque<Completion>,
}

impl LimitedQueue {
    fn check(&self, request: &Request) -> Result<(), InvalidRequest> {
        request.check(&self.geometry)?;
        request.check_size(&self.geometry)?;
        let Limits { segments_max, segment_alignment, seam_alignment, .. } = self.geometry.limits;
        let segments = request.data.segments();
        let begins = segments.iter().all(|s| s.region_offset() % u64::from(segment_alignment) == 0);
        let meets = segments.windows(2).all(|pair| {
            let end = pair[0].region_offset() + u64::from(pair[0].bytes());
            end % u64::from(seam_alignment) == 0 && pair[1].region_offset() % u64::from(seam_alignment) == 0
        });
        if segments.len() > usize::from(segments_max) || !begins || !meets {
            return Err(InvalidRequest::Segments);
        }
        if self.crosses(request) { Err(InvalidRequest::TooLarge) } else { Ok(()) }
    }

    fn crosses(&self, request: &Request) -> bool {
        let boundary = u64::from(self.geometry.limits.boundary_blocks);
        let BlockRange { start, blocks } = request.range;
        boundary != 0 && request.op.has_data() && start.0 / boundary != (start.0 + blocks - 1) / boundary
    }
}

impl BlockQueue for LimitedQueue {
    fn submit(&mut self, requests: &mut VecDeque<Request>, now: Timestamp) {
        while self.in_flight() < self.depth() {
            let Some(request) = requests.pop_front() else { return };
            match self.check(&request) {
                Ok(()) => self.inner.submit(&mut VecDeque::from([request]), now),
                Err(error) => self.refused.push_back(Completion { request, result: Err(error.into()) }),
            }
        }
    }

    fn poll(&mut self, completions: &mut Vec<Completion>, now: Timestamp) {
        self.inner.poll(completions, now);
        completions.extend(self.refused.drain(..));
    }

    fn poll_event(&mut self) -> Option<Event> {
        self.inner.poll_event()
    }

    fn depth(&self) -> usize {
        self.inner.depth()
    }

    fn in_flight(&self) -> usize {
        self.inner.in_flight() + self.refused.len()
    }

    fn wake_descriptors(&self, descriptors: &mut Vec<RawFd>) {
        self.inner.wake_descriptors(descriptors);
    }

    fn prepare_wait(&mut self, now: Timestamp) -> Wait {
        let inner = self.inner.prepare_wait(now);
        if self.refused.is_empty() { inner } else { Wait::Poll }
    }
}
