//! Packets that landed at the wrong shard, on their way to the right one.

use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crossbeam_queue::ArrayQueue;
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::{read, write};

use crate::soft::link::Arrived;
use crate::soft::wire::{HEADERS_BYTES_MAX, ICRC_BYTES, PAYLOAD_BYTES_MAX};

/// Most packets that wait at one shard; further ones are lost, as on any network.
pub const HANDOVER_PACKETS_MAX: usize = 128;

const PACKET_BYTES_MAX: usize = HEADERS_BYTES_MAX + PAYLOAD_BYTES_MAX as usize + 3 + ICRC_BYTES;

/// A shard's queue of packets that others have received for it. Any thread may offer; the shard's owner takes.
///
/// A packet is copied into one of a fixed number of buffers. The owner sleeps on [`Self::wake_descriptor`].
pub struct Handover {
    waiting: ArrayQueue<Box<Parcel>>,
    free: ArrayQueue<Box<Parcel>>,
    event: OwnedFd,
    /// Whether the event was raised since the owner last looked; saves a system call for each packet but the first.
    raised: AtomicBool,
    dropped: AtomicU64,
}

struct Parcel {
    source: IpAddr,
    length: usize,
    bytes: [u8; PACKET_BYTES_MAX],
}

impl Handover {
    pub(super) fn new() -> std::io::Result<Self> {
        let free = ArrayQueue::new(HANDOVER_PACKETS_MAX);
        for _ in 0..HANDOVER_PACKETS_MAX {
            let parcel = Parcel { source: IpAddr::from([0; 4]), length: 0, bytes: [0; PACKET_BYTES_MAX] };
            let _ = free.push(Box::new(parcel));
        }
        Ok(Self {
            waiting: ArrayQueue::new(HANDOVER_PACKETS_MAX),
            free,
            event: eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?,
            raised: AtomicBool::new(false),
            dropped: AtomicU64::new(0),
        })
    }

    /// Gives a packet to the shard. `false` if it was dropped: too many wait, or it is longer than a packet can be.
    pub fn offer(&self, arrived: Arrived<'_>) -> bool {
        let taken = self.enqueue(arrived).is_some();
        if !taken {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        taken
    }

    fn enqueue(&self, arrived: Arrived<'_>) -> Option<()> {
        let length = arrived.packet.len();
        if length > PACKET_BYTES_MAX {
            return None;
        }
        let mut parcel = self.free.pop()?;
        parcel.source = arrived.source;
        parcel.length = length;
        parcel.bytes[..length].copy_from_slice(arrived.packet);
        self.waiting.push(parcel).ok()?;
        self.raise();
        Some(())
    }

    fn raise(&self) {
        if !self.raised.swap(true, Ordering::AcqRel) {
            // Cannot fail but by overflow, in which case it is readable anyhow.
            let _ = write(&self.event, &1u64.to_ne_bytes());
        }
    }

    /// Gives all that wait to `handle`; returns how many. For the owner of the shard.
    #[inline]
    pub(super) fn take(&self, handle: impl FnMut(Arrived<'_>)) -> usize {
        if self.raised.load(Ordering::Acquire) { self.take_raised(handle) } else { 0 }
    }

    fn take_raised(&self, mut handle: impl FnMut(Arrived<'_>)) -> usize {
        // In this order: a packet that comes after the look at the queue raises the event again. If there is nothing to read,
        // who raised it is just about to write: that is left to be read by the next look, or nobody would ever read it.
        if read(&self.event, &mut [0u8; 8]).is_ok() {
            self.raised.swap(false, Ordering::AcqRel);
        }
        let mut count = 0;
        while count < HANDOVER_PACKETS_MAX
            && let Some(parcel) = self.waiting.pop()
        {
            handle(Arrived { source: parcel.source, packet: &parcel.bytes[..parcel.length] });
            let _ = self.free.push(parcel);
            count += 1;
        }
        if count == HANDOVER_PACKETS_MAX && !self.waiting.is_empty() {
            self.raise();
        }
        count
    }

    /// Readable when packets wait.
    #[must_use]
    pub fn wake_descriptor(&self) -> RawFd {
        self.event.as_raw_fd()
    }

    /// Packets that were offered and dropped.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    use super::*;

    fn arrived(packet: &[u8]) -> Arrived<'_> {
        Arrived { source: [127, 0, 0, 9].into(), packet }
    }

    fn readable(handover: &Handover) -> bool {
        let mut descriptors = [PollFd::new(&handover.event, PollFlags::IN)];
        poll(&mut descriptors, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap() == 1
    }

    #[test]
    fn packets_come_out_as_they_went_in_and_the_event_tells() {
        let handover = Handover::new().unwrap();
        assert!(!readable(&handover));
        assert!(handover.offer(arrived(b"one")) && handover.offer(arrived(b"packet two")));
        assert!(readable(&handover));
        let mut seen = Vec::new();
        assert_eq!(handover.take(|arrived| seen.push((arrived.source, arrived.packet.to_vec()))), 2);
        let source = IpAddr::from([127, 0, 0, 9]);
        assert_eq!(seen, [(source, b"one".to_vec()), (source, b"packet two".to_vec())]);
        assert!(!readable(&handover));
        assert_eq!(handover.take(|_| unreachable!()), 0);
    }

    /// Whoever offered a packet was put aside before he wrote to the event. The owner, awake for other reasons, took the packet;
    /// then the event was raised, nobody looked at it, and no sleep lasted.
    #[test]
    fn an_event_that_is_raised_late_does_not_stay() {
        let handover = Handover::new().unwrap();
        handover.raised.store(true, Ordering::Release);
        assert_eq!(handover.take(|_| unreachable!()), 0);
        write(&handover.event, &1u64.to_ne_bytes()).unwrap();
        assert_eq!(handover.take(|_| unreachable!()), 0);
        assert!(!readable(&handover));
        assert!(handover.offer(arrived(b"next")) && readable(&handover));
    }

    #[test]
    fn what_does_not_fit_is_dropped_and_counted_and_room_comes_back() {
        let handover = Handover::new().unwrap();
        for _ in 0..HANDOVER_PACKETS_MAX {
            assert!(handover.offer(arrived(&[7; PACKET_BYTES_MAX])));
        }
        assert!(!handover.offer(arrived(b"late")));
        assert_eq!(handover.take(|_| ()), HANDOVER_PACKETS_MAX);
        assert!(!handover.offer(arrived(&[7; PACKET_BYTES_MAX + 1])));
        assert_eq!(handover.dropped(), 2);
        assert!(handover.offer(arrived(b"again")) && readable(&handover));
    }
}
