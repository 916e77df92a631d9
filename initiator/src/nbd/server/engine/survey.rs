//! Which blocks hold data: a thread that may ask the kernel, which a loop over sockets must not wait for.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread::{self, JoinHandle};

use block::{BlockDevice, BlockRange, Extent, ExtentKind, ExtentsError, Geometry, Waker};

use crate::nbd::command::Span;
use crate::nbd::wire::ExtentFlags;

/// Questions that the thread has; others wait in line.
const ASKED_MAX: usize = 16;

type Question = (u32, BlockRange);
type Found = (u32, Result<Vec<Extent>, ExtentsError>);

/// The thread, and what it was asked.
pub(super) struct Surveyor {
    questions: Option<SyncSender<Question>>,
    found: Receiver<Found>,
    /// As long as there are jobs at most.
    line: VecDeque<Question>,
    asked: usize,
    thread: Option<JoinHandle<()>>,
}

impl Surveyor {
    /// Starts it. It wakes the loop with every answer.
    pub(super) fn start(device: Arc<dyn BlockDevice>, waker: Waker) -> std::io::Result<Self> {
        let (questions, asked) = sync_channel::<Question>(ASKED_MAX);
        let (answers, found) = sync_channel::<Found>(ASKED_MAX);
        let survey = move || {
            for (job, range) in asked {
                if answers.send((job, device.extents(range))).is_err() {
                    return;
                }
                waker.wake();
            }
        };
        let thread = thread::Builder::new().name("nbd-extents".to_owned()).spawn(survey)?;
        Ok(Self { questions: Some(questions), found, line: VecDeque::new(), asked: 0, thread: Some(thread) })
    }

    /// Asks for the first extents of a range.
    pub(super) fn ask(&mut self, job: u32, range: BlockRange) {
        self.line.push_back((job, range));
        self.pass_on();
    }

    fn pass_on(&mut self) {
        while self.asked < ASKED_MAX
            && let Some(questions) = &self.questions
            && let Some(question) = self.line.pop_front()
        {
            // There is room: no more than that were asked and not taken.
            let is_taken = questions.try_send(question).is_ok();
            debug_assert!(is_taken, "the channel has room for all questions that are open");
            self.asked += 1;
        }
    }

    /// The next answer.
    pub(super) fn poll(&mut self) -> Option<Found> {
        match self.found.try_recv() {
            Ok(found) => {
                self.asked -= 1;
                self.pass_on();
                Some(found)
            }
            Err(TryRecvError::Empty | TryRecvError::Disconnected) => None,
        }
    }
}

impl Drop for Surveyor {
    fn drop(&mut self) {
        self.questions = None;
        if let Some(thread) = self.thread.take() {
            // It ends when it has no more questions; its panic would be told by the runtime.
            let _ = thread.join();
        }
    }
}

/// Extents of blocks, as a client sees them: cut to the bytes that it asked for.
pub(super) fn describe(
    extents: &[Extent],
    span: Span,
    geometry: &Geometry,
    one: bool,
) -> Vec<(u32, ExtentFlags)> {
    let shift = geometry.block_size.shift();
    let (first, last) = (span.offset, span.offset + u64::from(span.bytes));
    let mut described = Vec::with_capacity(if one { 1 } else { extents.len() });
    for extent in extents {
        let start = extent.range.start.0 << shift;
        let end = start.saturating_add(extent.range.blocks << shift).min(last);
        let bytes = u32::try_from(end.saturating_sub(start.max(first))).unwrap_or(u32::MAX);
        if bytes > 0 {
            described.push((bytes, flags(extent.kind)));
        }
        if one && !described.is_empty() {
            break;
        }
    }
    described
}

fn flags(kind: ExtentKind) -> ExtentFlags {
    match kind {
        ExtentKind::Data => ExtentFlags::empty(),
        ExtentKind::Hole => ExtentFlags::HOLE | ExtentFlags::ZERO,
    }
}

#[cfg(test)]
mod tests {
    use block::{BlockSize, Lba, Limits, WriteCache};

    use super::*;

    const HOLE: ExtentFlags = ExtentFlags::all();
    const DATA: ExtentFlags = ExtentFlags::empty();

    fn extent(start: u64, blocks: u64, kind: ExtentKind) -> Extent {
        Extent { range: BlockRange::new(Lba(start), blocks), kind }
    }

    #[test]
    fn extents_are_cut_to_what_was_asked_for() {
        let geometry = Geometry {
            block_size: BlockSize::B512,
            blocks: 100,
            limits: Limits::NONE,
            atomic_blocks: 1,
            write_cache: WriteCache::Through,
        };
        let extents = [
            extent(1, 2, ExtentKind::Hole),
            extent(3, 1, ExtentKind::Data),
            extent(4, 1 << 40, ExtentKind::Hole),
        ];
        let span = Span { offset: 600, bytes: 2000 };
        let found = describe(&extents, span, &geometry, false);
        assert_eq!(found, [(936, HOLE), (512, DATA), (552, HOLE)]);
        assert_eq!(describe(&extents, span, &geometry, true), [(936, HOLE)]);
    }
}
