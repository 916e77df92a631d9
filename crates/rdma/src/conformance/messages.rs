//! SENDs arrive whole, once and in order.

use super::Subject;
use super::pattern::{self, assert_same};
use super::rig::{Rig, Setup};
use super::traffic::send;
use crate::provider::{Device, Endpoint};
use crate::work::{Data, INLINE_BYTES_MAX, InlineData};

/// The lengths at which packets begin and end, and the largest.
pub(super) fn sizes(mtu: u32) -> Vec<usize> {
    let mtu = mtu as usize;
    vec![0, 1, 2, 3, 4, 5, mtu - 1, mtu, mtu + 1, 2 * mtu - 1, 2 * mtu, 2 * mtu + 1, 7 * mtu + 3, 1 << 20]
}

/// Messages of every size arrive, both ways.
pub fn messages_of_all_sizes_arrive<S: Subject>(subject: &S) {
    let mut rig = Rig::new(subject);
    let link = rig.pair(&Setup::default());
    let sizes = sizes(rig.client().device.info().mtu.bytes());
    for (from, to) in link.both_ways() {
        for (id, size) in (0..).zip(&sizes) {
            // One byte more than the message, to see that nothing is written behind it.
            rig.receive(to, id, *size as u32 + 1);
            let data = rig.side(from).numbered(id, *size);
            rig.post(from, [send(id, data)]);
            let (received, message, bytes) = rig.message(to);
            assert_eq!((received, message.bytes as usize), (id, *size));
            assert_eq!((message.invalidated, message.immediate), (None, None));
            assert_same(&bytes, &pattern::bytes(id, *size), "a message");
            rig.sent_well(from, id);
        }
    }
    rig.finish();
}

/// Inline data needs no memory, and an empty message no receive buffer worth the name.
pub fn inline_data_is_copied_at_once<S: Subject>(subject: &S) {
    let mut rig = Rig::new(subject);
    let link = rig.pair(&Setup::default());
    for (from, to) in link.both_ways() {
        for (id, size) in (0..).zip([0, 1, 3, 16, INLINE_BYTES_MAX]) {
            rig.receive(to, id, INLINE_BYTES_MAX as u32);
            let data = InlineData::new(&pattern::bytes(id, size)).unwrap();
            rig.post(from, [send(id, Data::Inline(data))]);
            assert_same(&rig.message(to).2, &pattern::bytes(id, size), "an inline message");
            let back = rig.sent_well(from, id);
            assert_eq!(back.bytes(), size as u64, "the data comes back");
        }
    }
    rig.finish();
}

/// Data in odd pieces arrives in one.
pub fn odd_scatter_lists_arrive<S: Subject>(subject: &S) {
    let mut rig = Rig::new(subject);
    let link = rig.pair(&Setup::default());
    let mtu = rig.client().device.info().mtu.bytes() as usize;
    let segments_max = rig.client().device.info().limits.segments_max as usize;
    let shapes = [
        vec![1],
        vec![1, 2, 3],
        vec![mtu - 1, 2, mtu - 1],
        vec![mtu, mtu],
        vec![7, mtu + 13, 1, 1, 1],
        vec![3; segments_max.min(16) - 1],
    ];
    for (id, cuts) in (0..).zip(shapes) {
        let cuts = &cuts[..cuts.len().min(segments_max - 1)];
        let size = cuts.iter().sum::<usize>() + 5;
        rig.receive(link.server, id, size as u32);
        let list = rig.client().scattered(&pattern::bytes(id, size), cuts);
        assert_eq!(list.segments().len(), cuts.len() + 1);
        rig.post(link.client, [send(id, Data::Memory(list))]);
        assert_same(&rig.message(link.server).2, &pattern::bytes(id, size), "a message in pieces");
        let Data::Memory(back) = rig.sent_well(link.client, id) else { panic!("memory comes back") };
        assert_eq!(back.segments().len(), cuts.len() + 1);
    }
    rig.finish();
}

/// Copies are counted: none where hardware does it, else none for sending and each byte once for receiving.
pub fn copies_are_counted<S: Subject>(subject: &S) {
    const BYTES: usize = 1 << 18;
    let mut rig = Rig::new(subject);
    let link = rig.pair(&Setup::default());
    let window = rig.window(link.server, 0, BYTES, crate::Rights::READ | crate::Rights::WRITE);
    let before = [rig.client().endpoint.counters(), rig.server().endpoint.counters()];
    rig.receive(link.server, 1, BYTES as u32);
    let data = rig.client().numbered(1, BYTES);
    rig.post(link.client, [send(1, data)]);
    rig.message(link.server);
    let data = rig.client().numbered(2, BYTES);
    rig.post(link.client, [super::traffic::write(2, data, window.memory)]);
    let data = rig.client().empty(BYTES);
    rig.post(link.client, [super::traffic::read(3, data, window.memory)]);
    [1, 2, 3].into_iter().for_each(|id| drop(rig.sent_well(link.client, id)));
    let copied = [
        rig.client().endpoint.counters().bytes_copied - before[0].bytes_copied,
        rig.server().endpoint.counters().bytes_copied - before[1].bytes_copied,
    ];
    let bytes = BYTES as u64;
    // Packets that were lost and sent again may be copied again.
    let is_soft = (bytes..=bytes + bytes / 4).contains(&copied[0])
        && (2 * bytes..=2 * bytes + bytes / 2).contains(&copied[1]);
    assert!(
        copied == [0, 0] || is_soft,
        "{copied:?} bytes were copied of {bytes} received and {} sent",
        2 * bytes
    );
    drop(window);
    rig.finish();
}
