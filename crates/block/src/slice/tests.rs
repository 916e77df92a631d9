use super::*;
use crate::device::ExtentKind;
use crate::error::InvalidRequest;
use crate::error::IoError;
use crate::event::Event;
use crate::geometry::{Limits, WriteCache};
use crate::mem::MemDevice;
use crate::queue::{Completion, Wait, WakeMode};
use crate::request::{Op, Request};
use crate::time::Timestamp;
use dma::{MemoryOptions, Pool, PoolOptions, ScatterList};
use std::collections::VecDeque;
use std::os::fd::RawFd;

const OPTIONS: QueueOptions = QueueOptions { depth: 4, wake: WakeMode::Polled };

fn parent() -> Arc<dyn BlockDevice> {
    Arc::new(MemDevice::new("mem", BlockSize::B512, 1 << 20, Access::ReadWrite).unwrap())
}

fn range(start: u64, blocks: u64) -> BlockRange {
    BlockRange::new(Lba(start), blocks)
}

fn slice(parent: &Arc<dyn BlockDevice>, blocks: BlockRange) -> Result<SliceDevice, SliceError> {
    SliceDevice::new(Arc::clone(parent), "slice", blocks, Access::ReadWrite)
}

fn run(queue: &mut dyn BlockQueue, request: Request) -> Completion {
    let now = Timestamp::default();
    let mut completions = Vec::new();
    queue.submit(&mut VecDeque::from([request]), now);
    queue.poll(&mut completions, now);
    completions.pop().unwrap()
}

#[test]
fn overlapping_slices_and_slices_beyond_the_end_are_refused() {
    let parent = parent();
    let first = slice(&parent, range(0, 1024)).unwrap();
    assert!(matches!(slice(&parent, range(1023, 1)), Err(SliceError::Claim(_))));
    let second = slice(&parent, range(1024, 1024)).unwrap();
    drop(first);
    assert!(slice(&parent, range(1023, 1)).is_ok());
    for wrong in [range(0, 0), range(2048, 1), range(1, 2048), range(u64::MAX, 2)] {
        assert!(matches!(slice(&parent, wrong), Err(SliceError::Range { .. })), "{wrong:?}");
    }
    assert_eq!(second.geometry().blocks, 1024);
}

#[test]
fn blocks_are_the_parents_moved_by_the_start() {
    let parent = parent();
    let slice = slice(&parent, range(100, 10)).unwrap();
    let memory = MemoryOptions { ordinary_pages: true, ..Default::default() };
    let pool = Pool::new(PoolOptions { chunk_bytes: 512, chunks: 1, memory }).unwrap();
    slice.attach_memory(pool.region()).unwrap();
    let mut inside = slice.open_queue(OPTIONS).unwrap();
    let mut outside = parent.open_queue(OPTIONS).unwrap();
    let mut buffer = pool.take().unwrap();
    buffer.fill(0, 512, 7).unwrap();
    let written =
        run(&mut *inside, Request::new(Op::Write { fua: false }, range(9, 1), buffer.into_segment().into()));
    assert_eq!((written.result, written.request.range), (Ok(()), range(9, 1)));
    let seen = run(&mut *outside, Request::new(Op::Compare, range(109, 1), written.request.data));
    assert_eq!(seen.result, Ok(()));
    let beyond = run(&mut *inside, Request::new(Op::Compare, range(10, 1), seen.request.data));
    assert_eq!(beyond.result, Err(IoError::Invalid(InvalidRequest::Range)));
    assert_eq!(beyond.request.range, range(10, 1));
    let extents = slice.extents(range(0, 10)).unwrap();
    assert_eq!(extents, [Extent { range: range(0, 10), kind: ExtentKind::Data }]);
    assert!(slice.extents(range(0, 11)).is_err());
}

#[test]
fn a_slice_for_reading_takes_no_writes() {
    let parent = parent();
    let slice = SliceDevice::new(parent, "slice", range(0, 8), Access::Read).unwrap();
    let mut queue = slice.open_queue(OPTIONS).unwrap();
    let discard = Request::new(Op::Discard, range(0, 1), ScatterList::default());
    assert_eq!(run(&mut *queue, discard).result, Err(IoError::ReadOnly));
}

#[test]
fn the_identity_is_derived_from_parent_and_range() {
    struct Named(Arc<dyn BlockDevice>);
    impl BlockDevice for Named {
        fn name(&self) -> &str {
            self.0.name()
        }
        fn geometry(&self) -> Geometry {
            self.0.geometry()
        }
        fn identity(&self) -> Identity {
            Identity { uuid: Some(uuid::Uuid::from_u128(1)), nguid: Some([1; 16]), ..Identity::default() }
        }
        fn abilities(&self) -> Abilities {
            self.0.abilities()
        }
        fn attach_memory(&self, region: &Region) -> Result<(), AttachError> {
            self.0.attach_memory(region)
        }
        fn open_queue(&self, options: QueueOptions) -> Result<Box<dyn BlockQueue>, OpenQueueError> {
            self.0.open_queue(options)
        }
        fn claims(&self) -> &ClaimTable {
            self.0.claims()
        }
    }
    let parent: Arc<dyn BlockDevice> = Arc::new(Named(parent()));
    let of = |range| slice(&parent, range).unwrap().identity();
    assert_eq!(of(range(0, 1)), of(range(0, 1)));
    assert_ne!(of(range(0, 1)).uuid, of(range(0, 2)).uuid);
    assert_ne!(of(range(0, 1)).uuid, parent.identity().uuid);
    assert_eq!(of(range(0, 1)).nguid, None);
}

/// A queue whose device changes its size.
struct Resizing(VecDeque<Event>);

impl BlockQueue for Resizing {
    fn submit(&mut self, _: &mut VecDeque<Request>, _: Timestamp) {}
    fn poll(&mut self, _: &mut Vec<Completion>, _: Timestamp) {}
    fn poll_event(&mut self) -> Option<Event> {
        self.0.pop_front()
    }
    fn depth(&self) -> usize {
        1
    }
    fn in_flight(&self) -> usize {
        0
    }
    fn wake_descriptors(&self, _: &mut Vec<RawFd>) {}
    fn prepare_wait(&mut self, _: Timestamp) -> Wait {
        Wait::Poll
    }
}

#[test]
fn a_resized_parent_shows_only_where_it_concerns_the_slice() {
    let geometry = |blocks, block_size| Geometry {
        block_size,
        blocks,
        limits: Limits { boundary_blocks: 8, ..Limits::NONE },
        atomic_blocks: 4,
        write_cache: WriteCache::Through,
    };
    let view = View { range: range(12, 10), block_size: BlockSize::B512 };
    let (small, other) = (geometry(15, BlockSize::B512), geometry(100, BlockSize::B4096));
    let events = [geometry(30, BlockSize::B512), small, other].map(Event::Resized);
    let whole = view.geometry(&geometry(22, BlockSize::B512));
    assert_eq!((whole.blocks, whole.limits.boundary_blocks, whole.atomic_blocks), (10, 0, 4));
    let mut queue = SliceQueue::new(Resizing(events.into()), view, Abilities::empty(), whole);
    let mut blocks = || match queue.poll_event() {
        Some(Event::Resized(geometry)) => Some(geometry.blocks),
        _ => None,
    };
    assert_eq!((blocks(), blocks(), blocks()), (Some(3), Some(0), None));
}
