//! The link over real sockets of the loopback. Each test has addresses of its own, for tests run at once.

use std::net::{IpAddr, Ipv6Addr};

use dma::{MemoryOptions, Pool, PoolOptions, Segment};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::BorrowedFd;

use super::*;
use crate::device::PathMtu;
use crate::soft::link::{Link, Path, PayloadRef};
use crate::soft::wire::{Extension, Headers, Opcode, Packet, Psn, Qpn, Reth};

/// Looks at a socket, each waiting for up to a second, before a test gives up.
const LOOKS_MAX: usize = 2000;

fn v4(test: u8, host: u8) -> IpAddr {
    IpAddr::from([127, 77, test, host])
}

fn link(address: IpAddr) -> UdpLink {
    PortSet::open(address, 1).unwrap().link(0).unwrap().unwrap()
}

fn segment(bytes: u32, seed: u32) -> Segment {
    let memory = MemoryOptions { ordinary_pages: true, ..Default::default() };
    let pool = Pool::new(PoolOptions { chunk_bytes: bytes, chunks: 1, memory }).unwrap();
    let mut buffer = pool.take().unwrap();
    buffer.write(0, &pattern(bytes, seed)).unwrap();
    buffer.into_segment()
}

fn pattern(bytes: u32, seed: u32) -> Vec<u8> {
    (0..bytes).map(|at| at.wrapping_mul(2_654_435_761).wrapping_add(seed).to_le_bytes()[2]).collect()
}

fn headers(opcode: Opcode, queue_pair: u32, psn: u32) -> Headers {
    let extension = match opcode {
        Opcode::WriteFirst | Opcode::WriteOnly => Extension::Reth(Reth { address: 0x1000, key: 7, bytes: 1 }),
        _ => Extension::None,
    };
    let destination = Qpn::try_from(queue_pair).unwrap();
    Headers { opcode, destination, psn: Psn::new(psn), ack_request: false, solicited: false, extension }
}

/// What arrives: source, PSN, payload.
fn take(link: &mut UdpLink, count: usize) -> Vec<(IpAddr, u32, Vec<u8>)> {
    let mut taken = Vec::new();
    for _ in 0..LOOKS_MAX {
        link.receive(|arrived| {
            let packet = Packet::parse(arrived.packet).unwrap();
            taken.push((arrived.source, packet.headers.psn.value(), packet.payload.to_vec()));
        });
        if taken.len() >= count {
            break;
        }
        wait(link);
    }
    taken
}

fn wait(link: &UdpLink) {
    let mut descriptors = Vec::new();
    link.wake_descriptors(&mut descriptors);
    // The link keeps its descriptors open.
    #[allow(unsafe_code, reason = "a descriptor by number")]
    let borrowed: Vec<_> = descriptors
        .iter()
        // SAFETY: the descriptors are the link's, which is borrowed for this function.
        .map(|descriptor| unsafe { BorrowedFd::borrow_raw(*descriptor) })
        .collect();
    let mut polled: Vec<_> =
        borrowed.iter().map(|descriptor| PollFd::new(descriptor, PollFlags::IN)).collect();
    poll(&mut polled, Some(&Timespec { tv_sec: 1, tv_nsec: 0 })).unwrap();
}

/// A message of 15 full packets and a short one, from registered memory.
fn send_write(from: &mut UdpLink, to: IpAddr, data: &Segment, queue_pair: u32) {
    let mtu = PathMtu::Bytes4096.bytes();
    let packets = data.bytes().div_ceil(mtu);
    for index in 0..packets {
        let opcode = match index {
            0 => Opcode::WriteFirst,
            _ if index + 1 == packets => Opcode::WriteLast,
            _ => Opcode::WriteMiddle,
        };
        let offset = index * mtu;
        let bytes = mtu.min(data.bytes() - offset);
        let payload = PayloadRef::Segment { segment: data, offset, bytes };
        from.push(&Path { peer: to }, &headers(opcode, queue_pair, index), payload);
    }
    from.flush();
}

fn a_message_arrives(from: IpAddr, to: IpAddr) {
    let (mut sender, mut receiver) = (link(from), link(to));
    let data = segment(15 * 4096 + 10, 1);
    send_write(&mut sender, to, &data, 77);
    let taken = take(&mut receiver, 16);
    assert_eq!(taken.iter().map(|(_, psn, _)| *psn).collect::<Vec<_>>(), (0..16).collect::<Vec<_>>());
    assert!(taken.iter().all(|(source, _, _)| *source == from));
    let bytes: Vec<u8> = taken.into_iter().flat_map(|(_, _, payload)| payload).collect();
    assert_eq!(bytes, pattern(15 * 4096 + 10, 1));
    let (sent, received) = (sender.counters(), receiver.counters());
    assert_eq!((sent.packets_sent, sent.packets_lost, sent.system_calls), (16, 0, 1));
    assert_eq!(sent.bytes_copied, 0);
    assert_eq!((received.packets_received, received.dropped_icrc, received.dropped_malformed), (16, 0, 0));
    assert_eq!(received.bytes_received, sent.bytes_sent);
    // FIRST 16 + MIDDLE and LAST 12 + ICRC, and what pads 10 bytes to 12.
    assert_eq!(sent.bytes_sent, 15 * 4096 + 12 + 16 * (12 + 4) + 16);
}

#[test]
fn a_message_arrives_over_ipv4() {
    a_message_arrives(v4(1, 1), v4(1, 2));
}

#[test]
fn packets_to_oneself_arrive_over_ipv6() {
    let address = IpAddr::V6(Ipv6Addr::LOCALHOST);
    let mut both = link(address);
    let data = segment(9 * 4096, 5);
    send_write(&mut both, address, &data, 3);
    let bytes: Vec<u8> = take(&mut both, 9).into_iter().flat_map(|(_, _, payload)| payload).collect();
    assert_eq!(bytes, pattern(9 * 4096, 5));
    assert_eq!(both.counters().dropped_icrc, 0);
}
