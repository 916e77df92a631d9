//! RDMA WRITE and READ: the data, and its order.

use super::Subject;
use super::messages::sizes;
use super::pattern::{self, assert_same};
use super::rig::{Rig, Setup};
use super::side::bytes_of;
use super::traffic::{fenced, read, send, unsignaled, write};
use crate::connection::ConnectionParameters;
use crate::provider::{Device, Endpoint};
use crate::work::{Data, InlineData, Rights};

/// WRITEs of every size arrive, both ways.
pub fn writes_of_all_sizes_arrive<S: Subject>(subject: &S) {
    let mut rig = Rig::new(subject);
    let link = rig.pair(&Setup::default());
    let sizes = sizes(rig.client().device.info().mtu.bytes());
    for (from, to) in link.both_ways() {
        for (id, size) in (1..).zip(sizes.iter().skip(1)) {
            let window = rig.window(to, 0, *size, Rights::WRITE);
            let data = rig.side(from).numbered(id, *size);
            rig.post(from, [write(id, data, window.memory)]);
            rig.sent_well(from, id);
            assert_same(&window.bytes(), &pattern::bytes(id, *size), "what was written");
            assert!(!rig.has_completion(to), "the peer of a WRITE is not told");
            rig.side(to).endpoint.unbind(to.queue_pair, window.memory.key);
        }
    }
    rig.finish();
}

/// A WRITE into the middle changes nothing beside it, whatever the pieces that it comes from.
pub fn writes_stay_inside<S: Subject>(subject: &S) {
    let mut rig = Rig::new(subject);
    let link = rig.pair(&Setup::default());
    let window = rig.window(link.server, 9, 8192, Rights::WRITE);
    let mut wanted = pattern::bytes(9, 8192);
    for (id, (offset, size)) in (1..).zip([(0, 1), (1, 3), (100, 1025), (4095, 2), (8191, 1), (3, 5000)]) {
        let bytes = pattern::bytes(id, size);
        let list = rig.client().scattered(&bytes, &[1, 7]);
        rig.post(link.client, [write(id, Data::Memory(list), window.at(offset as u64))]);
        rig.sent_well(link.client, id);
        wanted[offset..offset + size].copy_from_slice(&bytes);
        assert_same(&window.bytes(), &wanted, "the window");
    }
    let inline = InlineData::new(b"inline").unwrap();
    rig.post(link.client, [write(99, Data::Inline(inline), window.at(1000))]);
    rig.sent_well(link.client, 99);
    wanted[1000..1006].copy_from_slice(b"inline");
    assert_same(&window.bytes(), &wanted, "the window");
    drop(window);
    rig.finish();
}

/// When the SEND behind a WRITE has been received, the WRITE's data is there.
pub fn a_send_behind_a_write_finds_the_data<S: Subject>(subject: &S) {
    const BYTES: usize = 6000;
    let mut rig = Rig::new(subject);
    let link = rig.pair(&Setup::default());
    for (from, to) in link.both_ways() {
        let window = rig.window(to, 0, BYTES, Rights::WRITE);
        for round in 1..30 {
            rig.receive(to, round, 64);
            let data = rig.side(from).numbered(round, BYTES);
            let note = InlineData::new(&round.to_le_bytes()).unwrap();
            let batch =
                [unsignaled(write(round, data, window.memory)), send(round + 100, Data::Inline(note))];
            rig.post(from, batch);
            assert_eq!(rig.message(to).2, round.to_le_bytes());
            assert_same(&window.bytes(), &pattern::bytes(round, BYTES), "what was written before the SEND");
            rig.sent_well(from, round + 100);
        }
    }
    rig.finish();
}

/// READs of every size return the data, both ways, also into odd pieces.
pub fn reads_of_all_sizes_return_the_data<S: Subject>(subject: &S) {
    let mut rig = Rig::new(subject);
    let link = rig.pair(&Setup::default());
    let sizes = sizes(rig.client().device.info().mtu.bytes());
    for (from, to) in link.both_ways() {
        for (id, size) in (1..).zip(sizes.iter().skip(1)) {
            let window = rig.window(to, id, *size, Rights::READ);
            let data = rig.side(from).empty(*size);
            rig.post(from, [read(id, data, window.memory)]);
            let data = rig.sent_well(from, id);
            assert_same(&bytes_of(&data), &pattern::bytes(id, *size), "what was read");
            assert!(!rig.has_completion(to), "the peer of a READ is not told");
            rig.side(to).endpoint.unbind(to.queue_pair, window.memory.key);
        }
    }
    let window = rig.window(link.server, 7, 8192, Rights::READ);
    for (id, cuts) in (0..).zip([vec![1, 2, 3], vec![1023, 1, 1025], vec![4096, 1]]) {
        let list = rig.client().scattered(&[0; 7000], &cuts);
        rig.post(link.client, [read(id, Data::Memory(list), window.at(5))]);
        let data = rig.sent_well(link.client, id);
        assert_same(&bytes_of(&data), &pattern::bytes(7, 8192)[5..7005], "what was read into pieces");
    }
    drop(window);
    rig.finish();
}

/// More READs than may be outstanding wait their turn, and so does what is behind them in order of completion.
pub fn reads_beyond_the_depth_wait<S: Subject>(subject: &S) {
    const READS: u64 = 20;
    let mut rig = Rig::new(subject);
    for depth in [1, 2, 16] {
        let depths = ConnectionParameters { initiator_depth: depth, ..Default::default() };
        let link = rig.pair(&Setup { offer: depths, answer: depths, ..Default::default() });
        let window = rig.window(link.server, 3, 8192, Rights::READ | Rights::WRITE);
        rig.receive(link.server, 0, 64);
        let mut batch: Vec<_> = (0..READS)
            .map(|id| read(id, rig.client().empty(300 + 61 * id as usize), window.at(13 * id)))
            .collect();
        batch.push(send(READS, rig.client().data(b"behind")));
        rig.post(link.client, batch);
        for id in 0..READS {
            let data = bytes_of(&rig.sent_well(link.client, id));
            let start = 13 * id as usize;
            assert_same(&data, &pattern::bytes(3, 8192)[start..start + data.len()], "what was read");
        }
        rig.sent_well(link.client, READS);
        assert_eq!(rig.message(link.server).2, b"behind");
        drop(window);
    }
    rig.finish();
}

/// Work behind a fence begins when the reads before it are done: what was read can be sent on.
pub fn a_fence_waits_for_reads<S: Subject>(subject: &S) {
    const BYTES: usize = 20_000;
    let mut rig = Rig::new(subject);
    let link = rig.pair(&Setup::default());
    let source = rig.window(link.server, 5, BYTES, Rights::READ);
    let target = rig.window(link.server, 6, BYTES, Rights::WRITE);
    for round in 0..10 {
        let segment = rig.client().segment(&vec![0xee; BYTES]);
        let into = Data::Memory(segment.clone().into());
        let from = Data::Memory(segment.into());
        let batch = [read(2 * round, into, source.memory), fenced(write(2 * round + 1, from, target.memory))];
        rig.post(link.client, batch);
        rig.sent_well(link.client, 2 * round);
        rig.sent_well(link.client, 2 * round + 1);
        assert_same(&target.bytes(), &pattern::bytes(5, BYTES), "what was read and written back");
        target.segment.device_fill(0, BYTES as u32, 0).unwrap();
    }
    drop((source, target));
    rig.finish();
}

/// A WRITE and a READ of nothing succeed, and touch nothing.
pub fn empty_transfers_are_done<S: Subject>(subject: &S) {
    let mut rig = Rig::new(subject);
    let link = rig.pair(&Setup::default());
    let window = rig.window(link.server, 1, 64, Rights::READ | Rights::WRITE);
    let batch = [
        write(1, Data::Memory(Default::default()), window.memory),
        read(2, Data::Memory(Default::default()), window.memory),
        write(3, Data::Inline(InlineData::new(&[]).unwrap()), window.memory),
    ];
    rig.post(link.client, batch);
    [1, 2, 3].into_iter().for_each(|id| drop(rig.sent_well(link.client, id)));
    assert_same(&window.bytes(), &pattern::bytes(1, 64), "the window");
    drop(window);
    rig.finish();
}
