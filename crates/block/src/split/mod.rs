//! Requests larger than a device takes, cut into pieces that it takes.

mod cut;
mod device;
#[cfg(test)]
pub(crate) mod limited;
mod parent;

use std::collections::VecDeque;
use std::os::fd::RawFd;

pub use device::SplitDevice;

use crate::event::Event;
use crate::geometry::{Geometry, Limits};
use crate::queue::{BlockQueue, Completion, Wait};
use crate::request::{PieceMarker, Request};
use crate::time::Timestamp;
use parent::Parent;

/// A queue that takes requests of any size and gives its inner queue only such as are within its limits.
///
/// A request completes once, when all its pieces have ended, with the error of the first block that failed. After an
/// error no more of its pieces begin. Cut requests take turns, and a quarter of the inner queue is kept free of pieces (none
/// of a queue of depth 1), so that others get through. A request that is within the limits passes by untouched: only pieces carry a mark.
///
/// Cutting allocates only for pieces of several segments (a scatter list of one segment needs no memory).
pub struct Split<Q> {
    inner: Q,
    geometry: Geometry,
    /// Tells our pieces from those of other wrappers.
    marker: PieceMarker,
    /// Cut requests.
    slab: Vec<Option<Parent>>,
    free: Vec<u32>,
    /// Cut requests with pieces that have not begun, taking turns.
    unfinished: VecDeque<u32>,
    /// Pieces that have begun and not ended.
    pieces: usize,
    /// Most of them at once.
    pieces_max: usize,
    /// On the way to the inner queue.
    staged: VecDeque<Request>,
    ended: VecDeque<Completion>,
}

impl<Q: BlockQueue> Split<Q> {
    /// Wraps a queue of a device of this geometry.
    pub fn new(inner: Q, geometry: Geometry) -> Self {
        let depth = inner.depth();
        Self {
            inner,
            geometry,
            marker: PieceMarker::unique(),
            slab: (0..depth).map(|_| None).collect(),
            free: (0..u32::try_from(depth).unwrap_or(u32::MAX)).rev().collect(),
            unfinished: VecDeque::with_capacity(depth),
            pieces: 0,
            pieces_max: if depth < 2 { depth } else { depth - (depth / 4).max(1) },
            staged: VecDeque::with_capacity(depth),
            ended: VecDeque::with_capacity(depth),
        }
    }

    /// What a device of this geometry looks like through the wrapper: no limits but on where segments begin and meet.
    ///
    /// Where segments meet and must not, the request is cut; that works at whole blocks of the data. So segments may meet
    /// at multiples of the block size, and a list whose first segment is of odd length as well is refused.
    #[must_use]
    pub fn lift(geometry: Geometry) -> Geometry {
        let Limits { transfer_blocks_max, boundary_blocks, segment_alignment, seam_alignment, .. } =
            geometry.limits;
        let seam_alignment = seam_alignment.min(geometry.block_size.bytes());
        let boundary = if boundary_blocks == 0 { u32::MAX } else { boundary_blocks };
        Geometry {
            limits: Limits { segment_alignment, seam_alignment, ..Limits::NONE },
            // A write that is cut is not atomic.
            atomic_blocks: geometry.atomic_blocks.min(transfer_blocks_max).min(boundary),
            ..geometry
        }
    }

    /// The wrapped queue.
    pub fn inner(&self) -> &Q {
        &self.inner
    }

    /// The wrapped queue, for what the trait does not have.
    pub fn inner_mut(&mut self) -> &mut Q {
        &mut self.inner
    }

    /// Requests that the inner queue would take now.
    fn room(&self) -> usize {
        self.inner.depth().saturating_sub(self.inner.in_flight() + self.staged.len())
    }

    /// Passes requests on without moving them, if none needs a cut and none would overtake another; `false` if not.
    fn pass(&mut self, requests: &mut VecDeque<Request>, now: Timestamp) -> bool {
        let is_clear = self.unfinished.is_empty() && self.staged.is_empty() && self.ended.is_empty();
        if !is_clear || requests.iter().any(|request| cut::needs_cut(request, &self.geometry)) {
            return false;
        }
        self.inner.submit(requests, now);
        true
    }

    /// Takes one request if there is one and room for it.
    fn take_one(&mut self, requests: &mut VecDeque<Request>) -> bool {
        if self.in_flight() >= self.depth() {
            return false;
        }
        let Some(request) = requests.pop_front() else { return false };
        if cut::needs_cut(&request, &self.geometry) {
            self.take_large(request);
        } else {
            self.staged.push_back(request);
        }
        true
    }

    #[cold]
    fn take_large(&mut self, request: Request) {
        let checked =
            request.check(&self.geometry).and_then(|()| cut::check_pieces(&request, &self.geometry));
        match checked {
            Ok(()) => {
                let index = self.allocate(Parent::new(request));
                self.unfinished.push_back(index);
            }
            Err(error) => self.ended.push_back(Completion { request, result: Err(error.into()) }),
        }
    }

    fn allocate(&mut self, parent: Parent) -> u32 {
        let Some(index) = self.free.pop() else {
            unreachable!("fewer requests than the depth are in flight")
        };
        self.slab[index as usize] = Some(parent);
        index
    }

    /// Begins one piece of the request whose turn it is.
    fn begin_one(&mut self, now: Timestamp) -> bool {
        if self.pieces >= self.pieces_max || self.room() == 0 {
            return false;
        }
        let Some(index) = self.unfinished.pop_front() else { return false };
        let Some(parent) = &mut self.slab[index as usize] else {
            unreachable!("only cut requests are unfinished")
        };
        match parent.next_piece(&self.geometry, self.marker.mark(index), now) {
            Some(piece) => {
                self.pieces += 1;
                self.staged.push_back(piece);
                self.unfinished.push_back(index);
            }
            None if parent.is_idle() => self.finish(index),
            None => {}
        }
        true
    }

    fn begin_pieces(&mut self, now: Timestamp) {
        while self.begin_one(now) {}
        self.inner.submit(&mut self.staged, now);
    }

    /// Ends requests whose turn never came before their deadline: the inner queue does not know of them.
    fn expire_unfinished(&mut self, now: Timestamp) {
        for _ in 0..self.unfinished.len() {
            let Some(index) = self.unfinished.pop_front() else { return };
            let Some(parent) = &mut self.slab[index as usize] else {
                unreachable!("only cut requests are unfinished")
            };
            if parent.deadline() > now {
                self.unfinished.push_back(index);
                continue;
            }
            parent.time_out();
            if parent.is_idle() {
                self.finish(index);
            }
        }
    }

    /// Takes a piece that came back from the inner queue.
    fn take_piece(&mut self, index: u32, completion: &Completion) {
        let Some(parent) = &mut self.slab[index as usize] else {
            unreachable!("the inner queue gives each request back once")
        };
        self.pieces -= 1;
        parent.on_piece(completion);
        if parent.is_idle() && parent.is_all_begun() {
            self.unfinished.retain(|other| *other != index);
            self.finish(index);
        }
    }

    fn finish(&mut self, index: u32) {
        let Some(parent) = self.slab[index as usize].take() else {
            unreachable!("only cut requests are finished here")
        };
        self.free.push(index);
        self.ended.push_back(parent.into_completion());
    }
}

impl<Q: BlockQueue> BlockQueue for Split<Q> {
    fn submit(&mut self, requests: &mut VecDeque<Request>, now: Timestamp) {
        if self.pass(requests, now) {
            return;
        }
        while self.room() > 0 {
            let took = self.take_one(requests);
            let began = self.begin_one(now);
            if !took && !began {
                break;
            }
        }
        self.inner.submit(&mut self.staged, now);
    }

    fn poll(&mut self, completions: &mut Vec<Completion>, now: Timestamp) {
        let mut at = completions.len();
        self.inner.poll(completions, now);
        while self.pieces > 0 && at < completions.len() {
            match self.marker.index_of(&completions[at].request) {
                None => at += 1,
                Some(index) => self.take_piece(index, &completions.swap_remove(at)),
            }
        }
        if !self.unfinished.is_empty() || !self.staged.is_empty() {
            self.expire_unfinished(now);
            self.begin_pieces(now);
        }
        completions.extend(self.ended.drain(..));
    }

    fn poll_event(&mut self) -> Option<Event> {
        let event = self.inner.poll_event();
        if let Some(Event::Resized(geometry)) = event {
            self.geometry = geometry;
            return Some(Event::Resized(Self::lift(geometry)));
        }
        event
    }

    fn depth(&self) -> usize {
        self.slab.len()
    }

    fn in_flight(&self) -> usize {
        let cut = self.slab.len() - self.free.len();
        self.inner.in_flight() + self.staged.len() - self.pieces + cut + self.ended.len()
    }

    fn wake_descriptors(&self, descriptors: &mut Vec<RawFd>) {
        self.inner.wake_descriptors(descriptors);
    }

    fn prepare_wait(&mut self, now: Timestamp) -> Wait {
        if !self.ended.is_empty() || !self.staged.is_empty() {
            return Wait::Poll;
        }
        let parents = self.unfinished.iter().filter_map(|index| self.slab[*index as usize].as_ref());
        let deadlines = parents.map(Parent::deadline);
        let earliest = deadlines.min().unwrap_or(Timestamp::NEVER);
        if earliest <= now {
            return Wait::Poll;
        }
        self.inner.prepare_wait(now).and(Wait::Until(earliest))
    }
}

#[cfg(test)]
mod tests;
