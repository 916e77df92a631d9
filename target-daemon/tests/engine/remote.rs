//! The engine and the initiator: a namespace as a block device in the same process.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use block::{
    BlockDevice, BlockQueue, BlockRange, Lba, MonotonicClock, Op, OpenOptions, Openers, QueueOptions,
    Request, Scheme, Sleeper, WakeMode,
};
use dma::{DmaBuf, MemoryOptions, Pool, PoolOptions};

use super::rig::{SUBSYSTEM, buffers, engine, export, open};

fn remote(to: &str, local: &str, more: &str) -> Arc<dyn BlockDevice> {
    let mut openers = Openers::with_builtin();
    openers.register(Scheme::Rdma, Box::new(initiator::open_rdma));
    let host = "nqn.2014-08.org.example:remote&hostid=00112233-4455-6677-8899-aabbccddeeff";
    let uri = format!("rdma://{to}/{SUBSYSTEM}?ns=1&local={local}&provider=soft&hostnqn={host}{more}");
    openers.open_text(&uri, &OpenOptions::READ_WRITE).unwrap()
}

/// Carries out one request.
fn carry_out(queue: &mut dyn BlockQueue, request: Request) -> Request {
    let clock = MonotonicClock::start();
    let mut sleeper = Sleeper::new().unwrap();
    let mut descriptors = Vec::new();
    queue.wake_descriptors(&mut descriptors);
    descriptors.into_iter().for_each(|descriptor| sleeper.add(descriptor).unwrap());
    let mut requests = VecDeque::from([request]);
    let mut completions = Vec::new();
    let end = clock.now().after(Duration::from_secs(20));
    while completions.is_empty() {
        assert!(clock.now() < end, "no completion");
        queue.submit(&mut requests, clock.now());
        queue.poll(&mut completions, clock.now());
        std::thread::yield_now();
    }
    let done = completions.pop().unwrap();
    assert_eq!(done.result, Ok(()));
    done.request
}

#[test]
fn what_is_written_is_read_in_all_sizes() {
    let (engine, to) = engine("127.0.83.1", 2, buffers());
    export(&engine, 1, &open("mem:64MiB?bs=4096"));
    let device = remote(&to.to_string(), "127.0.83.2", "&queues=2");
    assert_eq!((device.geometry().block_size.bytes(), device.geometry().blocks), (4096, 16 << 10));
    let memory = MemoryOptions { ordinary_pages: true, ..Default::default() };
    let pool = Pool::new(PoolOptions { chunk_bytes: 4 << 20, chunks: 2, memory }).unwrap();
    device.attach_memory(pool.region()).unwrap();
    let mut queue = device.open_queue(QueueOptions { depth: 16, wake: WakeMode::Polled }).unwrap();
    for (number, blocks) in [1_u32, 2, 3, 31, 256, 1024].into_iter().enumerate() {
        let bytes = blocks * 4096;
        let range = BlockRange::new(Lba(100), u64::from(blocks));
        let mut buffer = pool.take().unwrap();
        buffer.truncate(bytes);
        for offset in (0..bytes).step_by(512) {
            buffer.write(offset, &(offset + number as u32).to_le_bytes()).unwrap();
        }
        let write = Request::new(Op::Write { fua: number % 2 == 0 }, range, buffer.into_segment().into());
        let expected = carry_out(&mut *queue, write).data;
        carry_out(&mut *queue, Request::flush());
        let mut buffer = pool.take().unwrap();
        buffer.truncate(bytes);
        let read = Request::new(Op::Read, range, buffer.into_segment().into());
        let found = carry_out(&mut *queue, read).data.into_single().unwrap();
        let (mut left, mut right) = (vec![0; bytes as usize], vec![0; bytes as usize]);
        expected.read(0, &mut left).unwrap();
        DmaBuf::from_segment(found).unwrap().read(0, &mut right).unwrap();
        assert!(left == right, "{blocks} blocks");
    }
    assert_eq!(engine.status().reactors.iter().map(|reactor| reactor.violations).sum::<u64>(), 0);
}
