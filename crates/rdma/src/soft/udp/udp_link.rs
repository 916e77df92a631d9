//! A shard's socket as a [`Link`].

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, RawFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::batch::Batch;
use super::port::ShardHandle;
use super::steering::shard_of;
use super::sys::incoming::{Incoming, Message};
use crate::error::OpenError;
use crate::soft::link::{Arrived, Link, LinkCounters, Path, PayloadRef};
use crate::soft::wire::{Addresses, Headers, IcrcError, Qpn, UDP_PORT, check};

/// How often a flush waits for room in the socket before the rest of the batch is lost.
const SEND_WAITS_MAX: u32 = 4;
/// How long each wait takes at most: 64 KiB at 3 Gb/s.
const SEND_WAIT: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000 };
/// A BTH.
const BTH_BYTES: usize = 12;

/// One thread's access to the network at one address. Its memory is fixed: about 600 KiB.
///
/// Losing the rest of a batch because the socket has no room would cost half a second of a peer's timeout, for nothing would
/// follow it that shows the gap. So a flush waits a little, bounded in number and time; that happens when packets are
/// made faster than a real network takes them, never on the loopback.
pub struct UdpLink {
    shard: ShardHandle,
    batch: Batch,
    incoming: Incoming,
    counters: LinkCounters,
}

impl UdpLink {
    pub(super) fn new(shard: ShardHandle) -> Result<Self, OpenError> {
        let batch = Batch::new(shard.address()).map_err(|why| OpenError::System {
            what: "memory for packet headers",
            source: io::Error::other(why),
        })?;
        Ok(Self { shard, batch, incoming: Incoming::new(), counters: LinkCounters::default() })
    }

    /// The number of its shard: the upper bits of its queue pairs' numbers.
    #[must_use]
    pub fn shard(&self) -> u16 {
        self.shard.number()
    }

    /// What to do about messages that the kernel did not take: how many to give up.
    fn give_up(&mut self, why: &io::Error, from: usize, waits: &mut u32) -> usize {
        match why.raw_os_error() {
            Some(libc::EAGAIN | libc::EINTR) if *waits < SEND_WAITS_MAX => {
                *waits += 1;
                let socket = self.shard.socket();
                let mut descriptors = [PollFd::new(&socket, PollFlags::OUT)];
                let _ = poll(&mut descriptors, Some(&SEND_WAIT));
                return 0;
            }
            Some(libc::EAGAIN | libc::ENOBUFS | libc::EINTR) => {}
            // The device cannot compute checksums, or the kernel is too old, or the path has become narrower.
            Some(libc::EIO | libc::EINVAL | libc::EMSGSIZE) if self.batch.tally(from).packets > 1 => {
                tracing::warn!("UDP_SEGMENT is refused ({why}): packets go out one by one");
                self.batch.stop_segmentation();
                self.shard.suspect();
            }
            _ => self.shard.suspect(),
        }
        self.counters.packets_lost += u64::from(self.batch.tally(from).packets);
        1
    }

    fn count_sent(&mut self, from: usize, messages: usize) {
        for index in from..from + messages {
            let tally = self.batch.tally(index);
            self.counters.packets_sent += u64::from(tally.packets);
            self.counters.bytes_sent += tally.bytes as u64;
        }
    }
}

impl Link for UdpLink {
    fn local(&self) -> IpAddr {
        self.shard.address()
    }

    #[inline]
    fn has_room(&self) -> bool {
        self.batch.has_room()
    }

    #[inline]
    fn push(&mut self, path: &Path, headers: &Headers, payload: PayloadRef<'_>) {
        if !self.batch.has_room() {
            self.flush();
        }
        if self.batch.push(path, headers, payload).is_err() {
            self.counters.packets_lost += 1;
        }
    }

    #[inline]
    fn flush(&mut self) {
        let (mut done, mut waits) = (0, 0);
        while done < self.batch.messages() {
            self.counters.system_calls += 1;
            match self.batch.send(self.shard.socket(), done) {
                Ok(messages) => {
                    self.count_sent(done, messages);
                    done += messages;
                }
                Err(why) => done += self.give_up(&why, done, &mut waits),
            }
        }
        self.batch.clear();
    }

    #[inline]
    fn receive(&mut self, mut handle: impl FnMut(Arrived<'_>)) -> usize {
        let mut count = self.shard.handover().take(&mut handle);
        self.counters.system_calls += 1;
        let messages = match self.incoming.receive(self.shard.socket()) {
            Ok(messages) => messages,
            Err(why) => {
                if !matches!(why.raw_os_error(), Some(libc::EAGAIN | libc::EINTR)) {
                    self.shard.suspect();
                }
                return count;
            }
        };
        for index in 0..messages {
            count += match self.incoming.message(index) {
                Some(message) if !message.bytes.is_empty() => {
                    split(message, &self.shard, &mut self.counters, &mut handle)
                }
                _ => {
                    self.counters.packets_received += 1;
                    self.counters.dropped_malformed += 1;
                    1
                }
            };
        }
        count
    }

    #[inline]
    fn may_have_more(&self) -> bool {
        self.incoming.is_full()
    }

    fn wake_descriptors(&self, descriptors: &mut Vec<RawFd>) {
        descriptors.extend([self.shard.socket().as_raw_fd(), self.shard.handover().wake_descriptor()]);
    }

    fn counters(&self) -> LinkCounters {
        LinkCounters {
            bytes_copied: self.batch.copied_bytes(),
            dropped_handover: self.shard.handover().dropped(),
            ..self.counters
        }
    }
}

/// Gives on each packet of a message whose ICRC is right. Returns how many packets there were.
#[inline]
fn split(
    message: Message<'_>,
    shard: &ShardHandle,
    counters: &mut LinkCounters,
    handle: &mut impl FnMut(Arrived<'_>),
) -> usize {
    let addresses = Addresses::new(message.source, shard.address(), message.port, UDP_PORT);
    let each = message.merged_bytes.unwrap_or(message.bytes.len());
    let mut count = 0;
    for packet in message.bytes.chunks(each) {
        // What was sent as one batch is numbered from 0 (over IPv4), and merged packets mostly were sent so.
        let expected_ip_id = u16::try_from(count).unwrap_or(u16::MAX);
        count += 1;
        match check(&addresses, packet, expected_ip_id) {
            Ok(()) => deliver(Arrived { source: message.source, packet }, shard, counters, handle),
            Err(IcrcError::Mismatch) => counters.dropped_icrc += 1,
            Err(IcrcError::Length(_)) => counters.dropped_malformed += 1,
        }
    }
    counters.packets_received += count as u64;
    counters.bytes_received += message.bytes.len() as u64;
    count
}

/// To this shard's endpoint, or to the shard that the packet's destination names.
#[inline]
fn deliver(
    arrived: Arrived<'_>,
    shard: &ShardHandle,
    counters: &mut LinkCounters,
    handle: &mut impl FnMut(Arrived<'_>),
) {
    let destination = match arrived.packet.first_chunk::<BTH_BYTES>() {
        Some(&[_, _, _, _, _, a, b, c, ..]) => Qpn::try_from(u32::from_be_bytes([0, a, b, c])).ok(),
        None => None,
    };
    match destination.and_then(|queue_pair| shard.other(shard_of(queue_pair))) {
        Some(other) => {
            counters.packets_handed_over += 1;
            other.offer(arrived);
        }
        None => handle(arrived),
    }
}
