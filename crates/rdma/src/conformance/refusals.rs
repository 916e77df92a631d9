//! What a provider does not take, and says so.

use std::collections::VecDeque;

use super::Subject;
use super::rig::{OPTIONS, Rig, SERVER, Setup};
use super::side::pool;
use super::traffic::{read, send};
use crate::connection::{QueuePairOptions, ReceiveSource};
use crate::error::{BindError, CreateError, PostError};
use crate::provider::{Device, Endpoint};
use crate::work::{Data, InlineData, Receive, Rights, SendWork};

/// A device says what it can do, and that is enough for NVMe over Fabrics.
pub fn limits_are_sound<S: Subject>(subject: &S) {
    let rig = Rig::new(subject);
    for side in &rig.sides {
        let (info, address) = (side.device.info(), side.device.address());
        assert!(info.addresses.contains(&address), "{address} is not among {:?}", info.addresses);
        assert!(!info.name.is_empty() && !info.provider.is_empty());
        let limits = info.limits;
        assert!(limits.segments_max >= 2 && limits.message_bytes_max >= 1 << 20, "{limits:?}");
        assert!(limits.send_depth_max >= 128 && limits.receive_depth_max >= 128, "{limits:?}");
        assert!(limits.responder_resources_max >= 1 && limits.initiator_depth_max >= 1, "{limits:?}");
    }
    rig.finish();
}

/// Queues without depth, and deeper ones than the device can have, are refused.
pub fn depths_are_bounded<S: Subject>(subject: &S) {
    let mut rig = Rig::new(subject);
    let (_, to) = rig.listen(SERVER, 1);
    let limits = rig.client().device.info().limits;
    let depth =
        |send_depth, receives| QueuePairOptions { send_depth, receives: ReceiveSource::Own(receives) };
    let mut unfit = vec![depth(0, 1), depth(u32::MAX, 1), depth(1, u32::MAX)];
    unfit.extend(limits.send_depth_max.checked_add(1).map(|most| depth(most, 1)));
    unfit.extend(limits.receive_depth_max.checked_add(1).map(|most| depth(1, most)));
    for options in unfit {
        let now = rig.now();
        let refused = rig.client().endpoint.connect(to, &options, &Default::default(), now);
        assert!(matches!(refused, Err(CreateError::Unfit { .. })), "{options:?}: {refused:?}");
    }
    for depth in [0, u32::MAX] {
        let refused = rig.client().endpoint.create_shared_receive_queue(depth);
        assert!(matches!(refused, Err(CreateError::Unfit { .. })), "depth {depth}: {refused:?}");
    }
    rig.pair_at(to, &Setup::default());
    rig.finish();
}

/// A read into inline data, or more pieces than the device can do, stay at the front; what is before them is taken.
pub fn unfit_work_is_refused<S: Subject>(subject: &S) {
    let mut rig = Rig::new(subject);
    let link = rig.pair(&Setup::default());
    let window = rig.window(link.server, 1, 64, Rights::READ);
    let inline = Data::Inline(InlineData::new(&[0; 8]).unwrap());
    stays_at_the_front(&mut rig, link, read(2, inline, window.memory));
    let segments_max = rig.client().device.info().limits.segments_max as usize;
    if segments_max < 256 {
        let list = rig.client().scattered(&vec![1; segments_max + 1], &vec![1; segments_max]);
        assert_eq!(list.segments().len(), segments_max + 1);
        stays_at_the_front(&mut rig, link, send(2, Data::Memory(list)));
    }
    drop(window);
    rig.finish();
}

/// Posts good work, this, and good work: the first is taken, this is refused, and the last goes when this is away.
fn stays_at_the_front<D: Device>(rig: &mut Rig<D>, link: super::rig::Link, unfit: SendWork) {
    let id = unfit.id;
    rig.receive(link.server, 1, 64);
    rig.receive(link.server, 2, 64);
    let (first, last) = (rig.client().data(b"first"), rig.client().data(b"last"));
    let mut work = VecDeque::from([send(1, first), unfit, send(3, last)]);
    let _ = rig.try_post(link.client, &mut work);
    let refused = rig.try_post(link.client, &mut work);
    assert!(matches!(refused, Err(PostError::Unfit(_))), "{refused:?}");
    assert_eq!(work.iter().map(|piece| piece.id).collect::<Vec<_>>(), [id, 3]);
    drop(work.pop_front());
    rig.try_post(link.client, &mut work).unwrap();
    assert!(work.is_empty());
    assert_eq!(
        (rig.message(link.server).2, rig.message(link.server).2),
        (b"first".to_vec(), b"last".to_vec())
    );
    rig.sent_well(link.client, 1);
    rig.sent_well(link.client, 3);
}

/// Memory that the device does not know is not sent, received into, or put behind a window.
pub fn memory_that_is_not_attached_is_refused<S: Subject>(subject: &S) {
    let mut rig = Rig::new(subject);
    let queue = rig.shared_queue(SERVER, 4);
    let link = rig.pair(&Setup::default());
    let foreign = pool(4096, 4);
    let data = Data::Memory(foreign.take().unwrap().into_segment().into());
    stays_at_the_front(&mut rig, link, send(2, data));
    let mut receives = VecDeque::from([Receive { id: 9, buffer: foreign.take().unwrap() }]);
    let refused = rig.try_receive(link.server, &mut receives);
    assert!(matches!(refused, Err(PostError::Unfit(_))), "{refused:?}");
    let refused = rig.server().endpoint.post_shared_receive(queue, &mut receives);
    assert!(matches!(refused, Err(PostError::Unfit(_))), "{refused:?}");
    assert_eq!(receives.len(), 1);
    let segment = receives.pop_front().unwrap().buffer.into_segment();
    let refused = rig.server().endpoint.bind(link.server.queue_pair, &segment, Rights::READ);
    assert_eq!(refused, Err(BindError::NotAttached));
    let known = rig.server().segment(b"known");
    let refused = rig.server().endpoint.bind(link.server.queue_pair, &known, Rights::empty());
    assert_eq!(refused, Err(BindError::Empty), "a window without a right");
    let nothing = known.slice(0, 0).unwrap();
    let refused = rig.server().endpoint.bind(link.server.queue_pair, &nothing, Rights::READ);
    assert_eq!(refused, Err(BindError::Empty), "a window of nothing");
    // Once it is attached it works; attaching again is no error.
    rig.server().device.attach_memory(foreign.region()).unwrap();
    rig.server().device.attach_memory(foreign.region()).unwrap();
    rig.server().endpoint.bind(link.server.queue_pair, &segment, Rights::READ).unwrap();
    drop((segment, known, nothing));
    rig.finish();
    assert_eq!(foreign.available(), 4);
}

/// Before the connection is made there is nobody to send to.
pub fn work_before_the_connection_is_refused<S: Subject>(subject: &S) {
    let mut rig = Rig::new(subject);
    let (_, to) = rig.listen(SERVER, 1);
    let client = rig.connect(to, &OPTIONS, &Default::default());
    let data = rig.client().data(b"early");
    let mut work = VecDeque::from([send(1, data)]);
    assert_eq!(rig.try_post(client, &mut work), Err(PostError::NotConnected));
    let request = rig.requested(SERVER);
    assert_eq!(rig.try_post(client, &mut work), Err(PostError::NotConnected));
    let server = rig.accept(SERVER, request, &OPTIONS, &Default::default());
    rig.receive(server, 1, 64);
    rig.established(client);
    rig.try_post(client, &mut work).unwrap();
    assert_eq!(rig.message(server).2, b"early");
    rig.finish();
}

/// Whatever names a thing that has gone is answered so, or has no effect.
pub fn what_is_gone_is_gone<S: Subject>(subject: &S) {
    let mut rig = Rig::new(subject);
    let (link, other) = (rig.pair(&Setup::default()), rig.pair(&Setup::default()));
    let window = rig.window(link.server, 1, 64, Rights::READ);
    let name = link.server.queue_pair;
    rig.destroy(link.server);
    let segment = rig.server().segment(b"bytes");
    let data = Data::Memory(segment.clone().into());
    let side = rig.server();
    let mut work = VecDeque::from([send(1, data)]);
    assert_eq!(side.endpoint.post_send(name, &mut work), Err(PostError::Gone));
    let mut receives = VecDeque::from([Receive { id: 1, buffer: side.buffer(8) }]);
    assert_eq!(side.endpoint.post_receive(name, &mut receives), Err(PostError::Gone));
    assert_eq!((work.len(), receives.len()), (1, 1));
    assert_eq!(side.endpoint.bind(name, &segment, Rights::READ), Err(BindError::QueuePair));
    side.endpoint.unbind(name, window.memory.key);
    rig.disconnect(link.server);
    let now = rig.now();
    rig.server().endpoint.destroy(name, now);
    drop((segment, window, work, receives));
    rig.receive(other.server, 1, 64);
    let data = rig.client().data(b"unharmed");
    rig.post(other.client, [send(1, data)]);
    assert_eq!(rig.message(other.server).2, b"unharmed");
    rig.finish();
}
