//! A peer touches memory only through a bound window, inside its bounds, within its rights, on its queue pair.

use super::Subject;
use super::pattern::{self, assert_same};
use super::rig::{Link, Rig, Setup};
use super::side;
use super::traffic::{Window, read, send, write};
use crate::provider::Device;
use crate::work::{RemoteKey, RemoteMemory, Rights, WorkError};

const BYTES: usize = 6000;

/// Neither key 0 nor any key that was not given opens anything.
pub fn access_without_a_key_is_refused<S: Subject>(subject: &S) {
    for change in [u32::MAX, 1, 0x100, 0x5a00_0000] {
        refused_both_ways(subject, Rights::all(), BYTES, |window, _| RemoteMemory {
            key: RemoteKey(window.memory.key.0 ^ change),
            ..window.memory
        });
    }
    refused_both_ways(subject, Rights::all(), BYTES, |window, _| RemoteMemory {
        key: RemoteKey(0),
        ..window.memory
    });
}

/// Not a byte before or behind a window can be reached, however the numbers are chosen.
pub fn access_beyond_the_window_is_refused<S: Subject>(subject: &S) {
    refused_both_ways(subject, Rights::all(), BYTES, |window, _| window.at(1));
    refused_both_ways(subject, Rights::all(), BYTES + 1, |window, _| window.memory);
    refused_both_ways(subject, Rights::all(), 1, |window, _| window.at(BYTES as u64));
    refused_both_ways(subject, Rights::all(), 1, |window, _| window.at(u64::MAX));
    let at = |address| move |window: &Window, _: &Window| RemoteMemory { address, ..window.memory };
    refused_both_ways(subject, Rights::all(), 16, at(u64::MAX - 7));
    refused_both_ways(subject, Rights::all(), 1, at(u64::MAX));
    refused_both_ways(subject, Rights::all(), 1, |window, _| window.at(1 << 63));
}

/// A window for reading cannot be written, nor the other way round.
pub fn access_without_the_right_is_refused<S: Subject>(subject: &S) {
    refused(subject, Rights::READ, true, BYTES, |window, _| window.memory);
    refused(subject, Rights::WRITE, false, BYTES, |window, _| window.memory);
}

/// A window of one queue pair is nothing to another's peer.
pub fn access_by_another_queue_pair_is_refused<S: Subject>(subject: &S) {
    refused_both_ways(subject, Rights::all(), 100, |_, others| others.memory);
}

fn refused_both_ways<S: Subject>(
    subject: &S,
    rights: Rights,
    bytes: usize,
    target: impl Fn(&Window, &Window) -> RemoteMemory,
) {
    refused(subject, rights, true, bytes, &target);
    refused(subject, rights, false, bytes, &target);
}

/// An access that must be refused: the requester learns it, both queue pairs end, no byte has moved, and a queue pair
/// beside them goes on.
fn refused<S: Subject>(
    subject: &S,
    rights: Rights,
    writes: bool,
    bytes: usize,
    target: impl Fn(&Window, &Window) -> RemoteMemory,
) {
    let mut rig = Rig::new(subject);
    let (link, other) = (rig.pair(&Setup::default()), rig.pair(&Setup::default()));
    let window = rig.window(link.server, 1, BYTES, rights);
    let others = rig.window(other.server, 2, BYTES, Rights::all());
    let memory = target(&window, &others);
    let data = rig.client().numbered(3, bytes);
    let work = if writes { write(1, data, memory) } else { read(1, data, memory) };
    let data = rig.client().numbered(4, 10);
    rig.receive(link.server, 7, 64);
    rig.receive(link.client, 8, 64);
    rig.post(link.client, [work, send(2, data)]);
    ends_by_refusal(&mut rig, link, bytes);
    assert_same(&window.bytes(), &pattern::bytes(1, BYTES), "the window");
    assert_same(&others.bytes(), &pattern::bytes(2, BYTES), "the other window");
    let data = rig.client().empty(BYTES);
    rig.post(other.client, [read(3, data, others.memory)]);
    let data = side::bytes_of(&rig.sent_well(other.client, 3));
    assert_same(&data, &pattern::bytes(2, BYTES), "the other queue pair's window");
    drop((window, others));
    rig.finish();
}

fn ends_by_refusal<D: Device>(rig: &mut Rig<D>, link: Link, bytes: usize) {
    let sent = rig.sent(link.client);
    assert_eq!((sent.id, sent.result), (1, Err(WorkError::RemoteAccess)));
    assert_same(&side::bytes_of(&sent.data), &pattern::bytes(3, bytes), "the requester's memory");
    assert_eq!(rig.sent(link.client).result, Err(WorkError::Flushed));
    assert_eq!(rig.received(link.client).result, Err(WorkError::Flushed));
    assert_eq!(rig.received(link.server).result, Err(WorkError::Flushed));
    for half in [link.client, link.server] {
        rig.closed(half);
        rig.at_rest(half);
    }
}
