//! Writes, trims and zeroing: they wait for their blocks, read those that they change in part, and change them.

use block::{BlockRange, Lba, Op, Request};
use dma::{AccessError, ScatterList};

use super::Engine;
use super::buffers::BufferList;
use super::job::{Job, Part, Stage, change_of};
use crate::nbd::command::{Command, Refusal};
use crate::nbd::ranges::Use;
use crate::nbd::wire::Errno;

/// Most bytes of zeroes in one write, for a device that cannot zero.
const ZEROES_BYTES_MAX: u64 = 1 << 20;

const UNREACHABLE: Refusal = Refusal::new(Errno::Io, "the data's memory cannot be reached");

impl Engine {
    /// Begins a change as soon as its blocks are free.
    pub(super) fn begin_change(&mut self, id: u32) {
        let Some(job) = self.jobs.get_mut(id) else { return };
        let (range, usage) = blocks_of(job);
        if range.blocks == 0 {
            return self.finish(id);
        }
        if self.ranges.begin(id, range, usage) {
            self.start_change(id);
        }
    }

    /// Its blocks are free.
    pub(super) fn start_change(&mut self, id: u32) {
        let Some(job) = self.jobs.get_mut(id) else { return };
        let edges = job.cover.edges();
        if matches!(job.order.command, Command::Trim { .. }) || edges == [None, None] {
            return self.change_body(id);
        }
        job.stage = Stage::Edges;
        for (part, edge) in Part::EDGES.into_iter().zip(edges) {
            let (Some(block), Some(at)) = (edge, part.edge()) else { continue };
            let memory = std::mem::take(&mut job.edges[at]).into_scatter();
            let read = Request::new(Op::Read, BlockRange::new(block, 1), memory);
            job.outstanding += 1;
            self.staged.push_back(read.with_tag(part.tag(id)));
        }
    }

    /// An edge was read, or written.
    pub(super) fn take_edge(&mut self, id: u32, part: Part, memory: ScatterList) {
        let Some(job) = self.jobs.get_mut(id) else { return };
        if let (Some(at), Some(buffers)) = (part.edge(), BufferList::from_scatter(memory)) {
            job.edges[at] = buffers;
        }
    }

    /// All edges were read.
    pub(super) fn finish_edges(&mut self, id: u32) {
        let Some(job) = self.jobs.get_mut(id) else { return };
        let patched = match job.order.command {
            Command::Write { .. } => complete_data(job),
            _ => zero_edges(job),
        };
        match patched {
            Ok(copied) => self.count_copied(copied),
            Err(_) => job.failure = Some(UNREACHABLE),
        }
        self.change_body(id);
    }

    fn change_body(&mut self, id: u32) {
        let Some(job) = self.jobs.get_mut(id) else { return };
        job.stage = Stage::Body;
        if job.failure.is_some() {
            return self.finish(id);
        }
        match job.order.command {
            Command::Write { fua, .. } => {
                let memory = std::mem::take(&mut job.data).into_scatter();
                let range = job.cover.range;
                self.submit(id, Part::Body, Request::new(Op::Write { fua }, range, memory));
            }
            Command::Trim { .. } => {
                let discard = Request::new(Op::Discard, job.cover.inner(), ScatterList::default());
                self.submit(id, Part::Body, discard);
            }
            Command::WriteZeroes { fua, may_unmap, .. } => {
                self.write_edges(id, fua);
                self.zero_inner(id, fua, may_unmap);
            }
            Command::Read(_) | Command::Flush | Command::BlockStatus { .. } | Command::Disconnect => {
                unreachable!("only changes come here")
            }
        }
    }

    fn write_edges(&mut self, id: u32, fua: bool) {
        let Some(job) = self.jobs.get_mut(id) else { return };
        for (part, edge) in Part::EDGES.into_iter().zip(job.cover.edges()) {
            let (Some(block), Some(at)) = (edge, part.edge()) else { continue };
            let memory = std::mem::take(&mut job.edges[at]).into_scatter();
            let write = Request::new(Op::Write { fua }, BlockRange::new(block, 1), memory);
            job.outstanding += 1;
            self.staged.push_back(write.with_tag(part.tag(id)));
        }
    }

    /// Zeroes what is left of the whole blocks, or a first part of it where zeroes have to be written.
    fn zero_inner(&mut self, id: u32, fua: bool, may_unmap: bool) {
        let Some(job) = self.jobs.get_mut(id) else { return };
        let left = job.zeroes_left();
        if left.blocks == 0 {
            return;
        }
        let Some(zeroes) = &self.zeroes else {
            job.next_zero = Lba(left.start.0 + left.blocks);
            let op = Op::WriteZeroes { fua, may_unmap };
            return self.submit(id, Part::Body, Request::new(op, left, ScatterList::default()));
        };
        let block = u64::from(self.export.block_size.bytes());
        let blocks = left.blocks.min(ZEROES_BYTES_MAX / block);
        job.next_zero = Lba(left.start.0 + blocks);
        let (mut memory, mut bytes) = (ScatterList::default(), blocks * block);
        while bytes > 0 {
            let now = u32::try_from(bytes).unwrap_or(u32::MAX).min(zeroes.bytes());
            memory.push(zeroes.slice(0, now).unwrap_or_else(|| zeroes.clone()));
            bytes -= u64::from(now);
        }
        let write = Request::new(Op::Write { fua }, BlockRange::new(left.start, blocks), memory);
        self.submit(id, Part::Body, write);
    }

    /// All requests of the change have ended: it goes on, or it is done.
    pub(super) fn finish_body(&mut self, id: u32) {
        let Some(job) = self.jobs.get_mut(id) else { return };
        if job.failure.is_some() {
            return self.finish(id);
        }
        match job.order.command {
            Command::WriteZeroes { fua, may_unmap, .. } if job.zeroes_left().blocks > 0 => {
                self.zero_inner(id, fua, may_unmap);
            }
            // A discard has no FUA of its own.
            Command::Trim { fua: true, .. } => {
                job.stage = Stage::Sealing;
                self.submit(id, Part::Body, Request::flush());
            }
            _ => self.finish(id),
        }
    }

    /// A change has ended: whoever waited for its blocks begins.
    pub(super) fn release_blocks(&mut self, id: u32) {
        let mut ready = std::mem::take(&mut self.ready);
        self.ranges.end(id, &mut ready);
        for id in ready.drain(..) {
            self.start_change(id);
        }
        self.ready = ready;
    }

    /// Counts a change that succeeded.
    pub(super) fn note_change(&mut self, command: &Command) {
        if change_of(command) == Some(false) {
            self.durability.note_change();
        }
    }
}

/// The blocks that a change needs, and how it uses them. A trim leaves blocks alone that it covers in part.
fn blocks_of(job: &Job) -> (BlockRange, Use) {
    match job.order.command {
        Command::Trim { .. } => (job.cover.inner(), Use::Whole),
        _ if job.cover.is_whole() => (job.cover.range, Use::Whole),
        _ => (job.cover.range, Use::Alone),
    }
}

/// Bytes of one edge that the command leaves as they are: before its data, and behind it.
fn kept(job: &Job, part: Part) -> (u32, u32) {
    let is_single = job.cover.range.blocks == 1;
    match part {
        Part::FirstEdge => (job.cover.lead, if is_single { job.cover.trail } else { 0 }),
        _ => (0, job.cover.trail),
    }
}

/// Copies what is kept of the edges around the data.
fn complete_data(job: &mut Job) -> Result<u64, AccessError> {
    let mut copied = 0;
    for (part, at) in Part::EDGES.into_iter().zip(0..) {
        let edge = std::mem::take(&mut job.edges[at]).into_scatter();
        if edge.bytes() == 0 {
            continue;
        }
        let (before, behind) = kept(job, part);
        let mut bytes = vec![0; before as usize];
        edge.read(0, &mut bytes)?;
        job.data.write(0, &bytes)?;
        bytes.resize(behind as usize, 0);
        edge.read(edge.bytes() - u64::from(behind), &mut bytes)?;
        job.data.write(job.cover.bytes() - u64::from(behind), &bytes)?;
        copied += u64::from(before + behind);
    }
    Ok(copied)
}

/// Zeroes the edges but for what is kept of them. Nothing is copied.
fn zero_edges(job: &mut Job) -> Result<u64, AccessError> {
    for (part, at) in Part::EDGES.into_iter().zip(0..) {
        let (before, behind) = kept(job, part);
        let edge = &mut job.edges[at];
        let bytes: u64 = edge.as_mut_slice().iter().map(|buffer| u64::from(buffer.bytes())).sum();
        if bytes > 0 {
            edge.zero(u64::from(before), bytes - u64::from(before) - u64::from(behind))?;
        }
    }
    Ok(0)
}
