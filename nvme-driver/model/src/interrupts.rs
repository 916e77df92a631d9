//! MSI-X: a vector is an eventfd; one signal a batch.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

/// The most vectors that the model has: one for each bit of a word of pending ones.
pub(crate) const VECTORS_MAX: u16 = 128;

/// The vectors that are enabled, and those that the current batch has completions for.
#[derive(Debug, Default)]
pub(crate) struct Interrupts {
    descriptors: Vec<OwnedFd>,
    pending: u128,
    sent: u64,
    lost: u64,
}

impl Interrupts {
    /// Replaces the vectors' descriptors.
    pub(crate) fn set(&mut self, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let descriptors: io::Result<Vec<OwnedFd>> =
            descriptors.iter().map(BorrowedFd::try_clone_to_owned).collect();
        self.descriptors = descriptors?;
        self.pending = 0;
        Ok(())
    }

    /// Notes that a vector is to be signalled when the batch ends.
    #[inline]
    pub(crate) fn raise(&mut self, vector: u16) {
        if vector < VECTORS_MAX {
            self.pending |= 1 << vector;
        }
    }

    /// Forgets what is pending.
    pub(crate) fn clear(&mut self) {
        self.pending = 0;
    }

    /// What is pending does not arrive.
    pub(crate) fn lose_pending(&mut self) {
        self.lost += u64::from(self.pending.count_ones());
        self.pending = 0;
    }

    /// Signals sent, and signals lost by a fault.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.sent, self.lost)
    }

    /// Signals each pending vector once.
    #[inline]
    pub(crate) fn flush(&mut self) {
        while self.pending != 0 {
            let vector = self.pending.trailing_zeros();
            self.pending &= self.pending - 1;
            self.signal(vector);
        }
    }

    fn signal(&mut self, vector: u32) {
        let Some(descriptor) = self.descriptors.get(vector as usize) else { return };
        self.sent += 1;
        // A refusal is a counter at its end, which wakes the sleeper all the same.
        let _ = rustix::io::write(descriptor, &1u64.to_ne_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{EventfdFlags, eventfd};
    use std::os::fd::AsFd;

    fn count(descriptor: &OwnedFd) -> u64 {
        let mut bytes = [0; 8];
        rustix::io::read(descriptor, &mut bytes).map_or(0, |_| u64::from_ne_bytes(bytes))
    }

    #[test]
    fn a_batch_signals_a_vector_once() {
        let eventfds: Vec<OwnedFd> = (0..2).map(|_| eventfd(0, EventfdFlags::NONBLOCK).unwrap()).collect();
        let borrowed: Vec<_> = eventfds.iter().map(AsFd::as_fd).collect();
        let mut interrupts = Interrupts::default();
        interrupts.set(&borrowed).unwrap();
        interrupts.raise(1);
        interrupts.raise(1);
        interrupts.raise(77);
        interrupts.flush();
        assert_eq!((count(&eventfds[0]), count(&eventfds[1])), (0, 1));
        interrupts.raise(0);
        interrupts.lose_pending();
        interrupts.flush();
        assert_eq!((count(&eventfds[0]), interrupts.counts()), (0, (1, 1)));
        interrupts.raise(0);
        interrupts.flush();
        assert_eq!(count(&eventfds[0]), 1);
    }
}
