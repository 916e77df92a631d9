//! Everything goes well.

use std::time::Duration;

use super::host::{Host, Queue, Sgl};
use super::rig::{SUBSYSTEM, buffers, engine, export, open};

const READ: u8 = 0x02;
const WRITE: u8 = 0x01;
const FLUSH: u8 = 0x00;
const ZEROES: u8 = 0x08;
const DATASET: u8 = 0x09;
const COMPARE: u8 = 0x05;

/// Dwords 10 to 15 of a command on blocks.
fn blocks(start: u32, count: u32) -> [u32; 6] {
    [start, 0, count - 1, 0, 0, 0]
}

fn read(host: &mut Host, queue: Queue, start: u32, count: u32, block_bytes: u32) -> Vec<u8> {
    let bytes = count * block_bytes;
    let memory = host.memory(bytes, 0xee);
    let sgl = host.expose(queue.queue_pair, &memory, true);
    let Sgl::Keyed(_, _, key, _) = sgl else { unreachable!() };
    let answer = host.command(queue, READ, 1, sgl, blocks(start, count));
    assert_eq!((answer.status(), answer.invalidated), (0, Some(key)), "exactly that key");
    let mut data = vec![0; bytes as usize];
    memory.read(0, &mut data).unwrap();
    data
}

fn write(host: &mut Host, queue: Queue, start: u32, count: u32, block_bytes: u32, value: u8) {
    let memory = host.memory(count * block_bytes, value);
    let sgl = host.expose(queue.queue_pair, &memory, true);
    let answer = host.command(queue, WRITE, 1, sgl, blocks(start, count));
    assert_eq!(answer.status(), 0);
}

#[test]
fn all_commands_of_an_io_queue() {
    let (engine, to) = engine("127.0.80.1", 1, buffers());
    let device = open("mem:16MiB");
    let block_bytes = device.geometry().block_size.bytes();
    export(&engine, 1, &device);
    let mut host = Host::new("127.0.80.2", "nqn.2014-08.org.example:host1");
    let admin = host.attach_to(to, SUBSYSTEM, 5000).unwrap();
    let queue = host.io_queue(to, SUBSYSTEM, admin, 1, 32);

    // In the capsule.
    let mut capsule =
        super::host::entry(WRITE, 0x1234, 1, Sgl::InCapsule(block_bytes), blocks(3, 1)).to_vec();
    capsule.extend(vec![0xa5; block_bytes as usize]);
    host.send(queue.queue_pair, &capsule);
    let answer = host.answer(queue.queue_pair);
    assert_eq!((answer.cid(), answer.status(), answer.invalidated), (0x1234, 0, None));
    let data = read(&mut host, queue, 2, 3, block_bytes);
    let block = block_bytes as usize;
    assert!(data[..block].iter().all(|byte| *byte == 0), "before it");
    assert!(data[block..2 * block].iter().all(|byte| *byte == 0xa5));
    assert!(data[2 * block..].iter().all(|byte| *byte == 0), "after it");

    // By key, small and of 1 MiB.
    write(&mut host, queue, 0, 1, block_bytes, 0x11);
    write(&mut host, queue, 64, (1 << 20) / block_bytes, block_bytes, 0x77);
    assert!(read(&mut host, queue, 0, 1, block_bytes).iter().all(|byte| *byte == 0x11));
    let data = read(&mut host, queue, 64, (1 << 20) / block_bytes, block_bytes);
    assert!(data.iter().all(|byte| *byte == 0x77));

    assert_eq!(host.command(queue, FLUSH, 1, Sgl::None, [0; 6]).status(), 0);
    assert_eq!(host.command(queue, ZEROES, 1, Sgl::None, blocks(64, 8)).status(), 0);
    assert!(read(&mut host, queue, 64, 8, block_bytes).iter().all(|byte| *byte == 0));

    // Two ranges, by key and in the capsule.
    let mut ranges = vec![0; 32];
    for (at, start) in [(0, 0x48u64), (16, 0x50)] {
        ranges[at + 4..at + 8].copy_from_slice(&2u32.to_le_bytes());
        ranges[at + 8..at + 16].copy_from_slice(&start.to_le_bytes());
    }
    let memory = host.memory(32, 0);
    memory.device_write(0, &ranges).unwrap();
    let sgl = host.expose(queue.queue_pair, &memory, true);
    assert_eq!(host.command(queue, DATASET, 1, sgl, [1, 4, 0, 0, 0, 0]).status(), 0);
    let mut capsule = super::host::entry(DATASET, 7, 1, Sgl::InCapsule(32), [1, 4, 0, 0, 0, 0]).to_vec();
    capsule.extend(ranges);
    host.send(queue.queue_pair, &capsule);
    assert_eq!(host.answer(queue.queue_pair).status(), 0);

    let memory = host.memory(block_bytes, 0x11);
    let sgl = host.expose(queue.queue_pair, &memory, true);
    assert_eq!(host.command(queue, COMPARE, 1, sgl, blocks(0, 1)).status(), 0);
    let memory = host.memory(block_bytes, 0x12);
    let sgl = host.expose(queue.queue_pair, &memory, true);
    assert_eq!(host.command(queue, COMPARE, 1, sgl, blocks(0, 1)).status() & 0x7ff, 0x285, "Compare Failure");

    let beyond = host.memory(block_bytes, 0);
    let sgl = host.expose(queue.queue_pair, &beyond, true);
    let answer = host.command(queue, READ, 1, sgl, blocks(1 << 30, 1));
    assert_eq!(answer.status() & 0x7ff, 0x080, "LBA Out of Range");

    // Disconnect.
    let answer = host.command(queue, 0x7f, 8, Sgl::None, [0; 6]);
    assert_eq!(answer.status(), 0);
    host.wait_for("end of the queue", |host| {
        host.closed.iter().any(|(closed, _)| *closed == queue.queue_pair).then_some(())
    });
    let status = engine.status();
    assert_eq!((status.controllers.len(), status.namespaces.len(), status.hosts.len()), (1, 1, 1));
    let io = status.namespaces[0].io;
    assert_eq!(
        (io.reads, io.writes, io.flushes, io.others),
        (4, 3, 1, 5),
        "the command beyond the end is not I/O"
    );
    assert_eq!(io.errors, 1, "the compare");
    assert_eq!(status.hosts[0].io, io);
    assert!(engine.drain(Duration::from_secs(5)));
}

#[test]
fn admin_commands_and_discovery() {
    let (engine, to) = engine("127.0.80.3", 1, buffers());
    export(&engine, 1, &open("null:1GiB"));
    let mut host = Host::new("127.0.80.4", "nqn.2014-08.org.example:host1");
    let admin = host.attach_to(to, SUBSYSTEM, 5000).unwrap();
    let memory = host.memory(4096, 0);
    let sgl = host.expose(admin.queue_pair, &memory, true);
    assert_eq!(host.command(admin, 0x06, 0, sgl, [1, 0, 0, 0, 0, 0]).status(), 0);
    let mut identify = [0; 4096];
    memory.read(0, &mut identify).unwrap();
    let name = &identify[768..768 + SUBSYSTEM.len()];
    assert_eq!(name, SUBSYSTEM.as_bytes());
    assert_eq!(host.command(admin, 0x18, 0, Sgl::None, [0; 6]).status(), 0, "keep alive");

    // Data from the host: the Host Behavior Support feature.
    let memory = host.memory(512, 0);
    let sgl = host.expose(admin.queue_pair, &memory, true);
    assert_eq!(host.command(admin, 0x09, 0, sgl, [0x16, 0, 0, 0, 0, 0]).status(), 0);

    let discovery = "nqn.2014-08.org.nvmexpress.discovery";
    let service = host.attach_to(to, discovery, 0).unwrap();
    let memory = host.memory(3 * 1024, 0);
    let sgl = host.expose(service.queue_pair, &memory, true);
    let dwords = [0x70 | (3 * 256 - 1) << 16, 0, 0, 0, 0, 0];
    assert_eq!(host.command(service, 0x02, 0, sgl, dwords).status(), 0);
    let mut log = vec![0; 3 * 1024];
    memory.read(0, &mut log).unwrap();
    assert_eq!(u64::from_le_bytes(log[8..16].try_into().unwrap()), 2, "itself and the subsystem");
    let name = &log[2 * 1024 + 256..2 * 1024 + 256 + SUBSYSTEM.len()];
    assert_eq!(name, SUBSYSTEM.as_bytes());
    assert_eq!(engine.status().controllers.len(), 2);
}

#[test]
fn several_reactors_share_the_queues_of_a_host() {
    let (engine, to) = engine("127.0.80.5", 3, buffers());
    let device = open("mem:16MiB");
    let block_bytes = device.geometry().block_size.bytes();
    export(&engine, 1, &device);
    let mut host = Host::new("127.0.80.6", "nqn.2014-08.org.example:host1");
    let admin = host.attach_to(to, SUBSYSTEM, 5000).unwrap();
    let queues: Vec<Queue> = (1..=6).map(|id| host.io_queue(to, SUBSYSTEM, admin, id, 16)).collect();
    for (index, queue) in queues.iter().enumerate() {
        write(&mut host, *queue, index as u32, 1, block_bytes, index as u8 + 1);
    }
    for (index, queue) in queues.iter().rev().enumerate() {
        let data = read(&mut host, *queue, index as u32, 1, block_bytes);
        assert!(data.iter().all(|byte| *byte == index as u8 + 1));
    }
    let view = |engine: &target_daemon::engine::Engine| {
        let reactors = engine.status().reactors;
        reactors.iter().map(|reactor| reactor.connections).collect::<Vec<_>>()
    };
    let spread = host.wait_for("spread", |_| {
        let connections = view(&engine);
        (connections.iter().sum::<u64>() == 7).then_some(connections)
    });
    assert!(spread.iter().all(|connections| *connections >= 2), "{spread:?}");
}
