//! A request that is being done in pieces. No I/O.

use dma::ScatterList;
use nvme_spec::Lba;

use super::cut;
use crate::error::{InvalidRequest, IoError, Outcome};
use crate::geometry::Geometry;
use crate::queue::Completion;
use crate::request::{BlockRange, PieceMark, Request};
use crate::time::Timestamp;

/// What the error of a piece becomes when others were done: the request as a whole is no longer known to have had no
/// effect. EIO.
const PARTLY_DONE: IoError = IoError::Os { errno: 5 };

/// A request that is being done in pieces.
pub(super) struct Parent {
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

impl Parent {
    /// A request that was checked, none of whose pieces has begun.
    pub(super) fn new(request: Request) -> Self {
        Self { request, begun: 0, pieces: 0, partly_done: false, memory_kept: false, error: None }
    }

    /// When the submitter stops waiting.
    pub(super) fn deadline(&self) -> Timestamp {
        self.request.deadline
    }

    /// Whether no piece is with the inner queue.
    pub(super) fn is_idle(&self) -> bool {
        self.pieces == 0
    }

    /// The next piece, with this mark; `None` if there is none to come.
    pub(super) fn next_piece(
        &mut self,
        geometry: &Geometry,
        mark: PieceMark,
        now: Timestamp,
    ) -> Option<Request> {
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
                Some(Request { op, range, data, deadline, tag: 0, mark })
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
    pub(super) fn is_all_begun(&self) -> bool {
        self.error.is_some() || self.begun == self.request.range.blocks
    }

    pub(super) fn time_out(&mut self) {
        if self.begun < self.request.range.blocks {
            self.fail(self.position(), IoError::TimedOut);
        }
    }

    fn fail(&mut self, at: Lba, error: IoError) {
        if self.error.is_none_or(|(first, _)| at < first) {
            self.error = Some((at, error));
        }
    }

    pub(super) fn on_piece(&mut self, completion: &Completion) {
        self.pieces -= 1;
        match completion.result {
            Ok(()) => self.partly_done = true,
            Err(error) => self.fail(completion.request.range.start, error),
        }
        self.memory_kept |= self.request.op.has_data() && completion.request.data.bytes() == 0;
    }

    pub(super) fn into_completion(mut self) -> Completion {
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
