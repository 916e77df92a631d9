//! How connections end: once, with everything flushed and all memory back.

use std::collections::VecDeque;

use super::Subject;
use super::rig::{Half, Link, OPTIONS, QUIET, Rig, SERVER, Setup};
use super::traffic::{read, send, unsignaled, write};
use crate::connection::ConnectionError;
use crate::error::{BindError, CreateError};
use crate::provider::{Device, Endpoint};
use crate::work::{Receive, Rights, WorkError};

/// Posts work that cannot end: messages for which the peer has no receive, and what is behind them.
fn stuck_work<D: Device>(rig: &mut Rig<D>, half: Half) {
    for id in 0..4 {
        let data = rig.side(half).numbered(id, 3000);
        rig.post(half, [send(2 * id, data)]);
        let data = rig.side(half).numbered(id, 30);
        rig.post(half, [unsignaled(send(2 * id + 1, data))]);
    }
}

fn flushes_all<D: Device>(rig: &mut Rig<D>, half: Half, sends: usize, receives: usize) {
    for _ in 0..sends {
        assert_eq!(rig.sent(half).result, Err(WorkError::Flushed));
    }
    for _ in 0..receives {
        assert_eq!(rig.received(half).result, Err(WorkError::Flushed));
    }
    rig.at_rest(half);
    assert!(!rig.has_completion(half), "more ended than was posted");
}

/// A disconnect flushes sends and receives, each once, and tells both sides once, whoever leaves.
pub fn disconnecting_flushes_everything_once<S: Subject>(subject: &S) {
    let mut rig = Rig::new(subject);
    for (direction, leaver_is_busy) in [(0, false), (0, true), (1, false), (1, true)] {
        let link = rig.pair(&Setup::default());
        let (leaver, other) = link.both_ways()[direction];
        let (busy, idle) = if leaver_is_busy { (leaver, other) } else { (other, leaver) };
        (0..5).for_each(|id| rig.receive(busy, id, 64));
        stuck_work(&mut rig, busy);
        rig.run_for(QUIET);
        rig.disconnect(leaver);
        flushes_all(&mut rig, busy, 8, 5);
        flushes_all(&mut rig, idle, 0, 0);
        assert_eq!(rig.closed(leaver), ConnectionError::Disconnected);
        assert_eq!(rig.closed(other), ConnectionError::Disconnected);
    }
    rig.finish();
}

/// Both sides disconnect at once: each is told once.
pub fn simultaneous_disconnects_end_once<S: Subject>(subject: &S) {
    let mut rig = Rig::new(subject);
    for _ in 0..10 {
        let link = rig.pair(&Setup::default());
        for half in [link.client, link.server] {
            (0..3).for_each(|id| rig.receive(half, id, 64));
        }
        rig.disconnect(link.client);
        rig.disconnect(link.server);
        rig.disconnect(link.client);
        for half in [link.client, link.server] {
            assert_eq!(rig.closed(half), ConnectionError::Disconnected);
            flushes_all(&mut rig, half, 0, 3);
        }
    }
    rig.finish();
}

/// Work that is posted after the end of a connection flushes too; windows can no longer be bound.
pub fn work_after_the_end_flushes<S: Subject>(subject: &S) {
    let mut rig = Rig::new(subject);
    let link = rig.pair(&Setup::default());
    rig.disconnect(link.client);
    for half in [link.client, link.server] {
        rig.closed(half);
        let data = rig.side(half).numbered(1, 100);
        rig.post(half, [send(1, data)]);
        let buffer = rig.side(half).buffer(64);
        let mut receives = VecDeque::from([Receive { id: 2, buffer }]);
        rig.try_receive(half, &mut receives).unwrap();
        flushes_all(&mut rig, half, 1, 1);
        let segment = rig.side(half).segment(b"late");
        let bound = rig.side(half).endpoint.bind(half.queue_pair, &segment, Rights::READ);
        assert_eq!(bound, Err(BindError::QueuePair));
    }
    rig.finish();
}

/// Posts large transfers both ways.
fn much_in_flight<D: Device>(rig: &mut Rig<D>, link: Link) {
    for (from, to) in link.both_ways() {
        let window = rig.window(to, 1, 1 << 20, Rights::all());
        let data = rig.side(from).numbered(2, 1 << 20);
        let into = rig.side(from).empty(1 << 19);
        rig.receive(to, 1, 4096);
        let note = rig.side(from).numbered(3, 4096);
        rig.post(from, [write(1, data, window.memory), read(2, into, window.memory), send(3, note)]);
    }
}

/// A queue pair that is destroyed in the middle of everything gives its memory back; the other side is told.
pub fn destroying_with_work_in_flight_gives_memory_back<S: Subject>(subject: &S) {
    let mut rig = Rig::new(subject);
    for turns in [0, 1, 2, 5, 12] {
        for direction in 0..2 {
            let link = rig.pair(&Setup::default());
            let (leaver, other) = link.both_ways()[direction];
            much_in_flight(&mut rig, link);
            for _ in 0..turns {
                let end = rig.now();
                rig.turn(end);
            }
            rig.destroy(leaver);
            rig.at_rest(other);
            rig.destroy(other);
            rig.memory_is_back();
        }
    }
    rig.finish();
}

/// Completions of a queue pair that nobody had polled when it was destroyed are not given any more.
pub fn destroyed_queue_pairs_are_silent<S: Subject>(subject: &S) {
    let mut rig = Rig::new(subject);
    for _ in 0..5 {
        let (link, other) = (rig.pair(&Setup::default()), rig.pair(&Setup::default()));
        for both in [link, other] {
            (0..10).for_each(|id| rig.receive(both.server, id, 64));
            let batch: Vec<_> = (0..10).map(|id| send(id, rig.client().numbered(id, 10))).collect();
            rig.post(both.client, batch);
        }
        // Let them arrive, and take only the first few.
        for _ in 0..3 {
            let now = rig.now();
            rig.client().turn(now);
            let mut few = Vec::new();
            rig.server().endpoint.poll(&mut few, 1, now);
            few.iter().for_each(|done| rig.server().ledger.completed(done));
            rig.server().completions.extend(few);
        }
        rig.destroy(link.server);
        rig.destroy(link.client);
        (0..10).for_each(|id| assert_eq!(rig.message(other.server).0, id));
        (0..10).for_each(|id| drop(rig.sent_well(other.client, id)));
        rig.disconnect(other.client);
        rig.at_rest(other.server);
    }
    rig.finish();
}

/// A queue pair can go while it connects, while it is accepted, and after its end; the other side is told.
pub fn queue_pairs_can_be_destroyed_in_every_state<S: Subject>(subject: &S) {
    let mut rig = Rig::new(subject);
    let (_, to) = rig.listen(SERVER, 8);
    // Before anything was sent.
    let client = rig.connect(to, &OPTIONS, &Default::default());
    rig.receive(client, 1, 64);
    rig.destroy(client);
    rig.run_for(QUIET);
    let early: Vec<_> = rig.server().requests.drain(..).collect();
    drop(early);
    // While the request waits for an answer: it fails now or a little later.
    let client = rig.connect(to, &OPTIONS, &Default::default());
    let request = rig.requested(SERVER);
    rig.destroy(client);
    rig.run_for(QUIET);
    let now = rig.now();
    match rig.server().endpoint.accept(request, &OPTIONS, &Default::default(), now) {
        Ok(queue_pair) => {
            rig.server().ledger.open(queue_pair, None);
            rig.closed(Half { at: SERVER, queue_pair });
        }
        Err((CreateError::RequestGone, _)) => {}
        Err((error, _)) => panic!("{error}"),
    }
    // As soon as it is accepted.
    let client = rig.connect(to, &OPTIONS, &Default::default());
    let request = rig.requested(SERVER);
    let server = rig.accept(SERVER, request, &OPTIONS, &Default::default());
    rig.receive(server, 1, 64);
    rig.destroy(server);
    rig.closed(client);
    // After the end.
    let link = rig.pair_at(to, &Setup::default());
    rig.disconnect(link.server);
    rig.closed(link.client);
    rig.destroy(link.client);
    rig.at_rest(link.server);
    rig.destroy(link.server);
    rig.pair_at(to, &Setup::default());
    rig.finish();
}

/// The name of a queue pair that has gone is not given to another one (the ledger watches).
pub fn names_are_not_used_again<S: Subject>(subject: &S) {
    let mut rig = Rig::new(subject);
    let (listener, to) = rig.listen(SERVER, 1);
    rig.stop_listening(SERVER, listener);
    for round in 0..200 {
        let half = rig.connect(to, &OPTIONS, &Default::default());
        if round % 50 == 0 {
            assert_eq!(rig.closed(half), ConnectionError::NoListener);
        }
        rig.destroy(half);
        let end = rig.now();
        rig.turn(end);
    }
    rig.finish();
}
