//! Many connections, at once and one after the other.

use super::Subject;
use super::pattern::{self, assert_same};
use super::rig::{Rig, SERVER, Setup};
use super::traffic::{read, send, write};
use crate::connection::{QueuePairOptions, ReceiveSource};
use crate::work::{Data, InlineData, RemoteKey, RemoteMemory, Rights, WorkError};

/// Small queues, so that many of them fit an endpoint's completions.
fn small() -> Setup {
    let options = QueuePairOptions { send_depth: 8, receives: ReceiveSource::Own(8) };
    Setup { client: options, server: options, ..Default::default() }
}

/// 64 queue pairs carry messages, writes and reads at the same time, and nothing is mixed up.
pub fn many_queue_pairs_at_once<S: Subject>(subject: &S) {
    const QUEUE_PAIRS: u64 = 64;
    const MESSAGES: u64 = 4;
    let mut rig = Rig::new(subject);
    let (_, to) = rig.listen(SERVER, 16);
    let links: Vec<_> = (0..QUEUE_PAIRS).map(|_| rig.pair_at(to, &small())).collect();
    let mut windows = Vec::new();
    for (number, link) in (0..).zip(&links) {
        (0..MESSAGES).for_each(|id| rig.receive(link.server, id, 4096));
        windows.push(rig.window(link.server, number, 2000, Rights::all()));
    }
    for (number, link) in (0..).zip(&links) {
        let window = &windows[number as usize];
        let mut batch = vec![read(100, rig.client().empty(1000), window.memory)];
        batch.push(write(101, rig.client().numbered(1000 + number, 1000), window.at(1000)));
        batch.extend((0..MESSAGES).map(|id| send(id, rig.client().numbered(number * MESSAGES + id, 700))));
        rig.post(link.client, batch);
    }
    for (number, link) in (0..).zip(&links) {
        for id in 0..MESSAGES {
            let bytes = rig.message(link.server).2;
            assert_same(&bytes, &pattern::bytes(number * MESSAGES + id, 700), "a message among many");
        }
        let data = super::side::bytes_of(&rig.sent_well(link.client, 100));
        assert_same(&data, &pattern::bytes(number, 2000)[..1000], "what was read among many");
        let written = &windows[number as usize].bytes()[1000..];
        assert_same(written, &pattern::bytes(1000 + number, 1000), "what was written among many");
    }
    drop(windows);
    rig.finish();
}

/// A connection that fails takes no other with it.
pub fn one_failure_leaves_the_others_alone<S: Subject>(subject: &S) {
    let mut rig = Rig::new(subject);
    let links: Vec<_> = (0..4).map(|_| rig.pair(&small())).collect();
    for (round, failing) in links.iter().enumerate() {
        for link in &links[round..] {
            rig.receive(link.server, 1, 64);
        }
        let nowhere = RemoteMemory { address: 4096, key: RemoteKey(0x1234_5678) };
        let data = rig.client().numbered(1, 100);
        rig.post(failing.client, [write(1, data, nowhere)]);
        for link in &links[round + 1..] {
            rig.post(link.client, [send(2, Data::Inline(InlineData::new(b"as ever").unwrap()))]);
            assert_eq!(rig.message(link.server).2, b"as ever");
            rig.sent_well(link.client, 2);
        }
        assert_eq!(rig.sent(failing.client).result, Err(WorkError::RemoteAccess));
        rig.at_rest(failing.client);
        rig.at_rest(failing.server);
    }
    rig.finish();
}

/// Connections are made and ended again and again, in changing manners; nothing runs out.
pub fn connections_come_and_go<S: Subject>(subject: &S) {
    let mut rig = Rig::new(subject);
    let (_, to) = rig.listen(SERVER, 4);
    for round in 0..60 {
        let link = rig.pair_at(to, &small());
        rig.receive(link.server, 1, 64);
        rig.receive(link.client, 2, 64);
        rig.post(link.client, [send(1, Data::Inline(InlineData::new(&[round]).unwrap()))]);
        assert_eq!(rig.message(link.server).2, [round]);
        match round % 4 {
            0 => rig.disconnect(link.client),
            1 => rig.disconnect(link.server),
            2 => rig.destroy(link.client),
            _ => rig.destroy(link.server),
        }
        for half in [link.client, link.server] {
            rig.at_rest(half);
            rig.destroy(half);
        }
    }
    rig.memory_is_back();
    rig.finish();
}
