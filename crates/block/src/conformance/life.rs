//! Queues and threads that come and go.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use nvme_spec::Lba;

use super::Subject;
use super::pattern::Dice;
use super::rig::{CHUNKS, PATIENCE, Rig, open_queue, sleeper};
use crate::queue::Wait;
use crate::request::{BlockRange, Op, Request};
use crate::sleep::Sleeper;
use crate::time::Timestamp;

/// A sleep as long as this that a completion did not end has lost a wake-up; shorter ones are the queue's own pauses.
const LONG_SLEEP: Duration = Duration::from_millis(500);

/// A queue dropped with requests in flight gives all memory back, once the device is done, and the device goes on.
pub fn abandoned_requests_give_their_memory_back(subject: &Subject) {
    let mut rig = Rig::new(subject, 16);
    for round in 0..6 {
        let mut queue = open_queue(&rig.device, 16);
        let ops = [Op::Write { fua: round % 2 == 0 }, Op::Read];
        let request = |at: u64| {
            let op = ops[at as usize % 2];
            Request::new(op, BlockRange::new(Lba(at), 1), rig.data_for(op, 1))
        };
        let mut requests: VecDeque<_> = (0..u64::from(CHUNKS) / 2).map(request).collect();
        queue.submit(&mut requests, rig.clock.now());
        if round == 5 {
            queue.poll(&mut Vec::new(), rig.clock.now());
        }
        drop(queue);
        drop(requests);
        wait_for_memory(&rig);
        rig.write(0, 1, round + 1);
        rig.expect(0, 1, round + 1);
    }
}

fn wait_for_memory(rig: &Rig) {
    let end = rig.clock.now().after(PATIENCE);
    let mut sleeper = Sleeper::new().unwrap();
    while rig.pool.available() < CHUNKS as usize {
        assert!(rig.clock.now() < end, "{} of {CHUNKS} chunks came back", rig.pool.available());
        sleeper.sleep_until(Timestamp::default(), Timestamp::from_ns(200_000)).unwrap();
    }
}

/// A queue keeps its device alive.
pub fn queues_outlive_handles(subject: &Subject) {
    let rig = Rig::new(subject, 4);
    let read = Request::new(Op::Read, BlockRange::new(Lba(0), 1), rig.data_for(Op::Read, 1));
    let Rig { device, mut queue, clock, pool, .. } = rig;
    drop(device);
    let (mut completions, end) = (Vec::new(), clock.now().after(PATIENCE));
    queue.submit(&mut VecDeque::from([read]), clock.now());
    while completions.is_empty() {
        assert!(clock.now() < end, "the request has not ended");
        queue.poll(&mut completions, clock.now());
    }
    assert_eq!(completions[0].result, Ok(()));
    drop((completions, queue));
    assert_eq!(pool.available(), CHUNKS as usize);
}

/// Threads with queues of their own, on blocks of their own.
pub fn several_threads_at_once(subject: &Subject) {
    let device = (subject.make)();
    std::thread::scope(|scope| {
        for thread in 0..3u64 {
            let device = Arc::clone(&device);
            scope.spawn(move || {
                let mut rig = Rig::on(device, subject.keeps_data, 4);
                let mut dice = Dice::new(thread);
                let blocks_max = rig.blocks_max().min(16);
                for version in 1..40 {
                    let blocks = 1 + dice.below(blocks_max);
                    let start = thread * 64 + dice.below(64 - blocks + 1);
                    rig.write(start, blocks, version);
                    rig.expect(start, blocks, version);
                }
            });
        }
    });
}

/// Whoever sleeps as the queue says is woken by the completion.
pub fn sleeping_loses_no_wake_up(subject: &Subject) {
    let mut rig = Rig::new(subject, 4);
    let mut sleeper = sleeper(&*rig.queue);
    for round in 0..100 {
        // Durable writes take their time, where a read may be answered at once by a cache or a hole.
        let writes = round % 2 == 0 && rig.has(Op::Write { fua: true });
        let op = if writes { Op::Write { fua: true } } else { Op::Read };
        let request = Request::new(op, BlockRange::new(Lba(round), 1), rig.data_for(op, 1));
        let (mut requests, mut completions) = (VecDeque::from([request]), Vec::new());
        rig.queue.submit(&mut requests, rig.clock.now());
        let end = rig.clock.now().after(PATIENCE);
        while completions.is_empty() {
            let before = rig.clock.now();
            assert!(before < end, "the request has not ended");
            let until = match rig.queue.prepare_wait(before) {
                Wait::Poll => before,
                Wait::Until(until) => until.min(end),
            };
            sleeper.sleep_until(before, until).unwrap();
            rig.queue.poll(&mut completions, rig.clock.now());
            // A long sleep that ended by time alone, with a completion there.
            let overslept = until.since(before) >= LONG_SLEEP && rig.clock.now() >= until;
            assert!(completions.is_empty() || !overslept, "a wake-up was lost in round {round}");
        }
    }
    assert!(matches!(rig.queue.prepare_wait(rig.clock.now()), Wait::Until(_)), "an idle queue lets sleep");
}
