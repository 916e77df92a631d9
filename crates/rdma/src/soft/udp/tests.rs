//! The link over real sockets of the loopback. Each test has addresses of its own, for tests run at once.

use std::net::{IpAddr, Ipv6Addr, UdpSocket};
use std::sync::Arc;

use dma::{MemoryOptions, Pool, PoolOptions, ScatterList, Segment};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::BorrowedFd;

use super::*;
use crate::device::PathMtu;
use crate::error::OpenError;
use crate::soft::link::{Link, Path, PayloadRef};
use crate::soft::wire::{Addresses, Extension, Headers, Icrc, Opcode, Packet, Psn, Qpn, Reth, UDP_PORT};

/// Looks at a socket, each waiting for up to a second, before a test gives up.
const LOOKS_MAX: usize = 2000;

pub(super) fn v4(test: u8, host: u8) -> IpAddr {
    IpAddr::from([127, 77, test, host])
}

pub(super) fn link(address: IpAddr) -> UdpLink {
    open(address, 1).link(0).unwrap().unwrap()
}

/// Opens an address when it is free. There is only one IPv6 address of the loopback, for all tests; and a process that
/// another test starts has the sockets of all tests for a moment, between its fork and its exec.
pub(super) fn open(address: IpAddr, shards: u16) -> Arc<PortSet> {
    for _ in 0..LOOKS_MAX {
        match PortSet::open(address, shards) {
            Err(OpenError::PortTaken { .. }) => {}
            other => return other.unwrap(),
        }
        poll(&mut [], Some(&Timespec { tv_sec: 0, tv_nsec: 10_000_000 })).unwrap();
    }
    panic!("{address} stays taken");
}

pub(super) fn segment(bytes: u32, seed: u32) -> Segment {
    let memory = MemoryOptions { ordinary_pages: true, ..Default::default() };
    let pool = Pool::new(PoolOptions { chunk_bytes: bytes, chunks: 1, memory }).unwrap();
    let mut buffer = pool.take().unwrap();
    buffer.write(0, &pattern(bytes, seed)).unwrap();
    buffer.into_segment()
}

fn pattern(bytes: u32, seed: u32) -> Vec<u8> {
    (0..bytes).map(|at| at.wrapping_mul(2_654_435_761).wrapping_add(seed).to_le_bytes()[2]).collect()
}

pub(super) fn headers(opcode: Opcode, queue_pair: u32, psn: u32) -> Headers {
    let extension = match opcode {
        Opcode::WriteFirst | Opcode::WriteOnly => Extension::Reth(Reth { address: 0x1000, key: 7, bytes: 1 }),
        _ => Extension::None,
    };
    let destination = Qpn::try_from(queue_pair).unwrap();
    Headers { opcode, destination, psn: Psn::new(psn), ack_request: false, solicited: false, extension }
}

/// What arrives: source, PSN, payload.
pub(super) fn take(link: &mut UdpLink, count: usize) -> Vec<(IpAddr, u32, Vec<u8>)> {
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

#[test]
fn each_icrc_covers_the_number_that_the_kernel_gives_the_packet() {
    let (from, to) = (v4(2, 1), v4(2, 2));
    let mut sender = link(from);
    // Without UDP_GRO packets come one by one.
    let receiver = UdpSocket::bind((to, UDP_PORT)).unwrap();
    send_write(&mut sender, to, &segment(5 * 4096, 9), 77);
    // FIRST is longer than MIDDLE: it may have one behind it, which is shorter. The rest has one length.
    let numbers = [0, 1, 0, 1, 2];
    let mut buffer = [0; 5000];
    for number in numbers {
        let length = receiver.recv(&mut buffer).unwrap();
        let (packet, icrc) = buffer[..length].split_at(length - 4);
        let (headers, payload) = packet.split_at(packet.len() - 4096);
        let addresses = Addresses::new(from, to, UDP_PORT, UDP_PORT);
        let mut expected = Icrc::new(&addresses, number, headers, 4096);
        expected.payload(payload);
        assert_eq!(expected.finish().bytes(), icrc);
    }
}

#[test]
fn corrupted_and_impossible_packets_are_dropped_and_counted() {
    let (from, to) = (v4(3, 1), v4(3, 2));
    let (mut sender, mut receiver) = (link(from), link(to));
    let path = Path { peer: to };
    let tap = UdpSocket::bind((v4(3, 3), UDP_PORT)).unwrap();
    sender.push(&Path { peer: v4(3, 3) }, &headers(Opcode::SendOnly, 9, 1), PayloadRef::Bytes(b"good"));
    sender.flush();
    let mut packet = [0; 64];
    let length = tap.recv(&mut packet).unwrap();
    // What was meant for another address fails here, and so does every shortened one.
    tap.send_to(&packet[..length], (to, UDP_PORT)).unwrap();
    for cut in 0..length {
        tap.send_to(&packet[..cut], (to, UDP_PORT)).unwrap();
    }
    tap.send_to(&[0xff; 5000], (to, UDP_PORT)).unwrap();
    sender.push(&path, &headers(Opcode::SendOnly, 9, 2), PayloadRef::Bytes(b"good"));
    sender.flush();
    assert_eq!(take(&mut receiver, 1), [(from, 2, b"good".to_vec())]);
    let counters = receiver.counters();
    assert_eq!(counters.packets_received, 3 + length as u64);
    assert_eq!(counters.dropped_icrc + counters.dropped_malformed, 2 + length as u64);
    assert!(counters.dropped_icrc >= 1 && counters.dropped_malformed >= 15);
}

#[test]
fn every_flipped_bit_is_found() {
    let (from, to) = (v4(4, 1), v4(4, 2));
    let mut sender = link(from);
    let tap = UdpSocket::bind((to, UDP_PORT)).unwrap();
    sender.push(&Path { peer: to }, &headers(Opcode::SendOnly, 9, 1), PayloadRef::Bytes(b"remora"));
    sender.flush();
    let mut packet = [0; 64];
    let length = tap.recv(&mut packet).unwrap();
    drop((tap, sender));
    // The same packet, from the same address and port to the same, through the kernel.
    drop(open(from, 1));
    let (sender, mut receiver) = (UdpSocket::bind((from, UDP_PORT)).unwrap(), link(to));
    let mut flipped = 0;
    for bit in 0..length * 8 {
        let mut wrong = packet;
        wrong[bit / 8] ^= 1 << (bit % 8);
        sender.send_to(&wrong[..length], (to, UDP_PORT)).unwrap();
        receiver.receive(|_| flipped += 1);
    }
    sender.send_to(&packet[..length], (to, UDP_PORT)).unwrap();
    assert_eq!(take(&mut receiver, 1).len(), 1);
    // What is masked: the byte before the destination, 8 bits.
    assert_eq!((flipped, receiver.counters().dropped_icrc), (8, (length as u64 - 1) * 8));
}

#[test]
fn memory_is_held_until_the_flush_and_not_longer() {
    let (from, to) = (v4(5, 1), v4(5, 2));
    let mut sender = link(from);
    let _receiver = link(to);
    let memory = MemoryOptions { ordinary_pages: true, ..Default::default() };
    let pool = Pool::new(PoolOptions { chunk_bytes: 4096, chunks: 1, memory }).unwrap();
    let segment = pool.take().unwrap().into_segment();
    let payload = PayloadRef::Segment { segment: &segment, offset: 0, bytes: 4096 };
    sender.push(&Path { peer: to }, &headers(Opcode::SendOnly, 9, 1), payload);
    drop(segment);
    assert!(pool.take().is_none());
    sender.flush();
    assert!(pool.take().is_some());
}

#[test]
fn a_scatter_list_of_few_pieces_is_not_copied_and_of_many_is() {
    let (from, to) = (v4(6, 1), v4(6, 2));
    let (mut sender, mut receiver) = (link(from), link(to));
    let whole = segment(4096, 3);
    for (piece, copied) in [(1024, 0), (64, 4096 - 32)] {
        let list: ScatterList = (0..4096 / piece).map(|at| whole.slice(at * piece, piece).unwrap()).collect();
        let before = sender.counters().bytes_copied;
        let payload = PayloadRef::List { list: &list, offset: 32, bytes: 4096 - 32 };
        sender.push(&Path { peer: to }, &headers(Opcode::SendOnly, 9, piece), payload);
        sender.flush();
        let expected = pattern(4096, 3)[32..].to_vec();
        assert_eq!(take(&mut receiver, 1), [(from, piece, expected)]);
        assert_eq!(sender.counters().bytes_copied - before, copied);
    }
}

#[test]
fn a_batch_without_room_goes_out_by_itself() {
    let (from, to) = (v4(7, 1), v4(7, 2));
    let (mut sender, mut receiver) = (link(from), link(to));
    let mut taken = Vec::new();
    for psn in 0..1000 {
        assert!(sender.has_room() || psn > 0);
        sender.push(
            &Path { peer: to },
            &headers(Opcode::SendOnly, 9, psn),
            PayloadRef::Bytes(&[psn.to_le_bytes()[0]; 64]),
        );
        if psn % 100 == 99 {
            sender.flush();
            taken.extend(take(&mut receiver, 100));
        }
    }
    assert_eq!(taken.iter().map(|(_, psn, _)| *psn).collect::<Vec<_>>(), (0..1000).collect::<Vec<_>>());
    assert!(sender.counters().system_calls < 40, "{:?}", sender.counters());
}

#[test]
fn what_cannot_be_sent_is_counted_as_lost() {
    let mut sender = link(v4(8, 1));
    let segment = segment(4096, 0);
    let to = Path { peer: v4(8, 2) };
    let only = headers(Opcode::SendOnly, 9, 0);
    sender.push(&Path { peer: Ipv6Addr::LOCALHOST.into() }, &only, PayloadRef::Empty);
    sender.push(&to, &only, PayloadRef::Segment { segment: &segment, offset: 1, bytes: 4096 });
    sender.push(&to, &only, PayloadRef::Segment { segment: &segment, offset: u32::MAX, bytes: 2 });
    sender.push(&to, &only, PayloadRef::Bytes(&[0; 4097]));
    let list = ScatterList::from(segment);
    sender.push(&to, &only, PayloadRef::List { list: &list, offset: 4095, bytes: 2 });
    sender.push(&to, &only, PayloadRef::List { list: &list, offset: u64::MAX, bytes: 2 });
    sender.flush();
    let counters = sender.counters();
    assert_eq!((counters.packets_lost, counters.packets_sent, counters.system_calls), (6, 0, 0));
    // Nobody is reached from a loopback address at an address for documentation: the kernel refuses.
    sender.push(&Path { peer: [192, 0, 2, 1].into() }, &only, PayloadRef::Empty);
    sender.push(&to, &only, PayloadRef::Empty);
    sender.flush();
    assert_eq!((sender.counters().packets_lost, sender.counters().packets_sent), (7, 1));
}
