//! Copies from one leg to others, a piece at a time, under the lock of its range: regions in which legs may differ are made
//! equal, and legs that return get what they lack.

use block::{BlockRange, Timestamp};
use nvme_spec::Lba;

use super::{Mirror, Phase, Purpose};
use crate::action::{ActionKind, Data};
use crate::holder::HolderState;
use crate::ids::{HolderId, HolderSet, Region};
use crate::locks::LockId;
use crate::mutation::Mutation;
use crate::regions::blocks_of;

/// The buffer that copies use.
const BUFFER: Data = Data::Buffer(0);

/// How long blocks that no leg can read are left alone, in nanoseconds.
const RETRY_NS: u64 = 1_000_000_000;

/// How far the copy of a piece is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// For its time, and its range.
    Waiting,
    Reading(HolderId),
    Writing,
}

/// A region that is being copied.
#[derive(Clone, Debug)]
pub(super) struct Copy {
    region: Region,
    /// Who gets it.
    targets: HolderSet,
    /// Blocks of the region that are done.
    done: u64,
    piece: BlockRange,
    lock: Option<LockId>,
    step: Step,
    pending: HolderSet,
    unreadable: HolderSet,
}

impl Mirror {
    /// Whether the region that is being copied goes to this leg.
    pub(super) fn is_copied_to(&self, leg: HolderId) -> bool {
        self.copy.as_ref().is_some_and(|copy| copy.targets.contains(leg))
    }

    pub(super) fn step_copy(&mut self) {
        if self.phase != Phase::Serving {
            return;
        }
        if self.copy.is_none() {
            self.copy = self.next_copy();
        }
        let Some(copy) = &self.copy else { return };
        match copy.step {
            Step::Waiting => self.begin_piece(),
            Step::Writing if copy.pending.is_empty() => self.end_piece(),
            Step::Reading(_) | Step::Writing => {}
        }
    }

    /// The next region to copy: first those that reads wait for.
    fn next_copy(&self) -> Option<Copy> {
        let syncing = self.holders_where(|leg| leg.state == HolderState::Syncing);
        let unequal = self.map.marks().find(|(_, mark)| mark.is_unequal).map(|(region, _)| region);
        let dirty = || syncing.iter().find_map(|leg| self.holder(leg).dirty.first());
        let region = unequal.or_else(dirty)?;
        let lacking = syncing.iter().filter(|leg| self.holder(*leg).dirty.contains(region)).collect();
        let targets = if unequal.is_some() { self.in_sync().or(lacking) } else { lacking };
        Some(Copy {
            region,
            targets,
            done: 0,
            piece: self.piece(region, 0),
            lock: None,
            step: Step::Waiting,
            pending: HolderSet::EMPTY,
            unreadable: HolderSet::EMPTY,
        })
    }

    fn piece(&self, region: Region, done: u64) -> BlockRange {
        let blocks = blocks_of(&self.description.shape, region);
        let length = (blocks.blocks - done).min(u64::from(self.options.copy_blocks));
        BlockRange::new(Lba(blocks.start.0 + done), length)
    }

    fn begin_piece(&mut self) {
        let is_due = self.copy_not_before <= self.now && self.is_settled();
        let Some(copy) = self.copy.as_mut() else { return };
        let locks = &mut self.locks;
        let lock = *copy.lock.get_or_insert_with(|| locks.queue(copy.piece));
        let is_granted = locks.is_free(lock) || self.rules.lack(Mutation::ResyncAgainstWrite);
        if !is_due || !is_granted {
            return;
        }
        let (range, unreadable) = (copy.piece, copy.unreadable);
        let Some(source) = self.in_sync().minus(unreadable).first() else { return self.copy_later() };
        self.locks.hold(lock);
        self.set_copy_step(Step::Reading(source));
        self.emit(source, ActionKind::Read { range, data: BUFFER }, Some(Purpose::CopyRead));
    }

    /// Nobody can read the piece: somebody may later.
    fn copy_later(&mut self) {
        self.copy_not_before = self.now.after_ns(RETRY_NS);
        if let Some(copy) = self.copy.as_mut() {
            copy.unreadable = HolderSet::EMPTY;
            if let Some(lock) = copy.lock.take() {
                self.locks.release(lock);
            }
        }
    }

    fn set_copy_step(&mut self, step: Step) {
        if let Some(copy) = self.copy.as_mut() {
            copy.step = step;
            self.has_moved = true;
        }
    }

    pub(super) fn copy_read(&mut self, source: HolderId) {
        let present = self.writable();
        let Some(copy) = self.copy.as_mut() else { return };
        // Who could not read it gets it too.
        let targets = copy.targets.or(copy.unreadable).without(source).and(present);
        copy.pending = targets;
        let range = copy.piece;
        for target in targets.iter() {
            self.emit(
                target,
                ActionKind::Write { range, data: BUFFER, fua: false },
                Some(Purpose::CopyWrite),
            );
        }
        self.set_copy_step(Step::Writing);
    }

    pub(super) fn copy_unreadable(&mut self, source: HolderId) {
        if let Some(copy) = self.copy.as_mut() {
            copy.unreadable = copy.unreadable.with(source);
        }
        self.set_copy_step(Step::Waiting);
    }

    pub(super) fn copy_again(&mut self, source: HolderId) {
        if self.copy.as_ref().is_some_and(|copy| copy.step == Step::Reading(source)) {
            self.set_copy_step(Step::Waiting);
        }
    }

    pub(super) fn copy_written(&mut self, target: HolderId) {
        if let Some(copy) = self.copy.as_mut() {
            copy.pending = copy.pending.without(target);
            self.has_moved = true;
        }
    }

    /// A lost leg gets nothing more, and has nothing of the region.
    pub(super) fn copy_loses(&mut self, leg: HolderId) {
        if let Some(copy) = self.copy.as_mut() {
            copy.targets = copy.targets.without(leg);
            copy.pending = copy.pending.without(leg);
        }
    }

    fn end_piece(&mut self) {
        let Some(mut copy) = self.copy.take() else { return };
        self.has_moved = true;
        if let Some(lock) = copy.lock.take() {
            self.locks.release(lock);
        }
        self.touch_marks(copy.piece);
        copy.done += copy.piece.blocks;
        copy.unreadable = HolderSet::EMPTY;
        copy.step = Step::Waiting;
        let gap =
            if self.requests.is_empty() { self.options.copy_gap_idle } else { self.options.copy_gap_busy };
        self.copy_not_before = self.now.after(gap);
        if copy.done < blocks_of(&self.description.shape, copy.region).blocks {
            copy.piece = self.piece(copy.region, copy.done);
            self.copy = Some(copy);
        } else {
            self.end_copy(&copy);
        }
    }

    fn end_copy(&mut self, copy: &Copy) {
        let tick = self.tick;
        for leg in copy.targets.iter() {
            let holder = self.holder_mut(leg);
            if holder.dirty.remove(copy.region) {
                holder.copied.insert(copy.region, tick);
            }
            if self.rules.lack(Mutation::CopiedIsClean) {
                self.holder_mut(leg).copied.clear();
                self.map.remove_lack(leg, copy.region);
            }
        }
        if let Some(mark) = self.map.mark_mut(copy.region) {
            mark.is_unequal = false;
        }
    }

    /// When the next piece may begin, if one waits for its time.
    pub(super) fn copy_due(&self) -> Option<Timestamp> {
        let waits = self.copy.as_ref().is_some_and(|copy| copy.step == Step::Waiting);
        (waits && self.copy_not_before > self.now).then_some(self.copy_not_before)
    }
}
