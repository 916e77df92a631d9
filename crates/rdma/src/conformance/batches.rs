//! Work in batches: order, reports, and room.

use std::collections::VecDeque;

use super::Subject;
use super::pattern::{self, assert_same};
use super::rig::{OPTIONS, QUIET, Rig, Setup};
use super::traffic::{read, send, unsignaled, write};
use crate::connection::QueuePairOptions;
use crate::work::{Data, InlineData, Rights};

/// A batch of everything is carried out in order: each message tells of what was written before it.
pub fn batches_keep_their_order<S: Subject>(subject: &S) {
    const ROUNDS: u64 = 8;
    let mut rig = Rig::new(subject);
    let link = rig.pair(&Setup::default());
    let window = rig.window(link.server, 0, 8192, Rights::all());
    (0..ROUNDS).for_each(|id| rig.receive(link.server, id, 2048));
    let mut batch = Vec::new();
    for round in 0..ROUNDS {
        let place = window.at(1000 * round);
        batch.push(write(4 * round, rig.client().numbered(round, 1000), place));
        batch.push(send(4 * round + 1, rig.client().numbered(100 + round, 1 + 200 * round as usize)));
        batch.push(read(4 * round + 2, rig.client().empty(1000), place));
        let tail = InlineData::new(&[round as u8; 8]).unwrap();
        batch.push(write(4 * round + 3, Data::Inline(tail), place));
    }
    rig.post(link.client, batch);
    for round in 0..ROUNDS {
        rig.sent_well(link.client, 4 * round);
        rig.sent_well(link.client, 4 * round + 1);
        let data = super::side::bytes_of(&rig.sent_well(link.client, 4 * round + 2));
        // What follows a READ without a fence may overtake the taking of its data, but not by halves of a packet.
        assert_same(&data[8..], &pattern::bytes(round, 1000)[8..], "what was read after it was written");
        rig.sent_well(link.client, 4 * round + 3);
        let (id, _, bytes) = rig.message(link.server);
        assert_eq!(id, round);
        assert_same(&bytes, &pattern::bytes(100 + round, 1 + 200 * round as usize), "a message of a batch");
    }
    drop(window);
    rig.finish();
}

/// Fast work behind slow work reports behind it.
pub fn completions_come_in_order_of_posting<S: Subject>(subject: &S) {
    let mut rig = Rig::new(subject);
    let link = rig.pair(&Setup::default());
    let window = rig.window(link.server, 1, 8192, Rights::all());
    for round in 0..10 {
        (0..4).for_each(|id| rig.receive(link.server, id, 16));
        let mut batch = Vec::new();
        for id in 0..4 {
            batch.push(read(2 * id, rig.client().empty(8000), window.memory));
            batch.push(send(2 * id + 1, Data::Inline(InlineData::new(&[round]).unwrap())));
        }
        rig.post(link.client, batch);
        (0..8).for_each(|id| drop(rig.sent_well(link.client, id)));
        (0..4).for_each(|id| assert_eq!(rig.message(link.server).0, id));
    }
    drop(window);
    rig.finish();
}

/// Work that is not signaled succeeds in silence, and its memory is let go when later work completes.
pub fn unsignaled_work_lets_go_of_its_memory<S: Subject>(subject: &S) {
    const SILENT: u64 = 10;
    let mut rig = Rig::new(subject);
    let link = rig.pair(&Setup::default());
    let window = rig.window(link.server, 0, 4096, Rights::all());
    for round in 0..5 {
        rig.receive(link.server, round, 4096);
        let mut batch: Vec<_> = (0..SILENT)
            .map(|id| unsignaled(write(id, rig.client().numbered(id, 400), window.at(400 * id))))
            .collect();
        batch.push(send(SILENT, rig.client().numbered(9, 4000)));
        rig.post(link.client, batch);
        drop(rig.sent_well(link.client, SILENT));
        assert_eq!(rig.client().chunks_held(), 0, "chunks of unsignaled work are still held");
        assert!(!rig.has_completion(link.client), "unsignaled work reported success");
        rig.message(link.server);
        let wanted: Vec<_> = (0..SILENT).flat_map(|id| pattern::bytes(id, 400)).collect();
        assert_same(&window.bytes()[..4000], &wanted, "what was written in silence");
    }
    drop(window);
    rig.finish();
}

/// A send queue takes what it has room for and leaves the rest; there is room again when work has completed.
pub fn a_full_send_queue_hands_back<S: Subject>(subject: &S) {
    const DEPTH: u32 = 4;
    const WORK: u64 = 100;
    let mut rig = Rig::new(subject);
    let shallow = QueuePairOptions { send_depth: DEPTH, ..OPTIONS };
    let link = rig.pair(&Setup { client: shallow, ..Default::default() });
    let message = |id: u64| send(id, Data::Inline(InlineData::new(&id.to_le_bytes()).unwrap()));
    let mut work: VecDeque<_> = (0..WORK).map(message).collect();
    rig.try_post(link.client, &mut work).unwrap();
    let taken = WORK as usize - work.len();
    assert!((DEPTH as usize..WORK as usize).contains(&taken), "{taken} pieces were taken");
    rig.try_post(link.client, &mut work).unwrap();
    assert_eq!(WORK as usize - work.len(), taken, "nothing has completed, and there was room");
    rig.run_for(QUIET);
    for id in 0..WORK {
        rig.receive(link.server, id, 8);
        assert_eq!(rig.message(link.server).2, id.to_le_bytes());
        rig.sent_well(link.client, id);
        rig.try_post(link.client, &mut work).unwrap();
    }
    assert!(work.is_empty());
    rig.finish();
}
