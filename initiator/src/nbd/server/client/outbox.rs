//! Replies that the client has not taken.

use std::collections::VecDeque;
use std::io;
use std::os::fd::BorrowedFd;

use dma::ScatterList;
use dma::stream::{Gather, would_block};

use crate::nbd::wire::ReplyHead;

/// What follows a reply's head.
#[derive(Debug)]
pub(super) enum Body {
    Nothing,
    Memory(ScatterList),
    Bytes(Vec<u8>),
}

impl Body {
    fn memory_bytes(&self) -> u64 {
        match self {
            Self::Memory(memory) => memory.bytes(),
            Self::Nothing | Self::Bytes(_) => 0,
        }
    }
}

#[derive(Debug)]
struct Reply {
    head: Option<ReplyHead>,
    body: Body,
}

/// Replies in order.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    replies: VecDeque<Reply>,
    /// Bytes of the first one that the socket has taken.
    sent: usize,
    /// Bytes of memory that is tied up in them.
    memory_bytes: u64,
}

impl Outbox {
    #[inline]
    pub(super) fn push(&mut self, head: ReplyHead, body: Body) {
        self.memory_bytes += body.memory_bytes();
        self.replies.push_back(Reply { head: Some(head), body });
    }

    /// What has no head: the handshake's messages.
    pub(super) fn push_bytes(&mut self, bytes: Vec<u8>) {
        if !bytes.is_empty() {
            self.replies.push_back(Reply { head: None, body: Body::Bytes(bytes) });
        }
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.replies.is_empty()
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.replies.len()
    }

    /// Bytes of memory that is tied up in it.
    #[inline]
    pub(super) fn memory_bytes(&self) -> u64 {
        self.memory_bytes
    }

    /// Sends as much as the socket takes. Whether it took anything.
    pub(super) fn send(&mut self, socket: BorrowedFd<'_>) -> io::Result<bool> {
        let mut any = false;
        while !self.replies.is_empty() {
            let mut gather = Gather::default();
            gather_all(&self.replies, self.sent, &mut gather)?;
            let offered = gather.bytes();
            let taken = match gather.send(socket) {
                Ok(taken) => taken,
                Err(error) if would_block(&error) => break,
                Err(error) => return Err(error),
            };
            any |= taken > 0;
            self.drop_sent(taken);
            if taken < offered {
                break;
            }
        }
        Ok(any)
    }

    fn drop_sent(&mut self, taken: usize) {
        self.sent += taken;
        while let Some(first) = self.replies.front() {
            let bytes = first.bytes();
            if self.sent < bytes {
                break;
            }
            self.sent -= bytes;
            self.memory_bytes -= first.body.memory_bytes();
            self.replies.pop_front();
        }
    }
}

impl Reply {
    fn bytes(&self) -> usize {
        let head = self.head.as_ref().map_or(0, |head| head.as_bytes().len());
        let body = match &self.body {
            Body::Nothing => 0,
            Body::Memory(memory) => usize::try_from(memory.bytes()).unwrap_or(usize::MAX),
            Body::Bytes(bytes) => bytes.len(),
        };
        head + body
    }
}

/// Adds replies until there are no more, or no more room; the first `skip` bytes of the first one are gone.
fn gather_all<'a>(replies: &'a VecDeque<Reply>, skip: usize, gather: &mut Gather<'a>) -> io::Result<()> {
    let mut skip = skip;
    for reply in replies {
        let head = reply.head.as_ref().map_or(&[][..], ReplyHead::as_bytes);
        if !add_bytes(head, &mut skip, gather) {
            return Ok(());
        }
        let has_room = match &reply.body {
            Body::Nothing => true,
            Body::Bytes(bytes) => add_bytes(bytes, &mut skip, gather),
            Body::Memory(memory) => add_memory(memory, &mut skip, gather)?,
        };
        if !has_room {
            return Ok(());
        }
    }
    Ok(())
}

/// `false` if there was no room.
fn add_bytes<'a>(bytes: &'a [u8], skip: &mut usize, gather: &mut Gather<'a>) -> bool {
    let here = bytes.len().min(*skip);
    *skip -= here;
    if here == bytes.len() {
        return true;
    }
    if gather.is_full() {
        return false;
    }
    gather.push_bytes(&bytes[here..]);
    true
}

fn add_memory<'a>(memory: &'a ScatterList, skip: &mut usize, gather: &mut Gather<'a>) -> io::Result<bool> {
    for segment in memory.segments() {
        let here = u32::try_from(*skip).map_or(segment.bytes(), |skip| skip.min(segment.bytes()));
        *skip -= here as usize;
        if here == segment.bytes() {
            continue;
        }
        if gather.is_full() {
            return Ok(false);
        }
        gather.push_segment(segment, here).map_err(io::Error::other)?;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use dma::{MemoryOptions, Pool, PoolOptions};

    use super::*;

    #[test]
    fn replies_go_out_in_order_however_little_the_socket_takes() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let memory = MemoryOptions { ordinary_pages: true, ..Default::default() };
        let pool = Pool::new(PoolOptions { chunk_bytes: 70_000, chunks: 30, memory }).unwrap();
        let (mut outbox, mut expected) = (Outbox::default(), Vec::new());
        outbox.push_bytes(b"hello".to_vec());
        outbox.push_bytes(Vec::new());
        expected.extend(b"hello");
        for number in 0..10u8 {
            let segments = (0..3).map(|_| {
                let mut buffer = pool.take().unwrap();
                buffer.fill(0, 70_000, number).unwrap();
                buffer.into_segment().slice(3, 60_001).unwrap()
            });
            let head = ReplyHead::simple(u64::from(number), Ok(()));
            expected.extend(head.as_bytes());
            outbox.push(head, Body::Memory(segments.collect()));
            expected.extend(vec![number; 180_003]);
            let head = ReplyHead::nothing(7);
            expected.extend(head.as_bytes());
            outbox.push(head, Body::Nothing);
        }
        assert_eq!(outbox.memory_bytes(), 1_800_030);
        let reader = std::thread::spawn(move || {
            let mut found = vec![0; expected.len()];
            for part in found.chunks_mut(33_333) {
                theirs.read_exact(part).unwrap();
            }
            assert!(found == expected);
            theirs
        });
        while !outbox.is_empty() {
            outbox.send(ours.as_fd()).unwrap();
            std::thread::yield_now();
        }
        drop(reader.join().unwrap());
        assert_eq!((pool.available(), outbox.memory_bytes()), (30, 0));
        outbox.push(ReplyHead::nothing(1), Body::Nothing);
        assert!(outbox.send(ours.as_fd()).is_err());
    }
}
