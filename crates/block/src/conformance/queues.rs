//! Requests in and out of a queue.

use std::collections::VecDeque;

use nvme_spec::Lba;

use super::Subject;
use super::rig::{PATIENCE, Rig};
use crate::error::{IoError, OpenQueueError};
use crate::queue::QueueOptions;
use crate::request::{BlockRange, Op, Request};
use crate::time::Timestamp;

/// A queue takes what it has room for, in order, hands the rest back, and gives each request back exactly once.
pub fn full_queues_hand_back(subject: &Subject) {
    let mut rig = Rig::new(subject, 5);
    let depth = rig.queue.depth();
    assert!(depth >= 1 && rig.queue.in_flight() == 0);
    let total = 4 * depth.min(100) as u64 + 3;
    // One in three is wrong: refusals take room and end like everything else.
    let start = |tag: u64| if tag % 3 == 2 { rig.geometry().blocks } else { tag % 200 };
    let ops = [Op::Flush, Op::Verify, Op::Discard];
    let request = |tag: u64| match ops[tag as usize % 3] {
        Op::Flush => Request::flush().with_tag(tag),
        op => Request::new(op, BlockRange::new(Lba(start(tag)), 1), Default::default()).with_tag(tag),
    };
    let mut requests: VecDeque<_> = (0..total).map(request).collect();
    let (mut completions, end) = (Vec::new(), rig.clock.now().after(PATIENCE));
    while completions.len() < total as usize {
        rig.queue.submit(&mut requests, rig.clock.now());
        assert!(rig.queue.in_flight() <= depth);
        assert!(
            requests.iter().zip(requests.iter().skip(1)).all(|(a, b)| a.tag + 1 == b.tag),
            "out of order"
        );
        let before = completions.len();
        let in_flight = rig.queue.in_flight();
        rig.wait(end);
        rig.queue.poll(&mut completions, rig.clock.now());
        assert!(completions.len() - before <= depth);
        assert_eq!(rig.queue.in_flight(), in_flight - (completions.len() - before));
    }
    let mut tags: Vec<_> = completions.iter().map(|completion| completion.request.tag).collect();
    tags.sort_unstable();
    assert_eq!(tags, (0..total).collect::<Vec<_>>());
    assert_eq!(rig.queue.in_flight(), 0);
}

/// A flush has no range; it and FUA are accepted and end once, also many at once.
pub fn flush_and_fua_end_once(subject: &Subject) {
    let mut rig = Rig::new(subject, 16);
    let mut requests: Vec<_> = (0..8).map(|tag| Request::flush().with_tag(tag)).collect();
    if rig.has(Op::Write { fua: true }) {
        let write = |tag| {
            Request::new(Op::Write { fua: true }, BlockRange::new(Lba(tag), 1), rig.data_for(Op::Read, 1))
        };
        requests.extend((8..16).map(|tag| write(tag).with_tag(tag)));
    }
    let total = requests.len() as u64;
    let done = rig.run(requests);
    assert!(done.iter().all(|completion| completion.result == Ok(())));
    let mut tags: Vec<_> = done.iter().map(|completion| completion.request.tag).collect();
    tags.sort_unstable();
    assert_eq!(tags, (0..total).collect::<Vec<_>>());
}

/// A deadline that has passed at submission ends the request with the next poll, and its memory comes back.
pub fn deadlines_are_kept(subject: &Subject) {
    let mut rig = Rig::new(subject, 4);
    let now = rig.clock.now().after_ns(1000);
    let read = |rig: &Rig, deadline| {
        Request::new(Op::Read, BlockRange::new(Lba(0), 1), rig.data_for(Op::Read, 1)).with_deadline(deadline)
    };
    let mut requests = VecDeque::from([
        read(&rig, now),
        read(&rig, Timestamp::default()),
        Request::flush().with_deadline(now),
    ]);
    let mut completions = Vec::new();
    rig.queue.submit(&mut requests, now);
    rig.queue.poll(&mut completions, now);
    assert_eq!((completions.len(), rig.queue.in_flight()), (3, 0));
    assert!(completions.iter().all(|completion| completion.result == Err(IoError::TimedOut)));
    let later = rig.clock.now().after(PATIENCE);
    let read = read(&rig, later);
    assert_eq!(rig.run([read]).remove(0).result, Ok(()));
}

/// No queue of depth 0; one of depth 1 works.
pub fn queue_depths_are_bounded(subject: &Subject) {
    let mut rig = Rig::new(subject, 1);
    let none = QueueOptions { depth: 0, wake: Default::default() };
    assert!(matches!(rig.device.open_queue(none), Err(OpenQueueError::Depth { depth: 0, .. })));
    for version in 1..4 {
        rig.write(0, 1, version);
        rig.expect(0, 1, version);
    }
}

/// A device to which nothing happens reports nothing.
pub fn nothing_is_reported_without_cause(subject: &Subject) {
    let mut rig = Rig::new(subject, 4);
    assert_eq!(rig.queue.poll_event(), None);
    rig.write(0, 1, 1);
    let beyond = rig.geometry().blocks;
    assert!(rig.try_op(Op::Read, beyond, 1).is_err());
    assert_eq!(rig.run([Request::flush()]).remove(0).result, Ok(()));
    assert_eq!(rig.queue.poll_event(), None);
}
