//! The server as clients see it, over its sockets.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use block::{Abilities, Access, BlockSize, Event, MemDevice};
use proptest::prelude::*;
use tempfile::TempDir;

use super::engine::tests::slow::{Knobs, SlowDevice, began_anew};
use super::*;

const READ: u16 = 0;
const WRITE: u16 = 1;
const DISCONNECT: u16 = 2;
const FLUSH: u16 = 3;
const TRIM: u16 = 4;
const WRITE_ZEROES: u16 = 6;

/// A server of a test, and where it is.
struct Rig {
    directory: TempDir,
    server: Option<Server>,
}

impl Rig {
    fn start(device: Arc<dyn BlockDevice>, change: impl FnOnce(&mut ServerOptions)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let address = Address::Unix(directory.path().join("s"));
        let mut options = ServerOptions::new("disk".parse().unwrap(), address);
        change(&mut options);
        Self { directory, server: Some(Server::start(device, options).unwrap()) }
    }

    fn of_memory() -> Self {
        Self::start(Arc::new(memory()), |_| {})
    }

    fn slow() -> (Self, Arc<Mutex<Knobs>>) {
        let device = SlowDevice::new(BlockSize::B512, 64 << 20, Abilities::empty(), 1);
        let knobs = Arc::clone(&device.knobs);
        (Self::start(Arc::new(device), |_| {}), knobs)
    }

    fn connect(&self) -> Peer {
        let mut peer = self.greeted();
        peer.say(b"\0\0\0\x03IHAVEOPT\0\0\0\x01\0\0\0\x04disk");
        let answer = peer.hear(10);
        assert_eq!(u64::from_be_bytes(answer[..8].try_into().unwrap()), 64 << 20);
        peer
    }

    fn greeted(&self) -> Peer {
        let stream = UnixStream::connect(self.directory.path().join("s")).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let mut peer = Peer { stream };
        assert_eq!(peer.hear(18), b"NBDMAGICIHAVEOPT\0\x03");
        peer
    }

    fn status(&self) -> Status {
        self.server.as_ref().unwrap().status()
    }

    fn stop(&mut self) -> Result<(), StopError> {
        let server = self.server.take().unwrap();
        server.stop();
        server.wait()
    }
}

fn memory() -> MemDevice {
    MemDevice::new("mem:64MiB", BlockSize::B4096, 64 << 20, Access::ReadWrite).unwrap()
}

/// A client made of literal bytes.
struct Peer {
    stream: UnixStream,
}

fn command(flags: u16, kind: u16, cookie: u64, offset: u64, bytes: u32) -> Vec<u8> {
    let mut said = b"\x25\x60\x95\x13".to_vec();
    said.extend(flags.to_be_bytes());
    said.extend(kind.to_be_bytes());
    said.extend(cookie.to_be_bytes());
    said.extend(offset.to_be_bytes());
    said.extend(bytes.to_be_bytes());
    said
}

impl Peer {
    fn say(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    fn hear(&mut self, bytes: usize) -> Vec<u8> {
        let mut heard = vec![0; bytes];
        self.stream.read_exact(&mut heard).unwrap();
        heard
    }

    fn is_at_end(&mut self) -> bool {
        match self.stream.read(&mut [0]) {
            Ok(count) => count == 0,
            Err(error) => error.kind() == ErrorKind::ConnectionReset,
        }
    }

    /// Cookie and error of the next simple reply.
    fn reply(&mut self) -> (u64, u32) {
        let head = self.hear(16);
        assert_eq!(head[..4], *b"\x67\x44\x66\x98");
        let word = |at: usize| u32::from_be_bytes(head[at..at + 4].try_into().unwrap());
        (u64::from_be_bytes(head[8..].try_into().unwrap()), word(4))
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> u32 {
        self.say(&command(0, WRITE, 1, offset, u32::try_from(data.len()).unwrap()));
        self.say(data);
        self.reply().1
    }

    fn read(&mut self, offset: u64, bytes: u32) -> Result<Vec<u8>, u32> {
        self.say(&command(0, READ, 2, offset, bytes));
        match self.reply() {
            (2, 0) => Ok(self.hear(bytes as usize)),
            (_, error) => Err(error),
        }
    }

    fn ask(&mut self, kind: u16, offset: u64, bytes: u32) -> u32 {
        self.say(&command(0, kind, 3, offset, bytes));
        self.reply().1
    }
}

#[test]
fn what_one_client_wrote_another_reads() {
    let mut rig = Rig::of_memory();
    let (mut one, mut other) = (rig.connect(), rig.connect());
    let data: Vec<u8> = (0..300_000u32).map(|at| u8::try_from(at % 251).unwrap()).collect();
    assert_eq!(one.write(12_345, &data), 0);
    assert_eq!(other.read(12_345, 300_000).unwrap(), data);
    assert_eq!((one.ask(FLUSH, 0, 0), one.ask(TRIM, 0, 4096), one.ask(WRITE_ZEROES, 12_345, 99)), (0, 0, 0));
    assert_eq!(other.read(12_345, 100).unwrap()[98..], [0, data[99]]);
    one.say(&command(0, DISCONNECT, 0, 0, 0));
    assert!(one.is_at_end());
    assert_eq!((rig.status().accepted, rig.status().unaligned), (2, 4));
    drop(other);
    rig.stop().unwrap();
}

#[test]
fn wrong_commands_are_answered_and_the_connection_goes_on() {
    let rig = Rig::of_memory();
    let mut peer = rig.connect();
    let end = 64 << 20;
    assert_eq!(peer.read(end, 1), Err(22));
    assert_eq!(peer.read(0, (32 << 20) + 1), Err(22));
    assert_eq!(peer.write(end - 1, &[1; 2]), 28);
    assert_eq!(peer.write(u64::MAX, &[1; 5000]), 28);
    assert_eq!(peer.ask(99, 0, 0), 22);
    assert_eq!(peer.ask(5, 0, 4096), 22);
    peer.say(&command(0x8000, READ, 9, 0, 1));
    assert_eq!(peer.reply(), (9, 22));
    assert_eq!(peer.write(0, &[]), 0);
    assert_eq!(peer.read(end, 0), Ok(vec![]));
    assert_eq!(peer.read(0, 1), Ok(vec![0]));
    assert_eq!(rig.status().errors, 7);
}

#[test]
fn what_is_no_command_ends_the_connection_and_no_other() {
    let rig = Rig::of_memory();
    let (mut bad, mut good) = (rig.connect(), rig.connect());
    bad.say(b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n");
    assert!(bad.is_at_end());
    let mut bad = rig.connect();
    bad.say(&command(0, WRITE, 1, 0, u32::MAX));
    assert!(bad.is_at_end());
    let mut bad = rig.greeted();
    bad.say(b"\xff\xff\xff\xff");
    assert!(bad.is_at_end());
    assert_eq!(good.read(0, 1), Ok(vec![0]));
}

#[test]
fn clients_that_vanish_leave_nothing_behind() {
    let rig = Rig::of_memory();
    for cut in [0, 10, 28, 100, 4000] {
        let mut peer = rig.connect();
        let said = [command(0, WRITE, 1, 0, 100_000), vec![1; 4000]].concat();
        peer.say(&said[..cut]);
        drop(peer);
    }
    let mut peer = rig.connect();
    for _ in 0..100 {
        peer.say(&command(0, READ, 1, 0, 1 << 20));
    }
    drop(peer);
    let mut peer = rig.connect();
    assert!(peer.read(0, 32 << 20).unwrap().iter().all(|byte| *byte == 0));
    while rig.status().clients > 1 {
        thread::yield_now();
    }
}

#[test]
fn a_client_that_takes_no_replies_does_not_stop_others() {
    let rig = Rig::of_memory();
    let mut stuck: Vec<_> = (0..3).map(|_| rig.connect()).collect();
    for peer in &mut stuck {
        for cookie in 0..40 {
            peer.say(&command(0, READ, cookie, 0, 8 << 20));
        }
    }
    let mut peer = rig.connect();
    for _ in 0..20 {
        assert_eq!(peer.write(0, &[1; 200_000]), 0);
        assert_eq!(peer.read(0, 200_000).unwrap(), [1; 200_000]);
    }
    for peer in &mut stuck {
        for cookie in 0..40 {
            assert_eq!(peer.reply(), (cookie, 0));
            peer.hear(8 << 20);
        }
    }
}

#[test]
fn more_in_flight_than_may_be_is_more_than_a_client_has_to_know() {
    let rig = Rig::of_memory();
    let mut peer = rig.connect();
    let mut writer = Peer { stream: peer.stream.try_clone().unwrap() };
    let says = thread::spawn(move || {
        for cookie in 0..5000u64 {
            writer.say(&command(0, WRITE, cookie, cookie * 4096, 4096));
            writer.say(&[u8::try_from(cookie % 256).unwrap(); 4096]);
        }
    });
    let mut cookies: Vec<_> = (0..5000).map(|_| peer.reply()).collect();
    cookies.sort_unstable();
    assert!(cookies.iter().zip(0..).all(|(reply, cookie)| *reply == (cookie, 0)));
    says.join().unwrap();
    assert_eq!(peer.read(4999 * 4096, 1), Ok(vec![135]));
}

#[test]
fn there_are_so_many_clients_and_no_more() {
    let rig = Rig::start(Arc::new(memory()), |options| options.clients_max = 2);
    let (_one, two) = (rig.connect(), rig.connect());
    let mut third = Peer { stream: UnixStream::connect(rig.directory.path().join("s")).unwrap() };
    assert!(third.is_at_end());
    drop(two);
    while rig.status().clients > 1 {
        thread::yield_now();
    }
    rig.connect();
}

#[test]
fn a_read_only_export_takes_no_writes() {
    let mut rig = Rig::start(Arc::new(memory()), |options| options.read_only = true);
    let mut peer = rig.connect();
    assert_eq!(peer.write(0, &[1; 5000]), 1);
    assert_eq!((peer.ask(TRIM, 0, 4096), peer.ask(WRITE_ZEROES, 0, 4096), peer.ask(FLUSH, 0, 0)), (1, 1, 0));
    assert_eq!(peer.read(0, 1), Ok(vec![0]));
    rig.stop().unwrap();
}

#[test]
fn a_device_in_use_is_not_served() {
    let rig = Rig::of_memory();
    let device: Arc<dyn BlockDevice> = Arc::new(memory());
    let options = |file| {
        let address = Address::Unix(rig.directory.path().join(file));
        ServerOptions::new("disk".parse().unwrap(), address)
    };
    let first = Server::start(Arc::clone(&device), options("a")).unwrap();
    let refused = Server::start(Arc::clone(&device), options("b")).unwrap_err();
    assert_eq!(refused.to_string(), "mem:64MiB: blocks 0+16384 are in use by attachment disk");
    first.stop();
    first.wait().unwrap();
    drop(Server::start(device, options("b")).unwrap());
}

#[test]
fn stopping_ends_what_is_under_way_and_refuses_what_comes() {
    let (mut rig, knobs) = Rig::slow();
    let (mut peer, mut idle, mut asking) = (rig.connect(), rig.connect(), rig.greeted());
    knobs.lock().unwrap().held = true;
    peer.say(&command(0, WRITE, 1, 0, 512));
    peer.say(&[1; 512]);
    while !knobs.lock().unwrap().seen.contains(&block::Op::Write { fua: false }) {
        thread::yield_now();
    }
    let server = rig.server.take().unwrap();
    server.stop();
    while rig.directory.path().join("s").exists() {
        thread::yield_now();
    }
    peer.say(&command(0, WRITE, 2, 0, 512));
    peer.say(&[2; 512]);
    peer.say(&command(0, READ, 3, 0, 512));
    assert_eq!((peer.reply(), peer.reply()), ((2, 108), (3, 108)));
    asking.say(b"\0\0\0\x03IHAVEOPT\0\0\0\x07\0\0\0\x06\0\0\0\0\0\0");
    assert_eq!(asking.hear(20)[12..16], *b"\x80\0\0\x07");
    assert!(!server.has_ended());
    knobs.lock().unwrap().held = false;
    assert_eq!(peer.reply(), (1, 0));
    assert!(peer.is_at_end() && idle.is_at_end());
    drop((peer, idle, asking));
    server.wait().unwrap();
    assert_eq!(knobs.lock().unwrap().seen.last(), Some(&block::Op::Flush));
}

#[test]
fn a_flush_that_fails_at_the_end_is_told() {
    let (mut rig, knobs) = Rig::slow();
    knobs.lock().unwrap().fails = Some(|op| *op == block::Op::Flush);
    assert!(matches!(rig.stop(), Err(StopError::NotFlushed { .. })));
}

#[test]
fn a_device_that_goes_ends_the_server() {
    let (mut rig, knobs) = Rig::slow();
    let mut peer = rig.connect();
    knobs.lock().unwrap().events.push(Event::Removed);
    let _ = peer.read(0, 1);
    assert!(matches!(rig.server.take().unwrap().wait(), Err(StopError::Removed)));
}

#[test]
fn each_client_hears_once_of_a_loss() {
    let (rig, knobs) = Rig::slow();
    let (mut one, mut other) = (rig.connect(), rig.connect());
    assert_eq!(one.write(0, &[1; 512]), 0);
    knobs.lock().unwrap().events.push(began_anew(1));
    assert_eq!((one.ask(FLUSH, 0, 0), other.ask(FLUSH, 0, 0)), (5, 5));
    assert_eq!((one.ask(FLUSH, 0, 0), other.ask(FLUSH, 0, 0)), (0, 0));
    assert_eq!(rig.connect().ask(FLUSH, 0, 0), 0);
}

#[test]
fn large_writes_are_not_copied() {
    let rig = Rig::of_memory();
    let mut peer = rig.connect();
    for _ in 0..50 {
        let said = [command(0, WRITE, 1, 0, 131_072), vec![1; 131_072]].concat();
        peer.say(&said);
        assert_eq!(peer.reply(), (1, 0));
    }
    let copied = rig.status().copied_bytes;
    assert!(copied <= 65_536, "{copied}: only the first could come together with its command");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..Default::default() })]

    /// Whatever a client sends after the handshake, others are served, and nothing of it stays behind.
    #[test]
    fn nonsense_harms_its_sender_only(
        commands in proptest::collection::vec(
            (any::<u16>(), 0u16..10, prop_oneof![any::<u64>(), 0u64..60 << 20], prop_oneof![1u32 << 27..=u32::MAX, 0u32..70_000]),
            1..30,
        ),
        payload in 0usize..5000,
        flagged in any::<bool>(),
    ) {
        let rig = hostile_rig();
        let mut bad = rig.connect();
        let mut said = Vec::new();
        for (flags, kind, offset, bytes) in commands {
            said.extend(command(if flagged { flags } else { 0 }, kind, 5, offset, bytes));
            if kind == WRITE {
                said.extend(vec![0x25; payload.min(bytes as usize)]);
            }
        }
        // It may be thrown out in the middle.
        let _ = bad.stream.write_all(&said);
        let mut good = rig.connect();
        // Where no command of the other's can reach that is not refused.
        let place = 63 << 20;
        prop_assert_eq!(good.write(place, &[3; 100]), 0);
        prop_assert_eq!(good.read(place, 100).unwrap(), [3; 100]);
        drop((bad, good));
        while rig.status().clients > 0 {
            thread::yield_now();
        }
    }
}

/// One server for all cases: what one of them leaves behind, the next ones find.
fn hostile_rig() -> &'static Rig {
    static RIG: OnceLock<Rig> = OnceLock::new();
    RIG.get_or_init(Rig::of_memory)
}

#[test]
fn tcp_serves_too() {
    let mut rig = Rig::start(Arc::new(memory()), |options| {
        options.addresses.push("tcp:0".parse().unwrap());
    });
    let Address::Tcp(address) = rig.server.as_ref().unwrap().addresses()[1] else {
        unreachable!("the second is TCP")
    };
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.write_all(b"\0\0\0\x03IHAVEOPT\0\0\0\x01\0\0\0\0").unwrap();
    let mut greeting = [0; 28];
    stream.read_exact(&mut greeting).unwrap();
    assert_eq!(greeting[..18], *b"NBDMAGICIHAVEOPT\0\x03");
    drop(stream);
    rig.stop().unwrap();
}
