//! Who has the port, and which shard gets a packet.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::process::Command;

use rustix::net::sockopt::set_socket_reuseport;
use rustix::net::{AddressFamily, SocketType, bind, socket};

use super::sys::outgoing::Outgoing;
use super::tests::{headers, link, open, take, v4};
use super::*;
use crate::error::OpenError;
use crate::soft::link::{Arrived, Link, Path, PayloadRef};
use crate::soft::wire::{Addresses, HEADERS_BYTES_MAX, Icrc, Opcode, UDP_PORT};

fn is_taken(address: IpAddr, shards: u16) -> bool {
    match PortSet::open(address, shards) {
        Ok(_) => false,
        Err(OpenError::PortTaken { address: taken }) => {
            assert_eq!(taken, address);
            true
        }
        Err(other) => panic!("{other}"),
    }
}

fn sharing(address: IpAddr) -> Option<OwnedFd> {
    let socket = socket(AddressFamily::INET, SocketType::DGRAM, None).unwrap();
    set_socket_reuseport(&socket, true).unwrap();
    bind(&socket, &SocketAddr::new(address, UDP_PORT)).ok()?;
    Some(socket)
}

#[test]
fn the_port_has_one_owner() {
    let address = v4(20, 1);
    for shards in [1, 4] {
        let first = open(address, shards);
        assert!(is_taken(address, 1) && is_taken(address, 4));
        drop(open(v4(20, 2), shards));
        drop(first);
    }
    drop(open(address, 2));
}

#[test]
fn a_link_keeps_the_port_and_comes_back() {
    let address = v4(21, 1);
    let ports = PortSet::open(address, 2).unwrap();
    let first = ports.link(0).unwrap().unwrap();
    assert!(ports.link(0).unwrap().is_none() && ports.link(2).unwrap().is_none());
    drop(first);
    let again = ports.link(0).unwrap().unwrap();
    drop(ports);
    assert!(is_taken(address, 1));
    drop(again);
    drop(open(address, 1));
}

/// The variable that tells the other process which address to try.
const ADDRESS_VARIABLE: &str = "RDMA_TEST_ADDRESS";
const TAKEN: i32 = 43;
const FREE: i32 = 42;

/// What the other process of [`another_process_is_refused`] runs.
#[test]
#[ignore = "a part of another test, run by it"]
fn tries_the_port() {
    let Ok(address) = std::env::var(ADDRESS_VARIABLE) else { return };
    let taken = is_taken(address.parse().unwrap(), 2);
    std::process::exit(if taken { TAKEN } else { FREE });
}

#[test]
fn another_process_is_refused() {
    let address = v4(22, 1);
    let other = || {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--ignored", "--exact", "soft::udp::port_tests::tries_the_port"]);
        command.env(ADDRESS_VARIABLE, address.to_string()).output().unwrap().status.code()
    };
    assert_eq!(other(), Some(FREE));
    for shards in [1, 3] {
        let held = open(address, shards);
        assert_eq!(other(), Some(TAKEN));
        drop(held);
    }
    assert_eq!(other(), Some(FREE));
}

#[test]
fn a_stranger_who_shares_the_port_is_an_owner_too() {
    let address = v4(23, 1);
    let stranger = sharing(address).unwrap();
    assert!(is_taken(address, 1) && is_taken(address, 4));
    drop(stranger);
    let alone = open(address, 1);
    assert!(sharing(address).is_none(), "nobody joins an only socket");
    drop(alone);
}

#[test]
fn a_stranger_who_joins_later_gets_no_packet() {
    let (from, to) = (v4(24, 1), v4(24, 2));
    let ports = PortSet::open(to, 2).unwrap();
    let stranger: UdpSocket = sharing(to).unwrap().into();
    stranger.set_nonblocking(true).unwrap();
    let mut links = [0, 1].map(|shard| ports.link(shard).unwrap().unwrap());
    let mut sender = link(from);
    for queue_pair in 1..64 {
        let headers = headers(Opcode::SendOnly, queue_pair << SHARD_SHIFT | 1, queue_pair);
        sender.push(&Path { peer: to }, &headers, PayloadRef::Empty);
    }
    sender.flush();
    assert_eq!(take(&mut links[1], 1).len(), 1);
    assert_eq!(take(&mut links[0], 62).len(), 62);
    assert!(stranger.recv(&mut [0; 99]).is_err());
}

fn packets_go_to_the_shard_of_their_queue_pair(from: IpAddr, to: IpAddr) {
    let ports = open(to, 5);
    let mut sender = if from == to { None } else { Some(link(from)) };
    let mut links: Vec<_> = (0..5).map(|shard| ports.link(shard).unwrap().unwrap()).collect();
    // Queue pair 1 and what belongs to no shard go to the first.
    let cases = [
        (1, 0),
        (2, 0),
        ((1 << 18) - 1, 0),
        (1 << 18, 1),
        ((2 << 18) + 77, 2),
        ((5 << 18) - 1, 4),
        (5 << 18, 0),
    ];
    for (psn, (queue_pair, shard)) in (0..).zip(cases) {
        let sender = sender.as_mut().unwrap_or(&mut links[3]);
        sender.push(&Path { peer: to }, &headers(Opcode::SendOnly, queue_pair, psn), PayloadRef::Empty);
        sender.flush();
        assert_eq!(take(&mut links[shard], 1), [(from, psn, Vec::new())], "queue pair {queue_pair:#x}");
    }
    for link in &mut links {
        assert_eq!(link.receive(|_| ()), 0);
        assert_eq!(link.counters().packets_handed_over, 0);
    }
}

#[test]
fn packets_are_steered_over_ipv4() {
    packets_go_to_the_shard_of_their_queue_pair(v4(25, 1), v4(25, 2));
}

#[test]
fn packets_are_steered_over_ipv6() {
    let address = Ipv6Addr::LOCALHOST.into();
    packets_go_to_the_shard_of_their_queue_pair(address, address);
}

#[test]
fn what_lands_at_the_wrong_shard_is_handed_over() {
    let (from, to) = (v4(26, 1), v4(26, 2));
    let ports = PortSet::open(to, 3).unwrap();
    let mut links: Vec<_> = (0..3).map(|shard| ports.link(shard).unwrap().unwrap()).collect();
    // One batch for three shards, which our own sender would not make: the kernel steers it by the first.
    let socket = UdpSocket::bind((from, UDP_PORT)).unwrap();
    let mut batch = Outgoing::new().unwrap();
    batch.begin(to, UDP_PORT);
    for (number, shard) in (0..).zip([1u32, 0, 2, 1]) {
        let mut bytes = [0; HEADERS_BYTES_MAX];
        let length = headers(Opcode::SendOnly, shard << SHARD_SHIFT | 3, shard).write(0, &mut bytes);
        let addresses = Addresses::new(from, to, UDP_PORT, UDP_PORT);
        batch.add_bytes(&bytes[..length]);
        batch.add_bytes(Icrc::new(&addresses, number, &bytes[..length], 0).finish().bytes());
    }
    batch.cut(16);
    assert_eq!(batch.send(std::os::fd::AsFd::as_fd(&socket), 0).unwrap(), 1);
    assert_eq!(take(&mut links[1], 2).len(), 2);
    assert_eq!(links[1].counters().packets_handed_over, 2);
    for shard in [0u16, 2] {
        assert_eq!(take(&mut links[usize::from(shard)], 1), [(from, u32::from(shard), Vec::new())]);
    }
}

#[test]
fn a_packet_can_be_handed_to_a_shard_by_hand() {
    let ports = PortSet::open(v4(27, 1), 2).unwrap();
    let mut owner = ports.link(1).unwrap().unwrap();
    assert!(ports.handover(2).is_none());
    // Queue pair 1, which by its number is another shard's: what is handed over is not sent on.
    let packet = [0x64, 0, 0xff, 0xff, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
    assert!(ports.handover(1).unwrap().offer(Arrived { source: v4(27, 2), packet: &packet }));
    let mut seen = 0;
    assert_eq!(owner.receive(|arrived| seen += arrived.packet.len()), 1);
    assert_eq!(seen, packet.len());
}

#[test]
fn what_is_no_address_of_ours_is_refused() {
    let refused = |address: &str, shards| PortSet::open(address.parse().unwrap(), shards).err().unwrap();
    for address in ["192.0.2.1", "0.0.0.0", "::", "2001:db8::1", "224.0.0.1", "255.255.255.255"] {
        assert!(matches!(refused(address, 1), OpenError::NoDevice { provider: "soft", .. }), "{address}");
    }
    for (address, shards) in [("127.77.28.1", 0), ("127.77.28.1", 65), ("fe80::1", 1)] {
        assert!(matches!(refused(address, shards), OpenError::Unfit(_)), "{address}");
    }
    assert_eq!(PortSet::open("::ffff:127.77.28.1".parse().unwrap(), 64).unwrap().shards(), 64);
}

#[test]
fn the_device_is_known() {
    let ports = PortSet::open(v4(29, 1), 1).unwrap();
    assert_eq!((ports.interface().name.as_str(), ports.address()), ("lo", v4(29, 1)));
    assert!(ports.receive_buffer_bytes() >= 200 << 10);
    assert_eq!(ports.poll_event(), None);
}
