//! Windows close when they are unbound, invalidated by the peer, or their queue pair goes.

use super::Subject;
use super::pattern::assert_same;
use super::rig::{Half, Link, Rig, Setup};
use super::traffic::{Window, read, send, send_invalidate, write};
use super::{pattern, side};
use crate::provider::{Device, Endpoint};
use crate::work::{Rights, WorkError};

/// A SEND with invalidate closes the window before its receive completes, says so, and lets go of the memory.
pub fn an_invalidated_window_is_unbound<S: Subject>(subject: &S) {
    let mut rig = Rig::new(subject);
    for direction in 0..2 {
        let link = rig.pair(&Setup::default());
        let (from, to) = link.both_ways()[direction];
        let doomed = rig.window(to, 1, 500, Rights::READ | Rights::WRITE);
        let kept = rig.window(to, 2, 500, Rights::READ);
        for size in [0, 3000] {
            let (key, window) = if size == 0 {
                let other = rig.window(to, 3, 10, Rights::READ);
                (other.memory.key, Some(other))
            } else {
                (doomed.memory.key, None)
            };
            rig.receive(to, 1, 4096);
            let data = rig.side(from).numbered(1, size);
            rig.post(from, [send_invalidate(1, data, key)]);
            let (_, message, bytes) = rig.message(to);
            assert_eq!(message.invalidated, Some(key));
            assert_same(&bytes, &pattern::bytes(1, size), "a message that invalidates");
            rig.sent_well(from, 1);
            drop(window);
        }
        // The chunk is the test's alone again.
        let Window { segment, memory } = doomed;
        assert!(dma::DmaBuf::from_segment(segment).is_ok(), "the window holds memory after its end");
        let data = rig.side(from).empty(500);
        rig.post(from, [read(2, data, kept.memory)]);
        assert_same(&side::bytes_of(&rig.sent_well(from, 2)), &pattern::bytes(2, 500), "another window");
        let data = rig.side(from).numbered(4, 100);
        rig.post(from, [write(3, data, memory)]);
        assert_eq!(rig.sent(from).result, Err(WorkError::RemoteAccess));
        rig.at_rest(from);
        rig.at_rest(to);
        drop(kept);
    }
    rig.finish();
}

/// When `unbind` has returned the memory is out of reach; unbinding again is no error.
pub fn unbound_windows_are_closed<S: Subject>(subject: &S) {
    let mut rig = Rig::new(subject);
    for writes in [false, true] {
        let link = rig.pair(&Setup::default());
        let window = rig.window(link.server, 1, 500, Rights::READ | Rights::WRITE);
        let data = rig.client().numbered(2, 500);
        rig.post(link.client, [write(1, data, window.memory)]);
        rig.sent_well(link.client, 1);
        unbind(&mut rig, link.server, &window);
        unbind(&mut rig, link.server, &window);
        let data = rig.client().numbered(3, 500);
        let work = if writes { write(2, data, window.memory) } else { read(2, data, window.memory) };
        rig.post(link.client, [work]);
        let sent = rig.sent(link.client);
        assert_eq!(sent.result, Err(WorkError::RemoteAccess));
        if !writes {
            let untouched = side::bytes_of(&sent.data);
            assert_same(&untouched, &pattern::bytes(3, 500), "the target of a READ that was refused");
        }
        assert_same(&window.bytes(), &pattern::bytes(2, 500), "what the window had");
        rig.at_rest(link.client);
        rig.at_rest(link.server);
        unbind(&mut rig, link.server, &window);
        assert!(dma::DmaBuf::from_segment(window.segment).is_ok(), "the window holds memory after its end");
    }
    rig.finish();
}

fn unbind<D: Device>(rig: &mut Rig<D>, half: Half, window: &Window) {
    rig.side(half).endpoint.unbind(half.queue_pair, window.memory.key);
}

/// Windows go with their queue pair, and their memory comes back; keys are hard to guess and not given twice in a row.
pub fn a_window_ends_with_its_queue_pair<S: Subject>(subject: &S) {
    let mut rig = Rig::new(subject);
    let mut keys = Vec::new();
    for _ in 0..4 {
        let Link { client, server } = rig.pair(&Setup::default());
        for half in [client, server] {
            for number in 0..8 {
                let window = rig.window(half, number, 64, Rights::READ);
                keys.push((half.at, window.memory.key));
            }
        }
        rig.destroy(server);
        rig.at_rest(client);
        rig.destroy(client);
        rig.memory_is_back();
    }
    let count = keys.len();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), count, "a key was given twice");
    rig.finish();
}

/// A peer that invalidates what is not bound to this queue pair loses the connection, and nothing is invalidated.
pub fn invalidating_what_is_not_bound_ends_the_connection<S: Subject>(subject: &S) {
    let mut rig = Rig::new(subject);
    let link = rig.pair(&Setup::default());
    let other = rig.pair(&Setup::default());
    let window = rig.window(other.server, 1, 100, Rights::READ);
    rig.receive(link.server, 1, 64);
    rig.receive(link.server, 2, 64);
    let data = rig.client().data(b"away with it");
    rig.post(link.client, [send_invalidate(1, data, window.memory.key)]);
    let received = rig.received(link.server);
    assert!(received.result.is_err(), "{:?}", received.result);
    drop(received);
    rig.at_rest(link.server);
    rig.destroy(link.server);
    rig.at_rest(link.client);
    let data = rig.client().empty(100);
    rig.receive(other.server, 3, 64);
    let note = rig.client().data(b"fine");
    rig.post(other.client, [read(2, data, window.memory), send(3, note)]);
    let data = side::bytes_of(&rig.sent_well(other.client, 2));
    assert_same(&data, &pattern::bytes(1, 100), "the other queue pair's window");
    rig.sent_well(other.client, 3);
    rig.message(other.server);
    drop(window);
    rig.finish();
}
