//! Bytes that came and were not understood yet.

/// Bytes of an inbox: many commands at once, and the longest option with room to spare.
const INBOX_BYTES: usize = 64 * 1024;

/// A buffer that is filled at its end and emptied at its beginning.
#[derive(Debug)]
pub(super) struct Inbox {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Inbox {
    pub(super) fn new() -> Self {
        Self { bytes: vec![0; INBOX_BYTES].into_boxed_slice(), start: 0, end: 0 }
    }

    /// What is there.
    #[inline]
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// The first bytes were understood.
    #[inline]
    pub(super) fn consume(&mut self, count: usize) {
        self.start += count;
        debug_assert!(self.start <= self.end, "only what is there is consumed");
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Room for more, at most so much.
    #[inline]
    pub(super) fn room(&mut self, bytes_max: usize) -> &mut [u8] {
        if self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        let end = self.bytes.len().min(self.end.saturating_add(bytes_max));
        &mut self.bytes[self.end..end]
    }

    /// So many bytes came into the room.
    #[inline]
    pub(super) fn filled(&mut self, count: usize) {
        self.end += count;
        debug_assert!(self.end <= self.bytes.len(), "there was room");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_and_go() {
        let mut inbox = Inbox::new();
        inbox.room(5).copy_from_slice(b"abcde");
        inbox.filled(5);
        inbox.consume(3);
        assert_eq!(inbox.bytes(), b"de");
        inbox.room(1)[0] = b'f';
        inbox.filled(1);
        assert_eq!(inbox.bytes(), b"def");
        assert_eq!(inbox.room(usize::MAX).len(), INBOX_BYTES - 3);
        inbox.consume(3);
        assert_eq!((inbox.bytes().len(), inbox.room(usize::MAX).len()), (0, INBOX_BYTES));
    }
}
