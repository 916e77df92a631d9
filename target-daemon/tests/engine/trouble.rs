//! Devices that stall, hosts that vanish or break the rules, memory that runs out.

use std::sync::Arc;
use std::time::Duration;

use block::Event;
use nvme_spec::Nsid;
use nvmf::controller::limits::{CONNECT_HOLD_MAX, CONNECT_TIMEOUT};
use target_daemon::engine::{BufferOptions, DeviceNews, Engine};

use super::host::{Host, Queue, Sgl, entry};
use super::rig::{SUBSYSTEM, buffers, engine, export, nqn, open};
use super::stalling::Stalling;

const READ: u8 = 0x02;
const WRITE: u8 = 0x01;
const KEEP_ALIVE: u8 = 0x18;
const IDENTIFY: u8 = 0x06;

/// Dwords 10 to 15 of a command on blocks.
fn blocks(start: u32, count: u32) -> [u32; 6] {
    [start, 0, count - 1, 0, 0, 0]
}

/// Sends a read of 4096 bytes and does not wait.
fn begin_read(host: &mut Host, queue: Queue, nsid: u32, count: u32) -> u16 {
    let memory = host.memory(count * 4096, 0);
    let sgl = host.expose(queue.queue_pair, &memory, true);
    let cid = host.cid();
    host.send(queue.queue_pair, &entry(READ, cid, nsid, sgl, blocks(0, count)));
    cid
}

fn read(host: &mut Host, queue: Queue, nsid: u32) -> u16 {
    let cid = begin_read(host, queue, nsid, 1);
    let answer = host.answer(queue.queue_pair);
    assert_eq!(answer.cid(), cid);
    answer.status()
}

fn closed(host: &mut Host, queue: Queue) {
    host.wait_for("end of the connection", |host| {
        host.closed.iter().any(|(closed, _)| *closed == queue.queue_pair).then_some(())
    });
}

/// Everything that was lent has come back.
fn all_is_back(host: &mut Host, engine: &Engine) {
    host.wait_for("return of all memory", |_| {
        let status = engine.status();
        let is_idle = status.reactors.iter().all(|reactor| {
            reactor.buffer_bytes_free == reactor.buffer_bytes
                && (reactor.in_devices, reactor.waiting, reactor.read_bytes) == (0, 0, 0)
        });
        is_idle.then_some(())
    });
}

#[test]
fn a_device_that_stalls_holds_up_nobody_else() {
    let (engine, to) = engine("127.0.81.1", 1, buffers());
    let (stalling, orders) = Stalling::wrap(open("mem:16MiB?bs=4096"));
    export(&engine, 1, &stalling);
    export(&engine, 2, &open("mem:16MiB?bs=4096"));
    let mut host = Host::new("127.0.81.2", "nqn.2014-08.org.example:stalled");
    let admin = host.attach_to(to, SUBSYSTEM, 1000).unwrap();
    let queue = host.io_queue(to, SUBSYSTEM, admin, 1, 32);
    orders.stall(true);
    // 8 MiB of buffers, and 32 reads of 1 MiB and of 4 KiB: they take all that they can get.
    for _ in 0..30 {
        begin_read(&mut host, queue, 1, 128);
    }
    host.wait_for("stall", |_| (orders.held() >= 5).then_some(()));
    let mut other = Host::new("127.0.81.3", "nqn.2014-08.org.example:lively");
    let other_admin = other.attach_to(to, SUBSYSTEM, 1000).unwrap();
    let other_queue = other.io_queue(to, SUBSYSTEM, other_admin, 1, 32);
    let end = host.now().after(Duration::from_secs(3));
    while host.now() < end {
        assert_eq!(read(&mut other, other_queue, 2), 0, "another namespace");
        let cid = begin_read(&mut other, other_queue, 2, 128);
        assert_eq!(other.answer(other_queue.queue_pair).cid(), cid, "a large one too");
        assert_eq!(host.command(admin, KEEP_ALIVE, 0, Sgl::None, [0; 6]).status(), 0);
        assert_eq!(other.command(other_admin, KEEP_ALIVE, 0, Sgl::None, [0; 6]).status(), 0);
    }
    assert!(engine.status().reactors[0].waiting > 0, "some wait for memory");
    orders.stall(false);
    for _ in 0..30 {
        assert_eq!(host.answer(queue.queue_pair).status(), 0);
    }
    all_is_back(&mut host, &engine);
}

#[test]
fn a_new_association_waits_for_what_devices_do_for_the_old_one() {
    let (engine, to) = engine("127.0.81.4", 2, buffers());
    let (stalling, orders) = Stalling::wrap(open("mem:16MiB?bs=4096"));
    export(&engine, 1, &stalling);
    let mut host = Host::new("127.0.81.5", "nqn.2014-08.org.example:returning");
    let admin = host.attach_to(to, SUBSYSTEM, 0).unwrap();
    let queue = host.io_queue(to, SUBSYSTEM, admin, 1, 8);
    orders.stall(true);
    begin_read(&mut host, queue, 1, 1);
    host.wait_for("stall", |_| (orders.held() == 1).then_some(()));
    let now = host.now();
    host.vanish(queue);
    host.vanish(admin);
    host.wait_for("draining", |_| (engine.status().reactors[1].connections <= 1).then_some(()));
    let refused = host.attach_to(to, SUBSYSTEM, 0).unwrap_err();
    assert_eq!(refused.status(), 0x181, "Controller Busy, and it may be tried again");
    assert!(host.now().since(now) >= CONNECT_HOLD_MAX);

    // And one that is held succeeds as soon as the device is done.
    let again = std::thread::spawn({
        let orders = Arc::clone(&orders);
        move || {
            std::thread::park_timeout(Duration::from_millis(700));
            orders.stall(false);
        }
    });
    let begun = host.now();
    let admin = host.attach_to(to, SUBSYSTEM, 0).unwrap();
    let held = host.now().since(begun);
    assert!(held >= Duration::from_millis(500) && held < CONNECT_HOLD_MAX, "{held:?}");
    again.join().unwrap();
    let queue = host.io_queue(to, SUBSYSTEM, admin, 1, 8);
    assert_eq!(read(&mut host, queue, 1), 0);
    all_is_back(&mut host, &engine);
}

#[test]
fn a_host_that_falls_silent_is_dropped_and_one_that_speaks_is_not() {
    let (engine, to) = engine("127.0.81.6", 2, buffers());
    export(&engine, 1, &open("null:1GiB"));
    let mut silent = Host::new("127.0.81.7", "nqn.2014-08.org.example:silent");
    let mut speaking = Host::new("127.0.81.8", "nqn.2014-08.org.example:speaking");
    let silent_admin = silent.attach_to(to, SUBSYSTEM, 500).unwrap();
    let silent_queue = silent.io_queue(to, SUBSYSTEM, silent_admin, 1, 8);
    let admin = speaking.attach_to(to, SUBSYSTEM, 500).unwrap();
    let end = speaking.now().after(Duration::from_millis(1500));
    while speaking.now() < end {
        assert_eq!(speaking.command(admin, KEEP_ALIVE, 0, Sgl::None, [0; 6]).status(), 0);
        silent.turn();
    }
    closed(&mut silent, silent_admin);
    closed(&mut silent, silent_queue);
    assert_eq!(engine.status().controllers.len(), 1);
}

#[test]
fn a_host_that_breaks_the_protocol_loses_its_own_connection_only() {
    let (engine, to) = engine("127.0.81.9", 1, buffers());
    export(&engine, 1, &open("mem:16MiB?bs=4096"));
    let mut host = Host::new("127.0.81.10", "nqn.2014-08.org.example:good");
    let admin = host.attach_to(to, SUBSYSTEM, 0).unwrap();
    let queue = host.io_queue(to, SUBSYSTEM, admin, 1, 8);
    let mut hostile = Host::new("127.0.81.11", "nqn.2014-08.org.example:hostile");
    let hostile_admin = hostile.attach_to(to, SUBSYSTEM, 0).unwrap();
    for (id, capsule) in [(1, vec![0; 63]), (2, vec![]), (3, vec![0xff; 1])] {
        let victim = hostile.io_queue(to, SUBSYSTEM, hostile_admin, id, 8);
        hostile.send(victim.queue_pair, &capsule);
        closed(&mut hostile, victim);
        assert_eq!(read(&mut host, queue, 1), 0);
    }
    // A key that is not its own: the connection ends, nothing else.
    let victim = hostile.io_queue(to, SUBSYSTEM, hostile_admin, 4, 8);
    let stolen = Sgl::Keyed(0x7000_0000_0000, 4096, 0x0bad_cafe, true);
    hostile.send(victim.queue_pair, &entry(READ, 1, 1, stolen, blocks(0, 1)));
    closed(&mut hostile, victim);
    let victim = hostile.io_queue(to, SUBSYSTEM, hostile_admin, 5, 8);
    hostile.send(victim.queue_pair, &entry(WRITE, 1, 1, stolen, blocks(0, 1)));
    closed(&mut hostile, victim);
    // More commands than the queue holds, before anything is answered.
    let (stalling, orders) = Stalling::wrap(open("mem:16MiB?bs=4096"));
    export(&engine, 2, &stalling);
    orders.stall(true);
    let victim = hostile.io_queue(to, SUBSYSTEM, hostile_admin, 6, 4);
    for _ in 0..5 {
        begin_read(&mut hostile, victim, 2, 1);
    }
    closed(&mut hostile, victim);
    orders.stall(false);
    assert_eq!(read(&mut host, queue, 1), 0);
    assert_eq!(engine.status().reactors[0].violations, 4);
    all_is_back(&mut host, &engine);
}

#[test]
fn a_host_that_takes_no_responses_does_not_fill_memory() {
    let (engine, to) = engine("127.0.81.24", 1, buffers());
    export(&engine, 1, &open("mem:16MiB?bs=4096"));
    let mut host = Host::new("127.0.81.25", "nqn.2014-08.org.example:deaf");
    let admin = host.attach_to(to, SUBSYSTEM, 0).unwrap();
    let queue = host.io_queue(to, SUBSYSTEM, admin, 1, 4);
    host.is_deaf = true;
    for (deaf, opcode, others) in [(queue, 0x00, 3), (admin, KEEP_ALIVE, 32)] {
        let mut sent = 0;
        while !host.closed.iter().any(|(closed, _)| *closed == deaf.queue_pair) {
            if sent < 6 * others {
                host.send(deaf.queue_pair, &entry(opcode, sent, 1, Sgl::None, [0; 6]));
                sent += 1;
            }
            let end = host.now().after(Duration::from_millis(1));
            while host.now() < end {
                host.turn();
            }
        }
    }
    assert_eq!(engine.status().reactors[0].violations, 2);
    // Log pages of 1 MiB that nobody reads: few are made at once.
    let mut host = Host::new("127.0.81.26", "nqn.2014-08.org.example:greedy");
    let admin = host.attach_to(to, SUBSYSTEM, 0).unwrap();
    let memory = host.memory(1 << 20, 0xff);
    let sgl = host.expose(admin.queue_pair, &memory, false);
    let dwords = [0x02 | 0xffff << 16, 0x3, 0, 0, 0, 0];
    for cid in 0..32 {
        host.send(admin.queue_pair, &entry(0x02, cid, 0xffff_ffff, sgl, dwords));
    }
    for cid in 0..32 {
        let answer = host.answer(admin.queue_pair);
        assert_eq!((answer.cid(), answer.status()), (cid, 0));
    }
    let mut end = [0xff; 4096];
    memory.read((1 << 20) - 4096, &mut end).unwrap();
    assert_eq!(end, [0; 4096], "the page ends with zeroes, and all of it was written");
}

#[test]
fn a_host_that_is_frozen_does_not_hold_all_memory() {
    let (engine, to) = engine("127.0.81.30", 1, buffers());
    export(&engine, 1, &open("mem:16MiB?bs=4096"));
    let mut frozen = Host::new("127.0.81.31", "nqn.2014-08.org.example:frozen");
    let admin = frozen.attach_to(to, SUBSYSTEM, 0).unwrap();
    let queue = frozen.io_queue(to, SUBSYSTEM, admin, 1, 32);
    let mut host = Host::new("127.0.81.32", "nqn.2014-08.org.example:lively");
    let admin = host.attach_to(to, SUBSYSTEM, 0).unwrap();
    let lively = host.io_queue(to, SUBSYSTEM, admin, 1, 32);
    for _ in 0..20 {
        begin_read(&mut frozen, queue, 1, 256);
    }
    // The commands leave, and nothing is taken any more.
    frozen.turn();
    host.wait_for("shortage", |_| (engine.status().reactors[0].waiting > 0).then_some(()));
    for _ in 0..5 {
        let cid = begin_read(&mut host, lively, 1, 256);
        assert_eq!(host.answer(lively.queue_pair).cid(), cid);
    }
    // Numbers are at most a tenth of a second old.
    let end = host.now().after(Duration::from_millis(300));
    while host.now() < end {
        host.turn();
    }
    let status = engine.status();
    assert!(status.reactors[0].waiting > 0, "the frozen one still has what it has");
    assert_eq!(status.reactors[0].connections, 4);
    // It thaws, or it counts as lost: nothing is left of it.
    frozen.vanish(queue);
    frozen.turn();
    all_is_back(&mut host, &engine);
}

#[test]
fn connections_without_a_connect_are_closed_in_the_end() {
    let (engine, to) = engine("127.0.81.12", 1, buffers());
    let mut host = Host::new("127.0.81.13", "nqn.2014-08.org.example:mute");
    let begun = host.now();
    let queue_pair = host.connection(to, 0, 0, 32).unwrap();
    let mute = Queue { queue_pair, controller: 0 };
    // A command before Connect is answered; it does not buy time.
    host.send(queue_pair, &entry(IDENTIFY, 9, 0, Sgl::None, [0; 6]));
    assert_eq!(host.answer(queue_pair).status() & 0x7ff, 0x00c, "Command Sequence Error");
    closed(&mut host, mute);
    assert!(host.now().since(begun) >= CONNECT_TIMEOUT);
    assert_eq!(engine.status().controllers.len(), 0);
}

#[test]
fn requests_that_cannot_be_granted_are_rejected_with_the_reason() {
    let (_engine, to) = engine("127.0.81.14", 1, buffers());
    let mut host = Host::new("127.0.81.15", "nqn.2014-08.org.example:greedy");
    let mut reject = |private: &[u8]| match *host.connection_with(to, private, 4).unwrap_err() {
        rdma::ConnectionError::Refused(data) => data.bytes()[..4].to_vec(),
        other => panic!("{other}"),
    };
    let mut private = [0; 32];
    private[4] = 32;
    private[6..8].copy_from_slice(&4096_u16.to_le_bytes());
    assert_eq!(reject(&private), [0, 0, 4, 0], "HSQSIZE");
    private[6..8].copy_from_slice(&31_u16.to_le_bytes());
    private[2..4].copy_from_slice(&1000_u16.to_le_bytes());
    assert_eq!(reject(&private), [0, 0, 3, 0], "QID");
    private[0] = 1;
    assert_eq!(reject(&private), [0, 0, 2, 0], "RECFMT");
}

#[test]
fn one_address_cannot_have_all_the_connections_that_come_to_nothing() {
    let (_engine, to) = engine("127.0.81.27", 1, buffers());
    let mut host = Host::with_memory("127.0.81.28", "nqn.2014-08.org.example:opener", 1);
    let open = (0..300).map_while(|_| host.connection(to, 0, 0, 2).ok()).count();
    assert_eq!(open, 256);
    let mut other = Host::new("127.0.81.29", "nqn.2014-08.org.example:other");
    assert!(other.attach_to(to, SUBSYSTEM, 0).is_ok());
}

#[test]
fn namespaces_come_and_go_under_attached_hosts() {
    let (engine, to) = engine("127.0.81.16", 2, buffers());
    let (stalling, orders) = Stalling::wrap(open("mem:16MiB?bs=4096"));
    export(&engine, 1, &stalling);
    let mut host = Host::new("127.0.81.17", "nqn.2014-08.org.example:watching");
    let admin = host.attach_to(to, SUBSYSTEM, 0).unwrap();
    let queues = [1, 2].map(|id| host.io_queue(to, SUBSYSTEM, admin, id, 8));
    // Tell me of namespaces.
    let enabled = host.command(admin, 0x09, 0, Sgl::None, [0x0b, 0x100, 0, 0, 0, 0]);
    assert_eq!(enabled.status(), 0);
    host.send(admin.queue_pair, &entry(0x0c, 0xaaaa, 0, Sgl::None, [0; 6]));
    export(&engine, 2, &open("mem:16MiB?bs=4096"));
    let told = host.answer(admin.queue_pair);
    assert_eq!((told.cid(), told.dw0()), (0xaaaa, 0x0004_0002), "Namespace Attribute Changed, log 4");
    for queue in queues {
        assert_eq!(read(&mut host, queue, 2), 0);
    }
    engine.remove_namespace(&nqn(), Nsid(2)).unwrap();
    assert_eq!(read(&mut host, queues[0], 2) & 0x7ff, 0x002, "Invalid Field: it is not there");

    // A size that changes.
    let mut geometry = stalling.geometry();
    geometry.blocks /= 2;
    orders.tell(Event::Resized(geometry));
    let event = host.wait_for("event", |_| engine.poll_event());
    assert_eq!((event.nsid, event.what), (Nsid(1), DeviceNews::Resized(geometry)));
    assert_eq!(engine.poll_event(), None, "two reactors see it, one event tells it");
    let memory = host.memory(4096, 0);
    let sgl = host.expose(queues[0].queue_pair, &memory, true);
    let last = u32::try_from(geometry.blocks).unwrap();
    let answer = host.command(queues[0], READ, 1, sgl, blocks(last, 1));
    assert_eq!(answer.status() & 0x7ff, 0x080, "LBA Out of Range");

    orders.tell(Event::Removed);
    let event = host.wait_for("event", |_| engine.poll_event());
    assert_eq!((event.nsid, event.what), (Nsid(1), DeviceNews::Removed));
    assert!(engine.status().namespaces[0].is_device_removed);

    // One that stalls is removed all the same, and what it had is answered.
    orders.stall(true);
    begin_read(&mut host, queues[0], 1, 1);
    host.wait_for("stall", |_| (orders.held() == 1).then_some(()));
    engine.remove_namespace(&nqn(), Nsid(1)).unwrap();
    assert_eq!(host.answer(queues[0].queue_pair).status() & 0x7ff, 0x082, "Namespace Not Ready");
    assert_eq!(Arc::strong_count(&stalling), 1, "nobody has the device any more");
    assert!(engine.remove_namespace(&nqn(), Nsid(1)).is_err());
    all_is_back(&mut host, &engine);
}

#[test]
fn more_capsules_than_receives_wait_and_none_is_lost() {
    let few = BufferOptions { receives: 64, ..buffers() };
    let (engine, to) = engine("127.0.81.18", 1, few);
    let (stalling, orders) = Stalling::wrap(open("mem:16MiB?bs=4096"));
    export(&engine, 1, &stalling);
    let mut host = Host::new("127.0.81.19", "nqn.2014-08.org.example:pushing");
    let admin = host.attach_to(to, SUBSYSTEM, 0).unwrap();
    let queues = [1, 2].map(|id| host.io_queue(to, SUBSYSTEM, admin, id, 100));
    orders.stall(true);
    for number in 0..198_u32 {
        let queue = queues[(number % 2) as usize];
        let mut capsule = entry(WRITE, number as u16, 1, Sgl::InCapsule(4096), blocks(number, 1)).to_vec();
        capsule.extend([number as u8; 4096]);
        host.send(queue.queue_pair, &capsule);
    }
    host.wait_for("stall", |_| (orders.held() >= 64).then_some(()));
    orders.stall(false);
    for queue in queues {
        for _ in 0..99 {
            assert_eq!(host.answer(queue.queue_pair).status(), 0);
        }
    }
    let memory = host.memory(4096 * 198, 0);
    let sgl = host.expose(queues[0].queue_pair, &memory, true);
    assert_eq!(host.command(queues[0], READ, 1, sgl, blocks(0, 198)).status(), 0);
    let mut data = vec![0; 4096 * 198];
    memory.read(0, &mut data).unwrap();
    assert!(
        data.chunks(4096).enumerate().all(|(number, block)| block.iter().all(|byte| *byte == number as u8))
    );
    all_is_back(&mut host, &engine);
}

#[test]
fn a_drain_answers_what_is_being_carried_out() {
    let (engine, to) = engine("127.0.81.20", 2, buffers());
    let (stalling, orders) = Stalling::wrap(open("mem:16MiB?bs=4096"));
    export(&engine, 1, &stalling);
    let mut host = Host::new("127.0.81.21", "nqn.2014-08.org.example:last");
    let admin = host.attach_to(to, SUBSYSTEM, 0).unwrap();
    let queues = [1, 2].map(|id| host.io_queue(to, SUBSYSTEM, admin, id, 8));
    orders.stall(true);
    for queue in queues {
        begin_read(&mut host, queue, 1, 128);
    }
    host.wait_for("stall", |_| (orders.held() == 2).then_some(()));
    let drained = std::thread::spawn(move || engine.drain(Duration::from_secs(20)));
    let end = host.now().after(Duration::from_millis(300));
    while host.now() < end {
        host.turn();
    }
    assert!(!drained.is_finished());
    orders.stall(false);
    for queue in queues {
        assert_eq!(host.answer(queue.queue_pair).status(), 0);
        closed(&mut host, queue);
    }
    closed(&mut host, admin);
    host.wait_for("end", |_| drained.is_finished().then_some(()));
    assert!(drained.join().unwrap());
}

#[test]
fn hundreds_of_connects_leave_nothing() {
    let (engine, to) = engine("127.0.81.22", 2, buffers());
    export(&engine, 1, &open("mem:16MiB?bs=4096"));
    let mut host = Host::new("127.0.81.23", "nqn.2014-08.org.example:restless");
    for round in 0..150 {
        let admin = host.attach_to(to, SUBSYSTEM, 0).unwrap();
        let queue = host.io_queue(to, SUBSYSTEM, admin, 1, 8);
        assert_eq!(read(&mut host, queue, 1), 0);
        if round % 2 == 0 {
            begin_read(&mut host, queue, 1, 128);
            host.vanish(queue);
        }
        host.vanish(admin);
        if round % 2 == 1 {
            closed(&mut host, queue);
        }
    }
    host.wait_for("end of all", |_| {
        let status = engine.status();
        let connections: u64 = status.reactors.iter().map(|reactor| reactor.connections).sum();
        (status.controllers.is_empty() && connections == 0).then_some(())
    });
    all_is_back(&mut host, &engine);
}
