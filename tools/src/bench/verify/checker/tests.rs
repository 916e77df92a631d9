//! Every kind of wrong block is found and named; every legal one passes.

use super::*;
use block::Incarnation;
use dma::{MemoryOptions, Pool, PoolOptions};

const AREA: BlockRange = BlockRange::new(Lba(100), 8);
const BYTES: usize = 512;

struct Bench {
    checker: Checker,
    pool: Pool,
    /// The device: content by block.
    media: Vec<[u8; BYTES]>,
}

impl Bench {
    fn new() -> Self {
        let shape = CheckerShape {
            area: AREA,
            block_size: BlockSize::B512,
            io_blocks: 2,
            slots: 4,
            write_cache: WriteCache::Volatile,
            run: 77,
            job: 1,
        };
        let memory = MemoryOptions { ordinary_pages: true, ..Default::default() };
        let pool = Pool::new(PoolOptions { chunk_bytes: 1024, chunks: 4, memory }).unwrap();
        Self { checker: Checker::new(shape), pool, media: vec![[9; BYTES]; 8] }
    }

    fn begin_write(&mut self, slot: usize, lba: u64) -> Vec<u8> {
        let mut buffer = self.pool.take().unwrap();
        self.checker.begin_write(slot, BlockRange::new(Lba(lba), 2), &mut buffer).unwrap();
        let mut bytes = vec![0; 2 * BYTES];
        buffer.read(0, &mut bytes).unwrap();
        bytes
    }

    fn store(&mut self, lba: u64, bytes: &[u8]) {
        for (at, block) in bytes.chunks(BYTES).enumerate() {
            self.media[usize::try_from(lba - 100).unwrap() + at].copy_from_slice(block);
        }
    }

    fn end_write(&mut self, slot: usize, lba: u64, end: WriteEnd) {
        self.checker.end_write(slot, BlockRange::new(Lba(lba), 2), end);
    }

    fn write(&mut self, lba: u64) -> Vec<u8> {
        let bytes = self.begin_write(0, lba);
        self.store(lba, &bytes);
        self.end_write(0, lba, WriteEnd::Done { durable: false });
        bytes
    }

    fn begin_read(&mut self, slot: usize, lba: u64) {
        self.checker.begin_read(slot, BlockRange::new(Lba(lba), 2));
    }

    fn end_read(&mut self, slot: usize, lba: u64) -> Vec<Failure> {
        let buffer = self.pool.take().unwrap().into_segment();
        for at in 0..2 {
            let block = &self.media[usize::try_from(lba - 100).unwrap() + at];
            buffer.device_write(u32::try_from(at * BYTES).unwrap(), block).unwrap();
        }
        let known = self.checker.failures().len();
        let range = BlockRange::new(Lba(lba), 2);
        let wrong = self.checker.end_read(slot, range, &ScatterList::from(buffer)).unwrap();
        let failures = self.checker.failures()[known..].to_vec();
        assert_eq!(usize::try_from(wrong).unwrap(), failures.len());
        failures
    }

    fn read(&mut self, lba: u64) -> Vec<Failure> {
        self.begin_read(3, lba);
        self.end_read(3, lba)
    }

    fn only_failure(&mut self, lba: u64) -> Failure {
        let failures = self.read(lba);
        assert_eq!(failures.len(), 1, "{failures:?}");
        failures[0].clone()
    }
}

#[test]
fn what_was_written_is_found_and_what_was_not_is_not_judged() {
    let mut bench = Bench::new();
    bench.write(102);
    assert_eq!(bench.read(102), []);
    assert_eq!(bench.read(100), []);
    assert_eq!(bench.read(101), []);
    assert_eq!(bench.checker.checked_blocks(), 3);
}

#[test]
fn a_stale_block_is_found() {
    let mut bench = Bench::new();
    let old = bench.write(102);
    bench.write(102);
    bench.store(103, &old[BYTES..]);
    let failure = bench.only_failure(102);
    assert_eq!((failure.lba, failure.offset()), (Lba(103), 103 * 512));
    assert_eq!(
        (failure.expected.as_slice(), failure.found),
        ([2].as_slice(), Found::Stale { generation: 1 })
    );
    assert_eq!(&failure.head[..8], b"REMORAv1");
}

#[test]
fn lost_and_zeroed_first_writes_are_found() {
    let mut bench = Bench::new();
    bench.write(100);
    bench.store(100, &[9; BYTES]);
    bench.store(101, &[0; BYTES]);
    let failures = bench.read(100);
    assert_eq!(
        failures.iter().map(|failure| failure.found).collect::<Vec<_>>(),
        [Found::Foreign, Found::Zeroes]
    );
}

#[test]
fn a_misplaced_block_is_found_where_it_came_to_and_where_it_was_never_written() {
    let mut bench = Bench::new();
    let data = bench.write(102);
    bench.store(105, &data[..BYTES]);
    assert_eq!(bench.only_failure(105).found, Found::Misplaced { lba: Lba(102), generation: 1 });
    bench.store(103, &data[..BYTES]);
    assert_eq!(bench.only_failure(102).found, Found::Misplaced { lba: Lba(102), generation: 1 });
}

#[test]
fn a_torn_block_is_found_with_both_of_its_parts() {
    let mut bench = Bench::new();
    let old = bench.write(102);
    let new = bench.write(102);
    let tear = |first: &[u8], second: &[u8]| {
        let mut bytes = first[..256].to_vec();
        bytes.extend_from_slice(&second[256..BYTES]);
        bytes
    };
    for (first, second, generation, rest) in [
        (&new, &old, 2, Rest::Generation(1)),
        (&old, &new, 1, Rest::Generation(2)),
        (&new, &vec![0; BYTES], 2, Rest::Zeroes),
        (&new, &vec![5; BYTES], 2, Rest::Other),
    ] {
        bench.store(102, &tear(first, second));
        let failure = bench.only_failure(102);
        assert_eq!(failure.found, Found::Torn { generation, bytes: 256, rest });
    }
}

#[test]
fn a_damaged_bit_is_found() {
    let mut bench = Bench::new();
    let mut data = bench.write(102);
    data[500] ^= 1;
    bench.store(102, &data);
    assert_eq!(bench.only_failure(102).found, Found::Torn { generation: 1, bytes: 500, rest: Rest::Other });
    data[500] ^= 1;
    data[3] ^= 1;
    bench.store(102, &data);
    assert_eq!(bench.only_failure(102).found, Found::Foreign);
}

#[test]
fn another_runs_block_and_one_from_the_future_are_found() {
    let mut bench = Bench::new();
    bench.write(102);
    let mut block = [0; BYTES];
    Stamp { run: 76, lba: 102, generation: 1, job: 1 }.write(&mut block);
    bench.store(102, &block);
    assert_eq!(bench.only_failure(102).found, Found::OtherRun);
    Stamp { run: 77, lba: 102, generation: 2, job: 1 }.write(&mut block);
    bench.store(102, &block);
    assert_eq!(bench.only_failure(102).found, Found::Unwritten { generation: 2 });
}

#[test]
fn each_block_of_a_write_in_flight_may_be_old_or_new_but_not_a_third() {
    let mut bench = Bench::new();
    let first = bench.write(102);
    bench.write(102);
    let third = bench.begin_write(1, 102);
    bench.begin_read(2, 102);
    bench.store(102, &third[..BYTES]);
    assert_eq!(bench.end_read(2, 102), []);
    bench.begin_read(2, 102);
    bench.store(103, &first[BYTES..]);
    let failures = bench.end_read(2, 102);
    assert_eq!(failures[0].expected, [2, 3]);
    bench.store(102, &third);
    bench.end_write(1, 102, WriteEnd::Done { durable: false });
    assert_eq!(bench.read(102), []);
}

#[test]
fn a_write_in_limbo_may_land_at_any_time_until_a_reset() {
    let mut bench = Bench::new();
    bench.write(102);
    let zombie = bench.begin_write(1, 102);
    bench.checker.abandon_write(1, BlockRange::new(Lba(102), 2));
    bench.write(102);
    assert_eq!(bench.read(102), []);
    bench.store(102, &zombie);
    assert_eq!(bench.read(102), []);
    bench.checker.event(Event::IncarnationChanged(Incarnation(1)));
    bench.write(102);
    assert_eq!(bench.read(102), []);
    bench.store(102, &zombie);
    assert_eq!(bench.read(102).len(), 2);
}

#[test]
fn what_a_flush_covered_must_survive_a_reset() {
    let mut bench = Bench::new();
    let old = bench.write(102);
    let covered = bench.write(102);
    let flush = bench.checker.begin_flush();
    bench.checker.end_flush(flush);
    bench.write(102);
    bench.checker.event(Event::IncarnationChanged(Incarnation(1)));
    bench.store(102, &covered);
    assert_eq!(bench.read(102), []);
    bench.store(102, &old);
    let failures = bench.read(102);
    assert_eq!(
        (failures[0].expected.as_slice(), failures[0].found),
        ([2, 3].as_slice(), Found::Stale { generation: 1 })
    );
}

#[test]
fn written_blocks_are_found_for_reading_back() {
    let mut bench = Bench::new();
    assert_eq!(bench.checker.next_written(Lba(100)), None);
    bench.write(101);
    bench.write(103);
    bench.write(106);
    let range = |start, blocks| Some(BlockRange::new(Lba(start), blocks));
    assert_eq!(bench.checker.next_written(Lba(100)), range(101, 2));
    assert_eq!(bench.checker.next_written(Lba(103)), range(103, 2));
    assert_eq!(bench.checker.next_written(Lba(105)), range(106, 2));
    assert_eq!(bench.checker.next_written(Lba(107)), range(107, 1));
}
