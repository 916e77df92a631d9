//! Where messages go: receives, receive queues that are shared, and what happens without.

use super::Subject;
use super::pattern::{self, assert_same};
use super::rig::{OPTIONS, QUIET, Rig, SERVER, Setup};
use super::traffic::send;
use crate::connection::{ConnectionParameters, QueuePairOptions, ReceiveSource};
use crate::error::{AnswerError, PostError};
use crate::provider::Endpoint;
use crate::work::WorkError;

/// Several queue pairs take receives of one queue, in the order of posting; completions say whose message it is.
pub fn shared_receive_queues_are_shared<S: Subject>(subject: &S) {
    const QUEUE_PAIRS: u64 = 4;
    const ROUNDS: u64 = 8;
    let mut rig = Rig::new(subject);
    let queue = rig.shared_queue(SERVER, 64);
    let shared = QueuePairOptions { receives: ReceiveSource::Shared(queue), ..OPTIONS };
    let setup = Setup { server: shared, ..Default::default() };
    let links: Vec<_> = (0..QUEUE_PAIRS).map(|_| rig.pair(&setup)).collect();
    (0..QUEUE_PAIRS * ROUNDS).for_each(|id| rig.receive_shared(SERVER, queue, id, 3000));
    for round in 0..ROUNDS {
        for (number, link) in (0..).zip(&links) {
            let data = rig.client().numbered(round * QUEUE_PAIRS + number, 2500);
            rig.post(link.client, [send(round, data)]);
        }
    }
    let mut used = Vec::new();
    for round in 0..ROUNDS {
        for (number, link) in (0..).zip(&links) {
            let (id, _, bytes) = rig.message(link.server);
            assert_same(&bytes, &pattern::bytes(round * QUEUE_PAIRS + number, 2500), "a message");
            rig.sent_well(link.client, round);
            used.push(id);
        }
    }
    used.sort_unstable();
    assert_eq!(used, (0..QUEUE_PAIRS * ROUNDS).collect::<Vec<_>>());
    // A queue pair that ends takes none of the others' receives with it.
    rig.receive_shared(SERVER, queue, 1000, 64);
    rig.disconnect(links[0].client);
    rig.at_rest(links[0].server);
    let data = rig.client().data(b"still here");
    rig.post(links[1].client, [send(1, data)]);
    assert_eq!(rig.message(links[1].server).0, 1000);
    rig.finish();
}

/// A shared receive queue cannot go before its queue pairs; its receives go with it.
pub fn shared_receive_queues_go_last<S: Subject>(subject: &S) {
    let mut rig = Rig::new(subject);
    let queue = rig.shared_queue(SERVER, 4);
    let shared = QueuePairOptions { receives: ReceiveSource::Shared(queue), ..OPTIONS };
    let link = rig.pair(&Setup { server: shared, ..Default::default() });
    (0..4).for_each(|id| rig.receive_shared(SERVER, queue, id, 64));
    assert_eq!(rig.server().endpoint.destroy_shared_receive_queue(queue), Err(AnswerError::InUse));
    rig.disconnect(link.server);
    rig.at_rest(link.server);
    assert_eq!(rig.server().endpoint.destroy_shared_receive_queue(queue), Err(AnswerError::InUse));
    rig.destroy(link.server);
    rig.wait("the queue to be free", |rig| rig.server().endpoint.destroy_shared_receive_queue(queue).ok());
    rig.server().ledger.close_shared(queue);
    assert_eq!(rig.server().endpoint.destroy_shared_receive_queue(queue), Err(AnswerError::Gone));
    let posted = rig.server().endpoint.post_shared_receive(queue, &mut Default::default());
    assert_eq!(posted, Err(PostError::Gone));
    rig.finish();
}

/// A SEND that finds no receive waits until one is posted, and so does what is behind it.
pub fn a_send_waits_for_a_receive<S: Subject>(subject: &S) {
    let mut rig = Rig::new(subject);
    let link = rig.pair(&Setup::default());
    for (from, to) in link.both_ways() {
        for id in 0..3 {
            let data = rig.side(from).numbered(id, 1500);
            rig.post(from, [send(id, data)]);
        }
        rig.run_for(QUIET);
        assert!(!rig.has_completion(from) && !rig.has_completion(to), "no receive was posted");
        for id in 0..3 {
            rig.receive(to, 10 + id, 1500);
            let (received, _, bytes) = rig.message(to);
            assert_eq!(received, 10 + id);
            assert_same(&bytes, &pattern::bytes(id, 1500), "a message that waited");
            rig.sent_well(from, id);
        }
    }
    rig.finish();
}

/// A sender whose peer allows few RNR retries gives up after them, and the connection ends.
pub fn receiver_not_ready_retries_end<S: Subject>(subject: &S) {
    let mut rig = Rig::new(subject);
    let hasty = ConnectionParameters { rnr_retries: 1, ..Default::default() };
    let link = rig.pair(&Setup { offer: hasty, answer: hasty, ..Default::default() });
    for id in 0..3 {
        let data = rig.client().numbered(id, 100);
        rig.post(link.client, [send(id, data)]);
    }
    assert_eq!(rig.sent(link.client).result, Err(WorkError::ReceiverNotReady));
    rig.at_rest(link.client);
    assert_eq!(rig.sent(link.client).result, Err(WorkError::Flushed));
    assert_eq!(rig.sent(link.client).result, Err(WorkError::Flushed));
    rig.closed(link.client);
    rig.closed(link.server);
    rig.finish();
}

/// A message that is longer than its receive ends the connection; nothing is written behind the buffer.
pub fn too_long_messages_end_the_connection<S: Subject>(subject: &S) {
    let mut rig = Rig::new(subject);
    for (room, size) in [(100, 101), (100, 5000), (1024, 1025), (4096, 4097), (5000, 8000)] {
        let link = rig.pair(&Setup::default());
        rig.receive(link.server, 1, room);
        rig.receive(link.server, 2, 8000);
        let data = rig.client().numbered(1, size);
        rig.post(link.client, [send(1, data)]);
        let data = rig.client().numbered(2, 10);
        rig.post(link.client, [send(2, data)]);
        assert_eq!(rig.sent(link.client).result, Err(WorkError::RemoteInvalidRequest));
        assert_eq!(rig.sent(link.client).result, Err(WorkError::Flushed));
        let first = rig.received(link.server);
        assert!(matches!(first.result, Err(error) if error != WorkError::Flushed), "{:?}", first.result);
        assert_eq!(first.buffer.bytes(), room);
        assert_eq!(rig.received(link.server).result, Err(WorkError::Flushed));
        rig.at_rest(link.client);
        rig.at_rest(link.server);
        drop(first);
        rig.destroy(link.client);
        rig.destroy(link.server);
    }
    rig.finish();
}
