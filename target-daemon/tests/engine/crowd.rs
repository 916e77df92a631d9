//! Many hosts at once, on little memory.

use std::time::Duration;

use block::MonotonicClock;
use target_daemon::engine::BufferOptions;

use super::host::{Host, Queue, Sgl, entry};
use super::rig::{SUBSYSTEM, engine, export, open};

const READ: u8 = 0x02;
const WRITE: u8 = 0x01;
const KEEP_ALIVE: u8 = 0x18;

/// Hosts, and commands of 1 MiB that each has in flight and in all.
const HOSTS: u16 = 16;
const DEPTH: u16 = 8;
const COMMANDS: u16 = 24;
const BLOCK_BYTES: u32 = 4096;
const COMMAND_BYTES: u32 = 1 << 20;

struct Busy {
    host: Host,
    admin: Queue,
    queue: Queue,
    sgl: Sgl,
    begun: u16,
    answered: u16,
    keep_alive_at: block::Timestamp,
    opcode: u8,
}

impl Busy {
    fn new(to: std::net::SocketAddr, number: u16) -> Self {
        let name = format!("nqn.2014-08.org.example:crowd{number}");
        let mut host = Host::with_memory(&format!("127.0.82.{}", 10 + number), &name, 2);
        let begun = host.now();
        let admin = host.attach_to(to, SUBSYSTEM, 5000).unwrap();
        let queue = host.io_queue(to, SUBSYSTEM, admin, 1, 32);
        let took = host.now().since(begun);
        assert!(took < Duration::from_secs(5), "a Connect takes {took:?}");
        let memory = host.memory(COMMAND_BYTES, number as u8);
        let sgl = host.expose(queue.queue_pair, &memory, false);
        let opcode = if number.is_multiple_of(2) { WRITE } else { READ };
        let keep_alive_at = host.now();
        Self { host, admin, queue, sgl, begun: 0, answered: 0, keep_alive_at, opcode }
    }

    fn step(&mut self) {
        self.host.turn();
        if self.begun < COMMANDS && self.begun - self.answered < DEPTH {
            let dwords = [0, 0, COMMAND_BYTES / BLOCK_BYTES - 1, 0, 0, 0];
            self.host.send(self.queue.queue_pair, &entry(self.opcode, self.begun, 1, self.sgl, dwords));
            self.begun += 1;
        }
        if let Some(answer) = self.host.take_answer(self.queue.queue_pair) {
            assert_eq!(answer.status(), 0);
            self.answered += 1;
        }
        if let Some(answer) = self.host.take_answer(self.admin.queue_pair) {
            assert_eq!(answer.status(), 0);
        }
        if self.host.now() >= self.keep_alive_at {
            self.keep_alive_at = self.host.now().after(Duration::from_millis(500));
            let cid = self.host.cid();
            self.host.send(self.admin.queue_pair, &entry(KEEP_ALIVE, cid, 0, Sgl::None, [0; 6]));
        }
        assert!(self.host.closed.is_empty(), "{:?}", self.host.closed);
    }
}

#[test]
fn large_commands_of_many_hosts_all_finish_on_little_memory() {
    let little = BufferOptions { data_bytes: 4 << 20, receives: 128, read_bytes: 2 << 20 };
    let (engine, to) = engine("127.0.82.1", 1, little);
    export(&engine, 1, &open("null:1GiB?bs=4096"));
    let mut hosts: Vec<Busy> = (0..HOSTS).map(|number| Busy::new(to, number)).collect();
    let mut order = Vec::new();
    let clock = MonotonicClock::start();
    let end = clock.now().after(Duration::from_secs(60));
    while hosts.iter().any(|busy| busy.answered < COMMANDS) {
        assert!(clock.now() < end, "not finished");
        for (number, busy) in hosts.iter_mut().enumerate() {
            let before = busy.answered;
            busy.step();
            if busy.answered != before {
                order.push(number);
            }
        }
    }
    assert!(engine.status().reactors[0].waited > 0, "memory did run out");
    // None was far ahead when another had half of its answers.
    let mut counts = vec![0_u16; hosts.len()];
    for number in order {
        counts[number] += 1;
        let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
        assert!(*most < COMMANDS || *least >= COMMANDS / 4, "{counts:?}");
    }
    let io = engine.status().namespaces[0].io;
    assert_eq!(io.reads + io.writes, u64::from(HOSTS * COMMANDS));
}
