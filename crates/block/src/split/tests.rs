use std::sync::Arc;

use dma::{MemoryOptions, Pool, PoolOptions, ScatterList, Segment};
use nvme_spec::Lba;

use super::limited::LimitedDevice;
use super::*;
use crate::claim::Access;
use crate::device::BlockDevice;
use crate::error::{InvalidRequest, IoError, Outcome};
use crate::geometry::BlockSize;
use crate::mem::MemDevice;
use crate::queue::{QueueOptions, WakeMode};
use crate::request::{BlockRange, Op};

const LIMITS: Limits = Limits {
    transfer_blocks_max: 4,
    zeroes_blocks_max: 16,
    discard_blocks_max: 1 << 40,
    boundary_blocks: 8,
    segments_max: 2,
    segment_alignment: 4,
    seam_alignment: 4096,
};

/// A queue that keeps what it gets until the test says how it ends.
#[derive(Default)]
struct Puppet {
    got: VecDeque<Request>,
    done: Vec<Completion>,
    depth: usize,
}

impl Puppet {
    fn end(&mut self, result: Result<(), IoError>) -> BlockRange {
        let request = self.got.pop_front().unwrap();
        let range = request.range;
        self.done.push(Completion { request, result });
        range
    }

    fn ranges(&self) -> Vec<(u64, u64)> {
        self.got.iter().map(|request| (request.range.start.0, request.range.blocks)).collect()
    }
}

impl BlockQueue for Puppet {
    fn submit(&mut self, requests: &mut VecDeque<Request>, _: Timestamp) {
        while self.in_flight() < self.depth {
            let Some(request) = requests.pop_front() else { return };
            self.got.push_back(request);
        }
    }
    fn poll(&mut self, completions: &mut Vec<Completion>, _: Timestamp) {
        completions.append(&mut self.done);
    }
    fn poll_event(&mut self) -> Option<Event> {
        None
    }
    fn depth(&self) -> usize {
        self.depth
    }
    fn in_flight(&self) -> usize {
        self.got.len() + self.done.len()
    }
    fn wake_descriptors(&self, _: &mut Vec<RawFd>) {}
    fn prepare_wait(&mut self, _: Timestamp) -> Wait {
        Wait::Until(Timestamp::NEVER)
    }
}

fn geometry() -> Geometry {
    let mem = MemDevice::new("mem", BlockSize::B512, 1 << 20, Access::ReadWrite).unwrap();
    Geometry { limits: LIMITS, ..mem.geometry() }
}

fn split(depth: usize) -> Split<Puppet> {
    Split::new(Puppet { depth, ..Puppet::default() }, geometry())
}

fn pool() -> Pool {
    let memory = MemoryOptions { ordinary_pages: true, ..Default::default() };
    Pool::new(PoolOptions { chunk_bytes: 8192, chunks: 8, memory }).unwrap()
}

fn segment(pool: &Pool, offset: u32, bytes: u32) -> Segment {
    pool.take().unwrap().into_segment().slice(offset, bytes).unwrap()
}

fn verify(start: u64, blocks: u64) -> Request {
    Request::new(Op::Verify, BlockRange::new(Lba(start), blocks), ScatterList::default())
}

fn read(start: u64, data: impl IntoIterator<Item = Segment>) -> Request {
    let data: ScatterList = data.into_iter().collect();
    Request::new(Op::Read, BlockRange::new(Lba(start), data.bytes() / 512), data)
}

fn submit<const N: usize>(queue: &mut Split<Puppet>, requests: [Request; N]) -> usize {
    let mut requests = VecDeque::from(requests);
    queue.submit(&mut requests, Timestamp::default());
    requests.len()
}

fn poll(queue: &mut Split<Puppet>, now: Timestamp) -> Vec<Completion> {
    let mut completions = Vec::new();
    queue.poll(&mut completions, now);
    completions
}

#[test]
fn a_request_within_the_limits_passes_with_its_tag() {
    let mut queue = split(4);
    assert_eq!(submit(&mut queue, [verify(7, 4).with_tag(99), Request::flush().with_tag(98)]), 0);
    assert_eq!(queue.inner().ranges(), [(7, 4), (0, 0)]);
    queue.inner_mut().end(Ok(()));
    queue.inner_mut().end(Err(IoError::Gone));
    let done = poll(&mut queue, Timestamp::default());
    assert_eq!(
        done.iter().map(|c| (c.request.tag, c.result)).collect::<Vec<_>>(),
        [(99, Ok(())), (98, Err(IoError::Gone))]
    );
    assert_eq!(queue.in_flight(), 0);
}

#[test]
fn data_is_cut_at_the_limit_and_at_the_boundary() {
    let (mut queue, pool) = (split(16), pool());
    assert_eq!(submit(&mut queue, [read(5, [segment(&pool, 0, 8192)]).with_tag(1)]), 0);
    assert_eq!(queue.inner().ranges(), [(5, 3), (8, 4), (12, 4), (16, 4), (20, 1)]);
    let bytes: Vec<_> = queue.inner().got.iter().map(|piece| piece.data.bytes()).collect();
    assert_eq!(bytes, [1536, 2048, 2048, 2048, 512]);
    let offsets: Vec<_> =
        queue.inner().got.iter().map(|p| p.data.segments()[0].region_offset() % 8192).collect();
    assert_eq!(offsets, [0, 1536, 3584, 5632, 7680]);
    for _ in 0..5 {
        assert!(poll(&mut queue, Timestamp::default()).is_empty());
        queue.inner_mut().end(Ok(()));
    }
    let done = poll(&mut queue, Timestamp::default()).remove(0);
    assert_eq!(
        (done.request.tag, done.request.range, done.request.data.bytes()),
        (1, BlockRange::new(Lba(5), 16), 8192)
    );
    assert_eq!((done.result, queue.in_flight()), (Ok(()), 0));
}

#[test]
fn segments_that_may_not_meet_are_parted() {
    let (mut queue, pool) = (split(8), pool());
    // Ends at 2048 of its page: no seam there, but a whole block of the data.
    submit(&mut queue, [read(0, [segment(&pool, 0, 1024), segment(&pool, 0, 1024)])]);
    assert_eq!(queue.inner().ranges(), [(0, 2), (2, 2)]);
    // Ends in the middle of a block.
    submit(&mut queue, [read(0, [segment(&pool, 0, 256), segment(&pool, 0, 256)])]);
    let refused = poll(&mut queue, Timestamp::default()).remove(0);
    assert_eq!(refused.result, Err(IoError::Invalid(InvalidRequest::Segments)));
    assert_eq!(refused.request.data.bytes(), 512);
}

#[test]
fn too_many_segments_are_parted() {
    let mut limits = geometry();
    limits.limits.seam_alignment = 1;
    let pool = pool();
    let mut queue = Split::new(Puppet { depth: 8, ..Puppet::default() }, limits);
    submit(&mut queue, [read(0, [segment(&pool, 0, 512), segment(&pool, 0, 300), segment(&pool, 0, 724)])]);
    // Two segments have one whole block and a part of the next, which begins the second piece.
    assert_eq!(queue.inner().ranges(), [(0, 1), (1, 2)]);
    assert_eq!(queue.inner().got[1].data.segments()[0].bytes(), 300);
}

#[test]
fn the_first_block_that_failed_says_how_it_ended() {
    let mut queue = split(8);
    submit(&mut queue, [verify(0, 12)]);
    let mut failed = |at: usize, error| {
        let puppet = queue.inner_mut();
        puppet.got.rotate_left(at);
        puppet.end(Err(error))
    };
    assert_eq!(failed(2, IoError::Reset).start, Lba(8));
    assert_eq!(failed(1, IoError::Gone).start, Lba(4));
    queue.inner_mut().end(Ok(()));
    assert_eq!(poll(&mut queue, Timestamp::default()).remove(0).result, Err(IoError::Gone));
}

#[test]
fn nothing_begins_after_an_error() {
    let mut queue = split(3);
    submit(&mut queue, [verify(0, 40)]);
    assert_eq!(queue.inner().ranges(), [(0, 4), (4, 4)]);
    queue.inner_mut().end(Err(IoError::Gone));
    assert!(poll(&mut queue, Timestamp::default()).is_empty());
    assert_eq!(queue.inner().ranges(), [(4, 4)]);
    queue.inner_mut().end(Ok(()));
    assert_eq!(poll(&mut queue, Timestamp::default()).remove(0).result, Err(IoError::Gone));
    assert_eq!((queue.in_flight(), queue.inner().in_flight()), (0, 0));
}

#[test]
fn a_write_that_was_done_in_part_is_not_said_to_have_had_no_effect() {
    let (mut queue, pool) = (split(8), pool());
    let mut write = read(0, [segment(&pool, 0, 4096)]);
    write.op = Op::Write { fua: false };
    submit(&mut queue, [write]);
    queue.inner_mut().end(Ok(()));
    queue.inner_mut().end(Err(IoError::Invalid(InvalidRequest::Range)));
    let done = poll(&mut queue, Timestamp::default()).remove(0);
    assert_eq!(done.result.unwrap_err().outcome(), Outcome::Unknown);
}

#[test]
fn small_requests_get_through_beside_the_pieces_of_a_huge_one() {
    let mut queue = split(4);
    submit(&mut queue, [verify(0, 400)]);
    for turn in 1..10 {
        poll(&mut queue, Timestamp::default());
        assert_eq!(queue.inner().ranges().len(), 3, "a quarter is free of pieces");
        assert_eq!(submit(&mut queue, [Request::flush().with_tag(turn)]), 0);
        let flush = queue.inner_mut().got.pop_back().unwrap();
        queue.inner_mut().done.push(Completion { request: flush, result: Ok(()) });
        queue.inner_mut().end(Ok(()));
        let done = poll(&mut queue, Timestamp::default());
        assert_eq!(done.iter().map(|c| c.request.tag).collect::<Vec<_>>(), [turn]);
    }
}

#[test]
fn cut_requests_take_turns() {
    let mut queue = split(4);
    submit(&mut queue, [verify(0, 40), verify(100, 40)]);
    assert_eq!(queue.inner().ranges(), [(0, 4), (4, 4), (100, 4)]);
    for expected in [[(4, 4), (100, 4), (8, 4)], [(100, 4), (8, 4), (104, 4)]] {
        queue.inner_mut().end(Ok(()));
        poll(&mut queue, Timestamp::default());
        assert_eq!(queue.inner().ranges(), expected);
    }
}

#[test]
fn a_request_whose_turn_never_comes_times_out() {
    let (mut queue, pool) = (split(1), pool());
    let late = Timestamp::from_ns(100);
    submit(&mut queue, [read(0, [segment(&pool, 0, 8192)]).with_deadline(late)]);
    assert_eq!(queue.prepare_wait(Timestamp::from_ns(5)), Wait::Until(late));
    assert!(poll(&mut queue, late).is_empty(), "a piece is with the device");
    // The device keeps the piece's memory: the request comes back without its own.
    let mut piece = queue.inner_mut().got.pop_front().unwrap();
    let kept = std::mem::take(&mut piece.data);
    queue.inner_mut().done.push(Completion { request: piece, result: Err(IoError::TimedOut) });
    let done = poll(&mut queue, late).remove(0);
    assert_eq!((done.result, done.request.data.bytes()), (Err(IoError::TimedOut), 0));
    assert_eq!(pool.available(), 7);
    drop(kept);
    assert_eq!(pool.available(), 8);
}

#[test]
fn the_lifted_geometry_is_bounded_by_alignment_only() {
    let lifted = SplitDevice::new(Arc::new(LimitedDevice::new(
        Arc::new(MemDevice::new("mem", BlockSize::B512, 1 << 20, Access::ReadWrite).unwrap()),
        LIMITS,
    )));
    let expected = Limits { segment_alignment: 4, seam_alignment: 512, ..Limits::NONE };
    assert_eq!(lifted.geometry().limits, expected);
    let options = QueueOptions { depth: 3, wake: WakeMode::Polled };
    assert_eq!(lifted.open_queue(options).unwrap().depth(), 3);
}

/// The largest discard that there is, in pieces of the largest size of an NVMe range.
#[test]
fn huge_counts_do_not_overflow() {
    let mut queue = split(1);
    queue.geometry.blocks = u64::MAX;
    queue.geometry.limits.discard_blocks_max = u64::MAX - 1;
    submit(
        &mut queue,
        [Request::new(Op::Discard, BlockRange::new(Lba(0), u64::MAX), ScatterList::default())],
    );
    assert_eq!(queue.inner().ranges(), [(0, u64::MAX - 1)]);
    queue.inner_mut().end(Ok(()));
    poll(&mut queue, Timestamp::default());
    assert_eq!(queue.inner().ranges(), [(u64::MAX - 1, 1)]);
}
