//! Requests larger than a device takes, cut into pieces that it takes.

mod cut;
mod device;
#[cfg(test)]
pub(crate) mod limited;

use std::collections::VecDeque;
use std::os::fd::RawFd;

use nvme_spec::Lba;

pub use device::SplitDevice;

use crate::error::{InvalidRequest, IoError, Outcome};
use crate::event::Event;
use crate::geometry::{Geometry, Limits};
use crate::queue::{BlockQueue, Completion, Wait};
use crate::request::{BlockRange, Request};
use crate::time::Timestamp;
use dma::ScatterList;

/// What the error of a piece becomes when others were done: the request as a whole is no longer known to have had no
/// effect. EIO.
const PARTLY_DONE: IoError = IoError::Os { errno: 5 };

/// A queue that takes requests of any size and gives its inner queue only such as are within its limits.
///
/// A request completes once, when all its pieces have ended, with the error of the first block that failed. After an
/// error no more of its pieces begin. Cut requests take turns, and a quarter of the inner queue is kept free of pieces (none
/// of a queue of depth 1), so that others get through. A request that is within the limits passes by with its tag exchanged.
///
/// Cutting allocates only for pieces of several segments (a scatter list of one segment needs no memory).
pub struct Split<Q> {
    inner: Q,
    geometry: Geometry,
    slab: Vec<Entry>,
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

enum Entry {
    Free,
    /// A request that was passed on as it is, with its own tag.
    Whole(u64),
    Cut(Parent),
}

/// A request that is being done in pieces.
struct Parent {
    request: Request,
    /// Blocks of the pieces that have begun.
    begun: u64,
    /// Pieces that have begun and not ended.
    pieces: usize,
    /// Whether a piece has been done.
    partly_done: bool,
    /// Whether a piece came back without its memory: the device may still touch it.
    memory_kept: bool,
    /// The error of the first block that failed.
    error: Option<(Lba, IoError)>,
}

impl<Q: BlockQueue> Split<Q> {
    /// Wraps a queue of a device of this geometry.
    pub fn new(inner: Q, geometry: Geometry) -> Self {
        let depth = inner.depth();
        Self {
            inner,
            geometry,
            slab: (0..depth).map(|_| Entry::Free).collect(),
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

    /// Takes one request if there is one and room for it.
    fn take_one(&mut self, requests: &mut VecDeque<Request>) -> bool {
        if self.in_flight() >= self.depth() {
            return false;
        }
        let Some(mut request) = requests.pop_front() else { return false };
        if cut::needs_cut(&request, &self.geometry) {
            self.take_large(request);
        } else {
            let index = self.allocate(Entry::Whole(request.tag));
            request.tag = u64::from(index);
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
                let parent = Parent {
                    request,
                    begun: 0,
                    pieces: 0,
                    partly_done: false,
                    memory_kept: false,
                    error: None,
                };
                let index = self.allocate(Entry::Cut(parent));
                self.unfinished.push_back(index);
            }
            Err(error) => self.ended.push_back(Completion { request, result: Err(error.into()) }),
        }
    }

    fn allocate(&mut self, entry: Entry) -> u32 {
        let Some(index) = self.free.pop() else {
            unreachable!("fewer requests than the depth are in flight")
        };
        self.slab[index as usize] = entry;
        index
    }

    /// Begins one piece of the request whose turn it is.
    fn begin_one(&mut self, now: Timestamp) -> bool {
        if self.pieces >= self.pieces_max || self.room() == 0 {
            return false;
        }
        let Some(index) = self.unfinished.pop_front() else { return false };
        let Entry::Cut(parent) = &mut self.slab[index as usize] else {
            unreachable!("only cut requests are unfinished")
        };
        match parent.next_piece(&self.geometry, index, now) {
            Some(piece) => {
                self.pieces += 1;
                self.staged.push_back(piece);
                self.unfinished.push_back(index);
            }
            None if parent.pieces == 0 => self.finish(index),
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
            let Entry::Cut(parent) = &mut self.slab[index as usize] else {
                unreachable!("only cut requests are unfinished")
            };
            if parent.request.deadline > now {
                self.unfinished.push_back(index);
                continue;
            }
            parent.time_out();
            if parent.pieces == 0 {
                self.finish(index);
            }
        }
    }

    /// Takes what came back from the inner queue. Returns it if it is a whole request.
    fn sort_out(&mut self, mut completion: Completion) -> Option<Completion> {
        // The tag is one that `allocate` gave out.
        let index = u32::try_from(completion.request.tag).unwrap_or(u32::MAX);
        let parent = match &mut self.slab[index as usize] {
            Entry::Whole(tag) => {
                completion.request.tag = *tag;
                self.slab[index as usize] = Entry::Free;
                self.free.push(index);
                return Some(completion);
            }
            Entry::Cut(parent) => parent,
            Entry::Free => unreachable!("the inner queue gives each request back once"),
        };
        self.pieces -= 1;
        parent.on_piece(&completion);
        if parent.pieces == 0 && parent.is_all_begun() {
            self.unfinished.retain(|other| *other != index);
            self.finish(index);
        }
        None
    }

    fn finish(&mut self, index: u32) {
        let Entry::Cut(parent) = std::mem::replace(&mut self.slab[index as usize], Entry::Free) else {
            unreachable!("only cut requests are finished here")
        };
        self.free.push(index);
        self.ended.push_back(parent.into_completion());
    }
}

impl Parent {
    /// The next piece, with the index as its tag; `None` if there is none to come.
    fn next_piece(&mut self, geometry: &Geometry, index: u32, now: Timestamp) -> Option<Request> {
        if self.request.deadline <= now {
            self.time_out();
        }
        if self.is_all_begun() {
            return None;
        }
        match self.cut(geometry) {
            Ok((range, data)) => {
                self.begun += range.blocks;
                self.pieces += 1;
                let Request { op, deadline, .. } = self.request;
                Some(Request { op, range, data, deadline, tag: u64::from(index) })
            }
            // It was possible when it was checked: the device got other limits.
            Err(error) => {
                self.fail(self.position(), error.into());
                None
            }
        }
    }

    fn cut(&self, geometry: &Geometry) -> Result<(BlockRange, ScatterList), InvalidRequest> {
        let blocks = cut::next_piece(&self.request, self.begun, geometry)?;
        let range = BlockRange::new(self.position(), blocks);
        if !self.request.op.has_data() {
            return Ok((range, ScatterList::default()));
        }
        let shift = geometry.block_size.shift();
        let data = self.request.data.slice(self.begun << shift, blocks << shift);
        Ok((range, data.ok_or(InvalidRequest::DataLength)?))
    }

    /// The first block of the next piece.
    fn position(&self) -> Lba {
        Lba(self.request.range.start.0 + self.begun)
    }

    /// After an error nothing more begins.
    fn is_all_begun(&self) -> bool {
        self.error.is_some() || self.begun == self.request.range.blocks
    }

    fn time_out(&mut self) {
        if self.begun < self.request.range.blocks {
            self.fail(self.position(), IoError::TimedOut);
        }
    }

    fn fail(&mut self, at: Lba, error: IoError) {
        if self.error.is_none_or(|(first, _)| at < first) {
            self.error = Some((at, error));
        }
    }

    fn on_piece(&mut self, completion: &Completion) {
        self.pieces -= 1;
        match completion.result {
            Ok(()) => self.partly_done = true,
            Err(error) => self.fail(completion.request.range.start, error),
        }
        self.memory_kept |= self.request.op.has_data() && completion.request.data.bytes() == 0;
    }

    fn into_completion(mut self) -> Completion {
        if self.memory_kept {
            self.request.data = ScatterList::default();
        }
        let changed = self.partly_done && self.request.op.changes_data();
        let result = match self.error {
            None => Ok(()),
            Some((_, error)) if changed && error.outcome() == Outcome::NotDone => Err(PARTLY_DONE),
            Some((_, error)) => Err(error),
        };
        Completion { request: self.request, result }
    }
}

impl<Q: BlockQueue> BlockQueue for Split<Q> {
    fn submit(&mut self, requests: &mut VecDeque<Request>, now: Timestamp) {
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
        while at < completions.len() {
            let completion = completions.swap_remove(at);
            if let Some(whole) = self.sort_out(completion) {
                completions.push(whole);
                let last = completions.len() - 1;
                completions.swap(at, last);
                at += 1;
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
        self.slab.len() - self.free.len() + self.ended.len()
    }

    fn wake_descriptors(&self, descriptors: &mut Vec<RawFd>) {
        self.inner.wake_descriptors(descriptors);
    }

    fn prepare_wait(&mut self, now: Timestamp) -> Wait {
        if !self.ended.is_empty() || !self.staged.is_empty() {
            return Wait::Poll;
        }
        let deadlines = self.unfinished.iter().filter_map(|index| match &self.slab[*index as usize] {
            Entry::Cut(parent) => Some(parent.request.deadline),
            _ => None,
        });
        let earliest = deadlines.min().unwrap_or(Timestamp::NEVER);
        if earliest <= now {
            return Wait::Poll;
        }
        self.inner.prepare_wait(now).and(Wait::Until(earliest))
    }
}

#[cfg(test)]
mod tests;
